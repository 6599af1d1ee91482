"""Elements of group 0000."""

from struct import error as StructError

import pytest

from harmonygw.dicom.dimse.command_elements import (
    MESSAGE_ID,
    NUMBERS,
    describe,
    number_element,
    other_element,
    read_elements,
)


def test_what_is_written_is_read_again_and_an_empty_element_is_as_good_as_none() -> None:
    data = number_element(MESSAGE_ID, 258) + other_element(0x0600, b"") + other_element(0x0902, b"ab")
    assert data[:10] == b"\0\0\x10\x01\2\0\0\0\2\1"
    assert read_elements(data) == {MESSAGE_ID: b"\2\1", 0x0902: b"ab"}


def test_a_number_beyond_16_bits_is_not_written() -> None:
    with pytest.raises(StructError):
        number_element(MESSAGE_ID, 65536)


def test_every_number_has_a_keyword() -> None:
    assert [describe(element) for element in NUMBERS if describe(element).startswith("(")] == []
