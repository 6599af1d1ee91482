"""The parts of a Store request, as they arrive; nothing of them is kept here.

A body that is no multipart is one part. The body may fail in two ways. Broken off (the client went away, was too slow,
or sent more than it may), there is nobody to tell what was stored. Malformed, whole parts before the fault stand.
"""

from collections.abc import Iterator
from enum import Enum

from harmonygw.dicom.web.multipart_reading import Event, MultipartReading, PartHeader
from harmonygw.dicom.web.store_media_types import StoreForm
from harmonygw.errors import BadRequest, HarmonyError, PeerError
from harmonygw.streams import Body, Pieces


class _Known(Enum):
    """What is known of the body so far."""

    NO_MORE = "no more"


class IncomingPart:
    """One part: its header, and a stream of its content, which ends when the part is whole."""

    def __init__(self, parts: "PartsReader", header: PartHeader) -> None:
        self._parts = parts
        self.header = header

    @property
    def content_type(self) -> str | None:
        """Its Content-Type; None when it has none."""
        return self.header.fields.get("content-type")

    @property
    def ended(self) -> bool:
        """Whether all of it has been read."""
        return self.header.complete

    def __aiter__(self) -> "IncomingPart":
        return self

    async def __anext__(self) -> Pieces:
        """Return what one read brought; raises what ends the body too early, and `PeerError` for a wrong length."""
        if not self.header.complete:
            pieces = await self._parts.content()
            if pieces is not None:
                return pieces
        announced = self.header.announced_length
        if announced is not None and announced != self.header.bytes_received:
            raise PeerError(
                f"the part has {self.header.bytes_received} bytes, and its Content-Length says {announced}", source=0
            )
        raise StopAsyncIteration


class PartsReader:
    """Reads the parts of one body, one after another."""

    def __init__(self, body: Body, form: StoreForm, content_type: str | None) -> None:
        self._body = body
        self._reading = MultipartReading(form.boundary) if form.boundary else None
        self._single = PartHeader({} if content_type is None else {"content-type": content_type})
        self._events: Iterator[Event] = iter(())
        self._current: IncomingPart | None = None
        self.broken: HarmonyError | None = None
        """What broke the body off."""
        self.malformed: BadRequest | None = None
        """What is wrong with the body as a multipart; nothing behind that can be read."""
        self.ended = False
        """Whether the last part has been read to its end."""

    @property
    def is_within_part(self) -> bool:
        """Whether a part has begun and not ended."""
        return self._current is not None and not self._current.ended

    def break_off(self, error: HarmonyError) -> HarmonyError:
        """Read no more, as if the body had been broken off by `error`; returns it."""
        self.broken = self.broken or error
        return self.broken

    async def next_part(self) -> IncomingPart | None:
        """Return the next part, or None when there is none; what is left of the one before is read and dropped.

        Raises what breaks the body off, and `malformed`.
        """
        if self._current is not None:
            while not self._current.header.complete:
                await self.content()
        if self._reading is None:
            if self._current is not None:
                self.ended = True
                return None
            return self._begin(self._single)
        while True:
            event = self._next_event()
            if isinstance(event, PartHeader):
                return self._begin(event)
            if self._reading.ended:
                self.ended = True
                return None
            await self._read_on(self._reading)

    def _begin(self, header: PartHeader) -> IncomingPart:
        self._current = IncomingPart(self, header)
        return self._current

    async def content(self) -> Pieces | None:
        """Return more of the current part's content, or None at its end; raises as `next_part` does."""
        while True:
            if self._reading is None:
                pieces = await self._read()
                if pieces is None:
                    self._single.complete = True
                else:
                    self._single.bytes_received += sum(map(len, pieces))
                return pieces
            event = self._next_event()
            if event is None:
                return None
            if isinstance(event, bytes):
                return (event,)
            await self._read_on(self._reading)

    def _next_event(self) -> "Event | _Known":
        """Return the next of the events that are known; raises `malformed` in its turn."""
        if self.malformed is not None:
            raise self.malformed
        try:
            return next(self._events, _Known.NO_MORE)
        except BadRequest as error:
            self.malformed = error
            raise

    async def _read_on(self, reading: MultipartReading) -> None:
        """Have more events; raises `malformed` when the body ends before its closing delimiter."""
        pieces = await self._read()
        if pieces is None:
            self.malformed = BadRequest(
                "The body ends before its closing delimiter: something is missing, and the part that was being read is "
                "not stored."
            )
            raise self.malformed
        self._events = reading.feed(b"".join(pieces) if len(pieces) > 1 else bytes(pieces[0]))

    async def _read(self) -> Pieces | None:
        if self.broken is not None:
            raise self.broken
        try:
            async for pieces in self._body:
                return pieces
        except HarmonyError as error:
            self.broken = error
            raise
        return None
