"""Values out of Explicit VR Big Endian, made Little Endian (PS3.5 §7.3)."""

from array import array
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

Piece = bytes | memoryview

WORD_LENGTHS: Final[Mapping[str, int]] = MappingProxyType(
    {
        **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
        **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
        **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
    }
)
"""VR to the bytes of the words that its values consist of; other VRs have no byte ordering."""

_TYPE_CODES: Final = {2: "H", 4: "I", 8: "Q"}


def swapped(data: Piece, word_length: int) -> memoryview:
    """Return a copy with the bytes of each word reversed; `data` is whole words of 2, 4 or 8 bytes."""
    words = array(_TYPE_CODES[word_length])
    words.frombytes(data)
    words.byteswap()
    return memoryview(words).cast("B")


class Swap:
    """Reverses the bytes of each word of a value that comes in pieces, wherever those are split."""

    def __init__(self, word_length: int) -> None:
        self._word_length = word_length
        self._carried = b""

    def feed(self, piece: memoryview) -> memoryview:
        """Return the words that are whole by now; what is left over, less than a word, waits for the next piece."""
        data = self._carried + piece if self._carried else piece
        whole = len(data) - len(data) % self._word_length
        self._carried = bytes(data[whole:])
        return swapped(data[:whole], self._word_length)
