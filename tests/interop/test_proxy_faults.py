"""The web server behind the gateway fails, or the client before it: what each side sees, and that nothing is left."""

import socket
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from harmonygw.net.http.client.limits import MAX_HEADER_BYTES
from tests.dicom.audit.schema import objects_of
from tests.interop.web_server import Peer, Proxy, WebServer, reactor

pytestmark = pytest.mark.interop

OK = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"


def answering(*data: bytes, then: str = "") -> Any:
    """A script that sends these to the first request, and then closes, resets, or does nothing."""

    async def answer(peer: Peer) -> None:
        await peer.request()
        peer.send(*data)
        if then:
            getattr(peer, then)()

    return answer


CLIENT = ("127.0.0.1", "behind", "server")
"""The participants of a query."""


@ensureDeferred
async def test_a_server_that_refuses_is_502_and_comes_back(tmp_path: Path) -> None:
    server = WebServer()
    async with Proxy(tmp_path, server) as proxy:
        await server.refuse_connections()
        reply = await proxy.ask()
        assert reply.status == 502
        assert reply.problem["target"] == "server"
        assert str(server.port) not in reply.content.decode()
        line = await proxy.logged()
        assert "refused" in line["reason"]
        assert f"http://127.0.0.1:{server.port}/base" in line["reason"]
        assert line["notes"] == ["the connection was refused; tried again"]
        assert proxy.target["last_failure"] == "the connection was refused"
        await proxy.audited("Query 8", users=CLIENT)


@ensureDeferred
async def test_an_address_that_swallows_connections_is_504_at_the_connect_time_out(tmp_path: Path) -> None:
    server = WebServer()
    async with Proxy(tmp_path, server) as proxy:
        await server.refuse_connections()
        # A backlog that is full drops the SYNs of whoever comes next.
        full = socket.socket()
        full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        full.bind(("127.0.0.1", server.port))
        full.listen(0)
        filling = [socket.socket() for _ in range(4)]
        for one in filling:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", server.port))
        try:
            started = reactor.seconds()
            reply = await proxy.ask()
            assert reply.status == 504
            assert "connect_timeout_secs" in reply.problem["detail"]
            assert 0.25 < reactor.seconds() - started < 1.5
        finally:
            for one in (*filling, full):
                one.close()


@ensureDeferred
async def test_a_server_that_says_nothing_is_504(tmp_path: Path) -> None:
    server = WebServer(answering())
    async with Proxy(tmp_path, server) as proxy:
        reply = await proxy.ask()
        assert reply.status == 504
        assert "timeout_secs" in reply.problem["detail"]
        assert await server.peers[0].gone
        assert len(server.peers) == 1


@ensureDeferred
async def test_a_header_that_trickles_is_504(tmp_path: Path) -> None:
    async def trickle(peer: Peer) -> None:
        await peer.request()
        for byte in OK * 100:
            peer.send(bytes((byte,)))
            await proxy.until_later(0.02)

    server = WebServer(trickle)
    async with Proxy(tmp_path, server) as proxy:
        reply = await proxy.ask()
        assert reply.status == 504


@ensureDeferred
@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 OK\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        OK + b"X" * (MAX_HEADER_BYTES + 200_000),
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        OK + b"X: a\x00b\r\n\r\n",
        OK + b"X: a\x1bb\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_502_and_none_of_it_gets_out(data: bytes, tmp_path: Path) -> None:
    server = WebServer(answering(data))
    async with Proxy(tmp_path, server) as proxy:
        reply = await proxy.ask()
        assert reply.status == 502
        assert reply.headers["content-type"] == "application/problem+json"
        assert await server.peers[0].gone
        assert len(server.peers) == 1


@ensureDeferred
async def test_a_connection_that_breaks_before_an_answer_is_tried_again_and_then_502(tmp_path: Path) -> None:
    server = WebServer(answering(then="reset"))
    async with Proxy(tmp_path, server) as proxy:
        reply = await proxy.ask()
        assert reply.status == 502
        assert len(server.peers) == 2
        await proxy.audited("Query 8", users=CLIENT)


@ensureDeferred
@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    "data",
    [
        OK + b"Content-Length: 100\r\n\r\nonly this",
        OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\nonly this",
    ],
)
async def test_a_body_that_breaks_off_resets_the_client(data: bytes, then: str, tmp_path: Path) -> None:
    async def answer(peer: Peer) -> None:
        await peer.request()
        peer.send(data)
        await client_has_some()
        getattr(peer, then)()

    async def client_has_some() -> None:
        client = await proxied
        await client.bytes_received(1)
        while b"only this" not in client.received:
            await client.bytes_received(len(client.received) + 1)

    proxied: Deferred[Any] = Deferred()
    server = WebServer(answer)
    async with Proxy(tmp_path, server) as proxy:
        client = await proxy.send("GET /dicom/studies HTTP/1.1", "Host: gateway")
        proxied.callback(client)
        reply = await client.reply()
        assert reply.status == 200
        assert reply.content == b"only this" or b"only this" in reply.raw
        assert (reply.whole, reply.reset) == (False, True)
        line = await proxy.logged()
        assert line["outcome"] == "aborted"
        assert "Incomplete" in line["reason"]
        await proxy.audited("Query 8", users=CLIENT)


@ensureDeferred
async def test_a_body_that_breaks_off_before_its_first_byte_is_502(tmp_path: Path) -> None:
    server = WebServer(answering(OK + b"Content-Length: 100\r\n\r\n", then="close"))
    async with Proxy(tmp_path, server) as proxy:
        reply = await proxy.ask()
        assert (reply.status, reply.whole) == (502, True)


