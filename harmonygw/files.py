"""Instances in local files, read by parts.

A file holds one instance as Part 10: a header of ours, and the data set as the archive sent it. What is read of it is
held against what was written, once; what blocks runs in threads.
"""

import errno
import os
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import accumulate, count
from pathlib import Path
from secrets import token_hex
from typing import Final, ParamSpec, TypeVar, cast
from weakref import finalize
from zlib import crc32

from harmonygw.dicom.dataset.layout import Layout
from harmonygw.disk import Descriptor, Disk
from harmonygw.errors import Busy, TransportError
from harmonygw.streams import Piece, Pieces

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

BLOCK_LENGTH: Final = 1 << 20
"""Bytes that are checked together. Default 1 MiB: what a first read of a part has to verify beyond the part."""

CHECK_LENGTH: Final = 4
"""Bytes of a block's CRC-32: against decay, not against an adversary, who could write the check as well. A hash would
take a third of the time that a whole retrieve does.
"""

PIECE_LENGTH: Final = 512 * 1024
"""Bytes of one read of a file that is streamed. Default 512 KiB: below, going to a thread costs more than reading."""

MAX_AT_HAND: Final = 4 * 1024 * 1024
"""Bytes that the reactor reads itself when they are in the system's memory. Default 4 MiB: half a millisecond."""

SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What is said by a system that lacks something for the moment, and says nothing of the file."""


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


class InstanceFile:
    """A file that is whole. What it reads it has verified, once, against what was written.

    `descriptor` is of a file that ends with this object; any other is opened by its path for each read.
    """

    __slots__ = ("__weakref__", "_descriptor", "_disk", "_unverified", "checks", "layout", "on_damage", "path")

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
        self.on_damage: Callable[[InstanceFile], None] | None = None
        """Called with it when it turns out not to be what was written."""
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

    def set_aside(self, path: Path) -> None:
        """Move the file to `path`, where it stays as long as this object; raises `OSError`. It blocks."""
        os.link(self.path, path)
        former, self.path = self.path, path
        former.unlink()
        finalize(self, _remove, self._disk, path)

    async def views(self, *ranges: tuple[int, int]) -> Pieces:
        """Return ranges of the data set one after the other; raises what `read` does."""
        return await self.read(*ranges)

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
                self.on_damage(self)
            raise DamagedFile("a cached object is damaged", log_detail=f"{self.path}: {error}") from error

    def _opened(self) -> Descriptor:
        if self._descriptor is not None:
            return self._descriptor
        path = self.path
        try:
            descriptor = Descriptor(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            if self.path is path:
                raise
            descriptor = Descriptor(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC))  # it was set aside meanwhile
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


def _remove(disk: Disk, path: Path) -> None:
    disk.tidy(partial(path.unlink, missing_ok=True)).addErrback(lambda _: None)


class _Damage(Exception):
    """A file is not what was written."""


class HeldFile:
    """An instance that is whole and lies in memory still: it is read from there until its file has been written."""

    def __init__(self, pieces: Sequence[Piece], length: int, layout: Layout | None) -> None:
        self.layout = layout
        self.length = length
        """Bytes of the data set."""
        self.digest = f"held{next(_numbers):x}-{_PROCESS}"
        """What tells this from any other content that was ever held, by whichever process."""
        self._pieces = tuple(pieces)
        self._starts = list(accumulate(map(len, self._pieces), initial=0))
        self.file: InstanceFile | None = None
        """Where it has been written, once it has."""

    def settle(self, file: InstanceFile) -> None:
        """Let go of what is in memory: whoever still reads this reads the file."""
        self.file = file
        self._pieces = ()
        self._starts = []

    async def views(self, *ranges: tuple[int, int]) -> Pieces:
        """Return ranges of the data set as they came, not copied; raises what `read` does."""
        if self.file is not None:
            return await self.file.views(*ranges)
        self._check(ranges)
        return [piece for start, length in ranges for piece in self._cut(start, length)]

    def close(self) -> None:
        """Do nothing: what is held ends when it has been written."""

    async def read(self, *ranges: tuple[int, int]) -> list[bytes]:
        """Return ranges of the data set; raises `DamagedFile` beyond its end, and what reading the file raises."""
        if self.file is not None:
            return await self.file.read(*ranges)
        self._check(ranges)
        return [b"".join(self._cut(start, length)) for start, length in ranges]

    async def pieces(self, offset: int = 0, length: int | None = None) -> AsyncGenerator[Pieces, None]:
        """Yield a range of the data set, or all of it, as it came; raises what reading the file raises."""
        end = self.length if length is None else offset + length
        if self.file is not None:
            async with aclosing(self.file.pieces(offset, end - offset)) as pieces:
                async for some in pieces:
                    yield some
        elif offset < end:
            yield self._cut(offset, end - offset)

    def _check(self, ranges: Sequence[tuple[int, int]]) -> None:
        if any(start + length > self.length for start, length in ranges):
            raise DamagedFile("a cached object is shorter than its layout says")

    def _cut(self, start: int, length: int) -> list[Piece]:
        index = bisect_right(self._starts, start) - 1
        cut: list[Piece] = []
        while length > 0:
            piece = memoryview(self._pieces[index])[start - self._starts[index] :][:length]
            cut.append(piece)
            start += len(piece)
            length -= len(piece)
            index += 1
        return cut


_PROCESS: Final = token_hex(8)
_numbers = count()
