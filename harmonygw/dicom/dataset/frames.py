"""Where the frames of pixel data lie in the bytes of a data set (PS3.5 §8 and §A.4).

Nothing here reads a file: `Fragments` gathers what a `Tokenizer` tells, a `FrameTable` answers with byte ranges. Native
frames follow from their size. Encapsulated ones are told apart by the first of these that fits the fragments: the
Extended Offset Table, the Basic Offset Table, their number, the codestreams that begin in them. An offset table is
believed only if all of it is right, and a frame that cannot be told for certain is refused, never guessed.
"""

import sys
from abc import ABC, abstractmethod
from array import array
from itertools import pairwise
from struct import Struct
from typing import Final

from harmonygw.dicom.dataset.elements import Buffer
from harmonygw.dicom.dataset.transfer_syntaxes import describe
from harmonygw.errors import NotFound, PeerError

MAX_FRAGMENTS: Final = 1_000_000
"""Fragments of the pixel data of one data set. Default 1,000,000: the tiles of the largest whole slide; 13 MB here."""

LONGEST_SIGNATURE: Final = 12
"""Bytes at the beginning of a fragment that `begins_codestream` may need."""

Range = tuple[int, int]
"""Offset in the data set, and length, in bytes."""

_ITEM_HEADER: Final = 8
_SIGNATURES: Final = (
    b"\xff\xd8\xff",  # JPEG and JPEG-LS: SOI, and the marker that must follow (ISO/IEC 10918-1 §B.2.1)
    b"\xff\x4f\xff\x51",  # JPEG 2000: SOC and SIZ (ISO/IEC 15444-1 §A.4.1)
    b"\0\0\0\x0cjP  \r\n\x87\n",  # JP2: the signature box (ISO/IEC 15444-1 §I.5.1)
)
_NATIVE, _ENCAPSULATED, _BROKEN = 0, 1, 2
_kind = Struct("<B").pack
_native = Struct("<BQQQQ")
_encapsulated = Struct("<BQLL")


def begins_codestream(data: Buffer) -> bool:
    """Return whether these first bytes of a fragment are those of a JPEG, JPEG-LS or JPEG 2000 codestream."""
    return bytes(data[:LONGEST_SIGNATURE]).startswith(_SIGNATURES)


