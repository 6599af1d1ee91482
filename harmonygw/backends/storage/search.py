"""Questions to the index: which entities match a query, and which files a retrieval needs.

SQL narrows down by unique keys, identifiers and study date; `matching` then decides, on the attributes
themselves. Answers come in batches, each after the position at which the last one ended: between batches
nothing is held, however slow the reader is. What is stored meanwhile may or may not be seen.

Matches come in the order in which their entity was first stored, files by series number and instance number.
"""

import re
import sqlite3
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

from harmonygw.backends.storage.attributes import (
    AVAILABLE_TRANSFER_SYNTAX,
    INSTANCE_AVAILABILITY,
    LEVELS,
    MODALITIES_IN_STUDY,
    NOT_OURS,
    PATIENT_INSTANCES,
    PATIENT_SERIES,
    PATIENT_STUDIES,
    SERIES_INSTANCES,
    SOP_CLASSES_IN_STUDY,
    STUDY_INSTANCES,
    STUDY_SERIES,
    SUPPORTED,
    answer,
    down_to,
    tag_of,
)
from harmonygw.backends.storage.index import Index, Place
from harmonygw.dicom.dataset.matching import Matcher
from harmonygw.operations import DataSet, Find, Level, Retrieve
from harmonygw.streams import Match

ROWS_PER_BATCH: Final = 128
"""Rows that one call examines: some milliseconds, after which a cancelled query ends."""

_JOINS: Final = {
    Level.PATIENT: "patient",
    Level.STUDY: "study JOIN patient ON patient.id = study.patient",
    Level.SERIES: "series JOIN study ON study.id = series.study JOIN patient ON patient.id = study.patient",
    Level.IMAGE: "instance JOIN series ON series.id = instance.series"
    " JOIN study ON study.id = series.study JOIN patient ON patient.id = study.patient",
}
_TABLES: Final = {
    Level.PATIENT: "patient",
    Level.STUDY: "study",
    Level.SERIES: "series",
    Level.IMAGE: "instance",
}

_SYNTHESIS: Final = {
    PATIENT_STUDIES: (Level.PATIENT, "IS", "SELECT count(*) FROM study WHERE patient = ?"),
    PATIENT_SERIES: (
        Level.PATIENT,
        "IS",
        "SELECT count(*) FROM series JOIN study ON study.id = series.study WHERE patient = ?",
    ),
    PATIENT_INSTANCES: (
        Level.PATIENT,
        "IS",
        "SELECT count(*) FROM instance JOIN series ON series.id = instance.series"
        " JOIN study ON study.id = series.study WHERE patient = ?",
    ),
    MODALITIES_IN_STUDY: (
        Level.STUDY,
        "CS",
        "SELECT DISTINCT modality FROM series WHERE study = ? AND modality <> '' ORDER BY modality",
    ),
    SOP_CLASSES_IN_STUDY: (
        Level.STUDY,
        "UI",
        "SELECT DISTINCT sop_class_uid FROM instance JOIN series ON series.id = instance.series"
        " WHERE study = ? ORDER BY sop_class_uid",
    ),
    STUDY_SERIES: (Level.STUDY, "IS", "SELECT count(*) FROM series WHERE study = ?"),
    STUDY_INSTANCES: (
        Level.STUDY,
        "IS",
        "SELECT count(*) FROM instance JOIN series ON series.id = instance.series WHERE study = ?",
    ),
    SERIES_INSTANCES: (Level.SERIES, "IS", "SELECT count(*) FROM instance WHERE series = ?"),
    AVAILABLE_TRANSFER_SYNTAX: (Level.IMAGE, "UI", "SELECT transfer_syntax_uid FROM instance WHERE id = ?"),
}
"""Attribute to the level it belongs to, its VR, and the question about that level's row."""

