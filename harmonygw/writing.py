"""Instances on their way into local files: written as they come, and followed while they grow.

While an instance is written its layout is found and each block of it checked, so that parts can be read, and trusted,
later. What blocks runs in threads.

When the disk takes no more, what has been written moves into memory and the rest follows it there: the reader is
served, and nothing stays. Such a file is volatile.
"""

import errno
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from threading import Lock
from typing import Final, TypeVar
from zlib import crc32

from twisted.internet.defer import Deferred

from harmonygw.dicom.dataset.layout import Layout, LayoutScan
from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.disk import Descriptor, Disk, Memory
from harmonygw.errors import HarmonyError, PeerError, TransportError
from harmonygw.files import BLOCK_LENGTH, CHECK_LENGTH, PIECE_LENGTH, Checks, HeldFile, InstanceFile, again
from harmonygw.streams import Instance, Piece, Pieces

T = TypeVar("T")

WRITE_LENGTH: Final = 256 * 1024
"""Bytes that are gathered for one write unless somebody follows. Default 256 KiB: below, going to a thread costs more
than writing."""

WRITE_BEHIND: Final = 2 * 1024 * 1024
"""Bytes that wait while a thread writes. Default 2 MiB: the archive sends on meanwhile, and memory is bounded."""

MAX_BUFFERS: Final = 512
"""Buffers of one `writev`; Linux takes 1024 (IOV_MAX)."""


class Recording:
    """A file that is being written. Its methods block."""

    def __init__(self, path: Path, header: bytes, disk: Disk) -> None:
        self.path = path
        self.failure: Exception | None = None
        """Why it is volatile, or was not kept."""
        self._disk = disk
        self._header = header
        self._descriptor: Descriptor | None = None
        self._size = 0
        self._block = 0
        self._room = BLOCK_LENGTH
        self._blocks: list[bytes] = []
        self._turn = Lock()
        self._discarded = False

    @property
    def volatile(self) -> bool:
        """Whether it lies in memory."""
        return isinstance(self._descriptor, Memory)

    def write(self, pieces: Pieces) -> None:
        """Append; raises `OSError` when neither the disk nor memory takes it."""
        with self._turn:
            if self._discarded:
                raise OSError(errno.ECANCELED, "the file was given up")
            if self._header:
                pieces, self._header = (self._header, *pieces), b""
            for start in range(0, len(pieces), MAX_BUFFERS):
                self._append([memoryview(piece) for piece in pieces[start : start + MAX_BUFFERS]])

    def finish(self) -> tuple[int, bytes]:
        """Return when it was last written, and what its blocks hash to."""
        with self._turn:
            if self._room != BLOCK_LENGTH:
                self._end_block()
            return os.fstat(self._opened().number).st_mtime_ns, b"".join(self._blocks)

    def read(self, offset: int, length: int) -> bytes:
        """Read what has been written, from an offset in the file; nothing when it has been closed since."""
        with self._turn:
            return b"" if self._descriptor is None else os.pread(self._descriptor.number, length, offset)

    def detach(self) -> Descriptor:
        """Return the descriptor, which is the caller's from now on; raises `OSError` when it was given up."""
        with self._turn:
            descriptor, self._descriptor = self._opened(), None
            return descriptor

    def discard(self) -> None:
        """Close and remove it, as far as the disk lets us; nothing is written from now on."""
        self._discarded = True
        with self._turn, suppress(OSError):
            descriptor, self._descriptor = self._descriptor, None
            if not isinstance(descriptor, Memory):
                self.path.unlink(missing_ok=True)
            if descriptor is not None:
                descriptor.close()  # what failed may hold a reference for a while

    def _opened(self) -> Descriptor:
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the file was given up")
        return self._descriptor

    def _append(self, views: list[memoryview]) -> None:
        for view in views:
            self._hash(view)
        while views:
            if isinstance(self._descriptor, Memory):
                self._descriptor.grow(self._size + sum(map(len, views)))
            try:
                if self._descriptor is None:
                    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                    self._descriptor = Descriptor(os.open(self.path, flags, 0o600))
                written = os.writev(self._descriptor.number, views)
            except OSError as error:
                if self.volatile:
                    raise
                self._move_to_memory(error)
                continue
            self._size += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]

    def _hash(self, view: memoryview) -> None:
        while len(view) >= self._room:
            self._block = crc32(view[: self._room], self._block)
            view = view[self._room :]
            self._end_block()
        if view:
            self._block = crc32(view, self._block)
            self._room -= len(view)

    def _end_block(self) -> None:
        self._blocks.append(self._block.to_bytes(CHECK_LENGTH))
        self._block = 0
        self._room = BLOCK_LENGTH

    def _move_to_memory(self, failure: OSError) -> None:
        memory = Memory(os.memfd_create("harmonygw", os.MFD_CLOEXEC), self._disk)
        memory.grow(self._size)
        offset = 0
        while offset < self._size:
            written = os.pread(self._opened().number, BLOCK_LENGTH, offset)
            if not written:
                raise OSError(errno.EIO, "the file is shorter than what was written")
            offset += os.write(memory.number, written)
        if self._descriptor is not None:
            self.path.unlink(missing_ok=True)
        self._descriptor = memory
        self.failure = failure.with_traceback(None)  # whose frames would keep the file from ending


