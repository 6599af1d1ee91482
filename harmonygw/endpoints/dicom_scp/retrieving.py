"""C-GET and C-MOVE: a retrieval from the pipeline, an instance of it a C-STORE sub-operation (PS3.4 §C.4.2, §C.4.3)."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import ClassVar, Final

from twisted.internet.defer import CancelledError

from harmonygw.dicom.dimse.commands import CGetRQ, CGetRSP, CMoveRQ, CMoveRSP
from harmonygw.dicom.dimse.statuses import (
    CANCEL,
    MOVE_DESTINATION_UNKNOWN,
    PENDING,
    PROCESSING_FAILURE,
    SUB_OPERATIONS_WARNING,
    SUCCESS,
    UNABLE_TO_PERFORM_SUB_OPERATIONS,
    Category,
    category,
    describe,
)
from harmonygw.dicom.upperlayer.negotiation import AcceptedContext
from harmonygw.dicom.web.attributes import UNIQUE_KEYS
from harmonygw.endpoints.dicom_scp.delivery import Delivery
from harmonygw.endpoints.dicom_scp.exchange import Circumstances, Exchange
from harmonygw.endpoints.dicom_scp.identifiers import (
    MAX_FAILED_UIDS,
    Selection,
    decode_identifier,
    failed_list,
)
from harmonygw.endpoints.dicom_scp.offer import MODELS
from harmonygw.endpoints.dicom_scp.statuses import Service
from harmonygw.errors import HarmonyError, Incomplete, NotAcceptable, NotFound, PeerError, RejectedError, TooLarge
from harmonygw.operations import Find, Level, Matches, Move, MoveResult, Retrieve
from harmonygw.streams import Instance, InstanceStream, Match

PATIENT_ID: Final = UNIQUE_KEYS[Level.PATIENT]
STUDY_INSTANCE_UID: Final = UNIQUE_KEYS[Level.STUDY]
STUDY_INSTANCES: Final = "00201208"
"""Number of Study Related Instances."""
SERIES_INSTANCES: Final = "00201209"
"""Number of Series Related Instances."""

MAX_NUMBER: Final = 65_535
"""The greatest number of sub-operations that a response can say: its VR is US."""

MAX_ROWS: Final = 10_000
"""Rows of the query that prepares a retrieval: more studies than a patient ever had."""


@dataclass(slots=True)
class Tally:
    """How many sub-operations have become what (PS3.7 §9.1.3.1)."""

    expected: int | None = None
    """How many there will be, when the archive says so."""
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)

    @property
    def remaining(self) -> int | None:
        """How many are to come, or None."""
        if self.expected is None:
            return None
        return max(0, self.expected - self.completed - self.failed - self.warning)

    def count(self, sop_instance_uid: str, kind: Category) -> None:
        """Count a sub-operation that has ended."""
        if kind is Category.SUCCESS:
            self.completed += 1
        elif kind is Category.WARNING:
            self.warning += 1
        else:
            self.failed += 1
            if len(self.failed_uids) < MAX_FAILED_UIDS:
                self.failed_uids.append(sop_instance_uid)

    def left_out(self, sop_instance_uids: Iterable[str] = ()) -> None:
        """Count what remains as failed, because nothing more comes; name those that are known by name."""
        for uid in sop_instance_uids:
            self.count(uid, Category.FAILURE)
        self.failed += self.remaining or 0

    def add(self, counts: Mapping[str, object]) -> None:
        """Count sub-operations that the archive carried out, as far as it told: by `completed`, `failed`, `warning`,
        and the `failed_sop_instance_uids`."""
        for name in ("completed", "failed", "warning"):
            number = counts.get(name)
            if isinstance(number, int):
                setattr(self, name, getattr(self, name) + number)
        uids = counts.get("failed_sop_instance_uids")
        if isinstance(uids, list):
            self.failed_uids += uids[: MAX_FAILED_UIDS - len(self.failed_uids)]

    @property
    def status(self) -> int:
        """The final status of a retrieval of which nothing is left out."""
        if not self.failed and not self.warning:
            return SUCCESS
        return SUB_OPERATIONS_WARNING if self.completed or self.warning else UNABLE_TO_PERFORM_SUB_OPERATIONS


class RetrieveExchange(Exchange[CGetRQ | CMoveRQ]):
    """A C-GET or C-MOVE being served; without a `delivery` there is nobody to send to."""

    service = Service.RETRIEVE
    response: ClassVar[type[CGetRSP | CMoveRSP]]
    nobody: ClassVar[tuple[str, int]]
    """Why nothing can be sent without a delivery: a sentence, and the status."""

    def __init__(
        self,
        circumstances: Circumstances,
        context: AcceptedContext,
        command: CGetRQ | CMoveRQ,
        on_end: Callable[[], None],
        *,
        identifier: memoryview,
        delivery: Delivery | None,
    ) -> None:
        super().__init__(circumstances, context, command, on_end)
        self._identifier = identifier
        self._delivery = delivery
        self._tally = Tally()
        self._listed: dict[str, None] = {}
        """Instances that were asked for one by one, and not sent yet."""
        self._missing: list[Incomplete] = []
        """What the archive says of instances that it could not send."""

    @property
    def broken_by(self) -> HarmonyError | None:
        """Why the association cannot go on, once it cannot: half an instance is on it."""
        return self._delivery.broken_by if self._delivery is not None else None

    async def carry_out(self) -> int:
        """Send each instance by a sub-operation, and a pending response after each."""
        identifier = decode_identifier(self._identifier, self.context.transfer_syntax)
        selection = Selection.of(identifier, MODELS[self.context.abstract_syntax])
        delivery = self._delivery
        if delivery is None:
            detail, status = self.nobody
            raise RejectedError(detail, status=status)
        try:
            for operation in await self._plan(selection, delivery.transfer_syntaxes):
                await self._retrieve(operation, delivery)
                if self.cancelled:
                    return CANCEL
            self._count_missing()
        except CancelledError:
            raise
        except Exception:
            self._tally.left_out(self._listed)
            raise
        finally:
            delivery.close()
            self.size = delivery.size
            self.request.record.instances = self._tally.completed + self._tally.warning
        return self._tally.status

    def respond(self, status: int, comment: str) -> None:
        """Send the final response, with a list of what failed (PS3.4 §C.4.2.1.4.2)."""
        failed = self._tally.failed_uids
        listed = failed_list(failed, self.context.transfer_syntax) if failed and status != SUCCESS else None
        self._send_response(status, listed, comment)

    def _send_response(self, status: int, listed: bytes | None = None, comment: str = "") -> None:
        tally = self._tally
        self.send(
            self.response(
                self.command.message_id,
                self.command.affected_sop_class_uid,
                status,
                has_data_set=listed is not None,
                remaining=_number(tally.remaining) if status in (PENDING, CANCEL) else None,
                completed=_number(tally.completed),
                failed=_number(tally.failed),
                warning=_number(tally.warning),
                error_comment=comment,
            ),
            listed,
        )

    # What is retrieved

    async def _plan(self, selection: Selection, transfer_syntaxes: tuple[str, ...]) -> list[Retrieve]:
        studies = selection.studies
        if selection.patient_id:
            studies, self._tally.expected = await self._studies(selection)
        if selection.level is Level.IMAGE:
            self._listed = dict.fromkeys(selection.instances)
            self._tally.expected = len(selection.instances)
        elif studies and (selection.level is Level.SERIES or not selection.patient_id):
            self._tally.expected = await self._count(selection)
        return list(selection.operations(studies, transfer_syntaxes))

    async def _studies(self, selection: Selection) -> tuple[tuple[str, ...], int | None]:
        """Ask for the studies of a patient, all or those that are named, and how many instances they have.

        An archive that is asked in Study Root hands out a study whatever patient it was asked for with.
        """
        keys = {PATIENT_ID: {"vr": "LO", "Value": [selection.patient_id]}}
        return_keys = {STUDY_INSTANCES: {"vr": "IS"}}
        if selection.studies:
            keys[STUDY_INSTANCE_UID] = {"vr": "UI", "Value": list(selection.studies)}
        else:
            return_keys[STUDY_INSTANCE_UID] = {"vr": "UI"}
        rows = [
            row
            for row in await self._rows(Find(Level.STUDY, keys, return_keys))
            if _value(row, PATIENT_ID) == selection.patient_id
        ]
        found = tuple(dict.fromkeys(str(_value(row, STUDY_INSTANCE_UID)) for row in rows))
        if selection.studies:
            found = tuple(uid for uid in selection.studies if uid in found)
            if len(found) < len(selection.studies):
                self.request.record.note("the archive has some of the studies under no such patient")
        return found, _sum(rows, STUDY_INSTANCES)

    async def _count(self, selection: Selection) -> int | None:
        """Ask how many instances there are: the responses can say then how many remain."""
        uids, number = {
            Level.STUDY: (selection.studies, STUDY_INSTANCES),
            Level.SERIES: (selection.series, SERIES_INSTANCES),
        }[selection.level]
        keys = {STUDY_INSTANCE_UID: {"vr": "UI", "Value": list(selection.studies)}}
        if selection.series:
            keys[UNIQUE_KEYS[Level.SERIES]] = {"vr": "UI", "Value": list(selection.series)}
        if selection.patient_id:
            keys[PATIENT_ID] = {"vr": "LO", "Value": [selection.patient_id]}
        try:
            rows = await self._rows(Find(selection.level, keys, {number: {"vr": "IS"}}))
        except CancelledError:
            raise
        except HarmonyError:
            return None
        return _sum(rows, number) if len(rows) == len(uids) else None

    async def _rows(self, query: Find) -> list[Match]:
        rows: list[Match] = []
        matches: Matches = await self.ask(query, aside=True)
        async with aclosing(matches):
            async for match in matches:
                if len(rows) >= MAX_ROWS:
                    raise TooLarge(f"a retrieval of more than {MAX_ROWS} studies or series (MAX_ROWS)")
                rows.append(match)
        return rows

    # What is sent

    async def _retrieve(self, operation: Retrieve, delivery: Delivery) -> None:
        try:
            async with aclosing(await self.ask(operation)) as instances:
                await self._send_all(operation, instances, delivery)
        except NotFound:
            self.request.record.note("the archive has nothing under some of the unique keys")
        except Incomplete as error:
            if delivery.broken_by is not None:
                raise
            self.warn(error.detail)
            self._missing.append(error)

    def _count_missing(self) -> None:
        """Count what did not come as failed. A study is what the archive sends of it, unless that says more."""
        if self._listed:
            self.warn(f"{len(self._listed)} of the instances asked for did not come")
            self._tally.left_out(self._listed)
        elif self._missing:
            self._tally.left_out(uid for error in self._missing for uid in error.missing)
            self._tally.failed = max(1, self._tally.failed)

    async def _send_all(self, operation: Retrieve, instances: InstanceStream, delivery: Delivery) -> None:
        stream = aiter(instances)
        while not self.cancelled:
            try:
                instance = await anext(stream)
            except StopAsyncIteration:
                return
            if instance.study_instance_uid not in ("", operation.study_instance_uid):
                raise PeerError("the archive sent an instance of another study", log_detail=instance.study_instance_uid)
            self.may_interrupt = False
            await self._sub_operation(instance, delivery)
            self._send_response(PENDING)
            self.may_interrupt = True

    async def _sub_operation(self, instance: Instance, delivery: Delivery) -> None:
        record = self.request.record
        try:
            status = await delivery.store(instance)
        except CancelledError:
            raise
        except HarmonyError as error:
            if delivery.broken_by is not None:
                raise
            if delivery.unreachable:
                raise RejectedError(
                    f"the move destination: {error.detail}", status=UNABLE_TO_PERFORM_SUB_OPERATIONS
                ) from error
            record.note(error.detail)
            status = PROCESSING_FAILURE
        if category(status) not in (Category.SUCCESS, Category.WARNING):
            key = (instance.study_instance_uid, instance.sop_class_uid)
            record.not_taken[key] = record.not_taken.get(key, 0) + 1
        if category(status) is not Category.SUCCESS:
            record.note(f"a sub-operation ended with {describe(status)}")
        self._listed.pop(instance.sop_instance_uid, None)
        self._tally.count(instance.sop_instance_uid, category(status))


class GetExchange(RetrieveExchange):
    """A C-GET being served."""

    name = "C-GET"
    response = CGetRSP
    nobody = (
        "no storage SOP class was negotiated with the SCP role (PS3.7 D.3.3.4)",
        UNABLE_TO_PERFORM_SUB_OPERATIONS,
    )

    def is_of(self, sop_class_uid: str) -> bool:
        """Whether it is the GET of an information model."""
        model = MODELS.get(sop_class_uid)
        return model is not None and model.get == sop_class_uid


class MoveExchange(RetrieveExchange):
    """A C-MOVE being served. Without a `delivery` it may be passed on: then the archive sends, to whom it knows."""

    name = "C-MOVE"
    response = CMoveRSP
    nobody = ("the move destination is not known here", MOVE_DESTINATION_UNKNOWN)

    def __init__(
        self,
        circumstances: Circumstances,
        context: AcceptedContext,
        command: CMoveRQ,
        on_end: Callable[[], None],
        *,
        identifier: memoryview,
        delivery: Delivery | None,
        passed_on: bool,
    ) -> None:
        super().__init__(circumstances, context, command, on_end, identifier=identifier, delivery=delivery)
        self._move_destination = command.move_destination
        self.request.record.destination = command.move_destination
        self._passed_on = passed_on

    async def carry_out(self) -> int:
        """Send each instance by a sub-operation; or have the archive send them, and count what it counts."""
        if self._delivery is not None or not self._passed_on:
            return await super().carry_out()
        selection = Selection.of(
            decode_identifier(self._identifier, self.context.transfer_syntax), MODELS[self.context.abstract_syntax]
        )
        studies = selection.studies
        if selection.patient_id:
            studies, self._tally.expected = await self._studies(selection)
        for operation in selection.operations(studies, ()):
            await self._move(operation)
        return self._tally.status

    async def _move(self, operation: Retrieve) -> None:
        move = Move(
            operation.level,
            operation.study_instance_uid,
            self._move_destination,
            operation.series_instance_uid,
            operation.sop_instance_uids,
            operation.patient_id,
        )
        try:
            result: MoveResult = await self.ask(move)
        except NotFound:
            self.request.record.note("the archive has nothing under some of the unique keys")
        except NotAcceptable as error:
            detail, status = self.nobody
            raise RejectedError(detail, status=status, log_detail=error.detail) from error
        except RejectedError as error:
            self._tally.add(error.members)
            if error.status is None or category(error.status) is Category.FAILURE or not self._tally.failed:
                raise
            self.warn(error.detail)
        else:
            self._tally.add({"completed": result.completed, "warning": result.warning})

    def is_of(self, sop_class_uid: str) -> bool:
        """Whether it is the MOVE of an information model."""
        model = MODELS.get(sop_class_uid)
        return model is not None and model.move == sop_class_uid


def _number(count: int | None) -> int | None:
    return None if count is None else min(count, MAX_NUMBER)


def _value(row: Match, tag: str) -> object:
    return next(iter(row.get(tag, {}).get("Value") or ("",)))


def _sum(rows: list[Match], tag: str) -> int | None:
    """Return the sum of a number over all rows, None when one lacks it."""
    total = 0
    for row in rows:
        number = _value(row, tag)
        if not isinstance(number, int):
            return None
        total += number
    return total
