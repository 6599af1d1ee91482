"""One association that a peer requested of the endpoint: which message belongs to what, one request at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from harmonygw import journal
from harmonygw.config.endpoint_options import DicomSCPOptions
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import (
    CCancelRQ,
    CEchoRQ,
    CFindRQ,
    CGetRQ,
    CMoveRQ,
    Command,
    CStoreRQ,
    CStoreRSP,
    NEventReportRQ,
)
from harmonygw.endpoints.dicom_scp.delivery import Destination, DestinationAssociations, SubOperations
from harmonygw.endpoints.dicom_scp.destinations import Destinations
from harmonygw.endpoints.dicom_scp.exchange import Circumstances, EchoExchange, Exchange
from harmonygw.endpoints.dicom_scp.finding import FindExchange
from harmonygw.endpoints.dicom_scp.retrieving import GetExchange, MoveExchange
from harmonygw.endpoints.dicom_scp.storing import StoreExchange
from harmonygw.errors import HarmonyError, PeerError, TransportError
from harmonygw.exchange import AssociationOrigin, Request
from harmonygw.net.association.destination import Move, MoveDestination, claimed
from harmonygw.net.association.event_reports import EventReportReceiver, TakeReport
from harmonygw.net.association.listener import Acceptor, AssociationFactory
from harmonygw.net.association.receiving import Admission, InstanceReceiver, Refusal
from harmonygw.net.tls import subject_of
from harmonygw.pipeline import Proceed
from harmonygw.streams import Instance

UNEXPECTED_PDU: Final = 2
INVALID_PARAMETER: Final = 6
"""Reasons of an A-ABORT (PS3.8 §9.3.8)."""

Query = CFindRQ | CGetRQ | CMoveRQ


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the associations of one endpoint share."""

    options: DicomSCPOptions
    proceed: Proceed
    verify: Proceed
    """The pipeline without the backend at its end."""
    reactor: Any
    destinations: Callable[[], Iterable[MoveDestination]]
    """Of this process's own C-MOVEs."""
    reachable: Destinations
    """Of our peers' C-MOVEs."""
    count: Callable[[int], None]
    """Told +1 when an exchange begins, and -1 when it has ended."""
    take_report: TakeReport
    """Of the storage commitments that this process has requested."""
    ended: Callable[[Request, journal.Ending], None] = journal.write
    """Told of each exchange that has ended, and how."""


