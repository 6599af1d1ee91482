"""The gateway as the destination of its own C-MOVEs: who asked for which instance, and a store SCP for them.

Sub-operations of a C-MOVE arrive on associations that the PACS opens (PS3.4 §C.4.2.3.1). An object is matched to its
move by Move Originator Application Entity Title and Message ID; for a PACS that leaves those out, by its study, and
then only when one move of that study is under way. What nobody asked for is refused with 0124H.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import CEchoRQ, CEchoRSP, Command, CStoreRQ, NEventReportRQ
from harmonygw.dicom.dimse.statuses import Category, category
from harmonygw.errors import Busy, HarmonyError, PeerError, TransportError
from harmonygw.net.association.event_reports import EventReportReceiver, TakeReport
from harmonygw.net.association.listener import Acceptor, AssociationFactory
from harmonygw.net.association.operations import MoveOperation, Outcome
from harmonygw.net.association.receiving import Admission, Admit, InstanceReceiver, Refusal
from harmonygw.net.association.valve import Valve
from harmonygw.streams import Feed, Flow, Instance, Pieces

MAX_MESSAGE_ID = 65_535
"""Message IDs are 1 to 65535 (PS3.7 §E.1)."""

INSTANCE_WINDOW = 16
"""Instances of one move that may wait for their reader, over all the associations that the PACS opens for it; each
association that brings another one then is paused."""


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """An object that nobody asked for: what the log and the audit trail are told."""

    sop_instance_uid: str
    study_instance_uid: str
    calling_ae_title: str


class MessageIDs:
    """Message IDs of C-MOVEs, of which no two under way are the same. One that was given back rests longest."""

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self._last = 0

    def take(self) -> int:
        """Return one that is free; raises `Busy` when none is."""
        if len(self._taken) >= MAX_MESSAGE_ID:
            raise Busy("every Message ID is in use by a C-MOVE")
        while True:
            self._last = self._last % MAX_MESSAGE_ID + 1
            if self._last not in self._taken:
                self._taken.add(self._last)
                return self._last

    def give_back(self, message_id: int) -> None:
        """Let one be taken again."""
        self._taken.discard(message_id)


MESSAGE_IDS = MessageIDs()
"""Those of this process: the originator's Message ID is the only key that a store SCP gets, whatever the target."""


