"""Search (PS3.18 §10.6): one page of matches, each encoded as it comes, checked, completed and warned about."""

from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from twisted.internet.interfaces import IReactorTime

from harmonygw.dicom.web.attributes import QUERY_RETRIEVE_LEVEL, RETRIEVE_URL, UNIQUE_KEYS
from harmonygw.dicom.web.media_types import negotiate_models
from harmonygw.dicom.web.query import SearchQuery, parse_search
from harmonygw.dicom.web.resources import Resource, source_url, url
from harmonygw.errors import TooLarge
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge.checking import down_to, identity, lacks, text
from harmonygw.middleware.dicomweb_bridge.hierarchy import Plan, plan
from harmonygw.middleware.dicomweb_bridge.inquiry import Inquiry
from harmonygw.middleware.dicomweb_bridge.model_replies import page_reply
from harmonygw.middleware.dicomweb_bridge.pages import Answer, PageMemory
from harmonygw.middleware.dicomweb_bridge.synthesis import NEVER_WITHOUT_VALUE, SYNTHESISED, Synthesis
from harmonygw.middleware.dicomweb_bridge.walking import Walk, unchecked
from harmonygw.operations import ContestedMatch
from harmonygw.pipeline import Proceed
from harmonygw.streams import Match

MAX_REACH = 100_000
"""Matches that are read for one page, those before its offset included: C-FIND starts each page from the first."""

MAX_NAMED = 10
"""Ignored keys that are named in a Warning: who misspelt one is helped, and a header stays short."""

MAX_NAME_LENGTH = 64
"""Characters of an ignored key's name in a Warning: as many as the longest keyword has."""

EXCEEDED = "The number of results exceeded the maximum supported by the server. Additional results can be requested."
"""PS3.18 §8.3.4.4."""


@dataclass(frozen=True, slots=True)
class Page:
    """The part of an answer that a request asks for, in matches."""

    offset: int
    size: int
    capped: bool
    """Whether the size is the server's choice, so that it has to say when there are more."""

    @classmethod
    def of(cls, query: SearchQuery, options: Any) -> "Page":
        """Return what a query asks for, within the bridge's bounds."""
        asked = query.limit if query.limit is not None else options.default_limit or options.max_results
        size = min(asked, options.max_results)
        return cls(query.offset, size, capped=query.limit is None or size < asked)

    @property
    def needed(self) -> int:
        """The number of matches that have to be known: the one beyond the page tells whether there are more."""
        end = self.offset + self.size
        return MAX_REACH if end > MAX_REACH else end + self.capped


