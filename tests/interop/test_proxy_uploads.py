"""Bodies of requests on their way to a web server: streamed, held back, and never ended by what failed."""

import resource
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from harmonygw.errors import TimedOut, TooLarge, TransportError
from harmonygw.streams import Body, Feed, Pieces
from tests.backends.http.served import backend, request
from tests.interop.web_server import Peer, WebServer, reactor

pytestmark = pytest.mark.interop

MEGABYTE = 1024 * 1024
BIG = 200 * MEGABYTE
MOST_GROWTH = 24 * MEGABYTE
"""Bytes by which a transfer of any size may make the process larger: our windows, and the kernel's are not ours."""


@asynccontextmanager
async def behind(folder: Path, port: int, **options: float) -> AsyncGenerator[Any, None]:
    text = f'timeout_secs = 2\nmax_retries = 0\noptions = {{ base_url = "http://127.0.0.1:{port}"'
    made = backend(folder, reactor, text + "".join(f", {name} = {value}" for name, value in options.items()) + " }")
    try:
        yield made
    finally:
        made.stop()


async def read(reply: Any) -> bytes:
    return b"".join([b"".join(pieces) async for pieces in reply.body])


async def zeros(size: int) -> AsyncGenerator[Pieces, None]:
    piece = bytes(64 * 1024)
    for number in range(size // len(piece)):
        if number % 16 == 0:
            await deferLater(reactor, 0)
        yield (piece,)


class Counting(Resource):
    """Says how many bytes came, or sends as many as it is asked for."""

    isLeaf = True

    def render_POST(self, http_request: Any) -> bytes:
        size = http_request.content.seek(0, 2)
        told: bytes = b"%d %b" % (size, http_request.getHeader(b"transfer-encoding") or b"-")
        return told

    def render_GET(self, http_request: Any) -> int:
        http_request.setHeader(b"content-length", b"%d" % BIG)
        http_request.registerProducer(_Pour(http_request), False)
        return NOT_DONE_YET


class _Pour:
    def __init__(self, http_request: Any) -> None:
        self._request = http_request
        self._left = BIG
        self._piece = bytes(128 * 1024)

    def resumeProducing(self) -> None:
        if not self._left:
            self._request.unregisterProducer()
            self._request.finish()
            return
        self._left -= len(self._piece)
        self._request.write(self._piece)

    def stopProducing(self) -> None:
        pass


@asynccontextmanager
async def twisted_web() -> AsyncGenerator[int, None]:
    """A server of somebody else's making."""
    site = Site(Counting())
    site.noisy = False
    listening = reactor.listenTCP(0, site, interface="127.0.0.1")
    try:
        yield listening.getHost().port
    finally:
        await listening.stopListening()


@ensureDeferred
@pytest.mark.parametrize("known", [True, False])
async def test_a_body_reaches_twisted_web_whole(known: bool, tmp_path: Path) -> None:
    async with twisted_web() as port, behind(tmp_path, port) as made:
        size = 8 * MEGABYTE
        body = Body(zeros(size), length=size if known else None)
        reply = await made.respond(request("POST", "a", body=body))
        assert await read(reply) == b"%d %b" % (size, b"-" if known else b"chunked")


@ensureDeferred
async def test_a_response_of_any_size_costs_a_window(tmp_path: Path) -> None:
    async with twisted_web() as port, behind(tmp_path, port) as made:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        reply = await made.respond(request("GET", "a"))
        size = 0
        async for pieces in reply.body:
            size += sum(map(len, pieces))
        assert (size, reply.body.length) == (BIG, BIG)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert grown < MOST_GROWTH


@ensureDeferred
async def test_a_server_that_reads_slowly_slows_the_client_down(tmp_path: Path) -> None:
    async def slow(peer: Peer) -> None:
        peer.transport.pauseProducing()
        await Deferred()

    server = WebServer(slow)
    async with behind(tmp_path, server.port, silence_timeout_secs=0.3) as made:
        source = Body(zeros(BIG))
        with pytest.raises(TimedOut, match="silence_timeout_secs"):
            await made.respond(request("POST", "a", body=source))
        assert source.size < 32 * MEGABYTE
    await server.stop()


@ensureDeferred
async def test_a_body_that_fails_resets_the_server_and_is_told_as_it_is(tmp_path: Path) -> None:
    async def take(peer: Peer) -> None:
        await peer.request()
        await Deferred()

    server = WebServer(take)
    async with behind(tmp_path, server.port) as made:
        feed: Feed[Pieces] = Feed(limit=10)
        running = Deferred.fromCoroutine(made.respond(request("POST", "a", body=Body(feed))))
        feed.put((b"01234",))
        while not (server.peers and b"01234" in server.peers[0].received):
            await deferLater(reactor, 0.001)
        feed.fail(TooLarge("the request's body is larger than 5 bytes"))
        with pytest.raises(TooLarge):
            await running
        assert await server.peers[0].gone
        assert not server.peers[0].received.endswith(b"0\r\n\r\n")
    await server.stop()


@ensureDeferred
async def test_a_server_that_dies_while_it_is_sent_to_is_lost(tmp_path: Path) -> None:
    async def die(peer: Peer) -> None:
        await peer.request()
        await peer.until(lambda data: len(data) > MEGABYTE)
        peer.reset()

    server = WebServer(die)
    async with behind(tmp_path, server.port) as made:
        source = Body(zeros(BIG))
        with pytest.raises(TransportError):
            await made.respond(request("POST", "a", body=source))
        assert source.size < BIG
        assert len(server.peers) == 1
    await server.stop()


@ensureDeferred
@pytest.mark.parametrize("then", ["", "close", "reset"])
async def test_a_refusal_amid_the_body_reaches_the_client(then: str, tmp_path: Path) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.request()
        await peer.until(lambda data: len(data) > MEGABYTE)
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch")
        if then:
            await deferLater(reactor, 0.05)
            getattr(peer, then)()

    server = WebServer(refuse)
    async with behind(tmp_path, server.port) as made:
        source = Body(zeros(BIG))
        reply = await made.respond(request("POST", "a", body=source))
        assert reply.status == 413
        assert await read(reply) == b"much"
        assert source.size < BIG
        await server.peers[0].gone
    await server.stop()
