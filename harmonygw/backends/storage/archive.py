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

from harmonygw.backends.storage.arrival import Arrival, StagedFile
from harmonygw.backends.storage.attributes import tag_of, text_of
from harmonygw.backends.storage.index import Entry, Index, Place
from harmonygw.backends.storage.patterns import WritePattern
from harmonygw.backends.storage.plain_files import PlainFile, free_path, make_folder, put, remove_empty_folders
from harmonygw.backends.storage.reading import StoredData
from harmonygw.backends.storage.search import StoredFile, instance
from harmonygw.dicom.dimse.statuses import DUPLICATE_SOP_INSTANCE
from harmonygw.errors import ConfigurationError, Conflict, Incomplete, RejectedError
from harmonygw.operations import DataSet
from harmonygw.streams import Instance, Piece

OWN_FOLDER: Final = ".harmonygw"
"""Below the root; no file of the archive can come to lie in it, since no part of a path begins with a dot."""

_SOP_INSTANCE_UID: Final = tag_of("SOPInstanceUID")
_STUDY_INSTANCE_UID: Final = tag_of("StudyInstanceUID")
_PATIENT_ID: Final = tag_of("PatientID")
_ISSUER_OF_PATIENT_ID: Final = tag_of("IssuerOfPatientID")


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

        What the archive has already, byte for byte, changes nothing; an instance of the same study and patient that has
        other content takes the place of the one before.

        Raises `RejectedError` for a SOP Instance UID that is another study's or patient's, what `Arrival.write` and
        `finish` raise, and `OSError` or `sqlite3.Error` when the disk does not take it.
        """
        with arrival.turn:
            arrival.write(rest)
            attributes = arrival.finish()
            known = self._known(attributes)
            if known is not None and self._has(known, arrival):
                arrival.discard()
                return
            path = self._pattern.path(
                text_of(attributes, _SOP_INSTANCE_UID),
                lambda keyword: text_of(attributes, tag_of(keyword)),
                datetime.now(UTC),
            )
            os.fsync(self._staging)
            with self._writing:
                self._known(attributes)  # it may have come on another association meanwhile
                place = Place(free_path(self._root, path, self.index.is_taken), f"{self._token}/{arrival.path.name}")
                try:
                    make_folder(self._root, place.path)
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
                except BaseException:
                    remove_empty_folders(self._root, place.path)
                    raise
                arrival.keep()
                self._move(place)
                if replaced is not None:
                    self._remove(replaced)

    def _known(self, attributes: DataSet) -> StoredFile | None:
        """Return what the archive has under this SOP Instance UID.

        Raises `RejectedError` when that is of another study, or of another patient: one of the two is not what it says
        it is, and neither must take the other's place.
        """
        known = instance(self.index, text_of(attributes, _SOP_INSTANCE_UID))
        if known is not None and (known.study_instance_uid, known.patient_id, known.issuer) != (
            text_of(attributes, _STUDY_INSTANCE_UID),
            text_of(attributes, _PATIENT_ID),
            text_of(attributes, _ISSUER_OF_PATIENT_ID),
        ):
            raise RejectedError(
                "the archive has this SOP Instance UID in another study or of another patient",
                status=DUPLICATE_SOP_INSTANCE,
                log_detail=f"SOP Instance UID {known.sop_instance_uid}",
            )
        return known

    def _has(self, known: StoredFile, arrival: Arrival) -> bool:
        """Whether what has arrived is, byte for byte, what is here and can be read."""
        length = arrival.size - arrival.data_offset
        same = arrival.transfer_syntax_uid, length, arrival.checksum
        if same != (known.transfer_syntax_uid, known.size - known.data_offset, known.checksum):
            return False
        stored = self.read(known, known.transfer_syntax_uid)
        try:
            with arrival.path.open("rb") as file:
                file.seek(arrival.data_offset)
                while pieces := stored.read():
                    if any(file.read(len(piece)) != piece for piece in pieces):
                        return False
            return True
        except Incomplete:
            return False
        finally:
            stored.close()

    # Files that are no instances

    def receive_file(self) -> StagedFile:
        """Begin to take a file that is no instance, without touching the disk yet."""
        return StagedFile(self._incoming / self._token / f"{uuid4().hex}.part")

    def keep_files(self, files: Sequence[tuple[StagedFile, str]], *, exactly: bool = False) -> list[str]:
        """Give files, which are on the disk, their names below the root, or names beside those that are taken.

        Returns the names. Every file gets one, or none does. With `exactly` there are no names beside: raises
        `Conflict`. Raises `OSError` or `sqlite3.Error` when the disk does not take it.
        """
        named: list[str] = []
        with self._writing:
            try:
                for staged, path in files:
                    free = free_path(self._root, path, self.index.is_taken)
                    if exactly and free != path:
                        raise Conflict("There is a file of this name, and nothing is overwritten.")
                    self._name(staged, free)
                    named.append(free)
            except BaseException:
                for path in named:
                    (self._root / path).unlink(missing_ok=True)
                    remove_empty_folders(self._root, path)
                raise
        return named

    def _name(self, staged: StagedFile, path: str) -> None:
        try:
            make_folder(self._root, path)
            put(staged, self._root / path)
        except BaseException:
            remove_empty_folders(self._root, path)
            raise

    def open_file(self, path: str) -> PlainFile:
        """Open a file below the root, whatever it is; raises `OSError`."""
        return PlainFile(self._root, path)

    # The life of an instance's file

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
            except (BlockingIOError, FileNotFoundError):  # another's, who lives or has just left
                continue
            try:
                for file in _files(folder):
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


def _files(folder: Path) -> list[Path]:
    """List a staging folder; empty when who left it has removed it meanwhile."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


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
