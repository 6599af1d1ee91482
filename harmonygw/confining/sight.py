"""Which studies and series comply: asked of the archive, level by level, and remembered for a moment.

A study complies when the archive lists it, and every match under its UID complies: two patients under one UID are both
looked at. A series complies when its match does. What the match of a series lacks is looked for in its instances, and
so is what is of instances only. What cannot be told is hidden.
"""

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from harmonygw.confining.constraints import (
    INSTANCE,
    MODALITY,
    SERIES,
    STUDY,
    Constraints,
    Judgement,
    uid_of,
    value_of,
)
from harmonygw.dicom.dimse.statuses import OUT_OF_RESOURCES
from harmonygw.errors import RejectedError, TooLarge
from harmonygw.exchange import SOURCE, Record, Reply, Request
from harmonygw.joining import Joining
from harmonygw.operations import ContestedMatch, Find, Level
from harmonygw.pipeline import Proceed
from harmonygw.streams import Match

REMEMBER_SECS: Final = 10.0
"""Seconds for which it is remembered that a study complies, and what its series are. Default 10: a viewer that opens a
study asks hundreds of times within that; what has become another patient's is hidden after it."""

MAX_REMEMBERED: Final = 2000
"""Studies that are remembered, for each who may see another part. Default 2,000: what viewers open within ten seconds.
The oldest are forgotten first."""

MAX_STUDIES: Final = 100
"""Studies that one query, or retrieval, names. Default 100, 6.5 KB of UIDs: more than anybody names by hand."""

ROWS_A_STUDY: Final = 4
"""Matches that are read for a study that is asked for: an archive may have it of several patients; more is in error."""

MAX_SERIES: Final = 5000
"""Series of a study that are looked at. Default 5,000, more than any study has."""

MAX_INSTANCES: Final = 20_000
"""Instances of a series that are looked at. Default 20,000, more than any series has."""

MAX_LOOKS: Final = 500
"""Series whose instances are looked at, and studies whose series are, for one request: each is a query. Default 500,
some pages of a Search. What is beyond stays hidden, and the log says so."""

BEYOND: Final = "what could not be looked at stays hidden (MAX_LOOKS)"


@dataclass(slots=True)
class Part:
    """What is known of a series."""

    judgement: Judgement
    lacking: tuple[str, ...] = ()
    """What its match says nothing of."""
    modality: str = ""
    shown: bool | None = None
    """Whether it has an instance that complies; None when nobody has looked."""

    def and_also(self, other: "Part") -> "Part":
        """Return what two matches under one UID say together: what speaks against one, speaks against both."""
        judgements = {self.judgement, other.judgement}
        for judgement in (Judgement.FAILS, Judgement.LACKS):
            if judgement in judgements:
                lacking = dict.fromkeys((*self.lacking, *other.lacking))
                return Part(judgement, tuple(lacking), self.modality)
        return self


@dataclass(slots=True)
class Known:
    """What is remembered of a study."""

    since: float
    complies: bool = False
    """Whether it does, by what is known of a study."""
    parts: dict[str, Part] | None = None
    """Its series, by UID; None when nobody has asked."""


@dataclass(slots=True)
class Memory:
    """What one pipeline remembers, of everybody."""

    clock: IReactorTime
    studies: "OrderedDict[Hashable, Known]" = field(default_factory=OrderedDict)
    asking: "Joining[Hashable, Any]" = field(default_factory=Joining)

    def recall(self, key: Hashable) -> Known | None:
        """Return what is known of a study, unless that is too long ago."""
        known = self.studies.get(key)
        if known is not None and self.clock.seconds() - known.since >= REMEMBER_SECS:
            del self.studies[key]
            return None
        return known

    def of(self, key: Hashable) -> Known:
        """Return where something can be kept of a study."""
        known = self.recall(key)
        if known is None:
            known = self.studies[key] = Known(self.clock.seconds())
            if len(self.studies) > MAX_REMEMBERED:
                self.studies.popitem(last=False)
        return known


