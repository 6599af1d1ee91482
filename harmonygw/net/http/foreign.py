"""A request of somebody else's site, so that replies to it are sent as to our own.

An embedder's `twisted.web.server.Site` has no limits of ours and reads a body before it hands the request over. What
`response.send` needs of a `StreamingRequest` is made here of what every `twisted.web` request has.
"""
# mypy: allow-untyped-calls

from collections.abc import AsyncGenerator
from typing import Any, BinaryIO, Final

from harmonygw.errors import TooLarge
from harmonygw.net.http.limits import BODY_LIMIT_KEYS
from harmonygw.net.http.security import secure
from harmonygw.streams import Body, Pieces

PIECE_BYTES: Final = 64 * 1024
"""Bytes of a body that are read at a time from where the site has put it."""


class ForeignRequest:
    """Wraps a request; what is not said here is the request's own."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._lost = False
        self.aborted = False
        """Whether `abort()` was called."""
        self.is_anothers = False
        """Whether the reply's header is that of a web server behind us, as a whole."""
        self._max_bytes = 0
        self.body = self._whole_body()
        """What the client has sent; None when it sent nothing."""
        request.notifyFinish().addErrback(self._connection_lost)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    @property
    def channel(self) -> Any:
        """The connection, or stream of HTTP/2; None once the request has ended."""
        return getattr(self._request, "channel", None)

    @property
    def disconnected(self) -> bool:
        """Whether the client has gone, or the connection was reset by us: nothing can be sent any more."""
        return self.aborted or self._lost

    def limit_body(self, max_bytes: int) -> None:
        """Let the body be at most `max_bytes`, 0 for any number; reading a longer one raises `TooLarge`."""
        self._max_bytes = max_bytes

    def abort(self) -> None:
        """Reset the connection, or the stream of HTTP/2, so that what was sent cannot be taken for all of it."""
        if not (self.disconnected or self._request.finished):
            self.aborted = True
            (self._request.transport or self._request.channel).abortConnection()

    def begin(self) -> None:
        """Write the header."""
        if not self.is_anothers:
            secure(self._request.responseHeaders, self._request.code)
        self._request.write(b"")

    def write_pieces(self, pieces: Pieces) -> int:
        """Write what one read brought, in one piece, and return its length."""
        data = b"".join(pieces)
        if not self.disconnected:
            self._request.write(data)
        return len(data)

    def finish(self) -> None:
        """End the reply."""
        if not self.disconnected:
            self._request.finish()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let the connection hold `producer` back."""
        if not self.disconnected:
            self._request.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """End what `registerProducer` began."""
        if self.channel is not None:
            self._request.unregisterProducer()

    def _connection_lost(self, reason: object) -> None:
        self._lost = True

    def _whole_body(self) -> Body | None:
        content: BinaryIO = self._request.content
        length = content.seek(0, 2)
        content.seek(0)
        return Body(self._pieces(content, length), length=length) if length else None

    async def _pieces(self, content: BinaryIO, length: int) -> AsyncGenerator[Pieces, None]:
        if 0 < self._max_bytes < length:
            raise TooLarge(f"the request's body is larger than {self._max_bytes} bytes ({BODY_LIMIT_KEYS})")
        while piece := content.read(PIECE_BYTES):
            yield (piece,)