class Writing:
    """One instance on its way into a file; others may follow it meanwhile."""

    def __init__(self, instance: Instance, path: Path, disk: Disk, *, bulk_threshold: int, hold_bytes: int = 0) -> None:
        self.instance = instance
        self.header = file_header(
            instance.sop_class_uid,
            instance.sop_instance_uid,
            instance.transfer_syntax_uid,
            source_ae_title=instance.receiving_ae_title,
            sending_ae_title=instance.source_ae_title,
        )
        self.recording = Recording(path, self.header, disk)
        self.file: InstanceFile | HeldFile | None = None
        """What came of it: set by whoever runs it, for those who follow it to its end."""
        self.undecodable: set[str] = set()
        """Tags of values with bytes that their character set lacks."""
        self._disk = disk
        self._scan: LayoutScan | None = LayoutScan(instance.transfer_syntax_uid, bulk_threshold=bulk_threshold)
        self._hold_bytes = hold_bytes
        """Bytes up to which nothing is given to a thread: an instance that is not longer is held in memory first."""
        self._found: Layout | None = None
        self._ahead: list[Piece] = []
        """What has come and was not given to a thread yet."""
        self._length = 0
        self._written = 0
        self._writing: Deferred[None] | None = None
        self._not_written: Exception | None = None
        self._failure: BaseException | None = None
        self._followers: list[Deferred[None]] = []
        self._followed = 0
        """How many follow it, so that it is worth writing little by little."""

    async def run(self, keep: Callable[[Recording, Layout | None, Checks], T]) -> tuple[Layout | None, Checks, T]:
        """Write it all: `receive`, and `finish`."""
        await self.receive()
        return await self.finish(keep)

    async def receive(self) -> None:
        """Take the whole data set, and write it as far as threads keep up.

        Raises what the data set raises, and `OSError`; then nothing of it will be left.
        """
        try:
            async for pieces in self.instance.data_set:
                self._look_at(pieces)
                self._ahead.extend(pieces)
                self._length += sum(map(len, pieces))
                if self._is_held:
                    self._progress(0)
                    continue
                self._push()
                if self._not_written is not None or self._length - self._written > WRITE_BEHIND:
                    await self._pushed()
        except BaseException as error:
            await self.give_up(error)
            raise

    @property
    def _is_held(self) -> bool:
        """Whether everything that has come is in memory, and is to stay there until it is whole."""
        return self._length <= self._hold_bytes and not self._written and self._writing is None

    def held(self) -> HeldFile | None:
        """Return what was received as long as it is in memory; None when it is longer than may be held."""
        return HeldFile(self._ahead, self._length, self._layout()) if self._is_held else None

    async def finish(self, keep: Callable[[Recording, Layout | None, Checks], T]) -> tuple[Layout | None, Checks, T]:
        """Write the end; `keep` is called in the thread that wrote it, and takes the recording over.

        Returns the layout, None when the data set is malformed, the file's checks, and what `keep` returned. Raises
        `OSError`, and what `keep` raises; then nothing of it will be left.
        """
        try:
            layout = self._layout()
            await self._pushed()
            ahead, self._ahead = self._ahead, []
            checks, kept = await self._disk.run(self._end, ahead, self._length, layout, keep)
            return layout, checks, kept
        except BaseException as error:
            await self.give_up(error)
            raise

    def _push(self) -> None:
        """Let a thread write what has come, unless one does, or it is too little for that and nobody follows."""
        if self._is_held:
            return
        waiting = self._length - self._written
        enough = self._ahead and (self._followed or waiting >= WRITE_LENGTH)
        if enough and self._writing is None and self._not_written is None:  # nothing behind what is missing
            self._writing = Deferred.fromCoroutine(self._write())

    async def _write(self) -> None:
        try:
            while self._ahead and (self._followed or self._length - self._written >= WRITE_LENGTH):
                ahead, self._ahead = self._ahead, []
                length = self._length
                await self._disk.run(self.recording.write, ahead)
                self._progress(length)
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits for it
            self._not_written = error
        finally:
            self._writing = None

    async def _pushed(self) -> None:
        """Wait for the thread that writes; raises what it raised."""
        if self._writing is not None:
            await self._writing
        if self._not_written is not None:
            raise self._not_written

    async def give_up(self, error: BaseException) -> None:
        """Remove what was written, and tell the archive and whoever follows."""
        self._disk.tidy(self.recording.discard)  # nobody waits for that: the archive is told at once
        self.fail(error)
        await self.instance.data_set.aclose()

    async def follow(self) -> AsyncGenerator[Pieces, None]:
        """Yield the data set as it is written; raises what ends the writing before its end."""
        self._followed += 1
        self._push()
        try:
            async with aclosing(self._follow()) as pieces:
                async for some in pieces:
                    yield some
        finally:
            self._followed -= 1

    async def _follow(self) -> AsyncGenerator[Pieces, None]:
        offset = taken = 0
        while self.file is None and self._is_held and self._failure is None:
            if taken < len(self._ahead):
                new = self._ahead[taken:]
                taken += len(new)
                offset += sum(map(len, new))
                yield new
            else:
                await self._more()
        while self.file is None:
            piece = b""
            if offset < self._written:
                size = min(PIECE_LENGTH, self._written - offset)
                piece = await self._disk.run(self.recording.read, len(self.header) + offset, size)
            if piece:
                offset += len(piece)
                yield (piece,)
            elif self._failure is not None:
                raise again(self._failure)
            elif self.file is None:
                await self._more()
        async with aclosing(self.file.pieces(offset)) as rest:
            async for pieces in rest:
                yield pieces

    def _more(self) -> "Deferred[None]":
        progress: Deferred[None] = Deferred(self._followers.remove)
        self._followers.append(progress)
        return progress

    def end(self, file: InstanceFile | HeldFile) -> None:
        """Give the file to whoever follows."""
        self.file = file
        self._progress(self._written)

    def fail(self, error: BaseException) -> None:
        """Tell whoever follows that there is no end."""
        told = isinstance(error, HarmonyError)
        self._failure = error if told else TransportError("the object could not be written to its end")
        self._progress(self._written)

    def _end(
        self,
        last: Pieces,
        length: int,
        layout: Layout | None,
        keep: Callable[[Recording, Layout | None, Checks], T],
    ) -> tuple[Checks, T]:
        self.recording.write(last)
        checks = Checks(len(self.header), length, *self.recording.finish())
        return checks, keep(self.recording, layout, checks)

    def _look_at(self, pieces: Pieces) -> None:
        if self._scan is not None:
            try:
                self._scan.feed(pieces)
            except PeerError:
                self._scan = None

    def _layout(self) -> Layout | None:
        scan, self._scan = self._scan, None
        if scan is not None:
            with suppress(PeerError):
                self._found = scan.finish(
                    default_character_set=self.instance.default_character_set, on_undecodable=self.undecodable.add
                )
        return self._found

    def _progress(self, written: int) -> None:
        self._written = written
        followers, self._followers = self._followers, []
        for follower in followers:
            follower.callback(None)


async def spool(instance: Instance, path: Path, disk: Disk, *, bulk_threshold: int) -> InstanceFile:
    """Write an instance into a file that ends with the object returned, whatever happens to the process.

    Raises what the instance's data set raises, and `TransportError` when neither disk nor memory takes it.
    """

    def keep(recording: Recording, layout: Layout | None, checks: Checks) -> Descriptor:
        if not recording.volatile:
            path.unlink()
        return recording.detach()

    writing = Writing(instance, path, disk, bulk_threshold=bulk_threshold)
    try:
        layout, checks, descriptor = await writing.run(keep)
    except OSError as error:
        raise TransportError("there is no room for the object on the gateway's disk", log_detail=str(error)) from error
    return InstanceFile(path, checks, layout, disk, descriptor=descriptor, trusted=True)
