"""Frames cut out of pixel data as it passes: the rules of `frames`, as far as they go without looking ahead."""

from array import array
from collections.abc import Iterator
from typing import Final

from harmonygw.dicom.dataset.elements import Buffer
from harmonygw.dicom.dataset.frames import (
    LONGEST_SIGNATURE,
    MAX_FRAGMENTS,
    begins_codestream,
    offsets_in,
    realign,
)
from harmonygw.errors import PeerError

LONGEST_OFFSET_TABLE: Final = MAX_FRAGMENTS * 8
"""Bytes of an offset table that are kept; a longer one is of no use."""


class NativeCut:
    """Cuts native pixel data into `count` frames of `frame_bits` bits (PS3.5 §8.1.1)."""

    def __init__(self, frame_bits: int, count: int) -> None:
        self._frame_bits = frame_bits
        self._left = count
        self._held = bytearray()
        self._bit = 0

    def feed(self, piece: Buffer) -> Iterator[bytes]:
        """Yield the frames that are whole by now; what follows the last is ignored."""
        if not self._left:
            return
        self._held += piece
        end = self._bit + self._frame_bits
        while self._left and len(self._held) * 8 >= end:
            with memoryview(self._held) as held:
                frame = realign(held[: (end + 7) // 8], self._bit, self._frame_bits)
            del self._held[: end // 8]
            self._left -= 1
            self._bit = end % 8
            end = self._bit + self._frame_bits
            yield frame

    @property
    def left(self) -> int:
        """Frames that are still to come."""
        return self._left


class EncapsulatedCut:
    """Cuts encapsulated pixel data into `count` frames (PS3.5 §A.4).

    A frame begins where the offset table says so, else where a codestream begins if the first fragment begins with one,
    else with each fragment; `one_fragment_each` says that it is always so. A table that turns out to be wrong is
    given up for the next rule, if that would have given the same until then. A frame has at most `limit` bytes; one and
    the fragment behind it are held.

    Errors are `PeerError`s: when frames cannot be told apart, when there are more or fewer than `count`, when one has
    no bytes, or more than the limit.
    """

    def __init__(
        self,
        count: int,
        limit: int,
        *,
        one_fragment_each: bool = False,
        extended_offsets: Buffer = b"",
        extended_lengths: Buffer = b"",
    ) -> None:
        self._count = count
        self._limit = limit
        self._one_fragment_each = one_fragment_each
        self._extended_offsets = offsets_in(extended_offsets, extended=True)
        self._frame_lengths = offsets_in(extended_lengths, extended=True)
        self._table = bytearray()
        self._table_length = -1
        self._offsets: array[int] | None = None
        """Where frames begin, as long as that can be believed."""
        self._base = -1
        """Where the first fragment lies."""
        self._place = 0
        """Where the last one does."""
        self._held = bytearray()
        self._boundary = 0
        """Bytes held before the last fragment."""
        self._begun = 0
        self._ended = 0
        self._codestreams = 0
        self._by_codestream = False
        self._second = -1
        """Where the Basic Offset Table says that a second frame begins, if it does."""
        self._agreed = True
        """Whether the rule that does without the table would have cut the same so far."""

    def begin(self, offset: int, length: int) -> list[bytes]:
        """Take the header of the next item, the Basic Offset Table first; return the frame that is whole, if one is."""
        if self._table_length < 0:
            self._table_length = length
            return []
        whole = self._settle()
        self._check_length(length)
        self._boundary = len(self._held)
        self._place = offset
        if self._base < 0:
            self._base = offset
        return whole

    def value(self, piece: Buffer) -> None:
        """Take the next piece of that item."""
        if self._base >= 0:
            self._held += piece
        elif self._table_length <= LONGEST_OFFSET_TABLE:
            self._table += piece

    def finish(self) -> list[bytes]:
        """Return the frames that are left: all fragments have been told."""
        whole = self._settle()
        if self._begun:
            whole.append(self._frame(len(self._held)))
        if self._begun != self._count:
            raise self._untold()
        return whole

    def _settle(self) -> list[bytes]:
        """Decide about the last fragment, which is whole by now: does it begin a frame, and so end one?"""
        if self._base < 0:
            return []
        if not self._begins():
            self._check_length(len(self._held))
            return []
        self._begun += 1
        if self._begun > self._count:
            raise self._untold()
        return [self._frame(self._boundary)] if self._begun > 1 else []

    def _frame(self, end: int) -> bytes:
        """Cut off the frame that has ended: the last begun but one, or the last of all."""
        frame = bytes(self._held[:end])
        del self._held[:end]
        if not frame:
            raise PeerError(f"frame {self._ended + 1} of {self._count} has no bytes", source=0)
        if self._offsets is self._extended_offsets and len(self._frame_lengths) == self._count:
            padding = len(frame) - self._frame_lengths[self._ended]
            frame = frame[:-1] if padding == 1 else frame
        self._ended += 1
        return frame

    def _check_length(self, length: int) -> None:
        if length > self._limit:
            raise PeerError(f"a frame exceeds MAX_FRAME_BYTES ({self._limit} bytes)", source=0)

    def _begins(self) -> bool:
        beginning = self._held[self._boundary : self._boundary + LONGEST_SIGNATURE]
        codestream = begins_codestream(beginning)
        self._codestreams += codestream
        if not self._begun:
            self._by_codestream = codestream
            offsets = offsets_in(self._table)
            self._second = offsets[1] if len(offsets) > 1 else -1
            self._offsets = self._believable(offsets)
            return True
        relative = self._place - self._base
        if self._count == 1:
            self._check_single(relative)
            return False
        if self._one_fragment_each:
            return True
        otherwise = codestream or not self._by_codestream
        if self._offsets is None:
            return otherwise
        following = self._offsets[self._begun] if self._begun < self._count else None
        begins = relative == following
        if following is not None and (relative > following or (begins and not otherwise)):
            self._offsets = None
            if not self._agreed:
                raise self._untold()
            return otherwise
        self._agreed = self._agreed and begins == otherwise
        return begins

    def _believable(self, basic_offsets: "array[int]") -> "array[int] | None":
        """Return the offset table that could be right, the Extended one first."""
        for offsets in (self._extended_offsets, basic_offsets):
            if len(offsets) == self._count and not offsets[0]:
                return offsets
        return None

    def _check_single(self, relative: int) -> None:
        """Refuse what is said to be one frame and is several."""
        if self._offsets is None and (self._codestreams > 1 or relative == self._second):
            raise self._untold()

    def _untold(self) -> PeerError:
        return PeerError(f"the {self._count} frames of the instance cannot be told apart as it passes", source=0)
