"""What the archive answers: operations in, streams out, and every disk access in a thread.

The archive blocks and knows no reactor; this class knows the reactor and never blocks. A few threads of its
own do the work, so that a slow disk starves nobody else's; every stream waits for its reader before it asks
for more.
"""

import sqlite3
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from harmonygw.backends.storage import samples
from harmonygw.backends.storage.archive import Archive
from harmonygw.backends.storage.arrival import Arrival
from harmonygw.backends.storage.commitment import failures
from harmonygw.backends.storage.patterns import ReadPattern, WritePattern
from harmonygw.backends.storage.plain_files import PlainFile
from harmonygw.backends.storage.prefetch import Prefetch
from harmonygw.backends.storage.reading import PIECE_LENGTH, StoredData, delivered_syntax
from harmonygw.backends.storage.search import StoredFile, count_studies, files, find
from harmonygw.backends.storage.uploads import Uploads
from harmonygw.dicom.dimse.statuses import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, PROCESSING_FAILURE, SUCCESS
from harmonygw.errors import (
    BadRequest,
    Busy,
    Conflict,
    HarmonyError,
    NotAcceptable,
    NotFound,
    PeerError,
    RejectedError,
    TransportError,
)
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.operations import (
    CheckCommitment,
    Commitment,
    Echo,
    Find,
    FindWorklist,
    Move,
    RequestCommitment,
    Retrieve,
    Store,
    StoreResult,
)
from harmonygw.pipeline import Context, IBackend
from harmonygw.streams import Feed, Instance, InstanceStream, Match, Piece, Pieces

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 4
"""Threads for disk and index. Default 4: enough to keep a disk busy; exchanges share them piece by piece."""

MATCHES_AHEAD: Final = 256
"""Matches that wait for their reader: two batches of the index."""

PIECES_AHEAD: Final = 2 * PIECE_LENGTH
"""Bytes of a retrieval that wait for their reader: one piece is sent while the next is read."""

WRITE_LENGTH: Final = 256 * 1024
"""Bytes that are gathered for one write. Default 256 KiB: less, and going to the thread costs more than writing."""

RESULTS_AHEAD: Final = 64
"""Results of a Store that wait for their reader; a result is small, and the reader may be sending still."""


