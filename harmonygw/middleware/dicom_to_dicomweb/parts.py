"""The parts of a response to a Retrieve, and the instance in each, read while they arrive (PS3.18 §10.4.3, PS3.10 §7).

Each part's file meta information and leading attributes are read before the instance is given away; from then on its
bytes flow as the server sends them. A part ends with a delimiter and with nothing else, so that an instance that was
cut short never ends cleanly.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, Protocol

from harmonygw.dicom.dataset.part10_reading import Part10Reading
from harmonygw.dicom.web.media_types import DICOM, MULTIPART, MediaRange, parse_content_type
from harmonygw.dicom.web.multipart_reading import Event, MultipartReading, PartHeader
from harmonygw.errors import BadRequest, Incomplete, PeerError, TransportError
from harmonygw.exchange import Reply
from harmonygw.middleware.dicom_to_dicomweb.origin import content_type, discard
from harmonygw.streams import Body, Cancelled, Instance, Piece, Pieces

MAX_EPILOGUE_LENGTH: Final = 65536
"""Bytes after the closing delimiter that are read, so that the connection can be used again; more gives it up."""

LONGEST_MEDIA_TYPE: Final = 80
"""Characters of a media type that an error shows."""


class _Reading(Protocol):
    """Takes a body apart."""

    ended: bool

    def feed(self, data: bytes) -> Iterable[Event]:
        """Read on."""


class Parts:
    """The instances of one reply, in its order. One at a time: the next one discards what is left of the last."""

    def __init__(self, body: Body, reading: _Reading) -> None:
        self._body = body
        self._reading = reading
        self._events: Iterator[Event] = iter(())
        self._part: PartHeader | None = None
        self._data_set: _DataSet | None = None
        self.remarks: list[str] = []
        """Sentences for the operator: in what the present part contradicts itself."""

    @classmethod
    async def of(cls, reply: Reply) -> "Parts":
        """Return the parts of a reply; raises `PeerError`, and gives the body up, when there can be no instances."""
        media_type = content_type(reply)
        outer = "something" if media_type is None else media_type.media_type
        if reply.body is not None and outer == DICOM:
            return cls(reply.body, _OneInstance())
        try:
            if reply.body is not None and outer == MULTIPART:
                return cls(reply.body, MultipartReading(_parameter(media_type, "boundary")))
        except BadRequest as error:
            await discard(reply)
            raise _unreadable(error) from error
        await discard(reply)
        raise PeerError(f"the DICOMweb server answers with {outer[:LONGEST_MEDIA_TYPE]} instead of instances")

    async def next(self) -> Instance | None:
        """Return the next instance, its identity known; None at the end of the whole reply.

        Raises `PeerError` for what is no DICOM file, or a malformed one; `Incomplete` when the reply ends too early;
        and what its body raises.
        """
        if self._data_set is not None:
            self._data_set.give_up()
        while self._part is not None:
            await self.read()
        try:
            header = await self._next_event()
        except StopAsyncIteration:
            return None
        if not isinstance(header, PartHeader):
            raise PeerError("the DICOMweb server's answer has no part where one should begin")
        named = header.fields.get("content-type", DICOM)
        media_type = parse_content_type(named)
        if media_type is None or media_type.media_type != DICOM:
            raise PeerError(f"the DICOMweb server sent a part of {named[:LONGEST_MEDIA_TYPE]} instead of an instance")
        self._part = header
        try:
            return await self._identified(_parameter(media_type, "transfer-syntax"))
        except BadRequest as error:
            raise _unreadable(error) from error

    async def read(self) -> list[Piece] | None:
        """Return what has come of the present part, as much as one read brought; None once it has ended."""
        if self._part is None:
            return None
        event = await self._next_event()
        pieces: list[Piece] = []
        while isinstance(event, bytes):
            pieces.append(event)
            ahead = self._take()
            if not ahead:
                return pieces
            (event,) = ahead
        if pieces:
            self._events = chain((event,), self._events)
            return pieces
        part, self._part = self._part, None
        if part.announced_length not in (None, part.bytes_received):
            raise PeerError("the DICOMweb server sent a part that is not as long as its header says")
        return None

    async def aclose(self) -> None:
        """Give the reply up; harmless after its end."""
        await self._body.aclose()

    async def _identified(self, announced: str) -> Instance:
        """Read the beginning of the part's file, and return who it is: the data set says so, whatever stands before it.

        `announced` is the transfer syntax that the part's header names, if it does: the file decides.
        """
        file = Part10Reading()
        while not file.identified:
            pieces = await self.read()
            if pieces is None:
                file.end()
                break
            held = iter(pieces)
            if any(map(file.feed, held)):
                file.data_set.extend(held)
        self.remarks = []
        if announced not in ("", file.transfer_syntax_uid):
            self.remarks.append("a part names another transfer syntax than its file, which was believed")
        if file.claims_another_class or file.claims_another_instance:
            self.remarks.append(
                "a file's meta information names another instance than its data set, which was believed"
            )
        values = file.values
        for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            if not values.get(keyword):
                raise PeerError(f"the DICOMweb server sent an instance that does not tell its {keyword}")
        self._data_set = _DataSet(self, file.data_set)
        return Instance(
            values["SOPClassUID"],
            values["SOPInstanceUID"],
            file.transfer_syntax_uid,
            self._data_set,
            study_instance_uid=values["StudyInstanceUID"],
            series_instance_uid=values["SeriesInstanceUID"],
            leading=values,
        )

    async def _next_event(self) -> Event:
        """Return the next event; raises `StopAsyncIteration` behind the closing delimiter."""
        while not (ahead := self._take()):
            if self._reading.ended:
                await self._read_epilogue()
                raise StopAsyncIteration
            try:
                pieces = await self._body.__anext__()
            except StopAsyncIteration as end:
                if not isinstance(self._reading, _OneInstance):
                    raise Incomplete("the DICOMweb server's answer ended before its closing delimiter") from end
                self._events = self._reading.finish()
            else:
                self._events = chain.from_iterable(self._reading.feed(bytes(piece)) for piece in pieces)
        return ahead[0]

    def _take(self) -> tuple[Event, ...]:
        """Return an event that is there already, or nothing."""
        try:
            for event in self._events:
                return (event,)
        except BadRequest as error:
            raise _unreadable(error) from error
        return ()

    async def _read_epilogue(self) -> None:
        """Read to the end, so that the connection can be used again; the delimiter has said that nothing is missing."""
        passed = 0
        try:
            async for pieces in self._body:
                passed += sum(map(len, pieces))
                if passed > MAX_EPILOGUE_LENGTH:
                    await self._body.aclose()
                    return
        except TransportError:
            pass  # a server that ends a body by closing the connection may do it in any way


class _OneInstance:
    """A body that is one file by itself, as the only part of it."""

    def __init__(self) -> None:
        self._part: PartHeader | None = None
        self.ended = False

    def feed(self, data: bytes) -> Iterator[Event]:
        if self._part is None:
            self._part = PartHeader({})
            yield self._part
        yield data

    def finish(self) -> Iterator[Event]:
        self.ended = True
        return iter((None,))


class _DataSet:
    """The data set of the present part."""

    def __init__(self, parts: Parts, leading: list[Piece]) -> None:
        self._parts = parts
        self._leading = leading
        self._given_up = False

    def __aiter__(self) -> "_DataSet":
        return self

    async def __anext__(self) -> Pieces:
        if self._given_up:
            raise Cancelled("the data set was given up")
        if self._leading:
            pieces, self._leading = self._leading, []
            return pieces
        read = await self._parts.read()
        if read is None:
            raise StopAsyncIteration
        return read

    def give_up(self) -> None:
        """Let go of it: what is to come is passed over when the next instance is asked for."""
        self._given_up = True
        self._leading = []

    async def aclose(self) -> None:
        """Give the rest of the data set up."""
        self.give_up()


def _parameter(media_type: MediaRange | None, name: str) -> str:
    parameters = media_type.parameters if media_type is not None else ()
    return next((value for one, value in parameters if one == name), "")


def _unreadable(error: BadRequest) -> PeerError:
    return PeerError(f"the DICOMweb server's answer cannot be read: {error.detail}")
