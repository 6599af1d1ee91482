"""Which of several archives have a study, and whose it is there: asked by C-FIND, and remembered for a while.

A Study Instance UID that two archives give to different patients is contested: nothing of it is merged, and nobody is
given anything of it who does not say which he means. PatientID and IssuerOfPatientID are compared exactly, but for
padding and the form of composed characters; an issuer that one archive gives and another does not is a difference, for
which the configuration has `issuers`.
"""

from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple
from unicodedata import normalize

from twisted.internet.interfaces import IReactorTime

from harmonygw import journal
from harmonygw.dicom.web.attributes import UNIQUE_KEYS, Level
from harmonygw.errors import Conflict, HarmonyError, PeerError
from harmonygw.exchange import Request
from harmonygw.joining import Joining
from harmonygw.operations import Find
from harmonygw.several.source import Answer, Source, ask, together
from harmonygw.streams import Match

PATIENT_ID: Final = "00100020"
ISSUER: Final = "00100021"
STUDY: Final = UNIQUE_KEYS[Level.STUDY]

MAX_STUDIES: Final = 10_000
"""Studies that are remembered. Default 10,000, some hundred bytes for each archive; the oldest are forgotten first."""

MAX_ALERTED: Final = 1000
"""Contested studies whose alert is remembered, so that the log has it once."""

BATCH: Final = 100
"""Study Instance UIDs in one query: 6.5 KB at most."""

ROWS_A_STUDY: Final = 4
"""Rows that are read for a study that is asked for: an archive may have it of several patients; more is in error."""


class Patient(NamedTuple):
    """PatientID and IssuerOfPatientID; empty when there is none."""

    patient_id: str = ""
    issuer: str = ""


def patient_of(row: Match, source: Source) -> Patient:
    """Return the patient of a match."""
    return Patient(value_of(row, PATIENT_ID), value_of(row, ISSUER) or source.issuer)


def value_of(row: Match, tag: str) -> str:
    """Return what an attribute holds as text that can be compared."""
    values: Sequence[Any] = row.get(tag, {}).get("Value", ())
    return normalize("NFC", "\\".join(str(value).strip(" \0") for value in values if value is not None))


class Known(NamedTuple):
    """What is known of a study at one archive."""

    patients: frozenset[Patient]
    """Whose it is there; empty when it is not there."""
    error: HarmonyError | None
    """Why the archive could not be asked."""
    since: float


class Verdict:
    """What is known of one study at all the archives that a request may be for."""

    def __init__(self, known: Mapping[Source, Known]) -> None:
        self.holders = {source: one.patients for source, one in known.items() if one.patients}
        """Who has it, in the configured order, and whose it is there."""
        self.missing = {source: one.error for source, one in known.items() if one.error is not None}
        """Who could not be asked, and why."""
        self.since = min((one.since for one in known.values()), default=0.0)

    @property
    def patients(self) -> frozenset[Patient]:
        """Everybody whose it is said to be."""
        return frozenset().union(*self.holders.values())

    @property
    def contested(self) -> bool:
        """Whether that is more than one."""
        return len(self.patients) > 1


@dataclass(slots=True)
class Hint:
    """What a query has just shown of studies, so that it need not be asked again."""

    found: dict[tuple[str, Source], set[Patient]]
    """By Study Instance UID and source."""
    absent: set[tuple[str, Source]]


