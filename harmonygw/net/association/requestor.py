"""The SCU's side: requesting an association, and running operations on it, one at a time."""

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from harmonygw.alerts import Alert, alert
from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dimse.commands import CEchoRQ, CFindRQ, CGetRQ, CMoveRQ, Command, CStoreRQ, NActionRQ
from harmonygw.dicom.upperlayer.negotiation import AcceptedContext, AssociateRQ
from harmonygw.dicom.upperlayer.provider import UpperLayer
from harmonygw.errors import HarmonyError, NotAcceptable, PeerError, TransportError
from harmonygw.net.association.action import ActionOperation
from harmonygw.net.association.event_reports import EventReportReceiver, TakeReport
from harmonygw.net.association.operations import (
    EchoOperation,
    FindOperation,
    GetOperation,
    Invocation,
    MoveOperation,
    Outcome,
    StoreOperation,
    Timing,
)
from harmonygw.net.association.protocol import AssociationProtocol
from harmonygw.net.association.receiving import Admit
from harmonygw.net.connecting import connect
from harmonygw.operations import DataSet
from harmonygw.streams import Instance

AnyOperation = ActionOperation | EchoOperation | FindOperation | GetOperation | MoveOperation | StoreOperation

VERIFICATION = "1.2.840.10008.1.1"
MODALITY_WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
"""The Modality Worklist Information Model - FIND SOP class (PS3.4 §K.7)."""

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
        max_object_bytes: int = 0,
    ) -> None:
        self._clock = clock
        self._timing = timing
        self._silence_timeout = silence_timeout
        self._association_timeout = association_timeout
        self._default_character_set = default_character_set
        self._request_character_set = request_character_set
        self._max_object_bytes = max_object_bytes
        self._operation: AnyOperation | None = None
        self._last_message_id = 0
        self._established: Deferred[None] | None = None
        self._idle_waiters: list[Deferred[None]] = []
        self._close_watchers: list[Callable[[], None]] = []
        self._disconnect_watchers: list[Callable[[], None]] = []
        self._disconnected = False
        self.protocol: AssociationProtocol
        self.closed_because: HarmonyError | None = None
        """Why it is over; None while it is not, and after an orderly release."""

    # Opening and closing

    async def request(self, endpoint: IStreamClientEndpoint, rq: AssociateRQ) -> None:
        """Connect and associate.

        Raises `TransportError` when there is no connection, `TimedOut` at the connect or association time-out,
        `RejectedError` when the peer says no, and `PeerError` when it answers nonsense.
        """
        upper_layer = UpperLayer(
            requestor=True, max_pdu_length=rq.max_pdu_length, association_timeout=self._association_timeout
        )
        self.protocol = AssociationProtocol(upper_layer, self, self._clock, silence_timeout=self._silence_timeout)
        established = self._established = Deferred(self._request_cancelled)
        self.protocol.associate(rq)
        await connect(endpoint, self.protocol)
        await established

    @property
    def is_closed(self) -> bool:
        """Whether it is over."""
        return self.protocol.is_closed

    @property
    def is_established(self) -> bool:
        """Whether it is there, and nothing has arrived that ends it."""
        return self.protocol.is_established

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

    def on_disconnect(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` once when its connection is gone too, and the peer can count it no longer."""
        if self._disconnected:
            watcher()
        else:
            self._disconnect_watchers.append(watcher)

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

    @property
    def rq(self) -> AssociateRQ | None:
        """The A-ASSOCIATE-RQ that it was negotiated with."""
        return self.protocol.request

    def contexts_for(self, abstract_syntax: str) -> list[AcceptedContext]:
        """Return the accepted presentation contexts of a SOP class, in the order in which they were proposed."""
        return [one for one in self.protocol.contexts.values() if one.abstract_syntax == abstract_syntax]

    def context_for(self, abstract_syntax: str) -> AcceptedContext:
        """Return the one to send with, Explicit VR first; raises `NotAcceptable` when there is none."""
        accepted = self.contexts_for(abstract_syntax)
        if not accepted:
            raise NotAcceptable(f"the peer accepted no presentation context for SOP class {abstract_syntax}")
        return next((one for one in accepted if one.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN), accepted[0])

    def extended_negotiation(self, sop_class_uid: str) -> bytes:
        """Return the application information that the peer answered for a SOP class (PS3.7 §D.3.3.5), or nothing."""
        acceptance = self.protocol.acceptance
        return acceptance.extended_negotiation.get(sop_class_uid, b"") if acceptance is not None else b""

    # Operations: each raises `NotAcceptable` without a presentation context for it, `BadRequest` for an identifier
    # that cannot be encoded, and `TransportError` when the association is over.

    async def echo(self) -> int:
        """C-ECHO; returns the status."""
        context = self.context_for(VERIFICATION)
        operation = EchoOperation(self._invocation(context))
        self._ask(operation, CEchoRQ(operation.message_id, VERIFICATION))
        return await operation.done

    def find(self, sop_class_uid: str, identifier: DataSet) -> FindOperation:
        """C-FIND; the matches and the outcome are in the operation that is returned."""
        context = self.context_for(sop_class_uid)
        data = from_json(identifier, context.transfer_syntax, character_set=self._request_character_set)
        operation = FindOperation(self._invocation(context), default_character_set=self._default_character_set)
        self._ask(operation, CFindRQ(operation.message_id, sop_class_uid), data)
        return operation

    def get(self, sop_class_uid: str, identifier: DataSet, *, admit: Admit) -> GetOperation:
        """C-GET; `admit` decides each instance, once its identity is known."""
        context = self.context_for(sop_class_uid)
        data = from_json(identifier, context.transfer_syntax, character_set=())
        titles = (self.rq.called_ae_title, self.rq.calling_ae_title) if self.rq is not None else ("", "")
        operation = GetOperation(
            self._invocation(context),
            admit=admit,
            source_ae_title=titles[0],
            receiving_ae_title=titles[1],
            max_object_bytes=self._max_object_bytes,
        )
        self._ask(operation, CGetRQ(operation.message_id, sop_class_uid), data)
        return operation

    def move(
        self,
        sop_class_uid: str,
        identifier: DataSet,
        *,
        destination: str,
        message_id: int,
        on_final: Callable[[], None],
        elsewhere: bool = False,
    ) -> MoveOperation:
        """C-MOVE to the AE title `destination`, under a message ID that is unique among the moves of this process.

        `elsewhere` says that the destination is not ours.
        """
        context = self.context_for(sop_class_uid)
        data = from_json(identifier, context.transfer_syntax, character_set=())
        operation = MoveOperation(self._invocation(context, message_id), on_final=on_final, elsewhere=elsewhere)
        self._ask(operation, CMoveRQ(message_id, sop_class_uid, destination), data)
        return operation

    def action(
        self, sop_class_uid: str, sop_instance_uid: str, action_type_id: int, information: DataSet, take: TakeReport
    ) -> ActionOperation:
        """N-ACTION; events that come on this association go to `take` until the operation is finished."""
        context = self.context_for(sop_class_uid)
        data = from_json(information, context.transfer_syntax, character_set=())
        called = self.rq.called_ae_title if self.rq is not None else ""
        operation = ActionOperation(self._invocation(context), EventReportReceiver(self.protocol, called, take))
        self._ask(operation, NActionRQ(operation.message_id, sop_class_uid, sop_instance_uid, action_type_id), data)
        return operation

    async def store(
        self,
        instance: Instance,
        *,
        originator_ae_title: str = "",
        originator_message_id: int | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> Outcome:
        """C-STORE of one instance, streamed in its own transfer syntax; returns the outcome.

        `on_sent` is called when its data set has been read to the end and sent, and the response is still to come.
        Raises `NotAcceptable` when no presentation context carries it; the instance is then still unread. When its
        data set ends in an error, the association is aborted: half an object cannot be taken back.
        """
        context = self._storage_context(instance)
        operation = self._operation = StoreOperation(self._invocation(context))
        command = CStoreRQ(
            operation.message_id,
            instance.sop_class_uid,
            instance.sop_instance_uid,
            move_originator_ae_title=originator_ae_title,
            move_originator_message_id=originator_message_id,
        )
        sent = False
        try:
            await send_instance(self.protocol, context.context_id, command, instance)
            sent = True
        finally:
            if not sent:
                operation.done.addErrback(lambda _: None)
                self.abort(TransportError("an instance could not be sent whole"))
        operation.asked()
        if on_sent is not None:
            on_sent()
        return await operation.done

    # What the protocol tells

    def associate_indication(self, request: AssociateRQ) -> None:
        """Refuse nonsense: nobody associates with a requestor."""
        raise PeerError("an A-ASSOCIATE-RQ came to the requestor of an association", reason=2)

    def established(self) -> None:
        """Wake who requested it."""
        established, self._established = self._established, None
        if established is not None:
            established.callback(None)

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
        """Fail the operation under way, tell who watches, and what the peer did when that has ended it."""
        self.closed_because = reason
        if isinstance(reason, PeerError):
            called = self.rq.called_ae_title if self.rq is not None else ""
            alert(Alert("hostile_bytes", f"the association with {called} is aborted: {reason}", called))
        why = reason or TransportError("the peer released the association")
        established, self._established = self._established, None
        if established is not None:
            established.errback(why)
        if self._operation is not None:
            self._operation.lost(why)
        watchers, self._close_watchers = self._close_watchers, []
        for watcher in watchers:
            watcher()

    def disconnected(self) -> None:
        """Tell who watches."""
        self._disconnected = True
        watchers, self._disconnect_watchers = self._disconnect_watchers, []
        for watcher in watchers:
            watcher()

    # What happens inside

    def _storage_context(self, instance: Instance) -> AcceptedContext:
        for context in self.contexts_for(instance.sop_class_uid):
            if context.transfer_syntax == instance.transfer_syntax_uid and context.as_scu:
                return context
        raise NotAcceptable(
            f"the peer accepted no presentation context for SOP class {instance.sop_class_uid} "
            f"in transfer syntax {instance.transfer_syntax_uid}"
        )

    def _invocation(self, context: AcceptedContext, message_id: int = 0) -> Invocation:
        if self._operation is not None:
            raise RuntimeError("an association carries one operation at a time")
        if self.is_closed:
            raise self.closed_because or TransportError("the peer released the association")
        if not message_id:
            message_id = self._last_message_id = self._last_message_id % MAX_MESSAGE_ID + 1
        return Invocation(self.protocol, self._clock, context, message_id, self._timing, self._operation_ended)

    def _ask(self, operation: AnyOperation, command: Command, data: bytes | None = None) -> None:
        self.protocol.send(operation.context_id, command, data)
        self._operation = operation
        operation.asked()

    def _operation_ended(self) -> None:
        self._operation = None
        self.protocol.expect(False)
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def _request_cancelled(self, _: "Deferred[None]") -> None:
        self._established = None
        self.abort()


async def send_instance(protocol: AssociationProtocol, context_id: int, command: CStoreRQ, instance: Instance) -> None:
    """Send a C-STORE-RQ and its data set as it arrives: fragments that are full, and the last when it has ended.

    Fragments have an even number of bytes (PS3.8 §E.1). Files do not always: a deflated data set may lack its padding
    (PS3.5 §A.5), a last value of an odd length too. It is added; DCMTK would not even answer.
    """
    outgoing = protocol.begin_message(context_id, command)
    async for pieces in instance.data_set:
        protocol.send_fragments(context_id, outgoing.feed(pieces))
        await protocol.drained()
    last = outgoing.finish()
    if sum(map(len, last)) % 2:
        last.append(b"\0")
    protocol.send_fragments(context_id, (last,), is_last=True)
    await protocol.drained()
