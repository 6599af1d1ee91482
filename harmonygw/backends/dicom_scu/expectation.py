"""What an archive says it holds, asked before anything is retrieved: for the check of what then comes.

Three things are asked: whose the study is (STUDY level), how many instances a series has (SERIES level), and which
instances there are and of which SOP class (IMAGE level). They depend on nothing of one another, and are asked at the
same time. Viewers retrieve a series in many parts in quick succession; so what was said is remembered for a moment.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from harmonygw import journal
from harmonygw.backends.dicom_scu.contexts import LOSSY, VIDEO
from harmonygw.backends.dicom_scu.memory import Memory
from harmonygw.backends.dicom_scu.rows import asked, number, text, texts, uids
from harmonygw.dicom.dataset.patient import NOBODY, Patient
from harmonygw.errors import Conflict, NotFound
from harmonygw.operations import DataSet, Find, Level, Retrieve
from harmonygw.streams import Match

A = TypeVar("A")
B = TypeVar("B")

EXPECTATION_SECS = 5.0
"""Seconds for which what the archive said of a study is good for further retrievals: as long as the burst of requests
that opens a series. No object is checked against a patient that was named longer ago."""

MAX_EXPECTATIONS = 1000
"""Studies that are remembered at a time, and as many series: a few hundred bytes each."""

BATCH = 500
"""SOP Instance UIDs in one identifier at most: 32 KB with the longest UIDs, half of what a value of VR UI can hold in
Explicit VR (PS3.5 §7.1.2), and a fragment or two of any PDU."""

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
    """Available Transfer Syntax UID (0008,3002) of the instances, when it says. A lossy one only when every instance
    is held in that one: proposed for others, it could have them compressed."""
    instances: tuple[str, ...] = ()
    """At IMAGE level the SOP Instance UIDs to ask for, in the order of the Retrieve."""
    is_listed: bool = True
    """Whether the archive lists what is expected. Otherwise it is asked when something does not come."""


@dataclass(frozen=True, slots=True)
class _Series:
    """What an instance or two say of the series that they are in."""

    classes: tuple[str, ...]
    transfer_syntaxes: tuple[str, ...]
    holds_lossy: bool


class Expectations:
    """What one archive says, and has said a moment ago."""

    def __init__(self, clock: IReactorTime, *, concurrently: bool = True) -> None:
        self._concurrently = concurrently
        self._studies: Memory[Expectation] = Memory(clock, seconds=EXPECTATION_SECS, entries=MAX_EXPECTATIONS)
        self._series: Memory[list[Match]] = Memory(clock, seconds=EXPECTATION_SECS, entries=MAX_EXPECTATIONS)
        self._instances: Memory[_Series] = Memory(clock, seconds=EXPECTATION_SECS, entries=MAX_EXPECTATIONS)
        self._tells_classes: bool | None = None

    def forget(self, study_instance_uid: str) -> None:
        """Ask anew the next time: something was not as expected."""
        for memory in (self._studies, self._series, self._instances):
            memory.forget(study_instance_uid)

    async def expect(self, search: Search, retrieve: Retrieve, *, patient_root: bool = False) -> Expectation:
        """Ask the archive what there is under the unique keys, in the Patient Root model if need be.

        Raises `NotFound` when there is nothing, and `Conflict` when the study's UID belongs to several patients.
        """
        study = self._study(search, retrieve, patient_root)
        below = {Level.SERIES: self._of_series, Level.IMAGE: self._of_instances}.get(retrieve.level, self._of_study)
        if retrieve.level is Level.STUDY or patient_root or not self._concurrently:
            found = await study
            return _joined(found, await below(search, retrieve, found))
        keys = Expectation(study_keys=uids("0020000D", retrieve.study_instance_uid))
        return _joined(*await _both(study, below(search, retrieve, keys)))

    # What is asked of the archive, or remembered

    async def _study(self, search: Search, retrieve: Retrieve, patient_root: bool) -> Expectation:
        whole = retrieve.level is Level.STUDY
        patient_id = retrieve.patient_id if patient_root else ""

        async def ask() -> Expectation:
            keys = uids("0020000D", retrieve.study_instance_uid)
            if patient_id:
                keys = {**keys, **_patient_key(patient_id)}
            # Classes and counts are what archives compute for each answer, in several times the time of the rest.
            return_keys = asked("00100020", "00100021", *(("00080061", "00080062", "00201208") if whole else ()))
            rows = await search(Find(Level.STUDY, keys, return_keys))
            return _study_of(rows, retrieve.study_instance_uid, keys, patient_root)

        return await self._studies.recall((retrieve.study_instance_uid, patient_id, str(whole)), ask)

    async def _series_rows(self, search: Search, retrieve: Retrieve, keys: DataSet) -> list[Match]:
        async def ask() -> list[Match]:
            rows = await search(Find(Level.SERIES, keys, asked("00080060", "00201209")))
            rows = [row for row in rows if retrieve.series_instance_uid in ("", text(row, "0020000E"))]
            if not rows:
                raise NotFound("there is no such series in the study")
            return rows

        if retrieve.series_instance_uid:
            keys = {**keys, **uids("0020000E", retrieve.series_instance_uid)}
        return await self._series.recall((retrieve.study_instance_uid, retrieve.series_instance_uid), ask)

    async def _image_rows(self, search: Search, retrieve: Retrieve, keys: DataSet) -> list[Match]:
        keys = {**keys, **uids("0020000E", retrieve.series_instance_uid)}
        rows = await image_rows(search, keys, "00083002", sop_instance_uids=retrieve.sop_instance_uids)
        rows = [row for row in rows if text(row, "00080018") in retrieve.sop_instance_uids]
        if rows and self._tells_classes is not True:
            self._tells_classes = any(text(row, "00080016") for row in rows)
        return rows

    # What is expected at each level; `found` has the study's keys

    async def _of_study(self, search: Search, retrieve: Retrieve, found: Expectation) -> Expectation:
        if found.classes or found.modalities:
            return found
        rows = await self._series_rows(search, retrieve, found.study_keys)
        return replace(found, modalities=_modalities(rows))

    async def _of_series(self, search: Search, retrieve: Retrieve, found: Expectation) -> Expectation:
        rows = await self._series_rows(search, retrieve, found.study_keys)
        counts = [number(row, "00201209") for row in rows]
        count = None if None in counts else sum(count or 0 for count in counts)
        return Expectation(modalities=_modalities(rows), count=count)

    async def _of_instances(self, search: Search, retrieve: Retrieve, found: Expectation) -> Expectation:
        wanted = tuple(dict.fromkeys(retrieve.sop_instance_uids))
        if not wanted:
            raise NotFound("no instance is named")
        rows: list[Match] | None = None

        async def ask() -> _Series:
            nonlocal rows
            rows = await self._image_rows(search, retrieve, found.study_keys)
            told = {uid for row in rows for uid in texts(row, "00083002")}
            return _Series(_classes(rows), _held_in(rows), not told.isdisjoint((*LOSSY, *VIDEO)))

        expected = Expectation(instances=wanted, count=len(wanted), is_listed=False)
        if self._tells_classes is not False:
            key = (retrieve.study_instance_uid, retrieve.series_instance_uid)
            series = await self._instances.recall(key, ask)
            if rows is None:
                if series.classes and not series.holds_lossy:
                    return replace(expected, classes=series.classes, transfer_syntaxes=series.transfer_syntaxes)
                rows = await self._image_rows(search, retrieve, found.study_keys)
            elif not rows:
                self._instances.forget(retrieve.study_instance_uid)
            if not rows:
                raise NotFound("there is no such instance in the series")
            listed = {text(row, "00080018") for row in rows}
            instances = tuple(uid for uid in wanted if uid in listed)
            expected = Expectation(
                classes=_classes(rows),
                count=len(instances),
                transfer_syntaxes=_held_in(rows),
                instances=instances,
            )
        if not expected.classes:
            expected.modalities = _modalities(await self._series_rows(search, retrieve, found.study_keys))
        return expected


async def image_rows(search: Search, keys: DataSet, *tags: str, sop_instance_uids: tuple[str, ...] = ()) -> list[Match]:
    """Return the instances of a series, or those of them that are named, with their SOP classes and other `tags`.

    `keys` are the unique keys down to the series. A long list takes several queries.
    """
    return_keys = asked("00080016", *tags)
    if not sop_instance_uids:
        return await search(Find(Level.IMAGE, keys, return_keys))
    rows: list[Match] = []
    for start in range(0, len(sop_instance_uids), BATCH):
        part = sop_instance_uids[start : start + BATCH]
        rows += await search(Find(Level.IMAGE, {**keys, **uids("00080018", *part)}, return_keys))
    return rows


def _study_of(rows: list[Match], study_instance_uid: str, keys: DataSet, patient_root: bool) -> Expectation:
    rows = [row for row in rows if text(row, "0020000D") in ("", study_instance_uid)]
    if not rows:
        raise NotFound("there is no such study")
    patients = {Patient.of_row(row) for row in rows}
    if len(patients) > 1:
        sentence = f"the archive gives one Study Instance UID to several patients: {study_instance_uid}"
        journal.alert(journal.Alert("patients_differ", sentence))
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


def _joined(study: Expectation, below: Expectation) -> Expectation:
    return replace(below, patient=study.patient, study_keys=study.study_keys)


def _modalities(rows: Iterable[Match]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(modality for row in rows if (modality := text(row, "00080060"))))


def _classes(rows: Iterable[Match]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(uid for row in rows if (uid := text(row, "00080016"))))


def _held_in(rows: list[Match]) -> tuple[str, ...]:
    told = [texts(row, "00083002") for row in rows]
    every = tuple(dict.fromkeys(uid for one in told for uid in one))
    if len(every) == 1 and all(told):
        return every
    return tuple(uid for uid in every if uid not in (*LOSSY, *VIDEO))


def _patient_key(patient_id: str) -> DataSet:
    return {"00100020": {"vr": "LO", "Value": [patient_id]}}


async def _both(first: Coroutine[Any, Any, A], second: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Wait for both at the same time; when both fail, it is the first that tells why."""
    begun = Deferred.fromCoroutine(first)
    try:
        result = await second
    except CancelledError:
        begun.addErrback(lambda _: None)
        begun.cancel()
        raise
    except Exception:
        await begun
        raise
    return await begun, result
