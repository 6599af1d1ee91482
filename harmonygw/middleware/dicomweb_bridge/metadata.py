"""Retrieve Metadata (PS3.18 §10.4.1.1.2): DICOM JSON of each instance as it lands, bulk data by reference."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from harmonygw.dicom.dataset.metadata_scan import MetadataScan
from harmonygw.dicom.web import media_types
from harmonygw.dicom.web.resources import Resource, url
from harmonygw.errors import NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge.retrieving import CACHE_CONTROL, ensure_existence, operation_for
from harmonygw.operations import ANY_TRANSFER_SYNTAX, InstanceStream
from harmonygw.pipeline import Proceed
from harmonygw.streams import Body, Instance, Pieces

AVAILABLE_TRANSFER_SYNTAX_UID = "00083002"


async def retrieve_metadata(
    request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed, options: Any
) -> Reply:
    """Answer with a JSON array, an object for each instance; the array stays open when the retrieval fails midway."""
    media_type = media_types.negotiate_metadata(
        origin.headers.get("accept"), [value for name, value in origin.query if name == "accept"]
    )
    headers = (("Content-Type", media_type), CACHE_CONTROL)
    if origin.method == "HEAD":
        await ensure_existence(request, resource, proceed)
        return Reply(headers=headers)
    operation = replace(operation_for(resource, (ANY_TRANSFER_SYNTAX,)), without_bulk_data=True)
    reply = await proceed(replace(request, operation=operation))
    return Reply(
        headers=headers,
        body=Body(_array(reply.result, origin.base_url, options.bulk_threshold_bytes)),
    )


async def _array(
    instances: InstanceStream, base_url: str, bulk_threshold: int
) -> AsyncGenerator[Pieces, None]:
    separator = b"["
    async with aclosing(instances):
        async for instance in instances:
            metadata = await _metadata(instance, base_url, bulk_threshold)
            yield (separator, orjson.dumps(metadata))
            separator = b","
    if separator == b"[":
        raise NotFound("The archive has nothing under these UIDs.")
    yield (b"]",)


async def _metadata(instance: Instance, base_url: str, bulk_threshold: int) -> dict[str, Any]:
    scan = MetadataScan(instance.transfer_syntax_uid, bulk_threshold=bulk_threshold)
    async for pieces in instance.data_set:
        scan.feed(pieces)
    locate = partial(
        url,
        base_url,
        instance.study_instance_uid,
        instance.series_instance_uid,
        instance.sop_instance_uid,
        "bulkdata",
    )
    data_set = scan.finish(lambda path: locate(*map(str, path)))
    data_set[AVAILABLE_TRANSFER_SYNTAX_UID] = {"vr": "UI", "Value": [instance.transfer_syntax_uid]}
    return dict(sorted(data_set.items()))
