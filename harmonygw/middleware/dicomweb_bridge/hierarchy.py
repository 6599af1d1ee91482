"""From one Search to the C-FINDs that answer it, level by level (PS3.4 §C.4.1.3.1).

A hierarchical query carries the unique keys of the levels above and nothing else of theirs. What a Search asks
beyond that is resolved first: matching keys and attributes of the levels above by queries at those levels, keys of
the levels below by looking whether anything there matches. Each such walk has a bound. An archive with relational
queries needs none of it.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from harmonygw.dicom.web.attributes import REQUIRED, UNIQUE_KEYS, attributes_of, level_of, vr_of_tag
from harmonygw.dicom.web.query import SearchQuery
from harmonygw.dicom.web.resources import Kind, Resource
from harmonygw.errors import NotAcceptable, TooLarge
from harmonygw.operations import DataSet, Find, Level, Matches
from harmonygw.streams import Match

MAX_ALTERNATIVES = 32
"""Queries that several values of a key are taken apart into: an archive need not match any of several values."""

Ask = Callable[[Find], Awaitable[Matches]]
"""Puts a Find to the archive."""

LEVELS = (Level.STUDY, Level.SERIES, Level.IMAGE)

LEVEL_OF_KIND = {
    Kind.SEARCH_STUDIES: Level.STUDY,
    Kind.SEARCH_SERIES: Level.SERIES,
    Kind.SEARCH_INSTANCES: Level.IMAGE,
}


@dataclass(slots=True)
class Plan:
    """A Search taken apart by level: Study Root, so that the patient's attributes are the study's."""

    level: Level
    keys: dict[Level, dict[str, Any]] = field(default_factory=dict)
    return_keys: dict[Level, dict[str, Any]] = field(default_factory=dict)
    above: tuple[Level, ...] = ()
    """Levels above that have to be asked first, for their keys or their attributes."""
    below: tuple[Level, ...] = ()
    """Levels below that have keys."""
    fixed: dict[str, str] = field(default_factory=dict)
    """Unique keys with one value: they name a parent, and nobody has to look for it."""


def plan(resource: Resource, query: SearchQuery) -> Plan:
    """Take a Search apart."""
    level = LEVEL_OF_KIND[resource.kind]
    result = Plan(level, {one: {} for one in LEVELS}, {one: {} for one in LEVELS})
    for tag, element in query.keys.items():
        result.keys[_level(tag, level)][tag] = element
    for tag, element in query.return_keys.items():
        result.return_keys[_level(tag, level)][tag] = element
    for one in LEVELS[: LEVELS.index(level) + 1]:
        if one is level or not _named_by_path(resource, one):
            asked = (*REQUIRED[one], *(attributes_of(one) if query.include_all else ()))
            for tag in asked:
                result.return_keys[one].setdefault(tag, {"vr": vr_of_tag(tag)})
        values = result.keys[one].get(UNIQUE_KEYS[one], {}).get("Value", ())
        if len(values) == 1 and one is not level:
            result.fixed[UNIQUE_KEYS[one]] = values[0]
    position = LEVELS.index(level)
    result.above = tuple(one for one in LEVELS[:position] if _has_to_be_asked(result, one))
    result.below = tuple(one for one in LEVELS[position + 1 :] if result.keys[one])
    return result


def _level(tag: str, asked: Level) -> Level:
    level = level_of(tag)
    if level is None:
        return asked
    return Level.STUDY if level is Level.PATIENT else level


def _named_by_path(resource: Resource, level: Level) -> bool:
    return bool(resource.study if level is Level.STUDY else resource.series)


def _has_to_be_asked(result: Plan, level: Level) -> bool:
    unique = UNIQUE_KEYS[level]
    others = set(result.keys[level]) - {unique}
    return unique not in result.fixed or bool(others) or bool(set(result.return_keys[level]) - {unique})


class Walk:
    """One Search on its way through the levels."""

    def __init__(
        self, plan: Plan, ask: Ask, *, hierarchy_limit: int, fuzzy_matching: bool, limit: int
    ) -> None:
        self._plan = plan
        self._ask = ask
        self._hierarchy_limit = hierarchy_limit
        self._fuzzy_matching = fuzzy_matching
        self._limit = limit
        self.warnings: dict[str, None] = {}
        """What the client should be told, in order, each once."""

    async def matches(self) -> AsyncGenerator[Match, None]:
        """Yield the matches, with the attributes of the levels above, in the archive's order."""
        plan = self._plan
        if plan.above and not plan.below:
            try:
                async with aclosing(self._relational()) as rows:
                    async for row in rows:
                        yield row
                return
            except NotAcceptable:
                pass  # the archive has no relational queries: the levels are walked
        parents: list[Match] = [{}]
        for level in plan.above:
            parents = await self._gather(level, parents)
        for parent in parents:
            async with aclosing(self._at(plan.level, parent)) as rows:
                if not plan.below:
                    async for row in rows:
                        yield {**parent, **row}
                    continue
                candidates = [row async for row in self._bounded(plan.level, rows)]
            for row in candidates:
                if await self._has_below({**parent, **row}):
                    yield {**parent, **row}

    async def _relational(self) -> AsyncGenerator[Match, None]:
        plan = self._plan
        keys = {tag: element for level in LEVELS for tag, element in plan.keys[level].items()}
        levels = LEVELS[: LEVELS.index(plan.level) + 1]
        return_keys = {tag: element for one in levels for tag, element in plan.return_keys[one].items()}
        for one in levels:
            return_keys.setdefault(UNIQUE_KEYS[one], {"vr": "UI"})
        async with aclosing(self._union(plan.level, keys, return_keys, relational=True)) as rows:
            async for row in rows:
                yield row

    async def _gather(self, level: Level, parents: list[Match]) -> list[Match]:
        """Find the parents at a level: all of them before any of their children, so that no place is held meanwhile."""
        found: list[Match] = []
        for parent in parents:
            async with aclosing(self._at(level, parent)) as rows:
                async for row in rows:
                    found.append({**parent, **row})
                    if len(found) > self._hierarchy_limit:
                        raise TooLarge(
                            f"The search would walk through more than {self._hierarchy_limit} parents at level "
                            f"{level} (hierarchy_limit), since the archive has no relational queries. "
                            "Restrict it, by StudyInstanceUID for example."
                        )
        return found

    async def _bounded(self, level: Level, rows: AsyncGenerator[Match, None]) -> AsyncGenerator[Match, None]:
        count = 0
        async for row in rows:
            count += 1
            if count > self._hierarchy_limit:
                raise TooLarge(
                    f"Keys of a lower level would have to be looked up for more than {self._hierarchy_limit} "
                    f"candidates at level {level} (hierarchy_limit). Restrict the search."
                )
            yield row

    async def _has_below(self, row: Match) -> bool:
        parents = [row]
        for level in self._plan.below:
            for between in LEVELS[LEVELS.index(self._plan.level) + 1 : LEVELS.index(level)]:
                if between not in self._plan.below:
                    parents = await self._gather(between, parents)
            parents = await self._gather(level, parents)
            if not parents:
                return False
        return True

    async def _at(self, level: Level, parent: Match) -> AsyncGenerator[Match, None]:
        """Yield what a level has below one parent."""
        keys = dict(self._plan.keys[level])
        for above in LEVELS[: LEVELS.index(level)]:
            unique = UNIQUE_KEYS[above]
            uid = self._plan.fixed.get(unique) or _uid(parent, unique)
            keys[unique] = {"vr": "UI", "Value": [uid]}
        return_keys = self._plan.return_keys[level]
        async with aclosing(self._union(level, keys, return_keys, relational=False)) as rows:
            async for row in rows:
                yield row

    async def _union(
        self, level: Level, keys: DataSet, return_keys: DataSet, *, relational: bool
    ) -> AsyncGenerator[Match, None]:
        """Yield the matches of every combination of values, each entity once."""
        alternatives = _alternatives(keys)
        seen: set[str] = set()
        unique = UNIQUE_KEYS[level]
        for one in alternatives:
            find = Find(
                level,
                one,
                {tag: element for tag, element in return_keys.items() if tag not in one},
                limit=self._limit,
                fuzzy_matching=self._fuzzy_matching,
                relational=relational,
            )
            matches = await self._ask(find)
            async with aclosing(matches):
                async for row in matches:
                    if len(alternatives) > 1:
                        uid = _uid(row, unique)
                        if uid and uid in seen:
                            continue
                        seen.add(uid)
                    yield row
            self.warnings.update(dict.fromkeys(matches.warnings))


def _alternatives(keys: DataSet) -> list[DataSet]:
    several = {
        tag: element["Value"]
        for tag, element in keys.items()
        if element["vr"] not in ("UI", "SQ") and len(element.get("Value", ())) > 1
    }
    if not several:
        return [keys]
    combinations = list(product(*several.values()))
    if len(combinations) > MAX_ALTERNATIVES:
        raise TooLarge(
            f"The keys have {len(combinations)} combinations of values; at most {MAX_ALTERNATIVES} are asked for."
        )
    return [
        {
            **keys,
            **{tag: {**keys[tag], "Value": [value]} for tag, value in zip(several, values, strict=True)},
        }
        for values in combinations
    ]


def _uid(row: Mapping[str, Any], tag: str) -> str:
    for value in row.get(tag, {}).get("Value", ()):
        return str(value)
    return ""
