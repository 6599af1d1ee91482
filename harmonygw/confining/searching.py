"""Find: only what complies, each match judged by itself; what it cannot be judged by is asked for below.

Restrictions of one value go to the archive as matching keys, which spares it work and is not relied on. While a query
is on its way no other is begun: matches that need further queries wait, with all behind them, until it has ended.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from harmonygw.confining.constraints import (
    ISSUER_OF_PATIENT_ID,
    MODALITY,
    ORDER,
    SERIES,
    STUDY,
    Constraints,
    Judgement,
    asked_uids,
    uid_of,
    value_of,
)
from harmonygw.confining.sight import Part, Sight, source_of
from harmonygw.dicom.dataset.matching import Matcher
from harmonygw.dicom.web.attributes import MODALITIES_IN_STUDY, UNIQUE_KEYS, Level, level_of, vr_of_tag
from harmonygw.errors import Denied, NotAcceptable, TooLarge
from harmonygw.exchange import Reply, Request
from harmonygw.operations import ContestedMatch, Find, Matches
from harmonygw.pipeline import Proceed
from harmonygw.streams import Match

MAX_WAITING: Final = 10_000
"""Matches of one query that wait until it has ended. Default 10,000: some ten megabytes, and more than a page has. A
query that finds more has to be restricted."""

HIERARCHICAL: Final = "who is confined asks level by level, with the unique keys of the levels above"

COUNTED: Final = "What tells of what may be hidden is no matching key."

Parts = Mapping[str, Mapping[str, Part]]
"""The series of studies, by UIDs."""


class Confined:
    """Matches that comply, with the warnings of those that they are of."""

    def __init__(self, matches: Matches | None, rows: AsyncGenerator[Match, None] | None) -> None:
        self._matches = matches
        self._rows = rows

    @property
    def warnings(self) -> list[str]:
        """Those of the archive."""
        return [] if self._matches is None else self._matches.warnings

    def __aiter__(self) -> "Confined":
        return self

    async def __anext__(self) -> Match:
        if self._rows is None:
            raise StopAsyncIteration
        return await self._rows.__anext__()

    async def aclose(self) -> None:
        """Give the rest up."""
        if self._rows is not None:
            await self._rows.aclose()
        if self._matches is not None:
            await self._matches.aclose()


async def found(request: Request, find: Find, sight: Sight, proceed: Proceed) -> Reply:
    """Answer a Find.

    Raises `NotAcceptable` for a relational query and one of patients, `Denied` for a matching key that would tell of
    what is hidden, and what a Find raises.
    """
    if find.relational or find.level is Level.PATIENT:
        raise NotAcceptable(HIERARCHICAL)
    _check_keys(find, sight.constraints)
    keys, parts = (find.keys, {}) if find.level is Level.STUDY else await _above(find, sight)
    if keys is None:
        return Reply(result=Confined(None, None))
    query = _Query(replace(find, keys=keys), sight, parts)
    reply = await proceed(replace(request, operation=query.find))
    return replace(reply, result=Confined(reply.result, query.rows(reply.result)))


async def _above(find: Find, sight: Sight) -> tuple[dict[str, Any] | None, Parts]:
    """Return the keys with the unique keys above reduced to what is shown, None when that is nothing; and the series.

    Raises `NotAcceptable` when a unique key above is missing.
    """
    studies, series = asked_uids(find.keys, STUDY), asked_uids(find.keys, SERIES)
    if not studies or (find.level is Level.IMAGE and not series):
        raise NotAcceptable(HIERARCHICAL)
    complying = await sight.studies(studies)
    studies = tuple(uid for uid in studies if uid in complying)
    parts: dict[str, Mapping[str, Part]] = {}
    if find.level is Level.IMAGE and sight.constraints.series:
        shown: dict[str, None] = {}
        for study in studies:
            parts[study] = await sight.parts(study, named=series if len(studies) == 1 else ())
            for uid in series:
                if await sight.shows(study, uid, parts[study].get(uid)):
                    shown[uid] = None
        series = tuple(shown)
    if not studies or (find.level is Level.IMAGE and not series):
        return None, parts
    keys = {**find.keys, STUDY: {"vr": "UI", "Value": list(studies)}}
    if find.level is Level.IMAGE:
        keys[SERIES] = {"vr": "UI", "Value": list(series)}
    return keys, parts


def _check_keys(find: Find, constraints: Constraints) -> None:
    """Refuse to match by what is hidden: who learns that something matches learns what there is."""
    valued = [tag for tag, key in find.keys.items() if key.get("Value")]
    if not constraints.telling(find.level).isdisjoint(valued):
        raise Denied(COUNTED)
    if constraints.by_parts(find.level) and any(_is_below(tag, find.level) for tag in valued):
        raise NotAcceptable(HIERARCHICAL)


def _is_below(tag: str, level: Level) -> bool:
    return ORDER[level_of(tag)] > ORDER[level]


class _Query:
    """One query on its way to the archive, and what becomes of its matches."""

    def __init__(self, find: Find, sight: Sight, parts: Parts) -> None:
        constraints = self._constraints = sight.constraints
        self._sight = sight
        self._parts = parts
        self._level = find.level
        self._studies, self._series = asked_uids(find.keys, STUDY), asked_uids(find.keys, SERIES)
        self._tags = constraints.at(find.level)
        self._hidden = constraints.telling(find.level)
        asked_for = {**find.return_keys, **find.keys}
        narrowing = constraints.matching(self._tags)
        also = [*self._tags]
        if find.level is Level.STUDY and constraints.below_study:
            also.append(STUDY)
            if MODALITY in constraints.series:
                also.append(MODALITIES_IN_STUDY)
                if len(constraints.allowed[MODALITY]) == 1:
                    narrowing[MODALITIES_IN_STUDY] = {"vr": "CS", "Value": list(constraints.allowed[MODALITY])}
        elif find.level is Level.SERIES:
            also.append(SERIES)
        elif find.level is Level.IMAGE:
            # An archive may refuse what is of another level; what has been looked at there it has given.
            lacking = [part.lacking for some in parts.values() for part in some.values() if part.shown]
            also += dict.fromkeys(tag for tags in lacking for tag in tags)
        self._reduces_modalities = (
            find.level is Level.STUDY and constraints.below_study and MODALITIES_IN_STUDY in asked_for
        )
        asked_modalities = find.keys.get(MODALITIES_IN_STUDY, {})
        self._modalities: Matcher | None = None
        if self._reduces_modalities and asked_modalities.get("Value"):
            self._modalities = Matcher({MODALITIES_IN_STUDY: asked_modalities})
        self._added = frozenset({*also, *narrowing}.difference(asked_for, UNIQUE_KEYS.values()))
        """What the client has not asked for, and does not get. Unique keys are in every match."""
        keys = {**narrowing, **{tag: key for tag, key in find.keys.items() if key.get("Value") or tag not in narrowing}}
        returned = {**{tag: {"vr": vr_of_tag(tag)} for tag in also}, **find.return_keys}
        self.find = replace(
            find, keys=keys, return_keys={tag: key for tag, key in returned.items() if tag not in keys}, limit=None
        )

    async def rows(self, matches: Matches) -> AsyncGenerator[Match, None]:
        """Yield what complies, as the client may see it.

        Raises `TooLarge` when more than `MAX_WAITING` matches wait for further queries.
        """
        waiting: list[tuple[Match, bool]] = []
        async with aclosing(matches):
            async for row in matches:
                shown = self._at_once(row)
                if shown is False:
                    continue
                if shown is None or waiting:
                    if len(waiting) >= MAX_WAITING:
                        raise TooLarge(f"The query finds more than {MAX_WAITING} (MAX_WAITING). Restrict it.")
                    waiting.append((row, shown is True))
                elif (made := self._made(row)) is not None:
                    yield made
        for row, is_shown in waiting:
            if (is_shown or await self._looked_at(row)) and (made := self._made(row)) is not None:
                yield made

    # What is shown

    def _at_once(self, row: Match) -> bool | None:
        """Tell whether a match is shown, None when that takes further queries."""
        constraints = self._constraints
        if self._studies and uid_of(row, STUDY, self._studies) not in self._studies:
            return False
        judgement = constraints.judge(row, self._tags)
        if self._level is Level.SERIES and judgement is Judgement.LACKS and value_of(row, SERIES):
            return None
        if judgement is not Judgement.COMPLIES:
            return False
        if self._level is Level.STUDY:
            return self._study_at_once(row)
        # What is known of the study was asked before; it counts that this archive, of several, says the same.
        if constraints.judge(row, constraints.study) is Judgement.FAILS:
            return False
        if isinstance(row, ContestedMatch):
            return None
        if self._level is Level.SERIES:
            return None if constraints.image else True
        return self._instance_at_once(row, self._parts)

    def _study_at_once(self, row: Match) -> bool | None:
        constraints = self._constraints
        if not constraints.below_study:
            return True
        if MODALITY in constraints.series and row.get(MODALITIES_IN_STUDY, {}).get("Value"):
            if not constraints.modalities(row):
                return False
            if constraints.by_modality:
                return True
        return None

    def _instance_at_once(self, row: Match, parts: Parts) -> bool:
        series = uid_of(row, SERIES, self._series)
        if series not in self._series:
            return False
        if not self._constraints.series:
            return True
        part = parts.get(uid_of(row, STUDY, self._studies), {}).get(series)
        if part is None or part.judgement is Judgement.FAILS:
            return False
        return self._constraints.judge(row, part.lacking) is Judgement.COMPLIES

    async def _looked_at(self, row: Match) -> bool:
        """Ask what a match does not say; tell whether it is shown."""
        sight, source = self._sight, source_of(row)
        study = uid_of(row, STUDY, self._studies)
        if self._level is Level.STUDY:
            if not self._reduces_modalities:
                return bool(study) and await sight.shows_any(study, source)
            modalities = await sight.modalities(study, source) if study else ()
            row[MODALITIES_IN_STUDY] = {"vr": "CS", "Value": [one for one in modalities if one]}
            return bool(modalities)
        if source is not None and study not in await sight.studies((study,), source):
            return False
        if self._level is Level.IMAGE:
            parts = {study: await sight.parts(study, source)} if self._constraints.series else {}
            return self._instance_at_once(row, parts)
        series, part = value_of(row, SERIES), sight.part_of(row)
        if part.judgement is Judgement.LACKS:
            known = (await sight.parts(study, source, named=(series,))).get(series)
            if known is not None:
                part = known if known.judgement is part.judgement else part.and_also(known)
        return await sight.shows(study, series, part, source)

    # What is shown of it

    def _made(self, row: Match) -> Match | None:
        """Return a match without what the client did not ask for, and without what tells of what is hidden.

        None when it then no longer matches what the client asked for.
        """
        constraints, level = self._constraints, self._level
        contested = isinstance(row, ContestedMatch)
        removed = self._hidden | (self._added - {ISSUER_OF_PATIENT_ID} if contested else self._added)
        made = {tag: element for tag, element in row.items() if tag not in removed}
        if constraints.by_parts(level):
            made = {tag: element for tag, element in made.items() if not _is_below(tag, level)}
            modalities = made.pop(MODALITIES_IN_STUDY, None)
            if self._reduces_modalities and modalities is not None:
                values = modalities.get("Value", ())
                if constraints.by_modality:
                    values = sorted(constraints.modalities(row))
                made[MODALITIES_IN_STUDY] = {"vr": "CS", **({"Value": list(values)} if values else {})}
            if self._modalities is not None and not self._modalities.matches(made):
                return None
        return ContestedMatch(made, row.source) if isinstance(row, ContestedMatch) else made