class Move:
    """One C-MOVE whose instances come to us. As a flow it slows down the associations that bring them."""

    def __init__(
        self,
        destination: "MoveDestination",
        message_id: int,
        study_instance_uid: str,
        admit: Admit,
        *,
        grace: float,
    ) -> None:
        self._destination = destination
        self._decide = admit
        self._grace = grace
        self._timer: IDelayedCall | None = None
        self._operation: MoveOperation | None = None
        self._arrived = 0
        self._under_way = 0
        self._valves: list[Valve] = []
        self._bodies: list[Feed[Pieces]] = []
        self._full = False
        self._held: list[Flow] = []
        self.message_id = message_id
        self.study_instance_uid = study_instance_uid
        self.instances: Feed[Instance] = Feed(limit=INSTANCE_WINDOW, flow=self, on_abort=self._abandoned)

    def begun(self, operation: MoveOperation) -> None:
        """Tell which operation asks for the instances."""
        self._operation = operation
        operation.delivers = self._delivers
        operation.done.addErrback(self._lost)

    def outcome(self) -> Outcome | None:
        """Return what the final response said, once it has come."""
        return self._operation.outcome if self._operation is not None else None

    def cancel(self, reason: BaseException) -> None:
        """Cancel the C-MOVE; objects that arrive all the same are refused."""
        if self.instances.done:
            self._abandoned(reason)
        else:
            self.instances.abort(reason)

    def admit(self, command: CStoreRQ, instance: Instance) -> Admission | Refusal:
        """Decide an object that belongs to this move; one that is admitted is followed by `object_ended`."""
        self._sign_of_life()
        decision = self._decide(command, instance)
        if isinstance(decision, Admission):
            self._under_way += 1
            decision = replace(decision, through=self._delivered)
        return decision

    def object_ended(self) -> None:
        """Take note that an admitted object is here, or has failed."""
        self._under_way -= 1
        self._arrived += 1
        self._sign_of_life()
        self._settle()

    def malformed(self, error: PeerError) -> None:
        """Fail: an object of this move could not be read."""
        self.instances.fail(error)
        self._abandoned(error)

    def final(self) -> None:
        """Take note of the final response: end at once when all have arrived, else after the grace time."""
        self._settle()

    # The flow of `instances`

    def pause(self) -> None:
        """Pause the association that has just brought an object, and each that brings another one."""
        self._full = True
        self._hold(self._valves[-1])

    def resume(self) -> None:
        """Read from all of them again."""
        self._full = False
        held, self._held = self._held, []
        for flow in held:
            flow.resume()

    # What happens inside

    def _delivered(self, valve: Valve, body: Feed[Pieces]) -> None:
        self._valves = [one for one in self._valves if one is not valve and not one.closed]
        self._valves.append(valve)
        self._bodies = [one for one in self._bodies if one.held or not one.done]
        self._bodies.append(body)
        if self._full:
            self._hold(valve)

    def _hold(self, valve: Valve) -> None:
        flow = valve.flow()
        flow.pause()
        self._held.append(flow)

    def _delivers(self) -> bool:
        return self._under_way > 0 or any(valve.held for valve in self._valves)

    def _sign_of_life(self) -> None:
        if self._operation is not None:
            self._operation.object_arrived()

    def _settle(self) -> None:
        self._stop_timer()
        outcome = self.outcome()
        if outcome is None or self._under_way or self.instances.done:
            return
        due = outcome.completed
        if due is None and category(outcome.status) in (Category.FAILURE, Category.CANCEL):
            due = 0
        if due is not None and self._arrived >= due:
            self._end()
        else:
            self._timer = self._destination.clock.callLater(self._grace, self._end)

    def _end(self) -> None:
        self._timer = None
        self._destination.forget(self)
        self.instances.end()

    def _lost(self, failure: Failure) -> None:
        reason = failure.value or TransportError("the association was lost")
        self.instances.fail(reason)
        self._abandoned(reason)

    def _abandoned(self, reason: BaseException) -> None:
        self._stop_timer()
        self._destination.forget(self)
        self.resume()
        bodies, self._bodies = self._bodies, []
        for body in bodies:
            body.abort(reason)
        if self._operation is not None:
            self._operation.cancel(reason)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class MoveDestination:
    """The moves under way to one AE title, by message ID."""

    def __init__(
        self,
        ae_title: str,
        clock: IReactorTime,
        *,
        on_unclaimed: Callable[[Unclaimed], None],
        message_ids: MessageIDs = MESSAGE_IDS,
    ) -> None:
        self.ae_title = ae_title
        self.clock = clock
        self._on_unclaimed = on_unclaimed
        self._message_ids = message_ids
        self._moves: dict[int, Move] = {}

    @property
    def under_way(self) -> int:
        """The number of moves under way."""
        return len(self._moves)

    def expect(self, study_instance_uid: str, admit: Admit, *, grace: float) -> Move:
        """Prepare for the instances of a C-MOVE that is about to be requested.

        `grace` is in seconds: how long stragglers may take after the final response, each from the one before.
        Raises `Busy` when there are 65535 moves under way.
        """
        message_id = self._message_ids.take()
        move = self._moves[message_id] = Move(self, message_id, study_instance_uid, admit, grace=grace)
        return move

    def forget(self, move: Move) -> None:
        """Refuse what still comes for a move."""
        if self._moves.pop(move.message_id, None) is not None:
            self._message_ids.give_back(move.message_id)

    def claims(self, command: CStoreRQ, study_instance_uid: str) -> list[Move]:
        """Return the moves that an object may belong to."""
        if command.move_originator_ae_title not in ("", self.ae_title):
            return []
        if command.move_originator_message_id:
            move = self._moves.get(command.move_originator_message_id)
            return [] if move is None else [move]
        return [one for one in self._moves.values() if one.study_instance_uid == study_instance_uid]

    def refuse(self, instance: Instance, calling_ae_title: str) -> Refusal:
        """Refuse what nobody asked for, and say so."""
        self._on_unclaimed(Unclaimed(instance.sop_instance_uid, instance.study_instance_uid, calling_ae_title))
        return Refusal(statuses.NOT_AUTHORIZED, "nobody asked for this object")