_UID_COLUMNS: Final = {
    tag_of("StudyInstanceUID"): (Level.STUDY, "study.study_instance_uid"),
    tag_of("SeriesInstanceUID"): (Level.SERIES, "series.series_instance_uid"),
    tag_of("SOPInstanceUID"): (Level.IMAGE, "instance.sop_instance_uid"),
    tag_of("SOPClassUID"): (Level.IMAGE, "instance.sop_class_uid"),
}
_TEXT_CONDITIONS: Final = {
    tag_of("PatientID"): (Level.PATIENT, "patient.patient_id = ?"),
    tag_of("AccessionNumber"): (Level.STUDY, "study.accession_number = ?"),
    tag_of("Modality"): (Level.SERIES, "series.modality = ?"),
    MODALITIES_IN_STUDY: (
        Level.STUDY,
        "EXISTS (SELECT 1 FROM series AS one WHERE one.study = study.id AND one.modality = ?)",
    ),
}
_STUDY_DATE: Final = tag_of("StudyDate")
_DATE_RANGE: Final = re.compile(r"(\d{8})?(-?)(\d{8})?")


class Batch(NamedTuple):
    """Some matches, and the position after which the next batch begins; None when there is none."""

    matches: list[Match]
    after: int | None


class StoredFile(NamedTuple):
    """What a retrieval knows of an instance before it opens its file."""

    series_number: int
    series: int
    instance_number: int
    instance: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source_ae_title: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    patient_id: str
    issuer: str
    path: str
    staged: str
    data_offset: int
    size: int
    checksum: int

    @property
    def place(self) -> Place:
        """Where the file is."""
        return Place(self.path, self.staged)

    @property
    def position(self) -> tuple[int, int, int, int]:
        """Where it stands in the order of a retrieval."""
        return self.series_number, self.series, self.instance_number, self.instance


_STORED_FILES: Final = (
    "SELECT series_number, series.id, instance_number, instance.id, sop_class_uid, sop_instance_uid,"
    " transfer_syntax_uid, source_ae_title, study_instance_uid, series_instance_uid, modality,"
    f" patient_id, issuer, path, staged, data_offset, size, checksum FROM {_JOINS[Level.IMAGE]}"
)

BEFORE_ALL: Final = (-(2**63), 0, 0, 0)
"""The position of a retrieval that has not begun."""


def find(index: Index, query: Find, after: int = 0) -> Batch:
    """Examine the next rows of a query's level, and return those that match."""
    with index.reading() as connection:
        return _Query(connection, query).batch(after)


class _Query:
    def __init__(self, connection: sqlite3.Connection, query: Find) -> None:
        self._connection = connection
        self._levels = down_to(query.level)
        supported = SUPPORTED[query.level]
        self._keys = {tag: key for tag, key in query.keys.items() if tag in supported and tag not in NOT_OURS}
        self._matcher = Matcher(self._keys)
        self._asked = {**query.return_keys, **query.keys}
        self._synthesised = [
            (tag, *_SYNTHESIS[tag]) for tag in self._asked if tag in _SYNTHESIS and _SYNTHESIS[tag][0] in self._levels
        ]
        self._known: dict[tuple[str, int], list[Any]] = {}

    def batch(self, after: int) -> Batch:
        level = self._levels[-1]
        table = _TABLES[level]
        described = self._levels[-1:] if level is Level.PATIENT else self._levels[1:]
        identities = ", ".join(f"{_TABLES[one]}.id" for one in self._levels)
        attributes = ", ".join(f"{_TABLES[one]}.attributes" for one in described)
        conditions = [(f"{table}.id > ?", after), *_conditions(self._keys, level)]
        rows = self._connection.execute(
            f"SELECT {identities}, {attributes} FROM {_JOINS[level]}"
            f" WHERE {' AND '.join(condition for condition, _ in conditions)}"
            f" ORDER BY {table}.id LIMIT {ROWS_PER_BATCH}",
            [value for _, value in conditions],
        ).fetchall()
        depth = len(self._levels)
        found = []
        for row in rows:
            candidate = self._candidate(row[:depth], row[depth:])
            if self._matcher.matches(candidate):
                found.append(answer(self._asked, candidate))
        return Batch(found, rows[-1][depth - 1] if len(rows) == ROWS_PER_BATCH else None)

    def _candidate(self, identities: tuple[int, ...], attributes: tuple[str, ...]) -> dict[str, Any]:
        candidate: dict[str, Any] = {INSTANCE_AVAILABILITY: {"vr": "CS", "Value": ["ONLINE"]}}
        for text in attributes:
            candidate.update(orjson.loads(text))
        for tag, level, vr, question in self._synthesised:
            values = self._values(tag, question, identities[LEVELS.index(level)])
            candidate[tag] = {"vr": vr, "Value": values} if values else {"vr": vr}
        return candidate

    def _values(self, tag: str, question: str, row: int) -> list[Any]:
        known = self._known.get((tag, row))
        if known is None:
            known = [value for (value,) in self._connection.execute(question, (row,))]
            self._known[tag, row] = known
        return known


