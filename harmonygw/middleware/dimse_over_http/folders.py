"""Instances that were retrieved for somebody, as Part 10 files in a folder of their own, until they are too old.

Each process has a folder below the configured one that nobody else may read, locked for as long as the process lives;
one that nobody has locked was left by a process that is gone, and is removed at the next start.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections import OrderedDict
from contextlib import aclosing, suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from harmonygw.config.system import StorageSettings
from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.disk import Descriptor, Disk
from harmonygw.errors import BadRequest, Busy, PeerError, TransportError
from harmonygw.streams import Instance, Piece, Pieces

log = Logger()

PREFIX: Final = "harmonygw-retrieved-"
"""What the names of the processes' folders begin with."""

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - what is made there is ours alone
"""Where `storage.backend = "memory"` has its files: a file system in memory (Linux)."""

THREADS: Final = 4
"""Threads for files. Default 4: enough to keep a disk busy; retrievals share them piece by piece."""

WRITE_LENGTH: Final = 256 * 1024
"""Bytes that are gathered for one write. Default 256 KiB: less, and going to the thread costs more than writing."""

MAX_FOLDERS: Final = 10_000
"""Answers whose files lie there at a time; further ones are 503. Each is remembered until it is removed."""

BUSY_SECS: Final = 60
"""Seconds after which it may be asked again when there is no room."""


