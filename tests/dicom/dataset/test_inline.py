import pytest

from harmonygw.config.middleware_options import DICOMwebBridgeOptions
from harmonygw.dicom.dataset.inline import BULK_THRESHOLD, is_by_reference


@pytest.mark.parametrize(
    ("vr", "longest"),
    [
        *((vr, 256) for vr in ("OB", "OD", "OF", "OL", "OV", "OW", "UN")),
        *((vr, 1024) for vr in ("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV")),
        *((vr, 65534) for vr in ("LT", "ST", "UC", "UT")),
    ],
)
def test_each_kind_of_value_has_its_own_longest(vr: str, longest: int) -> None:
    assert not is_by_reference(vr, longest, BULK_THRESHOLD)
    assert is_by_reference(vr, longest + 1, BULK_THRESHOLD)


@pytest.mark.parametrize("vr", ["SQ", "PN", "LO", "UI", "UR", "AT"])
def test_other_vrs_may_have_no_reference(vr: str) -> None:
    assert not is_by_reference(vr, 1 << 20, 0)


@pytest.mark.parametrize(("vr", "threshold"), [("OW", 0), ("OW", 5000), ("DS", 5000), ("UT", 65534)])
def test_a_threshold_holds_where_it_is_more(vr: str, threshold: int) -> None:
    assert not is_by_reference(vr, threshold, threshold)
    assert is_by_reference(vr, max(threshold, 1) + 65534, threshold)


def test_the_cache_keeps_what_the_bridge_shows_by_default() -> None:
    assert DICOMwebBridgeOptions().bulk_threshold_bytes == BULK_THRESHOLD