def realign(data: Buffer, bit_offset: int, bits: int) -> bytes:
    """Return `bits` bits that begin `bit_offset` bits, 0 to 7, into `data`, at the beginning of a byte.

    The first bit of a byte is its least significant one (PS3.5 §8.1.1); what is left over of the last byte is 0.
    """
    if not bit_offset and not bits % 8:
        return bytes(data[: bits // 8])
    number = int.from_bytes(data, "little") >> bit_offset & ((1 << bits) - 1)
    return number.to_bytes((bits + 7) // 8, "little")


def offsets_in(table: Buffer, *, extended: bool = False) -> "array[int]":
    """Return the values of a Basic Offset Table, or of an Extended one; none when it is no whole number of them."""
    offsets = array("Q" if extended else "I")
    if len(table) % offsets.itemsize == 0:
        offsets.frombytes(table)
        if sys.byteorder != "little":
            offsets.byteswap()
    return offsets


class FrameTable(ABC):
    """Where the frames of one instance lie."""

    __slots__ = ()

    encapsulated: bool
    """Whether the frames are encoded as the transfer syntax says; else they are native."""
    count: int
    """How many frames the instance says it has; at least 1."""

    @abstractmethod
    def locate(self, number: int) -> tuple[Range, ...]:
        """Return the byte ranges that make up the stored frame of this number, from 1, in their order.

        Raises `NotFound` when there is no such frame, and `PeerError` when the pixel data is not what the data set
        says, so that the frame is not whole or cannot be told from the others.
        """

    @abstractmethod
    def bit_offset(self, number: int) -> int:
        """Return the bits, 0 to 7, of the first byte of a native frame that belong to the one before: see `realign`."""

    @abstractmethod
    def all_ranges(self) -> tuple[Range, ...]:
        """Return the byte ranges of the whole pixel data: its value, or every fragment, for a video stream."""

    @abstractmethod
    def to_bytes(self) -> bytes:
        """Return the table for `frame_table_from_bytes` on the same machine."""

    def _check(self, number: int) -> None:
        if not 1 <= number <= self.count:
            raise NotFound(f"there is no frame {number}: the instance has {self.count}")


class NativeFrames(FrameTable):
    """Frames that follow each other without anything between them (PS3.5 §8.1.1)."""

    __slots__ = ("_frame_bits", "_length", "_offset", "count")

    encapsulated = False

    def __init__(self, offset: int, length: int, frame_bits: int, count: int) -> None:
        self._offset = offset
        self._length = length
        self._frame_bits = frame_bits
        self.count = count

    def locate(self, number: int) -> tuple[Range, ...]:
        """Return the one range of a frame; a byte that two frames share belongs to both."""
        self._check(number)
        begin = (number - 1) * self._frame_bits
        first, last = begin // 8, (begin + self._frame_bits + 7) // 8
        if last > self._length:
            raise PeerError(
                f"frame {number} of {self.count} is not whole: it ends at byte {last} of the pixel data, "
                f"which has {self._length}",
                source=0,
            )
        return ((self._offset + first, last - first),)

    def bit_offset(self, number: int) -> int:
        """Return the bits of the first byte that belong to the frame before."""
        return (number - 1) * self._frame_bits % 8

    def all_ranges(self) -> tuple[Range, ...]:
        """Return the range of the value."""
        return ((self._offset, self._length),)

    def to_bytes(self) -> bytes:
        """Return the table as bytes."""
        return _native.pack(_NATIVE, self._offset, self._length, self._frame_bits, self.count)


class EncapsulatedFrames(FrameTable):
    """Frames in fragments (PS3.5 §A.4); `Fragments.frames` makes them."""

    __slots__ = ("_firsts", "_lengths", "_offsets", "count")

    encapsulated = True

    def __init__(self, offsets: "array[int]", lengths: "array[int]", firsts: "array[int]") -> None:
        self._offsets = offsets
        self._lengths = lengths
        self._firsts = firsts
        self.count = len(firsts)

    def locate(self, number: int) -> tuple[Range, ...]:
        """Return the ranges of the fragments that hold something of a frame."""
        self._check(number)
        end = self._firsts[number] if number < self.count else len(self._offsets)
        ranges = self._ranges(self._firsts[number - 1], end)
        if not ranges:
            raise PeerError(f"frame {number} of {self.count} has no bytes", source=0)
        return ranges

    def bit_offset(self, number: int) -> int:
        """Return 0."""
        return 0

    def all_ranges(self) -> tuple[Range, ...]:
        """Return the ranges of all fragments that hold something, without the Basic Offset Table."""
        return self._ranges(0, len(self._offsets))

    def to_bytes(self) -> bytes:
        """Return the table as bytes."""
        head = _encapsulated.pack(_ENCAPSULATED, 0, len(self._offsets), len(self._firsts))
        return head + self._offsets.tobytes() + self._lengths.tobytes() + self._firsts.tobytes()

    def _ranges(self, first: int, end: int) -> tuple[Range, ...]:
        ranges = zip(self._offsets[first:end], self._lengths[first:end], strict=True)
        return tuple((offset, length) for offset, length in ranges if length)


class UntoldFrames(EncapsulatedFrames):
    """Fragments of which nobody can say which frame they belong to."""

    __slots__ = ("_problem",)

    def __init__(self, offsets: "array[int]", lengths: "array[int]", count: int, problem: str) -> None:
        super().__init__(offsets, lengths, array("I"))
        self.count = count
        self._problem = problem

    def locate(self, number: int) -> tuple[Range, ...]:
        """Refuse, and say what is wrong."""
        self._check(number)
        raise PeerError(self._problem, source=0)

    def to_bytes(self) -> bytes:
        """Return the table as bytes."""
        head = _encapsulated.pack(_BROKEN, self.count, len(self._offsets), 0)
        return head + self._offsets.tobytes() + self._lengths.tobytes() + self._problem.encode()


def frame_table_from_bytes(data: bytes) -> FrameTable:
    """Return the table of which `to_bytes` made `data`; raises `ValueError` for anything else."""
    if data[:1] == _kind(_NATIVE) and len(data) == _native.size:
        return NativeFrames(*_native.unpack(data)[1:])
    if data[:1] not in (_kind(_ENCAPSULATED), _kind(_BROKEN)) or len(data) < _encapsulated.size:
        raise ValueError("no frame table")
    kind, count, fragments, frames = _encapsulated.unpack_from(data)
    offsets, lengths, firsts = array("Q"), array("I"), array("I")
    position = _encapsulated.size
    for numbers, size in ((offsets, fragments), (lengths, fragments), (firsts, frames)):
        end = position + size * numbers.itemsize
        if end > len(data):
            raise ValueError("a frame table that is cut short")
        numbers.frombytes(data[position:end])
        position = end
    if kind == _BROKEN:
        return UntoldFrames(offsets, lengths, count, data[position:].decode())
    if position != len(data) or any(first >= fragments for first in firsts):
        raise ValueError("a frame table that does not fit its fragments")
    return EncapsulatedFrames(offsets, lengths, firsts)


class Fragments:
    """The items of encapsulated pixel data, gathered as a `Tokenizer` tells them, at most `most` fragments."""

    def __init__(self, most: int = MAX_FRAGMENTS) -> None:
        self._most = most
        self._offsets = array("Q")
        self._lengths = array("I")
        self._starts = bytearray()
        """Whether a codestream begins with each fragment."""
        self._table = bytearray()
        self._table_length = -1
        self._beginning = bytearray()

    def __len__(self) -> int:
        return len(self._offsets)

    def begin(self, offset: int, length: int) -> None:
        """Take the next item; the first is the Basic Offset Table.

        Raises `PeerError` when there are too many.
        """
        if self._table_length < 0:
            self._table_length = length
            return
        self.end()
        if len(self._offsets) >= self._most:
            raise PeerError(f"the instance has more fragments than MAX_FRAGMENTS ({MAX_FRAGMENTS})", source=0)
        self._offsets.append(offset)
        self._lengths.append(length)

    def value(self, piece: Buffer) -> None:
        """Take a piece of that item."""
        if not self._offsets:
            if self._table_length <= MAX_FRAGMENTS * 4:  # a longer one is wrong
                self._table += piece
        elif len(self._beginning) < LONGEST_SIGNATURE:
            self._beginning += piece[: LONGEST_SIGNATURE - len(self._beginning)]

    def end(self) -> None:
        """Take the end of the last item; harmless when there was none."""
        if len(self._starts) < len(self._offsets):
            self._starts.append(begins_codestream(self._beginning))
            self._beginning = bytearray()

    def ranges(self) -> tuple[Range, ...]:
        """Return where the fragments lie that hold something."""
        return tuple((offset, length) for offset, length in zip(self._offsets, self._lengths, strict=True) if length)

    def frames(
        self, count: int, transfer_syntax_uid: str, *, extended_offsets: Buffer = b"", extended_lengths: Buffer = b""
    ) -> EncapsulatedFrames:
        """Return where `count` frames lie in these fragments, all of which have been told.

        `extended_offsets` and `extended_lengths` are the values of (7FE0,0001) and (7FE0,0002). The frames of a video
        stream are not separate: it counts as one.
        """
        lengths = self._lengths
        if describe(transfer_syntax_uid).video and self._offsets:
            return EncapsulatedFrames(self._offsets, lengths, array("I", (0,)))
        firsts = self._by_offsets(offsets_in(extended_offsets, extended=True), count)
        if firsts is not None:
            trimmed = self._trimmed(firsts, offsets_in(extended_lengths, extended=True))
            if trimmed is not None:
                return EncapsulatedFrames(self._offsets, trimmed, firsts)
        firsts = self._by_offsets(offsets_in(self._table), count) or self._by_number(count)
        if firsts is not None:
            return EncapsulatedFrames(self._offsets, lengths, firsts)
        problem = (
            f"the {count} frames of the instance cannot be told apart in {len(self)} fragments, in which "
            f"{sum(self._starts)} codestreams begin, with {self._table_length // 4} offsets"
        )
        return UntoldFrames(self._offsets, lengths, count, problem)

    def _by_offsets(self, offsets: "array[int]", count: int) -> "array[int] | None":
        """Return with which fragments the frames begin, None when the table is not there or not right."""
        if len(offsets) != count or not offsets or not self._offsets:
            return None
        base = self._offsets[0]
        firsts = array("I")
        index = 0
        for offset in offsets:
            # The table counts from the first fragment's item header to that of the frame's, so the headers cancel out.
            while index < len(self) and self._offsets[index] - base < offset:
                index += 1
            if index == len(self) or self._offsets[index] - base != offset:
                return None
            firsts.append(index)
            index += 1
        if any(self._starts) and not all(self._starts[first] for first in firsts):
            return None
        return firsts

    def _trimmed(self, firsts: "array[int]", frame_lengths: "array[int]") -> "array[int] | None":
        """Return the fragments' lengths without the padding that the Extended Offset Table leaves out."""
        if len(frame_lengths) != len(firsts):
            return None
        lengths = array("I", self._lengths)
        for (first, end), length in zip(pairwise((*firsts, len(self))), frame_lengths, strict=True):
            padding = sum(self._lengths[first:end]) - length
            if padding not in (0, 1) or padding > lengths[end - 1]:
                return None
            lengths[end - 1] -= padding
        return lengths

    def _by_number(self, count: int) -> "array[int] | None":
        """Return with which fragments the frames begin when no table says it."""
        if len(self) == count:
            return array("I", range(count))
        starts = array("I", (index for index, start in enumerate(self._starts) if start))
        if count == 1:
            # With several codestreams or offsets there are several frames, whatever NumberOfFrames says.
            several = len(starts) > 1 or self._by_offsets(offsets_in(self._table), self._table_length // 4) is not None
            return None if several or not self._offsets else array("I", (0,))
        return starts if len(starts) == count and starts[0] == 0 else None
