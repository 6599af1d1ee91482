"""Elements of group 0000."""

from struct import error as StructError
from struct import pack

import pytest

from harmonygw.dicom.dimse.command_elements import (
    MESSAGE_ID,
    NUMBERS,
    describe,
    number_element,
    other_element,
    read_elements,
)
from harmonygw.errors import PeerError


def test_what_is_written_is_read_again_and_an_empty_element_is_as_good_as_none() -> None:
    data = number_element(MESSAGE_ID, 258) + other_element(0x0600, b"") + other_element(0x0902, b"ab")
    assert data[:10] == b"\0\0\x10\x01\2\0\0\0\2\1"
    assert read_elements(data) == {MESSAGE_ID: b"\2\1", 0x0902: b"ab"}


def test_elements_of_other_groups_are_passed_over() -> None:
    other = pack("<HHII", 8, 0x0000, 4, 10) + pack("<HHI", 8, MESSAGE_ID, 2) + b"\7\7"
    assert read_elements(number_element(MESSAGE_ID, 1) + other) == {MESSAGE_ID: b"\1\0"}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (number_element(MESSAGE_ID, 1)[:-1], "MessageID (0000,0110) is cut short"),
        (pack("<HHI", 8, 0x0058, 2), "FailedSOPInstanceUIDList (0008,0058) is cut short"),
        (b"\0" * 7, "the header of an element is cut short at byte 0"),
    ],
)
def test_what_is_cut_short_is_refused_by_its_name(data: bytes, complaint: str) -> None:
    with pytest.raises(PeerError) as caught:
        read_elements(data)
    assert (complaint in caught.value.detail, caught.value.source, caught.value.reason) == (True, 2, 6)


def test_a_number_beyond_16_bits_is_not_written() -> None:
    with pytest.raises(StructError):
        number_element(MESSAGE_ID, 65536)


def test_every_number_has_a_keyword() -> None:
    assert [describe(element) for element in NUMBERS if describe(element).startswith("(")] == []
