"""A data set as it arrives, token by token, in any splitting (PS3.5 §7).

`Tokenizer` is fed pieces and tells a `Visitor` what they say: elements, sequences, items. It keeps no value for longer
than it takes to be whole, and none that is long: at most `LONGEST_WHOLE_VALUE` bytes and an element header are held.
Lengths are checked against the item and sequence around them as soon as they are read.

What real objects get wrong is taken as in `elements`: an item of an explicit VR data set that begins without a VR is in
Implicit VR, and so is a single element without one; an unknown VR is UN; delimiters may end items of defined length.
An element of VR UN and undefined length is a sequence of such items in Little Endian, whatever surrounds it
(PS3.5 §6.2.2), and is told as one. An empty sequence of defined length is told as an element without value. Group
lengths (gggg,0000) are not told (PS3.5 §7.2), and values are told in Little Endian whatever the source.
"""

from collections.abc import Callable
from enum import Enum
from struct import Struct
from typing import Final, Protocol

from harmonygw.dicom.dataset.byte_order import WORD_LENGTHS, Swap, swapped
from harmonygw.dicom.dataset.dictionary import UNKNOWN_VR
from harmonygw.dicom.dataset.elements import (
    ITEM,
    ITEM_DELIMITATION,
    LONG_FORM_VRS,
    SEQUENCE_DELIMITATION,
    SHORT_FORM_VRS,
    UNDEFINED_LENGTH,
    malformed,
)
from harmonygw.dicom.dataset.implicit_vr import PUBLIC_VRS, ImplicitVR
from harmonygw.dicom.dataset.limits import DEFAULT_LIMITS, Limits
from harmonygw.dicom.dataset.runs import RunEnd, explicit_run_end, implicit_run_end
from harmonygw.dicom.dataset.transfer_syntaxes import describe
from harmonygw.errors import PeerError

Piece = bytes | memoryview
"""A run of bytes that nobody will change."""

LONGEST_WHOLE_VALUE: Final = 4096
"""Bytes. A value at most this long is told in one piece; 4 KiB holds every value that decides about another."""

_SHORT_CODES: Final = {vr.encode(): vr for vr in SHORT_FORM_VRS}
_LONG_CODES: Final = {vr.encode(): vr for vr in LONG_FORM_VRS}
_FRAGMENTED_VRS: Final = frozenset({"OB", "OW"})

_PIXEL_DATA: Final = 0x7FE00010
_DELIMITERS_BEGIN: Final = 0xFFFE0000
_NOT_GROUP_LENGTH: Final = 0xFFFF

_HEADER_LENGTH: Final = 8
_LONG_HEADER_LENGTH: Final = 12

_NOWHERE: Final = 1 << 64
"""The end of what has undefined length: beyond every offset."""


class Visitor(Protocol):
    """Whom a `Tokenizer` tells what it reads."""

    def element(self, tag: int, vr: str, value: memoryview) -> None:
        """Take an element whose value is whole."""

    def verbatim(self, run: memoryview) -> None:
        """Take elements as they are encoded; only when the tokenizer was given `longest_verbatim`."""

    def begin_value(self, tag: int, vr: str, length: int) -> None:
        """Take the header of an element whose value, of `length` bytes, follows in pieces."""

    def value(self, piece: memoryview) -> None:
        """Take the next piece of that value."""

    def begin_sequence(self, tag: int) -> None:
        """Take the header of a sequence that is not empty."""

    def end_sequence(self) -> None:
        """Take the end of the innermost sequence."""

    def begin_item(self) -> None:
        """Take the beginning of the next item of the innermost sequence."""

    def end_item(self) -> None:
        """Take the end of the innermost item."""

    def encapsulated(self, tag: int, vr: str, offset: int) -> None:
        """Take the header, at a byte offset, of encapsulated pixel data (PS3.5 §A.4), whose items follow."""

    def fragment(self, offset: int, length: int) -> None:
        """Take the header of the next item of it, whose `length` bytes lie at a byte offset.

        The first item is the Basic Offset Table, the others are fragments.
        """

    def fragment_value(self, piece: memoryview) -> None:
        """Take the next piece of that item; an empty one has none."""

    def end_encapsulated(self) -> None:
        """Take the end of encapsulated pixel data."""


