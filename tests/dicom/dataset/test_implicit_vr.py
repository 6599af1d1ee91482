import pytest

from harmonygw.dicom.dataset.implicit_vr import PUBLIC_VRS, ImplicitVR

SMALLEST_PIXEL_VALUE = 0x00280106
ZERO_VELOCITY_PIXEL_VALUE = 0x00189810
LUT_DATA = 0x00283006


def noting(*values: tuple[int, bytes]) -> ImplicitVR:
    vrs = ImplicitVR()
    for tag, value in values:
        vrs.note(tag, memoryview(value))
    return vrs


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (0x00100010, "PN"),
        (0x00280103, "US"),
        (0x00100000, "UL"),
        (0x60020010, "US"),
        (0x60023000, "OW"),
        (0x7FE00010, "OW"),
        (0x54001010, "OW"),
        (0x00281200, "OW"),
        (0x00089999, "UN"),
        (0x00090010, "LO"),
        (0x00090001, "UN"),
        (0x00091001, "UN"),
    ],
)
def test_most_elements_have_their_vr_from_the_dictionary(tag: int, vr: str) -> None:
    assert ImplicitVR().resolve(tag) == vr


def test_the_table_of_public_vrs_holds_no_ambiguous_one_and_none_that_decides() -> None:
    assert {len(vr) for vr in PUBLIC_VRS.values()} == {2}
    assert not {0x00280103, 0x00283002, SMALLEST_PIXEL_VALUE} & PUBLIC_VRS.keys()


@pytest.mark.parametrize(("representation", "vr"), [(b"\0\0", "US"), (b"\1\0", "SS")])
def test_pixel_representation_decides_about_the_sign(representation: bytes, vr: str) -> None:
    vrs = noting((0x00280103, representation))
    assert vrs.resolve(SMALLEST_PIXEL_VALUE) == vr
    assert vrs.resolve(0x00283002) == vr


def test_an_item_inherits_the_pixel_representation_and_may_have_its_own() -> None:
    vrs = noting((0x00280103, b"\1\0"))
    vrs.enter_item(0x00283000)
    assert vrs.resolve(SMALLEST_PIXEL_VALUE) == "SS"
    vrs.note(0x00280103, memoryview(b"\0\0"))
    assert vrs.resolve(SMALLEST_PIXEL_VALUE) == "US"
    vrs.leave_item()
    assert vrs.resolve(SMALLEST_PIXEL_VALUE) == "SS"


def test_without_pixel_representation_the_sign_is_none() -> None:
    vrs = noting((0x00280103, b""))
    assert vrs.resolve(SMALLEST_PIXEL_VALUE) == "US"
    vrs.enter_item(0x00283000)
    assert vrs.resolve(0x00283002) == "US"


def test_before_pixel_representation_the_sign_is_not_guessed() -> None:
    vrs = ImplicitVR()
    assert vrs.resolve(ZERO_VELOCITY_PIXEL_VALUE) == "UN"
    vrs.enter_item(0x00221450)
    assert vrs.resolve(SMALLEST_PIXEL_VALUE) == "UN"


@pytest.mark.parametrize(("descriptor", "vr"), [("010000001000", "US"), ("000100001000", "OW")])
def test_lut_data_of_one_entry_is_us(descriptor: str, vr: str) -> None:
    assert noting((0x00283002, bytes.fromhex(descriptor))).resolve(LUT_DATA) == vr


def test_the_private_creator_decides_within_its_group_and_block() -> None:
    vrs = noting((0x00290010, b"SIEMENS CSA HEADER"), (0x00290011, b"nobody knows "))
    assert vrs.resolve(0x00291008) == "CS"
    assert vrs.resolve(0x00291108) == "UN"
    assert vrs.resolve(0x00291208) == "UN"
    assert vrs.resolve(0x00311008) == "UN"


def test_a_private_creator_holds_for_its_item_only() -> None:
    vrs = noting((0x00290010, b"SIEMENS CSA HEADER"))
    vrs.enter_item(0x00081140)
    assert vrs.resolve(0x00291008) == "UN"
    vrs.leave_item()
    assert vrs.resolve(0x00291008) == "CS"


def test_only_the_creators_of_the_current_group_are_kept() -> None:
    vrs = noting((0x00290010, b"SIEMENS CSA HEADER"), (0x00310010, b"other"))
    assert vrs.resolve(0x00291008) == "UN"


def test_other_values_decide_nothing() -> None:
    vrs = noting((0x00291008, b"SIEMENS CSA HEADER"), (0x00290001, b"x"), (0x00100010, b"A"))
    assert vrs.resolve(0x00291008) == "UN"