def _conditions(keys: DataSet, level: Level) -> Iterator[tuple[str, str]]:
    """Yield what SQL can decide of the keys; never narrower than matching itself."""
    levels = down_to(level)
    for tag, (at, column) in _UID_COLUMNS.items():
        values = keys.get(tag, {}).get("Value")
        if at in levels and values and all(isinstance(value, str) and _is_plain(value) for value in values):
            uids = orjson.dumps([value.strip() for value in values]).decode()
            yield f"{column} IN (SELECT value FROM json_each(?))", uids
    for tag, (at, condition) in _TEXT_CONDITIONS.items():
        value = _single(keys, tag)
        if at in levels and value:
            yield condition, value
    dates = _DATE_RANGE.fullmatch(_single(keys, _STUDY_DATE))
    if Level.STUDY in levels and dates:
        first, dash, last = dates.groups()
        if first:
            yield "(study.study_date >= ? OR study.study_date = '')", first
        if last or (first and not dash):
            yield "(study.study_date <= ? OR study.study_date = '')", last or first


def _single(keys: DataSet, tag: str) -> str:
    """Return the text of a key with one plain value, else `""`."""
    values = keys.get(tag, {}).get("Value")
    if values and len(values) == 1 and isinstance(values[0], str) and _is_plain(values[0]):
        return values[0].strip()
    return ""


def _is_plain(value: str) -> bool:
    return value.strip() != "" and not any(special in value for special in '*?\\"')


def count_studies(index: Index, retrieve: Retrieve) -> int:
    """Return from how many patients' studies a retrieval would take: more than one is ambiguous."""
    where, values = _selection(retrieve)
    with index.reading() as connection:
        counted = connection.execute(
            f"SELECT count(DISTINCT study.id) FROM {_JOINS[Level.IMAGE]} WHERE {where}",
            values,
        )
        return int(counted.fetchone()[0])


def files(index: Index, retrieve: Retrieve, after: tuple[int, int, int, int] = BEFORE_ALL) -> list[StoredFile]:
    """Return the next files of a retrieval, at most `ROWS_PER_BATCH`; none at its end."""
    where, values = _selection(retrieve)
    with index.reading() as connection:
        rows = connection.execute(
            f"{_STORED_FILES} WHERE {where}"
            " AND (series_number, series.id, instance_number, instance.id) > (?, ?, ?, ?)"
            f" ORDER BY series_number, series.id, instance_number, instance.id LIMIT {ROWS_PER_BATCH}",
            (*values, *after),
        )
        return [StoredFile(*row) for row in rows]


def instance(index: Index, sop_instance_uid: str) -> StoredFile | None:
    """Return the file of one instance, None when there is no such instance."""
    with index.reading() as connection:
        row = connection.execute(f"{_STORED_FILES} WHERE sop_instance_uid = ?", (sop_instance_uid,)).fetchone()
        return None if row is None else StoredFile(*row)


def _selection(retrieve: Retrieve) -> tuple[str, list[str]]:
    conditions = ["study_instance_uid = ?"]
    values = [retrieve.study_instance_uid]
    if retrieve.patient_id:
        conditions.append("patient_id = ?")
        values.append(retrieve.patient_id)
    if retrieve.level in (Level.SERIES, Level.IMAGE):
        conditions.append("series_instance_uid = ?")
        values.append(retrieve.series_instance_uid)
    if retrieve.level is Level.IMAGE:
        conditions.append("sop_instance_uid IN (SELECT value FROM json_each(?))")
        values.append(orjson.dumps(retrieve.sop_instance_uids).decode())
    return " AND ".join(conditions), values
