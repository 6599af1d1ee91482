"""DIMSE messages out of presentation data values, and into them (PS3.7 §6.3.1, PS3.8 Annex E).

A message is a command set and, when that announces one, a data set, each in one or more fragments. Commands
are small and are gathered; data sets are not: their fragments are passed on as they come.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from harmonygw.dicom.dimse.commands import Command, decode_command
from harmonygw.errors import PeerError

Buffer = bytes | bytearray | memoryview

MAX_COMMAND_SET_LENGTH: Final = 16384
"""Bytes of one command set. Default 16 KiB: none of PS3.7 takes 500, Offending Element aside, which has no
limit; four thousand tags of it are enough."""

PDV_HEADER_LENGTH: Final = 6
"""Bytes of a presentation data value item before its fragment: length, context ID, control header (PS3.8
§9.3.5.1)."""

LONGEST_FRAGMENT: Final = 131072
"""Bytes of the longest fragment that is made of a data set on its way, whatever the peer takes. Default 128 KiB: what
has come of an object waits until a fragment is full, and should not wait long."""

_UNEXPECTED: Final = 5
"""The reason of an A-ABORT for an unexpected PDU parameter (PS3.8 Table 9-26)."""
_INVALID: Final = 6
"""The reason of an A-ABORT for an invalid PDU parameter value."""


class CommandReceived(NamedTuple):
    """A whole command set has arrived; when `command.has_data_set`, fragments follow."""

    context_id: int
    command: Command


class DataSetFragment(NamedTuple):
    """Bytes of the data set of the command before; `is_last` ends it, maybe with no bytes at all."""

    context_id: int
    data: memoryview
    is_last: bool


class PDV(NamedTuple):
    """A presentation data value to be sent."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


class MessageReader:
    """Puts the fragments that arrive on one association together, and holds them to their order.

    Fragments of two messages are never mixed, and all fragments of a message come in the same presentation
    context (PS3.8 §E.1). After a `PeerError` the reader is of no more use.
    """

    def __init__(self) -> None:
        self._command_set = bytearray()
        self._context_id: int | None = None
        self._data_set_follows = False

    def feed(
        self, context_id: int, is_command: bool, is_last: bool, data: memoryview
    ) -> CommandReceived | DataSetFragment | None:
        """Take a fragment, or a piece of one; None says that a command set is not whole yet.

        Raises `PeerError` for a fragment out of order, a command set beyond `MAX_COMMAND_SET_LENGTH`, and
        what `decode_command` raises it for.
        """
        if context_id != self._context_id and self._context_id is not None:
            raise _out_of_order(f"context {context_id} amid a message of context {self._context_id}", context_id)
        if self._data_set_follows:
            if is_command:
                raise _out_of_order("a command set before the data set ended", context_id)
            if is_last:
                self._data_set_follows = False
                self._context_id = None
            return DataSetFragment(context_id, data, is_last)
        if not is_command:
            raise _out_of_order("a data set without a command that announces it", context_id)
        if len(self._command_set) + len(data) > MAX_COMMAND_SET_LENGTH:
            raise PeerError(
                f"a command set exceeds MAX_COMMAND_SET_LENGTH ({MAX_COMMAND_SET_LENGTH} bytes)",
                reason=_INVALID,
            )
        if not is_last:
            self._context_id = context_id
            self._command_set += data
            return None
        if self._command_set:
            self._command_set += data
            command = decode_command(self._command_set)
            self._command_set.clear()
        else:
            command = decode_command(data)
        self._data_set_follows = command.has_data_set
        self._context_id = context_id if command.has_data_set else None
        return CommandReceived(context_id, command)


def _out_of_order(what: str, context_id: int) -> PeerError:
    return PeerError(f"message out of order in presentation context {context_id}: {what}", reason=_UNEXPECTED)


def pdvs(context_id: int, data: Buffer, *, is_command: bool, max_length: int) -> Iterator[PDV]:
    """Split a command set or data set so that each fragment, with its header, fits a P-DATA-TF PDU.

    `max_length` is what the peer takes as variable field of one, in bytes. Each fragment has an even number
    of bytes (PS3.8 §E.1). Nothing is copied; no data makes one empty last fragment. Raises `PeerError` when
    `max_length`, the peer's choice, leaves room for less than two bytes.
    """
    room = _room(max_length)
    view = memoryview(data)
    last_offset = max(len(view) - 1, 0) // room * room
    for offset in range(0, last_offset, room):
        yield PDV(context_id, is_command, False, view[offset : offset + room])
    yield PDV(context_id, is_command, True, view[last_offset:])


def _room(max_length: int) -> int:
    """Return the bytes of the longest fragment of even length that fits a PDU."""
    room = (max_length - PDV_HEADER_LENGTH) & ~1
    if room < 2:
        raise PeerError(f"a maximum PDU length of {max_length} leaves no room for a message", reason=_INVALID)
    return room


class OutgoingDataSet:
    """Cuts a data set, while it comes, into fragments that fill P-DATA-TF PDUs (PS3.8 §E.1). Nothing is copied.

    `max_length` is what the peer takes as variable field of one PDU, in bytes. However the pieces come, every fragment
    but the last has the same, even number of bytes. What does not fill one is held, and so is what may be the last.
    Raises `PeerError` when `max_length` leaves room for less than two bytes.
    """

    def __init__(self, max_length: int) -> None:
        self._room = min(_room(max_length), LONGEST_FRAGMENT)
        self._held: list[Buffer] = []
        self.held = 0
        """Bytes that are held: a fragment's at most."""

    def feed(self, pieces: Sequence[Buffer]) -> list[list[Buffer]]:
        """Return the fragments that are full, each the pieces that it is made of, and not the last."""
        fragments: list[list[Buffer]] = []
        room = self._room
        for piece in pieces:
            length = len(piece)
            start = 0
            while self.held + length - start > room:
                end = start + room - self.held
                if end > start:
                    self._held.append(memoryview(piece)[start:end])
                fragments.append(self._held)
                self._held, self.held, start = [], 0, end
            if length > start:
                self._held.append(memoryview(piece)[start:] if start else piece)
                self.held += length - start
        return fragments

    def finish(self) -> list[Buffer]:
        """Return the last fragment, which has no pieces when there was no data at all."""
        last, self._held, self.held = self._held, [], 0
        return last
