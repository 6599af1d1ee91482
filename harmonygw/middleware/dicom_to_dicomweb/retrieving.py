"""Retrieve to Retrieve (PS3.18 §10.4): parts of a multipart response as instances, each checked before its bytes go on.

What a server sends is held against what was asked for, and against what it says it has: the patient of the study, and
how many instances there are. Both are asked by a Search beforehand; a server that has none is believed.
"""

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from harmonygw.dicom.dataset.part10 import encode_uid
from harmonygw.dicom.dataset.patient import NOBODY, Patient
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, LOSSLESS, NATIVE
from harmonygw.dicom.web.attributes import UNIQUE_KEYS, Level
from harmonygw.dicom.web.media_types import DICOM, MULTIPART
from harmonygw.errors import (
    BadRequest,
    Busy,
    Conflict,
    HarmonyError,
    Incomplete,
    NotAcceptable,
    NotFound,
    PeerError,
    TimedOut,
    TooLarge,
    TransportError,
)
from harmonygw.middleware.dicom_to_dicomweb.finding import OriginMatches
from harmonygw.middleware.dicom_to_dicomweb.origin import Origin, discard, refusal
from harmonygw.middleware.dicom_to_dicomweb.parts import Parts
from harmonygw.operations import ANY_TRANSFER_SYNTAX, DataSet, Find, Retrieve
from harmonygw.streams import Cancelled, Instance, Match

MAX_INSTANCES: Final = 100_000
"""Instances of one retrieval: their UIDs are remembered, so that none is taken twice. The largest studies have some ten
thousand."""

MAX_ROWS: Final = 10
"""Matches that are looked at to know one study, or one series."""

_INSTANCES: Final = 200
_NOTHING: Final = 204
_SOME_INSTANCES: Final = 206
_OTHERWISE: Final = (400, 406, 415, 500, 501)
"""What servers answer that cannot transcode what they hold, the standard's 406 among it."""

_PATIENT: Final[DataSet] = {"00100020": {"vr": "LO"}, "00100021": {"vr": "LO"}}
_COUNTS: Final = {Level.STUDY: "00201208", Level.SERIES: "00201209"}
"""Number of Study Related Instances, and of Series Related Instances."""


@dataclass(slots=True)
class Expectation:
    """What the server says it has."""

    patient: Patient = NOBODY
    count: int | None = None
    """The number of instances; None when it does not say."""


