"""The DICOM upper layer service provider (PS3.8), without IO.

Theory of operation. `UpperLayer` stands between a transport connection and the user of an association, and
touches neither: bytes and the time go in, events and bytes come out. Whoever owns the transport

    * calls `connected`, `receive` and `closed` when these things happen, and gives the events to the user;
    * writes what `take` returns after every call, and closes the connection once `close_transport` is true;
    * calls `timer_expired` when the time that `get_timer` names has come.

The user calls the request and response primitives: `associate`, `accept`, `reject`, `send`, `release`,
`release_response`, `abort`. One that the present state does not allow is an error in the program and raises
RuntimeError. The state may be ahead of the user, who is still working through the events of one `receive`:
`may_send` and `may_abort` tell.

Each call becomes one event of Table 9-10. `machine.py` says which action that is, and has by then moved the
state and set the timer; what remains here is to send the PDU and to tell the user. A peer's error never
raises: it ends in an A-ABORT and an `Aborted` event, as the table has it.

P-DATA-TF is the hot path: while the state welcomes data, its fragments pass from `reader.py` to the events
without a look at the table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from harmonygw.dicom.upperlayer import machine, pdus
from harmonygw.dicom.upperlayer.events import (
    Aborted,
    AssociateConfirm,
    AssociateIndication,
    AssociateRejected,
    Event,
    Fragment,
    ReleaseConfirm,
    ReleaseIndication,
)
from harmonygw.dicom.upperlayer.machine import Action, State
from harmonygw.dicom.upperlayer.negotiation import (
    APPLICATION_CONTEXT_NAME,
    APPLICATION_CONTEXT_NAME_NOT_SUPPORTED,
    DEFAULT_MAX_PDU_LENGTH,
    PROTOCOL_VERSION_NOT_SUPPORTED,
    AcceptedContext,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    accepted,
)
from harmonygw.dicom.upperlayer.pdus import AbortReason, AbortSource, Buffer, PDUType
from harmonygw.dicom.upperlayer.reader import PDU, PDUReader
from harmonygw.errors import PeerError

__all__ = [
    "Aborted",
    "AssociateConfirm",
    "AssociateIndication",
    "AssociateRejected",
    "Event",
    "Fragment",
    "ReleaseConfirm",
    "ReleaseIndication",
    "State",
    "UpperLayer",
]

DEFAULT_ARTIM_TIMEOUT: Final = 30.0
"""Seconds to wait for an A-ASSOCIATE-RQ on a new connection, and for the peer to close one (PS3.8 §9.1.5)."""

DEFAULT_ASSOCIATION_TIMEOUT: Final = 30.0
"""Seconds a requestor waits for the answer to its A-ASSOCIATE-RQ; the standard sets none."""

MIN_PDU_LENGTH: Final = 1024
"""Bytes of the smallest maximum that either side may announce, other than 0.

No known implementation takes less than 4096; with a few bytes a PDU a peer could make headers outweigh the
data.
"""

MAX_SEND_LENGTH: Final = 1048576
"""Bytes of variable field in a P-DATA-TF PDU that is sent, when the peer sets no limit or a higher one.