def claimed(destinations: Iterable[MoveDestination], command: CStoreRQ, study_instance_uid: str) -> "Move | None":
    """Return the move that an object belongs to, or None when nobody asked for it, or nobody can tell which."""
    # A set: a destination may be named by whoever shares its port, and still has each move once.
    moves = {move for one in destinations for move in one.claims(command, study_instance_uid)}
    return moves.pop() if len(moves) == 1 else None


class MoveStorageSCP(Acceptor):
    """An association on which a PACS delivers: it verifies, stores, reports commitments, and nothing else.

    `others` are destinations whose instances may come here too: an association may outlive the reload that put another
    destination in the place of this one.
    """

    def __init__(
        self,
        factory: AssociationFactory,
        peer: str,
        destination: MoveDestination,
        take_report: TakeReport,
        others: Callable[[], Iterable[MoveDestination]] = tuple,
    ) -> None:
        super().__init__(factory, peer)
        self._destination = destination
        self._others = others
        self._take_report = take_report
        self._events: EventReportReceiver
        self._receiver: InstanceReceiver
        self._current: Move | None = None

    @property
    def in_use(self) -> bool:
        """Whether an object is arriving: then the silence time-out watches, not the idle one."""
        return self._receiver.receiving or self._events.receiving

    def established(self) -> None:
        """Make ready to receive."""
        self._events = EventReportReceiver(self.protocol, self.calling_ae_title, self._take_report)
        self._receiver = InstanceReceiver(
            self.protocol,
            self._admit,
            source_ae_title=self.calling_ae_title,
            receiving_ae_title=self.called_ae_title,
            on_malformed=self._malformed,
            max_object_bytes=self._factory.acceptance.max_object_bytes,
        )

    def command_received(self, context_id: int, command: Command) -> None:
        """Take C-STORE-RQ, C-ECHO-RQ and N-EVENT-REPORT-RQ."""
        if isinstance(command, NEventReportRQ):
            self._events.command(context_id, command)
        elif isinstance(command, CStoreRQ):
            self.protocol.expect(True)
            self._receiver.command(context_id, command)
        elif isinstance(command, CEchoRQ):
            self.protocol.send(
                context_id, CEchoRSP(command.message_id, command.affected_sop_class_uid, statuses.SUCCESS)
            )
        else:
            raise PeerError(f"{type(command).__name__} came to a storage SCP", reason=2)

    def fragment_received(self, data: memoryview, is_last: bool) -> None:
        """Take a part of an object, or of an event."""
        if self._events.receiving:
            self._events.fragment(data, is_last)
            return
        self._receiver.fragment(data, is_last)
        if is_last:
            self.protocol.expect(False)
            self._object_ended()

    def read_ended(self) -> None:
        """Let what one read brought flow on."""
        if self.protocol.contexts:
            self._receiver.read_ended()

    def closed(self, reason: object) -> None:
        """Fail the object that is under way."""
        super().closed(reason)
        if self.protocol.contexts:
            lost = TransportError("the association was released while an object arrived")
            self._receiver.lost(reason if isinstance(reason, HarmonyError) else lost)
            self._object_ended()

    def _admit(self, command: CStoreRQ, instance: Instance) -> Admission | Refusal:
        move = self._claimed(command, instance.study_instance_uid)
        if move is None:
            return self._destination.refuse(instance, self.calling_ae_title)
        decision = move.admit(command, instance)
        if isinstance(decision, Admission):
            self._current = move
        return decision

    def _claimed(self, command: CStoreRQ, study_instance_uid: str) -> Move | None:
        return claimed((self._destination, *self._others()), command, study_instance_uid)

    def _malformed(self, command: CStoreRQ, error: PeerError) -> None:
        move = self._claimed(command, "")
        if move is not None:
            move.malformed(error)

    def _object_ended(self) -> None:
        move, self._current = self._current, None
        if move is not None:
            move.object_ended()
