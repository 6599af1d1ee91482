"""Find to Search (PS3.18 §10.6): pages of matches, one after another, as one stream.

An origin server decides how many matches a page has, and not every one says when it cuts a page short. So pages are
asked for until one is empty, or brings nothing new because the server knows no `offset`; unless there can be no further
match, since the unique keys of all were named.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

from harmonygw.dicom.dataset.dictionary import keyword_of
from harmonygw.dicom.dataset.matching import Matcher
from harmonygw.dicom.web.attributes import UNIQUE_KEYS, Level
from harmonygw.dicom.web.json_reading import read_data_set
from harmonygw.dicom.web.query_writing import Search, write_searches
from harmonygw.errors import Incomplete, NotFound, PeerError, RejectedError
from harmonygw.exchange import Reply
from harmonygw.middleware.dicom_to_dicomweb.origin import ACCEPT_JSON, Origin, discard, elements, header, refusal
from harmonygw.operations import Find
from harmonygw.streams import Cancelled, Match

MATCHES_A_PAGE: Final = 500
"""Matches that one request asks for. Default 500: a page of some hundred kilobytes, and few pages for any list that a
person reads."""

MAX_REMEMBERED: Final = 4 * MATCHES_A_PAGE
"""Matches of the page before that are known again: an archive that grows meanwhile moves some to the next page."""

_NO_MATCH: Final = 204
_MATCHES: Final = (200, 206)
"""206 was once for a page of several (PS3.18 2013 §6.7.1.2)."""

_EXCEEDED: Final = re.compile("exceed", re.IGNORECASE)
"""What is said of a page that is not all there is (PS3.18 §8.3.4.4): "The number of results exceeded the maximum …"."""
_WARNING: Final = re.compile(r'299 [^ ]+ "?([^"]*)')

LONGEST_WARNING: Final = 200
"""Characters of a server's warning that are kept."""

MAX_WARNINGS: Final = 10
"""Warnings of one answer that are kept."""

LONGEST_TAG: Final = 16
"""Characters of what stands in the place of a tag that a note shows."""

_WHOSE: Final = ("00100020", "00100021")
_UIDS: Final = tuple(UNIQUE_KEYS[level] for level in (Level.STUDY, Level.SERIES, Level.IMAGE))


class OriginMatches:
    """The matches of one Find."""

    def __init__(self, origin: Origin, find: Find) -> None:
        self._origin = origin
        self._find = find
        self._ahead: list[Match] = []
        self._ended = False
        self._failure: BaseException | None = None
        self._asked_for = Matcher({tag: key for tag, key in find.keys.items() if tag in _UIDS})
        self._matches = self._all()
        self.warnings: list[str] = []
        """What the server warned of, and what could not be asked."""

    async def begin(self) -> None:
        """Wait for the first match or the end, so that a failure before it fails the Find itself."""
        try:
            self._ahead.append(await self._matches.__anext__())
        except StopAsyncIteration:
            self._ended = True

    def __aiter__(self) -> "OriginMatches":
        return self

    async def __anext__(self) -> Match:
        match = self._ahead.pop() if self._ahead else await self._next()
        self._origin.request.record.matches += 1
        return match

    async def aclose(self) -> None:
        """Give the answer under way up; harmless after its end."""
        if not self._ended and self._failure is None:
            self._failure = Cancelled("the matches were given up")
        self._ahead.clear()
        await self._matches.aclose()

    async def _next(self) -> Match:
        if self._failure is not None:
            raise self._failure
        try:
            return await self._matches.__anext__()
        except StopAsyncIteration:
            self._ended = True
            raise
        except BaseException as error:
            self._failure = error
            raise

    # Searches and their pages

    async def _all(self) -> AsyncGenerator[Match, None]:
        find = self._find
        for search in write_searches(find.level, find.keys, find.return_keys, fuzzy_matching=find.fuzzy_matching):
            for name in search.unmatched:
                self._warn(f"The key {name} was not matched: no URL can carry its value.")
            async with aclosing(self._pages(search)) as matches:
                async for match in matches:
                    yield match

    async def _pages(self, search: Search) -> AsyncGenerator[Match, None]:
        at_most = self._at_most(search)
        offset = 0
        first = ""
        before: set[str] = set()
        while at_most is None or offset < at_most:
            reply = await self._page(search, offset)
            if reply is None:
                return
            count = 0
            known: set[str] = set()
            async with aclosing(elements(reply)) as page:
                async for element in page:
                    match = self._read(element, search)
                    identity = _identity(match)
                    if not count and identity == first:
                        break
                    first = first if count else identity
                    count += 1
                    if len(known) < MAX_REMEMBERED:
                        known.add(identity)
                    if identity not in before and self._is_asked_for(match):
                        yield match
            if known <= before:
                # Nothing new: the end, or a server that knows no `offset` and begins anew.
                if offset and not count and self._is_cut_off(reply):
                    raise Incomplete("the DICOMweb server has more matches than it sends, and does not go on")
                return
            before = known
            offset += count

    def _at_most(self, search: Search) -> int | None:
        """Return how many matches there can be, when the unique keys of all are named."""
        name = keyword_of(int(UNIQUE_KEYS[self._find.level], 16))
        named = dict(search.parameters).get(name)
        return None if named is None else len(named.split(","))

    # One page

    async def _page(self, search: Search, offset: int) -> Reply | None:
        """Return the reply that has a page; None when there is no match."""
        size = min(MATCHES_A_PAGE, self._find.limit or MATCHES_A_PAGE)
        paging = (("limit", str(size)), *((("offset", str(offset)),) if offset else ()))
        reply = await self._origin.ask(search.path, accept=ACCEPT_JSON, query=(*search.parameters, *paging))
        if reply.status == _NO_MATCH:
            await discard(reply)
            return None
        if reply.status not in _MATCHES:
            error = await refusal(reply)
            if isinstance(error, NotFound) and not search.named:
                # It is not a study that is missing but the service: nobody must take that for an empty archive.
                raise RejectedError(error.detail, log_detail=f"no /{'/'.join(search.path)} below base_url")
            raise error
        for sentence in _WARNING.findall(header(reply, "warning"))[:MAX_WARNINGS]:
            if not _EXCEEDED.search(sentence):
                self._warn(sentence[:LONGEST_WARNING])
        return reply

    def _is_cut_off(self, reply: Reply) -> bool:
        return bool(_EXCEEDED.search(header(reply, "warning")))

    def _read(self, element: Mapping[str, Any], search: Search) -> Match:
        match, unusable = read_data_set(element)
        for tag in unusable:
            self._origin.note(f"values of {tag[:LONGEST_TAG]} in matches cannot be used, and are left out")
        for tag, uid in search.named.items():
            if not match.get(tag, {}).get("Value"):
                match[tag] = {"vr": "UI", "Value": [uid]}
        unique = UNIQUE_KEYS[self._find.level]
        if not match.get(unique, {}).get("Value"):
            raise PeerError(f"the DICOMweb server sent a match without {keyword_of(int(unique, 16))}")
        return match

    def _is_asked_for(self, match: Match) -> bool:
        if not self._asked_for.definite_mismatches(match):
            return True
        self._origin.note("matches with other UIDs than were asked for were dropped")
        return False

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings and len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(sentence)
        self._origin.note(sentence)


def _identity(match: Match) -> str:
    return "\n".join(str(match.get(tag, {}).get("Value")) for tag in (*_UIDS, *_WHOSE))
