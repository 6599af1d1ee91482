"""From a plan to the C-FINDs that answer it, level by level (PS3.4 §C.4.1.3).

A hierarchical query carries the unique keys of the levels above and nothing else of theirs. What a Search asks beyond
that is resolved first: keys and attributes of the levels above by queries at those levels, keys of the levels below by
looking whether anything there matches. Such a walk has a bound. An archive with relational queries needs none of it.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from itertools import product
from math import prod
from typing import Any

from harmonygw.dicom.web.attributes import EVERY_LEVEL, UNIQUE_KEYS
from harmonygw.errors import NotAcceptable, PeerError, TooLarge
from harmonygw.middleware.dicomweb_bridge.checking import Check, down_to, identity, joined, text, united
from harmonygw.middleware.dicomweb_bridge.hierarchy import Plan
from harmonygw.middleware.dicomweb_bridge.inquiry import Inquiry
from harmonygw.middleware.dicomweb_bridge.synthesis import Synthesis
from harmonygw.operations import DataSet, Find, Level
from harmonygw.streams import Match

MAX_ALTERNATIVES = 32
"""Queries that several values of a key are taken apart into: an archive need not match any of several values."""

MAX_UIDS = 500
"""UIDs in one key: 65 bytes each, so that they fit the 16-bit length of an explicit UI."""


class Walk:
    """One Search on its way through the levels.

    `limit` is the number of matches after which the reader will stop. `hierarchy_limit` is the number of parents whose
    children are looked at, for the whole of the Search.
    """

    def __init__(
        self,
        plan: Plan,
        inquiry: Inquiry,
        synthesis: Synthesis,
        *,
        limit: int,
        hierarchy_limit: int,
        fuzzy_matching: bool,
    ) -> None:
        self._plan = plan
        self._inquiry = inquiry
        self._synthesis = synthesis
        self._limit = limit
        self._hierarchy_limit = hierarchy_limit
        self._fuzzy_matching = fuzzy_matching
        self._walked = 0

    async def matches(self) -> AsyncGenerator[Match, None]:
        """Yield the matches that fit, with the attributes of the levels above, in the archive's order.

        An entity may come more than once. Raises `TooLarge` when the walk reaches its bound before its end.
        """
        plan = self._plan
        if plan.above or plan.below:
            try:
                async with aclosing(self._relational()) as rows:
                    async for row in rows:
                        yield row
                return
            except NotAcceptable:
                pass  # the archive has no relational queries: the levels are walked
        async with aclosing(self._descend((*plan.above, plan.level), {})) as rows:
            async for row in rows:
                yield row

    async def _relational(self) -> AsyncGenerator[Match, None]:
        """Ask once, at the lowest level that has keys, for the attributes of the level searched and those above."""
        plan = self._plan
        level = plan.below[-1] if plan.below else plan.level
        keys = {tag: key for one in down_to(level) for tag, key in plan.keys[one].items()}
        return_keys = {UNIQUE_KEYS[one]: {"vr": "UI"} for one in down_to(plan.level)}
        for one in down_to(plan.level):
            return_keys.update(plan.return_keys[one])
        hidden = {tag for one in plan.below for tag in (UNIQUE_KEYS[one], *plan.keys[one])}
        check = united(plan.checks[one] for one in down_to(level))
        limit = None if plan.below else self._limit
        async with aclosing(self._union(level, keys, return_keys, check, limit, relational=True)) as rows:
            async for row in rows:
                if check.fits(row):
                    for tag in hidden:
                        row.pop(tag, None)
                    for one, uid in plan.fixed.items():
                        row[UNIQUE_KEYS[one]] = {"vr": "UI", "Value": [uid]}
                    yield row

    async def _descend(self, levels: Sequence[Level], parent: Match) -> AsyncGenerator[Match, None]:
        """Yield what fits at the last of the levels, depth first."""
        level, *rest = levels
        below = self._plan.below
        if not rest and not below:
            async with aclosing(self._children(level, parent, self._limit)) as rows:
                async for row in rows:
                    yield row
            return
        async with aclosing(self._parents(level, parent)) as parents:
            async for row in parents:
                if rest:
                    async with aclosing(self._descend(rest, row)) as rows:
                        async for match in rows:
                            yield match
                elif await self._has_children(below, row):
                    yield row

    async def _has_children(self, levels: Sequence[Level], parent: Match) -> bool:
        """Tell whether anything below a parent fits, down to the last of the levels."""
        level, *rest = levels
        if not rest:
            async with aclosing(self._children(level, parent, None)) as rows:
                async for row in rows:
                    self._warn(self._plan.checks[level].unknown(row))
                    return True
            return False
        async with aclosing(self._parents(level, parent)) as parents:
            async for row in parents:
                if await self._has_children(rest, row):
                    return True
        return False

    async def _parents(self, level: Level, parent: Match) -> AsyncGenerator[Match, None]:
        """Yield what fits, each entity once, all gathered first: no place is held while they are walked."""
        found: dict[str, Match] = {}
        whole = True
        async with aclosing(self._children(level, parent, self._hierarchy_limit + 1)) as rows:
            async for row in rows:
                if len(found) >= self._hierarchy_limit:
                    whole = False
                    break
                found.setdefault(identity(row, level), row)
        check = self._plan.checks[level]
        for row in found.values():
            if await self._settle(row, level, check):
                self._walked += 1
                if self._walked > self._hierarchy_limit:
                    self._give_up(level)
                yield row
        if not whole:
            self._give_up(level)

    async def _settle(self, row: Match, level: Level, check: Check) -> bool:
        """Look closer at a parent that lacks what it is to be held against; tell whether it still fits."""
        unknown = check.unknown(row)
        if unknown:
            await self._synthesis.complete(row, level, unknown)
            self._warn(check.unknown(row))
        if level is not self._plan.level:
            for tag in EVERY_LEVEL:
                row.pop(tag, None)
        return not unknown or check.fits(row)

    async def _children(self, level: Level, parent: Match, limit: int | None) -> AsyncGenerator[Match, None]:
        """Yield what fits at a level below one parent, with the parent's attributes."""
        plan = self._plan
        uids = {UNIQUE_KEYS[one]: self._uid(one, parent) for one in down_to(level)[:-1]}
        keys = {**plan.keys[level], **{tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}}
        return_keys = {UNIQUE_KEYS[level]: {"vr": "UI"}, **plan.return_keys[level]}
        check = plan.checks[level]
        union = self._union(level, keys, return_keys, check, limit, relational=False, parent=parent or None)
        async with aclosing(union) as rows:
            async for row in rows:
                if any(text(row, tag) not in ("", uid) for tag, uid in uids.items()) or not check.fits(row):
                    continue
                if uids:
                    row = joined(row, parent, {tag: keys[tag] for tag in uids})
                yield row

    def _uid(self, level: Level, parent: Match) -> str:
        uid = self._plan.fixed.get(level) or text(parent, UNIQUE_KEYS[level])
        if not uid:
            raise PeerError(f"the archive sent a match of level {level} without its unique key", source=0)
        return uid

    async def _union(
        self,
        level: Level,
        keys: DataSet,
        return_keys: DataSet,
        check: Check,
        limit: int | None,
        *,
        relational: bool,
        parent: Match | None = None,
    ) -> AsyncGenerator[Match, None]:
        """Yield the matches of every combination of values, one query after the other."""
        for one in _alternatives(keys):
            find = Find(
                level,
                one,
                {tag: element for tag, element in return_keys.items() if tag not in one},
                limit=None if check.selective else limit,
                fuzzy_matching=self._fuzzy_matching,
                relational=relational,
            )
            async with aclosing(self._inquiry.matches(find, parent)) as rows:
                async for row in rows:
                    yield row

    def _warn(self, unknown: Sequence[str]) -> None:
        for tag in unknown:
            self._inquiry.warn(unchecked(tag))

    def _give_up(self, level: Level) -> None:
        raise TooLarge(
            f"The archive has no relational queries, and the search would walk through more than "
            f"{self._hierarchy_limit} matches of other levels ({level} is where it stopped; hierarchy_limit). "
            "Restrict it, by StudyInstanceUID for example."
        )


def unchecked(tag: str) -> str:
    """Return what a client is told when matches lack an attribute that they were to be held against."""
    return f"Some matches lack ({tag[:4]},{tag[4:]}); whether they match it is not known."


def _alternatives(keys: DataSet) -> list[DataSet]:
    """Return keys with the values that one query may have: a list of UIDs, or one value of anything else."""
    choices: dict[str, list[list[Any]]] = {}
    for tag, key in keys.items():
        size = MAX_UIDS if key["vr"] == "UI" else 1
        given = key["Value"]
        if len(given) > size:
            choices[tag] = [given[start : start + size] for start in range(0, len(given), size)]
    if not choices:
        return [keys]
    count = prod(map(len, choices.values()))
    if count > MAX_ALTERNATIVES:
        raise TooLarge(f"The keys have {count} combinations of values; at most {MAX_ALTERNATIVES} are asked for.")
    return [{**keys, **_chosen(keys, choices, combination)} for combination in product(*choices.values())]


def _chosen(keys: DataSet, choices: Mapping[str, Any], combination: Sequence[list[Any]]) -> DataSet:
    return {tag: {"vr": keys[tag]["vr"], "Value": some} for tag, some in zip(choices, combination, strict=True)}
