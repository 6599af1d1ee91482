"""One request on an association, from its arrival to its final response, its line in the log included."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from harmonygw import journal
from harmonygw.dicom.dimse.commands import CEchoRQ, CEchoRSP, CFindRQ, CGetRQ, CMoveRQ, Command, CStoreRQ
from harmonygw.dicom.dimse.statuses import (
    CANCEL,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    Category,
    category,
    describe,
)
from harmonygw.dicom.upperlayer.negotiation import AcceptedContext
from harmonygw.endpoints.dicom_scp.statuses import REFUSALS, UNFORESEEN, Service, comment_of, status_of
from harmonygw.errors import HarmonyError, RejectedError, TransportError
from harmonygw.exchange import AssociationOrigin, Record, Request
from harmonygw.net.association.protocol import AssociationProtocol
from harmonygw.net.association.requestor import VERIFICATION
from harmonygw.operations import Echo, Operation
from harmonygw.pipeline import Proceed

log = Logger()

RequestT = TypeVar("RequestT", bound=CEchoRQ | CFindRQ | CGetRQ | CMoveRQ | CStoreRQ)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the exchanges of one association have in common."""

    protocol: AssociationProtocol
    proceed: Proceed
    verify: Proceed
    """The pipeline without the backend at its end: for C-ECHO, which asks nobody."""
    clock: IReactorTime
    origin: AssociationOrigin
    peer: str
    """The peer's IP address."""
    principal: str | None = None
    """The subject of the certificate that it has shown."""
    ended: Callable[[Request, journal.Ending], None] = journal.write
    """Told of each exchange that has ended, and how."""


