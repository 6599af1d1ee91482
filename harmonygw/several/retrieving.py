"""Retrieve from several archives: from the one that has the study, or each part of it from one that has that.

A study lies at one archive mostly, and the request goes there as it is. Where several have it, of one patient, each may
have the whole or a part: they are asked what they list, by series, and by instance where a series is listed twice. The
first gives all that it has; each further one what is still missing then. What is sent is complete or breaks off.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from harmonygw.dicom.web.attributes import UNIQUE_KEYS, Level
from harmonygw.errors import HarmonyError, Incomplete, NotAcceptable, NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.operations import Find, InstanceStream, Move, MoveResult, Retrieve
from harmonygw.several.absences import Absences
from harmonygw.several.searching import missing, warning
from harmonygw.several.source import Source, ask, together
from harmonygw.several.whereabouts import STUDY, Verdict, Whereabouts, conflict, titles, value_of
from harmonygw.streams import Begun, Instance

SERIES: Final = UNIQUE_KEYS[Level.SERIES]
INSTANCE: Final = UNIQUE_KEYS[Level.IMAGE]

MAX_LISTED: Final = 20_000
"""Series of a study, or instances of a series, that a source lists, of a study that lies at several: more than any has.
A source that lists more is in error."""

BATCH: Final = 500
"""SOP Instance UIDs in one query: 32 KB at most."""

NOTHING: Final = "None of the archives has anything under these UIDs."
IN_PARTS: Final = "the study lies at several archives, which are not asked for it without bulk data"


@dataclass(frozen=True, slots=True)
class Part:
    """What is retrieved from one source."""

    source: Source
    retrieve: Retrieve


class Retrieval:
    """Retrieves of one set of sources."""

    def __init__(self, whereabouts: Whereabouts, absences: Absences, clock: IReactorTime, *, fails: bool) -> None:
        self._whereabouts = whereabouts
        self._absences = absences
        self._clock = clock
        self._fails = fails

    async def respond(self, request: Request, retrieve: Retrieve, sources: Sequence[Source]) -> Reply:
        """Answer a Retrieve.

        Raises `Conflict` for a contested study, `NotFound` when none of the sources has what is asked for, the error of
        a source that could not be asked when no other has it, and what the source that has it raises.
        """
        asked_at = self._clock.seconds()
        verdict = await self._located(request, retrieve, sources)
        try:
            return await self._from_holders(request, retrieve, verdict)
        except NotFound:
            self._whereabouts.forget(retrieve.study_instance_uid)
            if verdict.since >= asked_at:
                raise
        # It may have gone elsewhere since it was located.
        return await self._from_holders(request, retrieve, await self._located(request, retrieve, sources))

    async def _located(self, request: Request, retrieve: Retrieve, sources: Sequence[Source]) -> Verdict:
        study = retrieve.study_instance_uid
        absent = self._absences.of(request)
        verdict = (await self._whereabouts.locate(request, (study,), sources, unreachable=absent))[study]
        for source, error in verdict.missing.items():
            self._absences.note(request, source, error)
        return verdict

    async def move(self, request: Request, move: Move, sources: Sequence[Source]) -> Reply:
        """Let the sources that have it send something to somebody else, one after another.

        Raises what `respond` raises. What one of them fails at fails the whole, whatever has been sent by then.
        """
        retrieve = Retrieve(move.level, move.study_instance_uid, move.series_instance_uid, move.sop_instance_uids)
        verdict = await self._located(request, retrieve, sources)
        holders, gone = self._holders(verdict)
        parts = [Part(holders[0], retrieve)]
        if len(holders) > 1:
            parts = await self._parts(request, retrieve, holders, gone)
        results: list[MoveResult] = []
        for part in parts:
            asked = replace(
                move,
                level=part.retrieve.level,
                series_instance_uid=part.retrieve.series_instance_uid,
                sop_instance_uids=part.retrieve.sop_instance_uids,
            )
            reply: Reply = await part.source.backend.respond(replace(request, operation=asked))
            results.append(reply.result)
        warn_of(request, map(missing, gone))
        completed, warned = ([getattr(one, name) for one in results] for name in ("completed", "warning"))
        return Reply(result=MoveResult(_sum(completed), _sum(warned)))

    def _holders(self, verdict: Verdict) -> tuple[list[Source], dict[Source, HarmonyError]]:
        """Return who has a study, one at least, and who could not be asked."""
        if verdict.contested:
            raise conflict(verdict)
        holders, gone = list(verdict.holders), dict(verdict.missing)
        if gone and (self._fails or not holders):
            raise next(iter(gone.values()))
        if not holders:
            raise NotFound(NOTHING)
        return holders, gone

    async def _from_holders(self, request: Request, retrieve: Retrieve, verdict: Verdict) -> Reply:
        holders, gone = self._holders(verdict)
        if len(holders) == 1:
            reply: Reply = await holders[0].backend.respond(request)
        else:
            reply = await self._in_parts(request, retrieve, holders, gone)
        for source, error in gone.items():
            request.record.note(f"{source.ae_title} could not be asked: {error}")
        warn_of(request, map(missing, gone))
        return reply

    async def _in_parts(
        self, request: Request, retrieve: Retrieve, holders: Sequence[Source], gone: dict[Source, HarmonyError]
    ) -> Reply:
        if not retrieve.whole_otherwise:
            raise NotAcceptable(IN_PARTS)
        parts = await self._parts(request, retrieve, holders, gone)
        if len(parts) == 1:
            return await _asked(request, parts[0])
        stream = _chained(request, parts)
        begun = await Begun.of(stream)
        request.record.note(f"retrieved in parts from {titles(dict.fromkeys(part.source for part in parts))}")
        return Reply(result=begun)

    async def _parts(
        self, request: Request, retrieve: Retrieve, holders: Sequence[Source], gone: dict[Source, HarmonyError]
    ) -> list[Part]:
        parts = await Listing(request, retrieve, holders, self._clock).parts(gone)
        if gone and (self._fails or not parts):
            raise next(iter(gone.values()))
        if not parts:
            raise NotFound(NOTHING)
        return parts


class Listing:
    """What each of several sources lists of what is retrieved, and who gives which of it."""

    def __init__(self, request: Request, retrieve: Retrieve, holders: Sequence[Source], clock: IReactorTime) -> None:
        self._request = request
        self._retrieve = retrieve
        self._holders = holders
        self._clock = clock

    async def parts(self, gone: dict[Source, HarmonyError]) -> list[Part]:
        """Return what is retrieved from whom; whoever cannot say what he lists is added to `gone`."""
        retrieve = self._retrieve
        if retrieve.level is Level.STUDY:
            series = await self._of_all(self._holders, self._series, gone)
            everywhere = [uid for uids in series.values() for uid in uids]
            shared = [uid for uid in dict.fromkeys(everywhere) if everywhere.count(uid) > 1]
        else:
            series = {source: [retrieve.series_instance_uid] for source in self._holders}
            shared = [retrieve.series_instance_uid]
        instances: dict[str, dict[Source, list[str]]] = {}
        for uid in shared:
            asked = [source for source, uids in series.items() if uid in uids and source not in gone]
            instances[uid] = await self._of_all(asked, partial(self._instances, uid), gone)
        return self._divided({source: uids for source, uids in series.items() if source not in gone}, instances)

    def _divided(self, series: dict[Source, list[str]], instances: dict[str, dict[Source, list[str]]]) -> list[Part]:
        given: dict[str, set[str] | None] = {}
        """Of each series the instances that somebody gives; None for one that is given whole."""
        parts: list[Part] = []
        for source, uids in series.items():
            wholes: list[str] = []
            rests: list[tuple[str, list[str]]] = []
            for uid in uids:
                listed = instances[uid].get(source, []) if uid in instances else None
                before = given.get(uid, set())
                if listed is None:
                    wholes.append(uid)
                    given[uid] = None
                elif before is not None:
                    rest = [one for one in listed if one not in before]
                    given[uid] = {*before, *rest}
                    if rest and len(rest) == len(listed) and self._retrieve.level is not Level.IMAGE:
                        wholes.append(uid)
                    elif rest:
                        rests.append((uid, rest))
            parts += self._parts_of(source, uids, wholes, rests)
        return parts

    def _parts_of(
        self, source: Source, uids: list[str], wholes: list[str], rests: list[tuple[str, list[str]]]
    ) -> list[Part]:
        retrieve = self._retrieve
        if uids and wholes == uids:
            return [Part(source, retrieve)]
        series = [replace(retrieve, level=Level.SERIES, series_instance_uid=uid) for uid in wholes]
        some = [
            replace(retrieve, level=Level.IMAGE, series_instance_uid=uid, sop_instance_uids=tuple(rest))
            for uid, rest in rests
        ]
        return [Part(source, one) for one in (*series, *some)]

    async def _of_all(
        self,
        sources: Sequence[Source],
        listing: Callable[[Source], Coroutine[Any, Any, list[str] | HarmonyError]],
        gone: dict[Source, HarmonyError],
    ) -> dict[Source, list[str]]:
        listed: dict[Source, list[str]] = {}
        for source, result in zip(sources, await together(map(listing, sources)), strict=True):
            if isinstance(result, HarmonyError):
                gone[source] = result
            else:
                listed[source] = result
        return listed

    async def _series(self, source: Source) -> list[str] | HarmonyError:
        keys = {STUDY: {"vr": "UI", "Value": [self._retrieve.study_instance_uid]}}
        return await self._listed(source, Find(Level.SERIES, keys, {SERIES: {"vr": "UI"}}), SERIES)

    async def _instances(self, series: str, source: Source) -> list[str] | HarmonyError:
        keys = {
            STUDY: {"vr": "UI", "Value": [self._retrieve.study_instance_uid]},
            SERIES: {"vr": "UI", "Value": [series]},
        }
        named = tuple(dict.fromkeys(self._retrieve.sop_instance_uids))
        if not named:
            return await self._listed(source, Find(Level.IMAGE, keys, {INSTANCE: {"vr": "UI"}}), INSTANCE)
        listed: set[str] = set()
        for start in range(0, len(named), BATCH):
            some = {**keys, INSTANCE: {"vr": "UI", "Value": list(named[start : start + BATCH])}}
            result = await self._listed(source, Find(Level.IMAGE, some), INSTANCE)
            if isinstance(result, HarmonyError):
                return result
            listed.update(result)
        return [uid for uid in named if uid in listed]

    async def _listed(self, source: Source, find: Find, tag: str) -> list[str] | HarmonyError:
        answer = await ask(source, self._request, find, count=MAX_LISTED, clock=self._clock)
        if answer.error is not None:
            return answer.error
        if not answer.ended:
            return Incomplete(f"{source.ae_title} lists more than {MAX_LISTED} (MAX_LISTED)")
        return list(dict.fromkeys(uid for row in answer.rows if (uid := value_of(row, tag))))


async def _chained(request: Request, parts: Sequence[Part]) -> AsyncGenerator[Instance, None]:
    """Yield the instances of all parts, one part after another: a place is taken when the one before is given back."""
    for part in parts:
        instances: InstanceStream = (await _asked(request, part)).result
        request.record.target = titles(dict.fromkeys(one.source for one in parts))
        async with aclosing(instances):
            async for instance in instances:
                yield instance


async def _asked(request: Request, part: Part) -> Reply:
    reply: Reply = await part.source.backend.respond(replace(request, operation=part.retrieve))
    return reply


def _sum(counts: Sequence[int | None]) -> int | None:
    return None if None in counts else sum(count or 0 for count in counts)


def warn_of(request: Request, sentences: Iterable[str]) -> None:
    """Tell an HTTP client something of the reply that is on its way; a DIMSE response has no room for it."""
    if isinstance(request.origin, HTTPOrigin):
        headers = [("Warning", warning(sentence)) for sentence in sentences]
        request.common_headers.extend(one for one in headers if one not in request.common_headers)
