"""Where the instances of a retrieval go: back on the association of a C-GET, or on one of our own for a C-MOVE.

How each instance goes out is the same for both, and for a C-STORE that somebody else asked for
(`net.association.outgoing`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IStreamClientEndpoint

from harmonygw.dicom.dimse.commands import CStoreRQ, CStoreRSP
from harmonygw.dicom.upperlayer.negotiation import AssociateRQ
from harmonygw.errors import HarmonyError, Incomplete, PeerError
from harmonygw.net.association.operations import Timing
from harmonygw.net.association.outgoing import OutgoingData, StorageContexts, contexts_for
from harmonygw.net.association.protocol import AssociationProtocol
from harmonygw.net.association.requestor import MAX_MESSAGE_ID, Association, send_instance
from harmonygw.operations import ANY_TRANSFER_SYNTAX
from harmonygw.streams import Instance

ASSOCIATION_TIMEOUT: Final = 30.0
"""Seconds that it has to answer the A-ASSOCIATE-RQ, as for a PACS (`association_timeout_secs`)."""

RESPONSE_TIMEOUT: Final = 60.0
"""Seconds that it has to answer a C-STORE-RQ: it may have to write to a slow disk, but the requestor waits too."""


class Delivery(Protocol):
    """Sends instances to one application entity, one after another."""

    transfer_syntaxes: tuple[str, ...]
    """Those that can be sent, in order of preference; `("*",)` when nothing is known."""

    broken_by: HarmonyError | None
    """Why the association of the retrieval itself cannot go on, once it cannot: half an instance is on it."""

    size: int
    """Bytes of the data sets that were sent."""

    async def store(self, instance: Instance) -> int:
        """Send an instance, and return the status of the C-STORE-RSP.

        Raises `NotAcceptable` when no presentation context carries it, and other `HarmonyError`s when it cannot be
        read or sent; `unreachable` then says whether further ones can.
        """

    @property
    def unreachable(self) -> bool:
        """Whether there is nobody to send to."""

    def close(self) -> None:
        """End what was opened."""


class SubOperations:
    """The C-STORE sub-operations of a C-GET, on the association on which it was asked."""

    unreachable = False

    def __init__(self, protocol: AssociationProtocol) -> None:
        self._protocol = protocol
        self._last_message_id = 0
        self._awaited: Deferred[CStoreRSP] | None = None
        self._contexts = [one for one in protocol.contexts.values() if one.as_scu]
        self.transfer_syntaxes = tuple(dict.fromkeys(one.transfer_syntax for one in self._contexts))
        self.broken_by: HarmonyError | None = None
        self.size = 0

    async def store(self, instance: Instance) -> int:
        """Send an instance on an accepted context of its SOP class."""
        context = contexts_for(instance, self._contexts)[0]
        data_set = await OutgoingData.of(instance, context.transfer_syntax)
        outgoing = replace(instance, data_set=data_set)
        self._last_message_id = self._last_message_id % MAX_MESSAGE_ID + 1
        command = CStoreRQ(self._last_message_id, instance.sop_class_uid, instance.sop_instance_uid)
        awaited = self._awaited = Deferred()
        self.broken_by = Incomplete("an instance could not be sent whole")
        try:
            await send_instance(self._protocol, context.context_id, command, outgoing)
            self.broken_by = None
            self._protocol.expect(True)
            response = await awaited
        finally:
            self._awaited = None
            self._protocol.expect(False)
            self.size += data_set.size
        return response.status

    def response(self, command: CStoreRSP) -> None:
        """Take the response to the sub-operation under way; raises `PeerError` when it answers nothing."""
        awaited = self._awaited
        if awaited is None or command.message_id_being_responded_to != self._last_message_id:
            raise PeerError("a C-STORE-RSP answers no C-STORE-RQ", reason=2)
        self._awaited = None
        awaited.callback(command)

    def close(self) -> None:
        """Leave the association to its requestor."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Whom a C-MOVE sends to, and on whose behalf."""

    called_ae_title: str
    calling_ae_title: str
    originator_ae_title: str
    """The calling AE title of the C-MOVE."""
    originator_message_id: int
    """The Message ID of the C-MOVE."""
    max_pdu_length: int


class DestinationAssociations:
    """The C-STORE sub-operations of a C-MOVE, on associations that we open.

    What is coming is not known beforehand: the first instance decides what is proposed, and an instance that needs
    another presentation context ends the association and opens one that proposes both. There is one at a time, since
    many destinations take no more. `endpoint` returns what connects to the destination.
    """

    transfer_syntaxes: tuple[str, ...] = (ANY_TRANSFER_SYNTAX,)
    broken_by: HarmonyError | None = None

    def __init__(self, destination: Destination, reactor: Any, endpoint: Callable[[], IStreamClientEndpoint]) -> None:
        self._destination = destination
        self._reactor = reactor
        self._endpoint = endpoint
        self._contexts = StorageContexts()
        self._association: Association | None = None
        self.unreachable = False
        self.size = 0

    async def store(self, instance: Instance) -> int:
        """Send an instance, on an association that was opened for its kind."""
        proposed = self._contexts.include((instance.sop_class_uid, instance.transfer_syntax_uid))
        if self._association is None or self._association.is_closed or not proposed:
            self._association = await self._open()
        association = self._association
        context = contexts_for(instance, association.protocol.contexts.values())[0]
        data_set = await OutgoingData.of(instance, context.transfer_syntax)
        outgoing = replace(instance, transfer_syntax_uid=context.transfer_syntax, data_set=data_set)
        try:
            outcome = await association.store(
                outgoing,
                originator_ae_title=self._destination.originator_ae_title,
                originator_message_id=self._destination.originator_message_id,
            )
        finally:
            self.size += data_set.size
        return outcome.status

    def close(self) -> None:
        """Release the association, or abort it when an instance is under way."""
        association, self._association = self._association, None
        if association is not None:
            association.release()

    async def _open(self) -> Association:
        self.close()
        destination = self._destination
        association = Association(
            clock=self._reactor,
            timing=Timing(first_answer=RESPONSE_TIMEOUT, cancel_grace=0.0),
            silence_timeout=RESPONSE_TIMEOUT,
            association_timeout=ASSOCIATION_TIMEOUT,
        )
        request = AssociateRQ(
            called_ae_title=destination.called_ae_title,
            calling_ae_title=destination.calling_ae_title,
            contexts=self._contexts.proposed,
            max_pdu_length=destination.max_pdu_length,
        )
        try:
            await association.request(self._endpoint(), request)
        except CancelledError:
            raise
        except HarmonyError:
            self.unreachable = True
            raise
        return association
