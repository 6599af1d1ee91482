"""One association on one Twisted transport: the seam between the upper layer, which does no IO, and the reactor.

The protocol drives `UpperLayer` and `MessageReader`, which own every decision of PS3.8 and PS3.7, and tells an
`AssociationUser` what arrived. It adds only what needs a reactor: timers, flow control and the socket's settings.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from harmonygw.dicom.dimse.commands import Command, encode_command
from harmonygw.dicom.dimse.messages import DataSetFragment, MessageReader, pdvs
from harmonygw.dicom.upperlayer.negotiation import AcceptedContext, AssociateAC, AssociateRJ, AssociateRQ
from harmonygw.dicom.upperlayer.provider import (
    Aborted,
    AssociateConfirm,
    AssociateIndication,
    AssociateRejected,
    Fragment,
    ReleaseConfirm,
    ReleaseIndication,
    UpperLayer,
)
from harmonygw.errors import HarmonyError, PeerError, RejectedError, TimedOut, TransportError
from harmonygw.streams import Flow, Piece

READ_SIZE = 262_144
"""Bytes asked of the socket in one read, and held for it at most before it is written: four times Twisted's default,
which cost a third of the throughput; a megabyte was slower again."""

LINGER = 2.0
"""Seconds that a closing connection has to deliver its last bytes (an A-ABORT, mostly) before it is reset: a peer that
does not read must not keep a descriptor."""

RELEASE_TIMEOUT = 5.0
"""Seconds that a peer has to answer an A-RELEASE-RQ before the association is aborted: nothing depends on its answer
any more, and a place in the quota does."""


class AssociationUser(Protocol):
    """Who uses an association: told what arrives, in order, in the reactor's turn in which it arrived."""

    def associate_indication(self, request: AssociateRQ) -> None:
        """Decide an A-ASSOCIATE-RQ: call `accept` or `reject` of the protocol (acceptors only)."""

    def established(self) -> None:
        """Take note that the association is there and its `contexts` are known."""

    def command_received(self, context_id: int, command: Command) -> None:
        """Take a command set; its data set follows when it announced one."""

    def fragment_received(self, data: memoryview, is_last: bool) -> None:
        """Take a part of the data set of the last command."""

    def read_ended(self) -> None:
        """Take note that everything one read brought has been delivered."""

    def release_indication(self) -> None:
        """Take note that the peer released the association; the answer has been sent."""

    def closed(self, reason: HarmonyError | None) -> None:
        """Take note that the association is over: None after an orderly release. Called once, last."""


class Valve:
    """Lets several feeds slow one transport down: it reads only while nobody holds it.

    When an operation is given up, `open()` frees the transport of every feed of that operation at once, whoever
    may still hold one: its responses must come in, read or not.
    """

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pause = pause
        self._resume = resume
        self._holders: set[object] = set()
        self._epoch = 0

    def flow(self) -> Flow:
        """Make a handle of its own for one feed."""
        return _ValveFlow(self, self._epoch)

    def open(self) -> None:
        """Read on: every handle made so far is void."""
        self._epoch += 1
        if self._holders:
            self._holders.clear()
            self._resume()

    @property
    def held(self) -> bool:
        """Whether anybody holds it."""
        return bool(self._holders)

    def hold(self, who: object, epoch: int) -> None:
        """Stop the reading on behalf of `who`, unless its handle is void."""
        if epoch != self._epoch:
            return
        if not self._holders:
            self._pause()
        self._holders.add(who)

    def let_go(self, who: object) -> None:
        """Read again, unless somebody else holds it."""
        if who in self._holders:
            self._holders.discard(who)
            if not self._holders:
                self._resume()


class _ValveFlow:
    def __init__(self, valve: Valve, epoch: int) -> None:
        self._valve = valve
        self._epoch = epoch

    def pause(self) -> None:
        self._valve.hold(self, self._epoch)

    def resume(self) -> None:
        self._valve.let_go(self)