class SearchTransaction:
    """Searches of one bridge: its bounds, and its memory of pages."""

    def __init__(self, options: Any, clock: IReactorTime) -> None:
        self._options = options
        self._memory = PageMemory(clock, options.page_memory_secs)

    async def run(self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
        """Answer a Search with one page.

        Raises `BadRequest` for what `parse_search` refuses, `NotAcceptable`, and `TooLarge` when the page cannot be
        reached within the bounds; and what the archive's queries raise.
        """
        query = parse_search(resource, origin.query, unknown_keys=self._options.unknown_keys)
        offer = negotiate_models(origin.headers.get("accept"), query.accept)
        page = Page.of(query, self._options)
        answer = await self._answer(request, origin, resource, query, page, proceed) if page.size else Answer()
        warnings = [*answer.warnings]
        if page.capped and len(answer.matches) > page.offset + page.size:
            warnings.append(EXCEEDED)
        return page_reply(offer, answer.page(page.offset, page.size), warnings)

    async def _answer(
        self,
        request: Request,
        origin: HTTPOrigin,
        resource: Resource,
        query: SearchQuery,
        page: Page,
        proceed: Proceed,
    ) -> Answer:
        """Return an answer that covers the page, from memory as far as it reaches; the first page asks anew."""
        paging = ("limit", "offset", "accept")
        same = tuple(pair for pair in origin.query if pair[0] not in paging)
        key = (*_who(request), origin.base_url, resource, same)
        known = self._memory.recall(key) if page.offset else None
        if known is None or known.first > page.offset:
            known = Answer(first=page.offset)
        if known.covers(page.offset, page.needed):
            return known
        inquiry = Inquiry(request, proceed)
        gathering = _Gathering(plan(resource, query), inquiry, self._options, origin.base_url, known.copy())
        answer = await gathering.run(query, page)
        self._memory.remember(key, answer)
        return answer


def _who(request: Request) -> tuple[object, ...]:
    """Return what tells one who asks from any other who may see something else."""
    confined = tuple(tuple(sorted(one.keys.items())) for one in request.restrictions)
    return request.principal, None if request.principal else request.peer, confined


class _Gathering:
    """An answer being gathered from the archive until it covers a page."""

    def __init__(self, plan: Plan, inquiry: Inquiry, options: Any, base_url: str, answer: Answer) -> None:
        self._plan = plan
        self._inquiry = inquiry
        self._options = options
        self._base_url = base_url
        self._answer = answer
        self._synthesis = Synthesis(inquiry, options.synthesis_limit)
        self._check = plan.check
        asked = {**plan.return_keys[plan.level], **plan.keys[plan.level]}
        self._completed = tuple(tag for tag in SYNTHESISED[plan.level] if tag in asked)

    async def run(self, query: SearchQuery, page: Page) -> Answer:
        """Return the answer, with as many matches as the page needs, or all there are."""
        answer = self._answer
        # Who asks for a further page walks. Each query starts from the first match, so each reaches twice as far.
        ahead = min(2 * len(answer.matches), MAX_REACH)
        for sentence in (*ignored_keys(query.ignored), *self._plan.warnings):
            self._inquiry.warn(sentence)
        walk = Walk(
            self._plan,
            self._inquiry,
            self._synthesis,
            limit=max(page.needed, ahead),
            hierarchy_limit=self._options.hierarchy_limit,
            fuzzy_matching=query.fuzzymatching,
        )
        candidates, exhausted = await self._read(walk, page.needed, ahead)
        answer.complete = await self._complete(candidates, page.needed) and exhausted
        if not answer.complete and len(answer.matches) < page.offset + page.size:
            raise TooLarge(
                f"The page ends beyond the first {MAX_REACH} matches, which is as far as a search reaches "
                "(MAX_REACH). Restrict the search instead."
            )
        answer.warnings.update(self._inquiry.warnings)
        return answer

    async def _read(self, walk: Walk, needed: int, ahead: int) -> tuple[dict[str, bytes | Match], bool]:
        """Read until enough matches are certain; return them by identity, and whether there are no others.

        Enough is `needed`, or `ahead` for later pages as long as that costs no further queries.
        What lacks something that may be made of the level below waits, unencoded, for `_complete`: as many matches as
        the bound of that allows.
        """
        answer, check, level = self._answer, self._check, self._plan.level
        candidates: dict[str, bytes | Match] = {}
        waiting = doubtful = 0
        async with aclosing(walk.matches()) as rows:
            async for row in rows:
                key = identity(row, level)
                if key in answer.matches or key in answer.rejected or key in candidates:
                    continue
                lacking = [tag for tag in self._completed if lacks(row, tag)]
                unknown = check.unknown(row)
                on_page = len(answer.matches) + len(candidates) >= answer.first
                in_doubt = not set(lacking).isdisjoint(unknown)
                if lacking and (on_page or in_doubt) and waiting < self._options.synthesis_limit:
                    candidates[key] = row
                    waiting += 1
                    doubtful += in_doubt
                else:
                    self._warn(unknown)
                    candidates[key] = self._encode(row) if on_page else b""
                if len(answer.matches) + len(candidates) - doubtful >= (needed if waiting else max(needed, ahead)):
                    return candidates, False
        return candidates, True

    async def _complete(self, candidates: dict[str, bytes | Match], needed: int) -> bool:
        """Add the candidates to the answer, completed and checked; tell whether all of them were looked at."""
        matches = self._answer.matches
        for key, candidate in candidates.items():
            if isinstance(candidate, dict):
                if len(matches) >= needed:
                    return False
                await self._synthesis.complete(candidate, self._plan.level, self._completed)
                if not self._check.fits(candidate):
                    self._answer.rejected.add(key)
                    continue
                self._warn(self._check.unknown(candidate))
                candidate = self._encode(candidate)
            matches[key] = candidate
        return True

    def _warn(self, unknown: list[str]) -> None:
        for tag in unknown:
            self._inquiry.warn(unchecked(tag))

    def _encode(self, row: Match) -> bytes:
        match = {**self._plan.required, **row}
        match.pop(QUERY_RETRIEVE_LEVEL, None)
        for tag in NEVER_WITHOUT_VALUE:
            if tag in match and lacks(match, tag):
                del match[tag]
        uids = [text(match, UNIQUE_KEYS[one]) for one in down_to(self._plan.level)]
        match.pop(RETRIEVE_URL, None)
        if all(uids):
            # Without the source it would be a Retrieve that nobody can answer.
            base_url = source_url(self._base_url, row.source if isinstance(row, ContestedMatch) else "")
            match[RETRIEVE_URL] = {"vr": "UR", "Value": [url(base_url, *uids)]}
        return orjson.dumps(dict(sorted(match.items())))


def ignored_keys(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a client is told of the unknown keys that were ignored."""
    if not names:
        return ()
    named = ", ".join(name[:MAX_NAME_LENGTH] for name in names[:MAX_NAMED])
    others = f" and {len(names) - MAX_NAMED} others" if len(names) > MAX_NAMED else ""
    return (f"Keys that are not known were ignored: {named}{others}.",)
