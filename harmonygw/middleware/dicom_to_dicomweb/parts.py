"""The parts of a response to a Retrieve, and the instance in each, read while they arrive (PS3.18 §10.4.3, PS3.10 §7).

Each part's file meta information and leading attributes are read before the instance is given away; from then on its
bytes flow as the server sends them. A part ends with a delimiter and with nothing else, so that an instance that was
cut short never ends cleanly.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Final

from harmonygw.dicom.dataset.part10_reading import Part10Reading
from harmonygw.dicom.web.media_types import DICOM, MULTIPART, MediaRange, parse_content_type
from harmonygw.dicom.web.multipart_reading import Event, MultipartReading, PartHeader
from harmonygw.errors import BadRequest, Incomplete, PeerError
from harmonygw.exchange import Reply
from harmonygw.middleware.dicom_to_dicomweb.origin import content_type, discard
from harmonygw.streams import Body, Cancelled, Instance, Piece, Pieces

MAX_EPILOGUE_LENGTH: Final = 65536
"""Bytes after the closing delimiter that are read, so that the connection can be used again; more gives it up."""

LONGEST_MEDIA_TYPE: Final = 80
"""Characters of a media type that an error shows."""


class Parts:
    """The instances of one reply, in its order. One at a time: the next one discards what is left of the last."""

    def __init__(self, body: Body, boundary: str | None) -> None:
        """Without a `boundary` the body is one instance by itself."""
        self._body = body
        self._reading = MultipartReading(boundary) if boundary is not None else None
        self._events: Iterator[Event] = iter((PartHeader({}),)) if boundary is None else iter(())
        self._part: PartHeader | None = None
        self._data_set: _DataSet | None = None
        self.transfer_syntax_announced = ""
        """What the header of the present part says; the file itself decides."""

    @classmethod
    async def of(cls, reply: Reply) -> "Parts":
        """Return the parts of a reply; raises `PeerError`, and gives the body up, when it has none that are wanted."""
        media_type = content_type(reply)
        outer = media_type.media_type if media_type is not None else "something"
        boundary = _parameter(media_type, "boundary")
        if reply.body is not None and (outer == DICOM or (outer == MULTIPART and boundary)):
            try:
                return cls(reply.body, None if outer == DICOM else boundary)
            except BadRequest as error:
                await discard(reply)
                raise PeerError(f"the DICOMweb server's answer cannot be read: {error.detail}") from error
        await discard(reply)
        raise PeerError(f"the DICOMweb server answers with {outer[:LONGEST_MEDIA_TYPE]} instead of instances")

    async def next(self) -> Instance | None:
        """Return the next instance, its identity known; None at the end of the whole reply.

        Raises `PeerError` for what is no DICOM file, or a malformed one; `Incomplete` when the reply ends too early; and
        what its body raises.
        """
        if self._data_set is not None:
            await self._data_set.aclose()
            while await self.read() is not None:
                pass
            self._data_set = None
        header = await self._next_event()
        if header is None:
            return None
        if not isinstance(header, PartHeader):
            raise PeerError("the DICOMweb server's answer has content outside of its parts")
        self._part = header
        named = header.fields.get("content-type", DICOM)
        media_type = parse_content_type(named)
        if media_type is None or media_type.media_type != DICOM:
            raise PeerError(f"the DICOMweb server sent a part of {named[:LONGEST_MEDIA_TYPE]} instead of an instance")
        self.transfer_syntax_announced = _parameter(media_type, "transfer-syntax") or ""
        try:
            return await self._identified()
        except BadRequest as error:
            raise PeerError(f"the DICOMweb server sent a part that cannot be read: {error.detail}") from error

    async def read(self) -> list[Piece] | None:
        """Return what has come of the present part, as much as one read brought; None at its end."""
        if self._part is None:
            return None
        event = await self._next_event()
        pieces: list[Piece] = []
        while isinstance(event, bytes):
            pieces.append(event)
            event = next(self._events, b"")
            if event == b"":
                return pieces
        if pieces:
            self._events = chain((event,), self._events)
            return pieces
        self._end_part()
        return None

    async def aclose(self) -> None:
        """Give the reply up."""
        await self._body.aclose()
