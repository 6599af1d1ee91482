"""Retrieve Metadata (PS3.18 §10.4.1.1.2): the DICOM model of each instance as it lands, bulk data by reference.

What lies in a file has its metadata with it; of anything else it is gathered while the bytes pass.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson

from harmonygw.dicom.dataset.element_writer import LONGEST_SHORT_VALUE
from harmonygw.dicom.dataset.layout import Layout, LayoutScan
from harmonygw.dicom.dataset.xml_encoding import to_xml
from harmonygw.dicom.web import media_types, multipart
from harmonygw.dicom.web.attributes import AVAILABLE_TRANSFER_SYNTAX_UID
from harmonygw.dicom.web.media_types import Offer
from harmonygw.dicom.web.resources import Resource, url
from harmonygw.errors import NotFound
from harmonygw.exchange import HTTPOrigin, Record, Reply, Request
from harmonygw.middleware.dicomweb_bridge.relaying import Relay, entity_tag
from harmonygw.middleware.dicomweb_bridge.retrieving import (
    CACHE_CONTROL,
    NOTHING,
    ensure_existence,
    operation_for,
)
from harmonygw.operations import ANY_TRANSFER_SYNTAX, InstanceStream
from harmonygw.pipeline import Proceed
from harmonygw.streams import Body, Instance, Pieces


async def retrieve_metadata(
    request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed, options: Any
) -> Reply:
    """Answer with an array of objects in JSON, or parts in XML; it stays open when the retrieval fails midway."""
    offer = media_types.negotiate_models(
        origin.headers.get("accept"),
        media_types.accept_parameters(origin.query),
        one_instance=bool(resource.instance),
    )
    boundary = multipart.boundary()
    content_type = multipart.content_type(boundary, offer.media_type) if offer.multipart else offer.media_type
    headers = (("Content-Type", content_type), CACHE_CONTROL)
    if origin.method == "HEAD":
        await ensure_existence(request, resource, proceed)
        return Reply(headers=headers)
    operation = replace(
        operation_for(resource, (ANY_TRANSFER_SYNTAX,)),
        without_bulk_data=options.metadata_source != "instances",
        whole_otherwise=options.metadata_source != "without_bulk_data",
        random_access=True,
    )
    reply = await proceed(replace(request, operation=operation))
    making = _Making(origin.base_url, options.bulk_threshold_bytes, request.record)
    if offer.media_type == media_types.DICOM_XML:
        pieces = making.xml(reply.result, offer, boundary)
    else:
        pieces = making.array(reply.result)
    tag = entity_tag(reply, origin.base_url, options.bulk_threshold_bytes, str(offer), weak=offer.multipart)
    return Reply(headers=(*headers, *tag, *reply.headers), body=Body(Relay(reply.result, pieces)))


class _Making:
    """What is made of instances for one client."""

    def __init__(self, base_url: str, bulk_threshold: int, record: Record) -> None:
        self._base_url = base_url
        self._bulk_threshold = min(bulk_threshold, LONGEST_SHORT_VALUE)
        self._record = record

    async def array(self, instances: InstanceStream) -> AsyncGenerator[Pieces, None]:
        """Yield a JSON array."""
        separator = b"["
        async with aclosing(instances):
            async for instance in instances:
                yield (separator, await self._metadata(instance))
                separator = b","
        if separator == b"[":
            raise NotFound(NOTHING)
        yield (b"]",)

    async def xml(self, instances: InstanceStream, offer: Offer, boundary: str) -> AsyncGenerator[Pieces, None]:
        """Yield Native DICOM Model documents (PS3.19 §A.1)."""
        first = True
        async with aclosing(instances):
            async for instance in instances:
                document = to_xml(orjson.loads(await self._metadata(instance)))
                if offer.multipart:
                    uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
                    location = url(self._base_url, *uids, "metadata")
                    header = multipart.part_header(boundary, "", location, first, media_type=offer.media_type)
                    yield (header, document)
                else:
                    yield (document,)
                first = False
        if first:
            raise NotFound(NOTHING)
        if offer.multipart:
            yield (multipart.closing(boundary),)

    async def _metadata(self, instance: Instance) -> bytes:
        file = instance.file
        layout = file.layout if file is not None else None
        if layout is None or layout.bulk_threshold != self._bulk_threshold:
            layout = await self._scanned(instance)
        uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
        metadata = layout.metadata_for(url(self._base_url, *uids, "bulkdata"))
        if instance.without_bulk_data:
            # It came in a transfer syntax of its own, which says nothing of how the archive holds the instance.
            attributes = orjson.loads(metadata)
            del attributes[AVAILABLE_TRANSFER_SYNTAX_UID]
            return orjson.dumps(attributes)
        return metadata

    async def _scanned(self, instance: Instance) -> Layout:
        scan = LayoutScan(instance.transfer_syntax_uid, bulk_threshold=self._bulk_threshold)
        async for pieces in instance.data_set:
            scan.feed(pieces)
        return scan.finish(
            default_character_set=instance.default_character_set,
            on_undecodable=lambda tag: self._record.note(
                f"values of ({tag[:4]},{tag[4:]}) hold bytes that their character set lacks"
            ),
        )
