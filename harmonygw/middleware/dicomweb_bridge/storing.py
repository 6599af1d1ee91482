"""Store (PS3.18 §10.5): the request's parts become instances for the archive while they arrive."""

from contextlib import aclosing
from dataclasses import replace
from typing import Any

from harmonygw.dicom.web import media_types
from harmonygw.dicom.web.resources import Resource
from harmonygw.dicom.web.store_media_types import store_form
from harmonygw.errors import BadRequest, HarmonyError, Incomplete, UnsupportedMediaType
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge.access import Access
from harmonygw.middleware.dicomweb_bridge.storing_instances import Instances
from harmonygw.middleware.dicomweb_bridge.storing_metadata import Metadata
from harmonygw.middleware.dicomweb_bridge.storing_parts import PartsReader
from harmonygw.middleware.dicomweb_bridge.storing_report import Report
from harmonygw.operations import Store
from harmonygw.pipeline import Proceed


class StoreTransaction:
    """Stores of one bridge."""

    def __init__(self, options: Any, access: Access) -> None:
        self._options = options
        self._access = access

    async def run(self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
        """Answer a Store with what became of each instance.

        Raises `NotAcceptable`, `UnsupportedMediaType`, what breaks the request off, `BadRequest` for a body of which
        nothing could be stored because it is malformed, and what the archive raises before it has stored anything.
        """
        media_type = media_types.negotiate_store(
            origin.headers.get("accept"), media_types.accept_parameters(origin.query)
        )
        content_type = origin.headers.get("content-type")
        form = store_form(content_type)
        if origin.headers.get("content-encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("The body has a content coding. A Store takes it without one.")
        if origin.body is None:
            raise BadRequest("The request has no body.")
        parts = PartsReader(origin.body, form, content_type)
        report = Report(self._access, origin.base_url, resource.study, request.record)
        metadata = Metadata(
            self._access,
            "/".join((origin.base_url, *origin.path)),
            max_metadata_bytes=self._options.store_metadata_bytes,
            max_bulk_bytes=self._options.store_bulk_bytes,
        )
        instances = Instances(parts, form, metadata, report, resource.study)
        try:
            await self._store(request, proceed, instances, parts, report)
        except BaseException:
            report.close()
            raise
        finally:
            await instances.close()
        return report.reply(media_type)

    async def _store(
        self, request: Request, proceed: Proceed, instances: Instances, parts: PartsReader, report: Report
    ) -> None:
        try:
            reply = await proceed(replace(request, operation=Store(instances)))
            async with aclosing(reply.result) as results:
                async for result in results:
                    await instances.answered(result)
            await instances.fail_the_rest("the archive did not answer for an instance")
            if parts.broken is not None:
                raise parts.broken
        except HarmonyError as error:
            if parts.broken is not None:
                raise _broken_off(parts.broken, report.stored) from None
            if not report.stored:
                raise parts.malformed or error from None
            request.record.note(f"the archive gave up: {error.detail}")
            await self._fail_the_rest(instances, parts, report, error)
        if not (parts.ended or parts.malformed or report.cut_short):
            raise Incomplete(f"The request was not read to its end; {_stored(report.stored)}.")
        fault = parts.malformed or instances.unreadable
        if fault is not None and not report.stored:
            raise fault
        if not (report.stored or report.failed):
            raise BadRequest("The request has no instances.")

    async def _fail_the_rest(
        self, instances: Instances, parts: PartsReader, report: Report, error: HarmonyError
    ) -> None:
        """Read on, so that everything that the archive did not take is named in the reply."""
        try:
            await instances.fail_the_rest(error.detail)
        except HarmonyError:
            if parts.broken is not None:
                raise _broken_off(parts.broken, report.stored) from None
            raise


def _broken_off(error: HarmonyError, stored: int) -> HarmonyError:
    """Return what broke the request off, with what had been stored by then, since no report will say so.

    It went through the archive, which may have put its own name to it.
    """
    error.args = (f"{error.detail.rstrip('.')}; {_stored(stored)}." if stored else error.detail,)
    return error


def _stored(count: int) -> str:
    return f"{count} {'instance' if count == 1 else 'instances'} had been stored by then"
