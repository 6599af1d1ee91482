"""The instances of a Store request on their way to the archive, and what is refused before it gets there.

Each flows as it comes. Its leading attributes are read before its first byte goes on, and its last byte goes on when
the request has said that it was the last: what is cut short ends in an error, and the archive never has it whole.
"""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from harmonygw.dicom.dataset.completeness import Completeness
from harmonygw.dicom.dataset.header_scan import HEADER_SCAN_LIMIT
from harmonygw.dicom.dataset.part10_reading import Part10Reading
from harmonygw.dicom.dimse.statuses import (
    CANNOT_UNDERSTAND,
    DATA_SET_DOES_NOT_MATCH,
    PROCESSING_FAILURE,
    Category,
    category,
)
from harmonygw.dicom.web.store_media_types import PartKind, StoreForm
from harmonygw.errors import BadRequest, HarmonyError, PeerError, TooLarge
from harmonygw.middleware.dicomweb_bridge.storing_metadata import DataSetError, Metadata
from harmonygw.middleware.dicomweb_bridge.storing_parts import IncomingPart, PartsReader
from harmonygw.middleware.dicomweb_bridge.storing_report import Report
from harmonygw.operations import StoreResult
from harmonygw.streams import Cancelled, Instance, Pieces, Stream

ANOTHER_STUDY: Final = 0xA901
"""Failure Reason of an instance of another study than that of the request's URL: one of A9xx (PS3.18 Table I.2-2)."""


class SentDataSet:
    """A data set on its way, which knows whether all of it went."""

    def __init__(self, source: Stream[Pieces]) -> None:
        self._source = source
        self.ended = False
        """Whether it was read to its end."""
        self.error: HarmonyError | None = None
        """What ended it before."""
        self._given_up = False

    def __aiter__(self) -> "SentDataSet":
        return self

    async def __anext__(self) -> Pieces:
        if self._given_up:
            raise Cancelled("the data set was given up")
        try:
            return await self._source.__anext__()
        except StopAsyncIteration:
            self.ended = True
            raise
        except HarmonyError as error:
            self.error = error
            raise

    async def aclose(self) -> None:
        """Give it up; what is left of it is dropped with the next instance."""
        self._given_up = not self.ended
        await self._source.aclose()


