"""Instances in local files: written as they come, followed while they grow, read by parts once they are whole.

A file holds one instance as Part 10: a header of ours, and the data set as the archive sent it. While it is written its
layout is found and each block of it hashed, so that parts can be read, and trusted, later. What blocks runs in threads.

When the disk takes no more, what has been written moves into memory and the rest follows it there: the reader is
served, and nothing stays. Such a file is volatile.
"""

import errno
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Final, ParamSpec, TypeVar, cast
from zlib import crc32

from twisted.internet.defer import Deferred

from harmonygw.dicom.dataset.layout import Layout, LayoutScan
from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.disk import Descriptor, Disk, Memory
from harmonygw.errors import Busy, HarmonyError, PeerError, TransportError
from harmonygw.streams import Instance, Piece, Pieces

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

BLOCK_LENGTH: Final = 1 << 20
"""Bytes that are checked together. Default 1 MiB: what a first read of a part has to verify beyond the part."""

CHECK_LENGTH: Final = 4
"""Bytes of a block's CRC-32: against decay, not against an adversary, who could write the check as well. A hash would
take a third of the time that a whole retrieve does.
"""

WRITE_LENGTH: Final = 256 * 1024
"""Bytes that are gathered for one write unless somebody follows. Default 256 KiB: below, going to a thread costs more
than writing."""

WRITE_BEHIND: Final = 2 * 1024 * 1024
"""Bytes that wait while a thread writes. Default 2 MiB: the archive sends on meanwhile, and memory is bounded."""

PIECE_LENGTH: Final = 512 * 1024
"""Bytes of one read of a file that is streamed. Default 512 KiB: below, going to a thread costs more than reading."""

MAX_AT_HAND: Final = 4 * 1024 * 1024
"""Bytes that the reactor reads itself when they are in the system's memory. Default 4 MiB: half a millisecond."""

SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What is said by a system that lacks something for the moment, and says nothing of the file."""

MAX_BUFFERS: Final = 512
"""Buffers of one `writev`; Linux takes 1024 (IOV_MAX)."""


class DamagedFile(TransportError):
    """A file of the cache is not what was written. It has been removed; the archive is asked again."""


def again(error: E) -> E:
    """Return an exception for one more who waits: raised by several, one would gather the frames of them all."""
    another = type(error).__new__(type(error), *error.args)
    another.__dict__.update(error.__dict__)
    return another


@dataclass(frozen=True, slots=True)
class Checks:
    """What a file must be."""

    data_offset: int
    """Bytes before the data set."""
    length: int
    """Bytes of the data set."""
    modified_ns: int
    """When it was last written, by the file system's clock."""
    blocks: bytes
    """`CHECK_LENGTH` bytes for each block of the file."""

    @property
    def digest(self) -> str:
        """What tells this content from another: 32 hexadecimal digits."""
        return sha256(self.blocks + self.length.to_bytes(8, "big")).hexdigest()[:32]

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.data_offset + self.length


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


