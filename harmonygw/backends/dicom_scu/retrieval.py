"""A Retrieve by C-GET or C-MOVE: one association for all, further ones for what it left out, the count at the end.

A success status of the PACS is not proof. What the archive says it holds (a C-FIND before the retrieval) is held
against what arrived, and instances that no presentation context of the first association could carry are asked for
again with others. What is still missing then ends the stream with an error, never in silence.

Without bulk data is one more way to begin: what does not come in that way is retrieved whole.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from harmonygw import journal
from harmonygw.backends.dicom_scu import contexts
from harmonygw.backends.dicom_scu.expectation import BATCH, Expectation, Search, image_rows
from harmonygw.backends.dicom_scu.rows import asked, text, uids
from harmonygw.dicom.dataset.patient import OF_ANOTHER_PATIENT, Patient
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import CStoreRQ
from harmonygw.dicom.dimse.statuses import Category, category, describe
from harmonygw.errors import (
    BadRequest,
    Incomplete,
    NotAcceptable,
    NotFound,
    PeerError,
    RejectedError,
    TimedOut,
    TransportError,
)
from harmonygw.exchange import Record
from harmonygw.net.association.operations import Outcome
from harmonygw.net.association.receiving import Admission, Admit, Refusal
from harmonygw.operations import ANY_TRANSFER_SYNTAX, Find, Level, Retrieve
from harmonygw.streams import Feed, Instance, Match

MAX_LEFT_OUT = 20_000
"""Instances whose UIDs are gathered to find out which of a study did not come: beyond it the retrieval fails."""

MAX_ROUNDS = 64
"""Associations that one retrieval spends on what the first one left out: two and a half times the transfer syntaxes
that are tried alone. An archive that cannot send its objects must not be asked for each of them for ever."""

_REFUSALS = frozenset(
    (
        statuses.OUT_OF_RESOURCES,
        statuses.UNABLE_TO_CALCULATE_MATCHES,
        statuses.MOVE_DESTINATION_UNKNOWN,
        statuses.IDENTIFIER_DOES_NOT_MATCH,
        statuses.NOT_AUTHORIZED,
    )
)
"""Final statuses that another attempt with other presentation contexts does not change."""

_SUB_OPERATIONS_FAILED = (statuses.SUB_OPERATIONS_WARNING, statuses.UNABLE_TO_PERFORM_SUB_OPERATIONS)


@dataclass(slots=True)
class Attempt:
    """One C-GET or C-MOVE under way: its instances, and its outcome once they have ended."""

    instances: Feed[Instance]
    outcome: Callable[[], Outcome | None]
    cancel: Callable[[BaseException], None]
    contexts_are_ours: bool = True
    """Whether we propose the presentation contexts (C-GET); of a C-MOVE the archive does."""
    without_bulk_data: bool = False
    """Whether what comes lacks its bulk data (PS3.4 §Z.1.3)."""


class NotOfferedError(RejectedError):
    """The archive negotiated no retrieval of this kind; another kind may do."""


class NoContextError(NotAcceptable):
    """The archive accepted none of the storage presentation contexts that were proposed.

    `for_syntax` says that it knows a SOP class, and refused the transfer syntaxes.
    """

    def __init__(self, detail: str, *, for_syntax: bool) -> None:
        super().__init__(detail)
        self.for_syntax = for_syntax


ALWAYS_WHOLE = "the archive sends instances with their bulk data only"

Begin = Callable[[Retrieve, tuple[str, ...], tuple[str, ...], Admit, bool], Awaitable[Attempt]]
"""Begins an attempt for SOP classes and transfer syntaxes, on a fresh association when the last argument says so."""


@dataclass(slots=True)
class Retrieval:
    """One Retrieve, from its expectation to its last instance. Iterate `instances()`, once."""

    retrieve: Retrieve
    expectation: Expectation
    begin: Begin
    search: Search
    record: Record
    default_character_set: tuple[str, ...] = ("ISO_IR 6",)
    lossy_with_others: bool = False
    """Whether lossy transfer syntaxes are proposed together with the others (`lossy_contexts`)."""
    begin_without_bulk_data: Begin | None = None
    """Begins an attempt that brings instances by their UIDs and without their bulk data, when that is wanted."""
    forget: Callable[[], None] = lambda: None
    """Called when something that the archive says is not as it was remembered."""
    _received: set[str] = field(default_factory=set)
    _attempt: Attempt | None = None
    _no_context: NoContextError | None = None
    _patient: Patient | None = None
    _wanted: frozenset[str] = frozenset()
    _is_complete: bool = False

    async def instances(self) -> AsyncGenerator[Instance, None]:
        """Yield every instance, once; raises what went wrong, `Incomplete` when some are missing at the end."""
        expected = self.expectation
        self._patient = expected.patient if expected.patient.patient_id else None
        self._wanted = frozenset(self.retrieve.sop_instance_uids)
        try:
            for way in (self._without_bulk_data, self._first, self._rest):
                if way == self._first and self._received:
                    continue
                if way == self._first and not self.retrieve.whole_otherwise:
                    raise NotAcceptable(ALWAYS_WHOLE)
                async with aclosing(way()) as stream:
                    async for instance in stream:
                        yield instance
                if self._is_complete:
                    return
        except BadRequest as error:  # what the client asked has been encoded before
            violation = PeerError(f"the archive lists what cannot be asked for: {error.detail}")
            journal.alert(journal.Alert("hostile_bytes", violation.detail, self.record.target))
            raise violation from error

    async def _without_bulk_data(self) -> AsyncGenerator[Instance, None]:
        """Yield what the archive sends without bulk data, until it fails: asked for by UIDs (PS3.4 §Z.4.2.1.3.1)."""
        begin = self.begin_without_bulk_data
        if begin is None:
            return
        # Without pixels there is nothing to compress, so that no transfer syntax tempts anybody.
        syntaxes = contexts.first_choice(self.retrieve.transfer_syntaxes, with_lossy=True)
        try:
            for part, classes in await self._listed():
                async with aclosing(self._run(part, classes, syntaxes, begin)) as stream:
                    async for instance in stream:
                        yield instance
                if not self._complete(part):
                    return
        except (NotOfferedError, NoContextError):
            return
        except (RejectedError, TransportError, TimedOut, Incomplete) as error:
            if self._received:
                raise
            self.record.note(f"not retrieved without bulk data: {error.detail}")
            return
        self._is_complete = 0 < len(self._received) >= (self.expectation.count or 0)

    async def _listed(self) -> list[tuple[Retrieve, tuple[str, ...]]]:
        """Return what is wanted as lists of instances, each with its SOP classes."""
        if self.retrieve.level is Level.IMAGE:
            return [(part, self._classes()) for part in self._parts()]
        listed = []
        for (series_uid, modality), rows in (await self._missing()).items():
            known = tuple(dict.fromkeys(uid for row in rows if (uid := text(row, "00080016"))))
            classes = known or contexts.likely_classes((modality,))
            instances = [text(row, "00080018") for row in rows]
            listed += [(part, classes) for part in self._batches(series_uid, instances)]
        return listed

    async def _first(self) -> AsyncGenerator[Instance, None]:
        """Yield what comes in transfer syntaxes that tempt no archive to compress."""
        self._attempt = None
        first = contexts.first_choice(self.retrieve.transfer_syntaxes, with_lossy=self.lossy_with_others)
        first = tuple(dict.fromkeys((*self._as_stored(), *first)))
        if not first:
            return
        for part in self._parts():
            async with aclosing(self._offer(part, self._classes(), first)) as stream:
                async for instance in stream:
                    yield instance
            if not self._complete(part):
                return
        self._is_complete = True

    def _classes(self) -> tuple[str, ...]:
        return self.expectation.classes or contexts.likely_classes(self.expectation.modalities)

    def _parts(self) -> list[Retrieve]:
        """Return what is asked for at first, with no more UIDs in one identifier than a batch, in their order."""
        if self.retrieve.level is not Level.IMAGE:
            return [self.retrieve]
        wanted = self.expectation.instances or self.retrieve.sop_instance_uids
        return self._batches(self.retrieve.series_instance_uid, wanted)

    def _batches(self, series_uid: str, instances: Sequence[str]) -> list[Retrieve]:
        one = replace(self.retrieve, level=Level.IMAGE, series_instance_uid=series_uid)
        return [
            replace(one, sop_instance_uids=tuple(instances[start : start + BATCH]))
            for start in range(0, len(instances), BATCH)
        ]

    def _as_stored(self) -> tuple[str, ...]:
        # The archive told how it holds this instance: the very syntax cannot tempt it to recompress.
        accepted = self.retrieve.transfer_syntaxes
        anything = ANY_TRANSFER_SYNTAX in accepted
        return tuple(uid for uid in self.expectation.transfer_syntaxes if anything or uid in accepted)

    async def _offer(
        self, retrieve: Retrieve, classes: tuple[str, ...], transfer_syntaxes: tuple[str, ...]
    ) -> AsyncGenerator[Instance, None]:
        """Yield what comes in these classes and syntaxes: nothing when the archive accepts none of them."""
        try:
            async with aclosing(self._run(retrieve, classes, transfer_syntaxes, self.begin)) as stream:
                async for instance in stream:
                    yield instance
        except NoContextError as refusal:
            if self._no_context is None or refusal.for_syntax > self._no_context.for_syntax:
                self._no_context = refusal

    async def _run(
        self, retrieve: Retrieve, classes: tuple[str, ...], transfer_syntaxes: tuple[str, ...], begin: Begin
    ) -> AsyncGenerator[Instance, None]:
        before = len(self._received)
        for fresh in (False, True):
            attempt = self._attempt = await begin(retrieve, classes, transfer_syntaxes, self._admit, fresh)
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
        if not self._received and not self.expectation.is_listed:
            self._judge_unlisted(missing)
        if missing:
            self.forget()
            self.record.note(f"{sum(map(len, missing.values()))} instances were left out by the first association")
        rounds = 0
        for (series_uid, modality), rows in missing.items():
            for start in range(0, len(rows), BATCH):
                part = rows[start : start + BATCH]
                known = tuple(dict.fromkeys(uid for row in part if (uid := text(row, "00080016"))))
                for classes, syntaxes in contexts.rounds(known, modality, self.retrieve.transfer_syntaxes):
                    left = tuple(text(row, "00080018") for row in part if self._lacks(row))
                    if not left or rounds == MAX_ROUNDS:
                        break
                    rounds += 1
                    one = replace(
                        self.retrieve, level=Level.IMAGE, series_instance_uid=series_uid, sop_instance_uids=left
                    )
                    async with aclosing(self._offer(one, classes, syntaxes)) as stream:
                        async for instance in stream:
                            yield instance
                    if self._attempt is not None and not self._attempt.contexts_are_ours:
                        break
        still = [row for rows in missing.values() for row in rows if self._lacks(row)]
        if still or not self._received:
            self._fail(still)
        self._is_complete = True

    async def _missing(self) -> dict[tuple[str, str], list[Match]]:
        """Enumerate the instances that should have come and did not, by series and its modality."""
        keys = self.expectation.study_keys
        if self.retrieve.series_instance_uid:
            keys = {**keys, **uids("0020000E", self.retrieve.series_instance_uid)}
        series = await self.search(Find(Level.SERIES, keys, asked("00080060")))
        wanted = tuple(uid for uid in self.retrieve.sop_instance_uids if uid not in self._received)
        if self.retrieve.sop_instance_uids and not wanted:
            return {}
        missing: dict[tuple[str, str], list[Match]] = {}
        total = 0
        for one in series:
            series_uid = text(one, "0020000E")
            keys = {**keys, **uids("0020000E", series_uid)}
            rows = await image_rows(self.search, keys, sop_instance_uids=wanted)
            left = [row for row in rows if self._lacks(row)]
            total += len(left)
            if total > MAX_LEFT_OUT:
                raise Incomplete(f"more than {MAX_LEFT_OUT} instances did not come (MAX_LEFT_OUT)")
            if left:
                missing[series_uid, text(one, "00080060")] = left
        return missing

    def _lacks(self, row: Match) -> bool:
        return text(row, "00080018") not in self._received

    # Judging

    def _outcome(self) -> Outcome:
        outcome = self._attempt.outcome() if self._attempt is not None else None
        if outcome is None:
            raise PeerError("the association ended without a final response", reason=2)
        if self.expectation.is_listed:
            self._raise_refusal(outcome)
        return outcome

    def _raise_refusal(self, outcome: Outcome) -> None:
        if not self._received and outcome.status in _REFUSALS:
            raise RejectedError(
                f"the archive refused the retrieval with status {describe(outcome.status)}",
                status=outcome.status,
                log_detail=outcome.error_comment,
            )

    def _judge_unlisted(self, missing: Mapping[tuple[str, str], list[Match]]) -> None:
        """Say why nothing came of what was asked for in good faith, when the archive does not list it either."""
        if not missing:
            raise NotFound("there is no such instance in the series")
        outcome = self._attempt.outcome() if self._attempt is not None else None
        if outcome is not None:
            self._raise_refusal(outcome)

    def _complete(self, part: Retrieve) -> bool:
        """Whether all of what an attempt asked for has come, by the archive's word and by the count."""
        if self._attempt is None:
            return False
        outcome = self._outcome()
        if category(outcome.status) is not Category.SUCCESS or outcome.failed:
            return False
        expected, received = self.expectation.count, len(self._received)
        if part.sop_instance_uids:
            expected, received = len(part.sop_instance_uids), len(self._received.intersection(part.sop_instance_uids))
        if expected is not None and received < expected:
            self.record.note(f"the archive reported success with {received} of {expected} instances")
            return False
        return bool(self._received)

    def _fail(self, still: list[Match]) -> None:
        """Raise what describes best why instances are missing."""
        outcome = self._attempt.outcome() if self._attempt is not None else None
        status = outcome.status if outcome is not None else None
        said = f" (the archive's final status: {describe(status)})" if status is not None else ""
        if self._received:
            raise Incomplete(
                f"{len(still)} of {len(still) + len(self._received)} instances did not come{said}",
                missing=tuple(text(row, "00080018") for row in still),
                log_detail=", ".join(text(row, "00080018") for row in still[:10]),
            )
        if self._syntax_is_why(outcome):
            classes = " or ".join(sorted({text(row, "00080016") for row in still} - {""})) or "not told"
            named = " or ".join(self.retrieve.transfer_syntaxes)
            raise NotAcceptable(f"the archive sends these objects (SOP class {classes}) in none of {named}{said}")
        if outcome is None and self._no_context is not None:
            raise RejectedError(self._no_context.detail, status=statuses.SOP_CLASS_NOT_SUPPORTED)
        raise RejectedError(f"the archive sent nothing of what it lists{said}", status=status)

    def _syntax_is_why(self, outcome: Outcome | None) -> bool:
        if ANY_TRANSFER_SYNTAX in self.retrieve.transfer_syntaxes:
            return False
        if self._attempt is None:
            return self._no_context is not None and self._no_context.for_syntax
        if outcome is None or not self._attempt.contexts_are_ours:
            return False
        return bool(outcome.failed) or outcome.status in _SUB_OPERATIONS_FAILED

    def _admit(self, command: CStoreRQ, instance: Instance) -> Admission | Refusal:
        attempt = self._attempt
        if attempt is None:
            return Refusal(statuses.UNABLE_TO_PROCESS, "the retrieval has not begun")
        wrong = self._mismatch(instance)
        if wrong:
            violation = PeerError(
                f"the archive sent an object that was not asked for: {wrong}",
                log_detail=f"SOP Instance UID {instance.sop_instance_uid}",
            )
            kind = "patients_differ" if wrong in OF_ANOTHER_PATIENT else "unsolicited_object"
            sentence = f"{violation.detail} ({violation.log_detail})"
            journal.alert(journal.Alert(kind, sentence, instance.source_ae_title))
            attempt.instances.fail(violation)
            attempt.cancel(violation)
            return Refusal(statuses.NOT_AUTHORIZED, "this object was not asked for")
        instance.default_character_set = self.default_character_set
        instance.without_bulk_data = attempt.without_bulk_data
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
        if self._wanted and instance.sop_instance_uid not in self._wanted:
            return "another SOP instance"
        if instance.sop_instance_uid in self._received:
            return "a SOP instance that has come already"
        patient = Patient.of_instance(instance.leading, self.default_character_set)
        if self._patient is None:
            self._patient = patient  # the archive did not say whose it is: all must be of one patient
        return self._patient.difference(patient)
