"""Whether the archive still says of a study what it said when the study was cached, and to whom it says so.

A study is served from the cache to a principal only when his own query for it was answered within `revalidate_secs`.
If the answer differs from what was said before - another patient, another date, other numbers of series or instances -
what is cached of the study is purged. Who is being given some of it has it to the end when the study has only grown:
what he gets is right still. Otherwise it breaks off.
"""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, NamedTuple

import orjson
from twisted.logger import Logger

from harmonygw import journal
from harmonygw.errors import Busy, Conflict, NotFound, PeerError, TimedOut, TransportError
from harmonygw.exchange import Record, Request
from harmonygw.joining import Joining
from harmonygw.middleware.cache.entries import Series
from harmonygw.middleware.cache.shelf import Shelf
from harmonygw.operations import Find, Level
from harmonygw.pipeline import Proceed
from harmonygw.streams import Match

log = Logger()

MAX_REMEMBERED: Final = 10_000
"""Pairs of principal and study whose last answer is remembered. Default 10,000, some hundred bytes each."""

MAX_ROWS: Final = 20_000
"""Rows of a query: a series with more instances is not cached as complete."""

UNREACHABLE: Final = (TransportError, TimedOut, Busy, PeerError)
"""What says that the archive could not be asked, rather than that it said no."""

_PATIENT: Final = ("00100020", "00100021")
_SAID: Final = (*_PATIENT, "00080020", "00080030", "00201206", "00201208")
"""PatientID, IssuerOfPatientID, StudyDate, StudyTime, NumberOfStudyRelatedSeries, NumberOfStudyRelatedInstances."""

_COUNTS_AT: Final = 4
_COUNT: Final = "00201208"
_VRS: Final = {"00100020": "LO", "00100021": "LO", "00080020": "DA", "00080030": "TM", "00201206": "IS", _COUNT: "IS"}


