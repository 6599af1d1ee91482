"""Bytes that have to wait: in memory while they are few, then in a file that has no name.

Nothing of such a file outlives its spool, nor the process, whatever becomes of either.
"""

import os
import tempfile
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final

from twisted.internet.defer import DeferredLock

from harmonygw.disk import Descriptor, Disk
from harmonygw.errors import TransportError
from harmonygw.streams import Piece, Pieces

MEMORY_BYTES: Final = 256 * 1024
"""Bytes that wait in memory. Default 256 KiB: what is less is not worth going to a thread for."""

PIECE_LENGTH: Final = 256 * 1024
"""Bytes that are read of the file at a time."""

NO_ROOM: Final = "there is no room for the request on the gateway's disk"


class Spool:
    """Is written from its beginning to its end, and then read."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder
        self._waiting: list[Piece] = []
        self._waiting_bytes = 0
        self._written = 0
        self._descriptor: Descriptor | None = None
        self._turn = DeferredLock()
        self.size = 0
        """Bytes in all."""

    def add(self, piece: Piece) -> None:
        """Append; see that `settle` is called before long."""
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        self.size += len(piece)

    async def settle(self) -> None:
        """Write what waits, when it is more than may wait; raises `TransportError` when there is no room for it."""
        if self._waiting_bytes > MEMORY_BYTES:
            await self._turn.run(self._write)

    async def _write(self) -> None:
        pieces, self._waiting = self._waiting, []
        self._waiting_bytes = 0
        try:
            if self._descriptor is None:
                self._descriptor = await self._disk.run(_create, self._folder)
            self._written += await self._disk.run(_append, self._descriptor, b"".join(pieces))
        except OSError as error:
            raise TransportError(NO_ROOM, log_detail=str(error)) from error

    async def pieces(self, offset: int = 0, length: int | None = None) -> AsyncGenerator[Pieces, None]:
        """Yield a range, or all of it, a piece at a time. Nothing may be added meanwhile."""
        end = self.size if length is None else offset + length
        while offset < min(end, self._written):
            piece = await self._read(offset, min(PIECE_LENGTH, min(end, self._written) - offset))
            offset += len(piece)
            yield (piece,)
        if offset < end:
            yield _cut(self._waiting, offset - self._written, end - self._written)

    async def _read(self, offset: int, length: int) -> bytes:
        if self._descriptor is None:
            raise TransportError("what waited for its turn was given up")
        try:
            piece = await self._disk.run(_read, self._descriptor, length, offset)
        except OSError as error:
            raise TransportError("the gateway's disk cannot be read", log_detail=str(error)) from error
        if not piece:
            raise TransportError("the file is shorter than what was written")
        return piece

    def close(self) -> None:
        """Give everything up. A thread that still works on the file ends it."""
        self._waiting = []
        self._descriptor = None


def _cut(pieces: Sequence[Piece], start: int, end: int) -> list[Piece]:
    """Return a range of pieces that follow one another."""
    found: list[Piece] = []
    position = 0
    for piece in pieces:
        first, last = max(start - position, 0), min(end - position, len(piece))
        if first < last:
            found.append(piece if last - first == len(piece) else memoryview(piece)[first:last])
        position += len(piece)
    return found


def _create(folder: Path) -> Descriptor:
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        return Descriptor(os.dup(file.fileno()))


def _append(descriptor: Descriptor, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor.number, view) :]
    return len(data)


def _read(descriptor: Descriptor, length: int, offset: int) -> bytes:
    return os.pread(descriptor.number, length, offset)
