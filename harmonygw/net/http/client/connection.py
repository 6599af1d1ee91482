"""The client's side of one HTTP/1.1 connection (RFC 9112): h11 on a transport, one request at a time.

h11 says what the bytes mean and in which order they may come. What is added here needs a transport or a clock: pace in
both directions, time-outs, and the rule that what broke off is never taken for whole. A connection is used again only
when request and response have both ended as they should, and nothing came after them.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, Protocol

import h11
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IReactorTime, ISSLTransport
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from harmonygw.errors import HarmonyError, Incomplete, PeerError, TimedOut, TransportError
from harmonygw.net.http.client.limits import (
    MAX_EVENTS,
    MAX_HEADER_BYTES,
    MAX_HEADER_FIELDS,
    MAX_INFORMATIONAL,
    READ_BYTES,
    ClientLimits,
)
from harmonygw.net.http.client.response import Response
from harmonygw.net.http.client.upload import Held
from harmonygw.net.http.deadline import Deadline
from harmonygw.net.http.stall import StallTimer, connection_beneath
from harmonygw.net.sending import send
from harmonygw.net.tls import problem_of

CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header field has (RFC 9110 §5.5)."""

MAX_STATUS: Final = 599
"""The highest status code there is (RFC 9110 §15)."""


class Unanswered(TransportError):
    """The connection was lost before the first byte of an answer. Look at whether the server runs, and at its log."""


class Home(Protocol):
    """Where a connection belongs."""

    def idle(self, connection: "Connection") -> None:
        """Take it back: it can carry another request."""

    def closed(self, connection: "Connection") -> None:
        """Forget it."""


