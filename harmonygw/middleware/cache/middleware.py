"""What the cache answers from, and what it joins: an entry, a retrieve under way, or a new one."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred
from zope.interface import implementer

from harmonygw.config.middleware_options import CacheOptions
from harmonygw.config.model import Backend, Configuration
from harmonygw.errors import ConfigurationError, NotAcceptable, NotFound, PeerError, TransportError
from harmonygw.exchange import SOURCE, Record, Reply, Request
from harmonygw.joining import Joining
from harmonygw.middleware.cache import rejection
from harmonygw.middleware.cache.entries import Entry, Series
from harmonygw.middleware.cache.fetch import Fetch
from harmonygw.middleware.cache.landings import Wanted
from harmonygw.middleware.cache.shelf import CacheFailed, Shelf
from harmonygw.middleware.cache.store import SeriesKey
from harmonygw.middleware.cache.storing import Results, StoredStudies
from harmonygw.middleware.cache.validation import UNREACHABLE, Validation
from harmonygw.operations import Find, InstanceStream, Level, Retrieve, Store
from harmonygw.pipeline import Context, IMiddleware, Proceed
from harmonygw.streams import Begun, Instance

STALE: Final = ("Warning", '110 - "Response is Stale"')
"""RFC 7234 §5.5.1: the archive could not be asked whether this is still so."""

MAX_SERIES: Final = 5000
"""Series of a study that is answered series by series. Default 5,000, more than any study has: an archive that lists
more is in error."""

Headers = tuple[tuple[str, str], ...]


class Answer(NamedTuple):
    """What is answered with: instances, header fields for the client, and what tells the content from any other."""

    instances: InstanceStream
    headers: Headers = ()
    digest: str = ""


@implementer(IMiddleware)
class Cache:
    """The `cache` type."""

    def __init__(self, context: Context) -> None:
        options = context.options
        self._options = options
        self._clock = context.reactor
        self._name = context.name
        self.folder = Path(options.path).resolve()
        """Which no other one can have as long as this one runs."""
        self._shelf = Shelf(
            Path(options.path),
            source_of(context.configuration, context.name),
            **_limits(options),
            reactor=context.reactor,
        )
        self._validation = Validation(self._shelf, revalidate_secs=options.revalidate_secs, clock=context.reactor)
        self._fetches: dict[tuple[str, str], Fetch] = {}
        self._outdated: set[Fetch] = set()
        """Retrieves of what has been stored into since they began: nobody joins them."""
        self._being_forgotten: Counter[str] = Counter()
        """Studies that are being removed for the same reason."""
        self._listing: Joining[SeriesKey, bool] = Joining()
        self._archive_strips: bool | None = None
        """Whether the archive can send instances without their bulk data; None until it was asked."""
        self._counts = dict.fromkeys(("hits", "joined", "retrieves", "passed_by"), 0)

    @staticmethod
    def foundation(context: Context) -> object:
        """Return what a cache is of: a folder, and what it holds. All else is limits, which can change."""
        return Path(context.options.path).resolve(), source_of(context.configuration, context.name)

    def renew(self, context: Context) -> None:
        """Have other limits from now on, and another name."""
        self._options = context.options
        self._name = context.name
        self._shelf.limit(**_limits(context.options))
        self._validation.revalidate_secs = context.options.revalidate_secs

    async def finish(self) -> None:
        """Return when nothing is under way any more of what is now: it goes through the pipeline that began it."""
        for fetch in (*self._fetches.values(), *self._outdated):
            await fetch.end()
        await self._listing.finish()
        await self._validation.finish()

    async def start(self) -> None:
        """Open the folder; raises `ConfigurationError` when it cannot be used."""
        await self._shelf.start()

    async def stop(self) -> None:
        """Break off what is under way, and close the folder."""
        await _end([*self._fetches.values(), *self._outdated], "the gateway is being stopped")
        await self._shelf.stop()

    def state(self) -> dict[str, object]:
        """Describe it, for the management API."""
        return {**self._shelf.state(), **self._counts, "under_way": len(self._fetches)}

    async def purge(self, study_instance_uid: str) -> int:
        """Forget a study; return how many of its instances were removed."""
        under_way = (*self._fetches.values(), *self._outdated)
        fetches = [one for one in under_way if one.study_instance_uid == study_instance_uid]
        await _end(fetches, "the study was purged from the cache while it was retrieved")
        self._validation.forget(study_instance_uid)
        return await self._shelf.purge(study_instance_uid)

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Answer a Retrieve from files, or from a retrieve that fills them; everything else passes.

        So does what names one of several archives: what is kept here is what they hold together. What a Store touches
        is forgotten.
        """
        retrieve = request.operation
        if isinstance(retrieve, Store):
            return await self._stored(request, proceed, retrieve)
        if not isinstance(retrieve, Retrieve) or SOURCE in request.attributes:
            return await proceed(request)
        if self._shelf.is_open and not self._passes_by(retrieve.study_instance_uid):
            try:
                answer = await self._answer(request, proceed, retrieve)
                counted = _Counted(answer.instances, request.record)
                missing = self._validation.missing(request, retrieve.study_instance_uid)
                headers = (*answer.headers, *(("Warning", sentence) for sentence in missing))
                return Reply(headers=headers, result=counted, digest=answer.digest)
            except CacheFailed:
                pass
        self._counts["passed_by"] += 1
        return await proceed(request)

    async def _stored(self, request: Request, proceed: Proceed, store: Store) -> Reply:
        studies = StoredStudies(store.instances, self._outdate)
        try:
            reply = await proceed(replace(request, operation=Store(studies)))
        except BaseException:
            await studies.end()
            raise
        return replace(reply, result=Results(reply.result, studies))

    async def _outdate(self, study_instance_uid: str) -> None:
        """Forget a study that has changed.

        Retrieves of it go on for who is reading them, from files that stay as long; meanwhile it passes the cache by.
        """
        for key, fetch in list(self._fetches.items()):
            if fetch.study_instance_uid == study_instance_uid:
                del self._fetches[key]
                self._outdated.add(fetch)
                fetch.serve_out()
                Deferred.fromCoroutine(self._read_out(fetch))
        if not any(fetch.study_instance_uid == study_instance_uid for fetch in self._outdated):
            await self._forget(study_instance_uid)

    async def _read_out(self, fetch: Fetch) -> None:
        await fetch.end(read_out=True)
        self._outdated.remove(fetch)
        await self._outdate(fetch.study_instance_uid)

    async def _forget(self, study_instance_uid: str) -> None:
        self._being_forgotten[study_instance_uid] += 1
        self._validation.forget(study_instance_uid)
        try:
            await self._shelf.purge(study_instance_uid, let_finish=True)
        except CacheFailed:
            pass  # nothing is served of a cache that fails
        finally:
            self._being_forgotten[study_instance_uid] -= 1
            self._being_forgotten += Counter()  # drops what is zero

    def _passes_by(self, study_instance_uid: str) -> bool:
        """Whether what is here of a study has changed, and is not gone yet."""
        outdated = any(fetch.study_instance_uid == study_instance_uid for fetch in self._outdated)
        return outdated or study_instance_uid in self._being_forgotten

    async def _answer(self, request: Request, proceed: Proceed, retrieve: Retrieve) -> Answer:
        whole = retrieve.random_access or retrieve.without_bulk_data
        if retrieve.level is Level.STUDY:
            return await self._study(request, proceed, retrieve, whole=whole)
        key = (retrieve.study_instance_uid, retrieve.series_instance_uid)
        series, headers = await self._series(request, proceed, retrieve)
        uids = tuple(dict.fromkeys(retrieve.sop_instance_uids))
        if series.complete if retrieve.level is Level.SERIES else series.entries.keys() >= set(uids):
            return self._hit(request, [series.entries[uid] for uid in uids or series.entries], headers)
        bare = await self._without_bulk_data(request, proceed, retrieve, series)
        if bare is not None:
            return Answer(bare, headers)
        fetch = await self._joined(request, proceed, retrieve)
        series = await self._shelf.series(key)
        here = [series.entries[uid] for uid in uids or series.entries if uid in series.entries]
        left = tuple(uid for uid in uids if uid not in series.entries)
        if uids and not left:
            return self._hit(request, here, headers)
        if left == uids and len(uids) == 1 and whole:
            stream: InstanceStream = self._instances([await fetch.entry(uids[0])])
        else:
            wanted = Wanted(left, retrieve.series_instance_uid, frozenset(series.entries))
            coming = fetch.instances(wanted, whole=whole)
            stream = await Begun.of(self._after(here, coming) if here else coming)
        request.record.target = fetch.record.target
        return Answer(stream, headers)

    async def _without_bulk_data(
        self, request: Request, proceed: Proceed, retrieve: Retrieve, series: Series
    ) -> InstanceStream | None:
        """Return what a viewer needs of a series first, when the archive can send that without bulk data.

        The instances themselves follow into the cache, unless they are under way already. None when there is nothing to
        be gained, or the archive cannot.
        """
        study = retrieve.study_instance_uid
        under_way = self._open_fetch(study, retrieve.series_instance_uid) or self._open_fetch(study, "")
        wanted = retrieve.level is Level.SERIES and retrieve.without_bulk_data
        if not wanted or self._archive_strips is False or series.entries or under_way is not None:
            return None
        bare = replace(retrieve, random_access=False, whole_otherwise=False)
        try:
            reply = await proceed(replace(request, operation=bare))
            stream = await Begun.of(reply.result)
        except NotAcceptable:
            self._archive_strips = False
            return None
        self._archive_strips = True
        if self._options.prefetch and self._options.scope != "instance":
            (await self._joined(request, proceed, retrieve)).go_on_alone()
        return stream

    async def _study(self, request: Request, proceed: Proceed, retrieve: Retrieve, *, whole: bool) -> Answer:
        """Answer with one retrieve when nothing of the study is here or coming, else series by series."""
        study = retrieve.study_instance_uid
        here = await self._shelf.said(study) is not None
        if not here and not any(key[0] == study for key in self._fetches):
            fetch = self._begin(request, proceed, retrieve, "")
        else:
            coming = self._open_fetch(study, "")
            if coming is not None:
                await self._admitted(request, proceed, coming)
            if coming is None or not coming.is_open:
                return Answer(await Begun.of(self._series_by_series(request, proceed, retrieve)))
            self._counts["joined"] += 1
            fetch = coming
        stream = await Begun.of(fetch.instances(Wanted(), whole=whole))
        request.record.target = fetch.record.target
        return Answer(stream)

    async def _series_by_series(
        self, request: Request, proceed: Proceed, retrieve: Retrieve
    ) -> AsyncGenerator[Instance, None]:
        keys = {"0020000D": {"vr": "UI", "Value": [retrieve.study_instance_uid]}}
        reply = await proceed(
            replace(request, operation=Find(Level.SERIES, keys, {"0020000E": {"vr": "UI"}}), record=Record())
        )
        uids: dict[str, None] = {}
        async with aclosing(reply.result) as matches:
            async for match in matches:
                uids.update(dict.fromkeys(match.get("0020000E", {}).get("Value", ())))
                if len(uids) > MAX_SERIES:
                    raise PeerError(f"the archive lists more than {MAX_SERIES} series of one study")
        if not uids:
            raise NotFound("The archive has no such study.")
        for uid in uids:
            one = replace(retrieve, level=Level.SERIES, series_instance_uid=str(uid))
            stream, stale, _ = await self._answer(request, proceed, one)
            async with aclosing(stream):
                if stale:
                    raise TransportError("the archive could not be asked whether the rest of the study has changed")
                async for instance in stream:
                    yield instance

    async def _series(self, request: Request, proceed: Proceed, retrieve: Retrieve) -> tuple[Series, Headers]:
        """Return what of a series may be served to this principal now."""
        key = (retrieve.study_instance_uid, retrieve.series_instance_uid)
        series = await self._shelf.series(key)
        if not series.entries:
            return series, ()
        del series  # who refers to files counts as one who reads them, when they are purged
        try:
            if not self._validation.is_valid(request, key[0]):
                await self._validation.validate(request, proceed, key[0])
            series = await self._shelf.series(key)
            if series.entries and not await self._is_listed(request, proceed, series):
                series = await self._shelf.series(key)
        except CacheFailed:
            raise
        except UNREACHABLE:
            series = await self._shelf.series(key)
            if not self._options.serve_stale or not series.entries:
                raise
            return series, (STALE,)
        return series, ()

    async def _is_listed(self, request: Request, proceed: Proceed, series: Series) -> bool:
        if self._clock.seconds() - series.listed_at < self._options.revalidate_secs:
            return True
        key = (series.study_instance_uid, series.series_instance_uid)
        return await self._listing.wait(key, partial(self._list, request, proceed, series))

    async def _list(self, request: Request, proceed: Proceed, series: Series) -> bool:
        now = self._clock.seconds()
        count = await self._validation.count(series.study_instance_uid)
        if not count and not await self._validation.lists_the_same(request, proceed, series):
            return False
        series.listed_at = now
        return True

    def _hit(self, request: Request, entries: Sequence[Entry], headers: Headers) -> Answer:
        self._counts["hits"] += 1
        request.record.target = self._name
        digests = "".join(entry.file.digest for entry in entries)
        digest = sha256(digests.encode()).hexdigest()[:32] if len(entries) > 1 else digests
        return Answer(self._instances(entries), headers, digest)

    async def _instances(self, entries: Sequence[Entry]) -> AsyncGenerator[Instance, None]:
        """Yield instances; their series stays while it is read."""
        for entry in entries:
            key = (entry.study_instance_uid, entry.series_instance_uid)
            self._shelf.hold(key)
            try:
                yield entry.instance()
            finally:
                self._shelf.release(key)

    async def _after(
        self, here: Sequence[Entry], coming: AsyncGenerator[Instance, None]
    ) -> AsyncGenerator[Instance, None]:
        """Yield what is here, and then what comes."""
        async with aclosing(coming), aclosing(self._instances(here)) as instances:
            async for instance in instances:
                yield instance
            async for instance in coming:
                yield instance

    # Retrieves under way

    async def _joined(self, request: Request, proceed: Proceed, retrieve: Retrieve) -> Fetch:
        """Return the retrieve that brings this, begun now unless one is under way."""
        study, series = retrieve.study_instance_uid, retrieve.series_instance_uid
        while (fetch := self._open_fetch(study, series) or self._open_fetch(study, "")) is not None:
            await self._admitted(request, proceed, fetch)
            if fetch.is_open:
                self._counts["joined"] += 1
                return fetch
        return self._begin(request, proceed, retrieve, "" if self._options.scope == "study" else series)

    def _open_fetch(self, study: str, series: str) -> Fetch | None:
        fetch = self._fetches.get((study, series))
        return fetch if fetch is not None and fetch.is_open else None

    async def _admitted(self, request: Request, proceed: Proceed, fetch: Fetch) -> None:
        """Let a principal have of another's retrieve what his own query finds."""
        if fetch.principal != request.principal and not self._validation.is_valid(request, fetch.study_instance_uid):
            await self._validation.validate(request, proceed, fetch.study_instance_uid)

    def _begin(self, request: Request, proceed: Proceed, retrieve: Retrieve, series: str) -> Fetch:
        self._counts["retrieves"] += 1
        study = retrieve.study_instance_uid
        asking: Deferred[None] | None = None
        if not self._validation.is_valid(request, study):
            asking = Deferred.fromCoroutine(self._validation.validate(request, proceed, study))
            asking.addErrback(lambda _: None)  # the retrieve itself says what is wrong
        fetch = Fetch(
            request,
            proceed,
            retrieve,
            self._shelf,
            whole_study=not series,
            prefetch=self._options.prefetch and self._options.scope != "instance",
            asking=asking,
            count=self._validation.count,
            on_landed=self._landed,
            on_end=partial(self._ended, (study, series)),
        )
        self._fetches[study, series] = fetch
        return fetch

    def _ended(self, key: SeriesKey, fetch: Fetch) -> None:
        if self._fetches.get(key) is fetch:
            del self._fetches[key]

    async def _landed(self, entry: Entry) -> None:
        """Forget what a rejection note rejects."""
        for key, uids in rejection.rejected(entry).items():
            entries = (await self._shelf.series(key)).entries
            for uid in uids & entries.keys() if uids else tuple(entries):
                await self._shelf.drop(entries[uid])