@implementer(IBackend)
class Storage:
    """The `storage` service. Instances come whole, or not at all to who wants them without their bulk data only."""

    log = Logger()
    relational_queries = True
    """Keys of any level are matched at any other (PS3.4 §C.4.1.3.2)."""

    def __init__(self, context: Context) -> None:
        self._name = context.name
        self._reactor = context.reactor
        self._root = Path(context.options.root)
        self._pattern = WritePattern(context.options.write_pattern)
        self._uploads = Uploads(self._pattern, ReadPattern(context.options.read_pattern), self)
        self._with_samples: bool = context.options.samples
        self._pool: ThreadPool | None = None
        self._archive: Archive | None = None
        self._ready = False
        self._running: set[Prefetch[Any]] = set()

    @staticmethod
    def foundation(context: Context) -> object:
        """Return what a backend is built from; two of one root, old and new, get on with one another."""
        return context.settings

    def start(self) -> "Deferred[None]":
        """Open the archive, and fill an empty one with the samples if there are to be any.

        Fails with `ConfigurationError` when the root cannot be used, with `TransportError` when `stop` came first.
        """
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        self._pool = ThreadPool(0, THREADS, name=f"storage-{self._name}")
        self._pool.start()
        try:
            self._archive = await self.in_thread(Archive, self._root, self._pattern)
            if self._pool is None:
                raise TransportError("the archive was closed while it was being opened")
            if self._with_samples and await self.in_thread(samples.are_wanted, self._archive.index):
                await self._load_samples(self._archive)
        except BaseException:
            await self._stop()
            raise
        self._ready = True

    def stop(self) -> "Deferred[None]":
        """Cut off what still runs, let the threads end, and close the archive."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._ready = False
        for prefetch in tuple(self._running):
            prefetch.cut(TransportError("the archive is being closed"))
        archive, self._archive = self._archive, None
        pool, self._pool = self._pool, None
        if pool is not None:
            await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), pool.stop)
        if archive is not None:
            archive.close()

    def state(self) -> dict[str, object]:
        """Describe the archive: its root, and whether it is open."""
        return {"target": str(self._root), "ready": self._ready}

    async def respond(self, request: Request) -> Reply:
        """Answer an Echo, Find, Retrieve, Store or RequestCommitment.

        What came by HTTP and is no operation writes or reads a file: see `Uploads`.

        Raises `Busy` before `start` has finished, `NotFound` and `Conflict` for a Retrieve, and `BadRequest`
        for a request without an operation. What goes wrong with a single instance of a Store is in its
        `StoreResult`.
        """
        archive = self._archive
        if archive is None or not self._ready:
            raise Busy("the archive is not open", log_detail=f"storage backend {self._name}")
        request.record.target = self._name
        if request.operation is None and isinstance(request.origin, HTTPOrigin):
            return await self._uploads.respond(archive, request, request.origin)
        match request.operation:
            case Echo():
                return Reply()
            case Find() as query:
                return Reply(result=_Matches(self._ahead(self._matches(archive, query), limit=MATCHES_AHEAD)))
            case Retrieve() as retrieve:
                return Reply(result=await self._retrieve(archive, retrieve))
            case Store() as store:
                return Reply(result=self._ahead(self._store(archive, store.instances), limit=RESULTS_AHEAD))
            case Move():
                raise NotAcceptable("a folder sends nothing to other application entities")
            case RequestCommitment(_, references):
                failed = await self._ask(failures, archive.index, references)
                return Reply(result=Commitment(references, failed))
            case CheckCommitment():
                raise NotFound("There is no such transaction: the archive answers a request at once.")
            case FindWorklist():
                raise NotAcceptable("the archive keeps no worklist")
            case _:
                raise BadRequest("the storage backend takes DICOM operations: a bridge has to stand before it")

    async def _matches(self, archive: Archive, query: Find) -> AsyncGenerator[Match, None]:
        after: int | None = 0
        while after is not None:
            matches, after = await self._ask(find, archive.index, query, after)
            for match in matches:
                yield match

    async def _retrieve(self, archive: Archive, retrieve: Retrieve) -> InstanceStream:
        if not retrieve.whole_otherwise:
            raise NotAcceptable("the archive sends instances with their bulk data only")
        studies = await self._ask(count_studies, archive.index, retrieve)
        if studies == 0:
            raise NotFound("the archive has nothing under these UIDs")
        if studies > 1:
            raise Conflict(
                "the archive has this study of more than one patient: name the patient",
                log_detail=f"Study Instance UID {retrieve.study_instance_uid}",
            )
        return self._instances(archive, retrieve)

    async def _instances(self, archive: Archive, retrieve: Retrieve) -> AsyncGenerator[Instance, None]:
        batch = await self._ask(files, archive.index, retrieve)
        while batch:
            for stored in batch:
                syntax = delivered_syntax(stored.transfer_syntax_uid, retrieve.transfer_syntaxes)
                data_set = self._ahead(self._pieces(archive.read(stored, syntax)), limit=PIECES_AHEAD, cost=_length)
                try:
                    yield _instance(stored, syntax, data_set)
                finally:
                    await data_set.aclose()
            batch = await self._ask(files, archive.index, retrieve, batch[-1].position)

    def pieces(self, file: PlainFile) -> Feed[Pieces]:
        """Read a file ahead of its reader, and close it."""
        return self._ahead(self._pieces(file), limit=PIECES_AHEAD, cost=_length)

    async def _pieces(self, data: StoredData | PlainFile) -> AsyncGenerator[Pieces, None]:
        try:
            while pieces := await self.in_thread(data.read):
                yield pieces
        finally:
            await self.clean_up(data.close)

    async def _store(self, archive: Archive, instances: InstanceStream) -> AsyncGenerator[StoreResult, None]:
        try:
            async for instance in instances:
                yield await self._store_one(archive, instance)
        finally:
            await instances.aclose()

    async def _store_one(self, archive: Archive, instance: Instance) -> StoreResult:
        status, detail = SUCCESS, ""
        try:
            await self._receive(archive.receive(instance), archive, instance)
        except RejectedError as error:
            status, detail = error.status or PROCESSING_FAILURE, error.detail
        except (PeerError, BadRequest) as error:
            status, detail = CANNOT_UNDERSTAND, error.detail
        except HarmonyError as error:
            status, detail = PROCESSING_FAILURE, error.detail
        except (OSError, sqlite3.Error) as error:
            self.log.error("cannot store {uid}: {error}", uid=instance.sop_instance_uid, error=error)
            status, detail = OUT_OF_RESOURCES, "the archive cannot write"
        return StoreResult(instance.sop_class_uid, instance.sop_instance_uid, status, detail)

    async def _receive(self, arrival: Arrival, archive: Archive, instance: Instance) -> None:
        try:
            gathered: list[Piece] = []
            length = 0
            async for pieces in instance.data_set:
                gathered += pieces
                length += _length(pieces)
                if length >= WRITE_LENGTH:
                    await self.in_thread(arrival.write, gathered)
                    gathered, length = [], 0
            await self.in_thread(archive.keep, arrival, gathered)
        except BaseException:
            await self.clean_up(arrival.discard)
            await instance.data_set.aclose()
            raise

    async def _load_samples(self, archive: Archive) -> None:
        began = self._reactor.seconds()
        stored = failed = 0
        async for result in self._store(archive, self._samples()):
            stored += result.status == SUCCESS
            failed += result.status != SUCCESS
        self.log.info(
            "{stored} sample instances stored below {root} in {seconds:.1f} s, {failed} failed",
            stored=stored,
            failed=failed,
            root=self._root,
            seconds=self._reactor.seconds() - began,
        )

    async def _samples(self) -> AsyncGenerator[Instance, None]:
        making = samples.make()
        while (sample := await self.in_thread(next, making, None)) is not None:
            data_set: Feed[Pieces] = Feed(limit=1)
            data_set.put(sample.pieces)
            data_set.end()
            yield Instance(sample.sop_class_uid, sample.sop_instance_uid, sample.transfer_syntax_uid, data_set)

    def _ahead(
        self, source: AsyncGenerator[T, None], *, limit: int, cost: Callable[[T], int] = lambda item: 1
    ) -> Feed[T]:
        """Run a generator ahead of its reader, and remember it for `stop`."""
        prefetch = Prefetch(source, limit=limit, cost=cost)
        self._running.add(prefetch)
        prefetch.feed.when_done().addBoth(lambda _: self._running.discard(prefetch))
        return prefetch.feed

    async def _ask(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self.in_thread(question, *args, **kwargs)
        except sqlite3.Error as error:
            raise TransportError("the index of the archive cannot be read", log_detail=str(error)) from error

    def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """Call what blocks in a thread; raises `TransportError` when the archive is closed."""
        if self._pool is None:
            raise TransportError("the archive is closed")
        return deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)

    async def clean_up(self, close: Callable[[], None]) -> None:
        """Let a thread close a file, which may have to wait for the one that still works on it."""
        if self._pool is None:
            close()
        else:
            await self.in_thread(close)


class _Matches:
    """The matches of the index: what is asked of it is done, so that there is nothing to warn of."""

    def __init__(self, feed: Feed[Match]) -> None:
        self._feed = feed
        self.warnings: list[str] = []

    def __aiter__(self) -> "_Matches":
        return self

    def __anext__(self) -> Coroutine[Any, Any, Match]:
        return self._feed.__anext__()

    async def aclose(self) -> None:
        await self._feed.aclose()


def _length(pieces: Pieces) -> int:
    return sum(map(len, pieces))


def _instance(stored: StoredFile, transfer_syntax_uid: str, data_set: Feed[Pieces]) -> Instance:
    return Instance(
        stored.sop_class_uid,
        stored.sop_instance_uid,
        transfer_syntax_uid,
        data_set,
        study_instance_uid=stored.study_instance_uid,
        series_instance_uid=stored.series_instance_uid,
        source_ae_title=stored.source_ae_title,
        leading={
            "SOPClassUID": stored.sop_class_uid,
            "SOPInstanceUID": stored.sop_instance_uid,
            "StudyInstanceUID": stored.study_instance_uid,
            "SeriesInstanceUID": stored.series_instance_uid,
            "Modality": stored.modality,
            "PatientID": stored.patient_id,
            "IssuerOfPatientID": stored.issuer,
        },
    )