@ensureDeferred
async def test_a_study_that_is_passed_on_and_breaks_off_is_told_as_broken(tmp_path: Path) -> None:
    server = WebServer(answering(OK + b"Content-Length: 100\r\n\r\nonly this", then="close"))
    async with Proxy(tmp_path, server) as proxy:
        reply = await proxy.ask("/dicom/studies/1.2")
        assert (reply.whole, reply.reset) == (False, True)
        begin, end = await proxy.audited("Begin 0", "Transferred 8", users=("behind", "127.0.0.1", "server"))
        for one in (begin, end):
            assert (objects_of(one, "110180"), objects_of(one, "2")) == (["1.2"], ["<none>"])


@ensureDeferred
async def test_a_server_that_falls_silent_amid_a_body_resets_the_client(tmp_path: Path) -> None:
    server = WebServer(answering(OK + b"Content-Length: 100\r\n\r\nonly this"))
    async with Proxy(tmp_path, server) as proxy:
        reply = await proxy.ask()
        assert (reply.status, reply.whole, reply.reset) == (200, False, True)
        assert "silence_timeout_secs" in (await proxy.logged())["reason"]
        assert await server.peers[0].gone
        await proxy.audited("Query 8", users=CLIENT)


@ensureDeferred
async def test_a_body_that_ends_with_the_connection_is_passed_on_and_noted(tmp_path: Path) -> None:
    server = WebServer(answering(OK.replace(b"1.1", b"1.0") + b"\r\nall of it", then="close"))
    async with Proxy(tmp_path, server) as proxy:
        reply = await proxy.ask()
        assert (reply.content, reply.whole) == (b"all of it", True)
        assert "nobody can tell" in (await proxy.logged())["notes"][0]


@ensureDeferred
async def test_a_second_response_behind_the_first_reaches_nobody(tmp_path: Path) -> None:
    evil = OK + b"Content-Length: 4\r\n\r\nevil"
    server = WebServer(answering(OK + b"Content-Length: 4\r\n\r\nfine" + evil))
    async with Proxy(tmp_path, server) as proxy:
        assert (await proxy.ask()).content == b"fine"
        server.script = answering(OK + b"Content-Length: 4\r\n\r\nnext")
        assert (await proxy.ask()).content == b"next"
        assert len(server.peers) == 2


@ensureDeferred
async def test_a_connection_that_the_server_closed_meanwhile_costs_nobody_anything(tmp_path: Path) -> None:
    async def once(peer: Peer) -> None:
        await peer.request()
        peer.send(OK + b"Content-Length: 4\r\n\r\nfine")
        await peer.request()
        peer.close()

    server = WebServer(once)
    async with Proxy(tmp_path, server) as proxy:
        assert (await proxy.ask()).content == b"fine"
        server.script = answering(OK + b"Content-Length: 4\r\n\r\nnext")
        assert (await proxy.ask()).content == b"next"
        assert len(server.peers) == 2
        assert (await proxy.logged(2))["notes"] == []


@ensureDeferred
async def test_a_client_that_goes_away_ends_the_request(tmp_path: Path) -> None:
    server = WebServer(answering())
    async with Proxy(tmp_path, server) as proxy:
        client = await proxy.send("GET /dicom/studies HTTP/1.1", "Host: gateway")
        await proxy.until(lambda: bool(server.requests))
        client.transport.abortConnection()
        assert await server.peers[0].gone
        assert (await proxy.logged())["outcome"] == "client_gone"
        await proxy.audited("Query 4", users=CLIENT)


@ensureDeferred
async def test_a_client_that_goes_away_amid_a_body_ends_it(tmp_path: Path) -> None:
    server = WebServer(answering(OK + b"Content-Length: 100000\r\n\r\nonly this"))
    async with Proxy(tmp_path, server, silence_timeout_secs=5) as proxy:
        client = await proxy.send("GET /dicom/studies HTTP/1.1", "Host: gateway")
        await proxy.until(lambda: b"only this" in client.received)
        client.transport.abortConnection()
        assert await server.peers[0].gone
        assert (await proxy.logged())["outcome"] == "client_gone"
        await proxy.audited("Query 4", users=CLIENT)


@ensureDeferred
async def test_a_client_that_does_not_read_slows_the_server_down_and_is_then_reset(tmp_path: Path) -> None:
    size = 64 * 1024 * 1024

    async def pour(peer: Peer) -> None:
        await peer.request()
        peer.send(OK + b"Content-Length: %d\r\n\r\n" % size)
        peer.transport.registerProducer(producer, False)

    class Pouring:
        sent = 0

        def resumeProducing(self) -> None:
            self.sent += 65536
            server.peers[0].transport.write(bytes(65536))

        def stopProducing(self) -> None:
            pass

    producer = Pouring()
    server = WebServer(pour)
    async with Proxy(tmp_path, server) as proxy:
        client = await proxy.send("GET /dicom/studies HTTP/1.1", "Host: gateway")
        client.transport.pauseProducing()
        line = await proxy.logged()
        assert "write_timeout_secs" in line["reason"]
        assert await server.peers[0].gone
        assert producer.sent < size // 2
        client.transport.resumeProducing()
        assert (await client.reply()).reset


@ensureDeferred
async def test_connections_are_bounded_and_whoever_waits_too_long_is_503(tmp_path: Path) -> None:
    server = WebServer(answering())
    async with Proxy(tmp_path, server, max_connections=1, queue_timeout_secs=0.1) as proxy:
        first = await proxy.send("GET /dicom/studies HTTP/1.1", "Host: gateway")
        await proxy.until(lambda: bool(server.requests))
        reply = await proxy.ask()
        assert reply.status == 503
        assert reply.headers["retry-after"] == "1"
        assert "queue_timeout_secs" in reply.problem["detail"]
        first.transport.abortConnection()
        await server.peers[0].gone
        assert len(server.peers) == 1
