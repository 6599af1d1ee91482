"""Files that are no instances of the archive: what an HTTP client uploads. They lie below the same root, in no index.

A file is written under a temporary name, brought to the disk, and then gets its name, which nothing else has: nothing
is ever overwritten, and half a file is never seen. Every method blocks, unless it says otherwise: call them in a
thread.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

from harmonygw.backends.storage.arrival import StagedFile
from harmonygw.backends.storage.patterns import beside
from harmonygw.disk import Descriptor
from harmonygw.errors import Incomplete
from harmonygw.streams import Pieces

PIECE_LENGTH: Final = 256 * 1024
"""Bytes of one read. Default 256 KiB: below, the way into the thread and back costs more than the reading."""

NO_SUCH_FILE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO})
"""What the system says to a name that no file has."""

NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
"""What a file system says that has no second names for files."""


def put(staged: StagedFile, path: Path) -> None:
    """Give a file that is on the disk its name; raises `FileExistsError` when that is taken, and other `OSError`s.

    Whoever calls holds the archive's lock: on a file system without links it tells whether the name is free.
    """
    try:
        os.link(staged.path, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "the name is taken", str(path)) from error
        staged.path.rename(path)
    else:
        staged.path.unlink()
    staged.keep()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_path(root: Path, path: str, is_taken: Callable[[str], bool]) -> str:
    """Return `path`, changed where something else lies: a file in the place of one of its folders, or anything there.

    Does not touch the disk but to look.
    """
    *folders, name = path.split("/")
    found = ""
    for folder in folders:
        while os.path.lexists(root / found / folder) and not (root / found / folder).is_dir():
            folder = beside(folder)
        found = f"{found}{folder}/"
    while is_taken(found + name) or os.path.lexists(root / found / name):
        name = beside(name)
    return found + name


def make_folder(root: Path, path: str) -> None:
    """Make the folder of a path below the root; raises `OSError`."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)


def remove_empty_folders(root: Path, path: str) -> None:
    """Remove the folders of a path that came to nothing, as far as they are empty."""
    folder = (root / path).parent
    with suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent


class PlainFile:
    """A file that is open for reading, with as many bytes as it had then. Its methods block.

    Raises `FileNotFoundError` for what is no regular file below `root`, links followed; and other `OSError`s.
    """

    def __init__(self, root: Path, path: str) -> None:
        real = Path(os.path.realpath(root / path))
        if not real.is_relative_to(os.path.realpath(root)):
            raise FileNotFoundError(errno.ENOENT, "it lies elsewhere", path)
        # Whoever waits for this may be cancelled meanwhile: the descriptor ends with its last reference.
        self._descriptor = Descriptor(os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW))
        found = os.fstat(self._descriptor.number)
        if not stat.S_ISREG(found.st_mode):
            raise FileNotFoundError(errno.ENOENT, "it is no file", path)
        self.size = self._left = found.st_size
        """Bytes that it has."""
        self._turn = Lock()

    def read(self) -> Pieces:
        """Return the next piece, none at the end; raises `Incomplete` when the file has become shorter."""
        if not self._left:
            return ()
        with self._turn:
            data = os.read(self._descriptor.number, min(PIECE_LENGTH, self._left))
        if not data:
            raise Incomplete("the file became shorter while it was read")
        self._left -= len(data)
        return (data,)

    def close(self) -> None:
        """Close it; waits for who reads, and is harmless when it is closed."""
        with self._turn:
            self._descriptor.close()
