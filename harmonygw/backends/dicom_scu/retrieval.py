"""A Retrieve by C-GET or C-MOVE: what to expect, two attempts with different contexts, and the count at the end.

A success status of the PACS is not proof. What the archive says it holds (a C-FIND before the retrieval) is held
against what arrived, and instances that no presentation context of the first association could carry are asked for
again on a second one. What is still missing then ends the stream with an error, never in silence.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from harmonygw.backends.dicom_scu import contexts
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import CStoreRQ
from harmonygw.dicom.dimse.statuses import Category, category, describe
from harmonygw.errors import (
    Conflict,
    Incomplete,
    NotAcceptable,
    NotFound,
    PeerError,
    RejectedError,
    TransportError,
)
from harmonygw.exchange import Record
from harmonygw.net.association.operations import Outcome
from harmonygw.net.association.receiving import Admission, Admit, Refusal
from harmonygw.operations import ANY_TRANSFER_SYNTAX, DataSet, Find, Level, Retrieve
from harmonygw.streams import Feed, Instance, Match

MAX_LEFT_OUT = 20_000
"""Instances whose UIDs are gathered to find out which of a study did not come: beyond it the retrieval fails at once."""

Search = Callable[[Find], Awaitable[list[Match]]]
"""Runs a bounded query on the archive; raises what a Find raises."""


@dataclass(slots=True)
class Expectation:
    """What the archive says, before anything is retrieved."""

    patient_id: str = ""
    issuer_of_patient_id: str = ""
    classes: tuple[str, ...] = ()
    """The SOP classes there are; empty when it does not say."""
    modalities: tuple[str, ...] = ()
    count: int | None = None
    """The number of instances; None when it does not say."""
    transfer_syntaxes: tuple[str, ...] = ()
    """Available Transfer Syntax UID (0008,3002) of a single instance, when it says."""


async def expect(search: Search, retrieve: Retrieve) -> Expectation:
    """Ask the archive what there is under the unique keys; raises `NotFound` when there is nothing."""
    study_keys = {"0020000D": {"vr": "UI", "Value": [retrieve.study_instance_uid]}}
    rows = await search(
        Find(
            Level.STUDY,
            study_keys,
            _return_keys("00100020", "00100021", "00080061", "00080062", "00201208"),
        )
    )
    rows = [row for row in rows if _text(row, "0020000D") in ("", retrieve.study_instance_uid)]
    if not rows:
        raise NotFound("there is no such study")
    patients = {(_text(row, "00100020"), _text(row, "00100021")) for row in rows}
    if len(patients) > 1:
        raise Conflict("the archive gives this Study Instance UID to several patients")
    study = rows[0]
    found = Expectation(
        patient_id=_text(study, "00100020"),
        issuer_of_patient_id=_text(study, "00100021"),
        classes=_texts(study, "00080062"),
        modalities=_texts(study, "00080061"),
        count=_number(study, "00201208"),
    )
    if retrieve.level is Level.STUDY and (found.classes or found.modalities):
        return found
    keys = dict(study_keys)
    if retrieve.series_instance_uid:
        keys["0020000E"] = {"vr": "UI", "Value": [retrieve.series_instance_uid]}
    series = await search(Find(Level.SERIES, keys, _return_keys("00080060", "00201209")))
    series = [row for row in series if retrieve.series_instance_uid in ("", _text(row, "0020000E"))]
    if not series:
        raise NotFound("there is no such series in the study")
    found.modalities = tuple(dict.fromkeys(_text(row, "00080060") for row in series))
    if retrieve.level is Level.STUDY:
        return found
    counts = [_number(row, "00201209") for row in series]
    found.count = None if None in counts else sum(count or 0 for count in counts)
    found.classes = ()
    if retrieve.level is Level.IMAGE:
        instances = await search(
            Find(
                Level.IMAGE,
                {**keys, "00080018": {"vr": "UI", "Value": list(retrieve.sop_instance_uids)}},
                _return_keys("00080016", "00083002"),
            )
        )
        wanted = set(retrieve.sop_instance_uids)
        instances = [row for row in instances if _text(row, "00080018") in wanted]
        if not instances:
            raise NotFound("there is no such instance in the series")
        found.classes = tuple(dict.fromkeys(uid for row in instances if (uid := _text(row, "00080016"))))
        found.transfer_syntaxes = tuple(dict.fromkeys(uid for row in instances for uid in _texts(row, "00083002")))
        found.count = len(wanted)
    return found


@dataclass(slots=True)
class Attempt:
    """One C-GET or C-MOVE under way: its instances, and its outcome once they have ended."""

    instances: Feed[Instance]
    outcome: Callable[[], Outcome | None]
    cancel: Callable[[BaseException], None]


class NoContextError(NotAcceptable):
    """The archive accepted none of the storage presentation contexts that were proposed."""


Begin = Callable[[Retrieve, tuple[str, ...], tuple[str, ...], Admit, bool], Awaitable[Attempt]]
"""Begins an attempt for SOP classes and transfer syntaxes, on a fresh association when the last argument says so."""


@dataclass(slots=True)
class Retrieval:
    """One Retrieve, from its expectation to its last instance. Iterate `instances()`."""

    retrieve: Retrieve
    expectation: Expectation
    begin: Begin
    search: Search
    record: Record
    _received: set[str] = field(default_factory=set)
    _attempt: Attempt | None = None

    async def instances(self) -> AsyncGenerator[Instance, None]:
        """Yield every instance, once; raises what went wrong, `Incomplete` when some are missing at the end."""
        classes = self.expectation.classes or contexts.likely_classes(self.expectation.modalities)
        first = contexts.first_choice(self.retrieve.transfer_syntaxes)
        first = tuple(dict.fromkeys((*self._as_stored(), *first)))
        if first:
            with suppress(NoContextError):
                async with aclosing(self._run(self.retrieve, classes, first)) as stream:
                    async for instance in stream:
                        yield instance
                if self._complete(self._outcome()):
                    return
        async with aclosing(self._rest()) as rest:
            async for instance in rest:
                yield instance

    def _as_stored(self) -> tuple[str, ...]:
        # The archive told how it holds this instance: the very syntax cannot tempt it to recompress.
        accepted = self.retrieve.transfer_syntaxes
        anything = ANY_TRANSFER_SYNTAX in accepted
        return tuple(uid for uid in self.expectation.transfer_syntaxes if anything or uid in accepted)

    async def _run(
        self, retrieve: Retrieve, classes: tuple[str, ...], transfer_syntaxes: tuple[str, ...]
    ) -> AsyncGenerator[Instance, None]:
        before = len(self._received)
        for fresh in (False, True):
            attempt = self._attempt = await self.begin(retrieve, classes, transfer_syntaxes, self._admit, fresh)
            previous: Instance | None = None
            try:
                async for instance in attempt.instances:
                    if previous is not None:
                        await previous.data_set.aclose()
                    previous = instance
                    yield instance
                return
            except TransportError:
                if fresh or len(self._received) > before:
                    raise
                self.record.note("the association was lost before the first object; tried once more")
            finally:
                if previous is not None:
                    await previous.data_set.aclose()
                await attempt.instances.aclose()
                outcome = attempt.outcome()
                if outcome is not None:
                    self.record.dimse_status = outcome.status

    async def _rest(self) -> AsyncGenerator[Instance, None]:
        """Retrieve what the first association left out, with its exact classes, series by series."""
        missing = await self._missing()
        if missing:
            self.record.note(f"{sum(map(len, missing.values()))} instances were left out by the first association")
        for (series_uid, modality), rows in missing.items():
            for start in range(0, len(rows), BATCH):
                part = rows[start : start + BATCH]
                known = tuple(dict.fromkeys(uid for row in part if (uid := _text(row, "00080016"))))
                for classes, syntaxes in contexts.rounds(known, modality, self.retrieve.transfer_syntaxes):
                    left = tuple(uid for row in part if (uid := _text(row, "00080018")) not in self._received)
                    if not left:
                        break
                    one = replace(
                        self.retrieve,
                        level=Level.IMAGE,
                        series_instance_uid=series_uid,
                        sop_instance_uids=left,
                    )
                    with suppress(NoContextError):
                        async with aclosing(self._run(one, classes, syntaxes)) as stream:
                            async for instance in stream:
                                yield instance
        still = [
            (uid, _text(row, "00080016"))
            for rows in missing.values()
            for row in rows
            if (uid := _text(row, "00080018")) not in self._received
        ]
        if still or not self._received:
            self._fail(still)

    def _fail(self, still: list[tuple[str, str]]) -> None:
        outcome = self._attempt.outcome() if self._attempt is not None else None
        status = outcome.status if outcome is not None else None
        classes = ", ".join(sorted({sop_class for _, sop_class in still}))
        said = f" (the archive's final status: {describe(status)})" if status is not None else ""
        if not self._received:
            if status is None or category(status) is not Category.SUCCESS:
                named = " or ".join(self.retrieve.transfer_syntaxes)
                if "*" not in self.retrieve.transfer_syntaxes and still:
                    raise NotAcceptable(
                        f"the archive sends these objects (SOP class {classes}) in none of {named}{said}"
                    )
            raise RejectedError(f"the archive sent nothing of what it lists{said}", status=status)
        raise Incomplete(
            f"{len(still)} of {len(still) + len(self._received)} instances did not come{said}",
            log_detail=", ".join(uid for uid, _ in still[:10]),
        )

    async def _missing(self) -> dict[tuple[str, str], list[Match]]:
        """Enumerate the instances that should have come and did not, by series and its modality."""
        keys: dict[str, Any] = {"0020000D": {"vr": "UI", "Value": [self.retrieve.study_instance_uid]}}
        if self.retrieve.series_instance_uid:
            keys["0020000E"] = {"vr": "UI", "Value": [self.retrieve.series_instance_uid]}
        series = await self.search(Find(Level.SERIES, keys, _return_keys("00080060")))
        if self.retrieve.sop_instance_uids:
            keys["00080018"] = {"vr": "UI", "Value": list(self.retrieve.sop_instance_uids)}
        missing: dict[tuple[str, str], list[Match]] = {}
        total = 0
        for one in series:
            series_uid = _text(one, "0020000E")
            keys["0020000E"] = {"vr": "UI", "Value": [series_uid]}
            rows = await self.search(Find(Level.IMAGE, dict(keys), _return_keys("00080016")))
            left = [row for row in rows if _text(row, "00080018") not in self._received]
            total += len(left)
            if total > MAX_LEFT_OUT:
                raise Incomplete(f"more than {MAX_LEFT_OUT} instances did not come (MAX_LEFT_OUT)")
            if left:
                missing[series_uid, _text(one, "00080060")] = left
        return missing

    def _outcome(self) -> Outcome:
        outcome = self._attempt.outcome() if self._attempt is not None else None
        if outcome is None:
            raise PeerError("the association ended without a final response", reason=2)
        if not self._received and outcome.status in _REFUSALS:
            raise RejectedError(
                f"the archive refused the retrieval with status {describe(outcome.status)}",
                status=outcome.status,
                log_detail=outcome.error_comment,
            )
        return outcome

    def _complete(self, outcome: Outcome) -> bool:
        if category(outcome.status) is not Category.SUCCESS or outcome.failed:
            return False
        if self.expectation.count is not None and len(self._received) < self.expectation.count:
            self.record.note(
                f"the archive reported success with {len(self._received)} of {self.expectation.count} instances"
            )
            return False
        return bool(self._received)

    def _admit(self, command: CStoreRQ, instance: Instance) -> Admission | Refusal:
        attempt = self._attempt
        if attempt is None:
            return Refusal(statuses.UNABLE_TO_PROCESS, "the retrieval has not begun")
        wrong = self._mismatch(instance)
        if wrong:
            violation = PeerError(f"the archive sent an object that was not asked for: {wrong}")
            attempt.instances.fail(violation)
            attempt.cancel(violation)
            return Refusal(statuses.NOT_AUTHORIZED, "this object was not asked for")
        if not attempt.instances.done:
            self._received.add(instance.sop_instance_uid)
            self.record.instances += 1
        return Admission(attempt.instances)

    def _mismatch(self, instance: Instance) -> str:
        retrieve = self.retrieve
        if instance.study_instance_uid != retrieve.study_instance_uid:
            return "another study, or none in its first 64 KB"
        if retrieve.series_instance_uid and instance.series_instance_uid != retrieve.series_instance_uid:
            return "another series, or none in its first 64 KB"
        if retrieve.sop_instance_uids and instance.sop_instance_uid not in retrieve.sop_instance_uids:
            return "another SOP instance"
        if instance.sop_instance_uid in self._received:
            return "a SOP instance that has come already"
        patient_id = instance.leading.get("PatientID", "")
        if self.expectation.patient_id and patient_id != self.expectation.patient_id:
            return "another patient"
        issuer = instance.leading.get("IssuerOfPatientID", "")
        if self.expectation.issuer_of_patient_id and issuer and issuer != self.expectation.issuer_of_patient_id:
            return "another issuer of the patient ID"
        return ""


BATCH = 500
"""SOP Instance UIDs in one identifier at most: 64 bytes each, so that it stays within one PDU."""

_REFUSALS = frozenset(
    (statuses.OUT_OF_RESOURCES, 0xA701, statuses.MOVE_DESTINATION_UNKNOWN, statuses.IDENTIFIER_DOES_NOT_MATCH)
)


def _return_keys(*tags: str) -> DataSet:
    return {tag: {"vr": _VR[tag]} for tag in tags}


_VR = {
    "00080016": "UI",
    "00080060": "CS",
    "00080061": "CS",
    "00080062": "UI",
    "00083002": "UI",
    "00100020": "LO",
    "00100021": "LO",
    "00201208": "IS",
    "00201209": "IS",
}


def _texts(row: Match, tag: str) -> tuple[str, ...]:
    return tuple(value for value in row.get(tag, {}).get("Value", ()) if isinstance(value, str) and value)


def _text(row: Match, tag: str) -> str:
    return next(iter(_texts(row, tag)), "")


def _number(row: Match, tag: str) -> int | None:
    for value in row.get(tag, {}).get("Value", ()):
        try:
            return int(value)
        except (TypeError, ValueError):
            return None
    return None