Larger PDUs are no faster, and cannot be interrupted.
"""

_RECEIVED: Final[Mapping[int, machine.Event]] = MappingProxyType(
    {
        PDUType.A_ASSOCIATE_RQ: machine.Event.Evt6,
        PDUType.A_ASSOCIATE_AC: machine.Event.Evt3,
        PDUType.A_ASSOCIATE_RJ: machine.Event.Evt4,
        PDUType.P_DATA_TF: machine.Event.Evt10,
        PDUType.A_RELEASE_RQ: machine.Event.Evt12,
        PDUType.A_RELEASE_RP: machine.Event.Evt13,
        PDUType.A_ABORT: machine.Event.Evt16,
    }
)


class UpperLayer:
    """One association over one transport connection, seen from the requestor's or the acceptor's end.

    `max_pdu_length` is the most that this end is willing to announce, in bytes; what is enforced is what
    the A-ASSOCIATE-RQ or -AC sent has announced. The time-outs are in seconds, by the monotonic clock whose
    readings are given as `now`. Raises ValueError for a `max_pdu_length` below 1024.
    """

    def __init__(
        self,
        *,
        requestor: bool,
        max_pdu_length: int = DEFAULT_MAX_PDU_LENGTH,
        artim_timeout: float = DEFAULT_ARTIM_TIMEOUT,
        association_timeout: float = DEFAULT_ASSOCIATION_TIMEOUT,
    ) -> None:
        if max_pdu_length < MIN_PDU_LENGTH:
            raise ValueError(f"max_pdu_length {max_pdu_length} is below {MIN_PDU_LENGTH}")
        self._machine = machine.StateMachine(
            requestor=requestor, artim_timeout=artim_timeout, association_timeout=association_timeout
        )
        self._reader = PDUReader(max_pdu_length)
        self._max_pdu_length = max_pdu_length
        self._max_send_length = MAX_SEND_LENGTH
        self._association_timeout = association_timeout
        self._rq: AssociateRQ  # there is none before Sta3 and Sta4
        self._contexts: dict[int, AcceptedContext] = {}
        self._out: list[Buffer] = []
        self._framing_lost = False

    # What the owner of the transport and the user may ask

    @property
    def state(self) -> State:
        """The state of PS3.8 §9.2.1."""
        return self._machine.state

    @property
    def close_transport(self) -> bool:
        """Whether the transport connection is to be closed, after what `take` returns has been written."""
        return self._machine.close_transport

    @property
    def contexts(self) -> Mapping[int, AcceptedContext]:
        """The accepted presentation contexts by id; empty before the association is established."""
        return MappingProxyType(self._contexts)

    @property
    def max_send_length(self) -> int:
        """The most bytes of variable field in a P-DATA-TF PDU that is sent: the peer's limit or 1 MiB."""
        return self._max_send_length

    @property
    def may_send(self) -> bool:
        """Whether `send` is allowed now."""
        return self._machine.allows(machine.Event.Evt9)

    @property
    def may_abort(self) -> bool:
        """Whether `abort` is allowed now."""
        return self._machine.allows(machine.Event.Evt15)

    def take(self) -> list[Buffer]:
        """Return what is to be written, in order, and forget it."""
        out, self._out = self._out, []
        return out

    def get_timer(self) -> float | None:
        """Return the time at which `timer_expired` is to be called, or None."""
        if self._machine.association_deadline is not None:
            return self._machine.association_deadline
        return self._machine.artim_deadline

    # Transport and timer

    def connected(self, now: float) -> None:
        """Say that the transport connection is open: confirmed to a requestor, indicated to an acceptor."""
        if self._machine.requestor:
            self._machine.happen(machine.Event.Evt2, now)
            self._out.append(pdus.encode_associate_rq(self._rq))
        else:
            self._machine.happen(machine.Event.Evt5, now)

    def receive(self, data: bytes | memoryview, now: float) -> list[Event]:
        """Take what the peer sent and return what that means; fragments are slices of `data`.

        After an unrecognised or invalid PDU nothing can be told apart any more, and what follows is
        ignored; as is what still comes when the connection is to be closed.
        """
        events: list[Event] = []
        if self._framing_lost or self._machine.close_transport:
            return events
        try:
            for item in self._reader.read(data):
                if isinstance(item, Fragment):
                    events.append(item)
                elif item.pdu_type != PDUType.P_DATA_TF or not self._machine.expects_data:
                    self._received(item, now, events)
                    if self._machine.state is State.Sta1:
                        break
        except PeerError as error:
            self._framing_lost = True
            self._invalid(error, now, events)
        return events

    def closed(self, now: float) -> list[Event]:
        """Say that the transport connection is closed; in Sta1 that was asked for, or is of no interest."""
        state = self._machine.state
        if state is State.Sta1:
            return []
        action = self._machine.happen(machine.Event.Evt17, now)
        if action is Action.AA_4:
            detail = f"connection closed while {state.value}"
            return [replace(_provider_abort(AbortReason.NOT_SPECIFIED, detail), by_peer=True)]
        return []

    def timer_expired(self, now: float) -> list[Event]:
        """Act on the timer that `get_timer` named; harmless when it has not run out yet."""
        deadline = self.get_timer()
        if deadline is None or now < deadline:
            return []
        if self._machine.association_deadline is None:
            self._machine.happen(machine.Event.Evt18, now)
            return []
        self.abort(now)
        detail = f"no answer to the A-ASSOCIATE-RQ within {self._association_timeout:g} s"
        return [Aborted(AbortSource.SERVICE_USER, AbortReason.NOT_SPECIFIED, False, detail, timed_out=True)]

    # Request and response primitives

    def associate(self, rq: AssociateRQ, now: float) -> None:
        """Request an association (PS3.8 §7.1); it is sent once the transport connection is open.

        Raises RuntimeError in any state but Sta1, and ValueError when `rq` announces more than
        `max_pdu_length`.
        """
        self._announce(rq.max_pdu_length, machine.Event.Evt1)
        self._machine.happen(machine.Event.Evt1, now)
        self._rq = rq

    def accept(self, ac: AssociateAC, now: float) -> None:
        """Accept the association that was indicated.

        Raises RuntimeError in any state but Sta3, and ValueError when `ac` announces more than
        `max_pdu_length` or does not answer what was requested.
        """
        self._announce(ac.max_pdu_length, machine.Event.Evt7)
        contexts = accepted(self._rq, ac, requestor=False)
        self._machine.happen(machine.Event.Evt7, now)
        self._establish(contexts)
        self._out.append(pdus.encode_associate_ac(ac))

    def reject(self, rj: AssociateRJ, now: float) -> None:
        """Reject the association that was indicated. Raises RuntimeError in any state but Sta3."""
        self._machine.happen(machine.Event.Evt8, now)
        self._out.append(pdus.encode_associate_rj(rj))

    def send(self, pdvs: Iterable[tuple[int, bool, bool, Buffer]], now: float) -> None:
        """Send presentation data values (context_id, is_command, is_last, data); none is copied (PS3.8 §7.6).

        Raises RuntimeError in any state but Sta6 and Sta8, and ValueError when a value does not fit
        `max_send_length` with its header of six bytes; nothing is sent then.
        """
        self._machine.happen(machine.Event.Evt9, now)
        self._out += pdus.encode_p_data_tf(pdvs, self._max_send_length)

    def send_fragments(
        self, context_id: int, fragments: Iterable[Sequence[Buffer]], now: float, *, is_last: bool = False
    ) -> None:
        """Send fragments of a data set, each the pieces of it and a PDU of its own; none is copied (PS3.8 §7.6).

        `is_last` says that it is one, and that it ends the data set. Raises what `send` raises.
        """
        self._machine.happen(machine.Event.Evt9, now)
        length = self._max_send_length
        encoded = [pdus.encode_fragment(context_id, is_last, pieces, length) for pieces in fragments]
        for pieces in encoded:
            self._out += pieces

    def release(self, now: float) -> None:
        """Request the release of the association (PS3.8 §7.2). Raises RuntimeError in any state but Sta6."""
        self._machine.happen(machine.Event.Evt11, now)
        self._out.append(pdus.A_RELEASE_RQ)

    def release_response(self, now: float) -> None:
        """Agree to the release that was indicated. Raises RuntimeError but in Sta8, Sta9 and Sta12."""
        self._machine.happen(machine.Event.Evt14, now)
        self._out.append(pdus.A_RELEASE_RP)

    def abort(
        self, now: float, source: int = AbortSource.SERVICE_USER, reason: int = AbortReason.NOT_SPECIFIED
    ) -> None:
        """Abort the association (PS3.8 §7.3), with source and reason of a PeerError if one is the cause.

        Raises RuntimeError in Sta1, Sta2 and Sta13, where there is nothing to abort.
        """
        action = self._machine.happen(machine.Event.Evt15, now)
        self._reader.skip()
        if action is Action.AA_1:
            self._out.append(pdus.encode_abort(source, reason))

    # What PDUs do

    def _received(self, pdu: PDU, now: float, events: list[Event]) -> None:
        """Perform the action for a PDU that is not welcome data; raises PeerError for an invalid one."""
        event = _RECEIVED[pdu.pdu_type]
        action = self._machine.action(event)
        if action is Action.AE_6:
            self._associate_requested(pdu.body, now, events)
            return
        if action is Action.AE_3:
            self._associate_accepted(pdu.body, now, events)
            return
        state = self._machine.state
        self._machine.happen(event, now)
        match action:
            case Action.AE_4:
                events.append(AssociateRejected(pdus.decode_associate_rj(pdu.body)))
            case Action.AR_2 | Action.AR_8:
                events.append(ReleaseIndication())
            case Action.AR_3 | Action.AR_10:
                events.append(ReleaseConfirm())
            case Action.AA_3:
                events.append(_peer_abort(*pdus.decode_abort(pdu.body)))
            case _:
                if pdu.pdu_type == PDUType.P_DATA_TF:
                    self._reader.skip()
                detail = f"unexpected: {event.value} while {state.value}"
                self._abort(action, PeerError(detail, reason=AbortReason.UNEXPECTED_PDU), events)

    def _invalid(self, error: PeerError, now: float, events: list[Event]) -> None:
        self._abort(self._machine.happen(machine.Event.Evt19, now), error, events)

    def _abort(self, action: Action, error: PeerError, events: list[Event]) -> None:
        """Send the A-ABORT and tell the user, as far as `action` wants that.

        AA-1 issues no indication in the standard, as there is no user yet; here it is told for the sake of
        the log.
        """
        detail = f"{error.detail}: {error.log_detail}" if error.log_detail else error.detail
        if action is Action.AA_1:
            self._out.append(pdus.encode_abort(AbortSource.SERVICE_USER, AbortReason.NOT_SPECIFIED))
            events.append(Aborted(AbortSource.SERVICE_USER, AbortReason.NOT_SPECIFIED, False, detail))
        elif action is Action.AA_7:
            self._out.append(pdus.encode_abort(AbortSource.SERVICE_PROVIDER, error.reason))
        elif action is Action.AA_8:
            self._out.append(pdus.encode_abort(AbortSource.SERVICE_PROVIDER, error.reason))
            events.append(_provider_abort(error.reason, detail))

    def _associate_requested(self, body: bytes, now: float, events: list[Event]) -> None:
        """AE-6; only bit 0 of the protocol version is tested (PS3.8 §9.3.2)."""
        if not pdus.protocol_version(body) & 1:
            self._refuse(PROTOCOL_VERSION_NOT_SUPPORTED, now)
            return
        rq = pdus.decode_associate_rq(body)
        if rq.application_context_name != APPLICATION_CONTEXT_NAME:
            self._refuse(APPLICATION_CONTEXT_NAME_NOT_SUPPORTED, now)
            return
        self._max_send_length = _send_length(rq.max_pdu_length)
        self._machine.happen(machine.Event.Evt6, now)
        self._rq = rq
        events.append(AssociateIndication(rq))

    def _refuse(self, rj: AssociateRJ, now: float) -> None:
        self._machine.happen(machine.Event.Evt6, now, acceptable=False)
        self._out.append(pdus.encode_associate_rj(rj))

    def _associate_accepted(self, body: bytes, now: float, events: list[Event]) -> None:
        """AE-3."""
        ac = pdus.decode_associate_ac(body)
        try:
            contexts = accepted(self._rq, ac)
        except ValueError as error:
            raise PeerError(str(error), reason=AbortReason.INVALID_PDU_PARAMETER_VALUE) from error
        self._max_send_length = _send_length(ac.max_pdu_length)
        self._machine.happen(machine.Event.Evt3, now)
        self._establish(contexts)
        events.append(AssociateConfirm(ac))

    def _establish(self, contexts: dict[int, AcceptedContext]) -> None:
        self._contexts = contexts
        self._reader.contexts = contexts

    def _announce(self, max_pdu_length: int, event: machine.Event) -> None:
        """Hold the peer to the maximum that `event` announces to it."""
        self._machine.action(event)
        if not MIN_PDU_LENGTH <= max_pdu_length <= self._max_pdu_length:
            raise ValueError(f"max_pdu_length {max_pdu_length} is not in {MIN_PDU_LENGTH} to {self._max_pdu_length}")
        self._reader.max_pdu_length = max_pdu_length


def _send_length(announced: int) -> int:
    """Return what may be sent to a peer that announced a maximum, 0 being none (PS3.8 §D.1)."""
    if announced == 0:
        return MAX_SEND_LENGTH
    if announced < MIN_PDU_LENGTH:
        detail = f"the peer takes PDUs of {announced} bytes, less than {MIN_PDU_LENGTH}"
        raise PeerError(detail, reason=AbortReason.INVALID_PDU_PARAMETER_VALUE)
    return min(announced, MAX_SEND_LENGTH)


def _provider_abort(reason: int, detail: str) -> Aborted:
    return Aborted(AbortSource.SERVICE_PROVIDER, reason, True, detail)


def _peer_abort(source: int, reason: int) -> Aborted:
    by_provider = source == AbortSource.SERVICE_PROVIDER
    initiator = "service provider" if by_provider else "service user"
    return Aborted(
        source,
        reason,
        by_provider,
        f"aborted by the peer's {initiator}, source {source}, reason {reason}",
        by_peer=True,
    )
