"""One HTTP/1.1 connection: Twisted's parser, with deadlines, limits and dispatch at the end of the header.

Twisted's channel hands a request over when its body has arrived. This one does so when its header has, and
then has two ends to wait for, in either order: that of the request's body and that of the reply. Only after
both does it read the next request. A reply that comes first leaves the rest of the body to be read and thrown
away within a bound.

A connection waits for one thing at a time, so it has one deadline: that of the header, of progress of the body, of
the next request, or of the end of what is thrown away. While a reply is being written, `response` watches the
client; after the connection was told to close, the stall timer here does.

What is overridden here is named without an underscore in Twisted but for `_respondToBadRequestAndDisconnect`,
`_send100Continue`, `_handlingRequest`, `_waitingForTransport`, `_networkProducer`, `_version`, `_command`,
`_path`, `_buffer` and `_busyReceiving`; tests cover what depends on each. Where Twisted's parser is too lenient,
`framing` comes before it.
"""
# mypy: allow-untyped-calls

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers

from harmonygw.alerts import Alert, alert
from harmonygw.dicom.web.problems import CONTENT_TYPE, problem
from harmonygw.errors import BadRequest, RequestTimedOut
from harmonygw.net.http.addresses import plain_peer
from harmonygw.net.http.connections import Admission, Connections
from harmonygw.net.http.deadline import Deadline
from harmonygw.net.http.framing import Fault, asks_to_close, field_fault, header_fault, origin_form, request_line_fault
from harmonygw.net.http.limits import (
    BODY_PROGRESS_BYTES,
    BODY_READ_BYTES,
    CHUNKED_READ_BYTES,
    LINGER_BYTES,
    LINGER_SECS,
    MAX_HEADER_FIELDS,
    REQUESTS_PER_TURN,
    SEND_BYTES,
    WRITE_BEHIND_BYTES,
    HTTPLimits,
)
from harmonygw.net.http.security import anonymous, secure, transport_security
from harmonygw.net.http.stall import StallTimer, connection_beneath
from harmonygw.net.sending import send
from harmonygw.streams import Piece

if TYPE_CHECKING:
    from harmonygw.net.http.request import StreamingRequest


