"""N-EVENT-REPORT: events that a peer reports on whichever association it likes, and our response (PS3.7 §10.1.1)."""

from collections.abc import Callable, Iterable
from typing import Protocol

from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import NEventReportRQ, NEventReportRSP
from harmonygw.dicom.dimse.commitment import STORAGE_COMMITMENT, Report, read_report
from harmonygw.errors import PeerError
from harmonygw.net.association.protocol import AssociationProtocol

MAX_EVENT_LENGTH = 16_777_216
"""Bytes of Event Information: a committed instance takes some 150 of them, and 50,000 are asked for at most."""

INVALID_PARAMETER = 6
"""A reason of an A-ABORT (PS3.8 §9.3.8)."""

TakeReport = Callable[[str, Report], int]
"""Takes the result of a storage commitment from a peer, by its AE title, and returns the status of the response."""


class Transactions(Protocol):
    """The storage commitments that one archive was asked for."""

    def knows(self, transaction_uid: str) -> bool:
        """Whether a transaction is one of these."""

    def take(self, peer_ae_title: str, report: Report) -> int:
        """Take a report; the status of the response says whether it is believed."""


def shared_by(archives: Callable[[], Iterable[Transactions]]) -> TakeReport:
    """Return what takes the reports for several archives: whoever knows the transaction decides."""

    def take(peer_ae_title: str, report: Report) -> int:
        for transactions in archives():
            if transactions.knows(report.transaction_uid):
                return transactions.take(peer_ae_title, report)
        return statuses.INVALID_ARGUMENT_VALUE

    return take


class EventReportReceiver:
    """The events that come on one association: one at a time, each gathered and answered."""

    def __init__(self, protocol: AssociationProtocol, peer_ae_title: str, take: TakeReport) -> None:
        self._protocol = protocol
        self._peer_ae_title = peer_ae_title
        self._take = take
        self._request: tuple[int, NEventReportRQ] | None = None
        self._information = bytearray()

    @property
    def receiving(self) -> bool:
        """Whether Event Information is on its way."""
        return self._request is not None

    def command(self, context_id: int, command: NEventReportRQ) -> None:
        """Take a request; one without Event Information is answered at once, for it reports nothing."""
        if not command.has_data_set:
            self._respond(context_id, command, statuses.NO_SUCH_ARGUMENT)
            return
        self._request = context_id, command
        self._protocol.expect(True)

    def fragment(self, data: memoryview, is_last: bool) -> None:
        """Take a part of the Event Information; raises `PeerError` for too much of it, or what cannot be read."""
        if self._request is None:
            return
        if len(self._information) + len(data) > MAX_EVENT_LENGTH:
            raise PeerError(
                f"Event Information exceeds {MAX_EVENT_LENGTH} bytes (MAX_EVENT_LENGTH)", reason=INVALID_PARAMETER
            )
        self._information += data
        if not is_last:
            return
        (context_id, command), self._request = self._request, None
        information, self._information = self._information, bytearray()
        self._protocol.expect(False)
        if command.affected_sop_class_uid != STORAGE_COMMITMENT:
            self._respond(context_id, command, statuses.NO_SUCH_SOP_CLASS)
            return
        report = read_report(to_json(memoryview(information), self._protocol.contexts[context_id].transfer_syntax))
        self._respond(context_id, command, self._take(self._peer_ae_title, report))

    def _respond(self, context_id: int, command: NEventReportRQ, status: int) -> None:
        self._protocol.send(
            context_id,
            NEventReportRSP(
                command.message_id,
                command.affected_sop_class_uid,
                command.affected_sop_instance_uid,
                status,
                command.event_type_id,
            ),
        )