class ServedAssociation(Acceptor):
    """An association on which a peer asks. It asks one thing at a time: no asynchronous operations are negotiated."""

    def __init__(self, factory: AssociationFactory, peer: str, surroundings: Surroundings) -> None:
        super().__init__(factory, peer)
        self._surroundings = surroundings
        self._exchange: Exchange[Any] | None = None
        self._query: tuple[int, Query] | None = None
        self._identifier = bytearray()
        self._received = 0
        self._storing: int | None = None
        self._move: Move | None = None
        self._circumstances: Circumstances
        self._receiver: InstanceReceiver
        self._events: EventReportReceiver
        self._sub_operations: SubOperations

    @property
    def in_use(self) -> bool:
        """Whether a request is being served, or a message has begun."""
        return (
            self._exchange is not None or self._query is not None or self._storing is not None or self._events.receiving
        )

    # What the protocol tells

    def established(self) -> None:
        """Make ready to serve."""
        surroundings = self._surroundings
        self._circumstances = Circumstances(
            self.protocol,
            surroundings.proceed,
            surroundings.verify,
            surroundings.reactor,
            AssociationOrigin(self.calling_ae_title, self.called_ae_title),
            self.peer,
            subject_of(self.protocol.transport),
            surroundings.ended,
        )
        self._receiver = InstanceReceiver(
            self.protocol,
            self._admit,
            source_ae_title=self.calling_ae_title,
            receiving_ae_title=self.called_ae_title,
            max_object_bytes=surroundings.options.max_object_bytes,
        )
        self._sub_operations = SubOperations(self.protocol)
        self._events = EventReportReceiver(self.protocol, self.calling_ae_title, surroundings.take_report)

    def command_received(self, context_id: int, command: Command) -> None:
        """Begin a request, or pass a message on to the one that is being served."""
        if isinstance(command, CStoreRSP):
            self._sub_operations.response(command)
        elif isinstance(command, CCancelRQ):
            self._cancel(command)
        elif self.in_use:
            raise PeerError(
                f"a {type(command).__name__} came before the last request was answered", reason=UNEXPECTED_PDU
            )
        elif isinstance(command, CStoreRQ):
            self._received = 0
            self._storing = context_id
            self.protocol.expect(True)
            self._receiver.command(context_id, command)
        elif isinstance(command, CFindRQ | CGetRQ | CMoveRQ):
            self._received = 0
            self._query = context_id, command
            self.protocol.expect(True)
        elif isinstance(command, NEventReportRQ):
            self._events.command(context_id, command)
        elif isinstance(command, CEchoRQ):
            context = self.protocol.contexts[context_id]
            self._begin(EchoExchange(self._circumstances, context, command, self._ended))
        else:
            raise PeerError(f"{type(command).__name__} is no request of a service that was negotiated", reason=2)

    def fragment_received(self, data: memoryview, is_last: bool) -> None:
        """Take a part of an instance, of an identifier, or of an event."""
        if self._events.receiving:
            self._events.fragment(data, is_last)
            return
        self._received += len(data)
        if self._storing is not None:
            if isinstance(self._exchange, StoreExchange):
                self._exchange.size = self._received
            self._receiver.fragment(data, is_last)
            if is_last:
                self._instance_ended()
        elif self._query is not None:
            most = self._surroundings.options.max_identifier_bytes
            if self._received > most:
                raise PeerError(f"an identifier exceeds {most} bytes (max_identifier_bytes)", reason=INVALID_PARAMETER)
            self._identifier += data
            if is_last:
                (context_id, command), self._query = self._query, None
                identifier, self._identifier = self._identifier, bytearray()
                self.protocol.expect(False)
                self._begin_query(context_id, command, memoryview(identifier))

    def read_ended(self) -> None:
        """Let what one read brought flow on."""
        if self._storing is not None:
            self._receiver.read_ended()

    def closed(self, reason: object) -> None:
        """Give up what is being served, and the instance that was arriving: there is nobody to answer any more."""
        super().closed(reason)
        if self._exchange is not None:
            released = TransportError("the peer released the association before it was answered")
            self._exchange.abandon(reason if isinstance(reason, HarmonyError) else released)
        if self._storing is not None:
            self._receiver.lost(TransportError("the association was lost while an instance arrived"))
            self._instance_ended()

    # What is served

    def _begin(self, exchange: Exchange[Any]) -> None:
        self._exchange = exchange
        self._surroundings.count(1)
        exchange.begin()

    def _ended(self) -> None:
        self._exchange = None
        self._surroundings.count(-1)
        self.used()

    def _cancel(self, command: CCancelRQ) -> None:
        """Cancel what the message names; it may have crossed the final response, and then means nothing."""
        exchange = self._exchange
        if exchange is not None and exchange.command.message_id == command.message_id_being_responded_to:
            exchange.cancel()

    def _begin_query(self, context_id: int, command: Query, identifier: memoryview) -> None:
        circumstances = self._circumstances
        context = self.protocol.contexts[context_id]
        if isinstance(command, CFindRQ):
            options = self._surroundings.options
            self._begin(
                FindExchange(
                    circumstances,
                    context,
                    command,
                    self._ended,
                    identifier=identifier,
                    retrieve_ae_title=options.local_aet if options.enable_move or options.enable_get else "",
                )
            )
        elif isinstance(command, CGetRQ):
            sub_operations = self._sub_operations
            delivery = sub_operations if sub_operations.transfer_syntaxes else None
            self._begin(
                GetExchange(circumstances, context, command, self._ended, identifier=identifier, delivery=delivery)
            )
        else:
            self._begin(
                MoveExchange(
                    circumstances,
                    context,
                    command,
                    self._ended,
                    identifier=identifier,
                    delivery=self._destination(command),
                    passed_on=not self._surroundings.reachable.known,
                )
            )

    def _destination(self, command: CMoveRQ) -> DestinationAssociations | None:
        surroundings = self._surroundings
        if command.move_destination not in surroundings.reachable.known:
            return None
        options = surroundings.options
        return DestinationAssociations(
            Destination(
                called_ae_title=command.move_destination,
                calling_ae_title=options.local_aet,
                originator_ae_title=self.calling_ae_title,
                originator_message_id=command.message_id,
                max_pdu_length=options.max_pdu,
            ),
            surroundings.reactor,
            partial(surroundings.reachable.endpoint, command.move_destination),
        )

    # What is stored

    def _admit(self, command: CStoreRQ, instance: Instance) -> Admission | Refusal:
        """Decide an instance whose identity is known: a C-MOVE's of ours, or one to store."""
        enabled = self._surroundings.options.enable_store
        if command.move_originator_message_id is not None or not enabled:
            move = claimed(self._surroundings.destinations(), command, instance.study_instance_uid)
            if move is not None:
                decision = move.admit(command, instance)
                if isinstance(decision, Admission):
                    self._move = move
                return decision
        if not enabled:
            for destination in self._surroundings.destinations():
                return destination.refuse(instance, self.calling_ae_title)
            sentence = f"refused an instance from {self.calling_ae_title}: storage is not enabled"
            journal.alert(journal.Alert("unsolicited_object", sentence, self.peer))
            return Refusal(statuses.NOT_AUTHORIZED, "storage is not enabled")
        context = self.protocol.contexts[self._storing or 0]
        if not context.as_scp:
            return Refusal(statuses.SOP_CLASS_NOT_SUPPORTED, "the role was not negotiated")
        exchange = StoreExchange(self._circumstances, context, command, self._ended, instance=instance)
        exchange.size = self._received
        self._begin(exchange)
        return exchange.admission

    def _instance_ended(self) -> None:
        self._storing = None
        self.protocol.expect(False)
        move, self._move = self._move, None
        if move is not None:
            move.object_ended()