class Retrieval:
    """The instances of one Retrieve, as a stream."""

    def __init__(self, origin: Origin, retrieve: Retrieve) -> None:
        self._origin = origin
        self._retrieve = retrieve
        self._uids = frozenset(retrieve.sop_instance_uids)
        self._accepts = list(accepts(retrieve.transfer_syntaxes))
        self._paths = _paths(retrieve)
        self._expected = Expectation()
        self._received: set[str] = set()
        self._parts: Parts | None = None
        self._replies = 0
        self._some_are_missing = False
        self._ended = False
        self._failure: BaseException | None = None

    async def begin(self) -> None:
        """Ask for the first of it; raises what an HTTP status means, and what the backend raises.

        Raises `NotAcceptable` for instances that are not wanted whole: there is no such resource.
        """
        if not self._retrieve.whole_otherwise:
            raise NotAcceptable("a DICOMweb server sends instances with their bulk data only")
        self._expected = await self._expectation()
        await self._ask_next()

    def __aiter__(self) -> "Retrieval":
        return self

    async def __anext__(self) -> Instance:
        if self._failure is not None:
            raise self._failure
        try:
            while self._parts is not None:
                instance = await self._parts.next()
                if instance is not None:
                    self._check(instance, self._parts.announced)
                    return instance
                self._parts = None
                await self._ask_next()
            if not self._ended:
                await self._check_end()
                self._ended = True
        except BaseException as error:
            # However often it is asked again, this stream has no clean end any more.
            self._failure = error
            await self.aclose()
            raise
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Give the retrieval up; harmless after its end."""
        if not self._ended and self._failure is None:
            self._failure = Cancelled("the retrieval was given up")
        self._paths = iter(())
        parts, self._parts = self._parts, None
        if parts is not None:
            await parts.aclose()

    # What is asked

    async def _ask_next(self) -> None:
        """Ask for what comes next, passing over what is not there; raises `NotFound` when nothing is."""
        missing: NotFound | None = None
        for path in self._paths:
            try:
                self._parts = await self._ask(path)
            except NotFound as error:
                missing = error
                if self._uids:
                    self._origin.note("an instance that was asked for by its UID is not there")
            else:
                self._replies += 1
                return
        if missing is not None and not self._received:
            raise missing

    async def _ask(self, path: tuple[str, ...]) -> Parts:
        while True:
            reply = await self._origin.ask(path, accept=self._accepts[0])
            if reply.status not in _OTHERWISE or len(self._accepts) == 1:
                break
            # What cannot be made there may be fine as it is held: whatever is not costs one sub-operation each.
            self._origin.note(f"the DICOMweb server does not transcode (HTTP {reply.status}): asked for what it holds")
            await discard(reply)
            del self._accepts[0]
        if reply.status == _NOTHING:
            await discard(reply)
            raise NotFound("the DICOMweb server has nothing under these UIDs")
        if reply.status not in (_INSTANCES, _SOME_INSTANCES):
            raise await refusal(reply)
        self._some_are_missing |= reply.status == _SOME_INSTANCES
        return await Parts.of(reply)

    # What is expected

    async def _expectation(self) -> Expectation:
        """Ask whose the study is, and how many instances there are."""
        retrieve = self._retrieve
        study = {UNIQUE_KEYS[Level.STUDY]: _uid(retrieve.study_instance_uid)}
        counted = _COUNTS.get(retrieve.level)
        rows = await self._rows(Find(Level.STUDY, study, {**_PATIENT, _COUNTS[Level.STUDY]: {"vr": "IS"}}, MAX_ROWS))
        patients = {Patient.of_row(row) for row in rows}
        if len(patients) > 1:
            raise Conflict("the DICOMweb server gives this Study Instance UID to several patients")
        if retrieve.level is Level.SERIES:
            keys = {**study, UNIQUE_KEYS[Level.SERIES]: _uid(retrieve.series_instance_uid)}
            rows = await self._rows(Find(Level.SERIES, keys, {_COUNTS[Level.SERIES]: {"vr": "IS"}}, MAX_ROWS))
        count = _number(rows[0], counted) if counted and len(rows) == 1 else None
        return Expectation(next(iter(patients), NOBODY), count)

    async def _rows(self, find: Find) -> list[Match]:
        """Return what the server says; nothing when it does not answer such a Search."""
        matches = OriginMatches(self._origin.aside(), find)
        rows: list[Match] = []
        try:
            async with aclosing(matches):
                async for match in matches:
                    rows.append(match)
                    if len(rows) >= MAX_ROWS:
                        break
        except (Busy, TimedOut, TransportError):
            raise
        except HarmonyError as error:
            self._origin.note(f"the DICOMweb server does not tell what it has: {error.detail}")
            return []
        return rows

    # What comes

    def _check(self, instance: Instance, announced: str) -> None:
        """Raise `PeerError` for an instance that was not asked for, before a byte of it goes on."""
        retrieve = self._retrieve
        uid = instance.sop_instance_uid
        if instance.study_instance_uid != retrieve.study_instance_uid:
            raise _unasked("of another study", instance.study_instance_uid)
        if retrieve.series_instance_uid not in ("", instance.series_instance_uid):
            raise _unasked("of another series", instance.series_instance_uid)
        if self._uids and uid not in self._uids:
            raise _unasked("that was not asked for", uid)
        if uid in self._received:
            raise _unasked("twice", uid)
        if self._expected.patient != NOBODY:
            patient = Patient.of_instance(instance.leading, instance.default_character_set)
            difference = self._expected.patient.difference(patient)
            if difference:
                raise _unasked(f"of another patient than the study's: {difference}", uid)
        if len(self._received) >= MAX_INSTANCES:
            raise TooLarge(f"a retrieval of more than {MAX_INSTANCES} instances (MAX_INSTANCES)")
        self._received.add(uid)
        if announced not in ("", instance.transfer_syntax_uid):
            self._origin.note(f"a part said transfer syntax {announced[:64]}, and its file another, which was believed")

    async def _check_end(self) -> None:
        """Raise `Incomplete` when something did not come that the server has."""
        if self._some_are_missing:
            raise Incomplete("the DICOMweb server says that it sent a part of what was asked for (HTTP 206)")
        count = self._replies if self._uids else self._expected.count
        if not self._received:
            raise NotFound("the DICOMweb server sent no instance")
        if count is None or len(self._received) >= count:
            return
        # Counts may be stale in either direction. What the server lists and did not send is missing.
        listed = await self._listed()
        if not listed or not listed <= self._received:
            raise Incomplete(f"the DICOMweb server sent {len(self._received)} of {count} instances")
        self._origin.note(f"the DICOMweb server counts {count} instances and has {len(self._received)}")

    async def _listed(self) -> set[str]:
        retrieve = self._retrieve
        keys = {UNIQUE_KEYS[Level.STUDY]: _uid(retrieve.study_instance_uid)}
        if retrieve.series_instance_uid:
            keys[UNIQUE_KEYS[Level.SERIES]] = _uid(retrieve.series_instance_uid)
        listed: set[str] = set()
        async with aclosing(OriginMatches(self._origin.aside(), Find(Level.IMAGE, keys))) as matches:
            async for match in matches:
                listed.update(map(str, match[UNIQUE_KEYS[Level.IMAGE]]["Value"]))
                if len(listed) > MAX_INSTANCES:
                    raise TooLarge(f"a retrieval of more than {MAX_INSTANCES} instances (MAX_INSTANCES)")
        return listed


def accepts(transfer_syntaxes: tuple[str, ...]) -> Iterator[str]:
    """Yield Accept fields, to be tried in this order until the server can make one.

    What is native or lossless is named, the favourite last and with the greatest weight: servers that read one media
    range only mostly read the last. A lossy syntax never is, since the server could compress for it: what is held so
    comes when it is asked for as held, which is the last resort for everything else too.
    """
    if ANY_TRANSFER_SYNTAX not in transfer_syntaxes:
        named = [uid for uid in transfer_syntaxes if uid in LOSSLESS]
        if NATIVE.intersection(transfer_syntaxes):
            # The one that a native object may have on the web; who asked converts it to another.
            named.insert(0, EXPLICIT_VR_LITTLE_ENDIAN)
        if named:
            yield ", ".join([*(_media_range(uid, ";q=0.9") for uid in reversed(named[1:])), _media_range(named[0])])
    yield _media_range(ANY_TRANSFER_SYNTAX)


def _media_range(transfer_syntax: str, weight: str = "") -> str:
    return f'{MULTIPART}; type="{DICOM}"; transfer-syntax={transfer_syntax}{weight}'


def _paths(retrieve: Retrieve) -> Iterator[tuple[str, ...]]:
    """Return the paths of what is asked for; raises `BadRequest` for a UID that is none."""
    study = ("studies", retrieve.study_instance_uid)
    series = ("series", retrieve.series_instance_uid)
    for uid in (retrieve.study_instance_uid, retrieve.series_instance_uid, *retrieve.sop_instance_uids):
        if uid:
            encode_uid(uid)
    if retrieve.level is Level.STUDY:
        return iter([study])
    if not retrieve.series_instance_uid:
        raise BadRequest("a retrieval of series or instances needs the Series Instance UID")
    if retrieve.level is Level.SERIES:
        return iter([study + series])
    if not retrieve.sop_instance_uids:
        raise NotFound("no instance is named")
    return (study + series + ("instances", uid) for uid in dict.fromkeys(retrieve.sop_instance_uids))


def _uid(value: str) -> dict[str, object]:
    return {"vr": "UI", "Value": [value]}


def _number(row: Match, tag: str) -> int | None:
    for value in row.get(tag, {}).get("Value", ()):
        if isinstance(value, int | str) and str(value).isdecimal():
            return int(value)
    return None


def _unasked(what: str, uid: str) -> PeerError:
    return PeerError(f"the DICOMweb server sent an instance {what}", source=0, log_detail=uid)
