"""The gateway as the destination of its own C-MOVEs: who asked for which instance, and a store SCP for them.

Sub-operations of a C-MOVE arrive on associations that the PACS opens (PS3.4 §C.4.2.3.1). An object is matched to its
move by Move Originator Application Entity Title and Message ID; for a PACS that leaves those out, by its study, and
then only when one move of that study is under way. What nobody asked for is refused with 0124H.
"""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import CEchoRQ, CEchoRSP, Command, CStoreRQ
from harmonygw.errors import Busy, PeerError, TimedOut
from harmonygw.net.association.listener import Acceptor, AssociationFactory
from harmonygw.net.association.operations import MoveOperation, Outcome
from harmonygw.net.association.receiving import Admission, Admit, InstanceReceiver, Refusal
from harmonygw.streams import Feed, Instance

MAX_MESSAGE_ID = 65_535
"""Message IDs are 1 to 65535 (PS3.7 §E.1)."""

INSTANCE_WINDOW = 64
"""Instances of one move that may wait for their reader, over all the associations that the PACS opens for it."""


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """An object that nobody asked for: what the log and the audit trail are told."""

    sop_instance_uid: str
    study_instance_uid: str
    calling_ae_title: str


class Move:
    """One C-MOVE whose instances come to us."""

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
        self._grace = grace
        self._timer: IDelayedCall | None = None
        self._operation: MoveOperation | None = None
        self._arrived = 0
        self._under_way = 0
        self.message_id = message_id
        self.study_instance_uid = study_instance_uid
        self._decide = admit
        self.instances: Feed[Instance] = Feed(limit=INSTANCE_WINDOW, on_abort=self._abandoned)

    def begun(self, operation: MoveOperation) -> None:
        """Tell which operation asks for the instances."""
        self._operation = operation
        operation.instances.when_done().addErrback(self._lost)

    def _lost(self, failure: Failure) -> None:
        self._destination.forget(self)
        self.instances.fail(failure.value or PeerError("the association was lost"))

    def outcome(self) -> Outcome | None:
        """Return what the final response said, once it has come."""
        return self._operation.outcome if self._operation is not None else None

    def cancel(self, reason: BaseException) -> None:
        """Cancel the C-MOVE; objects that arrive all the same are refused."""
        self._abandoned(reason)

    def admit(self, command: CStoreRQ, instance: Instance) -> Admission | Refusal:
        """Decide an object that belongs to this move."""
        if self._operation is not None:
            self._operation.object_arrived()
        decision = self._decide(command, instance)
        if isinstance(decision, Admission):
            self._under_way += 1
        return decision

    def object_ended(self) -> None:
        """Take note that an admitted object is here, or has failed."""
        self._under_way -= 1
        self._arrived += 1
        if self._timer is not None:
            self.final()

    def final(self) -> None:
        """Take note of the final response: end at once when all have arrived, else after the grace time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        outcome = self.outcome()
        said = outcome.completed if outcome is not None else None
        if not self._under_way and said is not None and self._arrived >= said:
            self._end()
        else:
            self._timer = self._destination.clock.callLater(self._grace, self._grace_over)

    def _grace_over(self) -> None:
        self._timer = None
        if self._under_way:
            self._timer = self._destination.clock.callLater(self._grace, self._grace_over)
        else:
            self._end()

    def _end(self) -> None:
        self._destination.forget(self)
        self.instances.end()

    def _abandoned(self, reason: BaseException) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._destination.forget(self)
        if self._operation is not None and not self._operation.ended:
            self._operation.instances.abort(reason)


class MoveDestination:
    """The moves under way in this process, by message ID."""

    def __init__(
        self, ae_title: str, clock: IReactorTime, *, on_unclaimed: Callable[[Unclaimed], None]
    ) -> None:
        self.ae_title = ae_title
        self.clock = clock
        self._on_unclaimed = on_unclaimed
        self._moves: dict[int, Move] = {}
        self._last_message_id = 0

    @property
    def under_way(self) -> int:
        """The number of moves under way."""
        return len(self._moves)

    def expect(self, study_instance_uid: str, admit: Admit, *, grace: float) -> Move:
        """Prepare for the instances of a C-MOVE that is about to be requested."""
        if len(self._moves) >= MAX_MESSAGE_ID:
            raise Busy("every Message ID is in use by a C-MOVE")
        message_id = self._last_message_id
        while True:
            message_id = message_id % MAX_MESSAGE_ID + 1
            if message_id not in self._moves:
                break
        self._last_message_id = message_id
        move = self._moves[message_id] = Move(self, message_id, study_instance_uid, admit, grace=grace)
        return move

    def forget(self, move: Move) -> None:
        """Refuse what still comes for a move."""
        self._moves.pop(move.message_id, None)

    def claim(self, command: CStoreRQ, study_instance_uid: str) -> Move | None:
        """Return the move that an object belongs to, or None when nobody asked for it."""
        message_id = command.move_originator_message_id
        if message_id is not None:
            move = self._moves.get(message_id)
            originator = command.move_originator_ae_title
            return move if move is not None and originator in ("", self.ae_title) else None
        of_study = [one for one in self._moves.values() if one.study_instance_uid == study_instance_uid]
        return of_study[0] if len(of_study) == 1 else None

    def refuse(self, instance: Instance, calling_ae_title: str) -> Refusal:
        """Refuse what nobody asked for, and say so."""
        self._on_unclaimed(
            Unclaimed(instance.sop_instance_uid, instance.study_instance_uid, calling_ae_title)
        )
        return Refusal(statuses.NOT_AUTHORIZED, "nobody asked for this object")


class MoveStorageSCP(Acceptor):
    """An association on which a PACS delivers: it verifies and stores, and nothing else."""

    def __init__(self, factory: AssociationFactory, peer: str, destination: MoveDestination) -> None:
        super().__init__(factory, peer)
        self._destination = destination
        self._receiver: InstanceReceiver | None = None
        self._current: Move | None = None

    def established(self) -> None:
        """Make ready to receive."""
        self._receiver = InstanceReceiver(self.protocol, self._admit, source_ae_title=self.calling_ae_title)

    def command_received(self, context_id: int, command: Command) -> None:
        """Take C-STORE-RQ and C-ECHO-RQ."""
        if isinstance(command, CStoreRQ) and self._receiver is not None:
            self._receiver.command(context_id, command)
        elif isinstance(command, CEchoRQ):
            self.protocol.send(
                context_id, CEchoRSP(command.message_id, command.affected_sop_class_uid, statuses.SUCCESS)
            )
        else:
            raise PeerError(f"{type(command).__name__} came to a storage SCP", reason=2)

    def fragment_received(self, data: memoryview, is_last: bool) -> None:
        """Take a part of an object."""
        if self._receiver is not None:
            self._receiver.fragment(data, is_last)
            if is_last:
                self._object_ended()

    def read_ended(self) -> None:
        """Let what one read brought flow on."""
        if self._receiver is not None:
            self._receiver.read_ended()

    def closed(self, reason: object) -> None:
        """Fail the object that is under way."""
        super().closed(reason)
        if self._receiver is not None:
            self._receiver.lost(TimedOut("the association was lost while an object arrived"))
        self._object_ended()

    def _admit(self, command: CStoreRQ, instance: Instance) -> Admission | Refusal:
        move = self._destination.claim(command, instance.study_instance_uid)
        if move is None:
            return self._destination.refuse(instance, self.calling_ae_title)
        decision = move.admit(command, instance)
        if isinstance(decision, Admission):
            self._current = move
        return decision

    def _object_ended(self) -> None:
        move, self._current = self._current, None
        if move is not None:
            move.object_ended()
