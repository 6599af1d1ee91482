"""C-STORE requests into instances: each object's fragments flow on as they arrive, once its identity is known.

Used by both roles: a C-GET's sub-operations arrive on the association that asked for them, a C-MOVE's on one that
the PACS opens. Leading attributes are scanned (64 KB at most) before the first byte is released, so that what goes
out is what was asked for; from then on nothing is parsed and nothing is copied.

An object is refused by its C-STORE-RSP, at its end, and the association lives on: its data set is framed by PDUs, so
nonsense inside it does no harm to what follows.
"""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from harmonygw.alerts import Alert, alert
from harmonygw.dicom.dataset.header_scan import HEADER_SCAN_LIMIT, HeaderScan
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import CStoreRQ, CStoreRSP
from harmonygw.errors import HarmonyError, PeerError, TooLarge
from harmonygw.net.association.protocol import READ_SIZE, AssociationProtocol
from harmonygw.net.association.valve import Valve
from harmonygw.streams import Feed, Instance, Piece, Pieces

DATA_SET_WINDOW = READ_SIZE
"""Bytes of one object that may wait for its reader before its association is paused: one read of the socket."""

PIECE_COST = 256
"""Bytes that a fragment counts at least while it waits for its reader: as many as the object around it takes."""


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
    through: Callable[[Valve, Feed[Pieces]], None] | None = None
    """Told, before the object is put into `instances`, the valve of its association and its data set: who reads from
    several associations slows each down by its own."""


Admit = Callable[[CStoreRQ, Instance], Admission | Refusal]
"""Decides, once an object's identity is known, which stream it belongs to, or why to none."""


