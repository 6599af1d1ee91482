"""What a server says it has, asked by a Search beside a Retrieve (PS3.18 §10.6): for the check of what then comes.

Two things are asked beforehand: whose the study is, and how many instances there are. Which they are is asked when
fewer have come. A server that does not say is believed.
"""

from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import CancelledError

from harmonygw import journal
from harmonygw.dicom.dataset.patient import NOBODY, Patient
from harmonygw.dicom.web.attributes import UNIQUE_KEYS, Level
from harmonygw.errors import Busy, Conflict, HarmonyError, TimedOut, TransportError
from harmonygw.middleware.dicom_to_dicomweb.finding import OriginMatches
from harmonygw.middleware.dicom_to_dicomweb.origin import Origin
from harmonygw.operations import DataSet, Find, Retrieve
from harmonygw.streams import Match

MAX_ROWS: Final = 10
"""Matches that are looked at to know one study, or one series."""

MAX_INSTANCES: Final = 100_000
"""Instances of one retrieval: their UIDs are remembered, so that none is taken twice. The largest studies have some ten
thousand."""

_PATIENT: Final[DataSet] = {"00100020": {"vr": "LO"}, "00100021": {"vr": "LO"}}
_STUDY_INSTANCES: Final = "00201208"
"""Number of Study Related Instances."""
_SERIES_INSTANCES: Final = "00201209"
"""Number of Series Related Instances."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the server says it has."""

    patient: Patient = NOBODY
    count: int | None = None
    """The number of instances; None when it does not say, or they were named."""


async def expect(origin: Origin, retrieve: Retrieve) -> Expectation:
    """Ask whose the study is, and how many instances there are.

    Raises `Conflict` when the study's UID belongs to several patients, and what says that the server is not there.
    """
    study = {UNIQUE_KEYS[Level.STUDY]: _uid(retrieve.study_instance_uid)}
    asked = {**_PATIENT, _STUDY_INSTANCES: {"vr": "IS"}}
    rows = await _rows(origin, Find(Level.STUDY, study, asked, limit=MAX_ROWS))
    patients = {Patient.of_row(row) for row in rows}
    if len(patients) > 1:
        sentence = (
            f"the DICOMweb server gives one Study Instance UID to several patients: {retrieve.study_instance_uid}"
        )
        journal.alert(journal.Alert("patients_differ", sentence, correlation_id=origin.request.correlation_id))
        raise Conflict("the DICOMweb server gives this Study Instance UID to several patients")
    patient = next(iter(patients), NOBODY)
    if retrieve.level is Level.STUDY:
        return Expectation(patient, _number(rows, _STUDY_INSTANCES))
    if retrieve.level is Level.IMAGE:
        return Expectation(patient)
    series = {**study, UNIQUE_KEYS[Level.SERIES]: _uid(retrieve.series_instance_uid)}
    rows = await _rows(origin, Find(Level.SERIES, series, {_SERIES_INSTANCES: {"vr": "IS"}}, limit=MAX_ROWS))
    return Expectation(patient, _number(rows, _SERIES_INSTANCES))


async def list_instances(origin: Origin, retrieve: Retrieve) -> set[str]:
    """Return the UIDs of the instances of a study or series, none when the server does not list them."""
    keys = {UNIQUE_KEYS[Level.STUDY]: _uid(retrieve.study_instance_uid)}
    if retrieve.series_instance_uid:
        keys[UNIQUE_KEYS[Level.SERIES]] = _uid(retrieve.series_instance_uid)
    listed: set[str] = set()
    try:
        async with aclosing(OriginMatches(origin.aside(), Find(Level.IMAGE, keys))) as matches:
            async for match in matches:
                listed.update(map(str, match[UNIQUE_KEYS[Level.IMAGE]]["Value"]))
                if len(listed) > MAX_INSTANCES:
                    origin.note(f"the DICOMweb server lists more than {MAX_INSTANCES} instances (MAX_INSTANCES)")
                    return set()
    except CancelledError:
        raise
    except HarmonyError as error:
        origin.note(f"the DICOMweb server does not list what it has: {error.detail}")
        return set()
    return listed


async def _rows(origin: Origin, find: Find) -> list[Match]:
    rows: list[Match] = []
    try:
        async with aclosing(OriginMatches(origin.aside(), find)) as matches:
            async for match in matches:
                rows.append(match)
                if len(rows) >= MAX_ROWS:
                    break
    except (Busy, TimedOut, TransportError):
        raise
    except HarmonyError as error:
        origin.note(f"the DICOMweb server does not tell what it has: {error.detail}")
        return []
    return rows


def _number(rows: list[Match], tag: str) -> int | None:
    """Return the number that the one row says; None for none, or when there is not one row."""
    if len(rows) != 1:
        return None
    values = rows[0].get(tag, {}).get("Value") or [None]
    return int(values[0]) if str(values[0]).isdecimal() else None


def _uid(value: str) -> dict[str, object]:
    return {"vr": "UI", "Value": [value]}
