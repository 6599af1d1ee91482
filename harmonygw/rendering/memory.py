"""Memory that the gateway shares with one worker: frames go through it, not through a pipe.

A pipe has 64 KiB and Twisted reads 8 KiB of it at a time, so that 8 MB would be a thousand turns of the reactor. The
gateway never maps what a worker can cut off: it reads, and what is missing is missing.
"""

import mmap
import os
from collections.abc import Sequence
from typing import Final

KEPT_BYTES: Final = 16 << 20
"""Bytes that stay allocated between jobs, as new ones cost more than the copying; the rest is given back."""


class SharedMemory:
    """A file without a name, in memory (memfd_create(2)); pages of it exist when they are first written."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.fd = os.memfd_create("harmonygw", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, size)

    def write(self, payload: Sequence[bytes]) -> None:
        """Put the pieces of a payload one after the other; there must be room for them."""
        position = 0
        for piece in payload:
            position += _write(self.fd, piece, position)

    def read(self, length: int) -> bytes:
        """Return the first `length` bytes, 2 GiB at most; fewer, when the other side has cut them off."""
        return os.pread(self.fd, length, 0)

    def trim(self) -> None:
        """Give back what is allocated beyond KEPT_BYTES, whoever wrote it."""
        if os.fstat(self.fd).st_blocks * 512 > KEPT_BYTES:
            os.ftruncate(self.fd, KEPT_BYTES)
            os.ftruncate(self.fd, self.size)

    def close(self) -> None:
        """Give everything back, as far as no other process has it."""
        os.close(self.fd)


def take(fd: int, lengths: Sequence[int]) -> list[bytes]:
    """Return the pieces of a payload; the worker's side of `write`."""
    pieces, position = [], 0
    for length in lengths:
        pieces.append(os.pread(fd, length, position))
        position += length
    return pieces


class Room:
    """Where a worker puts its results; mapped, as it may write no files (RLIMIT_FSIZE)."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._kept = mmap.mmap(fd, min(KEPT_BYTES, os.fstat(fd).st_size))

    def put(self, data: bytes) -> None:
        """Put a result where the gateway reads it."""
        if len(data) <= len(self._kept):
            self._kept[: len(data)] = data
        else:
            with mmap.mmap(self._fd, len(data)) as room:
                room[:] = data


def _write(fd: int, piece: bytes, position: int) -> int:
    view, written = memoryview(piece), 0
    while written < len(view):
        written += os.pwrite(fd, view[written:], position + written)
    return written
