"""A request that is there when its header is, and whose body streams in.

`twisted.web` spools a body to a temporary file, without a bound and before anybody has looked at who sends
it. Here `body` is a stream: its window slows the client down through TCP, and nothing of it is kept
elsewhere.
"""
# mypy: allow-untyped-calls

from collections.abc import Coroutine
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.http import _MalformedChunkedDataError, parse_qs
from twisted.web.server import Request

from harmonygw.dicom.web.problems import CONTENT_TYPE, problem
from harmonygw.errors import HarmonyError, TooLarge, TransportError
from harmonygw.net.http.limits import (
    BODY_LIMIT_KEYS,
    FREE_CHUNKS,
    LINGER_BYTES,
    MIN_CHUNK_BYTES,
    MIN_PIECE_COST,
    WINDOW_BYTES,
)
from harmonygw.net.sending import flush
from harmonygw.streams import Body, Cancelled, Feed, Pieces

if TYPE_CHECKING:
    from harmonygw.net.http.channel import Channel


class _Upload(Feed[Pieces]):
    """The bytes of a request's body; the first read invites a client that waits for that."""

    def __init__(self, request: "StreamingRequest", channel: "Channel") -> None:
        super().__init__(limit=WINDOW_BYTES, flow=channel, on_abort=request.body_given_up)
        self._request = request

    def __anext__(self) -> Coroutine[Any, Any, Pieces]:
        self._request.body_wanted()
        return super().__anext__()


