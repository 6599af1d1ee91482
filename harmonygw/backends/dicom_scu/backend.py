"""The backend itself: its pool, its model of the PACS, and how each operation is carried out."""

from contextlib import aclosing
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from zope.interface import implementer

from harmonygw.backends.dicom_scu import contexts
from harmonygw.backends.dicom_scu.finding import PACSMatches, identifier
from harmonygw.backends.dicom_scu.retrieval import Attempt, NoContextError, Retrieval, expect
from harmonygw.dicom.dataset.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.statuses import describe
from harmonygw.dicom.upperlayer.negotiation import AssociateRQ, ProposedContext, SupportedContext
from harmonygw.errors import (
    ConfigurationError,
    HarmonyError,
    NotAcceptable,
    RejectedError,
    TransportError,
)
from harmonygw.exchange import Reply, Request
from harmonygw.net.association.destination import MoveDestination, MoveStorageSCP, Unclaimed
from harmonygw.net.association.listener import BACKLOG, Acceptance, AssociationFactory
from harmonygw.net.association.operations import Outcome, Timing
from harmonygw.net.association.pool import AssociationPool, PoolLimits
from harmonygw.net.association.receiving import Admit
from harmonygw.net.association.requestor import VERIFICATION, Association
from harmonygw.operations import Echo, Find, Level, Operation, Retrieve, Store, StoreResult
from harmonygw.pipeline import Context, IBackend
from harmonygw.streams import Feed, Match, Stream

log = Logger()

STUDY_ROOT = {
    "find": "1.2.840.10008.5.1.4.1.2.2.1",
    "move": "1.2.840.10008.5.1.4.1.2.2.2",
    "get": "1.2.840.10008.5.1.4.1.2.2.3",
}
PATIENT_ROOT = {
    "find": "1.2.840.10008.5.1.4.1.2.1.1",
    "move": "1.2.840.10008.5.1.4.1.2.1.2",
    "get": "1.2.840.10008.5.1.4.1.2.1.3",
}

LITERAL_MATCHING = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
"""What a client is told when fuzzy matching was not negotiated (PS3.18 §8.3.4.2)."""

MAX_ROWS = 20_000
"""Rows gathered of a C-FIND that prepares a retrieval: the instances of a series, at most."""


