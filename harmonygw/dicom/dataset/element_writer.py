"""Data elements written in Implicit or Explicit VR Little Endian as a `Tokenizer` tells them (PS3.5 §7).

Short values are copied together with their headers, so that what comes out is few pieces; long ones are the views that
came in. Sequences and items get undefined length and delimiters (PS3.5 §7.5), since their length is not known when
they begin.
"""

from struct import Struct
from typing import Final

from harmonygw.dicom.dataset.elements import LONG_FORM_VRS, SHORT_FORM_VRS, UNDEFINED_LENGTH, malformed
from harmonygw.dicom.dataset.tokens import Piece

LONGEST_SHORT_VALUE: Final = 65534
"""Bytes: the most that a 16-bit length can say of an even number."""

_LONGEST_COPIED_VALUE: Final = 4096

_ITEM: Final = bytes.fromhex("FEFF00E0 FFFFFFFF")
_ITEM_DELIMITATION: Final = bytes.fromhex("FEFF0DE0 00000000")
_SEQUENCE_DELIMITATION: Final = bytes.fromhex("FEFFDDE0 00000000")

_SHORT_CODES: Final = {vr: vr.encode() for vr in SHORT_FORM_VRS}
_LONG_CODES: Final = {vr: vr.encode() for vr in LONG_FORM_VRS}
_implicit = Struct("<HHL").pack
_short_header = Struct("<HH2sH").pack
_long_header = Struct("<HH2sHL").pack


class ElementWriter:
    """A `Visitor` that writes what it is told; `take()` hands over what there is."""

    def __init__(self, *, explicit: bool) -> None:
        self._header = _explicit_header if explicit else _implicit_header
        self._pieces: list[Piece] = []
        self._copied = bytearray()

    def take(self) -> list[Piece]:
        """Return what was written since the last call; no piece is empty."""
        self._cut()
        pieces, self._pieces = self._pieces, []
        return pieces

    def element(self, tag: int, vr: str, value: memoryview) -> None:
        """Write an element."""
        length = len(value)
        self._copied += self._header(tag, vr, length)
        if length <= _LONGEST_COPIED_VALUE:
            self._copied += value
        else:
            self._append(value)

    def verbatim(self, run: memoryview) -> None:
        """Write elements that are encoded as they are to be."""
        self._copied += run

    def begin_value(self, tag: int, vr: str, length: int) -> None:
        """Write the header of an element."""
        self._copied += self._header(tag, vr, length)

    def value(self, piece: memoryview) -> None:
        """Write a piece of the value that was begun."""
        self._append(piece)

    def begin_sequence(self, tag: int) -> None:
        """Write the header of a sequence."""
        self._copied += self._header(tag, "SQ", UNDEFINED_LENGTH)

    def end_sequence(self) -> None:
        """Write the delimiter of a sequence."""
        self._copied += _SEQUENCE_DELIMITATION

    def begin_item(self) -> None:
        """Write the header of an item."""
        self._copied += _ITEM

    def end_item(self) -> None:
        """Write the delimiter of an item."""
        self._copied += _ITEM_DELIMITATION

    def encapsulated(self, tag: int, vr: str, offset: int) -> None:
        """Refuse: neither transfer syntax that is written here has encapsulated pixel data (PS3.5 §8.2)."""
        raise malformed(f"encapsulated {vr} in a native transfer syntax", tag, offset)

    def fragment(self, offset: int, length: int) -> None:
        """Write nothing of the items of what a subclass does not refuse."""

    def fragment_value(self, piece: memoryview) -> None:
        """Write nothing of them."""

    def end_encapsulated(self) -> None:
        """Write nothing."""

    def _append(self, piece: memoryview) -> None:
        self._cut()
        self._pieces.append(piece)

    def _cut(self) -> None:
        if self._copied:
            self._pieces.append(memoryview(self._copied))
            self._copied = bytearray()


def _explicit_header(tag: int, vr: str, length: int) -> bytes:
    code = _SHORT_CODES.get(vr)
    if code is None:
        return _long_header(tag >> 16, tag & 0xFFFF, _LONG_CODES[vr], 0, length)
    if length > LONGEST_SHORT_VALUE:
        return _long_header(tag >> 16, tag & 0xFFFF, b"UN", 0, length)  # PS3.5 §6.2.2
    return _short_header(tag >> 16, tag & 0xFFFF, code, length)


def _implicit_header(tag: int, vr: str, length: int) -> bytes:
    return _implicit(tag >> 16, tag & 0xFFFF, length)
