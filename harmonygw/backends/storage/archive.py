"""The files and the index together: what is kept, where, and how it survives being killed at any moment.

Below the root lies `.harmonygw`, with the index and a staging folder for each running process, locked by it:
what a process that is gone has left there is dealt with by whoever starts next. See `index` for why a row is
the truth.
"""

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from twisted.logger import Logger

from harmonygw.backends.storage.arrival import Arrival
from harmonygw.backends.storage.attributes import tag_of, text_of
from harmonygw.backends.storage.index import Entry, Index, Place
from harmonygw.backends.storage.patterns import WritePattern, beside
from harmonygw.backends.storage.reading import StoredData
from harmonygw.backends.storage.search import StoredFile
from harmonygw.errors import ConfigurationError
from harmonygw.streams import Instance, Piece

OWN_FOLDER: Final = ".harmonygw"
"""Below the root; no file of the archive can come to lie in it, since no part of a path begins with a dot."""

_SOP_INSTANCE_UID: Final = tag_of("SOPInstanceUID")


class Archive:
    """An archive that is open. Every method blocks, unless it says otherwise: call them in a thread."""

    log = Logger()

    def __init__(self, root: Path, pattern: WritePattern) -> None:
        self._root = root
        self._pattern = pattern
        self._incoming = root / OWN_FOLDER / "incoming"
        self._token = uuid4().hex
        self._writing = threading.Lock()
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
            with _locked(self._incoming):
                (self._incoming / self._token).mkdir()
                self._staging = _lock(self._incoming / self._token)
        except OSError as error:
            raise ConfigurationError((f"the storage root {root} cannot be used: {error}",)) from error
        try:
            self.index = Index(root / OWN_FOLDER / "index.sqlite3")
        except ConfigurationError:
            self._leave()
            raise
        with _locked(self._incoming):
            self._recover()

    def close(self) -> None:
        """Close the index and leave the staging folder; nothing of this archive is in use any more."""
        self.index.close()
        self._leave()

    def _leave(self) -> None:
        # What could not be moved keeps the folder, until the next start moves it.
        with suppress(OSError):
            (self._incoming / self._token).rmdir()
        os.close(self._staging)

    def receive(self, instance: Instance) -> Arrival:
        """Begin to store an instance, without touching the disk yet.

        Raises `RejectedError` when its UIDs cannot stand in a file.
        """
        return Arrival(self._incoming / self._token / f"{uuid4().hex}.part", instance)

    def read(self, stored: StoredFile, transfer_syntax_uid: str) -> StoredData:
        """Begin to read an instance, without touching the disk yet."""
        place = stored.place
        final = self._root / place.path
        return StoredData((final, self._incoming / place.staged, final), stored, transfer_syntax_uid)

    def keep(self, arrival: Arrival, rest: Sequence[Piece]) -> None:
        """Write the rest of what has arrived, and make an instance of it.

        Raises what `Arrival.write` and `finish` raise, and `OSError` or `sqlite3.Error` when the disk does not take it.
        """
        with arrival.turn:
            arrival.write(rest)
            attributes = arrival.finish()
            path = self._pattern.path(
                text_of(attributes, _SOP_INSTANCE_UID),
                lambda keyword: text_of(attributes, tag_of(keyword)),
                datetime.now(UTC),
            )
            os.fsync(self._staging)
            with self._writing:
                place = Place(self._free(path), f"{self._token}/{arrival.path.name}")
                (self._root / place.path).parent.mkdir(parents=True, exist_ok=True)
                replaced = self.index.add(
                    Entry(
                        attributes=attributes,
                        transfer_syntax_uid=arrival.transfer_syntax_uid,
                        source_ae_title=arrival.source_ae_title,
                        place=place,
                        data_offset=arrival.data_offset,
                        size=arrival.size,
                        checksum=arrival.checksum,
                    )
                )
                arrival.keep()
                self._move(place)
                if replaced is not None:
                    self._remove(replaced)

    def _free(self, path: str) -> str:
        while self.index.is_taken(path) or os.path.lexists(self._root / path):
            path = beside(path)
        return path

    def _move(self, place: Place) -> None:
        """Move a file from its temporary name to its own; until then it is served from the temporary one."""
        try:
            (self._incoming / place.staged).rename(self._root / place.path)
        except OSError as error:
            self.log.warn("cannot move {staged} to {path}: {error}", error=error, **place._asdict())

    def _remove(self, place: Place) -> None:
        try:
            for path in (self._incoming / place.staged, self._root / place.path):
                path.unlink(missing_ok=True)
        except OSError as error:
            self.log.warn("cannot remove the replaced file {path}: {error}", path=place.path, error=error)
        else:
            self.index.forget(place)

    def _recover(self) -> None:
        """Finish what processes that are gone began: move what they stored, remove what never got whole."""
        for folder in self._incoming.iterdir():
            if folder.name == self._token:
                continue
            try:
                descriptor = _lock(folder)
            except BlockingIOError:
                continue
            try:
                for file in list(folder.iterdir()):
                    staged = f"{folder.name}/{file.name}"
                    path = self.index.path_of(staged)
                    if path is None:
                        file.unlink()
                    else:
                        self._move(Place(path, staged))
                with suppress(OSError):
                    folder.rmdir()
            finally:
                os.close(descriptor)
        for place in self.index.replaced():
            self._remove(place)


def _lock(folder: Path) -> int:
    """Lock a folder until the descriptor is closed, if by our death; `BlockingIOError` when it is locked."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait for a folder's lock, and hold it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
