"""One retrieve under way, and everybody who wants something of it.

It goes at the archive's pace into files. Whoever joined is given each instance as it lands, or may follow one while it
is written; what somebody waits for by name is asked for first, alone at the very beginning, then at the head of each
list. It ends when all has come, or when the last one who wanted something went away without it.

What could not be kept, since there is no room or the disk fails, is let go once everybody has passed it, and not much
of it is held: the retrieve goes at the pace of its slowest reader then.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Container, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from itertools import islice
from typing import Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from harmonygw.errors import HarmonyError, Incomplete, NotFound, RejectedError, TransportError
from harmonygw.exchange import Record, Request
from harmonygw.files import again
from harmonygw.middleware.cache import listing
from harmonygw.middleware.cache.entries import Entry
from harmonygw.middleware.cache.landings import Landing, Reader, Wanted
from harmonygw.middleware.cache.shelf import CacheFailed, Shelf
from harmonygw.middleware.cache.store import SeriesKey
from harmonygw.operations import ANY_TRANSFER_SYNTAX, InstanceStream, Level, Retrieve
from harmonygw.pipeline import Proceed
from harmonygw.streams import Instance
from harmonygw.writing import Writing

log = Logger()

LIST_LENGTH: Final = 128
"""Instances of one list that are asked for together, when nobody waits for one of them by name."""

SHORT_LIST_LENGTH: Final = 32
"""The same while somebody does: what is waited for next need not wait long for its turn."""

MAX_LISTED: Final = 20_000
"""Instances of a series that are listed: more, and it is retrieved as one."""

MAX_UNKEPT: Final = 64
"""Instances held that could not be kept, each an open file. Default 64: what a few retrieves may take of the thousand
descriptors that a process has by default."""

T = TypeVar("T")

Landed = Callable[[Entry], Awaitable[None]]


class Fetch:
    """The retrieve of the series that `retrieve` names, or of its whole study. It begins when somebody wants something.

    `request` and `proceed` are those of whoever began it. `prefetch` says whether the rest comes once those who waited
    have what they wanted. `asking` fires when the archive has said what it has of the study, unless that was known
    before; `count` returns how many instances it said there are, empty when it does not say.
    """

    def __init__(
        self,
        request: Request,
        proceed: Proceed,
        retrieve: Retrieve,
        shelf: Shelf,
        *,
        whole_study: bool,
        prefetch: bool,
        asking: "Deferred[None] | None",
        count: Callable[[str], Awaitable[str]],
        on_landed: Landed,
        on_end: Callable[["Fetch"], None],
    ) -> None:
        self.study_instance_uid = retrieve.study_instance_uid
        self.principal = request.principal
        self._whole_study = whole_study
        self.record = Record()
        self._request = replace(request, record=self.record, deadline=None)
        self._proceed = proceed
        self._retrieve = replace(
            retrieve,
            sop_instance_uids=(),
            transfer_syntaxes=(ANY_TRANSFER_SYNTAX,),
            without_bulk_data=False,
            whole_otherwise=True,
        )
        self._shelf = shelf
        self._prefetch = prefetch
        self._asking = asking
        self._count = count
        self._on_landed = on_landed
        self._on_end = on_end
        self._landings: list[Landing] = []
        self._by_uid: dict[str, Landing] = {}
        self._awaited: dict[str, int] = {}
        self._wanting_all = 0
        self._users = 0
        self._readers: set[Reader] = set()
        self._unkept = 0
        self._passed = 0
        self._waiting_for_room: Deferred[None] | None = None
        self._held: set[SeriesKey] = set()
        self._watchers: list[Deferred[None]] = []
        self._failure: Exception | None = None
        self._satisfied = False
        self._unlisted: set[str] = set()
        self._listed: frozenset[str] | None = None
        self._begun = False
        self._telling = False
        self._gone = False
        self._all_came = False
        self._ended = False
        self._running: Deferred[None] | None = None
        self._keeping: Deferred[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether somebody else can join: it has not ended, nor is it ending, and everything that came is here."""
        return self._failure is None and not (self._ended or self._all_came or self._gone)

    def go_on_alone(self) -> None:
        """Bring everything, though nobody waits for it."""
        self._satisfied = True
        if not self._begun:
            self._begin()

    def serve_out(self) -> None:
        """Bring no more than what somebody waits for."""
        self._prefetch = self._satisfied = False
        if not self._users and not self._goes_on_alone:
            self.cancel(TransportError("what it brings has changed, and nobody waits for it"))

    def cancel(self, reason: Exception) -> None:
        """Break it off."""
        if not self._ended:
            self._failure = self._failure or reason
            if not self._begun:
                self._ended = True
                self._on_end(self)
            elif self._running is not None and not self._telling:
                self._running.cancel()

    async def end(self, *, read_out: bool = False) -> None:
        """Wait until it has ended, and, with `read_out`, until nobody reads any more of what it has brought."""
        while not self._ended or (read_out and self._users):
            await self._progress()

    # Those who want something

    async def entry(self, sop_instance_uid: str) -> Entry:
        """Wait for one instance; raises `NotFound` when the archive does not list it, and what ends the retrieve."""
        with self._using((sop_instance_uid,)):
            while True:
                landing = self._by_uid.get(sop_instance_uid)
                if landing is not None and landing.entry is not None:
                    return landing.entry
                self._check_end(sop_instance_uid)
                await self._progress()

    async def instances(self, wanted: Wanted, *, whole: bool) -> AsyncGenerator[Instance, None]:
        """Yield the instances that are wanted as they land, or as they begin to come unless they must be `whole`.

        Wanted are those that are named, or all but those that are here already. Raises what ends the retrieve, and
        `NotFound` when it ends without one that was named.
        """
        reader = Reader()
        given = 0
        with self._using(wanted.names, reader):
            while not wanted.names or given < len(wanted.names):
                if reader.position == len(self._landings):
                    for name in wanted.names:
                        if name not in self._by_uid:
                            self._check_end(name)
                    if self._all_came:
                        return
                    self._check_failure_at_end()
                    await self._progress()
                    continue
                landing = self._landings[reader.position]
                if not wanted.takes(landing.instance):
                    self._pass(reader)
                elif landing.entry is not None:
                    given += 1
                    instance = landing.entry.instance()
                    self._pass(reader)
                    yield instance
                elif landing.writing is not None and not whole:
                    given += 1
                    self._pass(reader)
                    async with aclosing(landing.writing.follow()) as data_set:
                        yield replace(landing.instance, data_set=data_set)
                else:
                    self._check_end(landing.instance.sop_instance_uid)
                    await self._progress()

    @contextmanager
    def _using(self, names: tuple[str, ...], reader: Reader | None = None) -> Iterator[None]:
        self._users += 1
        self._want(names, 1)
        if reader is not None:
            self._readers.add(reader)
        try:
            if not self._begun:
                self._begin()
            yield
            self._satisfied = True
        finally:
            self._users -= 1
            self._want(names, -1)
            if reader is not None:
                self._readers.discard(reader)
                self._let_go()
            if not self._users and self._ended:
                self._tell()
            elif not self._users and not self._goes_on_alone:
                self.cancel(TransportError("everybody who wanted something has gone"))

    @property
    def _goes_on_alone(self) -> bool:
        return self._all_came or (self._satisfied and self._prefetch and not self._unkept)

    def _want(self, names: tuple[str, ...], change: int) -> None:
        if not names:
            self._wanting_all += change
        for name in names:
            wanting = self._awaited.get(name, 0) + change
            if wanting:
                self._awaited[name] = wanting
            else:
                del self._awaited[name]

    def _check_end(self, sop_instance_uid: str) -> None:
        landing = self._by_uid.get(sop_instance_uid)
        if landing is not None and landing.let_go:
            raise CacheFailed("the object was not kept")
        unlisted = self._listed is not None and sop_instance_uid not in self._listed
        if landing is None and (self._all_came or unlisted or sop_instance_uid in self._unlisted):
            raise NotFound(f"The archive has no instance {sop_instance_uid} in this series.")
        self._check_failure_at_end()

    def _check_failure_at_end(self) -> None:
        if self._ended:
            self._check_going_on()

    def _progress(self) -> "Deferred[None]":
        watcher: Deferred[None] = Deferred(self._watchers.remove)
        self._watchers.append(watcher)
        return watcher

    def _tell(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.callback(None)

    def _announce(self) -> None:
        """Tell everybody who waits; raises the reason when the last of them broke it off by that."""
        self._telling = True
        self._tell()
        self._telling = False
        self._check_going_on()

    def _check_going_on(self) -> None:
        if self._failure is not None:
            raise again(self._failure)

    def _pass(self, reader: Reader) -> None:
        reader.position += 1
        self._let_go()

    def _let_go(self) -> None:
        """Drop what was not kept and everybody has passed."""
        if not self._unkept:
            return
        passed = min((reader.position for reader in self._readers), default=len(self._landings))
        for landing in self._landings[self._passed : passed]:
            if landing.entry is None:
                break
            self._passed += 1
            if not landing.kept:
                landing.entry = None
                landing.let_go = self._gone = True
                self._unkept -= 1
        if self._waiting_for_room is not None:
            waiting, self._waiting_for_room = self._waiting_for_room, None
            waiting.callback(None)

    async def _room(self) -> None:
        """Wait while much is held that was not kept, and somebody is behind."""
        while self._unkept >= MAX_UNKEPT or (self._unkept and self._shelf.disk.is_short_of_memory):
            if all(reader.position == len(self._landings) for reader in self._readers):
                return
            self._waiting_for_room = Deferred()
            await self._waiting_for_room

    # The retrieve

    def _begin(self) -> None:
        self._begun = True
        self._running = Deferred.fromCoroutine(self._run())
        if self._failure is not None:
            self._running.cancel()

    async def _run(self) -> None:
        try:
            await (self._study() if self._whole_study else self._series())
        except CancelledError:
            self._failure = self._failure or TransportError("the retrieval was broken off")
        except HarmonyError as error:
            self._failure = self._failure or error
        except OSError as error:
            self._failure = TransportError("there is no room for the object on the disk", log_detail=str(error))
        except Exception as error:  # noqa: BLE001 - those who wait must hear of it
            log.failure("a retrieve into the cache failed in a way nobody foresaw")
            self._failure = error
        finally:
            self._ended = True
            for key in self._held:
                self._shelf.release(key)
            self._on_end(self)
            self._tell()

    async def _study(self) -> None:
        awaited = next(iter(self._awaited), "")
        if self._retrieve.series_instance_uid:
            await self._alone(awaited)
        await self._land(replace(self._retrieve, level=Level.STUDY, series_instance_uid=""))
        self._have_come()
        await self._asked()
        if await self._count(self.study_instance_uid) in ("", str(len(self._landings))):
            for key in self._held:
                await self._shelf.complete(key, self._uids(key[1]))

    async def _series(self) -> None:
        series_uid = self._retrieve.series_instance_uid
        key = (self.study_instance_uid, series_uid)
        here = (await self._shelf.series(key)).entries
        rows: dict[str, None] = {}
        listing = Deferred.fromCoroutine(self._list(rows))
        listing.addBoth(self._told)
        asked_for: set[str] = set()
        try:
            await self._alone(next((uid for uid in self._awaited if uid not in here), ""))
            # The first list goes out before the archive has listed everything.
            while not listing.called:
                if len(uids := self._next(rows, asked_for, here)) >= SHORT_LIST_LENGTH or any(
                    map(self._awaited.get, uids)
                ):
                    asked_for.update(uids)
                    await self._land_instances(series_uid, uids)
                elif not listing.called:
                    await self._progress()
            listed = await listing
        finally:
            listing.addErrback(lambda _: None)
            listing.cancel()
        if listed is None:
            await self._asked()
            await self._land(replace(self._retrieve, level=Level.SERIES))
            self._have_come()
            await self._shelf.complete(key, self._uids(series_uid))
            return
        self._listed = frozenset(listed)
        if self._listed >= here.keys():
            await self._shelf.note_listed(key)
        self._announce()
        while uids := self._next(rows, asked_for, here):
            asked_for.update(uids)
            await self._land_instances(series_uid, uids)
        self._have_come()
        await self._shelf.complete(key, listed)
        await self._shelf.note_listed(key)

    def _told(self, listed: T) -> T:
        self._tell()
        return listed

    def _have_come(self) -> None:
        self._all_came = True
        self._announce()

    async def _alone(self, awaited: str) -> None:
        """Fetch the one that somebody waits for while the rest is listed."""
        if not awaited:
            return
        try:
            await self._land_instances(self._retrieve.series_instance_uid, (awaited,))
        except NotFound:
            self._unlisted.add(awaited)
            self._announce()
        except (RejectedError, Incomplete):
            pass  # what is listed is asked for again, and says it again

    def _next(self, rows: Collection[str], asked_for: Container[str], here: Container[str]) -> tuple[str, ...]:
        """Return what is asked for next of what is listed; nothing when all has come, or nobody wants more.

        What was here at the beginning is asked for when somebody waits for it: it has been removed since.
        """

        def left(uids: Iterable[str]) -> Iterator[str]:
            return (uid for uid in uids if uid in rows and uid not in self._by_uid and uid not in asked_for)

        uids = dict.fromkeys(left(self._awaited))
        if self._wanting_all or self._prefetch:
            length = max(SHORT_LIST_LENGTH, len(uids)) if uids else LIST_LENGTH
            for uid in left(rows):
                if len(uids) >= length:
                    break
                if uid not in here:
                    uids[uid] = None
        return tuple(islice(uids, LIST_LENGTH))

    async def _asked(self) -> None:
        """Wait until the archive has been asked of the study."""
        if self._asking is not None:
            await self._asking
            self._check_going_on()

    def _uids(self, series_instance_uid: str) -> list[str]:
        return [uid for uid, one in self._by_uid.items() if one.instance.series_instance_uid == series_instance_uid]

    async def _list(self, rows: dict[str, None]) -> list[str] | None:
        """Return the instances of the series, in the archive's order; None when it does not say.

        Each is put into `rows` as soon as it is listed. What the archive gets between its word on the study and the
        list shows as a change later; what it got between the list and its word never would.
        """
        await self._asked()
        key = (self.study_instance_uid, self._retrieve.series_instance_uid)
        async with aclosing(listing.uids_of(self._request, self._proceed, key)) as uids:
            try:
                async for uid in uids:
                    rows[uid] = None
                    if len(rows) > MAX_LISTED:
                        return None
                    if len(rows) % SHORT_LIST_LENGTH == 0:
                        self._tell()
            except CancelledError:
                raise
            except HarmonyError:
                return None  # the retrieve itself will say what is wrong
        return list(rows) or None

    async def _land_instances(self, series_instance_uid: str, uids: tuple[str, ...]) -> None:
        await self._land(
            replace(self._retrieve, level=Level.IMAGE, series_instance_uid=series_instance_uid, sop_instance_uids=uids)
        )

    async def _land(self, retrieve: Retrieve) -> None:
        reply = await self._proceed(replace(self._request, operation=retrieve))
        instances: InstanceStream = reply.result
        try:
            async with aclosing(instances):
                async for instance in instances:
                    if instance.sop_instance_uid not in self._by_uid:
                        await self._take(instance)
        finally:
            await self._kept()

    async def _take(self, instance: Instance) -> None:
        await self._room()
        key = (instance.study_instance_uid, instance.series_instance_uid)
        if key not in self._held:
            self._held.add(key)
            self._shelf.hold(key)
        writing = self._shelf.new_writing(instance)
        landing = Landing(instance, writing)
        self._landings.append(landing)
        self._by_uid[instance.sop_instance_uid] = landing
        self._announce()
        await writing.receive()
        try:
            await self._kept()
        except BaseException as error:
            await writing.give_up(error)
            raise
        self._keeping = Deferred.fromCoroutine(self._keep(landing, writing))

    async def _kept(self) -> None:
        """Wait until the instance before has landed: its end is written while the next one comes."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            await keeping

    async def _keep(self, landing: Landing, writing: Writing) -> None:
        try:
            landing.entry, landing.kept = await self._shelf.keep(writing)
            landing.writing = None
            self._unkept += not landing.kept
            await self._on_landed(landing.entry)
            self._announce()
            self._let_go()
            if self._gone and not self._users:
                raise TransportError("there is no room for what nobody waits for")
        except BaseException:
            if self._keeping is not None and self._running is not None:  # else it waits for this
                self._running.cancel()
            raise
