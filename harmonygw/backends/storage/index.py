"""The SQLite index: what the archive holds, and where. Its transaction is the moment at which an instance
exists.

A file is written whole and synced under a temporary name, then comes the transaction, then the file moves to
its path. The row knows both names. So whatever happens in between, a row's file is at one of its two places,
and a file without a row is nothing: at the next start the first is moved on and the second removed.

A study belongs to one patient: the same Study Instance UID under another PatientID and issuer is another
row, and the two are never merged (patient safety). Patients without an identifier are told apart by their
study. A study keeps its own copy of the patient's attributes, so that two persons who share an identifier do
not exchange names.
"""

import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from harmonygw.backends.storage.attributes import (
    IMAGE,
    PATIENT,
    SERIES,
    STUDY,
    merged,
    number_of,
    part_of,
    tag_of,
    text_of,
)
from harmonygw.errors import ConfigurationError
from harmonygw.operations import DataSet

SCHEMA_VERSION: Final = 1
"""`user_version` of the index; a file with another one is not opened."""

BUSY_TIMEOUT: Final = 10.0
"""Seconds to wait for a lock that someone else holds on the index, such as a backup."""

NO_NUMBER: Final = 2**31
"""Stands for a series or instance without a number, behind all that have one: an IS is smaller."""

_SCHEMA: Final = """
CREATE TABLE patient (
    id INTEGER PRIMARY KEY,
    patient_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    nameless TEXT NOT NULL,  -- the Study Instance UID of a patient without an identifier, else empty
    attributes TEXT NOT NULL,
    UNIQUE (patient_id, issuer, nameless)
);
CREATE TABLE study (
    id INTEGER PRIMARY KEY,
    patient INTEGER NOT NULL REFERENCES patient (id),
    study_instance_uid TEXT NOT NULL,
    study_date TEXT NOT NULL,  -- eight digits, or empty for what is absent or written otherwise
    accession_number TEXT NOT NULL,
    attributes TEXT NOT NULL,
    UNIQUE (study_instance_uid, patient)
);
CREATE INDEX study_of_patient ON study (patient);
CREATE INDEX study_by_date ON study (study_date);
CREATE INDEX study_by_accession ON study (accession_number);
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    study INTEGER NOT NULL REFERENCES study (id),
    series_instance_uid TEXT NOT NULL,
    modality TEXT NOT NULL,
    series_number INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    UNIQUE (series_instance_uid, study)
);
CREATE INDEX series_of_study ON series (study, modality);
CREATE TABLE instance (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL REFERENCES series (id),
    sop_instance_uid TEXT NOT NULL UNIQUE,
    sop_class_uid TEXT NOT NULL,
    instance_number INTEGER NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    source_ae_title TEXT NOT NULL,
    path TEXT NOT NULL UNIQUE,
    staged TEXT NOT NULL UNIQUE,
    data_offset INTEGER NOT NULL,
    size INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    attributes TEXT NOT NULL
);
CREATE INDEX instance_of_series ON instance (series, instance_number);
CREATE TABLE replaced (path TEXT PRIMARY KEY, staged TEXT NOT NULL);
"""


class Place(NamedTuple):
    """The two names of a file: `path` below the root and, until it has moved there, `staged`."""

    path: str
    staged: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A whole file, as the index gets to know it."""

    attributes: DataSet
    """The object's, at least those of the tables in `attributes`."""
    transfer_syntax_uid: str
    source_ae_title: str
    place: Place
    data_offset: int
    """Bytes before the data set."""
    size: int
    """Bytes of the whole file."""
    checksum: int
    """CRC-32 of the data set."""


