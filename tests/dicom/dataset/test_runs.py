import pytest

from harmonygw.dicom.dataset.runs import explicit_run_end, implicit_run_end
from tests.dicom.dataset.encoded import EXPLICIT, IMPLICIT, element, header

RUN_ENDS = {EXPLICIT: explicit_run_end, IMPLICIT: implicit_run_end}
NO_RUN = [
    (0x00081140, "SQ", b""),
    (0x7FE00010, "OW", b"ab"),
    (0x00104000, "LT", b"comments!!"),
]


def run_end(data: bytes, syntax: str, longest: int = 8) -> int:
    return RUN_ENDS[syntax](memoryview(data), 0, len(data), longest)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("end", NO_RUN)
def test_a_run_ends_where_something_needs_a_look(syntax: str, end: tuple[int, str, bytes]) -> None:
    run = element(0x00080060, "CS", b"CT", syntax) + element(0x00280010, "US", b"\0\2", syntax)
    assert run_end(run + element(*end, syntax) + run, syntax) == len(run)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_run_ends_before_what_is_not_whole(syntax: str) -> None:
    run = element(0x00080060, "CS", b"CT", syntax)
    for cut in range(1, len(run)):
        assert run_end(run + run[:-cut], syntax) == len(run)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_run_may_be_empty_and_may_reach_the_end(syntax: str) -> None:
    assert run_end(b"", syntax) == 0
    assert run_end(header(0xFFFEE00D, "", 0), syntax) == 0
    assert run_end(element(0x00080060, "CS", b"CT", syntax), syntax) == 10


@pytest.mark.parametrize("tag", [0x00091001, 0x00280103, 0x00280106, 0x00283002])
def test_what_decides_about_a_vr_or_has_to_be_decided_ends_an_implicit_run(tag: int) -> None:
    assert run_end(element(tag, "", b"\0\0", IMPLICIT), IMPLICIT) == 0
