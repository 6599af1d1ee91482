"""The `metadata_transform` middleware: JOLT on what is asked of the backend, and on metadata.

The metadata of a request are those of its attributes that are text: `dimse_op` and `query_level`, which an HTTP request
to a DICOM backend is understood by, and whatever middleware has agreed on (`webhook.<name>`).
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from zope.interface import implementer

from harmonygw.errors import BadRequest, HarmonyError, PeerError, Untransformable
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.transform.scene import (
    details_of,
    metadata_of,
    reply_details_of,
    with_metadata,
)
from harmonygw.middleware.transform.specifications import Applied
from harmonygw.net.http.fields import without
from harmonygw.pipeline import Context, IMiddleware, Proceed

METADATA: Final = "metadata"
"""The target that is the metadata alone; any other is all that is asked of the backend."""

KEPT_FIELDS: Final = frozenset(
    {
        *("connection", "content-encoding", "content-length", "content-range", "expect", "host", "keep-alive"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""Header fields that say how a message is framed or led, and are not for a specification to change."""

_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FIELD_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_METHOD: Final = re.compile(r"[A-Z]+")


@implementer(IMiddleware)
class MetadataTransform:
    """Changes metadata, path, query, header fields and method of a request; and on the right, header fields of a reply.

    Only what a specification makes different is changed, and only where it is of the right kind; the rest stays. Raises
    `BadRequest` and `PeerError` for what cannot be transformed.
    """

    def __init__(self, context: Context) -> None:
        options = context.options
        self._applied = Applied(context)
        self._left = options.apply in ("left", "both")
        self._right = options.apply in ("right", "both")
        self._metadata_alone = options.transform_target == METADATA
        self._fail_on_error: bool = options.fail_on_error
        self._name = context.name

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Transform the request, proceed, and transform the reply."""
        if self._left:
            request = await self._of_request(request)
        reply = await proceed(request)
        return await self._of_reply(request, reply) if self._right else reply

    async def _of_request(self, request: Request) -> Request:
        document = metadata_of(request) if self._metadata_alone else details_of(request)
        try:
            result = await self._apply(request, document)
            if self._metadata_alone:
                return with_metadata(request, result)
            origin = request.origin
            if isinstance(origin, HTTPOrigin):
                origin = _changed(origin, document, result)
            request = with_metadata(replace(request, origin=origin), result.get("metadata"))
        except Untransformable as error:
            self._failed(request, BadRequest(f"The request cannot be transformed: {error}."))
        return request

    async def _of_reply(self, request: Request, reply: Reply) -> Reply:
        document = {**reply_details_of(reply), "metadata": metadata_of(request)}
        try:
            result = await self._apply(request, document)
        except Untransformable as error:
            self._failed(request, PeerError(f"The reply cannot be transformed: {error}."))
            return reply
        fields = _fields(result.get("headers"), document["headers"])
        return replace(reply, headers=(*without(reply.headers, fields), *fields.items())) if fields else reply

    async def _apply(self, request: Request, document: Any) -> dict[str, Any]:
        """Return what the specification makes; nothing when it finds nothing of what it looks for."""
        result = await self._applied.apply(document, document, request.correlation_id)
        if result is not None and not isinstance(result, dict):
            raise Untransformable("the specification makes no object of it")
        return result or {}

    def _failed(self, request: Request, error: HarmonyError) -> None:
        """Raise an error, or note it and let pass."""
        if self._fail_on_error:
            raise error
        request.record.note(f"{self._name} has changed nothing: {error}")


def _changed(origin: HTTPOrigin, before: dict[str, Any], after: dict[str, Any]) -> HTTPOrigin:
    """Return an origin with what is different."""
    method, uri, parameters = after.get("method"), after.get("uri"), after.get("query_params")
    if isinstance(method, str) and method != before["method"]:
        if not _METHOD.fullmatch(method):
            raise Untransformable("the method is none")
        origin = replace(origin, method=method)
    if isinstance(uri, str) and uri != before["uri"]:
        path, _, query = uri.partition("#")[0].partition("?")
        segments = tuple(unquote(segment) for segment in path.split("/") if segment)
        origin = replace(origin, path=segments, query=tuple(parse_qsl(query, keep_blank_values=True)))
    if isinstance(parameters, dict):
        given = {name: _values(one) for name, one in parameters.items() if one != before["query_params"].get(name)}
        kept = tuple(pair for pair in origin.query if pair[0] not in given)
        added = tuple((name, value) for name, values in given.items() for value in values)
        origin = replace(origin, query=(*kept, *added)) if given else origin
    fields = _fields(after.get("headers"), before["headers"])
    return replace(origin, headers={**origin.headers, **fields}) if fields else origin


def _values(value: Any) -> Iterable[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _fields(after: Any, before: dict[str, str]) -> dict[str, str]:
    """Return the header fields that are different, their names in lower case."""
    fields: dict[str, str] = {}
    for name, value in after.items() if isinstance(after, dict) else ():
        lower = name.lower()
        if not isinstance(value, str) or before.get(lower) == value or lower in KEPT_FIELDS:
            continue
        if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise Untransformable(f'"{name[:40]}" is no header field, or its value is none')
        fields[lower] = value
    return fields