class Sight:
    """What one request may see. `source` is always the archive that the question is for, of several; None for all."""

    def __init__(self, request: Request, proceed: Proceed, constraints: Constraints, memory: Memory) -> None:
        self.constraints = constraints
        self._request = request
        self._proceed = proceed
        self._memory = memory
        self._looks = MAX_LOOKS

    # Studies

    async def studies(self, uids: Iterable[str], source: str | None = None) -> frozenset[str]:
        """Return those of some studies that comply by what is known of a study; all, if that is not constrained.

        Raises `TooLarge` for more than `MAX_STUDIES`, and what a Find raises.
        """
        wanted = tuple(dict.fromkeys(uids))
        if len(wanted) > MAX_STUDIES:
            raise TooLarge(f"more than {MAX_STUDIES} studies are named (MAX_STUDIES)")
        if not self.constraints.study:
            return frozenset(wanted)
        remembered = {uid for uid in wanted if (known := self._recall(uid, source)) is not None and known.complies}
        unknown = tuple(uid for uid in wanted if uid not in remembered)
        if not unknown:
            return frozenset(remembered)

        async def ask() -> frozenset[str]:
            return await self._ask_for_studies(unknown, source)

        found: frozenset[str] = await self._join(("studies", *unknown), source, ask)
        return found | remembered

    async def _ask_for_studies(self, uids: tuple[str, ...], source: str | None) -> frozenset[str]:
        constraints = self.constraints
        find = Find(
            Level.STUDY,
            {STUDY: {"vr": "UI", "Value": list(uids)}},
            {tag: key for tag, key in constraints.returned(constraints.study).items() if tag != STUDY},
        )
        judged: dict[str, bool] = {}
        for row in await self._rows(find, ROWS_A_STUDY * len(uids), source):
            uid = uid_of(row, STUDY, uids)
            if uid in uids:
                named = {**row, STUDY: {"vr": "UI", "Value": [uid]}}
                complies = constraints.judge(named, constraints.study) is Judgement.COMPLIES
                judged[uid] = judged.get(uid, True) and complies
        found = frozenset(uid for uid, complies in judged.items() if complies)
        for uid in found:
            self._memory.of(self._key(uid, source)).complies = True
        return found

    async def is_free(self, study: str) -> bool:
        """Tell whether something may be stored into a study: it complies by what is known of a study, or is new."""
        constraints = self.constraints
        if not constraints.study or study in await self.studies((study,)):
            return True
        return not await self._rows(Find(Level.STUDY, {STUDY: {"vr": "UI", "Value": [study]}}), ROWS_A_STUDY, None)

    # Series

    async def parts(self, study: str, source: str | None = None, *, named: Iterable[str] = ()) -> Mapping[str, Part]:
        """Return the series of a study, by UID, with what is known of each; raises what a Find raises.

        The archive is asked anew when one that is `named` is not among those remembered: it may just have come.
        """
        known = self._recall(study, source)
        if known is not None and known.parts is not None and known.parts.keys() >= set(named):
            return known.parts

        async def ask() -> dict[str, Part]:
            return await self._ask_for_parts(study, source)

        parts: dict[str, Part] = await self._join(("parts", study), source, ask)
        return parts

    async def _ask_for_parts(self, study: str, source: str | None) -> dict[str, Part]:
        constraints = self.constraints
        find = Find(
            Level.SERIES,
            {STUDY: {"vr": "UI", "Value": [study]}},
            {SERIES: {"vr": "UI"}, **constraints.returned((MODALITY, *constraints.series))},
        )
        parts: dict[str, Part] = {}
        for row in await self._rows(find, MAX_SERIES, source):
            uid = value_of(row, SERIES)
            if not uid or uid_of(row, STUDY, (study,)) != study:
                continue
            part = self.part_of(row)
            parts[uid] = part.and_also(parts[uid]) if uid in parts else part
        self._memory.of(self._key(study, source)).parts = parts
        return parts

    def part_of(self, row: Match) -> Part:
        """Return what the match of a series says of it."""
        constraints = self.constraints
        judgement = constraints.judge(row, constraints.series)
        if judgement is Judgement.COMPLIES and constraints.image:
            judgement = Judgement.LACKS
        return Part(judgement, constraints.lacking(row, constraints.series), value_of(row, MODALITY))

    async def shows(self, study: str, series: str, part: Part | None, source: str | None = None) -> bool:
        """Tell whether a series is shown: none of it fails, and something of it complies."""
        if part is None or part.judgement is Judgement.FAILS:
            return False
        if part.judgement is Judgement.COMPLIES:
            return True
        if part.shown is None:
            if not self._may_look():
                return False
            part.shown = bool(await self.instances(study, series, part, source, first=True))
        return part.shown

    async def shows_any(self, study: str, source: str | None = None) -> bool:
        """Tell whether any series of a study is shown."""
        known = self._recall(study, source)
        if (known is None or known.parts is None) and not self._may_look():
            return False
        parts = await self.parts(study, source)
        for series, part in sorted(parts.items(), key=lambda one: one[1].judgement is not Judgement.COMPLIES):
            if await self.shows(study, series, part, source):
                return True
        return False

    async def modalities(self, study: str, source: str | None = None) -> tuple[str, ...]:
        """Return the modalities of the series of a study that are shown; none if it is not shown."""
        known = self._recall(study, source)
        if (known is None or known.parts is None) and not self._may_look():
            return ()
        parts = await self.parts(study, source)
        shown = [part.modality for uid, part in parts.items() if await self.shows(study, uid, part, source)]
        return tuple(sorted(set(shown)))

    async def instances(
        self, study: str, series: str, part: Part, source: str | None = None, *, first: bool = False
    ) -> tuple[str, ...]:
        """Return the instances of a series that comply, or only the first; raises what a Find raises.

        None do where the archive refuses to say at this level what belongs to a series.
        """
        constraints = self.constraints
        tags = (*part.lacking, *constraints.image)
        keys = {STUDY: {"vr": "UI", "Value": [study]}, SERIES: {"vr": "UI", "Value": [series]}}
        find = Find(Level.IMAGE, keys, {INSTANCE: {"vr": "UI"}, **constraints.returned(tags)})

        def belongs(row: Match) -> bool:
            return uid_of(row, STUDY, (study,)) == study and uid_of(row, SERIES, (series,)) == series

        def complies(row: Match) -> bool:
            return constraints.judge(row, tags) is Judgement.COMPLIES

        until = (lambda row: belongs(row) and complies(row)) if first else None
        try:
            rows = await self._rows(find, MAX_INSTANCES, source, until)
        except RejectedError as error:
            if not part.lacking or error.status == OUT_OF_RESOURCES:
                raise
            self._request.record.note("the archive does not say of instances what it leaves out of series")
            return ()
        judged: dict[str, bool] = {}
        for row in filter(belongs, rows):
            uid = value_of(row, INSTANCE)
            judged[uid] = judged.get(uid, True) and complies(row)
        return tuple(uid for uid, all_comply in judged.items() if all_comply and uid)

    # What they have in common

    def _may_look(self) -> bool:
        self._looks -= 1
        if self._looks < 0:
            self._request.record.note(BEYOND)
        return self._looks >= 0

    def _key(self, study: str, source: str | None) -> Hashable:
        named = self._request.attributes.get(SOURCE) if source is None else source
        return study, named, self._request.principal, self.constraints.key

    def _recall(self, study: str, source: str | None) -> Known | None:
        return self._memory.recall(self._key(study, source))

    async def _join(
        self, what: tuple[str, ...], source: str | None, ask: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        """Ask once for what several requests want to know at the same time."""
        return await self._memory.asking.wait((what, self._key("", source)), ask)

    async def _rows(
        self, find: Find, most: int, source: str | None, until: Callable[[Match], bool] | None = None
    ) -> list[Match]:
        """Return the matches of a query; or those up to the first for which `until` holds.

        Raises `TooLarge` when there are more than `most`: what was not read is not known.
        """
        attributes = self._request.attributes if source is None else {**self._request.attributes, SOURCE: source}
        reply: Reply = await self._proceed(
            replace(self._request, operation=find, attributes=attributes, restrictions=(), record=Record())
        )
        rows: list[Match] = []
        async with aclosing(reply.result) as matches:
            async for row in matches:
                if len(rows) >= most:
                    raise TooLarge(f"the archive lists more than {most} of what is to be looked at")
                rows.append(row)
                if until is not None and until(row):
                    break
        return rows


def source_of(row: Match) -> str | None:
    """Return the archive that a match is of alone, None if it is not."""
    return row.source if isinstance(row, ContestedMatch) else None
