"""One instance on its way into a file: written and read as it comes, and nothing until it is whole."""

import errno
import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from harmonygw.backends.storage.attributes import tag_of, text_of
from harmonygw.dicom.dataset.metadata_scan import MetadataScan
from harmonygw.dicom.dataset.part10 import encode_uid, file_header
from harmonygw.dicom.dataset.patient import NOBODY, Patient
from harmonygw.dicom.dimse.statuses import DATA_SET_DOES_NOT_MATCH, INVALID_SOP_INSTANCE
from harmonygw.errors import BadRequest, RejectedError
from harmonygw.streams import Instance, Piece

_SOP_CLASS_UID: Final = tag_of("SOPClassUID")
_SOP_INSTANCE_UID: Final = tag_of("SOPInstanceUID")
_STUDY_INSTANCE_UID: Final = tag_of("StudyInstanceUID")
_SERIES_INSTANCE_UID: Final = tag_of("SeriesInstanceUID")


class StagedFile:
    """A temporary file. Every method but the first blocks: call them in a thread.

    `discard` may come while another thread still writes, because the exchange was cut off: it waits for its
    turn.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        """The temporary file."""
        self.size = 0
        """Bytes written."""
        self._descriptor = -1
        self._turn = threading.RLock()
        self._kept = False
        self._discarded = False

    @property
    def turn(self) -> threading.RLock:
        """Held by whoever works on the file."""
        return self._turn

    def write(self, pieces: Sequence[Piece]) -> None:
        """Append; raises `OSError`."""
        with self._turn:
            self._open()
            for piece in pieces:
                self._append(piece)

    def sync(self) -> None:
        """Bring the file to the disk; raises `OSError`."""
        with self._turn:
            self._open()
            os.fsync(self._descriptor)
            self._close()

    def keep(self) -> None:
        """Note that the file belongs to the archive now."""
        self._kept = True

    def discard(self) -> None:
        """Give the file up, unless it was kept; harmless when there is none."""
        with self._turn:
            self._close()
            self._discarded = True
            if not self._kept:
                self.path.unlink(missing_ok=True)

    def _open(self) -> bool:
        """Make the file, unless it is there; return whether it was made."""
        if self._descriptor >= 0:
            return False
        if self._discarded:
            raise OSError(errno.ECANCELED, "the file was given up")
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        return True

    def _append(self, piece: Piece) -> None:
        rest = memoryview(piece)
        while rest:
            written = os.write(self._descriptor, rest)
            self.size += written
            rest = rest[written:]

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class Arrival(StagedFile):
    """An instance's temporary file, and what its content says."""

    def __init__(self, path: Path, instance: Instance) -> None:
        super().__init__(path)
        self._announced = {
            _SOP_CLASS_UID: instance.sop_class_uid,
            _SOP_INSTANCE_UID: instance.sop_instance_uid,
            _STUDY_INSTANCE_UID: instance.study_instance_uid,
            _SERIES_INSTANCE_UID: instance.series_instance_uid,
        }
        self._patient = Patient.of_instance(instance.leading, instance.default_character_set)
        self._header = _header(instance)
        self._scan = MetadataScan(instance.transfer_syntax_uid)
        self.transfer_syntax_uid = instance.transfer_syntax_uid
        self.source_ae_title = instance.source_ae_title
        self.checksum = 0
        """CRC-32 of the data set."""

    @property
    def data_offset(self) -> int:
        """Bytes before the data set."""
        return len(self._header)

    def write(self, pieces: Sequence[Piece]) -> None:
        """Append to the data set; raises `OSError`, and `PeerError` when it cannot be read as one."""
        with self._turn:
            if self._open():
                self._append(self._header)
            for piece in pieces:
                self._append(piece)
                self.checksum = zlib.crc32(piece, self.checksum)
            self._scan.feed(pieces)

    def finish(self) -> dict[str, Any]:
        """Bring the file to the disk, and return the object's attributes.

        Raises `PeerError` for an object that was cut short, and `RejectedError` with the C-STORE status for
        one that is not what the command said or lacks what makes it a composite instance (PS3.4 §B.2.3,
        Table B.2-1).
        """
        with self._turn:
            attributes: dict[str, Any] = self._scan.finish(lambda path: "")
            self._check(attributes)
            self.sync()
            return attributes

    def _check(self, attributes: dict[str, Any]) -> None:
        for name, tag in (("SOP Class UID", _SOP_CLASS_UID), ("SOP Instance UID", _SOP_INSTANCE_UID)):
            carried, announced = text_of(attributes, tag), self._announced[tag]
            if carried != announced:
                raise RejectedError(
                    f"the {name} of the data set, {carried[:80]!r}, is not the command's {announced!r}",
                    status=DATA_SET_DOES_NOT_MATCH,
                )
        for name, tag in (("Study", _STUDY_INSTANCE_UID), ("Series", _SERIES_INSTANCE_UID)):
            carried, announced = text_of(attributes, tag), self._announced[tag]
            try:
                encode_uid(carried)
            except BadRequest as error:
                raise RejectedError(f"{name} Instance UID: {error}", status=DATA_SET_DOES_NOT_MATCH) from error
            if announced and carried != announced:
                raise _ambiguous(f"{name} Instance UID")
        if self._patient.difference(Patient.of_row(attributes)) and self._patient != NOBODY:
            raise _ambiguous("PatientID, or its issuer,")


def _ambiguous(name: str) -> RejectedError:
    """Of an element that occurs twice some read the first and some the last: it is filed as neither (PS3.5 §7.1)."""
    return RejectedError(
        f"the {name} of the data set is another one further on, where it must not be", status=DATA_SET_DOES_NOT_MATCH
    )


def _header(instance: Instance) -> bytes:
    try:
        return file_header(
            instance.sop_class_uid,
            instance.sop_instance_uid,
            instance.transfer_syntax_uid,
            sending_ae_title=instance.source_ae_title,
        )
    except BadRequest as error:
        raise RejectedError(error.detail, status=INVALID_SOP_INSTANCE) from error
