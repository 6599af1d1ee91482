"""Beginning C-GETs and C-MOVEs: which of them the archive has, and the association that each one takes."""

from functools import partial
from typing import Any

from harmonygw.backends.dicom_scu import contexts
from harmonygw.backends.dicom_scu.incoming import IncomingStore
from harmonygw.backends.dicom_scu.information_models import PATIENT_ROOT, WITHOUT_BULK_DATA_GET, InformationModel
from harmonygw.backends.dicom_scu.requesting import Requesting
from harmonygw.backends.dicom_scu.retrieval import Attempt, NoContextError, NotOfferedError
from harmonygw.config.backend_options import DicomSCUOptions
from harmonygw.dicom.dataset.transfer_syntaxes import IMPLICIT_VR_LITTLE_ENDIAN
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.upperlayer.negotiation import TRANSFER_SYNTAXES_NOT_SUPPORTED, AssociateRQ, ProposedContext
from harmonygw.errors import NotAcceptable, RejectedError
from harmonygw.exchange import Request
from harmonygw.net.association.destination import MoveDestination
from harmonygw.net.association.pool import AssociationPool
from harmonygw.net.association.receiving import Admit
from harmonygw.net.association.requestor import Association
from harmonygw.operations import Level, Move, Retrieve


class Attempts:
    """The retrievals that one archive has, learnt from what it negotiates."""

    def __init__(
        self,
        pool: AssociationPool,
        requesting: Requesting,
        options: DicomSCUOptions,
        destination: MoveDestination,
        incoming: IncomingStore | None,
    ) -> None:
        self._pool = pool
        self._requesting = requesting
        self._options = options
        self._destination = destination
        self._incoming = incoming
        self.get_works: bool | None = None if options.dimse_retrieve_mode == "auto" else options.may_get
        """Whether it has C-GET; None while that is not known."""
        may_strip = options.may_get and options.retrieve_without_bulk_data == "auto"
        self.without_bulk_data: bool | None = None if may_strip else False
        """Whether it has Composite Instance Retrieve Without Bulk Data, and may be asked; None while not known."""

    async def begin(
        self,
        request: Request,
        model: InformationModel,
        retrieve: Retrieve,
        classes: tuple[str, ...],
        transfer_syntaxes: tuple[str, ...],
        admit: Admit,
        fresh: bool,
    ) -> Attempt:
        """Begin a C-GET for these SOP classes and transfer syntaxes, or a C-MOVE when the archive has no C-GET.

        Raises `RejectedError` when it has neither, or not the one that is named, `NoContextError` when it accepts no
        storage presentation context, and what a lease of an association raises.
        """
        get = partial(
            self._get, request, model.get, unique_keys(model, retrieve), classes, transfer_syntaxes, admit, fresh
        )
        if retrieve.service == "get":
            return await get()
        if not retrieve.service and self.get_works is not False:
            try:
                attempt = await get()
            except NoContextError:
                self.get_works = True
                raise
            except NotOfferedError:
                if not self._options.may_move:
                    raise
                self.get_works = False
            else:
                self.get_works = True
                return attempt
        return await self._move(request, model, retrieve, admit, fresh)

    async def begin_without_bulk_data(
        self,
        request: Request,
        retrieve: Retrieve,
        classes: tuple[str, ...],
        transfer_syntaxes: tuple[str, ...],
        admit: Admit,
        fresh: bool,
    ) -> Attempt:
        """Begin a C-GET of the listed instances without their bulk data (PS3.4 §Z.4.2); raises what `begin` does."""
        keys = {
            "00080052": {"vr": "CS", "Value": [Level.IMAGE.value]},
            "00080018": {"vr": "UI", "Value": list(retrieve.sop_instance_uids)},
        }
        try:
            attempt = await self._get(request, WITHOUT_BULK_DATA_GET, keys, classes, transfer_syntaxes, admit, fresh)
        except NotOfferedError:
            self.without_bulk_data = False
            raise
        self.without_bulk_data = attempt.without_bulk_data = True
        return attempt

    async def _get(
        self,
        request: Request,
        sop_class_uid: str,
        keys: dict[str, Any],
        classes: tuple[str, ...],
        transfer_syntaxes: tuple[str, ...],
        admit: Admit,
        fresh: bool,
    ) -> Attempt:
        proposed = contexts.propose(classes, transfer_syntaxes, taken=1)
        rq = self._requesting.rq(ProposedContext(1, sop_class_uid, (IMPLICIT_VR_LITTLE_ENDIAN,)), *proposed)
        association = await self._acquire(request, rq, fresh)
        try:
            if not association.contexts_for(sop_class_uid):
                refusal = useless(association, f"{sop_class_uid} (C-GET)", IMPLICIT_VR_LITTLE_ENDIAN)
                raise NotOfferedError(refusal.detail, status=refusal.status)
            if len(association.protocol.contexts) == 1:
                raise _no_context(association, classes, transfer_syntaxes)
            operation = association.get(sop_class_uid, keys, admit=admit)
        finally:
            self._pool.give_back(association)
        return Attempt(operation.instances, lambda: operation.outcome, operation.cancel)

    async def _move(
        self, request: Request, model: InformationModel, retrieve: Retrieve, admit: Admit, fresh: bool
    ) -> Attempt:
        if self._options.incoming_store_port is None:
            raise NotAcceptable("there is no port for what a C-MOVE to the gateway brings (incoming_store_port)")
        rq = self._requesting.rq(ProposedContext(1, model.move, (IMPLICIT_VR_LITTLE_ENDIAN,)))
        association = await self._acquire(request, rq, fresh)
        try:
            if not association.contexts_for(model.move):
                raise useless(association, f"{model.move} (C-MOVE)", IMPLICIT_VR_LITTLE_ENDIAN)
            move = self._destination.expect(retrieve.study_instance_uid, admit, grace=self._options.move_grace_secs)
            try:
                if self._incoming is not None:
                    await self._incoming.move_begins(move)
                operation = association.move(
                    model.move,
                    unique_keys(model, retrieve),
                    destination=self._options.local_aet,
                    message_id=move.message_id,
                    on_final=move.final,
                )
            except BaseException as error:
                move.cancel(error)
                raise
            move.begun(operation)
        finally:
            self._pool.give_back(association)
        return Attempt(move.instances, move.outcome, move.cancel, contexts_are_ours=False)

    async def _acquire(self, request: Request, rq: AssociateRQ, fresh: bool) -> Association:
        return await self._pool.acquire(rq, client=request.client, light=False, deadline=request.deadline, fresh=fresh)


