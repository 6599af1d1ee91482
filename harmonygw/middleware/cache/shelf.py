"""The cache as the reactor sees it: series that are loaded, entries that are added, and a disk that may fail.

Everything is tried, and what fails closes the shelf for a while: requests go to the archive then as if there were no
cache. That is said once in the log.
"""

import sqlite3
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from harmonygw.dicom.dataset.inline import BULK_THRESHOLD
from harmonygw.dicom.dataset.layout import Layout
from harmonygw.disk import Disk
from harmonygw.errors import ConfigurationError, TransportError
from harmonygw.files import Checks, HeldFile, InstanceFile
from harmonygw.joining import Joining
from harmonygw.middleware.cache.behind import Behind, Unwritten
from harmonygw.middleware.cache.entries import Entry, Series
from harmonygw.middleware.cache.store import Kept, SeriesKey, Store
from harmonygw.streams import Instance
from harmonygw.writing import Recording, Writing

P = ParamSpec("P")
T = TypeVar("T")

log = Logger()

THREADS: Final = 4
"""Threads for files and index. Default 4: enough to keep a disk busy while another waits for its turn at the index."""

MAX_LOADED_SERIES: Final = 64
"""Series whose entries are held in memory. Default 64: a few readers' open studies."""

MAX_LOADED_INSTANCES: Final = 50_000
"""Instances of them, at some 10 KB each when their metadata is long."""

RETRY_SECS: Final = 60.0
"""Seconds for which a disk that failed is left alone."""

TOUCH_SECS: Final = 30.0
"""Seconds after which the use of a series is written down."""


class CacheFailed(TransportError):
    """The cache could not be read or written. Look at its disk; the archive is asked as if there were no cache."""


