"""What is told back to who sent it."""

import json
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from harmonygw.errors import TooLarge, TransportError
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.net.http.echoing import REDACTED, echo
from harmonygw.streams import Body, Cancelled
from tests.net.http.wire import Source


def request_of(body: Body | None = None, method: str = "POST", **headers: str) -> tuple[Request, HTTPOrigin]:
    origin = HTTPOrigin(
        method,
        ("a", "b c"),
        (("x", "1"), ("y", ""), ("x", "2")),
        {name.replace("_", "-"): value for name, value in headers.items()},
        "https://h/echo",
        body,
    )
    return Request(origin, "192.0.2.1", "id-1"), origin


async def echoed(body: Body | None, hold_bytes: int = 8, **headers: str) -> Reply:
    return await echo(*request_of(body, **headers), hold_bytes=hold_bytes)


async def content(reply: Reply) -> bytes:
    assert reply.body is not None
    return b"".join([piece async for pieces in reply.body for piece in pieces])


@ensureDeferred
async def test_a_body_comes_back_with_what_says_what_it_is() -> None:
    reply = await echoed(Body.of(b"abc"), content_type="text/html", content_encoding="gzip", accept="*/*")
    headers = dict(reply.headers)
    assert (headers["Content-Type"], headers["Content-Encoding"]) == ("text/html", "gzip")
    assert "Accept" not in headers
    assert await content(reply) == b"abc"


@ensureDeferred
async def test_a_browser_runs_nothing_of_it() -> None:
    headers = dict((await echoed(Body.of(b"<script>"), content_type="text/html")).headers)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]


@ensureDeferred
async def test_a_body_without_a_media_type_is_bytes() -> None:
    assert ("Content-Type", "application/octet-stream") in (await echoed(Body.of(b"abc"))).headers


@ensureDeferred
async def test_a_request_without_a_body_is_described() -> None:
    reply = await echoed(None, host="h", authorization="Basic x", cookie="s=1", x_api_key="k", x_auth_token="t")
    told: dict[str, Any] = json.loads(await content(reply))
    assert (told["method"], told["path"], told["base_url"]) == ("POST", "/a/b c", "https://h/echo")
    assert told["query"] == {"x": ["1", "2"], "y": [""]}
    secret = {"authorization": REDACTED, "cookie": REDACTED, "x-api-key": REDACTED, "x-auth-token": REDACTED}
    assert told["headers"] == {"host": "h", **secret}
    assert (told["peer"], told["principal"], told["correlation_id"]) == ("192.0.2.1", None, "id-1")
    assert dict(reply.headers) == {"Content-Type": "application/json", "Cache-Control": "no-store"}


@ensureDeferred
async def test_what_may_be_held_is_awaited_before_the_reply_begins() -> None:
    source = Source()
    replying = Deferred.fromCoroutine(echoed(source.body, hold_bytes=4))
    source.feed.put((b"ab", b"cd"), 4)
    assert not replying.called
    source.feed.end()
    reply = await replying
    assert reply.body is not None
    assert reply.body.length == 4
    assert await content(reply) == b"abcd"


@ensureDeferred
async def test_what_is_longer_streams() -> None:
    source = Source()
    replying = Deferred.fromCoroutine(echoed(source.body, hold_bytes=4))
    source.feed.put((b"ab", b"cde"), 5)
    reply = await replying
    assert reply.body is not None
    assert await reply.body.__anext__() == [b"ab", b"cde"]
    source.feed.put((b"f",), 1)
    source.feed.end()
    assert await content(reply) == b"f"


@ensureDeferred
async def test_what_is_given_up_gives_the_request_up() -> None:
    source = Source()
    replying = Deferred.fromCoroutine(echoed(source.body, hold_bytes=1))
    source.feed.put((b"ab",), 2)
    reply = await replying
    assert reply.body is not None
    await reply.body.abort(Cancelled("no more"))
    assert source.aborted


@pytest.mark.parametrize("error", [TooLarge("too much"), TransportError("the client has gone away")])
@ensureDeferred
async def test_a_body_that_breaks_off_is_no_reply(error: Exception) -> None:
    source = Source()
    replying = Deferred.fromCoroutine(echoed(source.body))
    source.feed.put((b"ab",), 2)
    source.feed.fail(error)
    with pytest.raises(type(error)):
        await replying