@implementer(IHandshakeListener)
class Connection(TwistedProtocol):
    """One connection. `opened` fires when it can carry a request, its TLS included."""

    transport: Any

    def __init__(self, clock: IReactorTime, limits: ClientLimits, home: Home) -> None:
        self._clock = clock
        self._limits = limits
        self._home = home
        self._deadline = Deadline(clock)
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._answer: Deferred[Response] | None = None  # there until the header of the response has come
        self._response: Response | None = None  # there until its body has ended
        self._producer: IBodyProducer | None = None  # there while a body is being sent
        self._stall: StallTimer | None = None
        self._wanted = False  # somebody reads the response, and is ready for more of it
        self._later: IDelayedCall | None = None  # there while what one read brought is not yet taken apart
        self._heard = False  # a byte of an answer has come
        self._informational = 0
        self._over = False
        self.opened: Deferred[None] = Deferred(lambda _: self.abort(CancelledError()))
        self.used = False
        """Whether it has carried a request before: then the server may have closed it, and we not know yet."""

    # Beginning and end

    def connectionMade(self) -> None:
        """Make the transport ours; with TLS, wait for its handshake."""
        if (beneath := connection_beneath(self.transport)) is not None:
            beneath.setTcpNoDelay(True)
            beneath.setTcpKeepAlive(True)
            beneath.bufferSize = READ_BYTES
        if ISSLTransport.providedBy(self.transport):
            self._deadline.start(self._limits.connect_secs, self._handshake_late)
        else:
            self.handshakeCompleted()

    def handshakeCompleted(self) -> None:
        """Be open."""
        self._deadline.stop()
        self.opened.callback(None)

    def _handshake_late(self) -> None:
        self.abort(TimedOut("TLS was not agreed on in time (connect_timeout_secs)"))

    def close(self) -> None:
        """Close, when nothing is under way; a server that does not take its part in that is not waited for."""
        self._over = True
        self._deadline.start(self._limits.connect_secs, self.transport.abortConnection)
        self.transport.loseConnection()

    def abort(self, reason: BaseException) -> None:
        """Break off whatever is under way; who waits for it gets `reason`."""
        self._over = True
        self._settle(reason)
        if self.transport is not None:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Find out whether the response was whole, and say goodbye."""
        self._over = True
        if self._response is not None and reason.check(ConnectionDone):
            self._h11.receive_data(b"")
            while self._take_events():
                pass
        self._settle(self._loss(reason))
        self._deadline.close()
        self._home.closed(self)

    def _loss(self, reason: Failure) -> HarmonyError:
        told = _described(reason.value)
        if self._response is not None:
            return Incomplete("the server broke the connection before its response was whole", log_detail=told)
        kind = TransportError if self._heard else Unanswered
        return kind("the server broke the connection before it had answered", log_detail=told)

    def _settle(self, reason: BaseException) -> None:
        """Let whoever waits for something get `reason`."""
        self._deadline.stop()
        self._stop_upload()
        if self._later is not None:
            self._later.cancel()
            self._later = None
        answer, self._answer = self._answer, None
        response, self._response = self._response, None
        if not self.opened.called:
            self.opened.errback(reason)
        if answer is not None:
            answer.errback(reason)
        if response is not None:
            response.end(Failure(reason))

    # The request

    def request(self, head: h11.Request, producer: IBodyProducer | None) -> "Deferred[Response]":
        """Send a request; the Deferred fires when the header of its response is there. Cancelling it breaks it off.

        `head` has a Content-Length or a Transfer-Encoding when there is a body, not both. The Deferred fails with
        `Unanswered` or `TransportError` when the connection is lost, `TimedOut`, `PeerError` for what is not HTTP,
        and whatever the body raises. The body of a response that has come fails with `Incomplete`, or these.
        """
        self._heard = False
        self._informational = 0
        self._answer = Deferred(lambda _: self.abort(CancelledError()))
        answer = self._answer
        self._write(self._h11.send_with_data_passthrough(head))
        if producer is None:
            self._request_sent()
        else:
            self._upload(producer)
        return answer

    def write(self, data: bytes) -> None:
        """Send a part of the body; this is where its producer writes to."""
        if self._producer is not None and data:
            self._write(self._h11.send_with_data_passthrough(h11.Data(data=data)))

    def _upload(self, producer: IBodyProducer) -> None:
        self._producer = producer
        self._stall = StallTimer(self._clock, self.transport, self._limits.silence_secs, self._stalled)
        self.transport.registerProducer(Held(producer, self._stall), True)
        producer.startProducing(self).addCallbacks(self._uploaded, self._upload_failed)

    def _uploaded(self, _: object) -> None:
        if self._producer is not None:
            self._upload_ended()
            self._request_sent()

    def _upload_failed(self, failure: Failure) -> None:
        if self._producer is not None:
            self._upload_ended()
            self.abort(failure.value)  # type: ignore[arg-type]  # a failure that is at hand has its exception

    def _upload_ended(self) -> None:
        self._producer = None
        if self._stall is not None:
            self._stall.stop()
        self.transport.unregisterProducer()

    def _stop_upload(self) -> None:
        """Send no more of the body, nor its end: no request follows on this connection."""
        if self._producer is not None:
            producer = self._producer
            self._upload_ended()
            producer.stopProducing()

    def _request_sent(self) -> None:
        self._write(self._h11.send_with_data_passthrough(h11.EndOfMessage()))
        if self._answer is not None:
            self._deadline.start(self._limits.answer_secs, self._unanswered)

    def _stalled(self) -> None:
        secs = self._limits.silence_secs
        self.abort(TimedOut(f"the server took nothing of the request for {secs:g} s (silence_timeout_secs)"))

    def _unanswered(self) -> None:
        self.abort(TimedOut(f"the server did not answer within {self._limits.answer_secs:g} s (timeout_secs)"))

    def _write(self, pieces: Iterable[bytes] | None) -> None:
        rest = send(self.transport, [piece for piece in pieces or () if piece])
        if rest:
            self.transport.write(b"".join(rest))

    # The response

    def dataReceived(self, data: bytes) -> None:
        """Take what one read brought."""
        if self._answer is None and self._response is None:
            self._over = True  # what nobody asked for would be taken for the answer to the next request
            self.transport.abortConnection()
            return
        self._heard = True
        self._h11.receive_data(data)
        if self._take_events() and self._later is None:
            self.transport.pauseProducing()
            self._later = self._clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        """Take more of what a read brought, and read on when nothing of it is left."""
        self._later = None
        if self._take_events():
            self._later = self._clock.callLater(0, self._go_on)
        elif self._wanted:
            self.transport.resumeProducing()

    def _take_events(self) -> bool:
        """Take what there is; the body's part of it goes on in one piece. Return whether there may be more."""
        parts: list[bytes] = []
        ended = False
        more = True
        try:
            for _ in range(MAX_EVENTS):
                event = self._h11.next_event()
                if isinstance(event, h11.Data):
                    parts.append(event.data)
                elif isinstance(event, h11.Response):
                    self._begin(event)
                elif isinstance(event, h11.InformationalResponse):
                    self._informed()
                else:  # EndOfMessage or NEED_DATA
                    ended = isinstance(event, h11.EndOfMessage)
                    more = False
                    break
        except h11.RemoteProtocolError as error:
            self.abort(self._fault(error))
            return False
        except HarmonyError as error:
            self.abort(error)
            return False
        response, answer = self._response, None
        if response is not None:
            if self._answer is not None:
                answer, self._answer = self._answer, None
                self._deadline.stop()
            self._deliver(response, parts, begins=answer is not None)
        if ended and response is self._response and response is not None:
            self._end(response)
        if answer is not None and response is not None:
            answer.callback(response)
        return more and response is self._response

    def _deliver(self, response: Response, parts: list[bytes], *, begins: bool) -> None:
        if begins:
            self._wanted = False
            self.transport.pauseProducing()  # until somebody reads the body
        elif self._deadline.running:
            self._deadline.start(self._limits.silence_secs, self._silent)
        if parts:
            response.deliver(b"".join(parts))

    def _fault(self, error: h11.RemoteProtocolError) -> HarmonyError:
        if self._response is not None and self._over:  # the connection has ended, and the body had not
            return Incomplete("the server ended its response before it was whole", log_detail=str(error))
        return PeerError("the server's response is not valid HTTP", log_detail=str(error))

    def _informed(self) -> None:
        """Pass an informational response over: nothing was asked for that one answers."""
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            raise PeerError(f"the server sent more than {MAX_INFORMATIONAL} informational responses")

    def _begin(self, head: h11.Response) -> None:
        fields = head.headers.raw_items()
        size = sum(len(name) + len(value) + 4 for name, value in fields)
        if size > MAX_HEADER_BYTES or len(fields) > MAX_HEADER_FIELDS:
            limits = f"{MAX_HEADER_BYTES} bytes, {MAX_HEADER_FIELDS} fields"
            raise PeerError(f"the header of the server's response is too large ({limits} at most)")
        if head.http_version not in (b"1.0", b"1.1"):
            raise PeerError("the server answers in a version of HTTP that it was not asked in")
        if head.status_code > MAX_STATUS:
            raise PeerError("the status of the server's response is none of HTTP")
        if any(CONTROL.search(value) for _, value in fields):
            raise PeerError("a header field of the server's response has control characters")
        self._response = Response(head, self)
        # Whoever answers before it has heard the request out has refused it, unless it says that it has not.
        if head.status_code >= 300:
            self._stop_upload()

    def _end(self, response: Response) -> None:
        """End the response, and be of use again if that is safe."""
        self._response = None
        self._deadline.stop()
        self._stop_upload()
        if self._over:
            response.ended_by_close = True
        elif self._h11.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE} and self._h11.trailing_data == (
            b"",
            False,
        ):
            self._h11.start_next_cycle()
            self.used = True
            self.transport.resumeProducing()
            self._home.idle(self)
        else:
            self.close()
        response.end()

    def _silent(self) -> None:
        secs = self._limits.silence_secs
        self.abort(TimedOut(f"the server sent nothing of its response for {secs:g} s (silence_timeout_secs)"))

    # What the reader of a response asks for

    def pause(self, response: Response) -> None:
        """Read no more: the reader has enough. Its slowness is not the server's."""
        if response is self._response:
            self._wanted = False
            self._deadline.stop()
            self.transport.pauseProducing()

    def resume(self, response: Response) -> None:
        """Read on."""
        if response is self._response:
            self._wanted = True
            self._deadline.start(self._limits.silence_secs, self._silent)
            if self._later is None:
                self.transport.resumeProducing()

    def give_up(self, response: Response) -> None:
        """Break a response off."""
        if response is self._response:
            self.abort(CancelledError())


def _described(error: object) -> str:
    """Return what the operator should know of how a connection ended."""
    if isinstance(error, ConnectionAborted | ConnectionDone | ConnectionLost):
        return ""
    return problem_of(error) or str(error)
