"""Find at several archives at once.

A query goes to all of them at the same time. It is read in rounds: some rows of each, and then nobody is asked any
more, so that no place at an archive is held while other questions wait for one. Each round's studies are located at
every source before its rows go out: who else has them, and whose they are there. A further round begins the query anew,
reaching twice as far: C-FIND has no offset.

Below the study, where a query names its study, it is located first, and only those who have it are asked.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from harmonygw.dicom.web.attributes import RETRIEVE_AE_TITLE, UNIQUE_KEYS, Level
from harmonygw.errors import HarmonyError, NotAcceptable, TooLarge
from harmonygw.exchange import Request
from harmonygw.operations import DataSet, Find, Matches
from harmonygw.several.absences import Absences
from harmonygw.several.merging import LEVELS, Identity, merged, studies_of
from harmonygw.several.source import Answer, Source, ask, together
from harmonygw.several.whereabouts import (
    ISSUER,
    PATIENT_ID,
    STUDY,
    Hint,
    Verdict,
    Whereabouts,
    described,
    patient_of,
    value_of,
)
from harmonygw.streams import Match

FIRST_ROUND: Final = 500
"""Rows that are read of each source in the first round, unless the reader wants fewer. Default 500: what most searches
find, so that they are asked once; some hundred kilobytes."""

LARGEST_ROUND: Final = 8000
"""Rows of each source in any round: some megabytes. The rounds double until then."""

MAX_ROWS: Final = 100_000
"""Rows of one answer, whose identities are kept so that none comes twice: some ten megabytes. Default 100,000, as far
as a Search reaches."""

_UNQUOTABLE: Final = str.maketrans('"\\', "''")
"""AE titles may have a quotation mark."""

WHOSE: Final = {PATIENT_ID: {"vr": "LO"}, ISSUER: {"vr": "LO"}}


class MergedMatches:
    """The result of a Find at several sources; `begin` it before it is read."""

    def __init__(
        self,
        request: Request,
        find: Find,
        sources: Sequence[Source],
        whereabouts: Whereabouts,
        absences: Absences,
        clock: IReactorTime,
        *,
        fails: bool,
    ) -> None:
        self._request = request
        self._absences = absences
        self._sources = sources
        self._whereabouts = whereabouts
        self._clock = clock
        self._fails = fails
        self._find = find
        self._level = find.level
        self._not_asked = [tag for tag in WHOSE if tag not in find.keys and tag not in find.return_keys]
        self._asked_for = _with_checked_keys(find)
        self._ready: deque[Match] = deque()
        self._known: set[Identity] = set()
        self._taken: dict[Source, set[Identity]] = {source: set() for source in sources}
        self._open: dict[Source, None] = dict.fromkeys(sources)
        """Who may have more."""
        self._size = min(find.limit or FIRST_ROUND, FIRST_ROUND)
        self._missing: dict[Source, HarmonyError] = {}
        self._verdicts: dict[str, Verdict] | None = None
        """Of the studies that the query names, when it is of a level below."""
        self.warnings: list[str] = []
        self.missing: list[str] = []
        """Values of the Warning header field for each source that could not be asked: for who keeps what he reads."""

    async def begin(self) -> None:
        """Ask for the first round, so that a failure of all sources fails the Find itself."""
        absent = self._absences.of(self._request)
        for source in self._sources:
            if source in absent:
                self._miss(source, absent[source])
        named = named_studies(self._find) if self._level in (Level.SERIES, Level.IMAGE) else []
        if named:
            verdicts = await self._whereabouts.locate(
                self._request, named, self._sources, unreachable=dict(self._missing)
            )
            self._verdicts = verdicts
            for verdict in verdicts.values():
                for source, error in verdict.missing.items():
                    self._miss(source, error)
            holders = {source for verdict in verdicts.values() for source in verdict.holders}
            self._open = {source: None for source in self._open if source in holders}
            # Nobody else has to be asked between the rounds, so that one is enough.
            self._size = min(self._find.limit or LARGEST_ROUND, LARGEST_ROUND)
        await self._round()
        if len(self._missing) == len(self._sources):
            raise next(self._missing[source] for source in self._sources)

    def __aiter__(self) -> "MergedMatches":
        return self

    async def __anext__(self) -> Match:
        while not self._ready:
            if not self._open:
                raise StopAsyncIteration
            await self._round()
        self._request.record.matches += 1
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Give the rest up; no source is being asked."""
        self._open.clear()
        self._ready.clear()

    async def _round(self) -> None:
        sources = list(self._open)
        answers = await together(map(self._asked, sources))
        rows: dict[Source, list[Match]] = {}
        for source, answer in zip(sources, answers, strict=True):
            self._judge(source, answer)
            rows[source] = answer.rows
        verdicts = await self._located(rows, dict(zip(sources, answers, strict=True)))
        for source, some in rows.items():
            self._taken[source].update(self._own_identity(row, source) for row in some)
        for identity, row in merged(
            rows,
            self._level,
            verdicts,
            relational=self._find.relational,
            not_asked=self._not_asked,
            known=self._known,
        ):
            if len(self._known) >= MAX_ROWS:
                raise TooLarge(f"The archives have more than {MAX_ROWS} matches (MAX_ROWS). Restrict the search.")
            self._known.add(identity)
            self._ready.append(row)
        self._size = min(2 * self._size, LARGEST_ROUND)

    async def _asked(self, source: Source) -> Answer:
        taken = self._taken[source]
        limit = None if self._find.limit is None else len(taken) + self._size
        return await ask(
            source,
            self._request,
            replace(self._asked_for, limit=limit),
            count=self._size,
            clock=self._clock,
            wanted=lambda row: self._own_identity(row, source) not in taken,
        )

    def _own_identity(self, row: Match, source: Source) -> Identity:
        """Return what tells a row of a source from its others: whoever begins anew reads past those."""
        levels = LEVELS[: LEVELS.index(self._level) + 1] if self._level in LEVELS else ()
        return (*(value_of(row, UNIQUE_KEYS[one]) for one in levels), *patient_of(row, source))

    def _judge(self, source: Source, answer: Answer) -> None:
        for sentence in answer.warnings:
            self._warn(sentence)
        if answer.error is not None:
            if self._find.relational and isinstance(answer.error, NotAcceptable):
                # Whoever asked walks through the levels instead, which every source can answer.
                raise answer.error
            self._miss(source, answer.error)
        if answer.ended:
            self._open.pop(source, None)

    def _miss(self, source: Source, error: HarmonyError) -> None:
        """Take note that what a source has is missing; raises its error when that is configured."""
        if source in self._missing:
            return
        self._missing[source] = error
        self._open.pop(source, None)
        self._absences.note(self._request, source, error)
        self._request.record.note(f"{source.ae_title} is missing from the answer: {error}")
        self._warn(missing(source))
        self.missing.append(warning(missing(source)))
        if self._fails:
            raise error

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    async def _located(
        self, rows: Mapping[Source, Sequence[Match]], answers: Mapping[Source, Answer]
    ) -> Mapping[str, Verdict]:
        if self._level is Level.PATIENT:
            return {}
        if self._verdicts is not None:
            verdicts = self._verdicts
            others = [study for study in studies_of(rows) if study not in verdicts]
            if not others:
                self._warn_of(verdicts)
                return verdicts
        verdicts = await self._whereabouts.locate(
            self._request,
            studies_of(rows),
            self._sources,
            hint=self._hint(rows, answers),
            unreachable=dict(self._missing),
        )
        for verdict in verdicts.values():
            for source, error in verdict.missing.items():
                self._miss(source, error)
        self._warn_of(verdicts)
        return verdicts

    def _hint(self, rows: Mapping[Source, Sequence[Match]], answers: Mapping[Source, Answer]) -> Hint:
        """Return what the rows of a STUDY query say by themselves."""
        hint = Hint({}, set())
        if self._level is not Level.STUDY:
            return hint
        for source, some in rows.items():
            for row in some:
                if study := value_of(row, STUDY):
                    hint.found.setdefault((study, source), set()).add(patient_of(row, source))
        if self._find.keys.keys() == {STUDY} and named_studies(self._find):
            # Who was asked for a study, and for nothing else of it, has it not if he has not named it. Of an answer to
            # anything wider that cannot be said: some archives cut theirs off and call it whole.
            for source, answer in answers.items():
                if answer.ended and not self._taken[source]:
                    absent = ((study, source) for study in studies_of(rows))
                    hint.absent.update(pair for pair in absent if pair not in hint.found)
        return hint

    def _warn_of(self, verdicts: Mapping[str, Verdict]) -> None:
        for verdict in verdicts.values():
            if verdict.contested:
                sentence = described(verdict)
                self._warn(f"{sentence[0].upper()}{sentence[1:]}; what belongs to whom is told by RetrieveAETitle.")


