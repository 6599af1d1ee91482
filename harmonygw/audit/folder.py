"""The folder of a spool: whose it is, what lies in it, and what has been delivered of it.

Messages lie in segments, files of records that are only ever appended to, named by ascending numbers. A process never
appends to what another has begun: each begins a segment of its own.
"""

import fcntl
import os
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple
from zlib import crc32

from harmonygw.audit import records
from harmonygw.disk import Descriptor
from harmonygw.errors import ConfigurationError

SUFFIX: Final = ".segment"

DIGITS: Final = 12
"""Of a segment's name."""

PROBE_BYTES: Final = 64 * 1024
"""Bytes that are written to find out whether the disk takes any: more than what a file system may have spare."""

CHECK_LENGTH: Final = 4
"""Bytes of a CRC-32."""

_POSITION = Struct(">QQI")


class Position(NamedTuple):
    """A place between two records."""

    segment: int
    """A number, from 1."""
    offset: int
    """Bytes from its beginning."""


class Found(NamedTuple):
    """What a process that is gone has left in a segment."""

    number: int
    size: int
    """Bytes that are records, or damaged between records."""
    waiting: int
    """Messages that have not been delivered."""
    torn: int
    """Bytes that were cut off its end: a record that was not written whole."""


def segment_path(folder: Path, number: int) -> Path:
    """Return the path of a segment."""
    return folder / f"{number:0{DIGITS}}{SUFFIX}"


class Folder:
    """A folder that is locked, for our user alone, until `close`."""

    def __init__(self, path: Path) -> None:
        """Make or take a folder. Raises `ConfigurationError` when it cannot be had, is another process's or another
        user's, or is open to others."""
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._own = Descriptor(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            _check(path, self._own)
            _lock(path, self._own)
            self._delivered = _opened(path / "delivered", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise ConfigurationError((f"audit.spool_path: {path}: {error.strerror}",)) from error

    def close(self) -> None:
        """Let go of it."""
        self._delivered.close()
        self._own.close()

    def begin(self, number: int) -> Descriptor:
        """Begin a segment; raises `OSError`."""
        return _opened(segment_path(self.path, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)

    def remove(self, number: int) -> None:
        """Remove a segment; raises `OSError`."""
        segment_path(self.path, number).unlink(missing_ok=True)

    def sync(self) -> None:
        """Have the names of segments on the disk, and what has been delivered; raises `OSError`."""
        os.fsync(self._own.number)
        os.fdatasync(self._delivered.number)

    def probe(self) -> None:
        """Write something and remove it; raises `OSError`."""
        path = self.path / "probe"
        try:
            probe = _opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            if os.write(probe.number, bytes(PROBE_BYTES)) != PROBE_BYTES:
                raise OSError("the disk is full")
            os.fdatasync(probe.number)
        finally:
            path.unlink(missing_ok=True)

    def set_aside(self, message: bytes, limit: int) -> None:
        """Add a message to the file of those that nobody takes, unless it had more than `limit` bytes then; raises
        `OSError`."""
        file = _opened(self.path / "set-aside", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        if os.fstat(file.number).st_size + len(message) >= limit:
            raise OSError("the file of what was set aside is full")
        os.write(file.number, message + b"\n")
        os.fdatasync(file.number)

    def delivered(self, position: Position) -> None:
        """Note what has been delivered; raises `OSError`. What a lost note costs is that messages come twice."""
        body = _POSITION.pack(*position, 0)[:-CHECK_LENGTH]
        os.pwrite(self._delivered.number, body + crc32(body).to_bytes(CHECK_LENGTH), 0)

    def recover(self) -> tuple[Position, list[Found]]:
        """Return what has been delivered, and what is there; raises `OSError`.

        What was delivered whole is removed, and the end of a segment that is no record is cut off. It blocks, a second
        for each gigabyte.
        """
        noted = self._noted()
        found = []
        for path in sorted(self.path.glob("[0-9]" * DIGITS + SUFFIX)):
            number = int(path.name.removesuffix(SUFFIX))
            if noted is not None and number < noted.segment:
                path.unlink()
                continue
            found.append(_recovered(path, number, noted.offset if noted and noted.segment == number else 0))
        if noted is None or not found or found[0].number != noted.segment:
            # Never a number again, lest a note of old be taken for one of the new segment.
            first = found[0].number if found else noted.segment + 1 if noted else 1
            return Position(first, 0), found
        # After a loss of power the segment may be shorter than what was delivered of it.
        return Position(noted.segment, min(noted.offset, found[0].size)), found

    def _noted(self) -> Position | None:
        body = os.pread(self._delivered.number, _POSITION.size, 0)
        try:
            segment, offset, check = _POSITION.unpack(body)
        except StructError:
            return None
        return Position(segment, offset) if crc32(body[:-CHECK_LENGTH]) == check else None


def _check(path: Path, folder: Descriptor) -> None:
    status = os.fstat(folder.number)
    if status.st_uid != os.geteuid():
        raise ConfigurationError((f"audit.spool_path: {path} belongs to another user",))
    if status.st_mode & 0o077:
        raise ConfigurationError(
            (f"audit.spool_path: {path} is open to others than its user, and holds patients' data (chmod 700)",)
        )


def _lock(path: Path, folder: Descriptor) -> None:
    try:
        fcntl.flock(folder.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sentence = f"audit.spool_path: {path} is in use by another process; each needs its own"
        raise ConfigurationError((sentence,)) from None


def _opened(path: Path, flags: int) -> Descriptor:
    return Descriptor(os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


def _recovered(path: Path, number: int, delivered: int) -> Found:
    data = path.read_bytes()
    whole = records.read(data, to_the_end=True)
    size = whole.ends[-1] if whole.ends else 0
    if size < len(data):
        os.truncate(path, size)
    return Found(number, size, sum(end > delivered for end in whole.ends), len(data) - size)
