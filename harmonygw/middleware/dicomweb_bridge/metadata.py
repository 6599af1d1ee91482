"""Retrieve Metadata (PS3.18 §10.4.1.1.2): DICOM JSON of each instance as it lands, bulk data by reference."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from harmonygw.dicom.dataset.metadata_scan import MetadataScan
from harmonygw.dicom.web import media_types
from harmonygw.dicom.web.attributes import AVAILABLE_TRANSFER_SYNTAX_UID
from harmonygw.dicom.web.resources import Resource, url
from harmonygw.errors import NotFound
from harmonygw.exchange import HTTPOrigin, Record, Reply, Request
from harmonygw.middleware.dicomweb_bridge.relaying import Relay
from harmonygw.middleware.dicomweb_bridge.retrieving import (
    CACHE_CONTROL,
    NOTHING,
    ensure_existence,
    operation_for,
    travelling,
)
from harmonygw.operations import ANY_TRANSFER_SYNTAX, InstanceStream
from harmonygw.pipeline import Proceed
from harmonygw.streams import Body, Instance, Pieces


async def retrieve_metadata(
    request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed, options: Any
) -> Reply:
    """Answer with a JSON array, an object for each instance; it stays open when the retrieval fails midway."""
    media_type = media_types.negotiate_metadata(
        origin.headers.get("accept"), media_types.accept_parameters(origin.query)
    )
    headers = (("Content-Type", media_type), CACHE_CONTROL)
    if origin.method == "HEAD":
        await ensure_existence(request, resource, proceed)
        return Reply(headers=headers)
    operation = replace(
        operation_for(resource, (ANY_TRANSFER_SYNTAX,)), without_bulk_data=options.metadata_source != "instances"
    )
    reply = await proceed(replace(request, operation=operation))
    array = _array(reply.result, origin.base_url, options.bulk_threshold_bytes, request.record)
    return Reply(headers=headers, body=Body(Relay(reply.result, array)))


async def _array(
    instances: InstanceStream, base_url: str, bulk_threshold: int, record: Record
) -> AsyncGenerator[Pieces, None]:
    separator = b"["
    async with aclosing(instances):
        async for instance in instances:
            metadata = await _metadata(instance, base_url, bulk_threshold, record)
            yield (separator, orjson.dumps(metadata))
            separator = b","
    if separator == b"[":
        raise NotFound(NOTHING)
    yield (b"]",)


async def _metadata(instance: Instance, base_url: str, bulk_threshold: int, record: Record) -> dict[str, Any]:
    scan = MetadataScan(instance.transfer_syntax_uid, bulk_threshold=bulk_threshold)
    async for pieces in instance.data_set:
        scan.feed(pieces)
    uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
    locate = partial(url, base_url, *uids, "bulkdata")
    data_set = scan.finish(
        lambda path: locate(*map(str, path)),
        default_character_set=instance.default_character_set,
        on_undecodable=lambda tag: record.note(
            f"values of ({tag[:4]},{tag[4:]}) hold bytes that their character set lacks"
        ),
    )
    # What of the instance can be asked for here (0008,3002): as it is held, and else as it leaves.
    syntax = travelling(instance.transfer_syntax_uid)
    data_set[AVAILABLE_TRANSFER_SYNTAX_UID] = {"vr": "UI", "Value": [syntax]}
    return dict(sorted(data_set.items()))
