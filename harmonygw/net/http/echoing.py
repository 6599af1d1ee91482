"""What an HTTP request was, told back to who sent it: its body, or a description of a request without one."""

import re
from collections.abc import Sequence
from typing import Final

import orjson

from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.streams import Body, Piece, Pieces

REDACTED: Final = "[redacted]"
"""Stands for a value that only its sender and we should know."""

_SECRET: Final = re.compile(r"authorization|cookie|token|secret|password|api-?key", re.IGNORECASE)
"""In the name of a header field that carries credentials: a proxy may have added them, and not mean the client."""

_OF_THE_CONTENT: Final = ("content-type", "content-encoding", "content-language")
"""What goes back with a body because it says what the body is (RFC 9110 §8)."""

NEVER_RUN: Final = (("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "default-src 'none'; sandbox"))
"""What somebody had a browser send here must not run as a page of ours."""


async def echo(request: Request, origin: HTTPOrigin, *, hold_bytes: int) -> Reply:
    """Return a request's body as it came, with its media type; a JSON description of a request without one.

    `hold_bytes` of a body are awaited before the reply begins: many a client reads nothing before it has sent all.
    What is longer streams. Raises what reading the body raises.
    """
    if origin.body is None:
        return _described(request, origin)
    headers = [(name.title(), origin.headers[name]) for name in _OF_THE_CONTENT if name in origin.headers]
    if "content-type" not in origin.headers:
        headers.append(("Content-Type", "application/octet-stream"))
    return Reply(headers=(*headers, *NEVER_RUN), body=await _held(origin.body, hold_bytes))


def describe(request: Request, origin: HTTPOrigin) -> dict[str, object]:
    """Return what can be said of a request without its body; credentials are left out."""
    query: dict[str, list[str]] = {}
    for name, value in origin.query:
        query.setdefault(name, []).append(value)
    return {
        "method": origin.method,
        "path": "/" + "/".join(origin.path),
        "base_url": origin.base_url,
        "query": query,
        "headers": {name: REDACTED if _SECRET.search(name) else value for name, value in origin.headers.items()},
        "peer": request.peer,
        "principal": request.principal,
        "correlation_id": request.correlation_id,
    }


def _described(request: Request, origin: HTTPOrigin) -> Reply:
    headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
    return Reply(headers=headers, body=Body.of(orjson.dumps(describe(request, origin)) + b"\n"))


async def _held(body: Body, hold_bytes: int) -> Body:
    held: list[Piece] = []
    async for pieces in body:
        held += pieces
        if body.size > hold_bytes:
            return Body(_Resumed(held, body), length=body.length)
    return Body.of(*held)


class _Resumed:
    """A body that was read from: what was held of it, and then the rest."""

    def __init__(self, held: Sequence[Piece], rest: Body) -> None:
        self._held: Pieces = held
        self._rest = rest

    def __aiter__(self) -> "_Resumed":
        return self

    async def __anext__(self) -> Pieces:
        held, self._held = self._held, ()
        return held or await self._rest.__anext__()

    async def aclose(self) -> None:
        await self._rest.aclose()