class Exchange(ABC, Generic[RequestT]):
    """A request being served; subclasses say by what operation, and what is sent on the way.

    It ends in one of three ways: with a final response, with `abandon` because the association is gone, or with
    `broken_by` set, when nothing that could still be sent would be understood: then the association is aborted.
    """

    name: ClassVar[str]
    service: ClassVar[Service]

    def __init__(
        self,
        circumstances: Circumstances,
        context: AcceptedContext,
        command: RequestT,
        on_end: Callable[[], None],
    ) -> None:
        self._circumstances = circumstances
        self._on_end = on_end
        self._running: Deferred[None] | None = None
        self._abandoned: HarmonyError | None = None
        self._started = circumstances.clock.seconds()
        self._first_byte: float | None = None
        self.protocol = circumstances.protocol
        self.context = context
        self.command = command
        self.request = Request(
            origin=circumstances.origin,
            peer=circumstances.peer,
            principal=circumstances.principal,
            correlation_id=uuid4().hex,
            record=Record(operation=self.name),
        )
        self.cancelled = False
        """Whether the peer has asked for an early end (C-CANCEL-RQ)."""
        self.may_interrupt = True
        """Whether it can end here and now: not in the midst of an instance, whose rest the peer waits for."""
        self.size = 0
        """Bytes of data sets that went out, or came in."""
        self.remark = ""
        """What the peer is to know beside the status: the Error Comment (0000,0902), unless an error has its own."""

    # What subclasses say

    @property
    def broken_by(self) -> HarmonyError | None:
        """Why the association cannot go on, once it cannot."""
        return None

    @abstractmethod
    def is_of(self, sop_class_uid: str) -> bool:
        """Whether the request belongs to this SOP class."""

    @abstractmethod
    async def carry_out(self) -> int:
        """Do what was asked, and return the status of the final response; raises what `errors` names."""

    @abstractmethod
    def respond(self, status: int, comment: str) -> None:
        """Send the final response."""

    # What the association tells

    def begin(self) -> None:
        """Serve the request; its end is told by `on_end`, maybe at once."""
        self._running = Deferred.fromCoroutine(self._conduct())

    def cancel(self) -> None:
        """Take a C-CANCEL-RQ: what is asked of the pipeline is given up, and the final response is FE00H."""
        self.cancelled = True
        if self.may_interrupt and self._running is not None:
            self._running.cancel()

    def abandon(self, reason: HarmonyError) -> None:
        """Take note that the association is gone; the pipeline is cancelled."""
        self._abandoned = reason
        if self._running is not None:
            self._running.cancel()

    # What subclasses use

    async def ask(self, operation: Operation, *, aside: bool = False) -> Any:
        """Put an operation into the pipeline and return its result; `aside` keeps it out of this exchange's record."""
        request = replace(self.request, operation=operation)
        if aside:
            request = replace(request, record=Record(operation=self.name))
        reply = await self._circumstances.proceed(request)
        for name, value in reply.headers:
            if name.lower() == "warning":
                self.warn(value)
        return reply.result

    def warn(self, sentence: str) -> None:
        """Tell the peer, and the log, what is not as it should be with an answer."""
        self.remark = self.remark or sentence
        self.request.record.note(sentence)

    def send(self, command: Command, data_set: bytes | None = None) -> None:
        """Send a response."""
        if self._first_byte is None:
            self._first_byte = self._circumstances.clock.seconds()
        if data_set is not None:
            self.size += len(data_set)
        self.protocol.send(self.context.context_id, command, data_set)

    # What happens inside

    async def _conduct(self) -> None:
        status: int | None = None
        outcome, reason = "complete", ""
        try:
            status, comment, outcome, reason = await self._outcome()
            if self.broken_by is None:
                self.respond(status, comment)
            else:
                outcome = "aborted"
        except CancelledError:
            gone = self._abandoned
            outcome = "client_gone" if isinstance(gone, TransportError) else "aborted"
            reason = "" if gone is None else journal.describe(gone)
        finally:
            self.request.record.dimse_status = status
            self._circumstances.ended(
                self.request,
                journal.Ending(
                    outcome=outcome,
                    status=None,
                    size=self.size,
                    started=self._started,
                    first_byte=self._first_byte,
                    ended=self._circumstances.clock.seconds(),
                    reason=reason,
                ),
            )
            self._on_end()
        if self.broken_by is not None:
            self.protocol.abort(self.broken_by)

    async def _outcome(self) -> tuple[int, str, str, str]:
        """Return status and comment of the final response, and outcome and reason for the log."""
        try:
            abstract_syntax = self.context.abstract_syntax
            if not self.is_of(abstract_syntax) or self.command.affected_sop_class_uid != abstract_syntax:
                raise RejectedError("the presentation context is of another service", status=SOP_CLASS_NOT_SUPPORTED)
            status = await self.carry_out()
        except CancelledError:
            if self._abandoned is not None:
                raise
            if self.cancelled:
                return CANCEL, "", "client_gone", "C-CANCEL-RQ"
            given_up = TransportError("the operation was given up")
            return status_of(given_up, self.service), given_up.detail, "failed", journal.describe(given_up)
        except HarmonyError as error:
            if self.protocol.is_closed:
                self._abandoned = error
                raise CancelledError from error
            status = status_of(error, self.service)
            if status == SUCCESS:
                return status, "", "complete", journal.describe(error)
            outcome = "refused" if status in REFUSALS else "failed"
            return status, comment_of(error), outcome, journal.describe(error)
        except Exception:  # noqa: BLE001 - whatever it was, the peer gets its answer and the association lives
            log.failure("an exchange failed in a way nobody foresaw", correlation_id=self.request.correlation_id)
            return UNFORESEEN[self.service], "internal error", "failed", "internal error"
        if status == CANCEL:
            return status, "", "client_gone", "C-CANCEL-RQ"
        if category(status) is Category.FAILURE:
            return status, self.remark, "failed", describe(status)
        return status, self.remark, "complete", ""


class EchoExchange(Exchange[CEchoRQ]):
    """C-ECHO (PS3.7 §9.1.5), which asks whether we are there: middleware may refuse it, and no archive is asked."""

    name = "C-ECHO"
    service = Service.VERIFICATION

    def is_of(self, sop_class_uid: str) -> bool:
        """Whether it is the Verification SOP class."""
        return sop_class_uid == VERIFICATION

    async def carry_out(self) -> int:
        """Say yes, unless the pipeline says no."""
        await self._circumstances.verify(replace(self.request, operation=Echo()))
        return SUCCESS

    def respond(self, status: int, comment: str) -> None:
        """Send the C-ECHO-RSP."""
        self.send(CEchoRSP(self.command.message_id, self.command.affected_sop_class_uid, status))
