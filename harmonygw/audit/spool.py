"""Where messages wait: on disk, in order, over a restart, until they have been delivered.

`append` returns when the message is in the system's hands: it outlives our death then. A thread has it on the disk
itself `sync_secs` later, which is what a loss of power can cost; with 0, `append` waits for the disk. What is delivered
is noted without waiting: a note that is lost costs that messages come twice, and never that one does not come.
"""

import errno
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from harmonygw.audit import records
from harmonygw.audit.folder import Folder, Position, segment_path
from harmonygw.config.audit import Audit
from harmonygw.disk import Descriptor, Disk
from harmonygw.errors import ConfigurationError, Unrecorded

SEGMENT_BYTES: Final = 4 * 1024 * 1024
"""Bytes of a segment, in a small spool an eighth of it. Default 4 MiB: what is delivered frees the disk by segments,
and what comes twice when a note is lost is less than one."""

SEGMENTS: Final = 8
"""Segments that a small spool has."""

PROBE_SECS: Final = 5.0
"""Seconds between attempts to write to a disk that did not take a message. That it takes another one is no sign of
health: a short one has room at the end of a block of a disk that is full."""

FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""What is said of a folder that is not for us to write to."""

FULL: Final = "the spool is full (max_spool_bytes)"

log = Logger(namespace="harmonygw.audit")


class Batch(NamedTuple):
    """Messages that follow one another."""

    messages: list[bytes]
    end: Position
    """Behind the last of them."""


@dataclass(slots=True)
class _Segment:
    number: int
    size: int = 0
    descriptor: Descriptor | None = field(default=None, repr=False)
    is_synced: bool = True


class Spool:
    """A bounded queue on disk. All of it is called in the reactor's thread."""

    def __init__(self, settings: Audit, reactor: Any, disk: Disk, *, now: Callable[[], float] = time.time) -> None:
        self._path = Path(settings.spool_path)
        self._max_bytes = settings.max_spool_bytes
        self._sync_secs = settings.sync_secs
        self._largest = records.HEADER_LENGTH + settings.max_message_bytes
        self._segment_bytes = min(SEGMENT_BYTES, settings.max_spool_bytes // SEGMENTS)
        self._reactor = reactor
        self._disk = disk
        self._now = now
        self._folder: Folder | None = None
        self._segments: dict[int, _Segment] = {}  # ascending; the last one is appended to, if it has a descriptor
        self._next_number = 1
        self._bytes = 0
        self._confirmed = Position(1, 0)
        self._trouble: str = ""
        self._probe: IDelayedCall | None = None
        self._sync: IDelayedCall | None = None
        self._syncing: Deferred[None] | None = None
        self.waiting = 0
        """Messages that have not been delivered."""
        self._seen = Position(0, 0)
        self._is_full = False
        self.damaged = 0
        """Stretches of segments that were no records: each at least one message that nobody will see."""

        self.aside = 0
        """Messages that were set aside: the collector takes none of such length."""

    async def start(self) -> None:
        """Take what is there. Raises `ConfigurationError` when the folder cannot be had, or is not for us to read and
        write. A disk that is full is no reason: what waits may be what fills it, and is delivered."""
        folder = await self._disk.run(Folder, self._path)
        trouble = None
        try:
            confirmed, found = await self._disk.run(folder.recover)
            trouble = await self._disk.run(_probe, folder)
        except OSError as error:
            folder.close()
            raise ConfigurationError((f"audit.spool_path: {self._path}: {error.strerror}",)) from error
        for one in found:
            self._segments[one.number] = _Segment(one.number, one.size)
            self._bytes += one.size
            self.waiting += one.waiting
            if one.torn:
                log.warn(
                    "audit: the end of {path} was no whole record; cut off: {torn} bytes",
                    path=str(segment_path(self._path, one.number)),
                    torn=one.torn,
                )
        self._confirmed = confirmed
        self._next_number = max([confirmed.segment, *[one.number + 1 for one in found]])
        self._folder = folder
        if trouble is not None:
            self._fail(trouble)

    async def stop(self) -> None:
        """Have everything on the disk, and let go of the folder."""
        for timer in (self._probe, self._sync):
            if timer is not None and timer.active():
                timer.cancel()
        self._probe = self._sync = None
        folder, self._folder = self._folder, None
        if folder is None:
            return
        if self._syncing is not None:
            await self._syncing
            self._syncing = None
        unsynced = self._unsynced()
        with suppress(OSError):
            await self._disk.run(_sync, folder, [one.descriptor for one in unsynced])
        for segment in self._segments.values():
            segment.descriptor = None
        folder.close()

    @property
    def is_empty(self) -> bool:
        """Whether everything has been delivered."""
        return self.waiting == 0

    @property
    def size(self) -> int:
        """Bytes of all segments; some at the beginning may have been delivered."""
        return self._bytes

    @property
    def confirmed(self) -> Position:
        """What has been delivered."""
        return self._confirmed

    @property
    def refusal(self) -> str:
        """Why a message would not be taken; empty when it would."""
        if self._folder is None:
            return "the spool is not open"
        if self._bytes + self._largest > self._max_bytes:
            return FULL
        return self._trouble

    def append(self, message: bytes) -> None:
        """Take a message; raises `Unrecorded` when it cannot be kept, and then nothing of it is."""
        record = records.encode(message, self._now())
        if self._folder is None:
            raise Unrecorded("the audit trail takes no record", log_detail="the spool is not open")
        if self._bytes + len(record) > self._max_bytes:
            self._fill_up()
            raise Unrecorded("the audit trail takes no record", log_detail=FULL)
        try:
            segment, descriptor = self._current(self._folder, len(record))
            self._write(segment, descriptor, record)
        except OSError as error:
            self._fail(error)
            raise Unrecorded("the audit trail takes no record", log_detail=self._trouble) from error
        self.waiting += 1
        if self._sync_secs and self._sync is None:
            self._sync = self._reactor.callLater(self._sync_secs, self._begin_sync, self._folder)

    def _current(self, folder: Folder, length: int) -> tuple[_Segment, Descriptor]:
        """Return the segment for a record, a new one when the last one is full."""
        last = next(reversed(self._segments.values()), None)
        if last is not None and last.descriptor is not None and last.size + length <= self._segment_bytes:
            return last, last.descriptor
        descriptor = folder.begin(self._next_number)
        segment = _Segment(self._next_number, 0, descriptor)
        self._next_number += 1
        if last is not None and last.is_synced:
            last.descriptor = None
        self._segments[segment.number] = segment
        if not self._sync_secs:
            try:
                folder.sync()
            except OSError:
                self._give_up(segment)
                raise
        return segment, descriptor

    def _write(self, segment: _Segment, descriptor: Descriptor, record: bytes) -> None:
        is_written = False
        try:
            if os.write(descriptor.number, record) != len(record):
                raise OSError("the disk is full")
            is_written = True
            if not self._sync_secs:
                os.fdatasync(descriptor.number)
        except OSError:
            # What a failed sync leaves in memory may never reach the disk: nothing more is added to that segment.
            if not self._take_back(segment, descriptor) or is_written:
                self._give_up(segment)
            raise
        segment.size += len(record)
        segment.is_synced = not self._sync_secs
        self._bytes += len(record)

    def _take_back(self, segment: _Segment, descriptor: Descriptor) -> bool:
        """Remove what was written of a record that was not written whole; whether that could be done."""
        try:
            os.ftruncate(descriptor.number, segment.size)
        except OSError:
            return False
        return True

    def _give_up(self, segment: _Segment) -> None:
        """Append to a segment no more. One that is empty goes: a disk that is full for a day leaves none behind."""
        segment.descriptor = None
        if not segment.size:
            del self._segments[segment.number]
            with suppress(OSError):
                segment_path(self._path, segment.number).unlink()

    # Reading

    async def read(self, after: Position, limit: int) -> Batch:
        """Return the messages that follow a position, `limit` bytes or one message; none at the end.

        Raises `Unrecorded` when they cannot be read now.
        """
        while True:
            segment = self._segments.get(after.segment)
            if segment is None or after.offset >= segment.size:
                following = next((number for number in self._segments if number > after.segment), None)
                if following is None:
                    return Batch([], after)
                after = Position(following, 0)
                continue
            path = segment_path(self._path, segment.number)
            try:
                part = await self._disk.run(_read, path, after.offset, segment.size, limit)
            except FileNotFoundError:
                part = _Part([], 0, 0, segment.size - after.offset)
            except OSError as error:
                raise Unrecorded("the spool cannot be read", log_detail=f"{path}: {error}") from error
            after = Position(segment.number, after.offset + part.length + part.missing)
            if after > self._seen:  # what is read again has been told of
                self._seen = after
                self._tell_of_damage(path, part.damaged + part.missing)
            if part.messages:
                return Batch(part.messages, after)

    def _tell_of_damage(self, path: Path, size: int) -> None:
        if size:
            self.damaged += 1
            log.error("audit: {size} bytes of {path} are damaged: records are lost", size=size, path=str(path))

    def settle(self, end: Position) -> None:
        """Note that a reader has come to the end, and everything before it has been delivered or is damaged."""
        if end > self._confirmed or self.waiting:
            self.deliver(end, self.waiting)

    def deliver(self, position: Position, messages: int) -> None:
        """Note that so many messages more have been delivered, up to a position.

        Segments before it are removed; where there is no room the last one is too, once it has been delivered.
        """
        if self._folder is None:
            return
        self._confirmed = position
        self.waiting -= messages
        with suppress(OSError):  # the messages after an older note come twice
            self._folder.delivered(position)
        behind = position.segment + (1 if self.is_empty and (self._trouble or self._is_full) else 0)
        for number in [number for number in self._segments if number < behind]:
            self._remove(self._folder, self._segments.pop(number))
        if self._is_full and self._bytes + self._largest <= self._max_bytes:
            self._is_full = False
            log.info("audit: there is room in {path} again", path=str(self._path))

    def _remove(self, folder: Folder, segment: _Segment) -> None:
        self._bytes -= segment.size
        segment.descriptor = None
        # One that stays is removed at the next start.
        self._disk.tidy(lambda: folder.remove(segment.number)).addErrback(lambda failure: failure.trap(OSError))

    def oldest(self) -> float | None:
        """Return since when, in seconds since 1970, the first message waits; None when there is none, or no telling."""
        if self._folder is None or self.is_empty:
            return None
        segment, offset = self._confirmed
        if segment not in self._segments or offset >= self._segments[segment].size:
            segment, offset = next((number for number in self._segments if number > segment), 0), 0
        with suppress(OSError), segment_path(self._path, segment).open("rb") as file:
            file.seek(offset)
            return records.time_of(file.read(records.HEADER_LENGTH))
        return None

    async def set_aside(self, message: bytes) -> None:
        """Keep a message that the collector will never take in a file of its own, `set-aside`, for somebody to see."""
        if self._folder is None:
            return
        try:
            await self._disk.run(self._folder.set_aside, message, self._max_bytes)
        except OSError as error:
            self.damaged += 1
            log.error("audit: a record of {size} bytes is lost: {error}", size=len(message), error=str(error))
        else:
            self.aside += 1
            log.error(
                "audit: a record of {size} bytes is too long for the collector; it is in {path}",
                size=len(message),
                path=str(self._path / "set-aside"),
            )

    # The disk itself

    def _unsynced(self) -> list[_Segment]:
        return [one for one in self._segments.values() if not one.is_synced]

    def _begin_sync(self, folder: Folder) -> None:
        self._sync = None
        if self._syncing is None or self._syncing.called:
            self._syncing = Deferred.fromCoroutine(self._sync_once(folder))
        else:
            self._sync = self._reactor.callLater(self._sync_secs, self._begin_sync, folder)

    async def _sync_once(self, folder: Folder) -> None:
        unsynced = self._unsynced()
        for segment in unsynced:
            segment.is_synced = True  # what is appended meanwhile says otherwise again
        try:
            await self._disk.run(_sync, folder, [one.descriptor for one in unsynced])
        except OSError as error:
            for segment in unsynced:
                segment.descriptor = None
            self._fail(error)
        last = next(reversed(self._segments.values()), None)
        for segment in unsynced:
            if segment is not last and segment.is_synced:
                segment.descriptor = None

    def _fill_up(self) -> None:
        if not self._is_full:
            self._is_full = True
            log.error("audit: {path} is full: records are lost (max_spool_bytes)", path=str(self._path))

    def _fail(self, error: OSError) -> None:
        if not self._trouble:
            log.error("audit: records cannot be written to {path}: {error}", path=str(self._path), error=str(error))
        self._trouble = str(error)
        if self._probe is None and self._folder is not None:
            self._probe = self._reactor.callLater(PROBE_SECS, self._begin_probe)

    def _begin_probe(self) -> None:
        Deferred.fromCoroutine(self._probe_once())

    async def _probe_once(self) -> None:
        folder = self._folder
        if folder is None or not self._trouble:
            self._probe = None
            return
        try:
            await self._disk.run(folder.probe)
        except OSError:
            if self._folder is not None:
                self._probe = self._reactor.callLater(PROBE_SECS, self._begin_probe)
        else:
            self._probe = None
            self._trouble = ""
            log.info("audit: records are written to {path} again", path=str(self._path))


def _sync(folder: Folder, descriptors: Sequence[Descriptor | None]) -> None:
    for descriptor in descriptors:
        if descriptor is not None:
            os.fdatasync(descriptor.number)
    folder.sync()


def _probe(folder: Folder) -> OSError | None:
    """Return why the disk takes nothing now; raises `OSError` when it never will."""
    try:
        folder.probe()
    except OSError as error:
        if error.errno in FORBIDDEN:
            raise
        return error
    return None


class _Part(NamedTuple):
    messages: list[bytes]
    length: int
    damaged: int
    missing: int


def _read(path: Path, offset: int, size: int, limit: int) -> _Part:
    """Read messages between two offsets; what the file does not have any more is missing."""
    with path.open("rb") as file:
        there = min(os.fstat(file.fileno()).st_size, size)
        found = records.Read([], [], 0, 0)
        for length in (limit, records.MAX_RECORD_BYTES):
            file.seek(offset)
            part = file.read(max(0, min(length, there - offset)))
            found = records.read(part, to_the_end=offset + len(part) >= there)
            if found.length:
                break
    at_the_end = offset + found.length >= there
    return _Part(found.messages, found.length, found.damaged, size - max(there, offset) if at_the_end else 0)
