"""Rows of several archives into one answer: by instance UID at every level, and never by position.

Rows are taken from the sources in turn, in the configured order. Those that name the same entity of the same patient
are one row: that of the first source that gives it. What the copies need not agree on, because each archive speaks of
what it has itself, is united where that can be told (ModalitiesInStudy) and left out where it cannot (counts): a number
that is not known is left out, and whoever can makes it of the level below. Rows of a study that belongs to different
patients are never joined, not even those of one of them: each stands for itself, and names patient and source.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

from harmonygw.dicom.web.attributes import MODALITIES_IN_STUDY, RETRIEVE_AE_TITLE, UNIQUE_KEYS, Level
from harmonygw.operations import ContestedMatch
from harmonygw.several.source import Source
from harmonygw.several.whereabouts import ISSUER, PATIENT_ID, STUDY, Patient, Verdict, patient_of, value_of
from harmonygw.streams import Match

LEVELS: Final = (Level.STUDY, Level.SERIES, Level.IMAGE)

COUNTS: Final = {
    Level.PATIENT: ("00201200", "00201202", "00201204"),
    Level.STUDY: ("00201206", "00201208"),
    Level.SERIES: ("00201209",),
    Level.IMAGE: (),
}
"""Numbers of what is below an entity, by its level."""

OF_THE_LEVELS_ABOVE: Final = {
    Level.PATIENT: (),
    Level.STUDY: COUNTS[Level.PATIENT],
    Level.SERIES: (*COUNTS[Level.PATIENT], *COUNTS[Level.STUDY], MODALITIES_IN_STUDY),
    Level.IMAGE: (*COUNTS[Level.PATIENT], *COUNTS[Level.STUDY], MODALITIES_IN_STUDY, *COUNTS[Level.SERIES]),
}
"""What a row may also say, of a study or patient that other archives have a part of."""

Identity = tuple[str, ...]
"""The unique keys down to the level, PatientID and IssuerOfPatientID; and of a contested study the source."""


def merged(
    rows: Mapping[Source, Sequence[Match]],
    level: Level,
    verdicts: Mapping[str, Verdict],
    *,
    relational: bool = False,
    not_asked: Collection[str] = (),
    known: Collection[Identity] = (),
) -> Iterator[tuple[Identity, Match]]:
    """Yield the rows of an answer with what identifies them, without those that are `known`.

    `verdicts` are those of every study that a row is of. Attributes that are `not_asked` are left out again where they
    have no value. A row without the unique keys of its level cannot be told from others, and stands for itself.
    """
    groups: dict[Identity, dict[Source, Match]] = {}
    for turn in zip_longest(*([(source, row) for row in some] for source, some in rows.items())):
        for source, row in filter(None, turn):
            identity = identified(row, level, source, verdicts)
            if identity in known:
                continue
            groups.setdefault(identity, {}).setdefault(source, row)
    order = {source: position for position, source in enumerate(rows)}
    for identity, group in groups.items():
        copies = dict(sorted(group.items(), key=lambda pair: order[pair[0]]))
        row = _joined(copies, level, identity, verdicts, relational=relational)
        for tag in not_asked:
            if tag in row and not value_of(row, tag):
                del row[tag]
        yield identity, row


def identified(row: Match, level: Level, source: Source, verdicts: Mapping[str, Verdict]) -> Identity:
    """Return what tells a row from every other of its level."""
    if level is Level.PATIENT:
        return patient_of(row, source)
    uids = tuple(value_of(row, UNIQUE_KEYS[one]) for one in LEVELS[: LEVELS.index(level) + 1])
    if not all(uids):
        return (*uids, source.ae_title, str(id(row)))
    verdict = verdicts.get(uids[0])
    patient = _patient(row, level, source, verdict)
    if verdict is not None and verdict.contested:
        return (*uids, *patient, source.ae_title)
    return (*uids, *patient)


def _patient(row: Match, level: Level, source: Source, verdict: Verdict | None) -> Patient:
    """Return whose a row is: below the study an archive need not say, and then its study does."""
    if level is not Level.STUDY and verdict is not None:
        patients = verdict.holders.get(source, frozenset())
        if len(patients) == 1:
            [patient] = patients
            return patient
    return patient_of(row, source)


def _joined(
    copies: Mapping[Source, Match],
    level: Level,
    identity: Identity,
    verdicts: Mapping[str, Verdict],
    *,
    relational: bool,
) -> Match:
    source = next(iter(copies))
    row = dict(copies[source])
    row[RETRIEVE_AE_TITLE] = {"vr": "AE", "Value": [source.ae_title]}
    if level is Level.PATIENT:
        if len(copies) > 1:
            _leave_out(row, COUNTS[level])
        return row
    verdict = verdicts.get(identity[0])
    if verdict is None:
        return row
    patient = Patient(*identity[LEVELS.index(level) + 1 :][:2])
    if verdict.contested:
        row[PATIENT_ID] = {"vr": "LO", "Value": [patient.patient_id]} if patient.patient_id else {"vr": "LO"}
        row[ISSUER] = {"vr": "LO", "Value": [patient.issuer]} if patient.issuer else {"vr": "LO"}
        return ContestedMatch(row, source.ae_title)
    sharing = list(verdict.holders)
    if len(sharing) > 1:
        # Each has a part of the study, or the same: that shows only below.
        if level is Level.STUDY:
            _leave_out(row, COUNTS[level])
            _unite_modalities(row, copies, sharing)
        elif len(copies) > 1 or relational:
            _leave_out(row, COUNTS[level])
        _leave_out(row, OF_THE_LEVELS_ABOVE[level])
    return row


def _unite_modalities(row: Match, copies: Mapping[Source, Match], sharing: Sequence[Source]) -> None:
    if MODALITIES_IN_STUDY not in row:
        return
    told = [_values(copies[source]) if source in copies else [] for source in sharing]
    if all(told):
        united = sorted({value for values in told for value in values})
        row[MODALITIES_IN_STUDY] = {"vr": "CS", "Value": united}
    else:
        _leave_out(row, (MODALITIES_IN_STUDY,))


def _values(row: Match) -> list[str]:
    values: Sequence[Any] = row.get(MODALITIES_IN_STUDY, {}).get("Value", ())
    return [str(value) for value in values if value]


def _leave_out(row: Match, tags: Sequence[str]) -> None:
    for tag in tags:
        row.pop(tag, None)


def studies_of(rows: Mapping[Source, Sequence[Match]]) -> list[str]:
    """Return the Study Instance UIDs of rows, each once."""
    found = (value_of(row, STUDY) for some in rows.values() for row in some)
    return list(dict.fromkeys(uid for uid in found if uid))
