"""What an archive says it holds, asked before anything is retrieved: for the check of what then comes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from harmonygw.backends.dicom_scu.patient import NOBODY, Patient
from harmonygw.backends.dicom_scu.rows import asked, number, text, texts, uids
from harmonygw.errors import Conflict, NotFound
from harmonygw.operations import DataSet, Find, Level, Retrieve
from harmonygw.streams import Match

Search = Callable[[Find], Awaitable[list[Match]]]
"""Runs a bounded query on the archive; raises what a Find raises."""


@dataclass(slots=True)
class Expectation:
    """What the archive says."""

    patient: Patient = NOBODY
    study_keys: DataSet = field(default_factory=dict)
    """The unique keys down to the study, in the archive's information model."""
    classes: tuple[str, ...] = ()
    """The SOP classes there are; empty when it does not say."""
    modalities: tuple[str, ...] = ()
    count: int | None = None
    """The number of instances; None when it does not say."""
    transfer_syntaxes: tuple[str, ...] = ()
    """Available Transfer Syntax UID (0008,3002) of the instances, when it says."""


async def expect(search: Search, retrieve: Retrieve, *, patient_root: bool = False) -> Expectation:
    """Ask the archive what there is under the unique keys, in the Patient Root model if need be.

    Raises `NotFound` when there is nothing, and `Conflict` when the study's UID belongs to several patients.
    """
    found = await _study(search, retrieve, patient_root)
    if retrieve.level is Level.STUDY and (found.classes or found.modalities):
        return found
    keys = found.study_keys
    if retrieve.series_instance_uid:
        keys = {**keys, **uids("0020000E", retrieve.series_instance_uid)}
    series = await search(Find(Level.SERIES, keys, asked("00080060", "00201209")))
    series = [row for row in series if retrieve.series_instance_uid in ("", text(row, "0020000E"))]
    if not series:
        raise NotFound("there is no such series in the study")
    found.modalities = tuple(dict.fromkeys(modality for row in series if (modality := text(row, "00080060"))))
    if retrieve.level is Level.STUDY:
        return found
    counts = [number(row, "00201209") for row in series]
    found.count = None if None in counts else sum(count or 0 for count in counts)
    found.classes = ()
    if retrieve.level is Level.IMAGE:
        keys = {**keys, **uids("00080018", *retrieve.sop_instance_uids)}
        instances = await search(Find(Level.IMAGE, keys, asked("00080016", "00083002")))
        instances = [row for row in instances if text(row, "00080018") in retrieve.sop_instance_uids]
        if not instances:
            raise NotFound("there is no such instance in the series")
        found.classes = tuple(dict.fromkeys(uid for row in instances if (uid := text(row, "00080016"))))
        found.transfer_syntaxes = tuple(dict.fromkeys(uid for row in instances for uid in texts(row, "00083002")))
        found.count = len({text(row, "00080018") for row in instances})
    return found


async def _study(search: Search, retrieve: Retrieve, patient_root: bool) -> Expectation:
    keys = uids("0020000D", retrieve.study_instance_uid)
    if patient_root and retrieve.patient_id:
        keys = {**keys, **_patient_key(retrieve.patient_id)}
    rows = await search(Find(Level.STUDY, keys, asked("00100020", "00100021", "00080061", "00080062", "00201208")))
    rows = [row for row in rows if text(row, "0020000D") in ("", retrieve.study_instance_uid)]
    if not rows:
        raise NotFound("there is no such study")
    patients = {Patient.of_row(row) for row in rows}
    if len(patients) > 1:
        raise Conflict("the archive gives this Study Instance UID to several patients")
    [patient] = patients
    study = rows[0]
    if patient_root:
        keys = {**keys, **_patient_key(text(study, "00100020"))}
    return Expectation(
        patient=patient,
        study_keys=keys,
        classes=texts(study, "00080062"),
        modalities=texts(study, "00080061"),
        count=number(study, "00201208"),
    )


def _patient_key(patient_id: str) -> DataSet:
    return {"00100020": {"vr": "LO", "Value": [patient_id]}}
