"""The DIMSE-C operations of an SCU, each one object that owns what its responses mean (PS3.7 §9.1, PS3.4 §B, §C).

An operation lives on one association from its request to its final response, and an association carries one at a
time. Giving its stream up sends C-CANCEL-RQ (PS3.7 §9.3.2.3); the association is free again only with the final
response, and aborted when that does not come within the cancel grace time.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import (
    CCancelRQ,
    CEchoRSP,
    CFindRSP,
    CGetRSP,
    CMoveRSP,
    Command,
    CStoreRQ,
    CStoreRSP,
    NActionRSP,
)
from harmonygw.dicom.dimse.statuses import Category, category
from harmonygw.dicom.upperlayer.negotiation import AcceptedContext
from harmonygw.errors import HarmonyError, PeerError, TimedOut
from harmonygw.net.association.protocol import AssociationProtocol
from harmonygw.net.association.receiving import Admit, InstanceReceiver
from harmonygw.streams import Feed, Instance, Match

MAX_IDENTIFIER_LENGTH = 4_194_304
"""Bytes of one C-FIND identifier, or of a list of failed SOP instances: a match is a few hundred, the failed
instances of a study of 50,000 three million."""

MATCH_WINDOW = 128
"""Matches that may wait for their reader before the association is paused."""

INSTANCE_WINDOW = 8
"""Instances that may wait for their reader before the association is paused; each holds its own window of bytes."""

MAX_UNDECODABLE = 100
"""Tags that are remembered as undecodable: they end in a sentence for a person."""

UNEXPECTED_PDU = 2
INVALID_PARAMETER = 6
"""Reasons of an A-ABORT (PS3.8 §9.3.8)."""

ResponseT = TypeVar("ResponseT", CEchoRSP, CFindRSP, CGetRSP, CMoveRSP, CStoreRSP, NActionRSP)
SubOperationsT = TypeVar("SubOperationsT", CGetRSP, CMoveRSP)


@dataclass(frozen=True, slots=True)
class Timing:
    """The time-outs of an operation, in seconds."""

    first_answer: float
    """From the request to the first match, the first object or the final status (`timeout_secs`)."""
    cancel_grace: float
    """From C-CANCEL-RQ to the final response (`cancel_grace_secs`)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the final response of an operation says."""

    status: int
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    """Sub-operations that failed by the peer's count, or at least as many as we refused."""
    warning: int | None = None
    failed_sop_instance_uids: tuple[str, ...] = ()
    error_comment: str = ""


@dataclass(frozen=True, slots=True)
class Invocation:
    """Where an operation is invoked, and how it is told apart."""

    protocol: AssociationProtocol
    clock: IReactorTime
    context: AcceptedContext
    message_id: int
    timing: Timing
    on_end: Callable[[], None]
    """Called once, when the association is free for the next."""


