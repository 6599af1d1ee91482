import pytest

from harmonygw.dicom.dataset.byte_order import WORD_LENGTHS, Swap, swapped
from tests.dicom.dataset.encoded import split

BYTES = bytes(range(16))


@pytest.mark.parametrize(
    ("word_length", "expected"),
    [
        (2, "01000302050407060908 0b0a 0d0c 0f0e"),
        (4, "03020100 07060504 0b0a0908 0f0e0d0c"),
        (8, "0706050403020100 0f0e0d0c0b0a0908"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 7, 0])
def test_words_are_reversed_wherever_the_value_is_split(word_length: int, expected: str, size: int) -> None:
    assert bytes(swapped(BYTES, word_length)) == bytes.fromhex(expected)
    swap = Swap(word_length)
    assert b"".join(map(swap.feed, split(BYTES, size))) == bytes.fromhex(expected)


def test_text_and_bytes_have_no_byte_ordering() -> None:
    assert not {"OB", "UN", "LO", "SQ", "DS"} & WORD_LENGTHS.keys()


def test_a_tag_is_two_words_of_two_bytes() -> None:
    assert WORD_LENGTHS["AT"] == 2