class StreamingRequest(Request):
    """A `twisted.web` request whose `body` streams; resources and Klein get it when its header has arrived.

    It is harmless to write to it or to finish it after the client has gone, or after `abort()`.
    """

    defaultContentType = None
    channel: "Channel | None" = None  # type: ignore[assignment]  # as it is after the end

    body: Body | None = None
    """What the client sends, as it arrives; None when it sends nothing. Reading it raises `TooLarge`,
    `RequestTimedOut`, `BadRequest` when its coding is malformed, and `TransportError` when the client goes away."""
    aborted = False
    """Whether `abort()` was called."""
    expects_continue = False
    """Whether the client waits for 100 Continue before it sends the body."""
    is_anothers = False
    """Whether the reply's header is that of a web server behind us, as a whole: nothing is added to it."""

    _query = b""
    _upload: _Upload | None = None
    _max_bytes = 0
    _received_bytes = 0
    _received_pieces = 0
    _body_complete = False

    # What the channel tells

    def gotLength(self, length: int | None) -> None:
        """Make ready for a body of `length` bytes; None when its end will show."""
        if length == 0 or self.channel is None:
            return
        expectation = self.requestHeaders.getRawHeaders(b"expect", [b""])[0]
        self.expects_continue = expectation.lower() == b"100-continue" and self.clientproto == b"HTTP/1.1"
        self._upload = _Upload(self, self.channel)
        self._gathered: list[bytes] = []
        self.body = Body(self._upload, length=length)
        self.limit_body(self.channel.limits.max_request_bytes)

    def headersReceived(self, command: bytes, target: bytes, version: bytes) -> None:
        """Find the resource and let it answer; `target` is in origin form, or `*`."""
        self.method, self.uri, self.clientproto = command, target, version
        self.path, _, self._query = target.partition(b"?")
        self.process()

    @cached_property
    def args(self) -> dict[bytes, list[bytes]]:  # type: ignore[override]
        """The query by name, made when somebody else's resource asks for it: ours read it in its order."""
        query: dict[bytes, list[bytes]] = parse_qs(self._query, keep_blank_values=True)
        return query

    def handleContentChunk(self, data: bytes) -> None:
        """Take bytes of the body; `pass_on` follows when all of one read are there."""
        if self.body is None or self._upload is None:
            return
        self._received_bytes += len(data)
        if self.body.length is None:
            self._received_pieces += 1
            if self._received_pieces > FREE_CHUNKS and self._received_bytes < MIN_CHUNK_BYTES * self._received_pieces:
                raise _MalformedChunkedDataError  # which is how Twisted's decoder is stopped amid what was read
        if self._upload.done:
            return
        if self._max_bytes and self._received_bytes > self._max_bytes:
            self._too_large()
        elif data:
            self._gathered.append(data)

    def pass_on(self) -> None:
        """Give what one read brought of the body to whoever reads it."""
        if self._upload is not None and self._gathered:
            gathered, self._gathered = self._gathered, []
            if len(gathered) > 1:
                gathered = [b"".join(gathered)]
            self._upload.put(gathered, max(len(gathered[0]), MIN_PIECE_COST))

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """End the body: it has arrived whole."""
        self._body_complete = True
        if self._upload is not None:
            self._upload.end()

    def drop_body(self) -> None:
        """End the body, wherever it is: the reply is complete."""
        if self._upload is not None:
            self._upload.fail(Cancelled("the reply was complete before the body was read"))

    def connectionLost(self, reason: Failure) -> None:
        """Tell whoever asked by `notifyFinish`, and then whoever still reads the body.

        An exchange that ends with its client is cancelled by the former, and has nobody to tell of a body cut short.
        """
        super().connectionLost(reason)
        if self._upload is not None:
            self._upload.fail(TransportError("the client has gone away"))

    # What the reader of the body tells

    def limit_body(self, max_bytes: int) -> None:
        """Let the body be at most `max_bytes`; 0 means no limit. Call it before the body is read."""
        self._max_bytes = max_bytes
        if self.body is not None and 0 < max_bytes < (self.body.length or 0):
            self._too_large()

    def body_wanted(self) -> None:
        """Invite the body: somebody begins to read it."""
        if self._upload is None or self._upload.done or self.channel is None or self.startedWriting:
            return
        if self.expects_continue:
            self.expects_continue = False
            self.channel.invite_body()

    def body_given_up(self, reason: BaseException) -> None:
        """Let the rest of the body wait for the end of the reply; whoever read it has given it up."""
        if self.channel is not None:
            self.channel.hold_body()

    def fail_body(self, error: HarmonyError) -> None:
        """End the body with `error`, whatever of it is still to come."""
        if self._upload is not None and self.channel is not None:
            self.channel.stop_parsing()
            self._upload.fail(error)

    def _too_large(self) -> None:
        self.fail_body(TooLarge(f"the request's body is larger than {self._max_bytes} bytes ({BODY_LIMIT_KEYS})"))

    # The reply

    @property
    def disconnected(self) -> bool:
        """Whether the client has gone, or the connection was reset by us: nothing can be sent any more."""
        return self.aborted or self._disconnected

    def abort(self) -> None:
        """Reset the connection, so that what was sent of the reply cannot be taken for all of it."""
        if not self.disconnected and not self.finished and self.channel is not None:
            self.aborted = True
            self.channel.abort()

    def begin(self) -> None:
        """Write the header, which leaves with the pieces that follow in this turn, or when the reply ends."""
        self._write(b"")

    def write(self, data: bytes) -> None:
        """Write bytes of the reply; before the first ones the header, which says whether it is the last."""
        self._write(data)
        if self.channel is not None:
            self.channel.send_header()

    def _write(self, data: bytes) -> None:
        if self.disconnected:
            return
        if not self.startedWriting and self.channel is not None:
            if self._much_of_body_remains():
                self.channel.persistent = False
            if not self.channel.persistent:
                self.responseHeaders.setRawHeaders(b"connection", [b"close"])
            self.channel.secure_reply(
                self.responseHeaders, self.code, whole=self.is_anothers, secure_scheme=self.isSecure()
            )
        super().write(data)

    def write_pieces(self, pieces: Pieces) -> int:
        """Write what one read brought, in one piece, and return its length; the header has been written."""
        size = sum(map(len, pieces))
        if size and not self.disconnected and self.channel is not None:
            if self.chunked:
                self.channel.write_pieces((b"%x\r\n" % size, *pieces, b"\r\n"))
            else:
                self.channel.write_pieces(pieces)
            self.sentLength += size
        return size

    def finish(self) -> None:
        """End the reply."""
        if not self.disconnected:
            channel = self.channel
            if channel is not None:
                channel.send_header()
            super().finish()
            if channel is not None:
                flush(channel.transport)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Let the connection hold `producer` back."""
        if not self.disconnected:
            super().registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """End what `registerProducer` began."""
        if self.channel is not None:
            super().unregisterProducer()
        self.producer = None

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer 500 to what a resource did not catch, or reset the connection when a reply has begun."""
        correlation_id = uuid4().hex
        self._log.failure(
            "{method} {path} failed ({correlation_id})",
            reason,
            method=self.method,
            path=self.path,
            correlation_id=correlation_id,
        )
        if self.startedWriting:
            self.abort()
        else:
            document = problem(500, "The gateway failed; its log has the details.", correlation_id)
            self.setResponseCode(500)
            self.setHeader(b"content-type", CONTENT_TYPE.encode())
            self.setHeader(b"content-length", b"%d" % len(document))
            self.write(document if self.method != b"HEAD" else b"")
            self.finish()
        return reason

    def _much_of_body_remains(self) -> bool:
        """Whether the body has too much to come for reading it on the next request's account."""
        if self.body is None or self._body_complete:
            return False
        return self.expects_continue or (self.body.length or 0) - self._received_bytes > LINGER_BYTES
