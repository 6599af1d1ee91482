"""C-STORE requests into instances: each object's fragments flow on as they arrive, once its identity is known.

Used by both roles: a C-GET's sub-operations arrive on the association that asked for them, a C-MOVE's on one that
the PACS opens. Leading attributes are scanned (64 KB at most) before the first byte is released, so that what goes
out is what was asked for; from then on nothing is parsed and nothing is copied.
"""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from harmonygw.dicom.dataset.header_scan import HeaderScan
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import CStoreRQ, CStoreRSP
from harmonygw.errors import HarmonyError, PeerError
from harmonygw.net.association.protocol import AssociationProtocol
from harmonygw.streams import Feed, Instance, Piece, Pieces

DATA_SET_WINDOW = 262_144
"""Bytes of one object that may wait for its reader before its association is paused: one read of the socket."""


MAX_ERROR_COMMENT = 64
"""Characters of an Error Comment (0000,0902): its VR is LO."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an object is not taken: the status of its C-STORE-RSP (PS3.4 Table B.2-1) and a sentence for the log."""

    status: int
    detail: str


@dataclass(frozen=True, slots=True)
class Admission:
    """Where an object goes, and what its C-STORE-RSP waits for."""

    instances: Feed[Instance]
    """The stream it belongs to. When nobody reads it any more, the object is taken and dropped."""
    status: Deferred[int] | None = None
    """Fires with the status of the C-STORE-RSP; None when arriving whole is all that counts."""


Admit = Callable[[CStoreRQ, Instance], Admission | Refusal]
"""Decides, once an object's identity is known, which stream it belongs to, or why to none."""


class InstanceReceiver:
    """The C-STORE sub-operations of one association, one after another."""

    def __init__(self, protocol: AssociationProtocol, admit: Admit, *, source_ae_title: str) -> None:
        self._protocol = protocol
        self._admit = admit
        self._source_ae_title = source_ae_title
        self._command: CStoreRQ | None = None
        self._context_id = 0
        self._transfer_syntax_uid = ""
        self._scan: HeaderScan | None = None
        self._body: Feed[Pieces] | None = None
        self._pieces: list[Piece] = []
        self._refusal: Refusal | None = None
        self._status: Deferred[int] | None = None

    @property
    def receiving(self) -> bool:
        """Whether an object has begun and not ended."""
        return self._command is not None

    def command(self, context_id: int, command: CStoreRQ) -> None:
        """Begin an object."""
        context = self._protocol.contexts[context_id]
        self._command = command
        self._context_id = context_id
        self._transfer_syntax_uid = context.transfer_syntax
        self._body = self._refusal = self._status = None
        if context.abstract_syntax != command.affected_sop_class_uid:
            self._refusal = Refusal(
                statuses.SOP_CLASS_NOT_SUPPORTED, "the SOP class is not the presentation context's"
            )
            self._scan = None
        else:
            self._scan = HeaderScan(context.transfer_syntax)

    def fragment(self, data: memoryview, is_last: bool) -> None:
        """Take a part of the object."""
        if self._scan is not None:
            if self._scan.feed(data) or is_last:
                self._identify(self._scan)
        elif self._body is not None:
            self._pieces.append(data)
        if is_last:
            self._finish()

    def read_ended(self) -> None:
        """Deliver what one read brought, in one piece."""
        if self._pieces and self._body is not None:
            pieces, self._pieces = self._pieces, []
            self._body.put(pieces, sum(map(len, pieces)))

    def lost(self, reason: HarmonyError) -> None:
        """Fail the object that is under way."""
        self._pieces = []
        if self._body is not None:
            self._body.fail(reason)
        self._body = self._command = self._scan = None

    def _identify(self, scan: HeaderScan) -> None:
        self._scan = None
        command = self._command
        if command is None:
            raise PeerError("a data set arrived without its C-STORE-RQ", reason=2)
        values = scan.values
        body: Feed[Pieces] = Feed(limit=DATA_SET_WINDOW, flow=self._protocol.valve.flow())
        instance = Instance(
            sop_class_uid=command.affected_sop_class_uid,
            sop_instance_uid=command.affected_sop_instance_uid,
            transfer_syntax_uid=self._transfer_syntax_uid,
            data_set=body,
            study_instance_uid=values.get("StudyInstanceUID", ""),
            series_instance_uid=values.get("SeriesInstanceUID", ""),
            source_ae_title=self._source_ae_title,
            leading=values,
        )
        scanned_uid = values.get("SOPInstanceUID", "")
        if scanned_uid and scanned_uid != command.affected_sop_instance_uid:
            self._refusal = Refusal(
                statuses.IDENTIFIER_DOES_NOT_MATCH, "the data set's SOP Instance UID is not the command's"
            )
            return
        decision = self._admit(command, instance)
        if isinstance(decision, Refusal):
            self._refusal = decision
            return
        self._status = decision.status
        if decision.instances.done:
            return
        self._body = body
        decision.instances.put(instance)
        self._pieces = list(scan.gathered)

    def _finish(self) -> None:
        command, body, refusal, status = self._command, self._body, self._refusal, self._status
        if command is None:
            return
        self.read_ended()
        self._command = self._body = self._status = None
        self._pieces = []
        context_id = self._context_id
        if body is not None:
            body.end()
        if refusal is not None:
            self._respond(context_id, command, refusal.status, refusal.detail)
        elif status is None:
            self._respond(context_id, command, statuses.SUCCESS)
        else:
            status.addCallback(lambda value: self._respond(context_id, command, value))

    def _respond(self, context_id: int, command: CStoreRQ, status: int, detail: str = "") -> None:
        if self._protocol.is_closed:
            return
        self._protocol.send(
            context_id,
            CStoreRSP(
                message_id_being_responded_to=command.message_id,
                affected_sop_class_uid=command.affected_sop_class_uid,
                affected_sop_instance_uid=command.affected_sop_instance_uid,
                status=status,
                error_comment=detail[:MAX_ERROR_COMMENT],
            ),
        )
