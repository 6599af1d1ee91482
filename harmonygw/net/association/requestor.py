"""The SCU's side: requesting an association, and running operations on it, one at a time."""

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dimse.commands import CEchoRQ, CFindRQ, CGetRQ, CMoveRQ, Command, CStoreRQ
from harmonygw.dicom.upperlayer.negotiation import AcceptedContext, AssociateRQ
from harmonygw.dicom.upperlayer.provider import UpperLayer
from harmonygw.errors import HarmonyError, NotAcceptable, PeerError, TimedOut, TransportError
from harmonygw.net.association.operations import (
    EchoOperation,
    FindOperation,
    GetOperation,
    MoveOperation,
    Operation,
    Outcome,
    StoreOperation,
    Timing,
)
from harmonygw.net.association.protocol import AssociationProtocol
from harmonygw.net.association.receiving import Admit
from harmonygw.operations import DataSet
from harmonygw.streams import Instance, Pieces

OperationT = TypeVar("OperationT", bound=Operation)

VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

MAX_MESSAGE_ID = 65_535
"""Message IDs are 1 to 65535 (US, PS3.7 §E.1) and start again."""


class Association:
    """An association that we requested. It carries one operation at a time; `idle` says when the next may begin."""

    def __init__(
        self,
        *,
        clock: IReactorTime,
        timing: Timing,
        silence_timeout: float,
        association_timeout: float,
        default_character_set: tuple[str, ...] = ("ISO_IR 6",),
        request_character_set: tuple[str, ...] = ("ISO_IR 192",),
    ) -> None:
        self._clock = clock
        self._timing = timing
        self._silence_timeout = silence_timeout
        self._association_timeout = association_timeout
        self._default_character_set = default_character_set
        self._request_character_set = request_character_set
        self._operation: Operation | None = None
        self._last_message_id = 0
        self._established: Deferred[Association] | None = None
        self._idle_waiters: list[Deferred[None]] = []
        self._close_watchers: list[Callable[[], None]] = []
        self.protocol: AssociationProtocol
        self.closed_because: HarmonyError | None = None

    # Opening and closing

    async def request(self, endpoint: IStreamClientEndpoint, rq: AssociateRQ) -> None:
        """Connect and associate.

        Raises `TransportError` when there is no connection, `TimedOut` at the connect or association time-out,
        `RejectedError` when the peer says no, and `PeerError` when it answers nonsense.
        """
        upper_layer = UpperLayer(
            requestor=True, max_pdu_length=rq.max_pdu_length, association_timeout=self._association_timeout
        )
        self.protocol = AssociationProtocol(
            upper_layer, self, self._clock, silence_timeout=self._silence_timeout
        )
        established: Deferred[Association] = Deferred(self._request_cancelled)
        self._established = established
        self.protocol.associate(rq)
        await _connect(endpoint, self.protocol)
        await established

    @property
    def is_closed(self) -> bool:
        """Whether it is over."""
        return self.protocol.is_closed

    @property
    def busy(self) -> bool:
        """Whether an operation is under way."""
        return self._operation is not None

    def idle(self) -> "Deferred[None]":
        """Fire when no operation is under way: at its final response, or when the association is gone."""
        if self._operation is None:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._idle_waiters.append(waiter)
        return waiter

    def on_close(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` once when the association is over."""
        if self.is_closed:
            watcher()
        else:
            self._close_watchers.append(watcher)

    def release(self) -> None:
        """End it in order (A-RELEASE), or abort it when an operation is under way."""
        if self._operation is not None:
            self.abort()
        else:
            self.protocol.release()

    def abort(self, reason: HarmonyError | None = None) -> None:
        """End it at once (A-ABORT)."""
        self.protocol.abort(reason or TransportError("the association was aborted here"))

    # Negotiated facts

    def contexts_for(self, abstract_syntax: str) -> list[AcceptedContext]:
        """Return the accepted presentation contexts of a SOP class, in the order in which they were proposed."""
        return [one for one in self.protocol.contexts.values() if one.abstract_syntax == abstract_syntax]

    def context_for(self, abstract_syntax: str) -> AcceptedContext:
        """Return the one to send with, Explicit VR first; raises `NotAcceptable` when there is none."""
        accepted = self.contexts_for(abstract_syntax)
        if not accepted:
            raise NotAcceptable(f"the peer accepted no presentation context for SOP class {abstract_syntax}")
        return next(
            (one for one in accepted if one.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN), accepted[0]
        )

    def extended_negotiation(self, sop_class_uid: str) -> bytes:
        """Return the application information that the peer answered for a SOP class (PS3.7 §D.3.3.5), or nothing."""
        acceptance = self.protocol.acceptance
        return acceptance.extended_negotiation.get(sop_class_uid, b"") if acceptance is not None else b""

    # Operations

    async def echo(self) -> int:
        """C-ECHO; returns the status."""
        context = self.context_for(VERIFICATION)
        operation = self._begin(EchoOperation, context.context_id)
        self._send(context, CEchoRQ(operation.message_id, VERIFICATION))
        return await operation.done

    def find(self, sop_class_uid: str, identifier: DataSet) -> FindOperation:
        """C-FIND; the matches and the outcome are in the operation that is returned."""
        context = self.context_for(sop_class_uid)
        data = from_json(identifier, context.transfer_syntax, character_set=self._request_character_set)
        operation = self._begin(
            FindOperation, context.context_id, default_character_set=self._default_character_set
        )
        self._send(context, CFindRQ(operation.message_id, sop_class_uid), data)
        return operation

    def get(self, sop_class_uid: str, identifier: DataSet, *, admit: Admit) -> GetOperation:
        """C-GET; `admit` decides each instance, once its identity is known."""
        context = self.context_for(sop_class_uid)
        data = from_json(identifier, context.transfer_syntax, character_set=())
        operation = self._begin(
            GetOperation, context.context_id, admit=admit, source_ae_title=self._peer_ae_title
        )
        self._send(context, CGetRQ(operation.message_id, sop_class_uid), data)
        return operation

    def move(
        self,
        sop_class_uid: str,
        identifier: DataSet,
        *,
        destination: str,
        message_id: int,
        on_final: Callable[[], None],
    ) -> MoveOperation:
        """C-MOVE to the AE title `destination`, under a message ID that is unique among the moves of this process."""
        context = self.context_for(sop_class_uid)
        data = from_json(identifier, context.transfer_syntax, character_set=())
        operation = self._begin(
            MoveOperation,
            context.context_id,
            message_id=message_id,
            admit=_nothing_is_stored_here,
            source_ae_title=self._peer_ae_title,
            on_final=on_final,
        )
        self._send(context, CMoveRQ(message_id, sop_class_uid, move_destination=destination), data)
        return operation

    async def store(
        self, instance: Instance, *, originator_ae_title: str = "", originator_message_id: int | None = None
    ) -> Outcome:
        """C-STORE of one instance, streamed in its own transfer syntax; returns the outcome.

        Raises `NotAcceptable` when no presentation context carries it; the instance is then still unread.
        """
        context = next(
            (
                one
                for one in self.contexts_for(instance.sop_class_uid)
                if one.transfer_syntax == instance.transfer_syntax_uid
            ),
            None,
        )
        if context is None:
            raise NotAcceptable(
                f"the peer accepted no presentation context for SOP class {instance.sop_class_uid} "
                f"in transfer syntax {instance.transfer_syntax_uid}"
            )
        operation = self._begin(StoreOperation, context.context_id)
        command = CStoreRQ(
            operation.message_id,
            instance.sop_class_uid,
            instance.sop_instance_uid,
            move_originator_ae_title=originator_ae_title,
            move_originator_message_id=originator_message_id,
        )
        try:
            await send_instance(self.protocol, context.context_id, command, instance)
        except CancelledError:
            self.abort()
            raise
        except HarmonyError as failure:
            self.abort(failure)
            operation.done.addErrback(lambda _: None)
            raise
        return await operation.done

    # What the protocol tells

    def associate_indication(self, request: AssociateRQ) -> None:
        """Refuse nonsense: nobody associates with a requestor."""
        raise PeerError("an A-ASSOCIATE-RQ came to the requestor of an association", reason=2)

    def established(self) -> None:
        """Wake who requested it."""
        established, self._established = self._established, None
        if established is not None:
            established.callback(self)

    def command_received(self, context_id: int, command: Command) -> None:
        """Hand a command to the operation under way."""
        if self._operation is None:
            raise PeerError(f"a {type(command).__name__} came when nothing had been asked", reason=2)
        self._operation.command(context_id, command)

    def fragment_received(self, data: memoryview, is_last: bool) -> None:
        """Hand a part of a data set to the operation under way."""
        if self._operation is not None:
            self._operation.fragment(data, is_last)

    def read_ended(self) -> None:
        """Let what one read brought flow on."""
        if self._operation is not None:
            self._operation.read_ended()

    def release_indication(self) -> None:
        """Take note; `closed` follows."""

    def closed(self, reason: HarmonyError | None) -> None:
        """Fail the operation under way, and tell who watches."""
        self.closed_because = reason
        why = reason or TransportError("the peer released the association")
        if self._established is not None:
            established, self._established = self._established, None
            established.errback(why)
        if self._operation is not None:
            self._operation.lost(why)
        watchers, self._close_watchers = self._close_watchers, []
        for watcher in watchers:
            watcher()

    # What happens inside

    @property
    def _peer_ae_title(self) -> str:
        request = self.protocol.request
        return request.called_ae_title if request is not None else ""

    def _begin(
        self, kind: type[OperationT], context_id: int, *, message_id: int = 0, **more: Any
    ) -> OperationT:
        if self._operation is not None:
            raise RuntimeError("an association carries one operation at a time")
        if not message_id:
            message_id = self._last_message_id = self._last_message_id % MAX_MESSAGE_ID + 1
        operation = kind(
            self.protocol, self._clock, context_id, message_id, self._timing, self._operation_ended, **more
        )
        self._operation = operation
        self.protocol.expect(True)
        return operation

    def _send(self, context: AcceptedContext, command: Command, data: bytes | None = None) -> None:
        self.protocol.send(context.context_id, command, data)

    def _operation_ended(self) -> None:
        self._operation = None
        self.protocol.expect(False)
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def _request_cancelled(self, _: "Deferred[Association]") -> None:
        self._established = None
        self.abort()


async def send_instance(
    protocol: AssociationProtocol, context_id: int, command: CStoreRQ, instance: Instance
) -> None:
    """Send a C-STORE-RQ and its data set as it arrives, one read held back so that the last fragment is marked."""
    protocol.send(context_id, command)
    held: Pieces | None = None
    async for pieces in instance.data_set:
        if held is not None:
            for piece in held:
                protocol.send_fragment(context_id, piece, is_last=False)
            await protocol.drained()
        held = pieces
    *rest, last = held or (b"",)
    for piece in rest:
        protocol.send_fragment(context_id, piece, is_last=False)
    protocol.send_fragment(context_id, last, is_last=True)
    await protocol.drained()


async def _connect(endpoint: IStreamClientEndpoint, protocol: AssociationProtocol) -> None:
    try:
        await endpoint.connect(Factory.forProtocol(lambda: protocol))
    except CancelledError:
        raise
    except error.TimeoutError as failure:
        raise TimedOut("the connection was not made in time (connect_timeout_secs)") from failure
    except error.ConnectionRefusedError as failure:
        raise TransportError("the connection was refused") from failure
    except error.DNSLookupError as failure:
        raise TransportError("the host name was not found") from failure
    except (error.ConnectError, OSError) as failure:
        raise TransportError("the connection could not be made", log_detail=str(failure)) from failure


def _nothing_is_stored_here(command: CStoreRQ, instance: Instance) -> Any:
    raise PeerError("a C-STORE-RQ came on the association of a C-MOVE", reason=2)