class Instances:
    """An `InstanceStream` for the archive. Giving it up ends nothing here: the rest of the request has a say too."""

    def __init__(self, parts: PartsReader, form: StoreForm, metadata: Metadata, report: Report, study: str) -> None:
        self._parts = parts
        self._form = form
        self._metadata = metadata
        self._report = report
        self._study = study
        self._coming = self._instances()
        self._sent: deque[tuple[Instance, SentDataSet]] = deque()
        """Those that the archive has been given, and has not answered for."""
        self.unreadable: BadRequest | None = None
        """What is wrong with metadata that could not be read."""

    def __aiter__(self) -> "Instances":
        return self

    async def __anext__(self) -> Instance:
        instance = await self._coming.__anext__()
        data_set = instance.data_set = SentDataSet(instance.data_set)
        self._sent.append((instance, data_set))
        return instance

    async def aclose(self) -> None:
        """Do nothing: see `close`."""

    async def close(self) -> None:
        """Give up what is left."""
        await self._coming.aclose()
        self._metadata.close()

    # What the archive says

    async def answered(self, result: StoreResult) -> None:
        """Note what became of the instance whose turn it is; raises `PeerError` when it is nobody's turn."""
        if not self._sent:
            raise PeerError("the archive answered for an instance that it was not given")
        instance, data_set = self._sent.popleft()
        status, detail = result.status, result.detail
        if result.sop_instance_uid != instance.sop_instance_uid:
            raise PeerError("the archive answered for instances in another order than it was given them")
        if data_set.error is not None:
            status, detail = CANNOT_UNDERSTAND, data_set.error.detail
        elif category(status) in (Category.SUCCESS, Category.WARNING) and not data_set.ended:
            status, detail = PROCESSING_FAILURE, "the archive answered before it had the whole instance"
        self._report.note(instance, status, detail)
        await self._report.settle()

    async def fail_the_rest(self, detail: str) -> None:
        """Note as not stored whatever the archive has not answered for, and what has not come yet.

        Raises what breaks the request off.
        """
        while True:
            while self._sent:
                instance, data_set = self._sent.popleft()
                await data_set.aclose()
                self._report.note(instance, PROCESSING_FAILURE, detail)
            await self._report.settle()
            try:
                await self.__anext__()
            except StopAsyncIteration:
                return

    # What arrives

    async def _instances(self) -> AsyncGenerator[Instance, None]:
        while (part := await self._next_part()) is not None:
            if self._report.is_full:
                self._report.cut_short = True
                return
            kind = self._form.kind_of(part.content_type)
            if kind is PartKind.INSTANCE:
                instance = await self._part10(part)
                if instance is not None:
                    yield instance
            elif kind is None:
                self._report.note_failure(CANNOT_UNDERSTAND, f"a part is of {str(part.content_type)[:80]!r}")
            else:
                await self._gather(part, kind)
            await self._report.settle()
        async with aclosing(self._joined()) as joined:
            async for instance in joined:
                yield instance
                await self._report.settle()
        for _ in range(self._metadata.unused):
            self._report.note_failure(CANNOT_UNDERSTAND, "no metadata refers to a part with bulk data")

    async def _next_part(self) -> IncomingPart | None:
        try:
            return await self._parts.next_part()
        except BadRequest as error:
            if self._parts.malformed is not error:
                raise
            if not self._parts.is_within_part:
                self._report.note_failure(CANNOT_UNDERSTAND, error.detail)
            return None

    async def _gather(self, part: IncomingPart, kind: PartKind) -> None:
        try:
            if kind is PartKind.BULK_DATA:
                await self._metadata.take_bulk_data(part)
            else:
                await self._metadata.take(part, kind)
        except TooLarge as error:
            raise self._parts.break_off(error) from None
        except (BadRequest, PeerError) as error:
            if self._parts.broken is not None:
                raise
            self._report.note_failure(CANNOT_UNDERSTAND, error.detail)

    async def _part10(self, part: IncomingPart) -> Instance | None:
        """Return the instance of a part once it is identified; None when it is refused, which is noted then."""
        reading = Part10Reading()
        try:
            async for pieces in part:
                for piece in pieces:
                    if reading.identified:
                        reading.data_set.append(piece)
                    else:
                        reading.feed(piece)
                if reading.identified:
                    break
            else:
                reading.end()
        except (BadRequest, PeerError) as error:
            if self._parts.broken is not None:
                raise
            self._refuse(reading, CANNOT_UNDERSTAND, error.detail)
            return None
        values = reading.values
        missing = [keyword for keyword in _UIDS if not values.get(keyword)]
        if missing or reading.claims_another_class:
            detail = "the file meta information names another SOP class than the data set"
            if missing:
                detail = f"{' and '.join(missing)} cannot be found in the first {HEADER_SCAN_LIMIT} bytes of a data set"
            self._refuse(reading, DATA_SET_DOES_NOT_MATCH, detail)
            return None
        if reading.claims_another_instance:
            self._report.remark("the file meta information names another SOP instance than the data set, which counts")
        instance = Instance(
            values["SOPClassUID"],
            values["SOPInstanceUID"],
            reading.transfer_syntax_uid,
            _rest_of(reading, part),
            study_instance_uid=values["StudyInstanceUID"],
            series_instance_uid=values["SeriesInstanceUID"],
            leading=values,
        )
        return instance if self._is_wanted(instance) else None

    def _refuse(self, reading: Part10Reading, reason: int, detail: str) -> None:
        self._report.note_failure(reason, detail, *reading.identity)

    def _is_wanted(self, instance: Instance) -> bool:
        """Whether it is of the study that the URL names, if any; if not, that is noted."""
        if self._study in ("", instance.study_instance_uid):
            return True
        detail = "an instance is of another study than the URL names"
        self._report.note_failure(ANOTHER_STUDY, detail, instance.sop_class_uid, instance.sop_instance_uid)
        return False

    async def _joined(self) -> AsyncGenerator[Instance, None]:
        """Yield the instances whose metadata came apart from their bulk data."""
        for data_set in self._metadata.data_sets():
            if isinstance(data_set, BadRequest):
                self.unreadable = data_set
                self._report.note_failure(CANNOT_UNDERSTAND, data_set.detail)
                continue
            try:
                instance = await self._metadata.instance(data_set)
            except DataSetError as error:
                self._report.note_failure(CANNOT_UNDERSTAND, error.detail, error.sop_class_uid, error.sop_instance_uid)
                continue
            if self._is_wanted(instance):
                yield instance


_UIDS: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


async def _rest_of(reading: Part10Reading, part: IncomingPart) -> AsyncGenerator[Pieces, None]:
    """Yield a data set, what was read of it first; raises `PeerError` when it ends within an element."""
    completeness = Completeness(reading.transfer_syntax_uid)
    beginning = reading.data_set
    completeness.feed(beginning)
    yield beginning
    async for pieces in part:
        completeness.feed(pieces)
        yield pieces
    completeness.finish()
