"""What has landed and is not written yet: viewers are served from memory first, and the disk has its turn after that.

Writing takes as much of the machine as receiving does. So an instance that is not too long stays in memory for a
moment, and is written when that is over, when memory becomes short, or when the cache is closed.
"""

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from harmonygw.files import HeldFile
from harmonygw.middleware.cache.entries import Entry
from harmonygw.middleware.cache.store import SeriesKey
from harmonygw.writing import Writing

log = Logger()

MAX_HELD_LENGTH: Final = 8 * 1024 * 1024
"""Bytes of an instance that is held. Default 8 MiB: a slice, a radiograph; what is longer is written while it comes."""


@dataclass(frozen=True, slots=True)
class Unwritten:
    """An instance that is to be written."""

    writing: Writing
    entry: Entry
    file: HeldFile
    due: float
    """When it is to be written at the latest, in seconds of the clock."""

    @property
    def key(self) -> SeriesKey:
        """Its series."""
        return self.entry.study_instance_uid, self.entry.series_instance_uid


class Behind:
    """The queue of what is to be written, and who writes it: one instance at a time, the first that came first.

    `write` writes one; it must not fail. `secs` is how long one is held, 0 for not at all; `memory_bytes` bounds all.
    """

    def __init__(
        self, write: Callable[[Unwritten], Awaitable[None]], *, secs: float, memory_bytes: int, clock: Any
    ) -> None:
        self._write = write
        self._secs = secs
        self._memory_bytes = memory_bytes
        self._clock = clock
        self._queue: deque[Unwritten] = deque()
        self._series: Counter[SeriesKey] = Counter()
        self._now_writing: Unwritten | None = None
        self._timer: Any = None
        self._running = False
        self._urgent = False
        self._changed: list[Deferred[None]] = []
        self.bytes = 0
        """Bytes that are held."""

    def limit(self, *, secs: float, memory_bytes: int) -> None:
        """Change the limits, for what is put from now on."""
        self._secs = secs
        self._memory_bytes = memory_bytes
        self._go_on()

    @property
    def hold_bytes(self) -> int:
        """Bytes of the longest instance that may be held now."""
        return MAX_HELD_LENGTH if self._secs and self.bytes < self._memory_bytes else 0

    def put(self, writing: Writing, entry: Entry, file: HeldFile) -> None:
        """Hold an instance, and write it when its time comes."""
        self._queue.append(Unwritten(writing, entry, file, self._clock.seconds() + self._secs))
        self._series[self._queue[-1].key] += 1
        self.bytes += file.length
        self._go_on()

    def unwritten(self, key: SeriesKey) -> list[Entry]:
        """Return what is held of a series."""
        return [one.entry for one in self._all() if one.key == key] if key in self._series else []

    def waiting(self, wanted: Callable[[Unwritten], bool]) -> list[Unwritten]:
        """Return those of what waits, and is not being written, that are wanted."""
        return [one for one in self._queue if wanted(one)]

    async def room(self) -> None:
        """Wait until less is held than may be."""
        while self.bytes >= self._memory_bytes:
            self._go_on()
            await self._change()

    async def forget(self, wanted: Callable[[Unwritten], bool]) -> None:
        """Write these no more; wait for one that is being written."""
        kept = deque(one for one in self._queue if not wanted(one))
        for one in self._queue:
            if wanted(one):
                self._left(one)
        self._queue = kept
        self._tell()
        while self._now_writing is not None and wanted(self._now_writing):
            await self._change()

    async def flush(self) -> None:
        """Write everything now."""
        self._urgent = True
        try:
            while self._queue or self._now_writing is not None:
                self._go_on()
                await self._change()
            if self._timer is not None and self._timer.active():
                self._timer.cancel()  # of what was forgotten
        finally:
            self._urgent = False

    def _all(self) -> list[Unwritten]:
        return [*([self._now_writing] if self._now_writing is not None else ()), *self._queue]

    def _go_on(self) -> None:
        """Write when it is time, else wait for that."""
        if self._running or not self._queue:
            return
        wait = self._queue[0].due - self._clock.seconds()
        if self._urgent or wait <= 0 or self.bytes >= self._memory_bytes:
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            self._running = True
            Deferred.fromCoroutine(self._run())
        elif self._timer is None or not self._timer.active():
            self._timer = self._clock.callLater(wait, self._go_on)

    async def _run(self) -> None:
        try:
            while self._queue and (self._urgent or self._is_due(self._queue[0])):
                one = self._now_writing = self._queue.popleft()
                try:
                    await self._write(one)
                finally:
                    self._now_writing = None
                    self._left(one)
                    self._tell()
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - what follows must be written all the same
            log.failure("an instance could not be written behind, in a way nobody foresaw")
        finally:
            self._running = False
            self._go_on()

    def _is_due(self, one: Unwritten) -> bool:
        return one.due <= self._clock.seconds() or self.bytes >= self._memory_bytes

    def _left(self, one: Unwritten) -> None:
        self.bytes -= one.file.length
        self._series[one.key] -= 1
        if not self._series[one.key]:
            del self._series[one.key]

    def _change(self) -> "Deferred[None]":
        changed: Deferred[None] = Deferred(self._changed.remove)
        self._changed.append(changed)
        return changed

    def _tell(self) -> None:
        changed, self._changed = self._changed, []
        for one in changed:
            one.callback(None)