class LabelledMatches:
    """The matches of one source, each with its AE title."""

    def __init__(self, matches: Matches, source: Source) -> None:
        self._matches = matches
        self._title: dict[str, Any] = {"vr": "AE", "Value": [source.ae_title]}

    @property
    def warnings(self) -> list[str]:
        """Those of the source."""
        return self._matches.warnings

    def __aiter__(self) -> "LabelledMatches":
        return self

    async def __anext__(self) -> Match:
        return self.labelled(await self._matches.__anext__())

    def labelled(self, row: Match) -> Match:
        """Return a match with the AE title."""
        row[RETRIEVE_AE_TITLE] = self._title
        return row

    async def aclose(self) -> None:
        """Give the source's up."""
        await self._matches.aclose()


def missing(source: Source) -> str:
    """Return what a client is told when an answer lacks a source."""
    return f"{source.ae_title} did not answer; what it holds is missing here."


def warning(sentence: str) -> str:
    """Return the value of a Warning header field with code 299 (RFC 7234 §5.5)."""
    return f'299 harmonygw "{sentence.translate(_UNQUOTABLE)}"'


def named_studies(find: Find) -> list[str]:
    """Return the Study Instance UIDs that a query names, none if it leaves any open."""
    values: Sequence[Any] = find.keys.get(STUDY, {}).get("Value", ())
    uids = [str(value) for value in values]
    return [] if any(not uid or set(uid) & set("*?") for uid in uids) else uids


def _with_checked_keys(find: Find) -> Find:
    """Return a query that is answered with what tells whose each match is, as far as its level may be asked."""
    levels = LEVELS[: LEVELS.index(find.level) + 1] if find.level in LEVELS else ()
    wanted: dict[str, Any] = {UNIQUE_KEYS[level]: {"vr": "UI"} for level in levels} if find.relational else {}
    if find.relational or find.level in (Level.PATIENT, Level.STUDY):
        wanted.update(WHOSE)
    return_keys: DataSet = {
        **{tag: element for tag, element in wanted.items() if tag not in find.keys},
        **find.return_keys,
    }
    return replace(find, return_keys=return_keys)
