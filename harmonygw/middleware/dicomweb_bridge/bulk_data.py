"""Retrieve Bulkdata (PS3.18 §10.4.1.1.5): the values that metadata gives by BulkDataURI, whole or a range of bytes."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from hashlib import sha256
from typing import Final

import orjson

from harmonygw.dicom.web import multipart
from harmonygw.dicom.web.media_types import Offer, accept_parameters
from harmonygw.dicom.web.pixel_media_types import (
    OCTET_STREAM,
    FrameForm,
    negotiate_bulk_data,
    negotiate_pixel_data,
)
from harmonygw.dicom.web.resources import Resource, url
from harmonygw.errors import NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge import byte_ranges
from harmonygw.middleware.dicomweb_bridge.access import Access, Readable
from harmonygw.middleware.dicomweb_bridge.framing import FramesTransaction
from harmonygw.middleware.dicomweb_bridge.pixels import choose
from harmonygw.middleware.dicomweb_bridge.relaying import Relay
from harmonygw.middleware.dicomweb_bridge.retrieving import CACHE_CONTROL, NOTHING, ensure_existence
from harmonygw.pipeline import Proceed
from harmonygw.streams import Body, InstanceStream, Pieces

PIXEL_DATA: Final = frozenset({"7FE00008", "7FE00009", "7FE00010"})
"""Where pixels are that are frames."""

ENCAPSULATED_DOCUMENT: Final = "00420011"
MIME_TYPE_OF_DOCUMENT: Final = "00420012"


class BulkDataTransaction:
    """Bulk data of one bridge."""

    def __init__(self, access: Access, framing: FramesTransaction) -> None:
        self._access = access
        self._framing = framing

    async def run(self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
        """Answer with one value, or with all of a resource.

        Raises `NotFound` for a value that is not given by reference, `NotAcceptable`, `RangeNotSatisfiable`, and what a
        Retrieve raises.
        """
        if origin.method == "HEAD":
            await ensure_existence(request, resource, proceed)
            return Reply(headers=(("Content-Type", OCTET_STREAM), CACHE_CONTROL))
        if not resource.bulk_path:
            return await self._all(request, origin, resource, proceed)
        return await self._one(request, origin, resource, proceed)

    async def _one(self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
        readable = await self._access.one(request, resource, proceed)
        path = "/".join(resource.bulk_path)
        if path not in readable.layout.bulk:
            readable = await self._access.measured(readable)
        ranges = readable.layout.ranges(path)
        if ranges is None:
            raise NotFound("The instance has no such value that is given by reference.")
        if path in PIXEL_DATA and readable.layout.frames is not None:
            return await self._framing.pixel_data_of(request, origin, readable)
        offer, *_ = negotiate_bulk_data(
            origin.headers.get("accept"),
            accept_parameters(origin.query),
            one_part=True,
            own_type=media_type_of(readable, path),
        )
        told = sha256(f"{path} {offer}".encode()).hexdigest()[:16]
        etag = f'"{readable.file.digest}-{told}"'
        syntax = readable.instance.transfer_syntax_uid if readable.layout.bulk[path].encapsulated else ""
        if not offer.multipart:
            media_type = f"{offer.media_type}; transfer-syntax={syntax}" if syntax else offer.media_type
            return await byte_ranges.by_itself(origin, readable, ranges, media_type, etag, (CACHE_CONTROL,))
        uids = (resource.study, resource.series, resource.instance)
        location = url(origin.base_url, *uids, "bulkdata", *resource.bulk_path)
        return await byte_ranges.as_one_part(
            origin, readable, ranges, offer.media_type, syntax, location, f"W/{etag}", (CACHE_CONTROL,)
        )

    async def _all(self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
        """Answer with every value of every instance that is given by reference."""
        accept = accept_parameters(origin.query)
        offer, *_ = negotiate_bulk_data(origin.headers.get("accept"), accept, one_part=False)
        forms = negotiate_pixel_data(origin.headers.get("accept"), accept, one_part=False)
        boundary = multipart.boundary()
        reply = await self._access.retrieve(request, resource, proceed)
        parts = self._parts(reply.result, offer, forms, boundary, origin.base_url, request.client)
        return Reply(
            headers=(
                ("Content-Type", multipart.content_type(boundary, offer.media_type)),
                CACHE_CONTROL,
                *reply.headers,
            ),
            body=Body(Relay(reply.result, parts)),
        )

    async def _parts(
        self,
        instances: InstanceStream,
        offer: Offer,
        forms: Sequence[FrameForm],
        boundary: str,
        base_url: str,
        client: str,
    ) -> AsyncGenerator[Pieces, None]:
        first = True
        found = False
        async with aclosing(self._access.each(instances)) as each:
            async for one in each:
                found = True
                readable = await self._access.measured(one)
                for path in readable.layout.bulk:
                    parts = self._part(readable, path, offer, forms, boundary, base_url, client, first=first)
                    first = False
                    async with aclosing(parts):
                        async for pieces in parts:
                            yield pieces
        if first:
            raise NotFound("There is no bulk data." if found else NOTHING)
        yield (multipart.closing(boundary),)

    async def _part(
        self,
        readable: Readable,
        path: str,
        offer: Offer,
        forms: Sequence[FrameForm],
        boundary: str,
        base_url: str,
        client: str,
        *,
        first: bool,
    ) -> AsyncGenerator[Pieces, None]:
        instance, value = readable.instance, readable.layout.bulk[path]
        uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
        if path in PIXEL_DATA and value.encapsulated:
            form = choose(forms, instance.transfer_syntax_uid)
            pieces = self._framing.parts(readable, form, boundary, base_url, client, first=first)
        else:
            location = url(base_url, *uids, "bulkdata", *path.split("/"))
            syntax = instance.transfer_syntax_uid if value.encapsulated else ""
            yield (multipart.part_header(boundary, syntax, location, first, media_type=offer.media_type),)
            pieces = byte_ranges.value(readable, readable.layout.ranges(path) or ())
        async with aclosing(pieces):
            async for some in pieces:
                yield some


def media_type_of(readable: Readable, path: str) -> str:
    """Return the media type of a value's own, in lower case."""
    if path != ENCAPSULATED_DOCUMENT:
        return OCTET_STREAM
    values = orjson.loads(readable.layout.metadata).get(MIME_TYPE_OF_DOCUMENT, {}).get("Value", ())
    stated = str(values[0]).lower() if values else ""
    return stated if stated.count("/") == 1 and stated.isascii() and stated.isprintable() else OCTET_STREAM