class Channel(HTTPChannel):
    """The server's side of one connection. The requests on it are served one after another."""

    timeOut = None  # Twisted's idle time-out would restart with every byte
    maxHeaders = MAX_HEADER_FIELDS
    requests: "list[StreamingRequest]"
    transport: Any
    site: Any
    _secure: bool
    _host: IAddress
    _peer: IAddress

    def __init__(
        self, limits: HTTPLimits, clock: IReactorTime, connections: Connections, *, hsts_max_age_secs: int = 0
    ) -> None:
        super().__init__()
        self.hsts_max_age_secs = hsts_max_age_secs
        self.limits = limits
        self.MAX_LENGTH = self.totalHeadersSize = limits.max_header_bytes
        self._clock = clock
        self._connections = connections
        self._deadline = Deadline(clock)
        self._header_begun = False  # with the bytes being parsed: its deadline starts if they do not end it
        self._idle = False  # between a reply and the next request's first byte
        self._closing_when_idle = False
        self._header_bytes = 0
        self._reading_body = False
        self._held = False  # we do not read: the window is full, or nobody wants the body
        self._unwanted = False  # the body was given up, and the reply is not complete
        self._answered = False  # the reply is complete, and the body has not ended
        self._discarding = False  # nothing that still arrives is parsed
        self._progress = 0  # bytes of the body since its timer was set
        self._spare = 0  # bytes that may still be thrown away
        self._reply_header = b""  # written, and to leave with what is written next
        self._in_turn = 0  # requests since others had their turn
        self._next_turn: IDelayedCall | None = None  # there while pipelined requests wait for it

    # Beginning and end of the connection

    def connectionMade(self) -> None:
        """Find a place for the connection, or refuse it."""
        super().connectionMade()
        self._secure = super().isSecure()  # each request asks for these, some of them several times
        self._host, self._peer = super().getHost(), plain_peer(super().getPeer())
        self._closing = StallTimer(self._clock, self.transport, self.limits.write_timeout_secs, self.abort)
        descriptor = -1
        if (connection := connection_beneath(self.transport)) is not None:
            connection.bufferSize = WRITE_BEHIND_BYTES
            connection.SEND_LIMIT = SEND_BYTES
            descriptor = connection.fileno()
        admission = self._connections.add(self, getattr(self._peer, "host", ""), descriptor)
        if admission is Admission.SERVED:
            self._await_header()
        elif admission is Admission.SHED:
            self.refuse(Fault(503, "there are too many connections"))
        else:
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give the place back, and tell the requests."""
        self._stop_timer()
        self._deadline.close()
        self._closing.stop()
        if self._next_turn is not None:
            self._next_turn.cancel()
        self._connections.remove(self)
        super().connectionLost(reason)

    def loseConnection(self) -> None:
        """Close when everything is written, or when the client has ceased to read."""
        self._stop_timer()
        super().loseConnection()
        self._closing.start()

    def close_when_idle(self) -> None:
        """Close now when no request is being served or read, else after its reply."""
        if self._idle or not (self.requests or self._discarding):
            self.loseConnection()
        else:
            self._closing_when_idle = True
            self.persistent = False

    def abort(self) -> None:
        """Reset the connection: what was not sent yet is dropped, and the client sees no clean end."""
        self._stop_timer()
        self.transport.abortConnection()

    # The header

    def dataReceived(self, data: bytes) -> None:
        """Parse what one read brought, unless the connection was told to close: TLS may bring more even then."""
        if self.transport.disconnecting:
            return
        if not self._busyReceiving:
            self._in_turn = 0
        if self._idle:
            self._idle = False
            self._stop_timer()
            self._header_begun = True
        super().dataReceived(data)
        if self._header_begun:
            self._await_header()

    def lineReceived(self, line: bytes) -> None:
        """Take a request line or a header field, within the limits."""
        self._header_bytes += len(line) + len(self.delimiter)
        fault: Fault | None = None
        if self._header_bytes > self.limits.max_header_bytes:
            fault = self._too_much_header()
        elif not self.requests:
            fault = request_line_fault(line)
        elif line:
            fault = field_fault(line)
        if fault is None:
            super().lineReceived(line)
        else:
            self.refuse(fault)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line without end."""
        self.refuse(self._too_much_header())

    def allHeadersReceived(self) -> None:
        """Check the framing and hand the request over, its body yet to come."""
        request = self.requests[-1]
        fault = header_fault(request.requestHeaders, self._version)
        if fault is None:
            self._path, fault = origin_form(self._command, self._path, request.requestHeaders)
        if fault is not None:
            self.refuse(fault)
            return
        self._stop_timer()
        self._in_turn += 1
        self._reading_body = self.length != 0
        if self._reading_body:
            self._read_by(BODY_READ_BYTES if self.length else CHUNKED_READ_BYTES)
        self._held = self._unwanted = False
        request.parseCookies()
        self.persistent = (
            self._version == b"HTTP/1.1" and not asks_to_close(request.requestHeaders) and not self._closing_when_idle
        )
        request.clientproto = self._version
        request.gotLength(self.length)
        if self._reading_body and not (request.expects_continue or self._unwanted):
            self._await_body()
        request.headersReceived(self._command, self._path, self._version)

    def _await_header(self) -> None:
        self._idle = False
        self._start_timer(self.limits.header_timeout_secs, self._header_late)

    def _header_late(self) -> None:
        self.refuse(Fault(408, "the header was not complete in time (header_timeout_secs)"))

    def _too_much_header(self) -> Fault:
        return Fault(431, f"the header is longer than {self.limits.max_header_bytes} bytes (max_header_bytes)")

    # The body

    def rawDataReceived(self, data: bytes) -> None:
        """Take bytes of the body, or, while a reply is awaited, of the requests that follow."""
        if self._discarding or self._answered:
            self._spare -= len(data)
            if self._spare < 0:
                self.loseConnection()
                return
        elif self._reading_body:
            self._progress += len(data)
            if self._progress >= BODY_PROGRESS_BYTES and self._deadline.running:
                self._await_body()
        if not self._discarding:
            request = self.requests[-1] if self._reading_body else None
            super().rawDataReceived(data)
            if request is not None:
                request.pass_on()

    def allContentReceived(self) -> None:
        """End the body; when it was answered before, the request is done now."""
        if self._discarding:
            return
        request = self.requests[-1]
        request.pass_on()
        self._stop_timer()
        self._header_bytes = 0
        if self._reading_body:
            self._read_by(WRITE_BEHIND_BYTES)
        self._reading_body = False
        if self._held:  # a request that is whole is no reason not to see that its client goes away
            self._held = False
            self._read_on()
        super().allContentReceived()
        if self._answered:
            self._answered = False
            self.requestDone(request)

    def _read_by(self, size: int) -> None:
        """Read so many bytes at a time; Twisted lets as many wait for the socket too."""
        if (connection := connection_beneath(self.transport)) is not None:
            connection.bufferSize = size

    def invite_body(self) -> None:
        """Tell a client that waits for it to send the body (RFC 9110 §10.1.1), and give it time for that."""
        self._send100Continue()
        self._await_body()

    def pause(self) -> None:
        """Read no more: the window is full."""
        self._held = True
        self._stop_timer()
        self._networkProducer.pauseProducing()

    def resume(self) -> None:
        """Read again: the window has room."""
        if self._reading_body and not (self._unwanted or self._answered):
            self._held = False
            self._await_body()
            self._read_on()

    def _read_on(self) -> None:
        if not self._waitingForTransport:
            self._networkProducer.resumeProducing()

    def hold_body(self) -> None:
        """Let the rest of the body wait until the reply is complete: nobody wants it."""
        self._unwanted = True
        self.pause()

    def stop_parsing(self) -> None:
        """Give the body up for good: its end cannot be found, or is too far. No request follows this one."""
        self._discarding = True
        self.persistent = False
        self.hold_body()

    def _await_body(self) -> None:
        self._progress = 0
        self._start_timer(self.limits.body_timeout_secs, self._body_late)

    def _body_late(self) -> None:
        if self._waitingForTransport:  # a client that does not read its reply is not read either
            self._await_body()
            return
        self.requests[-1].fail_body(RequestTimedOut("the request's body did not arrive in time (body_timeout_secs)"))

    # The reply

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Write a reply's header: it is kept until `send_header`, or for what is written next, to leave with it."""
        fields = [b"%b: %b\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
        self._reply_header = b"%b %b %b\r\n%b\r\n" % (version, code, reason, b"".join(fields))

    def send_header(self) -> None:
        """Write the reply's header by itself, if it is kept."""
        if self._reply_header:
            self.write_pieces(())

    def write(self, data: bytes) -> None:
        """Write a part of the reply."""
        if self._reply_header:
            data = self._reply_header + data
            self._reply_header = b""
        self.transport.write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Write a part of the reply that is in pieces."""
        header, self._reply_header = self._reply_header, b""
        self.transport.writeSequence((header, *iovec))

    def write_pieces(self, pieces: Sequence[Piece]) -> None:
        """Write a part of the reply: at once and uncopied where that is possible."""
        if self._reply_header:
            pieces = (self._reply_header, *pieces)
            self._reply_header = b""
        rest = send(self.transport, pieces)
        if rest:
            self.transport.write(b"".join(rest))

    def isSecure(self) -> bool:
        """Return whether the connection is over TLS."""
        return self._secure

    def getHost(self) -> IAddress:
        """Return our address of this connection."""
        return self._host

    def getPeer(self) -> IAddress:
        """Return the client's address of this connection."""
        return self._peer

    def requestDone(self, request: "StreamingRequest") -> None:
        """Go on to the next request, once this one has been received whole too."""
        if self._handlingRequest:
            if self.persistent:
                self._idle = True
                self._start_timer(self.limits.keepalive_timeout_secs, self.loseConnection)
            self.paused = bool(self.persistent and self._buffer) and self._in_turn >= REQUESTS_PER_TURN
            super().requestDone(request)
            if self.paused:
                self._networkProducer.pauseProducing()
                self._let_others()
            if self._idle and self._buffer:
                self._await_header()
        else:
            self._answered = True
            if self._reading_body:
                request.drop_body()
                self._linger()

    def _let_others(self) -> None:
        """Parse what is pipelined in the next turn, unless the client does not read what it was answered."""
        if self._next_turn is None and not self._waitingForTransport:
            self._next_turn = self._clock.callLater(0, self._parse_on)

    def _parse_on(self) -> None:
        self._next_turn = None
        if not (self.transport.disconnecting or self._waitingForTransport):
            self.paused = False
            self._networkProducer.resumeProducing()
            self.dataReceived(b"")

    def resumeProducing(self) -> None:
        """Go on writing; the transport has sent what it was given."""
        super().resumeProducing()
        if self._held or self.paused:
            self._networkProducer.pauseProducing()
        if self.paused:
            self._let_others()

    def secure_reply(self, headers: Headers, status: int, *, whole: bool, secure_scheme: bool) -> None:
        """Add to a reply's header what a browser is to be told of it; not to one that is another server's `whole`."""
        anonymous(headers)
        if not whole:
            secure(headers, status)
        if self.hsts_max_age_secs and secure_scheme:
            transport_security(headers, self.hsts_max_age_secs)

    def refuse(self, fault: Fault) -> None:
        """Answer what cannot become a request, and read no more of this connection."""
        status, correlation_id = fault.status, uuid4().hex
        address = str(getattr(self._peer, "host", ""))
        if status == 400:
            alert(Alert("hostile_bytes", f"400 for {address}: {fault.detail}", address, correlation_id))
        else:
            self._log.info(
                "{status} for {peer}: {detail} ({correlation_id})",
                status=status,
                peer=address,
                detail=fault.detail,
                correlation_id=correlation_id,
            )
        document = problem(status, fault.detail, correlation_id)
        headers = Headers({b"content-type": [CONTENT_TYPE.encode()], b"content-length": [b"%d" % len(document)]})
        headers.addRawHeader(b"connection", b"close")
        if status == 503:
            headers.addRawHeader(b"retry-after", b"1")
        self.secure_reply(headers, status, whole=False, secure_scheme=self._secure)
        self.writeHeaders(b"HTTP/1.1", b"%d" % status, HTTPStatus(status).phrase.encode("ascii"), headers)
        self.write(document)
        self.persistent = False
        self._discarding = True
        self.setRawMode()
        self._linger()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Refuse what Twisted's parser refuses; within a body it is for whoever reads that to answer."""
        if self._answered:
            self.loseConnection()
        elif self._reading_body:
            self.requests[-1].fail_body(BadRequest("the request's chunked coding is malformed"))
        elif not self._discarding:
            self.refuse(Fault(400, "this is not a request as RFC 9112 has it"))

    def _linger(self) -> None:
        """Read and throw away what the client is still sending, so that it gets to see the reply."""
        self._held = False
        self._spare = LINGER_BYTES
        self._start_timer(LINGER_SECS, self.loseConnection)
        self._networkProducer.resumeProducing()

    # The deadline

    def _start_timer(self, seconds: float, expired: Callable[[], None]) -> None:
        self._header_begun = False
        self._deadline.start(seconds, expired)

    def _stop_timer(self) -> None:
        self._header_begun = False
        self._deadline.stop()