class InstanceReceiver:
    """The C-STORE sub-operations of one association, one after another.

    `on_malformed` is told of each object that is refused because its header cannot be read, or does not tell its
    study: nobody has admitted that one. `max_object_bytes` is the longest data set that is taken, in bytes, 0 for any.
    """

    def __init__(
        self,
        protocol: AssociationProtocol,
        admit: Admit,
        *,
        source_ae_title: str,
        receiving_ae_title: str,
        on_malformed: Callable[[CStoreRQ, PeerError], None] | None = None,
        max_object_bytes: int = 0,
    ) -> None:
        self._protocol = protocol
        self._admit = admit
        self._source_ae_title = source_ae_title
        self._receiving_ae_title = receiving_ae_title
        self._on_malformed = on_malformed
        self._max_object_bytes = max_object_bytes
        self._size = 0
        self._command: CStoreRQ | None = None
        self._context_id = 0
        self._scan: HeaderScan | None = None
        self._body: Feed[Pieces] | None = None
        self._pieces: list[Piece] = []
        self._refusal: Refusal | None = None
        self._status: Deferred[int] | None = None
        self.receiving = False
        """Whether an object has begun and not ended."""
        self.refused = 0
        """How many objects were not taken."""

    def command(self, context_id: int, command: CStoreRQ) -> None:
        """Begin an object."""
        context = self._protocol.contexts[context_id]
        self._command = command
        self._context_id = context_id
        self.receiving = True
        if context.abstract_syntax == command.affected_sop_class_uid:
            self._scan = HeaderScan(context.transfer_syntax)
        else:
            self._refusal = Refusal(statuses.SOP_CLASS_NOT_SUPPORTED, "the SOP class is not the presentation context's")

    def fragment(self, data: memoryview, is_last: bool) -> None:
        """Take a part of the object."""
        self._size += len(data)
        if 0 < self._max_object_bytes < self._size:
            self._refuse_large()
        elif self._body is not None:
            if data:
                self._pieces.append(data)
        elif self._scan is not None:
            self._look_at(self._scan, data, is_last)
        if is_last:
            self._finish()

    def read_ended(self) -> None:
        """Deliver what one read brought, in one piece."""
        if self._pieces and self._body is not None:
            pieces, self._pieces = self._pieces, []
            self._body.put(pieces, max(sum(map(len, pieces)), PIECE_COST * len(pieces)))

    def drop(self, reason: BaseException) -> None:
        """Take the rest of the object under way, and drop it."""
        self._pieces = []
        body, self._body = self._body, None
        if body is not None:
            body.abort(reason)

    def lost(self, reason: HarmonyError) -> None:
        """Fail the object that is under way."""
        body = self._body
        self._reset()
        if body is not None:
            body.fail(reason)

    def _refuse_large(self) -> None:
        """Fail the object, whose response says why at its end."""
        detail = f"the object exceeds {self._max_object_bytes} bytes (max_object_bytes)"
        self._scan = None
        self._pieces = []
        body, self._body = self._body, None
        if self._status is None:
            self._refusal = self._refusal or Refusal(statuses.OUT_OF_RESOURCES, detail)
        if body is not None:
            # Who sends it to be stored has asked for too much; an archive that was asked has answered wrong.
            body.fail(TooLarge(detail) if self._status is not None else PeerError(detail, source=0))

    def _look_at(self, scan: HeaderScan, data: memoryview, is_last: bool) -> None:
        try:
            if not scan.feed(data) and is_last:
                scan.end()
            if scan.truncated and "StudyInstanceUID" not in scan.values:
                raise PeerError(
                    f"an object has no StudyInstanceUID in its first {HEADER_SCAN_LIMIT} bytes (HEADER_SCAN_LIMIT)",
                    source=0,
                )
        except PeerError as error:
            self._refuse_malformed(error)
        else:
            if scan.done:
                self._identify(scan)

    def _refuse_malformed(self, error: PeerError) -> None:
        self._scan = None
        self._refusal = Refusal(statuses.CANNOT_UNDERSTAND, error.detail)
        # Not in its own words: what stands where a UID should may be anything, a name too.
        title = self._source_ae_title
        alert(Alert("hostile_bytes", f"an object from {title} was refused, whose header cannot be read", title))
        if self._on_malformed is not None and self._command is not None:
            self._on_malformed(self._command, error)

    def _identify(self, scan: HeaderScan) -> None:
        self._scan = None
        command = self._command
        if command is None:
            return
        values = scan.values
        if values.get("SOPClassUID", "") not in ("", command.affected_sop_class_uid):
            self._refusal = Refusal(
                statuses.DATA_SET_DOES_NOT_MATCH, "the data set's SOP Class UID is not the command's"
            )
            return
        if values.get("SOPInstanceUID", "") not in ("", command.affected_sop_instance_uid):
            self._refusal = Refusal(
                statuses.DATA_SET_DOES_NOT_MATCH, "the data set's SOP Instance UID is not the command's"
            )
            return
        body: Feed[Pieces] = Feed(limit=DATA_SET_WINDOW, flow=self._protocol.valve.flow())
        instance = Instance(
            sop_class_uid=command.affected_sop_class_uid,
            sop_instance_uid=command.affected_sop_instance_uid,
            transfer_syntax_uid=self._protocol.contexts[self._context_id].transfer_syntax,
            data_set=body,
            study_instance_uid=values.get("StudyInstanceUID", ""),
            series_instance_uid=values.get("SeriesInstanceUID", ""),
            source_ae_title=self._source_ae_title,
            receiving_ae_title=self._receiving_ae_title,
            leading=values,
        )
        decision = self._admit(command, instance)
        if isinstance(decision, Refusal):
            self._refusal = decision
            return
        self._status = decision.status
        if decision.instances.done:
            return
        self._body = body
        self._pieces = scan.gathered
        if decision.through is not None:
            decision.through(self._protocol.valve, body)
        decision.instances.put(instance)

    def _finish(self) -> None:
        command, body, refusal, status = self._command, self._body, self._refusal, self._status
        if command is None:
            return
        context_id = self._context_id
        # The response goes first: while the last bytes flow on to the reader, the peer begins the next object.
        if refusal is not None:
            self.refused += 1
            self._respond(context_id, command, refusal.status, refusal.detail)
        elif status is None:
            self._respond(context_id, command, statuses.SUCCESS)
        self.read_ended()
        self._reset()
        if body is not None:
            body.end()
        if refusal is None and status is not None:
            status.addErrback(_could_not_be_kept)
            status.addCallback(lambda value: self._respond(context_id, command, value))

    def _reset(self) -> None:
        self._command = self._scan = self._body = self._refusal = self._status = None
        self._pieces = []
        self._size = 0
        self.receiving = False

    def _respond(self, context_id: int, command: CStoreRQ, status: int, detail: str = "") -> None:
        self._protocol.send(
            context_id,
            CStoreRSP(
                command.message_id,
                command.affected_sop_class_uid,
                command.affected_sop_instance_uid,
                status,
                detail,
            ),
        )


def _could_not_be_kept(failure: Failure) -> int:
    return statuses.OUT_OF_RESOURCES
