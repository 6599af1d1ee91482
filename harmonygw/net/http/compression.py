"""gzip for text (RFC 9110 §8.4.1.3): a part reaches the client as it comes, and what breaks off has no end.

Pixel data, multipart bodies and archives are left alone: they are compressed already, or would cost more time than they
save. The trailer with length and checksum is written at the clean end of a body alone, so that what was broken off does
not inflate without an error.
"""

import zlib
from collections import deque
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from harmonygw.errors import Incomplete
from harmonygw.exchange import Reply
from harmonygw.net.http.fields import value_of, with_vary, without
from harmonygw.streams import Body, Pieces

LEVEL: Final = 4
"""Of zlib, 1 to 9. Default 4: metadata of a series gets a third of its size at level 3, for a fifth more time; higher
levels gain little."""

MIN_BYTES: Final = 1024
"""Bytes of a body, when they are known, below which it is sent as it is: it fits into one packet anyhow."""

PIECE_BYTES: Final = 64 * 1024
"""Bytes that are compressed before the reactor has its turn. Default 64 KiB: 1 ms at most."""

_UNTOUCHED: Final = frozenset({204, 206, 304})
"""Statuses without a body, and the one whose Content-Range counts the bytes as they are."""

_GZIP_WINDOW: Final = 31
"""zlib's window of 32 KiB, with gzip's header and trailer."""

_SUBTYPES: Final = ("json", "xml")
"""What is text below `application/`, by itself and as a suffix."""


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether a client wants gzip: it takes it (RFC 9110 §12.5.3), and does not like the bytes as they are more.

    A weight that is no number counts as 0.
    """
    weights: dict[str, float] = {}
    for element in accept_encoding.lower().split(","):
        coding, *parameters = (part.strip() for part in element.split(";"))
        weights[coding] = _weight(parameters)
    others = weights.get("*", 0.0)
    gzip = max((weights[name] for name in ("gzip", "x-gzip") if name in weights), default=others)
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0


def compressible(content_type: str) -> bool:
    """Tell whether a media type is JSON, XML or other text."""
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    if kind == "application":
        return subtype.rpartition("+")[2] in _SUBTYPES
    return kind == "text"


def compressed(reply: Reply, accept_encoding: str, clock: IReactorTime) -> Reply:
    """Return a reply with its body in gzip, where the client takes that and it is worth it; any other as it is.

    A reply without a body, as to HEAD, is treated as one whose length is not known. An entity tag becomes a weak one
    (RFC 9110 §8.8.3.3): the bytes depend on how they came.
    """
    body, headers = reply.body, reply.headers
    length = None if body is None else body.length
    if reply.status in _UNTOUCHED or (length is not None and length < MIN_BYTES):
        return reply
    if not compressible(value_of(headers, "content-type")) or value_of(headers, "content-encoding"):
        return reply
    headers = with_vary(headers, "Accept-Encoding")
    if not accepts_gzip(accept_encoding):
        return replace(reply, headers=headers)
    etag = value_of(headers, "etag")
    headers = (*without(headers, ("content-length", "etag")), ("Content-Encoding", "gzip"))
    if etag:
        headers = (*headers, ("ETag", etag if etag.startswith("W/") else f"W/{etag}"))
    return replace(reply, headers=headers, body=None if body is None else GzipBody(body, clock))


class GzipBody(Body):
    """A body in gzip; given up, it gives the plain one up."""

    def __init__(self, plain: Body, clock: IReactorTime) -> None:
        super().__init__(_Compression(plain, clock))
        self._plain = plain

    async def abort(self, reason: BaseException) -> None:
        """Give both bodies up."""
        await super().abort(reason)
        await self._plain.abort(reason)


class _Compression:
    """The pieces of a body, compressed. What is at hand goes together, and is flushed when there is no more of it."""

    def __init__(self, plain: Body, clock: IReactorTime) -> None:
        self._plain = plain
        self._clock = clock
        self._deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        self._reading: Deferred[Pieces | None] | None = None  # there when we read ahead of our own reader
        self._waiting: deque[memoryview] = deque()
        self._unflushed = False
        self._turn_due = False
        self._ended = False

    def __aiter__(self) -> "_Compression":
        return self

    async def __anext__(self) -> Pieces:
        produced: list[bytes] = []
        while not (produced or self._ended):
            if self._turn_due:
                await deferLater(self._clock, 0)
            await self._compress(produced)
        if not produced:
            raise StopAsyncIteration
        return produced

    async def aclose(self) -> None:
        """Read no more."""
        self._ended = True
        self._waiting.clear()
        if self._reading is not None:
            reading, self._reading = self._reading, None
            reading.addErrback(lambda _: None)
            reading.cancel()

    async def _compress(self, produced: list[bytes]) -> None:
        """Compress what is at hand, `PIECE_BYTES` at most; when nothing is, flush what was, or wait."""
        room = PIECE_BYTES
        while room:
            if not self._waiting:
                if self._unflushed and not self._read_ahead().called:
                    self._unflushed = False
                    produced.append(self._deflate.flush(zlib.Z_SYNC_FLUSH))
                    break
                pieces = await self._read()
                if pieces is None:
                    self._ended = True
                    produced.append(self._deflate.flush())
                    break
                self._waiting.extend(map(memoryview, pieces))
                continue
            piece = self._waiting.popleft()
            if len(piece) > room:
                self._waiting.appendleft(piece[room:])
                piece = piece[:room]
            room -= len(piece)
            self._unflushed = True
            if data := self._deflate.compress(piece):
                produced.append(data)
        self._turn_due = not room

    def _read_ahead(self) -> "Deferred[Pieces | None]":
        if self._reading is None:
            self._reading = Deferred.fromCoroutine(self._pull())
        return self._reading

    def _read(self) -> "Deferred[Pieces | None]":
        reading, self._reading = self._read_ahead(), None
        return reading

    async def _pull(self) -> Pieces | None:
        """Return what the next read of the plain body brings; None at its end, which has to be where it was said."""
        try:
            return await self._plain.__anext__()
        except StopAsyncIteration:
            length = self._plain.length
            if length is not None and self._plain.size != length:
                raise Incomplete(f"the body has {self._plain.size} of {length} bytes") from None
            return None
