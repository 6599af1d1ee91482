"""Search (PS3.18 §10.6): one page of matches, each encoded as it comes, checked, completed and warned about."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from twisted.internet.interfaces import IReactorTime

from harmonygw.dicom.dataset.matching import Matcher
from harmonygw.dicom.web.attributes import (
    MODALITIES_IN_STUDY,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_URL,
    UNIQUE_KEYS,
)
from harmonygw.dicom.web.media_types import negotiate_search
from harmonygw.dicom.web.query import SearchQuery, parse_search
from harmonygw.dicom.web.resources import Resource, url
from harmonygw.errors import TooLarge
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge.hierarchy import LEVELS, Plan, Walk, plan
from harmonygw.middleware.dicomweb_bridge.pages import Answer, PageMemory
from harmonygw.middleware.dicomweb_bridge.synthesis import (
    NUMBER_OF_SERIES_RELATED_INSTANCES,
    SYNTHESISED,
    Synthesis,
)
from harmonygw.operations import Find, Level, Matches
from harmonygw.pipeline import Proceed
from harmonygw.streams import Body, Match

MAX_REACH = 100_000
"""Matches that are read for one page, those before its offset included: C-FIND starts each page from the first."""

EXCEEDED = (
    "The number of results exceeded the maximum supported by the server. Additional results can be requested."
)
"""PS3.18 §8.3.4.4."""

_CHECKED_VRS = frozenset(("UI", "CS", "DA"))


class SearchTransaction:
    """Searches of one bridge: its bounds, and its memory of pages."""

    def __init__(self, options: Any, clock: IReactorTime) -> None:
        self._options = options
        self._memory = PageMemory(clock, options.page_memory_secs)

    async def run(self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
        """Answer a Search with one page."""
        options = self._options
        query = parse_search(resource, origin.query, unknown_keys=options.unknown_keys)
        media_type = negotiate_search(origin.headers.get("accept"), query.accept)
        limit = query.limit if query.limit is not None else options.default_limit or None
        capped = limit is None or limit > options.max_results
        page = options.max_results if capped or limit is None else limit
        needed = query.offset + page + (1 if capped else 0)
        if needed > MAX_REACH:
            raise TooLarge(
                f"The page ends beyond the first {MAX_REACH} matches, which is as far as a search reaches "
                "(MAX_REACH). Restrict the search instead."
            )
        key = (request.client, origin.base_url, resource, _without_paging(origin))
        answer = self._memory.recall(key)
        if answer is None or not answer.reaches(needed):
            known = answer.matches if answer is not None else {}
            gathering = _Gathering(request, resource, query, proceed, options, origin.base_url, known)
            found = await gathering.run(needed)
            if query.offset and not known:
                # Nobody walks from here on: the matches before the page were not completed, so none are kept.
                answer = Answer(dict(found), gathering.complete, gathering.warnings)
            else:
                answer = self._memory.remember(
                    key, found, complete=gathering.complete, warnings=gathering.warnings
                )
        matches = list(answer.matches.values())
        headers = [("Content-Type", media_type)]
        warnings = list(answer.warnings)
        if capped and len(matches) > query.offset + page:
            warnings.append(EXCEEDED)
        headers.extend(("Warning", f'299 harmonygw "{_header_text(one)}"') for one in warnings)
        selected = matches[query.offset : query.offset + page]
        return Reply(headers=tuple(headers), body=Body.of(b"[" + b",".join(selected) + b"]"))


@dataclass(slots=True)
class _Gathering:
    """One answer being gathered from the archive."""

    request: Request
    resource: Resource
    query: SearchQuery
    proceed: Proceed
    options: Any
    base_url: str
    known: Mapping[str, bytes]
    """Matches that an earlier page has encoded."""
    complete: bool = False
    _warnings: dict[str, None] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._warnings)

    async def run(self, needed: int) -> list[tuple[str, bytes]]:
        """Return matches by their UIDs until `needed` are there, or there are no others."""
        query = self.query
        self._warnings.update(
            (f"The key {name} is not known and was ignored.", None) for name in query.ignored
        )
        if query.emptyvaluematching:
            self._warnings["The emptyvaluematching parameter is not supported by the archive."] = None
        searched = plan(self.resource, query)
        walk = Walk(
            searched,
            self._ask,
            hierarchy_limit=self.options.hierarchy_limit,
            fuzzy_matching=query.fuzzymatching,
            limit=needed,
        )
        candidates, exhausted = await self._candidates(walk, searched, needed)
        found = await self._complete(candidates, searched, needed)
        self.complete = exhausted and len(found) < needed
        self._warnings.update(walk.warnings)
        return found

    async def _ask(self, find: Find) -> Matches:
        reply = await self.proceed(replace(self.request, operation=find))
        matches: Matches = reply.result
        return matches

    async def _candidates(
        self, walk: Walk, searched: Plan, needed: int
    ) -> tuple[list[tuple[str, Match | bytes]], bool]:
        """Read until enough matches are certain; those that lack something wait, unencoded, for `_complete`."""
        level = searched.level
        unique = UNIQUE_KEYS[level]
        matcher, checked = _matcher(searched)
        completed = _completed_tags(searched)
        check_later = MODALITIES_IN_STUDY in checked
        rows: list[tuple[str, Match | bytes]] = []
        certain = 0
        bound = max(needed, self.options.max_results)
        async with aclosing(walk.matches()) as matches:
            async for row in matches:
                if matcher.definite_mismatches(row):
                    continue
                uid = _first(row, unique)
                lacking = any(not row.get(tag, {}).get("Value") for tag in completed)
                certain += not (lacking and check_later)
                for tag in checked:
                    if tag not in completed and not row.get(tag, {}).get("Value"):
                        self._warn_unchecked(tag)
                rows.append((uid, row if lacking else self._encode(row, level)))
                if certain >= needed or len(rows) >= bound:
                    return rows, False
        return rows, True

    async def _complete(
        self, candidates: list[tuple[str, Match | bytes]], searched: Plan, needed: int
    ) -> list[tuple[str, bytes]]:
        """Complete and check what was lacking, now that no association is held for the search itself."""
        level = searched.level
        matcher, checked = _matcher(searched)
        synthesis = Synthesis(self._ask, self.options.synthesis_limit)
        wanted = set(_completed_tags(searched))
        found: list[tuple[str, bytes]] = []
        for uid, row in candidates:
            if isinstance(row, bytes):
                found.append((uid, row))
            else:
                earlier = self.known.get(uid)
                if earlier is None:
                    if len(found) >= self.query.offset or MODALITIES_IN_STUDY in checked:
                        await synthesis.complete(row, level, wanted)
                    if matcher.definite_mismatches(row):
                        continue
                    if MODALITIES_IN_STUDY in checked and MODALITIES_IN_STUDY not in row:
                        self._warn_unchecked(MODALITIES_IN_STUDY)
                    earlier = self._encode(row, level)
                found.append((uid, earlier))
            if len(found) >= needed:
                break
        if synthesis.exhausted:
            self.request.record.note(
                "attributes were left out that the archive does not give (synthesis_limit)"
            )
        return found

    def _warn_unchecked(self, tag: str) -> None:
        self._warnings[f"Some matches lack ({tag[:4]},{tag[4:]}); whether they match it is not known."] = None

    def _encode(self, row: Match, level: Level) -> bytes:
        row.pop(QUERY_RETRIEVE_LEVEL, None)
        uids = [_first(row, UNIQUE_KEYS[one]) for one in LEVELS[: LEVELS.index(level) + 1]]
        if all(uids):
            row[RETRIEVE_URL] = {"vr": "UR", "Value": [url(self.base_url, *uids)]}
        return orjson.dumps(dict(sorted(row.items())))


def _matcher(searched: Plan) -> tuple[Matcher, tuple[str, ...]]:
    keys = {
        tag: element
        for level in LEVELS[: LEVELS.index(searched.level) + 1]
        for tag, element in searched.keys[level].items()
    }
    checked = tuple(
        tag for tag, element in searched.keys[searched.level].items() if element["vr"] in _CHECKED_VRS
    )
    return Matcher(keys), checked


def _completed_tags(searched: Plan) -> tuple[str, ...]:
    """Return the tags of the level's matches that are synthesised when the archive leaves them out."""
    asked = {*searched.return_keys[searched.level], *searched.keys[searched.level]}
    tags = SYNTHESISED if searched.level is Level.STUDY else (NUMBER_OF_SERIES_RELATED_INSTANCES,)
    return tuple(tag for tag in tags if tag in asked) if searched.level is not Level.IMAGE else ()


def _without_paging(origin: HTTPOrigin) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in origin.query if pair[0] not in ("limit", "offset", "accept"))


def _first(row: Match, tag: str) -> str:
    values = row.get(tag, {}).get("Value")
    return str(values[0]) if values else ""


def _header_text(sentence: str) -> str:
    return "".join(
        one if one.isascii() and one.isprintable() and one not in '"\\' else "'" for one in sentence
    )
