"""The backend itself: its pool, its model of the PACS, and how each operation is carried out."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from zope.interface import implementer

from harmonygw import journal
from harmonygw.backends.dicom_scu.attempts import Attempts, useless
from harmonygw.backends.dicom_scu.commitment import Commitments
from harmonygw.backends.dicom_scu.expectation import Expectations
from harmonygw.backends.dicom_scu.finding import PACSMatches, identifier
from harmonygw.backends.dicom_scu.incoming import IncomingStore, is_shared
from harmonygw.backends.dicom_scu.information_models import PATIENT_ROOT, STUDY_ROOT, InformationModel
from harmonygw.backends.dicom_scu.moving import move_elsewhere
from harmonygw.backends.dicom_scu.patient_root import PatientRootMatches
from harmonygw.backends.dicom_scu.re_encoding import ReEncoding
from harmonygw.backends.dicom_scu.requesting import Requesting, incoming_tls
from harmonygw.backends.dicom_scu.retrieval import ALWAYS_WHOLE, Retrieval
from harmonygw.backends.dicom_scu.storing import Storage
from harmonygw.config.backend_options import DicomSCUOptions
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commitment import STORAGE_COMMITMENT, Report
from harmonygw.dicom.dimse.statuses import describe
from harmonygw.dicom.upperlayer.negotiation import AssociateRQ
from harmonygw.errors import (
    ConfigurationError,
    HarmonyError,
    Incomplete,
    NotAcceptable,
    RejectedError,
    TransportError,
)
from harmonygw.exchange import Record, Reply, Request
from harmonygw.net.association.destination import MoveDestination, Unclaimed
from harmonygw.net.association.pool import AssociationPool, PoolLimits
from harmonygw.net.association.requestor import MODALITY_WORKLIST_FIND, VERIFICATION, Association
from harmonygw.net.http.credentials import credentials
from harmonygw.operations import (
    CheckCommitment,
    Commitment,
    Echo,
    Find,
    FindWorklist,
    Level,
    Matches,
    Move,
    MoveResult,
    Operation,
    RequestCommitment,
    Retrieve,
    Store,
)
from harmonygw.pipeline import Context, IBackend
from harmonygw.streams import Instance, Match

T = TypeVar("T")

LITERAL_MATCHING = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
"""What a client is told when fuzzy matching was not negotiated (PS3.18 §8.3.4.2)."""

MAX_ROWS = 20_000
"""Rows gathered of a C-FIND that prepares or checks a retrieval: the instances of a series, at most."""

CONCURRENT_QUERIES_FROM = 4
"""Associations from which on the queries before a retrieval are sent at the same time. With fewer, two for queries
leave one place: associations for retrievals would be closed and opened again in turn."""


@implementer(IBackend)
class DicomSCU:
    """A PACS behind one association pool."""

    def __init__(self, context: Context) -> None:
        options: DicomSCUOptions = context.options
        settings = context.settings
        name = settings.authentication or ""
        own = credentials(name, context.configuration.authentications.get(name))
        self._name = context.name
        self._target = settings.target or context.name
        self._called_ae_title = settings.called_ae_title
        self._options = options
        self._all_commitments = context.commitments
        self._requesting = Requesting(settings, own, context.reactor)
        self.certificates: list[Any] = [self._requesting] if settings.use_tls else []
        """What is read again when certificates are; none without TLS."""
        self.pool = AssociationPool(
            self._requesting.open,
            context.reactor,
            PoolLimits(
                max_associations=options.max_associations,
                idle_secs=options.idle_association_secs,
                queue_secs=options.queue_timeout_secs,
                max_waiting=options.max_waiting,
                max_retries=settings.max_retries,
            ),
            echo_rq=self._requesting.verification_rq(),
        )
        self._models = {"study": (STUDY_ROOT,), "patient": (PATIENT_ROOT,)}.get(
            options.information_model, (STUDY_ROOT, PATIENT_ROOT)
        )
        self._model: InformationModel | None = self._models[0] if len(self._models) == 1 else None
        self._relational: bool | None = None
        self._fuzzy: bool | None = None
        self.destination = MoveDestination(options.local_aet, context.reactor, on_unclaimed=self._unclaimed)
        self.commitments = Commitments(settings.called_ae_title, context.reactor, wait=options.commitment_wait_secs)
        self.incoming_store_port = options.incoming_store_port
        """Where instances of its moves come in, as it is configured."""
        self._incoming: IncomingStore | None = None
        self._expectations = Expectations(
            context.reactor, concurrently=options.max_associations >= CONCURRENT_QUERIES_FROM
        )
        if options.incoming_store_port is not None and not is_shared(
            options.incoming_store_port, context.configuration
        ):
            tls = incoming_tls(settings, own) if settings.use_tls else None
            if tls is not None:
                self.certificates.append(tls)
            self._incoming = IncomingStore(
                options,
                self.destination,
                self._take_report,
                context.reactor,
                tls=tls,
                ports=context.ports,
                place=f"backends.{context.name}",
                others=partial(context.destinations, options.incoming_store_port),
            )
        self._re_encoding = ReEncoding(options, context.reactor)
        self._storage = Storage(
            self.pool, self._requesting, self._re_encoding, context.reactor, stall_secs=options.store_stall_secs
        )
        self._attempts = Attempts(self.pool, self._requesting, options, self.destination, self._incoming)

    @staticmethod
    def foundation(context: Context) -> object:
        """Return what a backend is built from; the files of its certificates are read again at every reload."""
        settings, configuration = context.settings, context.configuration
        port = settings.options.incoming_store_port
        own = configuration.authentications.get(settings.authentication or "")
        return settings, own, port is not None and is_shared(port, configuration)

    # The backend's life

    def start(self) -> None:
        """Listen for what C-MOVEs bring, when a port is configured for it and no endpoint shares it."""
        if self._incoming is not None:
            self._incoming.start()

    async def drain(self) -> None:
        """Let the associations end on which instances came; returns when they have."""
        if self._incoming is not None:
            await self._incoming.drain()

    async def stop(self) -> None:
        """Abort what is still open."""
        self.pool.abort()
        if self._incoming is not None:
            await self._incoming.stop()
        await self._re_encoding.stop()

    def state(self) -> dict[str, object]:
        """Describe the target."""
        return {
            "target": self._target,
            "called_ae_title": self._called_ae_title,
            "ready": not self.pool.circuit.is_open,
            "information_model": self._model.name if self._model is not None else "not known yet",
            "retrieve": {True: "C-GET", False: "C-MOVE", None: "not known yet"}[self._attempts.get_works],
            "without_bulk_data": self._attempts.without_bulk_data,
            "relational_queries": self._relational,
            "fuzzy_matching": self._fuzzy,
            "incoming_store_port": self._incoming.port if self._incoming is not None else None,
            "moves_under_way": self.destination.under_way,
            "commitments_pending": self.commitments.pending,
            "transcoding": self._re_encoding.state(),
            **self.pool.state(),
        }

    async def respond(self, request: Request) -> Reply:
        """Carry an operation out."""
        request.record.target = self._name
        try:
            return await self._carry_out(request, request.operation)
        except HarmonyError as error:
            raise self._named(request, error) from error.__cause__

    async def _carry_out(self, request: Request, operation: Operation | None) -> Reply:
        match operation:
            case Echo():
                await self._echo(request)
                return Reply()
            case Find():
                return Reply(result=await self._find(request, operation))
            case Retrieve():
                return Reply(result=self._watched(request, await self._retrieve(request, operation)))
            case Move():
                return Reply(result=await self._move(request, operation))
            case Store():
                return Reply(result=await self._storage.begin(request, operation, partial(self._named, request)))
            case FindWorklist():
                return Reply(result=await self._find_worklist(request, operation))
            case RequestCommitment():
                return Reply(result=await self._request_commitment(request, operation))
            case CheckCommitment():
                return Reply(result=self.commitments.check(request, operation))
            case None:
                raise ConfigurationError(
                    (f"backends.{self._name}: no middleware of its pipeline makes operations (dicomweb_bridge)",)
                )

    async def _watched(self, request: Request, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Pass a result on; what goes wrong after the reply is told as what goes wrong before it."""
        try:
            async with aclosing(items):
                async for item in items:
                    yield item
        except HarmonyError as error:
            raise self._named(request, error) from error.__cause__

    def _named(self, request: Request, error: HarmonyError) -> HarmonyError:
        """Return the error with the target's name before its sentence; what a retrieval expected is forgotten."""
        if isinstance(request.operation, Retrieve):
            self._expectations.forget(request.operation.study_instance_uid)
        if isinstance(error, RejectedError) and error.status is not None:
            request.record.dimse_status = error.status
        error.args = (f"{self._target}: {error.detail}",)
        return error

    # Echo and Find

    async def _echo(self, request: Request) -> None:
        association = await self._acquire(request, self._requesting.query_rq(self._models), light=True)
        try:
            if not association.contexts_for(VERIFICATION):
                raise useless(association, VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN)
            status = await association.echo()
        finally:
            self.pool.give_back(association)
        request.record.dimse_status = status
        if status != statuses.SUCCESS:
            raise RejectedError(f"C-ECHO failed with status {describe(status)}", status=status)

    async def _find(self, request: Request, find: Find) -> Matches:
        model = await self._information_model(request)
        if model is PATIENT_ROOT and find.level is not Level.PATIENT:
            await self._learn_queries(request)
            if not self._relational:
                self._refuse_relational(find)
                return PatientRootMatches(find, partial(self._find_in, request, model))
            find = replace(find, relational=True)
        elif model is STUDY_ROOT and find.level is Level.PATIENT:
            return await self._find_patients(request, find)
        return await self._find_in(request, model, find)

    async def _find_patients(self, request: Request, find: Find) -> Matches:
        """Ask for patients an archive that is asked in Study Root, which has no such level: in Patient Root."""
        association = await self._acquire(request, self._requesting.query_rq((PATIENT_ROOT,)), light=True)
        try:
            if not association.contexts_for(PATIENT_ROOT.find):
                raise NotAcceptable("the archive has no Patient Root, and Study Root has no PATIENT level")
            operation = association.find(PATIENT_ROOT.find, identifier(find))
        finally:
            self.pool.give_back(association)
        matches = PACSMatches(operation, request.record)
        await matches.begin()
        return matches

    async def _find_in(self, request: Request, model: InformationModel, find: Find) -> Matches:
        if self._relational is False:
            self._refuse_relational(find)
        rq = self._requesting.query_rq(self._models, fuzzy=find.fuzzy_matching and self._fuzzy is not False)
        for fresh in (False, True):
            association = await self._acquire(request, rq, light=True, fresh=fresh)
            try:
                self._learn(association, rq)
                if not self._relational:
                    self._refuse_relational(find)
                operation = association.find(model.find, identifier(find))
            finally:
                self.pool.give_back(association)
            matches = PACSMatches(operation, request.record)
            try:
                await matches.begin()
                break
            except TransportError:
                if fresh:
                    raise
                request.record.note("the association was lost before the first answer; tried once more")
        if find.fuzzy_matching and not self._fuzzy:
            matches.warnings.append(LITERAL_MATCHING)
        return matches

    @staticmethod
    def _refuse_relational(find: Find) -> None:
        if find.relational:
            raise NotAcceptable("the archive has no relational queries")

    async def _rows(self, request: Request, find: Find) -> list[Match]:
        rows: list[Match] = []
        quiet = replace(request, record=Record())
        async with aclosing(await self._find(quiet, find)) as matches:
            async for match in matches:
                if len(rows) == MAX_ROWS:
                    raise Incomplete(f"the archive answered a query with more than {MAX_ROWS} rows (MAX_ROWS)")
                rows.append(match)
        return rows

    async def _information_model(self, request: Request) -> InformationModel:
        return self._model or await self._learn_queries(request)

    async def _learn_queries(self, request: Request) -> InformationModel:
        """Find out which information model the archive has, and whether relational queries."""
        if self._model is None or self._relational is None:
            rq = self._requesting.query_rq(self._models)
            association = await self._acquire(request, rq, light=True)
            try:
                return self._learn(association, rq)
            finally:
                self.pool.give_back(association)
        return self._model

    def _learn(self, association: Association, rq: AssociateRQ) -> InformationModel:
        model = next((one for one in self._models if association.contexts_for(one.find)), None)
        if model is None:
            classes = " or ".join(one.find for one in self._models)
            raise useless(association, classes, f"{EXPLICIT_VR_LITTLE_ENDIAN} or {IMPLICIT_VR_LITTLE_ENDIAN}")
        # SOP Class Extended Negotiation for Query/Retrieve, PS3.4 §C.5.1.1: one byte each for relational
        # queries, combined date-time matching, fuzzy matching and time zone adjustment.
        answer = association.extended_negotiation(model.find)
        self._model = model
        self._relational = answer[:1] == b"\x01"
        if len(rq.extended_negotiation[model.find]) > 2:
            self._fuzzy = answer[2:3] == b"\x01"
        return model

    # Retrieve

    async def _retrieve(self, request: Request, retrieve: Retrieve) -> AsyncGenerator[Instance, None]:
        search = partial(self._rows, request)
        model = await self._information_model(request)
        expectation = await self._expectations.expect(search, retrieve, patient_root=model is PATIENT_ROOT)
        if model is PATIENT_ROOT:
            if not expectation.patient.patient_id:
                raise NotAcceptable("the study has no Patient ID, and the archive is asked in Patient Root")
            retrieve = replace(retrieve, patient_id=expectation.patient.patient_id)
        without = retrieve.without_bulk_data and self._attempts.without_bulk_data is not False
        if not without and not retrieve.whole_otherwise:
            raise NotAcceptable(ALWAYS_WHOLE)
        return Retrieval(
            retrieve,
            expectation,
            partial(self._attempts.begin, request, model),
            search,
            request.record,
            default_character_set=self._requesting.default_character_set,
            lossy_with_others=self._options.lossy_contexts == "with_others",
            begin_without_bulk_data=partial(self._attempts.begin_without_bulk_data, request) if without else None,
            forget=partial(self._expectations.forget, retrieve.study_instance_uid),
        ).instances()

    async def _move(self, request: Request, move: Move) -> MoveResult:
        if move.destination == self._options.local_aet:
            raise NotAcceptable("the gateway itself is no destination of a move to somebody else (local_aet)")
        model = await self._information_model(request)
        if model is PATIENT_ROOT and not move.patient_id:
            raise NotAcceptable("the archive is asked in Patient Root, where a move names the patient (PatientID)")
        return await move_elsewhere(self.pool, self._requesting, request, model, move)

    # Worklist and commitment

    async def _find_worklist(self, request: Request, find: FindWorklist) -> Matches:
        association = await self._acquire(request, self._requesting.worklist_rq(), light=True)
        try:
            _require(association, MODALITY_WORKLIST_FIND)
            operation = association.find(MODALITY_WORKLIST_FIND, find.identifier)
        finally:
            self.pool.give_back(association)
        matches = PACSMatches(operation, request.record)
        await matches.begin()
        return matches

    async def _request_commitment(self, request: Request, wanted: RequestCommitment) -> Commitment:
        association = await self._acquire(request, self._requesting.commitment_rq(), light=True)
        try:
            _require(association, STORAGE_COMMITMENT)
            return await self.commitments.request(request, wanted, association)
        finally:
            self.pool.discard(association)

    # Associations

    async def _acquire(self, request: Request, rq: AssociateRQ, *, light: bool, fresh: bool = False) -> Association:
        return await self.pool.acquire(rq, client=request.client, light=light, deadline=request.deadline, fresh=fresh)

    # What a C-MOVE brings, and a commitment

    def _take_report(self, peer_ae_title: str, report: Report) -> int:
        """Take a report; one of a transaction that another backend of ours knows is for that."""
        knowing = (one for one in self._all_commitments() if one.knows(report.transaction_uid))
        status: int = next(knowing, self.commitments).take(peer_ae_title, report)
        return status

    def _unclaimed(self, unclaimed: Unclaimed) -> None:
        title = unclaimed.calling_ae_title
        sentence = f"{self._name} refused an instance that nobody asked for, from {title}: {unclaimed.sop_instance_uid}"
        journal.alert(journal.Alert("unsolicited_object", sentence, title))


def _require(association: Association, sop_class_uid: str) -> None:
    """Raise what an archive that lacks a service deserves."""
    if not association.contexts_for(sop_class_uid):
        raise useless(association, sop_class_uid, f"{EXPLICIT_VR_LITTLE_ENDIAN} or {IMPLICIT_VR_LITTLE_ENDIAN}")
