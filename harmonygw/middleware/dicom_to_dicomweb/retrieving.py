"""Retrieve to Retrieve (PS3.18 §10.4): parts of a multipart response as instances, each checked before its bytes go on.

What a server sends is held against what was asked for, and against what it says it has (see `expecting`).
"""

from collections.abc import Iterator
from typing import Final

from harmonygw.dicom.dataset.part10 import encode_uid
from harmonygw.dicom.dataset.patient import NOBODY, Patient
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, LOSSLESS, NATIVE
from harmonygw.dicom.web.attributes import Level
from harmonygw.dicom.web.media_types import DICOM, MULTIPART
from harmonygw.errors import (
    BadRequest,
    Incomplete,
    NotAcceptable,
    NotFound,
    PeerError,
    TooLarge,
)
from harmonygw.middleware.dicom_to_dicomweb.expecting import MAX_INSTANCES, Expectation, expect, list_instances
from harmonygw.middleware.dicom_to_dicomweb.origin import Origin, discard, refusal
from harmonygw.middleware.dicom_to_dicomweb.parts import Parts
from harmonygw.operations import ANY_TRANSFER_SYNTAX, Retrieve
from harmonygw.streams import Cancelled, Instance

MAX_MISSING: Final = 1000
"""UIDs that an error names, as many as a final C-GET-RSP or C-MOVE-RSP does."""

_INSTANCES: Final = 200
_NOTHING: Final = 204
_SOME_INSTANCES: Final = 206
_OTHERWISE: Final = (400, 406, 415, 500, 501)
"""What servers answer that cannot transcode what they hold, the standard's 406 among it."""


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
        self._gone: set[str] = set()
        """UIDs that were asked for, of what is not there."""
        self._some_are_missing = False
        self._ended = False
        self._failure: BaseException | None = None

    async def begin(self) -> None:
        """Ask for the first of it; raises what an HTTP status means, and what the backend raises.

        Raises `NotAcceptable` for instances that are not wanted whole: there is no such resource.
        """
        if not self._retrieve.whole_otherwise:
            raise NotAcceptable("a DICOMweb server sends instances with their bulk data only")
        self._expected = await expect(self._origin, self._retrieve)
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
                    self._check(instance)
                    for remark in self._parts.remarks:
                        self._origin.note(remark)
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
                    self._gone.add(path[-1])
                    self._origin.note("an instance that was asked for by its UID is not there")
            else:
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

    # What comes

    def _check(self, instance: Instance) -> None:
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

    async def _check_end(self) -> None:
        """Raise `Incomplete` when something did not come that the server has, and `NotFound` when it has nothing."""
        received, count = self._received, self._expected.count
        if self._uids:
            missing = sorted(self._uids - received - self._gone)
            if missing:
                raise _incomplete(len(received), len(self._uids - self._gone), missing)
            return
        if not self._some_are_missing and len(received) >= (count or 0):
            if not received:
                raise NotFound("the DICOMweb server sent no instance")
            return
        # Counts may be stale in either direction. What the server lists and did not send is missing.
        listed = await list_instances(self._origin, self._retrieve)
        missing = sorted(listed - received)
        if missing or self._some_are_missing or not listed:
            raise _incomplete(len(received), max(count or 0, len(listed)), missing)
        self._origin.note(f"the DICOMweb server counts {count} instances and has {len(received)}")


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


def _incomplete(came: int, there_are: int, missing: list[str]) -> Incomplete:
    there = f"{came} of {there_are}" if there_are > came else f"only {came} of more"
    return Incomplete(f"the DICOMweb server sent {there} instances", missing=tuple(missing[:MAX_MISSING]))


def _unasked(what: str, uid: str) -> PeerError:
    return PeerError(f"the DICOMweb server sent an instance {what}", source=0, log_detail=uid)