class Whereabouts:
    """The memory, and the queries that fill it."""

    def __init__(self, clock: IReactorTime, *, remember_secs: float) -> None:
        self._clock = clock
        self._remember_secs = remember_secs
        self._studies: OrderedDict[str, dict[Source, Known]] = OrderedDict()
        self._alerted: OrderedDict[str, None] = OrderedDict()
        self._locating: Joining[tuple[object, ...], dict[str, Verdict]] = Joining()

    @property
    def remembered(self) -> int:
        """How many studies are remembered."""
        return len(self._studies)

    def forget(self, study: str) -> None:
        """Ask anew the next time."""
        self._studies.pop(study, None)

    async def locate(
        self,
        request: Request,
        studies: Iterable[str],
        sources: Sequence[Source],
        *,
        hint: Hint | None = None,
        unreachable: Mapping[Source, HarmonyError] | None = None,
    ) -> dict[str, Verdict]:
        """Return what is known of each study, once every source is asked of whom nothing is known.

        `unreachable` are sources that have just failed, and are not asked. That a source did not answer is said by
        `Verdict.missing`; raises nothing of its own.
        """
        unreachable = unreachable or {}
        wanted = tuple(dict.fromkeys(studies))
        if hint is None and (verdicts := self._all_remembered(wanted, sources)):
            return verdicts
        locating = partial(self._locate, request, wanted, sources, hint, unreachable)
        if hint is None:
            # Viewers open a study with many requests at once.
            verdicts = await self._locating.wait((wanted, *sources, *unreachable), locating)
        else:
            verdicts = await locating()
        for study, verdict in verdicts.items():
            if verdict.contested:
                self._alert(request, study, verdict)
        return verdicts

    async def _locate(
        self,
        request: Request,
        wanted: Sequence[str],
        sources: Sequence[Source],
        hint: Hint | None,
        unreachable: Mapping[Source, HarmonyError],
    ) -> dict[str, Verdict]:
        known: dict[str, dict[Source, Known]] = {study: self._recalled(study) for study in wanted}
        now = self._clock.seconds()
        if hint is not None:
            self._take(hint, known, now)
        for source, error in unreachable.items():
            for by_source in known.values():
                if source not in by_source or by_source[source].error is not None:
                    by_source[source] = Known(frozenset(), error, now)
        before = now if hint is not None else None
        await together(self._ask_about(request, source, known, before) for source in sources)
        await self._look_again(request, sources, known, now, unreachable)
        verdicts = {}
        for study in wanted:
            self._remember(study, known[study])
            verdicts[study] = Verdict({source: known[study][source] for source in sources})
        return verdicts

    @staticmethod
    def _take(hint: Hint, known: dict[str, dict[Source, Known]], now: float) -> None:
        for (study, source), patients in hint.found.items():
            known[study][source] = Known(frozenset(patients), None, now)
        for study, source in hint.absent:
            if study in known:
                known[study][source] = Known(frozenset(), None, now)

    async def _ask_about(
        self, request: Request, source: Source, known: dict[str, dict[Source, Known]], before: float | None
    ) -> None:
        """Ask a source about the studies of which nothing is known there, and about those it failed at `before`."""
        asked = [
            study
            for study, by_source in known.items()
            if source not in by_source
            or (before is not None and by_source[source].error is not None and by_source[source].since < before)
        ]
        for study, found in (await self._patients_of(request, source, asked)).items():
            known[study][source] = found

    async def _look_again(
        self,
        request: Request,
        sources: Sequence[Source],
        known: dict[str, dict[Source, Known]],
        now: float,
        unreachable: Container[Source],
    ) -> None:
        """Ask anew where studies are contested by what was remembered: archives are corrected one after another.

        What was remembered stands where a source does not answer now.
        """
        contested = [study for study, by_source in known.items() if Verdict(by_source).contested]

        async def at(source: Source) -> None:
            doubtful = [
                study
                for study in contested
                if (one := known[study][source]).since < now and one.patients and source not in unreachable
            ]
            for study, found in (await self._patients_of(request, source, doubtful)).items():
                if found.error is None:
                    known[study][source] = found

        await together(map(at, sources))

    async def _patients_of(self, request: Request, source: Source, studies: list[str]) -> dict[str, Known]:
        """Ask a source whose studies are; after a failure no further, since it would fail again."""
        known: dict[str, Known] = {}
        failed: HarmonyError | None = None
        for start in range(0, len(studies), BATCH):
            batch = studies[start : start + BATCH]
            answer = Answer(error=failed)
            if failed is None:
                answer = await _patients(request, source, batch, self._clock)
            found: dict[str, set[Patient]] = {study: set() for study in batch}
            for row in answer.rows:
                if (study := value_of(row, STUDY)) in found:
                    found[study].add(patient_of(row, source))
            failed = answer.error
            now = self._clock.seconds()
            known.update((study, Known(frozenset(patients), failed, now)) for study, patients in found.items())
        return known

    # The memory

    def _recalled(self, study: str) -> dict[Source, Known]:
        now = self._clock.seconds()
        known = self._studies.get(study, {})
        return {source: one for source, one in known.items() if now - one.since < self._remember_secs}

    def _all_remembered(self, studies: Sequence[str], sources: Sequence[Source]) -> dict[str, Verdict]:
        """Return what is remembered, if that is everything and settles it; this is what a frame costs."""
        verdicts = {}
        for study in studies:
            known = self._recalled(study)
            if not all(source in known for source in sources):
                return {}
            verdicts[study] = Verdict({source: known[source] for source in sources})
            if verdicts[study].contested:
                return {}
            self._studies.move_to_end(study)
        return verdicts

    def _remember(self, study: str, known: dict[Source, Known]) -> None:
        """Keep what is known of a study that somebody has: one that nobody has may come any moment."""
        self._studies.pop(study, None)
        if self._remember_secs and any(one.patients for one in known.values()):
            self._studies[study] = known
            if len(self._studies) > MAX_STUDIES:
                self._studies.popitem(last=False)

    # What must not go unseen

    def _alert(self, request: Request, study: str, verdict: Verdict) -> None:
        request.record.note(f"ALERT: {described(verdict)}")
        if study in self._alerted:
            self._alerted.move_to_end(study)
            return
        self._alerted[study] = None
        if len(self._alerted) > MAX_ALERTED:
            self._alerted.popitem(last=False)
        sentence = f"ALERT: {described(verdict)}: {study}"
        journal.alert(journal.Alert("patients_differ", sentence, titles(verdict.holders), request.correlation_id))


async def _patients(request: Request, source: Source, studies: list[str], clock: IReactorTime) -> Answer:
    find = Find(
        Level.STUDY,
        {STUDY: {"vr": "UI", "Value": studies}},
        {PATIENT_ID: {"vr": "LO"}, ISSUER: {"vr": "LO"}},
    )
    most = ROWS_A_STUDY * len(studies)
    answer = await ask(source, request, find, count=most, clock=clock)
    if not answer.ended and answer.error is None:
        answer.error = PeerError(f"{source.ae_title} answered with more studies than it was asked for")
    return answer


def titles(sources: Iterable[Source]) -> str:
    """Return the AE titles of sources, as they stand in a sentence."""
    return ", ".join(source.ae_title for source in sources)


def described(verdict: Verdict) -> str:
    """Say what is wrong with a contested study."""
    return f"a Study Instance UID belongs to different patients ({titles(verdict.holders)})"


def conflict(verdict: Verdict) -> Conflict:
    """Return the error of who does not say which one he means."""
    return Conflict(
        f"This Study Instance UID belongs to different patients at {titles(verdict.holders)}. Name the one that is "
        "meant: aets/{AE title}/studies/…"
    )