class _Encoding:
    """How element headers are written."""

    def __init__(self, *, explicit: bool, little_endian: bool) -> None:
        order = "<" if little_endian else ">"
        self.explicit = explicit
        self.little_endian = little_endian
        self.implicit_header = Struct(f"{order}HHL").unpack_from
        self.explicit_header = Struct(f"{order}HH2sH").unpack_from
        self.long_length = Struct(f"{order}L").unpack_from


_IMPLICIT: Final = _Encoding(explicit=False, little_endian=True)
_EXPLICIT: Final = _Encoding(explicit=True, little_endian=True)
_BIG_ENDIAN: Final = _Encoding(explicit=True, little_endian=False)
_IMPLICIT_BIG_ENDIAN: Final = _Encoding(explicit=False, little_endian=False)


class _Holds(Enum):
    """What the next header is."""

    ELEMENTS = "elements"
    ITEMS = "items"
    FRAGMENTS = "fragments"


class _Level:
    """The data set, a sequence, an item, or encapsulated pixel data."""

    __slots__ = ("bound", "encoding", "end", "holds", "start", "tag")

    def __init__(self, holds: _Holds, tag: int, encoding: _Encoding, start: int, end: int, bound: int) -> None:
        self.holds = holds
        self.tag = tag
        self.encoding = encoding
        self.start = start
        self.end = end
        self.bound = bound


