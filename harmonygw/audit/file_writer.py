"""A file that takes messages, one a line."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harmonygw.audit.collector import Lost
from harmonygw.disk import Descriptor, Disk
from harmonygw.errors import TransportError


class FileWriter:
    """Appends to a file, and has it on the disk. It is opened for each batch: one that was moved away is begun anew."""

    batch_bytes: Final = 1024 * 1024
    """Bytes of a batch. Default 1 MiB: each waits for the disk once."""

    settle_secs: Final = 0.0
    """What is on the disk has been delivered."""

    def __init__(self, path: str, disk: Disk) -> None:
        self._path = Path(path)
        self._disk = disk
        self._taken = 0
        self.name = f"file {path}"

    async def open(self, lost: Lost) -> None:
        """Make its folder, and the file; raises `TransportError`."""
        self._taken = 0
        await self._try(b"")

    async def send(self, messages: Sequence[bytes]) -> list[bytes]:
        """Append messages; raises `TransportError`, and then none of them is in the file."""
        await self._try(b"".join([message + b"\n" for message in messages]))
        self._taken += len(messages)
        return []

    def taken(self) -> int:
        """Return how many have been written."""
        return self._taken

    async def close(self) -> bool:
        """Everything is in the file."""
        return True

    def abort(self) -> None:
        """Nothing is open."""

    async def _try(self, lines: bytes) -> None:
        try:
            await self._disk.run(_append, self._path, lines)
        except OSError as error:
            raise TransportError("the file cannot be written", log_detail=str(error)) from error


def _append(path: Path, lines: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = Descriptor(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
    size = os.fstat(file.number).st_size
    try:
        if os.write(file.number, lines) != len(lines):
            raise OSError("the disk is full")
        os.fdatasync(file.number)
    except OSError:
        os.ftruncate(file.number, size)  # half a line would run into the next one
        raise