@implementer(IBackend)
class DicomSCU:
    """A PACS behind one association pool."""

    def __init__(self, context: Context) -> None:
        options = context.options
        settings = context.settings
        if settings.use_tls:
            raise ConfigurationError((f"backends.{context.name}: TLS towards a PACS is not in this build yet",))
        self._name = context.name
        self._settings = settings
        self._options = options
        self._reactor = context.reactor
        self._model = PATIENT_ROOT if options.information_model == "patient" else STUDY_ROOT
        self._timing = Timing(first_answer=settings.timeout_secs, cancel_grace=options.cancel_grace_secs)
        self._endpoint = HostnameEndpoint(
            context.reactor, settings.host, settings.port, timeout=options.connect_timeout_secs
        )
        self.pool = AssociationPool(
            self._open,
            context.reactor,
            PoolLimits(
                max_associations=options.max_associations,
                idle_secs=options.idle_association_secs,
                queue_secs=options.queue_timeout_secs,
                max_retries=settings.max_retries,
            ),
            echo_rq=self._rq((ProposedContext(1, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,)),)),
        )
        self._get_works: bool | None = (
            None if options.dimse_retrieve_mode == "auto" else options.dimse_retrieve_mode == "get"
        )
        self._relational: bool | None = None
        self._fuzzy: bool | None = None
        self.destination = MoveDestination(options.local_aet, context.reactor, on_unclaimed=self._unclaimed)
        self._port_is_shared = any(
            address.port == options.incoming_store_port
            for endpoint in context.configuration.endpoints.values()
            for address in endpoint.addresses
        )
        self._store_scp: AssociationFactory | None = None
        self._port: IListeningPort | None = None

    # The backend's life

    def start(self) -> None:
        """Listen for what C-MOVEs bring, when a port is configured for it and no endpoint shares it."""
        port = self._options.incoming_store_port
        if port and not self._port_is_shared:
            self._store_scp = AssociationFactory(
                Acceptance(
                    ae_title=self._options.local_aet,
                    supported=self._storage_contexts(),
                    max_pdu_length=self._options.max_pdu,
                    association_timeout=self._options.association_timeout_secs,
                    silence_timeout=self._options.silence_timeout_secs,
                ),
                lambda factory, peer: MoveStorageSCP(factory, peer, self.destination),
                self._reactor,
            )
            self._port = self._reactor.listenTCP(port, self._store_scp, backlog=BACKLOG)

    async def stop(self) -> None:
        """Abort what is still open."""
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
            self._port = None
        if self._store_scp is not None:
            self._store_scp.stop()
        self.pool.abort()

    def state(self) -> dict[str, object]:
        """Describe the target."""
        return {
            "target": self._settings.target or self._name,
            "called_ae_title": self._settings.called_ae_title,
            "ready": not self.pool.circuit.is_open,
            "retrieve": {True: "C-GET", False: "C-MOVE", None: "not known yet"}[self._get_works],
            "relational_queries": self._relational,
            "fuzzy_matching": self._fuzzy,
            "moves_under_way": self.destination.under_way,
            **self.pool.state(),
        }

    async def respond(self, request: Request) -> Reply:
        """Carry an operation out."""
        request.record.target = self._name
        try:
            return await self._carry_out(request, request.operation)
        except CancelledError:
            raise
        except HarmonyError as error:
            if isinstance(error, RejectedError):
                request.record.dimse_status = error.status
            error.args = (f"{self._settings.target or self._name}: {error.detail}",)
            raise

    async def _carry_out(self, request: Request, operation: Operation | None) -> Reply:
        match operation:
            case Echo():
                await self._echo(request)
                return Reply()
            case Find():
                return Reply(result=await self._find(request, operation))
            case Retrieve():
                return Reply(result=await self._retrieve(request, operation))
            case Store():
                return Reply(result=await self._store(request, operation))
            case None:
                raise ConfigurationError(
                    (f"backends.{self._name}: no middleware of its pipeline makes operations (dicomweb_bridge)",)
                )

    # Echo and Find

    async def _echo(self, request: Request) -> None:
        association = await self._acquire(request, self._query_rq(), light=True)
        try:
            status = await association.echo()
        finally:
            self.pool.give_back(association)
        request.record.dimse_status = status
        if status != statuses.SUCCESS:
            raise RejectedError(f"C-ECHO failed with status {describe(status)}", status=status)

    async def _find(self, request: Request, find: Find) -> PACSMatches:
        if find.relational and self._relational is False:
            raise NotAcceptable("the archive has no relational queries")
        fuzzy = find.fuzzy_matching and self._fuzzy is not False
        rq = self._query_rq(fuzzy=fuzzy)
        try:
            matches = await self._find_once(request, find, rq)
        except TransportError:
            # An idle association may have died unnoticed; nothing has been answered yet.
            matches = await self._find_once(request, find, rq, fresh=True)
        if find.fuzzy_matching and not self._fuzzy:
            matches.warnings.append(LITERAL_MATCHING)
        return matches

    async def _find_once(self, request: Request, find: Find, rq: AssociateRQ, *, fresh: bool = False) -> PACSMatches:
        association = await self._acquire(request, rq, light=True, fresh=fresh)
        try:
            self._learn(association, fuzzy_asked=len(rq.extended_negotiation.get(self._model["find"], b"")) > 2)
            if find.relational and not self._relational:
                raise NotAcceptable("the archive has no relational queries")
            operation = association.find(self._model["find"], identifier(find))
        finally:
            self.pool.give_back(association)
        matches = PACSMatches(operation, request.record)
        await matches.begin()
        return matches

    async def _rows(self, request: Request, find: Find) -> list[Match]:
        rows: list[Match] = []
        async with aclosing(await self._find(request, find)) as matches:
            async for match in matches:
                rows.append(match)
                if len(rows) >= MAX_ROWS:
                    break
        return rows

    def _learn(self, association: Association, *, fuzzy_asked: bool) -> None:
        # SOP Class Extended Negotiation for Query/Retrieve, PS3.4 §C.5.1.1: one byte each for relational
        # queries, combined date-time matching, fuzzy matching and time zone adjustment.
        answer = association.extended_negotiation(self._model["find"])
        self._relational = answer[:1] == b"\x01"
        if fuzzy_asked:
            self._fuzzy = answer[2:3] == b"\x01"

    # Retrieve

    async def _retrieve(self, request: Request, retrieve: Retrieve) -> Stream[Any]:
        search = partial(self._rows, request)
        expectation = await expect(search, retrieve)
        retrieval = Retrieval(
            retrieve,
            expectation,
            partial(self._begin, request),
            search,
            request.record,
        )
        return retrieval.instances()

    async def _begin(
        self,
        request: Request,
        retrieve: Retrieve,
        classes: tuple[str, ...],
        transfer_syntaxes: tuple[str, ...],
        admit: Admit,
        fresh: bool,
    ) -> Attempt:
        if self._get_works is not False:
            try:
                return await self._get(request, retrieve, classes, transfer_syntaxes, admit, fresh=fresh)
            except _GetNotAcceptedError:
                if self._options.dimse_retrieve_mode == "get" or not self._options.incoming_store_port:
                    raise
                self._get_works = False
        return await self._move(request, retrieve, admit, fresh=fresh)

    async def _get(
        self,
        request: Request,
        retrieve: Retrieve,
        classes: tuple[str, ...],
        transfer_syntaxes: tuple[str, ...],
        admit: Admit,
        *,
        fresh: bool,
    ) -> Attempt:
        sop_class = self._model["get"]
        proposed = contexts.propose(classes, transfer_syntaxes, taken=1)
        rq = self._rq((ProposedContext(1, sop_class, (IMPLICIT_VR_LITTLE_ENDIAN,)), *proposed))
        association = await self._acquire(request, rq, light=False, fresh=fresh)
        try:
            if not association.contexts_for(sop_class):
                raise _GetNotAcceptedError("the archive accepts no C-GET", status=statuses.SOP_CLASS_NOT_SUPPORTED)
            self._get_works = True
            if len(association.protocol.contexts) == 1:
                raise NoContextError(
                    f"the archive accepted no presentation context for SOP class {' or '.join(classes[:3])} "
                    f"in transfer syntax {' or '.join(transfer_syntaxes[:4])}"
                )
            operation = association.get(sop_class, self._unique_keys(retrieve), admit=admit)
        finally:
            self.pool.give_back(association)
        return Attempt(operation.instances, lambda: operation.outcome, operation.cancel)

    async def _move(self, request: Request, retrieve: Retrieve, admit: Admit, *, fresh: bool) -> Attempt:
        sop_class = self._model["move"]
        rq = self._rq((ProposedContext(1, sop_class, (IMPLICIT_VR_LITTLE_ENDIAN,)),))
        association = await self._acquire(request, rq, light=False, fresh=fresh)
        move = self.destination.expect(retrieve.study_instance_uid, admit, grace=self._options.move_grace_secs)
        try:
            if not association.contexts_for(sop_class):
                raise RejectedError(
                    "the archive accepts neither C-GET nor C-MOVE", status=statuses.SOP_CLASS_NOT_SUPPORTED
                )
            move.begun(
                association.move(
                    sop_class,
                    self._unique_keys(retrieve),
                    destination=self._options.local_aet,
                    message_id=move.message_id,
                    on_final=move.final,
                )
            )
        except BaseException:
            self.destination.forget(move)
            raise
        finally:
            self.pool.give_back(association)
        return Attempt(move.instances, move.outcome, move.cancel)

    def _unique_keys(self, retrieve: Retrieve) -> dict[str, Any]:
        keys: dict[str, Any] = {
            "00080052": {"vr": "CS", "Value": [retrieve.level.value]},
            "0020000D": {"vr": "UI", "Value": [retrieve.study_instance_uid]},
        }
        if self._model is PATIENT_ROOT:
            keys["00100020"] = {"vr": "LO", "Value": [retrieve.patient_id]}
        if retrieve.level is not Level.STUDY:
            keys["0020000E"] = {"vr": "UI", "Value": [retrieve.series_instance_uid]}
        if retrieve.level is Level.IMAGE:
            keys["00080018"] = {"vr": "UI", "Value": list(retrieve.sop_instance_uids)}
        return keys

    # Store

    async def _store(self, request: Request, store: Store) -> Stream[StoreResult]:
        results: Feed[StoreResult] = Feed(limit=1)
        async for instance in store.instances:
            rq = self._rq((ProposedContext(1, instance.sop_class_uid, (instance.transfer_syntax_uid,)),))
            association = await self._acquire(request, rq, light=False)
            try:
                outcome = await association.store(instance)
            except NotAcceptable as error:
                await instance.data_set.aclose()
                outcome = Outcome(statuses.SOP_CLASS_NOT_SUPPORTED, error_comment=error.detail)
            finally:
                self.pool.give_back(association)
            request.record.dimse_status = outcome.status
            request.record.instances += 1
            results.put(
                StoreResult(instance.sop_class_uid, instance.sop_instance_uid, outcome.status, outcome.error_comment)
            )
        results.end()
        return results

    # Associations

    async def _acquire(self, request: Request, rq: AssociateRQ, *, light: bool, fresh: bool = False) -> Association:
        return await self.pool.acquire(rq, client=request.client, light=light, deadline=request.deadline, fresh=fresh)

    async def _open(self, rq: AssociateRQ) -> Association:
        options = self._options
        association = Association(
            clock=self._reactor,
            timing=self._timing,
            silence_timeout=options.silence_timeout_secs,
            association_timeout=options.association_timeout_secs,
            default_character_set=tuple(options.default_character_set.split("\\")),
            request_character_set=tuple(options.request_character_set.split("\\")),
        )
        await association.request(self._endpoint, rq)
        return association

    def _rq(self, proposed: tuple[ProposedContext, ...], extended: dict[str, bytes] | None = None) -> AssociateRQ:
        return AssociateRQ(
            called_ae_title=self._settings.called_ae_title,
            calling_ae_title=self._options.local_aet,
            contexts=proposed,
            max_pdu_length=self._options.max_pdu,
            extended_negotiation=extended or {},
        )

    def _query_rq(self, *, fuzzy: bool = False) -> AssociateRQ:
        sop_class = self._model["find"]
        return self._rq(
            (
                ProposedContext(1, sop_class, (EXPLICIT_VR_LITTLE_ENDIAN,)),
                ProposedContext(3, sop_class, (IMPLICIT_VR_LITTLE_ENDIAN,)),
                ProposedContext(5, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,)),
            ),
            {sop_class: b"\x01\x00\x01" if fuzzy else b"\x01"},
        )

    @staticmethod
    def _storage_contexts() -> dict[str, SupportedContext]:
        syntaxes = (*contexts.NATIVE, *contexts.LOSSLESS, *contexts.LOSSY, *contexts.VIDEO)
        supported = {uid: SupportedContext(syntaxes) for uid in contexts.STORAGE_CLASSES}
        supported[VERIFICATION] = SupportedContext((IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))
        return supported

    def _unclaimed(self, unclaimed: Unclaimed) -> None:
        log.warn(
            "refused an instance that nobody asked for, from {calling_ae_title}",
            calling_ae_title=unclaimed.calling_ae_title,
            sop_instance_uid=unclaimed.sop_instance_uid,
            backend=self._name,
        )


class _GetNotAcceptedError(RejectedError):
    """The PACS negotiated no C-GET; it may do C-MOVE."""