class Index:
    """One connection that writes, for one thread at a time; and as many that read as threads ask at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._writer = self._connect()
        except sqlite3.Error as error:
            raise ConfigurationError((f"cannot open the index {path}: {error}",)) from error
        try:
            self._prepare()
        except BaseException:
            self._writer.close()
            raise
        self._idle: deque[sqlite3.Connection] = deque()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _prepare(self) -> None:
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._writer.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")
        elif version != SCHEMA_VERSION:
            raise ConfigurationError(
                (f"the index {self._path} has version {version}; this build reads version {SCHEMA_VERSION}",)
            )

    def close(self) -> None:
        """Close every connection; the index is not used afterwards."""
        while self._idle:
            self._idle.pop().close()
        self._writer.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for reading to the calling thread."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def is_empty(self) -> bool:
        """Whether the archive holds nothing."""
        with self.reading() as connection:
            return connection.execute("SELECT 1 FROM instance LIMIT 1").fetchone() is None

    def contains(self, sop_instance_uid: str) -> bool:
        """Whether the archive holds an instance."""
        with self.reading() as connection:
            found = connection.execute("SELECT 1 FROM instance WHERE sop_instance_uid = ?", (sop_instance_uid,))
            return found.fetchone() is not None

    def is_taken(self, path: str) -> bool:
        """Whether a file has, or had until it was replaced, this path."""
        with self.reading() as connection:
            taken = connection.execute(
                "SELECT 1 FROM instance WHERE path = ?1 UNION ALL SELECT 1 FROM replaced WHERE path = ?1",
                (path,),
            )
            return taken.fetchone() is not None

    def path_of(self, staged: str) -> str | None:
        """Return where a file with a temporary name is to go, None when no instance was made of it."""
        with self.reading() as connection:
            row = connection.execute("SELECT path FROM instance WHERE staged = ?", (staged,)).fetchone()
            return None if row is None else str(row[0])

    def replaced(self) -> list[Place]:
        """Return the files that newer ones have replaced, and that are not known to be gone."""
        with self.reading() as connection:
            return [Place(*row) for row in connection.execute("SELECT path, staged FROM replaced LIMIT 1000")]

    def forget(self, place: Place) -> None:
        """Note that a replaced file is gone."""
        self._writer.execute("DELETE FROM replaced WHERE path = ?", (place.path,))

    def add(self, entry: Entry) -> Place | None:
        """Make an instance exist, in one transaction; return the file of the one it replaces."""
        writer = self._writer
        writer.execute("BEGIN IMMEDIATE")
        try:
            replaced = self._add(entry)
            writer.execute("COMMIT")
        except BaseException:
            # A full disk has made SQLite roll back by itself.
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        return replaced

    def _add(self, entry: Entry) -> Place | None:
        values = entry.attributes
        study = self._study(values)
        series = self._upsert(
            "series",
            {"study": study, "series_instance_uid": text_of(values, _SERIES_INSTANCE_UID)},
            {
                "modality": text_of(values, _MODALITY),
                "series_number": number_of(values, _SERIES_NUMBER, NO_NUMBER),
            },
            part_of(values, SERIES),
        )
        sop_instance_uid = text_of(values, _SOP_INSTANCE_UID)
        before = self._writer.execute(
            "SELECT id, series, path, staged FROM instance WHERE sop_instance_uid = ?", (sop_instance_uid,)
        ).fetchone()
        columns = {
            "series": series,
            "sop_instance_uid": sop_instance_uid,
            "sop_class_uid": text_of(values, _SOP_CLASS_UID),
            "instance_number": number_of(values, _INSTANCE_NUMBER, NO_NUMBER),
            "transfer_syntax_uid": entry.transfer_syntax_uid,
            "source_ae_title": entry.source_ae_title,
            "path": entry.place.path,
            "staged": entry.place.staged,
            "data_offset": entry.data_offset,
            "size": entry.size,
            "checksum": entry.checksum,
            "attributes": orjson.dumps(part_of(values, IMAGE)).decode(),
        }
        if before is None:
            self._insert("instance", columns)
            return None
        row, old_series, path, staged = before
        self._update("instance", row, columns)
        self._insert("replaced", {"path": path, "staged": staged})
        if old_series != series:
            self._prune()
        return Place(path, staged)

    def _study(self, values: DataSet) -> int:
        patient_id = text_of(values, _PATIENT_ID)
        study_instance_uid = text_of(values, _STUDY_INSTANCE_UID)
        patient = self._upsert(
            "patient",
            {
                "patient_id": patient_id,
                "issuer": text_of(values, _ISSUER_OF_PATIENT_ID),
                "nameless": "" if patient_id else study_instance_uid,
            },
            {},
            part_of(values, PATIENT),
        )
        return self._upsert(
            "study",
            {"patient": patient, "study_instance_uid": study_instance_uid},
            {
                "study_date": _plain_date(values),
                "accession_number": text_of(values, _ACCESSION_NUMBER),
            },
            part_of(values, PATIENT | STUDY),
        )

    def _upsert(self, table: str, identity: dict[str, Any], columns: dict[str, Any], attributes: DataSet) -> int:
        """Return the row with this identity: a new one, or one whose attributes this object has completed."""
        where = " AND ".join(f"{name} = :{name}" for name in identity)
        known = self._writer.execute(f"SELECT id, attributes FROM {table} WHERE {where}", identity).fetchone()
        if known is None:
            return self._insert(table, {**identity, **columns, "attributes": orjson.dumps(attributes).decode()})
        row, text = known
        stored = orjson.loads(text)
        now = merged(stored, attributes)
        if now != stored:
            present = {name: value for name, value in columns.items() if value not in ("", NO_NUMBER)}
            self._update(table, row, {**present, "attributes": orjson.dumps(now).decode()})
        return int(row)

    def _insert(self, table: str, columns: dict[str, Any]) -> int:
        names = ", ".join(columns)
        marks = ", ".join(f":{name}" for name in columns)
        cursor = self._writer.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", columns)
        return int(cursor.lastrowid or 0)

    def _update(self, table: str, row: int, columns: dict[str, Any]) -> None:
        changes = ", ".join(f"{name} = :{name}" for name in columns)
        self._writer.execute(f"UPDATE {table} SET {changes} WHERE id = :id", {**columns, "id": row})

    def _prune(self) -> None:
        """Remove the series, studies and patients whose last instance has moved elsewhere."""
        for upper, lower in (("series", "instance"), ("study", "series"), ("patient", "study")):
            self._writer.execute(f"DELETE FROM {upper} WHERE id NOT IN (SELECT {upper} FROM {lower})")


def _plain_date(values: DataSet) -> str:
    text = text_of(values, _STUDY_DATE)
    return text if len(text) == 8 and text.isdecimal() else ""


_PATIENT_ID: Final = tag_of("PatientID")
_ISSUER_OF_PATIENT_ID: Final = tag_of("IssuerOfPatientID")
_STUDY_INSTANCE_UID: Final = tag_of("StudyInstanceUID")
_STUDY_DATE: Final = tag_of("StudyDate")
_ACCESSION_NUMBER: Final = tag_of("AccessionNumber")
_SERIES_INSTANCE_UID: Final = tag_of("SeriesInstanceUID")
_SERIES_NUMBER: Final = tag_of("SeriesNumber")
_MODALITY: Final = tag_of("Modality")
_SOP_CLASS_UID: Final = tag_of("SOPClassUID")
_SOP_INSTANCE_UID: Final = tag_of("SOPInstanceUID")
_INSTANCE_NUMBER: Final = tag_of("InstanceNumber")
