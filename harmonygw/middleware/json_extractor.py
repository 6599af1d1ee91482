"""The `json_extractor` middleware: a JSON body, parsed for the middleware behind it."""

from dataclasses import replace
from typing import Final

from zope.interface import implementer

from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.json_bodies import is_json, parsed, whole
from harmonygw.pipeline import Context, IMiddleware, Proceed
from harmonygw.streams import Body

ATTRIBUTE: Final = "json"
"""The attribute of a request under which its body lies, parsed. It is not to be changed in place."""


@implementer(IMiddleware)
class JSONExtractor:
    """Leaves the document of a JSON body in `request.attributes["json"]`, and the same bytes in the body.

    What has no body, or another media type, passes. A body in a content coding passes too: what it says is not known.
    Raises `BadRequest` for what is no JSON, and `TooLarge`.
    """

    def __init__(self, context: Context) -> None:
        self._reactor = context.reactor
        self._limit = context.configuration.proxy.content_limits.max_body_size

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Parse the body, and proceed."""
        origin = request.origin
        if (
            isinstance(origin, HTTPOrigin)
            and origin.body is not None
            and request.operation is None
            and is_json(origin.headers.get("content-type", ""))
            and not origin.headers.get("content-encoding")
        ):
            raw = await whole(origin.body, self._limit)
            if raw:
                document = await parsed(raw, self._reactor)
                request = replace(request, attributes={**request.attributes, ATTRIBUTE: document})
            request = replace(request, origin=replace(origin, body=Body.of(raw)))
        return await proceed(request)