class InstanceFile:
    """A file that is whole. What it reads it has verified, once, against what was written.

    `descriptor` is of a file that ends with this object; any other is opened by its path for each read.
    """

    __slots__ = ("_descriptor", "_disk", "_unverified", "checks", "layout", "on_damage", "path")

    def __init__(
        self,
        path: Path,
        checks: Checks,
        layout: Layout | None,
        disk: Disk,
        *,
        descriptor: Descriptor | None = None,
        trusted: bool = False,
    ) -> None:
        self.path = path
        self.checks = checks
        self.layout = layout
        """None when the data set is malformed: it can only be had as it is."""
        self._disk = disk
        self._descriptor = descriptor
        self.on_damage: Callable[[], None] | None = None
        """Called when it turns out not to be what was written."""
        self._unverified: set[int] | None = None
        if not trusted:
            self._unverified = set(range(-(-checks.size // BLOCK_LENGTH)))

    @property
    def length(self) -> int:
        """Bytes of the data set."""
        return self.checks.length

    @property
    def digest(self) -> str:
        """What tells this content from another."""
        return self.checks.digest

    async def read(self, *ranges: tuple[int, int]) -> list[bytes]:
        """Return ranges of the data set: each an offset in it, and a length.

        Raises `DamagedFile` when the file is not as it was written, and `Busy` when the system lacks what that needs.
        """
        at_hand = self._at_hand(ranges)
        if at_hand is not None:
            return at_hand
        descriptor, data = await self._try(self._open_and_read, ranges)
        if self._descriptor is None:
            self._disk.keep_open(self, descriptor)
        return data

    def close(self) -> None:
        """Keep the file open no more than somebody reads it."""
        self._disk.close(self)

    def _at_hand(self, ranges: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """Return ranges of a file that is open, verified, and in the system's memory: what does not block."""
        descriptor = self._descriptor or self._disk.opened(self)
        if descriptor is None or self._unverified or sum(length for _, length in ranges) > MAX_AT_HAND:
            return None
        try:
            if self._descriptor is None:
                self._check(descriptor)
            return [_read_at_once(descriptor.number, self.checks.data_offset + start, size) for start, size in ranges]
        except (OSError, _Damage):
            self._disk.close(self)
            return None  # a thread will say what is wrong, if anything is

    async def pieces(self, offset: int = 0, length: int | None = None) -> AsyncGenerator[Pieces, None]:
        """Yield a range of the data set, or all of it, a piece at a time; raises what `read` raises."""
        end = self.checks.length if length is None else offset + length
        descriptor = await self._try(self._opened)
        while offset < end:
            size = min(PIECE_LENGTH, end - offset)
            yield await self._try(self._read, descriptor, ((offset, size),))
            offset += size

    async def _try(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self._disk.run(function, *args, **kwargs)
        except (OSError, _Damage) as error:
            if isinstance(error, OSError) and error.errno in SHORT:
                raise Busy("the gateway cannot read files at the moment", log_detail=str(error)) from error
            if self.on_damage is not None:
                self.on_damage()
            raise DamagedFile("a cached object is damaged", log_detail=f"{self.path}: {error}") from error

    def _opened(self) -> Descriptor:
        if self._descriptor is not None:
            return self._descriptor
        descriptor = Descriptor(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC))
        self._check(descriptor)
        return descriptor

    def _check(self, descriptor: Descriptor) -> None:
        now = os.fstat(descriptor.number)
        if (now.st_size, now.st_mtime_ns) != (self.checks.size, self.checks.modified_ns):
            raise _Damage("its size or time differ from what was written")

    def _open_and_read(self, ranges: Sequence[tuple[int, int]]) -> tuple[Descriptor, list[bytes]]:
        descriptor = self._opened()
        return descriptor, self._read(descriptor, ranges)

    def _read(self, descriptor: Descriptor, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        offset = self.checks.data_offset
        return [self._verified(descriptor.number, offset + start, length) for start, length in ranges]

    def _verified(self, descriptor: int, start: int, length: int) -> bytes:
        if self._unverified and length:
            for block in range(start // BLOCK_LENGTH, (start + length - 1) // BLOCK_LENGTH + 1):
                if block in self._unverified:
                    self._verify(descriptor, block)
        data = os.pread(descriptor, length, start)
        if len(data) != length:
            raise _Damage("it ends early")
        return data

    def _verify(self, descriptor: int, block: int) -> None:
        data = os.pread(descriptor, BLOCK_LENGTH, block * BLOCK_LENGTH)
        check = self.checks.blocks[block * CHECK_LENGTH : (block + 1) * CHECK_LENGTH]
        if crc32(data).to_bytes(CHECK_LENGTH) != check:
            raise _Damage(f"block {block} has decayed")
        if self._unverified is not None:
            self._unverified.discard(block)


def _read_at_once(descriptor: int, start: int, length: int) -> bytes:
    """Read what the system has in memory; raises `BlockingIOError` when it has not all of it (preadv2(2))."""
    data = bytearray(length)
    if os.preadv(descriptor, (data,), start, os.RWF_NOWAIT) != length:
        raise BlockingIOError
    return cast(bytes, data)  # a copy would cost as much as the reading, and nobody changes it


class _Damage(Exception):
    """A file is not what was written."""


class Writing:
    """One instance on its way into a file; others may follow it meanwhile."""

    def __init__(self, instance: Instance, path: Path, disk: Disk, *, bulk_threshold: int) -> None:
        self.instance = instance
        self.header = file_header(
            instance.sop_class_uid,
            instance.sop_instance_uid,
            instance.transfer_syntax_uid,
            source_ae_title=instance.receiving_ae_title,
            sending_ae_title=instance.source_ae_title,
        )
        self.recording = Recording(path, self.header, disk)
        self.file: InstanceFile | None = None
        """What came of it: set by whoever runs it, for those who follow it to its end."""
        self.undecodable: set[str] = set()
        """Tags of values with bytes that their character set lacks."""
        self._disk = disk
        self._scan: LayoutScan | None = LayoutScan(instance.transfer_syntax_uid, bulk_threshold=bulk_threshold)
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
                self._push()
                if self._not_written is not None or self._length - self._written > WRITE_BEHIND:
                    await self._pushed()
        except BaseException as error:
            await self.give_up(error)
            raise

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
        offset = 0
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
                progress: Deferred[None] = Deferred(self._followers.remove)
                self._followers.append(progress)
                await progress
        async with aclosing(self.file.pieces(offset)) as rest:
            async for pieces in rest:
                yield pieces

    def end(self, file: InstanceFile) -> None:
        """Give the file to whoever follows."""
        self.file = file
        self._progress(file.checks.length)

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
        if scan is None:
            return None
        try:
            return scan.finish(
                default_character_set=self.instance.default_character_set, on_undecodable=self.undecodable.add
            )
        except PeerError:
            return None

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