class Shelf:
    """What the cache holds."""

    def __init__(
        self,
        root: Path,
        source: str,
        *,
        max_bytes: int,
        max_age_secs: float,
        write_behind_secs: float = 0.0,
        memory_bytes: int = 0,
        reactor: Any,
    ) -> None:
        self._open = partial(Store, root, source)
        self._limits: dict[str, Any] = {"max_bytes": max_bytes, "max_age_secs": max_age_secs}
        self._root = root
        self._reactor = reactor
        self._store: Store | None = None
        self._closed_until = 0.0
        self._loaded: OrderedDict[SeriesKey, Series] = OrderedDict()
        self._loading: Joining[SeriesKey, Series] = Joining()
        self._touched: dict[SeriesKey, float] = {}
        self._touching: Any = None
        self._removals = 0
        self._in_use: Counter[SeriesKey] = Counter()
        self.disk = Disk(reactor, threads=THREADS, name=f"cache-{root.name}")
        self._behind = Behind(self._write_behind, secs=write_behind_secs, memory_bytes=memory_bytes, clock=reactor)
        self._read_from: WeakKeyDictionary[InstanceFile, str] = WeakKeyDictionary()
        """Files that somebody has, loaded or not any more, and their studies."""
        self._completing: dict[SeriesKey, int] = {}
        """Series that are complete when all that is held of them has been written, and their instances."""
        self.failures = 0
        self.evictions = 0

    def limit(
        self, *, max_bytes: int, max_age_secs: float, write_behind_secs: float = 0.0, memory_bytes: int = 0
    ) -> None:
        """Change the limits, for what comes from now on."""
        self._limits = {"max_bytes": max_bytes, "max_age_secs": max_age_secs}
        if self._store is not None:
            self._store.limit(**self._limits)
        self._behind.limit(secs=write_behind_secs, memory_bytes=memory_bytes)

    async def start(self) -> None:
        """Open the folder; raises `ConfigurationError` when another process has it or it cannot be made."""
        self.disk.start()
        try:
            await self.disk.run(self._open_store)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError((f"the cache folder {self._root} cannot be used: {error}",)) from error

    async def stop(self) -> None:
        """Write what is held, and what was used, and close the folder."""
        if self._store is not None:
            await self._behind.flush()
        if self._touching is not None and self._touching.active():
            self._write_use()
            self._touching.cancel()
        store, self._store = self._store, None
        self._loaded.clear()
        await self.disk.stop()
        store, self._store = store or self._store, None  # it may have been opened meanwhile
        if store is not None:
            store.close()

    def _open_store(self) -> None:
        self._store = self._open(**self._limits)

    @property
    def is_open(self) -> bool:
        """Whether the cache can be used."""
        return self._store is not None and not self._is_left_alone

    @property
    def _is_left_alone(self) -> bool:
        return bool(self._reactor.seconds() < self._closed_until)

    def state(self) -> dict[str, object]:
        """Describe it."""
        return {
            "bytes": self._store.bytes if self._store is not None else 0,
            "open": self.is_open,
            "held_bytes": self._behind.bytes,
            "loaded_series": len(self._loaded),
            "evicted_series": self.evictions,
            "failures": self.failures,
        }

    # Reading

    async def series(self, key: SeriesKey) -> Series:
        """Return what is here of a series: the same object to everybody. Raises `CacheFailed` when that fails."""
        loaded = self._loaded.get(key)
        if loaded is None or self._reactor.seconds() >= loaded.expires_at:
            return await self._loading.wait(key, partial(self._load, key))
        self._loaded.move_to_end(key)
        self._touch(key)
        return loaded

    async def _load(self, key: SeriesKey) -> Series:
        while True:
            removals = self._removals
            series = await self._run(Store.load, key, self.disk)
            if removals == self._removals:  # else it may have been read before something was removed
                break
        series.expires_at = self._reactor.seconds() + series.expires_in
        for entry in series.entries.values():
            self._watch(entry)
        for entry in self._behind.unwritten(key):
            series.entries[entry.sop_instance_uid] = entry
        self._add_loaded(key, series)
        return series

    def _watch(self, entry: Entry) -> None:
        if isinstance(entry.file, InstanceFile):
            key = (entry.study_instance_uid, entry.series_instance_uid)
            entry.file.on_damage = partial(self._damaged, key, entry.sop_instance_uid)  # not a cycle: see `purge`
            self._read_from[entry.file] = entry.study_instance_uid

    async def said(self, study_instance_uid: str) -> str | None:
        """Return what the archive said of a study when it was cached."""
        return await self._run(Store.said, study_instance_uid)

    # Writing

    def hold(self, key: SeriesKey) -> None:
        """Keep a series from being evicted while it is written."""
        self._in_use[key] += 1

    def release(self, key: SeriesKey) -> None:
        """End that."""
        self._in_use[key] -= 1
        if not self._in_use[key]:
            del self._in_use[key]

    async def keep(self, writing: Writing) -> tuple[Entry, bool]:
        """Keep an instance that was received; return its entry, and whether it was kept.

        It is held in memory when there is room, and written later. Raises `OSError` when it fits nowhere. An entry that
        could not be kept is for those who wait for it now.
        """
        held = writing.held()
        if held is not None:
            return await self._hold(writing, held), True
        return await self._write(writing)

    async def _hold(self, writing: Writing, held: HeldFile) -> Entry:
        entry = Entry.of(writing.instance, held)
        key = (entry.study_instance_uid, entry.series_instance_uid)
        series = await self.series(key)
        writing.end(held)
        self.hold(key)
        self._behind.put(writing, entry, held)
        series.entries.setdefault(entry.sop_instance_uid, entry)
        await self._behind.room()
        return entry

    async def _write_behind(self, one: Unwritten) -> None:
        """Write what was held, and let what was written take its place."""
        series = self._loaded.get(one.key)
        try:
            _, kept = await self._write(one.writing, held=one)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - it is not kept then, whatever it was
            self._failed(error)
            kept = False
        if not kept and series is not None and series.entries.get(one.entry.sop_instance_uid) is one.entry:
            del series.entries[one.entry.sop_instance_uid]
            series.complete = False
        self.release(one.key)
        count = self._completing.get(one.key)
        if count is not None and len(self._behind.unwritten(one.key)) == 1:  # which is this one
            del self._completing[one.key]
            with suppress(CacheFailed):
                await self._run(Store.complete, one.key, count)

    async def _write(self, writing: Writing, *, held: Unwritten | None = None) -> tuple[Entry, bool]:
        instance = writing.instance
        removals = self._removals
        layout, checks, kept = await writing.finish(partial(self._keep, instance))
        file = InstanceFile(kept.path, checks, layout, self.disk, descriptor=kept.descriptor, trusted=True)
        if held is None:
            writing.end(file)
        else:
            held.file.settle(file)
        for one in kept.evicted:
            self._removals += 1
            self.evictions += 1
            self._unload(one)
        entry = Entry.of(instance, file)
        if writing.recording.failure is not None:
            self._failed(writing.recording.failure)
        if kept.descriptor is None:
            self._watch(entry)
            key = (instance.study_instance_uid, instance.series_instance_uid)
            if removals != self._removals:  # which may have removed this one again
                self._unload(key)
            with suppress(CacheFailed):  # whoever waits for it can be served
                series = await self.series(key)
                if held is not None and series.entries.get(entry.sop_instance_uid) is held.entry:
                    series.entries[entry.sop_instance_uid] = entry
                series.entries.setdefault(entry.sop_instance_uid, entry)
        return entry, kept.descriptor is None

    def _keep(self, instance: Instance, recording: Recording, layout: Layout | None, checks: Checks) -> Kept:
        store = self._store
        if store is None:
            raise CacheFailed("the cache is closed")
        return store.keep(recording, instance, layout, checks, frozenset(self._in_use), dict(self._touched))

    def new_writing(self, instance: Instance) -> Writing:
        """Return what writes an instance; raises `CacheFailed` when the cache is closed."""
        if self._store is None:
            raise CacheFailed("the cache is closed")
        return Writing(
            instance,
            self._store.incoming(),
            self.disk,
            bulk_threshold=BULK_THRESHOLD,
            hold_bytes=self._behind.hold_bytes,
        )

    async def complete(self, key: SeriesKey, sop_instance_uids: Collection[str]) -> None:
        """Note that these instances are all of a series; unless one of them has been removed again meanwhile."""
        series = await self.series(key)
        if series.entries.keys() >= set(sop_instance_uids):
            series.complete = True
            if self._behind.unwritten(key):
                self._completing[key] = len(series.entries)
            else:
                await self._run(Store.complete, key, len(series.entries))

    async def note_listed(self, key: SeriesKey) -> None:
        """Note that the archive has just listed what is here of a series."""
        (await self.series(key)).listed_at = self._reactor.seconds()

    async def note_said(self, study_instance_uid: str, said: str) -> None:
        """Note what the archive says of a study."""
        await self._run(Store.note_said, study_instance_uid, said)

    # Removing

    async def purge(self, study_instance_uid: str, *, let_finish: bool = False) -> int:
        """Remove a study; return how many instances it had.

        Whoever is being given some of it breaks off at the next file, or with `let_finish` has them to the end. Nobody
        is when nothing refers to a file any more.
        """
        self._unload_study(study_instance_uid)
        held = await self._forget(lambda one: one.entry.study_instance_uid == study_instance_uid)
        being_read = [file for file, study in self._read_from.items() if study == study_instance_uid]
        try:
            return held + await self._run(Store.purge, study_instance_uid, being_read, let_finish=let_finish)
        finally:
            self._removals += 1
            self._unload_study(study_instance_uid)

    def _unload_study(self, study_instance_uid: str) -> None:
        for key in [key for key in self._loaded if key[0] == study_instance_uid]:
            self._unload(key)

    async def drop(self, entry: Entry) -> None:
        """Remove one instance."""
        key = (entry.study_instance_uid, entry.series_instance_uid)
        self._take_out(key, entry.sop_instance_uid, entry.file)
        file = entry.file
        if isinstance(file, HeldFile):
            await self._forget(lambda one: one.entry is entry)
            if file.file is None:
                return
            file = file.file
        await self._drop_file(key, entry.sop_instance_uid, file)

    async def _drop_file(self, key: SeriesKey, sop_instance_uid: str, file: InstanceFile) -> None:
        self._take_out(key, sop_instance_uid, file)
        await self._run(Store.drop, key, file)

    def _take_out(self, key: SeriesKey, sop_instance_uid: str, file: InstanceFile | HeldFile) -> None:
        series = self._loaded.get(key)
        entry = series.entries.get(sop_instance_uid) if series is not None else None
        if series is not None and entry is not None and entry.file is file:
            del series.entries[sop_instance_uid]
            file.close()
            series.complete = False

    async def _forget(self, wanted: Callable[[Unwritten], bool]) -> int:
        """Write these no more; return how many they were."""
        forgotten = self._behind.waiting(wanted)
        for one in forgotten:
            self._completing.pop(one.key, None)
        await self._behind.forget(wanted)
        for one in forgotten:
            self.release(one.key)
        return len(forgotten)

    def _damaged(self, key: SeriesKey, sop_instance_uid: str, file: InstanceFile) -> None:
        """Remove what is not what was written; it is fetched again by whoever asks next."""
        log.warn("a file of the cache is damaged and was removed", sop_instance_uid=sop_instance_uid)
        Deferred.fromCoroutine(self._drop_file(key, sop_instance_uid, file)).addErrback(lambda _: None)

    # What fails

    async def _run(self, function: Callable[Concatenate[Store, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._store is None:
            raise CacheFailed("the cache is closed")
        try:
            return await self.disk.run(function, self._store, *args, **kwargs)
        except CancelledError:
            raise
        except (OSError, sqlite3.Error) as error:
            self._failed(error)
            raise CacheFailed("the cache could not be read or written", log_detail=str(error)) from error

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if not self._is_left_alone:
            log.error("the cache fails and is left alone for {secs:g} s: {error}", secs=RETRY_SECS, error=error)
        self._closed_until = self._reactor.seconds() + RETRY_SECS
        for key in list(self._loaded):
            self._unload(key)

    def _unload(self, key: SeriesKey) -> int:
        """Let go of a series; return how many instances it had."""
        series = self._loaded.pop(key, None)
        if series is None:
            return 0
        for entry in series.entries.values():
            entry.file.close()
        return len(series.entries)

    def _add_loaded(self, key: SeriesKey, series: Series) -> None:
        self._loaded[key] = series
        self._touch(key)
        instances = sum(len(one.entries) for one in self._loaded.values())
        while len(self._loaded) > MAX_LOADED_SERIES or instances > MAX_LOADED_INSTANCES:
            oldest = next((one for one in self._loaded if one != key and one not in self._in_use), None)
            if oldest is None:
                break
            instances -= self._unload(oldest)

    def _touch(self, key: SeriesKey) -> None:
        if self._store is None:
            return
        self._touched[key] = time.time()
        if self._touching is None or not self._touching.active():
            self._touching = self._reactor.callLater(TOUCH_SECS, self._write_use)

    def _write_use(self) -> None:
        times, self._touched = self._touched, {}
        used = [(when, *key) for key, when in times.items()]
        Deferred.fromCoroutine(self._run(Store.used, used)).addErrback(lambda _: None)