class Operation(ABC, Generic[ResponseT]):
    """What all have in common: the response that is theirs, the wait for the first answer, and the end."""

    name: ClassVar[str]
    response: ClassVar[type[Any]]

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._protocol = invocation.protocol
        self._timer: IDelayedCall | None = None
        self._asked = False
        self.ended = False
        """Whether the final response has come, or the association is gone."""

    @property
    def message_id(self) -> int:
        """The Message ID (0000,0110) of its request."""
        return self._invocation.message_id

    @property
    def context_id(self) -> int:
        """The presentation context of its request and its responses."""
        return self._invocation.context.context_id

    def asked(self) -> None:
        """Take note that the request has been sent whole: from now on an answer is due."""
        self._asked = True
        self._protocol.expect(True, unless=self._answered_elsewhere)
        timing = self._invocation.timing
        self._timer = self._invocation.clock.callLater(timing.first_answer, self._no_answer)

    # What the association delivers

    def command(self, context_id: int, command: Command) -> None:
        """Take a command set of the peer; raises `PeerError` for anything but a response to this request."""
        response: Any = command
        if type(command) is not self.response or context_id != self.context_id or not self._asked:
            raise PeerError(f"{type(command).__name__} does not answer {self.name}", reason=UNEXPECTED_PDU)
        if response.message_id_being_responded_to != self.message_id:
            raise PeerError(
                f"{type(command).__name__} answers message {response.message_id_being_responded_to}, "
                f"not {self.message_id}",
                reason=UNEXPECTED_PDU,
            )
        self._responded(response)

    def fragment(self, data: memoryview, is_last: bool) -> None:
        """Take a part of a data set."""

    def read_ended(self) -> None:
        """Take note that everything one read brought has been delivered."""

    def lost(self, reason: HarmonyError) -> None:
        """Take note that the association is gone before the final response."""
        self._end()

    # What each operation knows itself

    @abstractmethod
    def _responded(self, response: ResponseT) -> None:
        """Take a response that is this operation's."""

    def _answered_elsewhere(self) -> bool:
        return False

    # What operations share

    def _answered(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self.ended = True
        self._answered()
        # What this operation's streams still hold is theirs; the next one's responses must come in all the same.
        self._protocol.valve.open()
        self._invocation.on_end()

    def _no_answer(self) -> None:
        self._timer = None
        seconds = self._invocation.timing.first_answer
        self._protocol.abort(TimedOut(f"no answer to {self.name} within {seconds:g} s (timeout_secs)"))


class EchoOperation(Operation[CEchoRSP]):
    """C-ECHO (PS3.7 §9.1.5): `done` fires with the status."""

    name = "C-ECHO"
    response = CEchoRSP

    def __init__(self, invocation: Invocation) -> None:
        super().__init__(invocation)
        self.done: Deferred[int] = Deferred()

    def lost(self, reason: HarmonyError) -> None:
        """Fail."""
        super().lost(reason)
        self.done.errback(reason)

    def _responded(self, response: CEchoRSP) -> None:
        self._end()
        self.done.callback(response.status)


class StoreOperation(Operation[CStoreRSP]):
    """C-STORE (PS3.7 §9.1.1): the wait for the response to what `Association.store` has sent; `done` fires with it."""

    name = "C-STORE"
    response = CStoreRSP

    def __init__(self, invocation: Invocation) -> None:
        super().__init__(invocation)
        self.done: Deferred[Outcome] = Deferred()

    def lost(self, reason: HarmonyError) -> None:
        """Fail."""
        super().lost(reason)
        self.done.errback(reason)

    def _responded(self, response: CStoreRSP) -> None:
        self._end()
        self.done.callback(Outcome(response.status, error_comment=response.error_comment))


class _CancellableOperation(Operation[ResponseT]):
    """An operation with pending responses, identifiers, and C-CANCEL: `outcome` is set with the final response."""

    def __init__(self, invocation: Invocation) -> None:
        super().__init__(invocation)
        self._cancelled = False
        self._final: ResponseT | None = None
        self._identifier = bytearray()
        self.outcome: Outcome | None = None
        """What the final response says, once it has come."""

    def fragment(self, data: memoryview, is_last: bool) -> None:
        """Take a part of an identifier."""
        if len(self._identifier) + len(data) > MAX_IDENTIFIER_LENGTH:
            raise PeerError(
                f"the identifier of a response exceeds {MAX_IDENTIFIER_LENGTH} bytes (MAX_IDENTIFIER_LENGTH)",
                reason=INVALID_PARAMETER,
            )
        if not is_last:
            self._identifier += data
        elif self._identifier:
            whole, self._identifier = self._identifier + data, bytearray()
            self._identified(memoryview(whole))
        else:
            self._identified(data)

    def cancel(self, reason: BaseException) -> None:
        """Ask the peer to end the operation early; nothing happens when it has ended."""
        if self.ended or self._cancelled:
            return
        self._answered()
        self._cancelled = True
        self._protocol.valve.open()
        invocation = self._invocation
        self._protocol.send(self.context_id, CCancelRQ(invocation.message_id))
        self._timer = invocation.clock.callLater(invocation.timing.cancel_grace, self._cancel_ignored)

    def _responded(self, response: ResponseT) -> None:
        if category(response.status) is Category.PENDING:
            self._pending(response)
        else:
            self._final = response
            if not response.has_data_set:
                self._finish(response, None)

    def _identified(self, data: memoryview) -> None:
        if self._final is not None:
            self._finish(self._final, data)
        else:
            self._pending_identifier(data)

    def _pending(self, response: ResponseT) -> None:
        """Take a pending response."""

    def _pending_identifier(self, data: memoryview) -> None:
        """Take the identifier of a pending response."""

    @abstractmethod
    def _finish(self, final: ResponseT, identifier: memoryview | None) -> None:
        """Take the final response, with its identifier if it has one."""

    def _answered(self) -> None:
        if not self._cancelled or self.ended:  # once cancelled, only the end stops the clock
            super()._answered()

    def _cancel_ignored(self) -> None:
        self._timer = None
        seconds = self._invocation.timing.cancel_grace
        self._protocol.abort(TimedOut(f"C-CANCEL was not answered within {seconds:g} s (cancel_grace_secs)"))


class FindOperation(_CancellableOperation[CFindRSP]):
    """C-FIND (PS3.7 §9.1.2, PS3.4 §C.4.1): `matches` ends with the final response, `outcome` says how."""

    name = "C-FIND"
    response = CFindRSP

    def __init__(self, invocation: Invocation, *, default_character_set: tuple[str, ...]) -> None:
        super().__init__(invocation)
        self._default_character_set = default_character_set
        self.optional_keys_unsupported = False
        """Whether any match came with status FF01H: an optional key was not matched (PS3.4 Table C.4-1)."""
        self.undecodable: list[str] = []
        """Tags of values that could not be decoded, each once, `MAX_UNDECODABLE` at most."""
        self.matches: Feed[Match] = Feed(limit=MATCH_WINDOW, flow=self._protocol.valve.flow(), on_abort=self.cancel)

    def lost(self, reason: HarmonyError) -> None:
        """Fail."""
        super().lost(reason)
        self.matches.fail(reason)

    def _pending(self, response: CFindRSP) -> None:
        if not response.has_data_set:
            raise PeerError("a pending C-FIND-RSP came without an identifier (PS3.7 §9.1.2.1.5)", reason=UNEXPECTED_PDU)
        self._answered()
        if response.status == statuses.PENDING_WARNING:
            self.optional_keys_unsupported = True

    def _pending_identifier(self, data: memoryview) -> None:
        if not self.matches.done:
            self.matches.put(
                to_json(
                    data,
                    self._invocation.context.transfer_syntax,
                    default_character_set=self._default_character_set,
                    on_undecodable=self._note_undecodable,
                )
            )

    def _finish(self, final: CFindRSP, identifier: memoryview | None) -> None:
        self.outcome = Outcome(final.status, error_comment=final.error_comment)
        self._end()
        self.matches.end()

    def _note_undecodable(self, tag: str) -> None:
        if len(self.undecodable) < MAX_UNDECODABLE and tag not in self.undecodable:
            self.undecodable.append(tag)


class _RetrieveOperation(_CancellableOperation[SubOperationsT]):
    """What C-GET and C-MOVE share: the counts of sub-operations, and the list of those that failed."""

    def _finish(self, final: SubOperationsT, identifier: memoryview | None) -> None:
        refused = self._refused()
        self.outcome = outcome = Outcome(
            final.status,
            final.remaining,
            final.completed,
            max(final.failed or 0, refused) if refused else final.failed,
            final.warning,
            self._failed_list(identifier) if identifier is not None else (),
            final.error_comment,
        )
        self._end()
        self._finished(outcome)

    def _failed_list(self, identifier: memoryview) -> tuple[str, ...]:
        """Return the Failed SOP Instance UID List (0008,0058), which only informs: what is malformed counts as none."""
        try:
            listed = to_json(identifier, self._invocation.context.transfer_syntax).get("00080058", {})
        except PeerError:
            return ()
        return tuple(uid for uid in listed.get("Value", ()) if isinstance(uid, str) and uid)

    def _refused(self) -> int:
        return 0

    @abstractmethod
    def _finished(self, outcome: Outcome) -> None:
        """Take note of the outcome: no sub-operation follows the final response on this association."""


class GetOperation(_RetrieveOperation[CGetRSP]):
    """C-GET (PS3.7 §9.1.3, PS3.4 §C.4.3): `instances` ends with the final response, `outcome` says how.

    An object whose header cannot be read is refused, fails the stream with the `PeerError` that says why, and the
    C-GET is cancelled.
    """

    name = "C-GET"
    response = CGetRSP

    def __init__(
        self,
        invocation: Invocation,
        *,
        admit: Admit,
        source_ae_title: str,
        receiving_ae_title: str,
        max_object_bytes: int = 0,
    ) -> None:
        super().__init__(invocation)
        self.instances: Feed[Instance] = Feed(
            limit=INSTANCE_WINDOW, flow=self._protocol.valve.flow(), on_abort=self.cancel
        )
        self._receiver = InstanceReceiver(
            self._protocol,
            admit,
            source_ae_title=source_ae_title,
            receiving_ae_title=receiving_ae_title,
            on_malformed=self._malformed,
            max_object_bytes=max_object_bytes,
        )

    def command(self, context_id: int, command: Command) -> None:
        """Take a sub-operation, or a response."""
        if type(command) is CStoreRQ:
            self._answered()
            self._receiver.command(context_id, command)
        else:
            super().command(context_id, command)

    def fragment(self, data: memoryview, is_last: bool) -> None:
        """Take a part of an object, or of the list of failed SOP instances."""
        receiver = self._receiver
        if receiver.receiving:
            receiver.fragment(data, is_last)
        else:
            super().fragment(data, is_last)

    def read_ended(self) -> None:
        """Let what one read brought flow on."""
        self._receiver.read_ended()

    def cancel(self, reason: BaseException) -> None:
        """Ask the peer to end the operation early, and drop what still comes."""
        super().cancel(reason)
        self._receiver.drop(reason)

    def lost(self, reason: HarmonyError) -> None:
        """Fail, and the object under way too."""
        super().lost(reason)
        self._receiver.lost(reason)
        self.instances.fail(reason)

    def _malformed(self, command: CStoreRQ, error: PeerError) -> None:
        self.instances.fail(error)
        self.cancel(error)

    def _refused(self) -> int:
        return self._receiver.refused

    def _finished(self, outcome: Outcome) -> None:
        self.instances.end()


class MoveOperation(_RetrieveOperation[CMoveRSP]):
    """C-MOVE (PS3.7 §9.1.4, PS3.4 §C.4.2): its objects arrive on other associations, and may do so after its end.

    `done` fires with the outcome, or with why the association was lost before it. When they arrive `elsewhere`, pending
    responses are the answers that `Timing.first_answer` waits for.
    """

    name = "C-MOVE"
    response = CMoveRSP

    def __init__(self, invocation: Invocation, *, on_final: Callable[[], None], elsewhere: bool = False) -> None:
        super().__init__(invocation)
        self._on_final = on_final
        self._elsewhere = elsewhere
        self.answered = False
        """Whether any response has come."""
        self.done: Deferred[Outcome] = Deferred()
        self.delivers: Callable[[], bool] = lambda: False
        """Asked whether an object is on its way, or waits for its reader: then nothing is due on this association."""

    def object_arrived(self) -> None:
        """Take note of a sign of life, on another association."""
        if not self.ended:
            self._answered()
            self._protocol.last_heard = self._invocation.clock.seconds()

    def lost(self, reason: HarmonyError) -> None:
        """Fail."""
        super().lost(reason)
        self.done.errback(reason)

    def _answered_elsewhere(self) -> bool:
        return self.delivers()

    def _responded(self, response: CMoveRSP) -> None:
        self.answered = True
        super()._responded(response)

    def _pending(self, response: CMoveRSP) -> None:
        if self._elsewhere:
            self._answered()

    def _finished(self, outcome: Outcome) -> None:
        self._on_final()
        self.done.callback(outcome)