class Tokenizer:
    """Reads one data set, without preamble and file meta information.

    The transfer syntax must not be deflated: inflate first. With `longest_verbatim`, elements of a Little Endian data
    set with values of up to so many bytes may be told in runs, as they are encoded, group lengths among them. `offset`
    is what byte offsets begin with, for a data set that lies in something else.

    Errors are `PeerError`s that name the element and its byte offset, or the limit that was exceeded. After one the
    tokenizer is of no more use.
    """

    def __init__(
        self,
        transfer_syntax_uid: str,
        visitor: Visitor,
        *,
        limits: Limits = DEFAULT_LIMITS,
        longest_verbatim: int = 0,
        offset: int = 0,
    ) -> None:
        syntax = describe(transfer_syntax_uid)
        encoding = _BIG_ENDIAN if not syntax.little_endian else _EXPLICIT if syntax.explicit else _IMPLICIT
        self._visitor = visitor
        self._max_nesting_depth = limits.max_nesting_depth
        self._levels = [_Level(_Holds.ELEMENTS, 0, encoding, offset, _NOWHERE, _NOWHERE)]
        self._run_end: RunEnd | None = None
        if longest_verbatim and syntax.little_endian:
            self._run_end = explicit_run_end if syntax.explicit else implicit_run_end
        self._run_encoding = encoding
        self._longest_verbatim = longest_verbatim
        self._vrs = ImplicitVR()
        self._depth = 0
        self._offset = offset
        # Of the element that is told just now, from `_offset`: adding up is left to those who ask.
        self._element_at = 0
        self._value_at = 0
        self._held = bytearray()
        self._needed = 0
        self._remaining = 0
        self._tell: Callable[[memoryview], None] | None = None
        self._swap: Swap | None = None

    @property
    def held(self) -> int:
        """Bytes kept until the header or value that they begin is whole."""
        return len(self._held)

    @property
    def element_offset(self) -> int:
        """Bytes before the element of which `element`, `begin_value` or `encapsulated` tells just now."""
        return self._offset + self._element_at

    @property
    def value_offset(self) -> int:
        """Bytes before its value, as it lies in the data set."""
        return self._offset + self._value_at

    def feed(self, data: Piece) -> None:
        """Read on; the visitor may keep the views of `data` that it is given."""
        view = memoryview(data)
        while self._held:
            missing = self._needed - len(self._held)
            self._held += view[:missing]
            if len(view) < missing:
                return
            view = view[missing:]
            held, self._held = self._held, bytearray()
            self._held = held[self._read(memoryview(held)) :]
        read = self._read(view)
        if read < len(view):
            self._held += view[read:]

    def finish(self) -> None:
        """Say that there is no more; raises `PeerError` when something was cut short."""
        if self._held or self._remaining:
            raise PeerError(f"the data set is cut short after {self._offset + len(self._held)} bytes", source=0)
        if len(self._levels) > 1:
            raise malformed("the data set ends within it", self._levels[-1].tag, self._offset)

    def _read(self, view: memoryview) -> int:
        """Read what is whole in `view`; return how much that was, and set `_needed` to what the next token takes."""
        visitor, size = self._visitor, len(view)
        origin, position = self._offset, 0
        run_end, run_encoding, longest_verbatim = self._run_end, self._run_encoding, self._longest_verbatim
        while True:
            if self._remaining:
                position = self._read_on(view, position)
                if self._remaining:
                    break
            level = self._levels[-1]
            if origin + position >= level.end:
                self._leave(level)
                continue
            if size - position < _HEADER_LENGTH:
                self._needed = _HEADER_LENGTH
                break
            if level.holds is not _Holds.ELEMENTS:
                position = self._read_item(view, position, level)
                continue

            if run_end is not None and level.encoding is run_encoding:
                stop = run_end(view, position, min(size, level.bound - origin), longest_verbatim)
                if stop > position:
                    visitor.verbatim(view[position:stop])
                    position = stop
                    continue

            tag, vr, start, length = self._header(view, position, level)
            if start > size:
                self._needed = start - position
                break
            stop = start if length == UNDEFINED_LENGTH else start + length
            if origin + stop > level.bound:
                raise malformed("it reaches beyond what holds it", tag, origin + position)
            if tag >= _DELIMITERS_BEGIN:
                self._end_item(tag, length, origin + position, level)
                position = start
            elif length == UNDEFINED_LENGTH:
                self._element_at = position
                self._value_at = start
                self._begin_undefined(tag, vr, origin + position, level)
                position = start
            elif vr == "SQ" and length:
                self._begin_sequence(tag, level.encoding, origin + position, origin + stop, origin + stop)
                position = start
            elif stop <= size:
                if tag & _NOT_GROUP_LENGTH:
                    value = view[start:stop]
                    if not level.encoding.little_endian and vr in WORD_LENGTHS:
                        value = swapped(value, _word_length(tag, vr, length, origin + position))
                    if tag not in PUBLIC_VRS:
                        self._vrs.note(tag, value)
                    self._element_at = position
                    self._value_at = start
                    visitor.element(tag, vr, value)
                position = stop
            elif length <= LONGEST_WHOLE_VALUE:
                self._needed = stop - position
                break
            else:
                self._element_at = position
                self._value_at = start
                self._begin_value(tag, vr, length, level)
                position = start
        self._offset = origin + position
        return position

    def _header(self, view: memoryview, position: int, level: _Level) -> tuple[int, str, int, int]:
        """Return tag, VR, where the value starts, and its length, which means nothing when the start is not there."""
        encoding = level.encoding
        if not encoding.explicit:
            group, number, length = encoding.implicit_header(view, position)
            tag = group << 16 | number
            return tag, PUBLIC_VRS.get(tag) or self._vrs.resolve(tag), position + _HEADER_LENGTH, length
        group, number, code, length = encoding.explicit_header(view, position)
        tag = group << 16 | number
        vr = _SHORT_CODES.get(code)
        if vr is not None:
            return tag, vr, position + _HEADER_LENGTH, length
        vr = _LONG_CODES.get(code, UNKNOWN_VR)
        if tag >= _DELIMITERS_BEGIN or not (code.isalpha() and code.isupper()):
            return self._header_without_vr(view, position, tag, level)
        if length and vr == UNKNOWN_VR and code != b"UN":
            return tag, vr, position + _HEADER_LENGTH, length
        start = position + _LONG_HEADER_LENGTH
        if start <= len(view):
            (length,) = encoding.long_length(view, position + _HEADER_LENGTH)
        return tag, vr, start, length

    def _header_without_vr(self, view: memoryview, position: int, tag: int, level: _Level) -> tuple[int, str, int, int]:
        (length,) = level.encoding.long_length(view, position + 4)
        if tag >= _DELIMITERS_BEGIN:
            return tag, UNKNOWN_VR, position + _HEADER_LENGTH, length
        if self._offset + position == level.start:
            level.encoding = _IMPLICIT if level.encoding.little_endian else _IMPLICIT_BIG_ENDIAN
        return tag, self._vrs.resolve(tag), position + _HEADER_LENGTH, length

    def _begin_value(self, tag: int, vr: str, length: int, level: _Level) -> None:
        """Begin a value that comes in pieces."""
        self._remaining = length
        if not tag & _NOT_GROUP_LENGTH:
            self._tell = None
            return
        self._tell = self._visitor.value
        if not level.encoding.little_endian and vr in WORD_LENGTHS:
            self._swap = Swap(_word_length(tag, vr, length, self.element_offset))
        self._visitor.begin_value(tag, vr, length)

    def _read_on(self, view: memoryview, position: int) -> int:
        """Tell or skip what there is of a value that began earlier."""
        piece = view[position : position + self._remaining]
        position += len(piece)
        self._remaining -= len(piece)
        if self._tell is not None:
            if self._swap is not None:
                piece = self._swap.feed(piece)
            if piece:
                self._tell(piece)
        if not self._remaining:
            self._swap = None
        return position

    def _read_item(self, view: memoryview, position: int, level: _Level) -> int:
        """Read the header of an item or fragment, or the delimiter of all of them."""
        group, number, length = level.encoding.implicit_header(view, position)
        tag = group << 16 | number
        here = self._offset + position
        position += _HEADER_LENGTH
        start = here + _HEADER_LENGTH
        stop = start if length == UNDEFINED_LENGTH else start + length
        if stop > level.bound:
            raise malformed("it reaches beyond what holds it", tag, here)
        if tag == SEQUENCE_DELIMITATION and level.end == _NOWHERE:
            self._leave(level)
            return position
        if tag != ITEM:
            raise malformed("an item was expected", tag, here)
        if level.holds is _Holds.FRAGMENTS:
            if length == UNDEFINED_LENGTH:
                raise malformed("a fragment of undefined length", tag, here)
            self._remaining = length
            self._tell = self._visitor.fragment_value
            self._visitor.fragment(start, length)
            return position
        end, bound = (_NOWHERE, level.bound) if length == UNDEFINED_LENGTH else (stop, stop)
        self._levels.append(_Level(_Holds.ELEMENTS, level.tag, level.encoding, start, end, bound))
        self._vrs.enter_item(level.tag)
        self._visitor.begin_item()
        return position

    def _end_item(self, tag: int, length: int, here: int, level: _Level) -> None:
        """End the innermost item, whose end is known already when its length is defined."""
        if tag != ITEM_DELIMITATION or length or len(self._levels) == 1:
            raise malformed("a delimiter among data elements", tag, here)
        if level.end == _NOWHERE:
            self._leave(level)

    def _begin_undefined(self, tag: int, vr: str, here: int, level: _Level) -> None:
        encoding = level.encoding
        if vr in _FRAGMENTED_VRS and (encoding.explicit or tag == _PIXEL_DATA):
            self._visitor.encapsulated(tag, vr, here)
            self._levels.append(_Level(_Holds.FRAGMENTS, tag, encoding, here, _NOWHERE, level.bound))
            return
        if encoding.explicit and vr != "SQ":
            if vr != UNKNOWN_VR:
                raise malformed(f"VR {vr} with undefined length", tag, here)
            encoding = _EXPLICIT
        self._begin_sequence(tag, encoding, here, _NOWHERE, level.bound)

    def _begin_sequence(self, tag: int, encoding: _Encoding, here: int, end: int, bound: int) -> None:
        if self._depth == self._max_nesting_depth:
            raise malformed(f"nested deeper than MAX_NESTING_DEPTH ({self._max_nesting_depth})", tag, here)
        self._depth += 1
        self._levels.append(_Level(_Holds.ITEMS, tag, encoding, here, end, bound))
        self._visitor.begin_sequence(tag)

    def _leave(self, level: _Level) -> None:
        self._levels.pop()
        if level.holds is _Holds.ITEMS:
            self._depth -= 1
            self._visitor.end_sequence()
        elif level.holds is _Holds.ELEMENTS:
            self._vrs.leave_item()
            self._visitor.end_item()
        else:
            self._visitor.end_encapsulated()


def _word_length(tag: int, vr: str, length: int, here: int) -> int:
    word_length = WORD_LENGTHS[vr]
    if length % word_length:
        raise malformed(f"{length} bytes are no whole number of {vr} words", tag, here)
    return word_length