class Folders:
    """The folders of one process."""

    def __init__(self, settings: StorageSettings, reactor: Any) -> None:
        options = settings.options
        self._parent = MEMORY if settings.backend == "memory" else Path(options.path)
        self.max_age_secs = options.max_age_secs
        self._max_bytes = options.max_bytes
        self._reactor = reactor
        self.disk = Disk(reactor, threads=THREADS, name="retrieved")
        self._own: Path | None = None
        self._locked: Descriptor | None = None
        self._sequence = 0
        self._bytes = 0
        self._under_way: set[Folder] = set()
        self._kept: OrderedDict[Folder, float] = OrderedDict()
        """Answers by when they are removed, the oldest first."""
        self._timer: IDelayedCall | None = None

    async def start(self) -> None:
        """Remove what processes that are gone have left, and make a folder; raises `OSError`."""
        self.disk.start()
        self._own, self._locked = await self.disk.run(_make, self._parent)

    async def stop(self) -> None:
        """Remove everything."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        own, self._own = self._own, None
        for folder in (*self._under_way, *self._kept):
            await self._discarded(folder)
        if own is not None:
            await self.disk.run(shutil.rmtree, own, True)
        self._locked = None
        await self.disk.stop()

    def state(self) -> dict[str, object]:
        """Describe them."""
        return {"folder": str(self._own or self._parent), "answers": len(self._kept), "bytes": self._bytes}

    async def make(self) -> "Folder":
        """Make a folder for an answer; raises `Busy` when there are too many, `TransportError` when it cannot be."""
        if self._own is None:
            raise Busy("there is no room for files: the gateway starts or stops")
        if len(self._kept) + len(self._under_way) >= MAX_FOLDERS:
            raise Busy(f"the files of {MAX_FOLDERS} answers lie there already (MAX_FOLDERS)", retry_after=BUSY_SECS)
        self._sequence += 1
        folder = Folder(self, self._own / f"{self._sequence:06d}")
        self._under_way.add(folder)
        try:
            await folder.begin()
        except BaseException:
            self.remove(folder)
            raise
        return folder

    def take_bytes(self, count: int) -> None:
        """Count bytes that are to be written; raises `Busy` when that would be too many."""
        if self._bytes + count > self._max_bytes:
            sentence = f"there is no room for more retrieved files ({self._max_bytes} bytes, storage.options.max_bytes)"
            raise Busy(sentence, retry_after=BUSY_SECS)
        self._bytes += count

    def keep(self, folder: "Folder") -> None:
        """Keep a folder that is complete, until it is too old."""
        self._under_way.discard(folder)
        self._kept[folder] = self._reactor.seconds() + self.max_age_secs
        self._wake()

    def remove(self, folder: "Folder") -> None:
        """Remove a folder, in a thread; nobody waits for that."""
        self._under_way.discard(folder)
        self._kept.pop(folder, None)
        self._bytes -= folder.size
        folder.size = 0
        self._discarded(folder)

    def _discarded(self, folder: "Folder") -> "Deferred[None]":
        return self.disk.tidy(folder.discard).addErrback(
            lambda failure: log.failure("retrieved files could not be removed", failure)
        )

    def _wake(self) -> None:
        if self._timer is None and self._kept and self._own is not None:
            due = next(iter(self._kept.values()))
            self._timer = self._reactor.callLater(max(0.0, due - self._reactor.seconds()), self._remove_old)

    def _remove_old(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        for folder in [one for one, due in self._kept.items() if due <= now]:
            self.remove(folder)
        self._wake()


class Folder:
    """The files of one answer. They are numbered: no name of a file is anything that an archive has said."""

    def __init__(self, folders: Folders, path: Path) -> None:
        self.path = path
        self.size = 0
        """Bytes of its files."""
        self._folders = folders
        self._count = 0
        self._turn = Lock()
        self._discarded = False

    async def begin(self) -> None:
        """Make it; raises `TransportError` when that cannot be."""
        await self._try(self._make)

    async def write(self, instance: Instance) -> str:
        """Write an instance as a Part 10 file, and return its name.

        The data set is read to its end or given up. Raises what it raises, `Busy` when there is no room by the limits,
        `TransportError` when there is none on the disk; then the folder is incomplete.
        """
        self._count += 1
        name = f"{self._count:06d}.dcm"
        gathered: list[Piece] = [_header(instance)]
        length = len(gathered[0])
        file = _File(self.path / name)
        async with aclosing(instance.data_set):
            async for pieces in instance.data_set:
                gathered += pieces
                length += sum(map(len, pieces))
                if length >= WRITE_LENGTH:
                    await self._append(file, gathered, length, last=False)
                    gathered, length = [], 0
        await self._append(file, gathered, length, last=True)
        return name

    async def _append(self, file: "_File", pieces: Pieces, length: int, *, last: bool) -> None:
        self._folders.take_bytes(length)
        self.size += length
        await self._try(self._write, file, pieces, last)

    async def _try(self, function: Any, *args: Any) -> None:
        try:
            await self._folders.disk.run(function, *args)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            sentence = "there is no room on the gateway's disk" if full else "the gateway's disk cannot be written"
            raise TransportError(f"{sentence} (storage.options.path)", log_detail=str(error)) from error

    # What blocks

    def _make(self) -> None:
        with self._turn:
            if not self._discarded:
                self.path.mkdir(mode=0o700)

    def _write(self, file: "_File", pieces: Pieces, last: bool) -> None:
        with self._turn:
            if self._discarded:
                raise OSError(errno.ECANCELED, "the folder was given up")
            file.write(pieces)
            if last:
                file.finish()

    def discard(self) -> None:
        """Remove it; what is written to it after that fails."""
        with self._turn:
            self._discarded = True
            if self.path.exists():
                shutil.rmtree(self.path)


class _File:
    """A file that has its name only once it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_suffix(".part")
        self._descriptor: Descriptor | None = None

    def write(self, pieces: Pieces) -> None:
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = Descriptor(os.open(self._part, flags, 0o600))
        data = memoryview(b"".join(pieces))
        while data:
            data = data[os.write(self._descriptor.number, data) :]

    def finish(self) -> None:
        if self._descriptor is not None:
            self._descriptor.close()
        self._part.rename(self._path)


def _header(instance: Instance) -> bytes:
    try:
        return file_header(
            instance.sop_class_uid,
            instance.sop_instance_uid,
            instance.transfer_syntax_uid,
            source_ae_title=instance.receiving_ae_title,
            sending_ae_title=instance.source_ae_title,
        )
    except BadRequest as error:
        raise PeerError(f"the archive sent an object that cannot be written: {error.detail}", source=0) from error


def _make(parent: Path) -> tuple[Path, Descriptor]:
    """Return a new folder below `parent`, locked; what processes that are gone have left there is removed."""
    if parent != MEMORY:
        parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_abandoned(left)
    while True:
        own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)).resolve()
        locked = Descriptor(os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        # Another process that starts may have found it before it was locked, and removes it.
        with suppress(BlockingIOError):
            fcntl.flock(locked.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if own.exists():
                return own, locked


def _remove_abandoned(folder: Path) -> None:
    """Remove a folder of ours that no process has locked; raises `OSError` when one has."""
    found = Descriptor(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
    if os.fstat(found.number).st_uid == os.geteuid():
        fcntl.flock(found.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
