"""The DIMSE-C operations of an SCU, each one object that owns what its responses mean (PS3.7 §9.1, PS3.4 §B, §C).

An operation lives on one association from its request to its final response, and an association carries one at a
time. Giving its stream up sends C-CANCEL-RQ (PS3.7 §9.3.2.3); the association is free again only with the final
response, and aborted when that does not come within the cancel grace time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

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
)
from harmonygw.dicom.dimse.statuses import Category, category
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
    warning: int | None = None
    failed_sop_instance_uids: tuple[str, ...] = ()
    error_comment: str = ""


class Operation:
    """What all have in common: the wait for the first answer, the end, and being cancelled."""

    name: ClassVar[str] = ""

    def __init__(
        self,
        protocol: AssociationProtocol,
        clock: IReactorTime,
        context_id: int,
        message_id: int,
        timing: Timing,
        on_end: Callable[[], None],
    ) -> None:
        self._protocol = protocol
        self._clock = clock
        self._context_id = context_id
        self._message_id = message_id
        self._timing = timing
        self._on_end = on_end
        self._cancelled = False
        self._ended = False
        self._final: Command | None = None
        self._identifier: list[memoryview] = []
        self._identifier_length = 0
        self._timer: IDelayedCall | None = clock.callLater(timing.first_answer, self._no_answer)
        self.outcome: Outcome | None = None
        """Set with the final response."""

    @property
    def message_id(self) -> int:
        """The Message ID (0000,0110) of its request."""
        return self._message_id

    @property
    def ended(self) -> bool:
        """Whether the final response has come, or the association is gone."""
        return self._ended

    # What the association delivers

    def command(self, context_id: int, command: Command) -> None:
        """Take a command set of the peer; each operation knows its own."""
        raise PeerError(f"{type(command).__name__} does not answer {self.name}", reason=2)

    def fragment(self, data: memoryview, is_last: bool) -> None:
        """Take a part of an identifier."""
        self._identifier_length += len(data)
        if self._identifier_length > MAX_IDENTIFIER_LENGTH:
            raise PeerError(
                f"the identifier of a response exceeds {MAX_IDENTIFIER_LENGTH} bytes (MAX_IDENTIFIER_LENGTH)",
                reason=6,
            )
        self._identifier.append(data)
        if is_last:
            fragments, self._identifier = self._identifier, []
            self._identifier_length = 0
            self.identifier_received(fragments[0] if len(fragments) == 1 else memoryview(b"".join(fragments)))

    def identifier_received(self, data: memoryview) -> None:
        """Take a whole identifier."""

    def read_ended(self) -> None:
        """Take note that everything one read brought has been delivered."""

    def lost(self, reason: HarmonyError) -> None:
        """Take note that the association is gone before the final response."""
        self._end()

    # What operations share

    def _answered(self) -> None:
        if self._timer is not None and not self._cancelled:
            self._timer.cancel()
            self._timer = None

    def cancel(self, reason: BaseException) -> None:
        """Ask the peer to end the operation early; nothing happens when it has ended."""
        if self._ended or self._cancelled:
            return
        self._answered()
        self._cancelled = True
        self._protocol.valve.open()
        self._protocol.send(self._context_id, CCancelRQ(self._message_id))
        self._timer = self._clock.callLater(self._timing.cancel_grace, self._cancel_ignored)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._on_end()

    def _no_answer(self) -> None:
        self._timer = None
        self._protocol.abort(
            TimedOut(f"no answer to {self.name} within {self._timing.first_answer:g} s (timeout_secs)")
        )

    def _cancel_ignored(self) -> None:
        self._timer = None
        self._protocol.abort(
            TimedOut(f"C-CANCEL was not answered within {self._timing.cancel_grace:g} s (cancel_grace_secs)")
        )


class EchoOperation(Operation):
    """C-ECHO (PS3.7 §9.1.5)."""

    name = "C-ECHO"

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.done: Deferred[int] = Deferred()

    def command(self, context_id: int, command: Command) -> None:
        """Take the response."""
        if type(command) is not CEchoRSP:
            return super().command(context_id, command)
        self._end()
        self.done.callback(command.status)
        return None

    def lost(self, reason: HarmonyError) -> None:
        """Fail."""
        super().lost(reason)
        self.done.errback(reason)


class FindOperation(Operation):
    """C-FIND (PS3.7 §9.1.2, PS3.4 §C.4.1): `matches` ends with the final response, `outcome` says how."""

    name = "C-FIND"

    def __init__(self, *arguments: Any, default_character_set: tuple[str, ...], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._default_character_set = default_character_set
        self._transfer_syntax_uid = self._protocol.contexts[self._context_id].transfer_syntax
        self.optional_keys_unsupported = False
        """Whether any match came with status FF01H: an optional key was not matched (PS3.4 Table C.4-1)."""
        self.undecodable: list[str] = []
        """Tags of values that could not be decoded, at most one each."""
        self.matches: Feed[Match] = Feed(
            limit=MATCH_WINDOW, flow=self._protocol.valve.flow(), on_abort=self.cancel
        )

    def command(self, context_id: int, command: Command) -> None:
        """Take a response: a match follows a pending one."""
        if type(command) is not CFindRSP:
            return super().command(context_id, command)
        kind = category(command.status)
        if kind is Category.PENDING:
            if not command.has_data_set:
                raise PeerError(
                    "a pending C-FIND-RSP came without an identifier (PS3.7 §9.1.2.1.5)", reason=2
                )
            self._answered()
            if command.status == statuses.PENDING_WARNING:
                self.optional_keys_unsupported = True
            return None
        self._final = command
        if not command.has_data_set:
            self._finish(command)
        return None

    def identifier_received(self, data: memoryview) -> None:
        """Deliver a match."""
        if type(self._final) is CFindRSP:
            self._finish(self._final)
        elif not self.matches.done:
            self.matches.put(
                to_json(
                    data,
                    self._transfer_syntax_uid,
                    default_character_set=self._default_character_set,
                    on_undecodable=self._note_undecodable,
                )
            )

    def lost(self, reason: HarmonyError) -> None:
        """Fail."""
        super().lost(reason)
        self.matches.fail(reason)

    def _note_undecodable(self, tag: str) -> None:
        if tag not in self.undecodable:
            self.undecodable.append(tag)

    def _finish(self, final: CFindRSP) -> None:
        self.outcome = Outcome(final.status, error_comment=final.error_comment)
        self._end()
        self.matches.end()


class GetOperation(Operation):
    """C-GET (PS3.7 §9.1.3, PS3.4 §C.4.3): `instances` ends with the final response, `outcome` says how."""

    name = "C-GET"

    def __init__(self, *arguments: Any, admit: Admit, source_ae_title: str, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.instances: Feed[Instance] = Feed(
            limit=INSTANCE_WINDOW, flow=self._protocol.valve.flow(), on_abort=self.cancel
        )
        self._receiver = InstanceReceiver(self._protocol, admit, source_ae_title=source_ae_title)

    def command(self, context_id: int, command: Command) -> None:
        """Take a sub-operation, or a response."""
        if isinstance(command, CStoreRQ):
            self._answered()
            self._receiver.command(context_id, command)
        elif isinstance(command, CGetRSP | CMoveRSP):
            self._response(command)
        else:
            super().command(context_id, command)

    def fragment(self, data: memoryview, is_last: bool) -> None:
        """Take a part of an object, or of the list of failed SOP instances."""
        if self._receiver.receiving:
            self._receiver.fragment(data, is_last)
        else:
            super().fragment(data, is_last)

    def read_ended(self) -> None:
        """Let what one read brought flow on."""
        self._receiver.read_ended()

    def identifier_received(self, data: memoryview) -> None:
        """Take the Failed SOP Instance UID List (0008,0058)."""
        if self._final is None:
            return
        syntax = self._protocol.contexts[self._context_id].transfer_syntax
        try:
            listed = to_json(data, syntax).get("00080058", {}).get("Value", ())
        except PeerError:
            listed = ()
        self._finish(self._final, tuple(uid for uid in listed if uid))

    def lost(self, reason: HarmonyError) -> None:
        """Fail, and the object under way too."""
        super().lost(reason)
        self._receiver.lost(reason)
        self.instances.fail(reason)

    def _response(self, command: CGetRSP | CMoveRSP) -> None:
        if category(command.status) is Category.PENDING:
            return
        self._answered()
        self._final = command
        if not command.has_data_set:
            self._finish(command, ())

    def _finish(self, final: Command, failed_uids: tuple[str, ...]) -> None:
        if not isinstance(final, CGetRSP | CMoveRSP):
            return
        self.outcome = Outcome(
            final.status,
            final.remaining,
            final.completed,
            final.failed,
            final.warning,
            failed_uids,
            final.error_comment,
        )
        self._end()
        self._finished()

    def _finished(self) -> None:
        self.instances.end()


class MoveOperation(GetOperation):
    """C-MOVE (PS3.7 §9.1.4, PS3.4 §C.4.2): the instances come in by the store SCP, which puts them into `instances`.

    `instances` is not ended here: stragglers may arrive after the final response, so whoever listens ends it.
    """

    name = "C-MOVE"

    def __init__(self, *arguments: Any, on_final: Callable[[], None], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._on_final = on_final

    def object_arrived(self) -> None:
        """Take note of the first answer, which comes on another association."""
        self._answered()

    def _finished(self) -> None:
        self._on_final()


class StoreOperation(Operation):
    """C-STORE (PS3.7 §9.1.1): the wait for the response to what `Association.store` has sent."""

    name = "C-STORE"

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.done: Deferred[Outcome] = Deferred()

    def command(self, context_id: int, command: Command) -> None:
        """Take the response."""
        if type(command) is not CStoreRSP:
            return super().command(context_id, command)
        self._end()
        self.done.callback(Outcome(command.status, error_comment=command.error_comment))
        return None

    def lost(self, reason: HarmonyError) -> None:
        """Fail."""
        super().lost(reason)
        self.done.errback(reason)
