"""JSON bodies: read whole within a limit, parsed, and made.

What is large is parsed in a thread, so that the reactor has its turns. Whole numbers of more than 64 bits become
floating-point numbers, as most readers of JSON have them (RFC 8259 §6).
"""

import re
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, TypeVar

import orjson
from twisted.internet.threads import deferToThreadPool

from harmonygw.errors import BadRequest, TooLarge, Untransformable
from harmonygw.streams import Body, Pieces

T = TypeVar("T")

LIMIT_KEY: Final = "proxy.content_limits.max_body_size"
"""The key of the limit of what is held whole."""

INLINE_BYTES: Final = 256 * 1024
"""Bytes of JSON that are parsed in the reactor's own turn. Default 256 KiB: 2 ms at most."""

MAX_DEPTH: Final = 100
"""Objects and arrays within one another. Default 100: twenty-five nested sequences, and nothing that is handed on can
exhaust a stack."""

_JSON: Final = re.compile(r"\s*application/(?:[^\s;/]+\+)?json\s*(?:;|$)", re.IGNORECASE)


def is_json(content_type: str) -> bool:
    """Whether a media type is `application/json`, or has the suffix `+json` (RFC 6839 §3.1)."""
    return _JSON.match(content_type) is not None


async def whole(body: Body, limit: int) -> bytes:
    """Read the body of a request to its end; raises `TooLarge` when it has more than `limit` bytes, and gives it up."""
    data, rest = await beginning(body, limit)
    if rest is None:
        return data
    error = TooLarge(f"The body of the request is larger than {limit} bytes ({LIMIT_KEY}).")
    await rest.abort(error)
    raise error


async def beginning(body: Body, limit: int) -> tuple[bytes, Body | None]:
    """Read a body up to `limit` bytes: all of it and None, or what has been read and a body of all there is."""
    if body.length is not None and body.length > limit:
        return b"", body
    data = bytearray()  # and no list of pieces: a client may send each byte by itself
    async for pieces in body:
        for piece in pieces:
            data += piece
        if len(data) > limit:
            return bytes(data), Resumed(bytes(data), body)
    return bytes(data), None


class Resumed(Body):
    """A body of which a part has been read: that part again, and then the rest."""

    def __init__(self, data: bytes, rest: Body) -> None:
        super().__init__(_resumed(data, rest), length=rest.length)
        self._rest = rest

    async def abort(self, reason: BaseException) -> None:
        """Give the rest up too."""
        await super().abort(reason)
        await self._rest.abort(reason)


async def _resumed(data: bytes, rest: Body) -> AsyncGenerator[Pieces, None]:
    yield (data,)
    async for pieces in rest:
        yield pieces


async def parsed(raw: bytes, reactor: Any) -> Any:
    """Return the document that is in some bytes; raises `BadRequest` that says where they are none."""
    return _parsed(raw) if len(raw) <= INLINE_BYTES else await in_thread(reactor, _parsed, raw)


async def in_thread(reactor: Any, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in one of the reactor's threads."""
    result: T = await deferToThreadPool(reactor, reactor.getThreadPool(), function, *arguments)
    return result


def _parsed(raw: bytes) -> Any:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is no JSON: {error}.") from None
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _is_deep(document):
        raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} objects and arrays.")
    return document


def _is_deep(document: Any) -> bool:
    level = [document]
    for _ in range(MAX_DEPTH + 1):
        containers = [one for one in level if isinstance(one, dict | list)]
        if not containers:
            return False
        level = [item for one in containers for item in (one.values() if isinstance(one, dict) else one)]
    return True


def encoded(document: Any, limit: int) -> bytes:
    """Return a document as JSON; raises `Untransformable` when it has more than `limit` bytes, or is none."""
    try:
        raw = orjson.dumps(document)
    except (TypeError, orjson.JSONEncodeError) as error:
        raise Untransformable(f"the result is no JSON: {error}") from None
    if len(raw) > limit:
        raise Untransformable(f"the result has more than {limit} bytes ({LIMIT_KEY})")
    return raw
