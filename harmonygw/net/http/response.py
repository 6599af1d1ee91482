"""Sending a reply: what one read brought goes out in one write, and a failure is seen as a failure.

The status line waits for the first bytes of the body, so that what fails before them can still be answered
properly. What fails after them resets the connection: no last chunk, no clean end, nothing that a truncated
study could be mistaken for a whole one by. The client's pace comes back by `pauseProducing`; while paused,
the body is not read, and a stall timer watches whether the client takes anything at all.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.http import NO_BODY_CODES
from zope.interface import implementer

from harmonygw.errors import Incomplete, TimedOut
from harmonygw.net.http.request import StreamingRequest
from harmonygw.net.http.stall import StallTimer
from harmonygw.streams import Body

_REASONS: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
"""The reason phrases; Twisted lacks some, that of 429 among them."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How a reply went."""

    bytes: int
    """Of the body, without framing, that the connection was given."""
    first_byte_at: float
    """When the status line was written, in seconds of the clock."""
    error: Exception | None = None
    """What broke the reply off after its first byte, so that the connection was reset; None when all is
    sent."""


async def send(
    request: StreamingRequest,
    status: int,
    headers: Iterable[tuple[str, str]],
    body: Body | bytes | None,
    *,
    clock: IReactorTime,
    write_timeout: float,
) -> Sent:
    """Send a reply, at the client's pace, and end the request.

    A body whose length is known gets a Content-Length, any other is chunked (towards HTTP/1.0, ended by the
    close). For HEAD, and a status that has no content, the body is given up unread. `write_timeout` is in
    seconds without progress while the client holds us back.

    What the body raises before its first byte is raised here, with nothing written. `CancelledError` is
    raised when the client has gone, or when the coroutine is cancelled; the body is given up and a reply that
    had begun is reset. What breaks the reply off after its first byte resets the connection and stands in
    `Sent.error`.
    """
    if not isinstance(body, Body):
        body = Body.of(body or b"")
    return await _Sending(request, body, clock, write_timeout).run(status, headers)


@implementer(IPushProducer)
class _Sending:
    """One reply on its way: the producer that the connection holds back and lets go."""

    def __init__(self, request: StreamingRequest, body: Body, clock: IReactorTime, write_timeout: float) -> None:
        self._request = request
        self._body = body
        self._clock = clock
        self._write_timeout = write_timeout
        self._stall: StallTimer | None = None  # there once the reply has begun
        self._stalled: TimedOut | None = None
        self._resumed: Deferred[None] | None = None  # there while the client holds us back
        self._sent = 0
        self._first_byte_at = 0.0

    async def run(self, status: int, headers: Iterable[tuple[str, str]]) -> Sent:
        """Send it all; the client's going away cancels that, whatever it waits for."""
        self._sending = Deferred.fromCoroutine(self._send(status, headers))
        self._request.notifyFinish().addErrback(lambda _lost: self._sending.cancel())
        return await self._sending

    async def _send(self, status: int, headers: Iterable[tuple[str, str]]) -> Sent:
        error: Exception | None = None
        try:
            await self._relay(status, headers)
        except CancelledError as cancelled:
            error = self._stalled or cancelled
        except Exception as failure:  # noqa: BLE001 - raised again below, or returned
            error = failure
        if self._stall is not None:
            self._stall.stop()
            self._request.unregisterProducer()
        if error is None:
            self._request.finish()
            return Sent(self._sent, self._first_byte_at)
        try:
            await self._body.abort(error)
        finally:
            if self._stall is not None:
                self._request.abort()
        if self._stall is not None and not isinstance(error, CancelledError):
            return Sent(self._sent, self._first_byte_at, error)
        raise error

    async def _relay(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        if self._request.method == b"HEAD" or status in NO_BODY_CODES:
            await self._body.aclose()
            self._begin(status, headers)
            return
        length = self._body.length
        async for pieces in self._body:
            if length is not None and self._body.size > length:
                raise Incomplete(f"the body is longer than the {length} bytes it was announced with")
            if self._stall is None:
                self._begin(status, headers)
            self._sent += self._request.write_pieces(pieces)
            if self._resumed is not None:
                await self._resumed
        if self._stall is None:
            self._begin(status, headers)
        if length is not None and self._sent != length:
            raise Incomplete(f"the body ended after {self._sent} of {length} bytes")

    def _begin(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Write the status line and the header; from here on a failure is an abort."""
        request = self._request
        if request.disconnected or request.channel is None:
            raise CancelledError
        request.setResponseCode(status, _REASONS.get(status))
        for name, value in headers:
            request.responseHeaders.addRawHeader(name, value)
        if (
            self._body.length is not None
            and not (self._body.length == 0 and request.method == b"HEAD")
            and status not in NO_BODY_CODES
            and not request.responseHeaders.hasHeader("content-length")
        ):
            request.responseHeaders.addRawHeader("content-length", str(self._body.length))
        self._stall = StallTimer(self._clock, request.channel.transport, self._write_timeout, self._client_stalled)
        request.registerProducer(self, True)
        self._first_byte_at = self._clock.seconds()
        request.begin()

    def _client_stalled(self) -> None:
        self._stalled = TimedOut(
            f"the client took nothing of the reply for {self._write_timeout:g} s (write_timeout_secs)"
        )
        self._sending.cancel()

    def pauseProducing(self) -> None:
        """Hold the body back; comes with every write over the limit."""
        if self._resumed is None and self._stall is not None:
            self._resumed = Deferred()
            self._stall.start()

    def resumeProducing(self) -> None:
        """Let the body go on; what was written has been sent."""
        if self._resumed is not None and self._stall is not None:
            resumed, self._resumed = self._resumed, None
            self._stall.stop()
            resumed.callback(None)

    def stopProducing(self) -> None:
        """Do nothing: `notifyFinish` tells of a lost connection, after the connection's own end."""
