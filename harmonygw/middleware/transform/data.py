"""The `transform` middleware: JOLT on JSON bodies, and on the identifiers and matches of C-FIND."""

from dataclasses import replace
from typing import Any, Final

from zope.interface import implementer

from harmonygw.errors import BadRequest, ConfigurationError, HarmonyError, PeerError, TooLarge, Untransformable
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.describing import identifier_of, is_query
from harmonygw.middleware.json_bodies import LIMIT_KEY, beginning, encoded, is_json, parsed
from harmonygw.middleware.json_extractor import ATTRIBUTE
from harmonygw.middleware.transform.data_sets import (
    TransformedMatches,
    data_set_of,
    with_identifier,
)
from harmonygw.middleware.transform.scene import context_of, with_metadata
from harmonygw.middleware.transform.specifications import Applied
from harmonygw.net.http.fields import value_of, without
from harmonygw.pipeline import Context, IMiddleware, Proceed
from harmonygw.streams import Body, Match

OF_THE_BYTES: Final = ("content-length", "content-md5", "digest", "content-digest", "repr-digest", "etag")
"""Header fields that tell of the bytes of a body, and tell wrong when these are others."""


@implementer(IMiddleware)
class Transform:
    """Changes the body of a request, of a reply, or of both.

    A specification sees `{"data": <body>, "context": {…}}`, and what it makes of `data` is the new body; or what it
    makes, when there is no `data` in it. A query that came by an association, or that the bridge has made, has an
    identifier and matches instead of bodies. What is neither passes.

    Raises `BadRequest` for a request that cannot be transformed, and `PeerError` for such a reply.
    """

    def __init__(self, context: Context) -> None:
        options = context.options
        if options.transform_target not in ("", "data"):
            raise ConfigurationError(
                (f'middleware.{context.name}.options.transform_target: a transform has "data", the body',)
            )
        self._applied = Applied(context)
        self._reactor = context.reactor
        self._limit = context.configuration.proxy.content_limits.max_body_size
        self._left = options.apply in ("left", "both")
        self._right = options.apply in ("right", "both")
        self._fail_on_error: bool = options.fail_on_error
        self._name = context.name

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Transform the request, proceed, and transform the reply."""
        if self._left:
            request = await self._of_request(request)
        if not self._right:
            return await proceed(request)
        reply = await proceed(_wanting_no_coding(request))
        return await self._of_reply(request, reply)

    # The request

    async def _of_request(self, request: Request) -> Request:
        if is_query(request.operation):
            try:
                result = await self._apply(request, identifier_of(request.operation), context_of(request))
                changed = replace(request, operation=with_identifier(request.operation, _data_of(result)))
            except Untransformable as error:
                self._failed(request, BadRequest(f"The query cannot be transformed: {error}."))
                return request
            return _with_context(changed, result)
        origin = request.origin
        if request.operation is not None or not isinstance(origin, HTTPOrigin) or origin.body is None:
            return request
        return await self._of_request_body(request, origin, origin.body)

    async def _of_request_body(self, request: Request, origin: HTTPOrigin, body: Body) -> Request:
        if not is_json(origin.headers.get("content-type", "")):
            return request
        if coding := origin.headers.get("content-encoding", ""):
            self._failed(
                request, BadRequest(f"The body of the request is in the coding {coding[:40]}, not plain JSON.")
            )
            return request
        old, rest = await beginning(body, self._limit)
        if rest is not None:
            await self._too_large(request, rest, TooLarge(_too_large("request", self._limit)))
            return replace(request, origin=replace(origin, body=rest))
        untouched = replace(request, origin=replace(origin, body=Body.of(old)))
        if not old:
            return untouched
        try:
            document = request.attributes.get(ATTRIBUTE)
            if document is None:
                document = await parsed(old, self._reactor)
            result = await self._apply(request, document, context_of(request))
            new = _data_of(result)
            raw = encoded(new, self._limit)
        except (BadRequest, Untransformable) as error:
            self._failed(request, BadRequest(f"The body of the request cannot be transformed: {_sentence(error)}"))
            return untouched
        headers = {name: value for name, value in origin.headers.items() if name not in OF_THE_BYTES}
        headers.pop("transfer-encoding", None)
        headers["content-length"] = str(len(raw))
        attributes = {**request.attributes, ATTRIBUTE: new} if ATTRIBUTE in request.attributes else request.attributes
        changed = replace(origin, headers=headers, body=Body.of(raw))
        return _with_context(replace(request, origin=changed, attributes=attributes), result)

    # The reply

    async def _of_reply(self, request: Request, reply: Reply) -> Reply:
        if is_query(request.operation) and reply.result is not None:
            context = context_of(request, reply)

            async def change(match: Match) -> Match:
                return await self._of_match(request, context, match)

            return replace(reply, result=TransformedMatches(reply.result, change), digest="")
        body = reply.body
        if body is None or not 200 <= reply.status < 300 or not is_json(value_of(reply.headers, "content-type")):
            return reply
        if coding := value_of(reply.headers, "content-encoding"):
            error = PeerError(f"The reply is in the coding {coding[:40]}, though plain JSON was asked for.")
            await self._too_large(request, body, error)
            return reply
        old, rest = await beginning(body, self._limit)
        if rest is not None:
            await self._too_large(request, rest, PeerError(_too_large("reply", self._limit)))
            return replace(reply, body=rest)
        if not old:
            return replace(reply, headers=without(reply.headers, OF_THE_BYTES), body=Body.of())
        try:
            document = await parsed(old, self._reactor)
            raw = encoded(_data_of(await self._apply(request, document, context_of(request, reply))), self._limit)
        except (BadRequest, Untransformable) as error:
            self._failed(request, PeerError(f"The reply cannot be transformed: {_sentence(error)}"))
            return replace(reply, body=Body.of(old))
        return replace(reply, headers=without(reply.headers, OF_THE_BYTES), body=Body.of(raw), digest="")

    async def _of_match(self, request: Request, context: dict[str, Any], match: Match) -> Match:
        try:
            return data_set_of(_data_of(await self._apply(request, match, context)))
        except Untransformable as error:
            self._failed(request, PeerError(f"A match cannot be transformed: {error}."))
            return match

    # Both

    async def _apply(self, request: Request, document: Any, context: dict[str, Any]) -> Any:
        return await self._applied.apply({"data": document, "context": context}, context, request.correlation_id)

    def _failed(self, request: Request, error: HarmonyError) -> None:
        """Raise an error, or note it and let pass."""
        if self._fail_on_error:
            raise error
        request.record.note(f"{self._name} has changed nothing: {error}")

    async def _too_large(self, request: Request, body: Body, error: HarmonyError) -> None:
        """Raise an error and give a body up, or note it and let pass."""
        try:
            self._failed(request, error)
        except HarmonyError:
            await body.abort(error)
            raise


def _data_of(result: Any) -> Any:
    """Return the new data of what a specification has made; raises `Untransformable` when that is nothing."""
    data = result["data"] if isinstance(result, dict) and "data" in result else result
    if data is None:
        raise Untransformable("nothing in it is what the specification looks for")
    return data


def _with_context(request: Request, result: Any) -> Request:
    """Return a request with the metadata that a specification has made in its context."""
    context = result.get("context") if isinstance(result, dict) and "data" in result else None
    if not isinstance(context, dict):
        return request
    details = [context.get(name) for name in ("request_details", "target_details")]
    return with_metadata(request, *(one.get("metadata") for one in details if isinstance(one, dict)))


def _wanting_no_coding(request: Request) -> Request:
    """Return a request without Accept-Encoding: a reply in a coding could not be transformed, and must not pass so."""
    origin = request.origin
    if not isinstance(origin, HTTPOrigin) or "accept-encoding" not in origin.headers:
        return request
    headers = {name: value for name, value in origin.headers.items() if name != "accept-encoding"}
    return replace(request, origin=replace(origin, headers=headers))


def _too_large(what: str, limit: int) -> str:
    return f"The body of the {what} is larger than {limit} bytes ({LIMIT_KEY}), and cannot be transformed."


def _sentence(error: HarmonyError) -> str:
    """Return an error's text as the end of a sentence."""
    return f"{str(error).rstrip('.')}."
