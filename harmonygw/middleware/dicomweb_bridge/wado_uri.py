"""The URI service (PS3.18 §9): one instance, named in the query, as a file or rendered."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from harmonygw.dicom.web import media_types
from harmonygw.dicom.web.media_types import Offer
from harmonygw.dicom.web.rendered_media_types import negotiate_wado_uri
from harmonygw.dicom.web.rendering_parameters import RenderingParameters, parse_uri
from harmonygw.dicom.web.resources import Resource
from harmonygw.errors import NotAcceptable
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge.rendering import RenderingTransaction
from harmonygw.middleware.dicomweb_bridge.retrieving import (
    BY_DEFAULT,
    CACHE_CONTROL,
    RetrieveTransaction,
    ensure_existence,
)
from harmonygw.middleware.dicomweb_bridge.warning import warning
from harmonygw.pipeline import Proceed


class URITransaction:
    """The URI service of one bridge."""

    def __init__(self, retrieving: RetrieveTransaction, rendering: RenderingTransaction) -> None:
        self._retrieving = retrieving
        self._rendering = rendering

    async def run(self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
        """Answer with the instance in the first form that the client takes and the object can be brought into.

        Raises `BadRequest`, `NotAcceptable`, and what a Retrieve raises.
        """
        parameters = parse_uri(origin.query)
        offers = negotiate_wado_uri(origin.headers.get("accept"), parameters.content_types)
        if origin.method == "HEAD":
            await ensure_existence(request, resource, proceed)
            return Reply(headers=(("Content-Type", offers[0].media_type), CACHE_CONTROL))
        if parameters.frame is not None:
            resource = replace(resource, frames=(parameters.frame,))
        reply = await self._reply(
            request, origin, resource, proceed, offers, parameters.transfer_syntax, parameters.rendering
        )
        ignored = tuple(("Warning", warning(f"{name} has no effect here.")) for name in parameters.ignored)
        return replace(reply, headers=(*reply.headers, *ignored))

    async def _reply(
        self,
        request: Request,
        origin: HTTPOrigin,
        resource: Resource,
        proceed: Proceed,
        offers: Sequence[Offer],
        transfer_syntax: str | None,
        rendering: RenderingParameters,
    ) -> Reply:
        rendered = list(takewhile(lambda offer: offer.media_type != media_types.DICOM, offers))
        if rendered:
            try:
                return await self._rendering.single(request, origin, resource, proceed, rendered, rendering)
            except NotAcceptable:
                if rendered == [*offers]:
                    raise
        accepted = (transfer_syntax,) if transfer_syntax else BY_DEFAULT
        return await self._retrieving.single(request, replace(resource, frames=()), accepted, proceed)