class _Counted:
    """Instances on their way out, counted for the log."""

    def __init__(self, instances: InstanceStream, record: Record) -> None:
        self._instances = instances
        self._record = record

    def __aiter__(self) -> "_Counted":
        return self

    async def __anext__(self) -> Instance:
        instance = await self._instances.__anext__()
        self._record.instances += 1
        return instance

    async def aclose(self) -> None:
        await self._instances.aclose()


async def _end(fetches: Sequence[Fetch], why: str) -> None:
    for fetch in fetches:
        fetch.cancel(TransportError(why))
    for fetch in fetches:
        await fetch.end()


def _limits(options: CacheOptions) -> dict[str, Any]:
    names = ("max_bytes", "max_age_secs", "write_behind_secs", "memory_bytes")
    return {name: getattr(options, name) for name in names}


def source_of(configuration: Configuration, name: str) -> str:
    """Return what tells the archive behind a cache from any other.

    Raises `ConfigurationError` when pipelines with different backends share the cache: what one archive holds would be
    served as the other's.
    """
    users = [pipeline for pipeline in configuration.pipelines.values() if name in pipeline.middleware_names]
    archives = [(one.backends, one.options if len(one.backends) > 1 else None) for one in users]
    if any(one != archives[0] for one in archives):
        raise ConfigurationError((f"middleware.{name}: pipelines with different backends cannot share a cache",))
    named = [configuration.backends[one] for pipeline in users[:1] for one in pipeline.backends]
    return "; ".join(map(_address, named))


def _address(backend: Backend) -> str:
    root = getattr(backend.options, "root", "")
    return f"{backend.service} {backend.called_ae_title}@{backend.host}:{backend.port} {root}"