@implementer(IPushProducer)
class AssociationProtocol(protocol.Protocol):
    """The Twisted protocol of one association, for either role.

    `silence_timeout` is in seconds: the longest wait for a PDU while `expecting` one; a reader that holds the
    valve stops the clock, since then it is us who are slow.
    """

    def __init__(
        self,
        upper_layer: UpperLayer,
        user: AssociationUser,
        clock: IReactorTime,
        *,
        silence_timeout: float,
    ) -> None:
        self._upper_layer = upper_layer
        self._user = user
        self._clock = clock
        self._silence_timeout = silence_timeout
        self._reader = MessageReader()
        self._timer: IDelayedCall | None = None
        self._silence: IDelayedCall | None = None
        self._linger: IDelayedCall | None = None
        self._stall: IDelayedCall | None = None
        self._last_heard = 0.0
        self._expecting = False
        self._closed = False
        self._gone = False
        self._reason: HarmonyError | None = None
        self._write_paused = False
        self._drain_waiters: list[Deferred[None]] = []
        self.valve = Valve(self._stop_reading, self._start_reading)
        self.contexts: Mapping[int, AcceptedContext] = {}
        """Accepted presentation contexts by their ID, seen from this side."""
        self.acceptance: AssociateAC | None = None
        """The A-ASSOCIATE-AC, once there is one."""
        self.request: AssociateRQ | None = None
        """The A-ASSOCIATE-RQ, once there is one."""

    # What the user calls

    @property
    def is_closed(self) -> bool:
        """Whether `closed` has been told."""
        return self._closed

    @property
    def last_heard(self) -> float:
        """When the peer was heard last, in seconds of the clock; 0.0 before it was."""
        return self._last_heard

    def associate(self, request: AssociateRQ) -> None:
        """Request an association; it is sent as soon as the transport is connected."""
        self.request = request
        self._upper_layer.associate(request, self._clock.seconds())

    def accept(self, answer: AssociateAC) -> None:
        """Accept the association that was indicated."""
        self.acceptance = answer
        self._upper_layer.accept(answer, self._clock.seconds())
        self.contexts = self._upper_layer.contexts
        self._flush()
        self._user.established()

    def reject(self, answer: AssociateRJ) -> None:
        """Refuse the association that was indicated."""
        self._upper_layer.reject(answer, self._clock.seconds())
        self._flush()

    def send(self, context_id: int, command: Command, data_set: Piece | None = None) -> None:
        """Send a whole message in a single write: a response in two would wait for a delayed ACK."""
        length = self._upper_layer.max_send_length
        now = self._clock.seconds()
        encoded = encode_command(command)
        self._upper_layer.send(pdvs(context_id, encoded, is_command=True, max_length=length), now)
        if data_set is not None:
            self._upper_layer.send(pdvs(context_id, data_set, is_command=False, max_length=length), now)
        self._flush()

    def send_fragment(self, context_id: int, data: Piece, *, is_last: bool) -> None:
        """Send a part of a data set whose command has been sent."""
        fragments = pdvs(context_id, data, is_command=False, max_length=self._upper_layer.max_send_length)
        if not is_last:
            fragments = (fragment._replace(is_last=False) for fragment in fragments)
        self._upper_layer.send(fragments, self._clock.seconds())
        self._flush()

    async def drained(self) -> None:
        """Wait until the transport takes more; returns at once when it does now, raises when it never will."""
        if self._closed:
            raise self._reason or TransportError("the association was closed")
        if self._write_paused:
            waiter: Deferred[None] = Deferred()
            self._drain_waiters.append(waiter)
            await waiter

    def expect(self, answer_due: bool) -> None:
        """Say whether a PDU of the peer is due, so that its silence is a fault."""
        if answer_due and not self._expecting:
            self._last_heard = self._clock.seconds()
            if self._silence is None:
                self._silence = self._clock.callLater(self._silence_timeout, self._check_silence)
        self._expecting = answer_due

    def release(self) -> None:
        """Release the association in order; aborts it when the peer does not answer."""
        if self._closed or not self._upper_layer.may_send:
            return
        self._upper_layer.release(self._clock.seconds())
        self._flush()
        if not self._closed:
            self._clock.callLater(RELEASE_TIMEOUT, self._release_timed_out)

    def abort(self, reason: HarmonyError, *, source: int = 0, code: int = 0) -> None:
        """Abort the association: `reason` is what its user is told."""
        if self._closed:
            return
        if self._reason is None:
            self._reason = reason
        if self._upper_layer.may_abort:
            self._upper_layer.abort(self._clock.seconds(), source=source, reason=code)
            self._flush()
        self._close(reason)

    # What Twisted calls

    def connectionMade(self) -> None:
        """Set the socket up, and begin."""
        transport = cast(Any, self.transport)
        ITCPTransport(transport).setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        if hasattr(transport, "bufferSize"):
            transport.bufferSize = READ_SIZE
        transport.registerProducer(self, True)
        self._upper_layer.connected(self._clock.seconds())
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        """Take what one read brought."""
        if self._closed:
            return
        now = self._last_heard = self._clock.seconds()
        user = self._user
        feed = self._reader.feed
        try:
            for event in self._upper_layer.receive(data, now):
                if type(event) is Fragment:
                    message = feed(event.context_id, event.is_command, event.is_last, event.data)
                    if message is None:
                        continue
                    if isinstance(message, DataSetFragment):
                        user.fragment_received(message.data, message.is_last)
                    else:
                        user.command_received(message.context_id, message.command)
                else:
                    self._upper_layer_event(event)
                if self.is_closed:
                    return
            user.read_ended()
        except PeerError as error:
            self.abort(error, source=error.source, code=error.reason)
        else:
            self._flush()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Take note that the transport is gone."""
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._linger = None
        self._gone = True
        for event in self._upper_layer.closed(self._clock.seconds()):
            self._upper_layer_event(event)
        self._close(self._reason or TransportError("the connection was lost during the association"))

    def pauseProducing(self) -> None:
        """Stop sending: the transport holds enough. A peer that then takes none of it for long is aborted."""
        self._write_paused = True
        if self._stall is None:
            self._stall = self._clock.callLater(self._silence_timeout, self._stalled)

    def resumeProducing(self) -> None:
        """Send again."""
        self._write_paused = False
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        waiters, self._drain_waiters = self._drain_waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def stopProducing(self) -> None:
        """Take note that nothing can be sent any more; `connectionLost` says the rest."""

    # What happens inside

    def _upper_layer_event(self, event: object) -> None:
        if isinstance(event, AssociateConfirm):
            self.acceptance = event.ac
            self.contexts = self._upper_layer.contexts
            self._user.established()
        elif isinstance(event, AssociateIndication):
            self.request = event.rq
            self._user.associate_indication(event.rq)
        elif isinstance(event, AssociateRejected):
            answer = event.rj
            self._reason = RejectedError(
                describe_rejection(answer), result=answer.result, source=answer.source, reason=answer.reason
            )
            self._flush()
            self._close(self._reason)
        elif isinstance(event, ReleaseIndication):
            self._upper_layer.release_response(self._clock.seconds())
            self._flush()
            self._user.release_indication()
        elif isinstance(event, ReleaseConfirm):
            self._flush()
            self._close(None)
        elif isinstance(event, Aborted):
            if self._reason is None:
                self._reason = _abort_reason(event)
            self._flush()
            self._close(self._reason)

    def _flush(self) -> None:
        pieces = self._upper_layer.take()
        transport = cast(Any, self.transport)
        if transport is None:
            return
        if pieces:
            transport.write(b"".join(pieces) if len(pieces) > 1 else bytes(pieces[0]))
        if self._upper_layer.close_transport:
            transport.loseConnection()
        self._set_timer()

    def _set_timer(self) -> None:
        due = self._upper_layer.get_timer()
        if self._timer is not None and self._timer.active():
            if due is not None and self._timer.getTime() == due:
                return
            self._timer.cancel()
        self._timer = None
        if due is not None:
            self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._timer_expired)

    def _timer_expired(self) -> None:
        self._timer = None
        for event in self._upper_layer.timer_expired(self._clock.seconds()):
            self._upper_layer_event(event)
        self._flush()

    def _check_silence(self) -> None:
        self._silence = None
        if not self._expecting or self._closed:
            return
        due = self._last_heard + self._silence_timeout
        now = self._clock.seconds()
        if self.valve.held:
            due = now + self._silence_timeout
        if due > now:
            self._silence = self._clock.callLater(due - now, self._check_silence)
        else:
            self.abort(
                TimedOut(
                    f"no PDU came for {self._silence_timeout:g} s while one was due (silence_timeout_secs)"
                )
            )

    def _stalled(self) -> None:
        self._stall = None
        self.abort(
            TimedOut(f"the peer took no data for {self._silence_timeout:g} s (silence_timeout_secs)")
        )

    def _release_timed_out(self) -> None:
        self.abort(TimedOut(f"the peer did not answer A-RELEASE-RQ within {RELEASE_TIMEOUT:g} s"))

    def _stop_reading(self) -> None:
        if not self._closed:
            cast(Any, self.transport).pauseProducing()

    def _start_reading(self) -> None:
        self._last_heard = self._clock.seconds()
        if not self._closed:
            cast(Any, self.transport).resumeProducing()

    def _close(self, reason: HarmonyError | None) -> None:
        if self._closed:
            return
        self._closed = True
        self._reason = reason
        for timer in (self._timer, self._silence, self._stall):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._silence = self._stall = None
        transport = cast(Any, self.transport)
        if not self._gone:
            transport.unregisterProducer()
            transport.loseConnection()
            self._linger = self._clock.callLater(LINGER, transport.abortConnection)
        self._user.closed(reason)
        waiters, self._drain_waiters = self._drain_waiters, []
        for waiter in waiters:
            waiter.errback(reason or TransportError("the association was released"))


def describe_rejection(answer: AssociateRJ) -> str:
    """Say what an A-ASSOCIATE-RJ says, in the standard's words (PS3.8 Table 9-21)."""
    lasting = {1: "permanently", 2: "for now"}.get(answer.result, f"with result {answer.result}")
    words = {
        (1, 2): "application context name not supported",
        (1, 3): "calling AE title not recognized",
        (1, 7): "called AE title not recognized",
        (2, 2): "protocol version not supported",
        (3, 1): "temporary congestion",
        (3, 2): "local limit exceeded",
    }.get((answer.source, answer.reason), "no reason given")
    return f"the association was rejected {lasting}: {words}"


def _abort_reason(event: Aborted) -> HarmonyError:
    detail = event.detail
    if event.timed_out:
        return TimedOut(detail)
    if event.by_peer:
        return TransportError(detail)
    return PeerError(detail, source=event.source, reason=event.reason)
