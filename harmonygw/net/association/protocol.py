"""One association on one Twisted transport: the seam between the upper layer, which does no IO, and the reactor.

The protocol drives `UpperLayer` and `MessageReader`, which own every decision of PS3.8 and PS3.7, and tells an
`AssociationUser` what arrived. It adds only what needs a reactor: timers, flow control and the socket's settings.

What one read brings is parsed as a whole and delivered afterwards, so the upper layer may be ahead of the user: an
A-ABORT at the end of a read has ended the association before the user sees the fragments in front of it. What the
user still asks for then comes too late and is dropped, and `closed` follows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from harmonygw.dicom.dimse.commands import Command, encode_command
from harmonygw.dicom.dimse.messages import (
    Buffer,
    CommandReceived,
    DataSetFragment,
    MessageReader,
    OutgoingDataSet,
    pdvs,
)
from harmonygw.dicom.upperlayer.negotiation import AcceptedContext, AssociateAC, AssociateRJ, AssociateRQ
from harmonygw.dicom.upperlayer.provider import (
    Aborted,
    AssociateConfirm,
    AssociateIndication,
    AssociateRejected,
    Event,
    Fragment,
    ReleaseConfirm,
    ReleaseIndication,
    State,
    UpperLayer,
)
from harmonygw.errors import HarmonyError, PeerError, TimedOut, TransportError
from harmonygw.net.association.fragments import gathered
from harmonygw.net.association.rejections import rejection
from harmonygw.net.association.valve import Valve
from harmonygw.net.connecting import loss
from harmonygw.net.sending import send
from harmonygw.streams import Piece

log = Logger()

READ_SIZE = 393_216
"""Bytes asked of the socket in one read, and held for it at most before it is written: six times Twisted's default,
which cost half of the throughput. An object of 512 KB comes in two such reads and not in three; more gained nothing."""

PROGRESS_BYTES = 1024
"""Bytes that are a sign of life where no message has ended: a byte now and then keeps no association."""

LINGER = 2.0
"""Seconds that a connection outlives its association: to deliver the last bytes (an A-ABORT, mostly), and for the
peer to close it, as it must in Sta13 (PS3.8 §9.2). Then it is reset, sooner than ARTIM would have it: a peer that
neither reads nor closes must not keep a descriptor."""

RELEASE_TIMEOUT = 5.0
"""Seconds that a peer has to answer an A-RELEASE-RQ before the association is aborted: nothing depends on its answer
any more, and a place in the quota does."""


class AssociationUser(Protocol):
    """Who uses an association: told what arrives, in order, in the reactor's turn in which it arrived.

    A `PeerError` raised here aborts the association with its source and reason.
    """

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
        """Take note that the peer released the association; the answer has been sent, and `closed` follows."""

    def closed(self, reason: HarmonyError | None) -> None:
        """Take note that the association is over: None after an orderly release. Called once."""

    def disconnected(self) -> None:
        """Take note that the connection is gone too, at most `LINGER` after `closed`. Called once, last."""


@implementer(IPushProducer)
class AssociationProtocol(protocol.Protocol):
    """The Twisted protocol of one association, for either role.

    `silence_timeout` is in seconds: the longest wait for a PDU while one is expected, and for the peer to take what
    we send. A feed that holds the valve stops the clock, since then it is us who are slow.
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
        self._release_timer: IDelayedCall | None = None
        self._linger: IDelayedCall | None = None
        self._expecting = False
        self._excused: Callable[[], bool] = bool
        self._closed = False
        self._gone = False
        self._reason: HarmonyError | None = None
        self._write_paused = False
        self._backlogged = False
        self._read_paused = False
        self._drain_waiters: list[Deferred[None]] = []
        self.valve = Valve(self._regulate)
        self.contexts: Mapping[int, AcceptedContext] = {}
        """Accepted presentation contexts by their ID, seen from this side."""
        self.acceptance: AssociateAC | None = None
        """The A-ASSOCIATE-AC, once there is one."""
        self.request: AssociateRQ | None = None
        """The A-ASSOCIATE-RQ, once there is one."""
        self._unheard = 0
        self.last_heard = 0.0
        """When the peer last gave a sign of life, or we began to listen again, by the clock. A sign of life is the end
        of a command set, of a data set or of any other PDU, or `PROGRESS_BYTES`."""

    # What the user calls

    @property
    def is_closed(self) -> bool:
        """Whether the association is over."""
        return self._closed

    @property
    def is_established(self) -> bool:
        """Whether the association is there, and nothing has arrived that ends it: its user may be told so later."""
        return not self._closed and self._upper_layer.state is State.Sta6

    def associate(self, request: AssociateRQ) -> None:
        """Request an association; it is sent as soon as the transport is connected."""
        self.request = request
        self._upper_layer.associate(request, self._clock.seconds())

    def accept(self, answer: AssociateAC) -> None:
        """Accept the association that was indicated."""
        if self._upper_layer.state is not State.Sta3:
            return
        self.acceptance = answer
        self._upper_layer.accept(answer, self._clock.seconds())
        self.contexts = self._upper_layer.contexts
        self._follow()
        self._user.established()

    def reject(self, answer: AssociateRJ) -> None:
        """Refuse the association that was indicated, which ends it."""
        if self._upper_layer.state is not State.Sta3:
            return
        self._upper_layer.reject(answer, self._clock.seconds())
        self._write()
        self._close(rejection(answer))

    def send(self, context_id: int, command: Command, data_set: Piece | None = None) -> None:
        """Send a whole message in a single write: a response in two would wait for a delayed ACK.

        A peer that does not take what we answer is not read from, so that nothing piles up.
        """
        if not self._upper_layer.may_send:
            return
        length = self._upper_layer.max_send_length
        now = self._clock.seconds()
        encoded = encode_command(command)
        self._upper_layer.send(pdvs(context_id, encoded, is_command=True, max_length=length), now)
        if data_set is not None:
            self._upper_layer.send(pdvs(context_id, data_set, is_command=False, max_length=length), now)
        if self._write_paused:
            self._backlogged = True
            self._regulate()
        self._write()

    def begin_message(self, context_id: int, command: Command) -> OutgoingDataSet:
        """Begin to send a message whose data set is still to come: its command goes out with the first of that.

        Returns what cuts the data set into fragments that the peer takes.
        """
        length = self._upper_layer.max_send_length
        if self._upper_layer.may_send:
            encoded = encode_command(command)
            self._upper_layer.send(pdvs(context_id, encoded, is_command=True, max_length=length), self._clock.seconds())
        return OutgoingDataSet(length)

    def send_fragments(self, context_id: int, fragments: Sequence[Sequence[Buffer]], *, is_last: bool = False) -> None:
        """Send what has been cut of the data set of a message that has begun, in one write and uncopied.

        `is_last` says that it is one fragment, and that it ends the data set.
        """
        if self._upper_layer.may_send:
            self._upper_layer.send_fragments(context_id, fragments, self._clock.seconds(), is_last=is_last)
            self._write()

    async def drained(self) -> None:
        """Wait until the transport takes more; returns at once when it does now.

        Raises why the association is over when it is, and aborts it when the peer takes nothing for
        `silence_timeout`.
        """
        if self._closed:
            raise self._end
        if self._write_paused:
            waiter: Deferred[None] = Deferred()
            self._drain_waiters.append(waiter)
            timer = self._clock.callLater(self._silence_timeout, self._nothing_taken)
            try:
                await waiter
            finally:
                if timer.active():
                    timer.cancel()

    def expect(self, answer_due: bool, *, unless: Callable[[], bool] | None = None) -> None:
        """Say whether a PDU of the peer is due, so that its silence is a fault.

        `unless` is asked when it has been silent too long: while it returns true, the peer is busy elsewhere for us.
        """
        if answer_due and not self._expecting:
            self.last_heard = self._clock.seconds()
            if self._silence is None and not self._closed:
                self._silence = self._clock.callLater(self._silence_timeout, self._check_silence)
        self._expecting = answer_due
        self._excused = unless or bool

    def release(self) -> None:
        """Release the association in order, or abort it: when there is none yet, or the peer does not answer."""
        if self._upper_layer.state is State.Sta6:
            self._upper_layer.release(self._clock.seconds())
            self._write()
            self._release_timer = self._clock.callLater(RELEASE_TIMEOUT, self._release_timed_out)
        elif not self._upper_layer.may_send and self._release_timer is None:
            self.abort(TransportError("the association was given up here"))

    def abort(self, reason: HarmonyError, *, source: int = 0, code: int = 0) -> None:
        """Abort the association: `reason` is what its user is told, `source` and `code` what the peer is told."""
        if self._closed:
            return
        if self._upper_layer.may_abort:
            self._upper_layer.abort(self._clock.seconds(), source=source, reason=code)
            self._write()
        self._close(reason)

    # What Twisted calls

    def connectionMade(self) -> None:
        """Set the socket up, and begin."""
        transport: Any = self.transport
        if self._closed:
            transport.abortConnection()
            return
        if ITCPTransport.providedBy(self.transport):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
            transport.bufferSize = READ_SIZE
        transport.registerProducer(self, True)
        self._upper_layer.connected(self._clock.seconds())
        self._follow()

    def dataReceived(self, data: bytes) -> None:
        """Take what one read brought."""
        now = self._clock.seconds()
        user = self._user
        feed, fragment_received = self._reader.feed, user.fragment_received
        self._unheard += len(data)
        try:
            events = gathered(self._upper_layer.receive(data, now), len(data))
            if self._unheard >= PROGRESS_BYTES or any(type(one) is not Fragment or one.is_last for one in events):
                self.last_heard, self._unheard = now, 0
            for event in events:
                if self._closed:
                    break
                if type(event) is Fragment:
                    message = feed(*event)
                    if type(message) is DataSetFragment:
                        _, fragment, is_last = message
                        fragment_received(fragment, is_last)
                    elif type(message) is CommandReceived:
                        user.command_received(message.context_id, message.command)
                else:
                    self._indicate(event)
            if not self._closed:
                user.read_ended()
        except PeerError as failure:
            self.abort(failure, source=failure.source, code=failure.reason)
        except Exception:  # noqa: BLE001 - an error of ours: the peer gets its A-ABORT, the log what went wrong
            log.failure("an association is aborted by an error of the gateway")
            self.abort(HarmonyError("an error of the gateway ended the association"))
        self._follow()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Take note that the transport is gone."""
        if self._gone:
            return
        self._gone = True
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        for event in self._upper_layer.closed(self._clock.seconds()):
            if isinstance(event, Aborted):
                self._close(loss(event.detail, reason))
        self._close(loss("the connection was lost before there was an association", reason))
        self._user.disconnected()

    def pauseProducing(self) -> None:
        """Stop sending: the transport holds enough."""
        self._write_paused = True

    def resumeProducing(self) -> None:
        """Send again."""
        self._write_paused = self._backlogged = False
        self._regulate()
        waiters, self._drain_waiters = self._drain_waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def stopProducing(self) -> None:
        """Take note that nothing can be sent any more; `connectionLost` says the rest."""

    # Events of the upper layer

    def _indicate(self, event: Event) -> None:
        now = self._clock.seconds()
        match event:
            case AssociateConfirm():
                self.acceptance = event.ac
                self.contexts = self._upper_layer.contexts
                self._user.established()
            case AssociateIndication():
                self.request = event.rq
                self._user.associate_indication(event.rq)
            case AssociateRejected():
                self._close(rejection(event.rj, self.request))
            case ReleaseIndication():
                state = self._upper_layer.state
                if state is State.Sta8 or state is State.Sta9:
                    self._upper_layer.release_response(now)
                    self._write()
                    self._user.release_indication()
                # In a collision (Sta9, Sta10) the peer's answer is still to come; in Sta13 an abort is.
                if state is State.Sta8:
                    self._close(None)
            case ReleaseConfirm():
                if self._upper_layer.state is State.Sta12:
                    self._upper_layer.release_response(now)
                    self._write()
                self._close(None)
            case Aborted():
                self._write()
                self._close(_abort_reason(event))

    def _follow(self) -> None:
        """Do what the upper layer wants of the transport: write, watch its timer, close."""
        self._write()
        if self._upper_layer.close_transport:
            self._close(TransportError("the peer ended the connection before there was an association"))
            if not self._gone:
                cast(Any, self.transport).loseConnection()
        elif not self._closed:
            self._set_timer()

    def _write(self) -> None:
        pieces = self._upper_layer.take()
        if pieces and self.transport is not None and not self._gone:
            rest = send(self.transport, pieces)
            if rest:
                self.transport.write(b"".join(rest))

    # Timers

    def _set_timer(self) -> None:
        due = self._upper_layer.get_timer()
        if self._timer is not None:
            if self._timer.getTime() == due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._timer_expired)

    def _timer_expired(self) -> None:
        self._timer = None
        for event in self._upper_layer.timer_expired(self._clock.seconds()):
            self._indicate(event)
        if self._upper_layer.close_transport:
            self._close(TimedOut("the peer requested no association in time (association_timeout_secs)"))
        self._follow()

    def _check_silence(self) -> None:
        self._silence = None
        if not self._expecting:
            return
        now = self._clock.seconds()
        due = self.last_heard + self._silence_timeout
        if self.valve.held or self._excused():
            due = now + self._silence_timeout
        if due > now:
            self._silence = self._clock.callLater(due - now, self._check_silence)
        else:
            self.abort(
                TimedOut(f"no PDU came for {self._silence_timeout:g} s while one was due (silence_timeout_secs)")
            )

    def _nothing_taken(self) -> None:
        self.abort(TimedOut(f"the peer took nothing for {self._silence_timeout:g} s (silence_timeout_secs)"))

    def _release_timed_out(self) -> None:
        self.abort(TimedOut(f"the peer did not answer A-RELEASE-RQ within {RELEASE_TIMEOUT:g} s"))

    # The transport

    def _regulate(self) -> None:
        """Read from the transport, unless a feed is full or the peer does not take our answers."""
        paused = not self._closed and (self.valve.held or self._backlogged)
        if paused is self._read_paused or self._gone:
            return
        self._read_paused = paused
        if paused:
            cast(Any, self.transport).pauseProducing()
        else:
            self.last_heard = self._clock.seconds()
            cast(Any, self.transport).resumeProducing()

    def _close(self, reason: HarmonyError | None) -> None:
        if self._closed:
            return
        self._closed = True
        self._reason = reason
        for timer in (self._timer, self._silence, self._release_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self.valve.close()
        never_connected = self.transport is None
        if never_connected:
            self._gone = True
        elif not self._gone:
            self._linger_on()
        waiters, self._drain_waiters = self._drain_waiters, []
        for waiter in waiters:
            waiter.errback(self._end)
        self._user.closed(reason)
        if never_connected:
            self._user.disconnected()

    def _linger_on(self) -> None:
        transport = cast(Any, self.transport)
        transport.unregisterProducer()
        self._regulate()
        if self._upper_layer.state is not State.Sta13:
            transport.loseConnection()
        self._linger = self._clock.callLater(LINGER, transport.abortConnection)

    @property
    def _end(self) -> HarmonyError:
        return self._reason or TransportError("the association was released")


def _abort_reason(event: Aborted) -> HarmonyError:
    if event.timed_out:
        return TimedOut(f"{event.detail} (association_timeout_secs)")
    if event.by_peer:
        return TransportError(event.detail)
    return PeerError(event.detail, source=event.source, reason=event.reason)
