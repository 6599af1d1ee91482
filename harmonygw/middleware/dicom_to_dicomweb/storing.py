"""Store to Store (PS3.18 §10.5): each instance in a request of its own, streamed while it comes.

So what becomes of one is said of one: the response names the instance, or it is not stored. Nothing else counts as
success, not HTTP 200 by itself: a proxy's page has that too.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

from twisted.internet.defer import CancelledError

from harmonygw.dicom.dataset.conversion import Conversion
from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.dicom.dataset.transfer_syntaxes import travelling
from harmonygw.dicom.dimse.statuses import PROCESSING_FAILURE, SUCCESS, Category, category, describe
from harmonygw.dicom.web import multipart
from harmonygw.dicom.web.store_response import Section
from harmonygw.errors import HarmonyError, PeerError
from harmonygw.exchange import Reply
from harmonygw.middleware.dicom_to_dicomweb.origin import ACCEPT_JSON, Origin, discard, document, refusal
from harmonygw.operations import Store, StoreResult
from harmonygw.streams import Body, Instance, Pieces

_STORED: Final = (200, 202)
_NONE_STORED: Final = 409
_PATH: Final = ("studies",)

_SOP_INSTANCE_UID: Final = "00081155"
_WARNING_REASON: Final = "00081196"
_FAILURE_REASON: Final = "00081197"


class Results:
    """What becomes of the instances of a Store, in their order."""

    def __init__(self, origin: Origin, store: Store) -> None:
        self._origin = origin
        self._instances = store.instances
        self._results = self._each()

    def __aiter__(self) -> "Results":
        return self

    async def __anext__(self) -> StoreResult:
        return await self._results.__anext__()

    async def aclose(self) -> None:
        """Give up what is not stored yet."""
        async with aclosing(self._instances):
            await self._results.aclose()

    async def _each(self) -> AsyncGenerator[StoreResult, None]:
        async with aclosing(self._instances):
            async for instance in self._instances:
                yield await self._store(instance)

    async def _store(self, instance: Instance) -> StoreResult:
        """Store one instance; raises what an HTTP status means that says nothing of it, and what the backend raises."""
        boundary = multipart.boundary()
        file = _Part(instance, boundary)
        body = Body(file)
        try:
            reply = await self._origin.ask(
                _PATH,
                method="POST",
                accept=ACCEPT_JSON,
                headers={"content-type": multipart.content_type(boundary)},
                body=body,
            )
        except CancelledError:
            raise
        except HarmonyError:
            # An instance that broke off is why its request did, and says more of it.
            if file.failure is not None:
                raise file.failure from None
            raise
        finally:
            await body.aclose()
        if reply.status not in (*_STORED, _NONE_STORED):
            raise await refusal(reply)
        if reply.status in _STORED and not file.sent:
            await discard(reply)
            raise PeerError("the DICOMweb server answered before it had the instance")
        status, detail = await _outcome(reply, instance)
        return StoreResult(instance.sop_class_uid, instance.sop_instance_uid, status, detail)


class _Part:
    """The body of a request: one instance as a file, in the only part."""

    def __init__(self, instance: Instance, boundary: str) -> None:
        self._instance = instance
        self._pieces = self._made(instance, boundary)
        self.sent = False
        """Whether all of the instance has been read."""
        self.failure: HarmonyError | None = None
        """Why it could not be."""

    def __aiter__(self) -> "_Part":
        return self

    async def __anext__(self) -> Pieces:
        try:
            return await self._pieces.__anext__()
        except HarmonyError as error:
            self.failure = error
            raise

    async def aclose(self) -> None:
        """Give the instance up."""
        async with aclosing(self._instance.data_set):
            await self._pieces.aclose()

    async def _made(self, instance: Instance, boundary: str) -> AsyncGenerator[Pieces, None]:
        syntax = travelling(instance.transfer_syntax_uid)
        # The file says its transfer syntax. Orthanc passes over a part whose header does, and answers with 200.
        start = multipart.part_header(boundary, "", "", True) + file_header(
            instance.sop_class_uid,
            instance.sop_instance_uid,
            syntax,
            source_ae_title=instance.receiving_ae_title,
            sending_ae_title=instance.source_ae_title,
        )
        conversion = Conversion(instance.transfer_syntax_uid, syntax)
        yield (start,)
        async for pieces in instance.data_set:
            if converted := conversion.feed(pieces):
                yield converted
        rest = conversion.finish()
        self.sent = True
        yield (*rest, multipart.closing(boundary))


async def _outcome(reply: Reply, instance: Instance) -> tuple[int, str]:
    """Return status and sentence of what a response says of the one instance (PS3.18 §10.5.3, Annex I)."""
    try:
        said = await document(reply)
    except PeerError as error:
        return PROCESSING_FAILURE, error.detail
    failed = [*_items(said, Section.FAILED), *_items(said, Section.OTHER)]
    for item in failed:
        if _value(item, _SOP_INSTANCE_UID) in ("", instance.sop_instance_uid):
            return _failure(_value(item, _FAILURE_REASON))
    if reply.status in _STORED:
        for item in _items(said, Section.STORED):
            if _value(item, _SOP_INSTANCE_UID) == instance.sop_instance_uid:
                return _warning(_value(item, _WARNING_REASON))
    return PROCESSING_FAILURE, "the DICOMweb server does not say that it has stored the instance"


def _failure(reason: str) -> tuple[int, str]:
    status = _status(reason)
    if status is None or category(status) is not Category.FAILURE:
        status = PROCESSING_FAILURE
    return status, f"the DICOMweb server has not stored the instance: {describe(status)}"


def _warning(reason: str) -> tuple[int, str]:
    status = _status(reason)
    if status is None or category(status) is not Category.WARNING:
        return SUCCESS, ""
    return status, f"the DICOMweb server has stored the instance with {describe(status)}"


def _status(reason: str) -> int | None:
    return int(reason) if reason.isascii() and reason.isdigit() and int(reason[:6]) <= 0xFFFF else None


def _items(data_set: Mapping[str, Any], section: Section) -> list[Mapping[str, Any]]:
    sequence = data_set.get(section.value)
    items = sequence.get("Value") if isinstance(sequence, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _value(item: Mapping[str, Any], tag: str) -> str:
    """Return the first value of an attribute as text, empty when there is none."""
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return str(values[0]) if isinstance(values, list) and values and isinstance(values[0], int | str) else ""