def useless(association: Association, sop_classes: str, transfer_syntaxes: str) -> RejectedError:
    """Abort an association on which what is needed was not accepted, so that nobody takes it again; say so."""
    refusal = RejectedError(
        f"the archive accepted no presentation context for SOP class {sop_classes} in transfer syntax "
        f"{transfer_syntaxes}",
        status=statuses.SOP_CLASS_NOT_SUPPORTED,
    )
    association.abort(refusal)
    return refusal


def _no_context(association: Association, classes: tuple[str, ...], syntaxes: tuple[str, ...]) -> NoContextError:
    acceptance = association.protocol.acceptance
    results = {one.result for one in acceptance.contexts} if acceptance is not None else set()
    refusal = useless(association, _enumerated(classes, 3), _enumerated(syntaxes, 4))
    return NoContextError(refusal.detail, for_syntax=TRANSFER_SYNTAXES_NOT_SUPPORTED in results)


def _enumerated(uids: tuple[str, ...], most: int) -> str:
    others = len(uids) - most
    return " or ".join(uids[:most]) + (f" or {others} others" if others > 0 else "")


def unique_keys(model: InformationModel, retrieve: Retrieve | Move) -> dict[str, Any]:
    """Return the identifier of a C-GET or C-MOVE: the level, and the unique keys down to it (PS3.4 §C.4.2.1.4)."""
    keys: dict[str, Any] = {
        "00080052": {"vr": "CS", "Value": [retrieve.level.value]},
        "0020000D": {"vr": "UI", "Value": [retrieve.study_instance_uid]},
    }
    if model is PATIENT_ROOT:
        keys["00100020"] = {"vr": "LO", "Value": [retrieve.patient_id]}
    if retrieve.level is not Level.STUDY:
        keys["0020000E"] = {"vr": "UI", "Value": [retrieve.series_instance_uid]}
    if retrieve.level is Level.IMAGE:
        keys["00080018"] = {"vr": "UI", "Value": list(retrieve.sop_instance_uids)}
    return keys