class Validation:
    """What the archive was asked lately."""

    def __init__(self, shelf: Shelf, *, revalidate_secs: float, clock: Any) -> None:
        self._shelf = shelf
        self.revalidate_secs = revalidate_secs
        """Seconds for which what the archive said holds."""
        self._clock = clock
        self._validated: OrderedDict[tuple[str | None, str], _Validated] = OrderedDict()
        self._asking: Joining[tuple[str | None, str], None] = Joining()

    async def finish(self) -> None:
        """Return when what is being asked now has been answered."""
        await self._asking.finish()

    def is_valid(self, request: Request, study_instance_uid: str) -> bool:
        """Whether the study was validated for this principal lately."""
        validated = self._validated.get((request.principal, study_instance_uid))
        return validated is not None and self._clock.seconds() - validated.when < self.revalidate_secs

    def missing(self, request: Request, study_instance_uid: str) -> tuple[str, ...]:
        """Return the Warnings of the last validation: which of several archives could not be asked."""
        validated = self._validated.get((request.principal, study_instance_uid))
        return () if validated is None else validated.missing

    async def validate(self, request: Request, proceed: Proceed, study_instance_uid: str) -> None:
        """Ask the archive, once for everybody who waits; purge the study when it has changed.

        Raises `NotFound` when it has the study no more, `Conflict` when several patients share its UID, and what a Find
        raises.
        """
        key = (request.principal, study_instance_uid)
        since = self._clock.seconds() - self.revalidate_secs
        await self._asking.wait(key, lambda: self._validate(request, proceed, study_instance_uid))
        validated = self._validated.get(key)
        if validated is not None and validated.when < since:
            # What was joined was asked too long ago to be told by its answer; whatever is under way now began later.
            await self._asking.wait(key, lambda: self._validate(request, proceed, study_instance_uid))

    async def _validate(self, request: Request, proceed: Proceed, study: str) -> None:
        key = (request.principal, study)
        self._validated.pop(key, None)
        begun = self._clock.seconds()
        missing = await self._ask(request, proceed, study)
        self._validated[key] = _Validated(begun, missing)
        while len(self._validated) > MAX_REMEMBERED:
            self._validated.popitem(last=False)

    def forget(self, study_instance_uid: str) -> None:
        """Ask again before the study is served."""
        for key in [key for key in self._validated if key[1] == study_instance_uid]:
            del self._validated[key]

    async def _ask(self, request: Request, proceed: Proceed, study: str) -> tuple[str, ...]:
        keys = {"0020000D": {"vr": "UI", "Value": [study]}}
        find = Find(Level.STUDY, keys, {tag: {"vr": _VRS[tag]} for tag in _SAID})
        found = await _rows(request, proceed, find)
        rows = [row for row in found.rows if _text(row, "0020000D") in ("", study)]
        before = await self._shelf.said(study)
        if not rows:
            if before is not None:
                await self._changed(study, "the archive has it no more")
            raise NotFound("The archive has no such study.")
        if len({tuple(_text(row, tag) for tag in _PATIENT) for row in rows}) > 1:
            _alert(request, "the archive gives the UID of a cached study to several patients", study)
            await self._changed(study, "several patients share its UID")
            raise Conflict("the archive gives this Study Instance UID to several patients")
        said = orjson.dumps([_text(rows[0], tag) for tag in _SAID]).decode()
        if before is not None and before != said:
            if orjson.loads(before)[: len(_PATIENT)] != orjson.loads(said)[: len(_PATIENT)]:
                _alert(request, "a study is another patient's than when it was cached", study)
            grown = _has_grown(before, said)
            await self._changed(study, "the archive says otherwise of it now", grown=grown)
        if before != said:
            await self._shelf.note_said(study, said)
        return found.missing

    async def lists_the_same(self, request: Request, proceed: Proceed, series: Series) -> bool:
        """Whether the archive lists what is here of a series, and no more if that is all; for one without counts."""
        keys = {
            "0020000D": {"vr": "UI", "Value": [series.study_instance_uid]},
            "0020000E": {"vr": "UI", "Value": [series.series_instance_uid]},
        }
        found = await _rows(request, proceed, Find(Level.IMAGE, keys, {"00080018": {"vr": "UI"}}))
        listed = {_text(row, "00080018") for row in found.rows}
        same = listed == series.entries.keys() if series.complete else listed >= series.entries.keys()
        if not same:
            grown = listed >= series.entries.keys()
            await self._changed(series.study_instance_uid, "the archive lists other instances of it now", grown=grown)
        return same

    async def count(self, study_instance_uid: str) -> str:
        """Return how many instances the archive said a study has, empty when it does not tell."""
        said = await self._shelf.said(study_instance_uid)
        return "" if said is None else str(orjson.loads(said)[_SAID.index(_COUNT)])

    async def _changed(self, study: str, why: str, *, grown: bool = False) -> None:
        removed = await self._shelf.purge(study, let_finish=grown)
        self.forget(study)
        log.warn("{removed} cached instances of a study were purged: {why}", removed=removed, why=why)


def _alert(request: Request, sentence: str, study: str) -> None:
    target = request.record.target
    journal.alert(journal.Alert("patients_differ", f"{sentence}: {study}", target, request.correlation_id))


class _Validated(NamedTuple):
    when: float
    """When the archive was asked: what it has learned since, its answer may not tell."""
    missing: tuple[str, ...]


class _Found(NamedTuple):
    rows: list[Match]
    missing: tuple[str, ...]
    """What is to be said of archives that could not be asked, where several answer as one."""


async def _rows(request: Request, proceed: Proceed, find: Find) -> _Found:
    rows: list[Match] = []
    reply = await proceed(replace(request, operation=find, record=Record()))
    async with aclosing(reply.result) as matches:
        async for match in matches:
            rows.append(match)
            if len(rows) > MAX_ROWS:
                break
    return _Found(rows, tuple(getattr(reply.result, "missing", ())))


def _has_grown(before: str, after: str) -> bool:
    """Whether all that the archive says is the same but for its numbers, and none of these is less."""
    was, now = orjson.loads(before), orjson.loads(after)
    counts = zip(was[_COUNTS_AT:], now[_COUNTS_AT:], strict=True)
    return was[:_COUNTS_AT] == now[:_COUNTS_AT] and all(
        old.isdecimal() and new.isdecimal() and int(old) <= int(new) for old, new in counts
    )


def _text(row: Match, tag: str) -> str:
    values: Sequence[Any] = row.get(tag, {}).get("Value", ())
    return "\\".join(str(value) for value in values if value is not None)
