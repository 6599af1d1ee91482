import pytest

from harmonygw.dicom.dataset.element_writer import LONGEST_SHORT_VALUE, ElementWriter
from harmonygw.errors import PeerError
from tests.dicom.dataset.encoded import EXPLICIT, IMPLICIT, element, header, item, sequence


def writer(syntax: str) -> ElementWriter:
    return ElementWriter(explicit=syntax == EXPLICIT)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_data_set_is_written_in_one_piece_when_its_values_are_short(syntax: str) -> None:
    out = writer(syntax)
    out.element(0x00080060, "CS", memoryview(b"CT"))
    out.begin_sequence(0x00081140)
    out.begin_item()
    out.element(0x00091001, "UN", memoryview(b"ab"))
    out.end_item()
    out.end_sequence()
    out.verbatim(memoryview(b"anything"))
    expected = (
        element(0x00080060, "CS", b"CT", syntax)
        + sequence(0x00081140, item(element(0x00091001, "UN", b"ab", syntax), syntax), syntax=syntax)
        + b"anything"
    )
    assert [bytes(piece) for piece in out.take()] == [expected]
    assert out.take() == []


def test_a_long_value_is_not_copied() -> None:
    out = writer(EXPLICIT)
    long_value, piece = memoryview(bytes(5000)), memoryview(b"ab")
    out.element(0x7FE00010, "OB", long_value)
    out.begin_value(0x7FE00010, "OW", 2)
    out.value(piece)
    first, second, third, fourth = out.take()
    assert bytes(first) == header(0x7FE00010, "OB", 5000)
    assert second is long_value
    assert bytes(third) == header(0x7FE00010, "OW", 2)
    assert fourth is piece


@pytest.mark.parametrize(("length", "vr"), [(LONGEST_SHORT_VALUE, "US"), (LONGEST_SHORT_VALUE + 2, "UN")])
def test_a_value_too_long_for_its_vr_is_un(length: int, vr: str) -> None:
    out = writer(EXPLICIT)
    out.element(0x00281201, "US", memoryview(bytes(length)))
    assert bytes(out.take()[0]) == header(0x00281201, vr, length)


def test_implicit_vr_has_room_for_any_length() -> None:
    out = writer(IMPLICIT)
    out.begin_value(0x00281201, "US", 0xFFFFFFFE)
    assert bytes(out.take()[0]) == header(0x00281201, "US", 0xFFFFFFFE, IMPLICIT)


def test_encapsulated_pixel_data_is_refused() -> None:
    with pytest.raises(PeerError, match=r"encapsulated OB in a native transfer syntax, \(7FE0,0010\) at byte 12"):
        writer(EXPLICIT).encapsulated(0x7FE00010, "OB", 12)
