"""TLS towards the web server behind the gateway: whom we believe, whom we do not, and who we say we are."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from harmonygw.errors import Incomplete, TimedOut, TransportError
from harmonygw.net.tls import server_options
from harmonygw.streams import Body, Pieces
from tests.backends.http.served import backend, request
from tests.certificates import Identity, identity
from tests.interop.web_server import Peer, WebServer, good, reactor

pytestmark = pytest.mark.interop


class SecureServer(WebServer):
    """The same over TLS."""

    def __init__(self, options: Any) -> None:
        self._tls = options
        super().__init__(good)

    def listen(self) -> None:
        self.listening = reactor.listenSSL(self.port, self, self._tls, interface="127.0.0.1")
        self.port = self.listening.getHost().port


class Place:
    """Certificates in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = identity("authority", authority=True)
        self.ca_path = self.authority.write(folder, "authority")[0]

    def signed(self, name: str, by: Identity | None = None) -> tuple[str, str]:
        return identity(name, by or self.authority).write(self.folder, name)


@asynccontextmanager
async def behind(
    folder: Path, server: WebServer, text: str, host: str = "127.0.0.1", connect_secs: float = 5
) -> AsyncGenerator[Any, None]:
    """A backend in front of a server."""
    options = f'max_retries = 0\n{text}\n[backends.server.options]\nbase_url = "https://{host}:{server.port}"\n'
    options += f"connect_timeout_secs = {connect_secs}\n"
    made = backend(folder, reactor, options)
    try:
        yield made
    finally:
        made.stop()
        await server.stop()


async def body(reply: Any) -> bytes:
    return b"".join([b"".join(pieces) async for pieces in reply.body])


@ensureDeferred
async def test_a_server_whose_certificate_our_authority_signed_is_asked(tmp_path: Path) -> None:
    place = Place(tmp_path)
    server = SecureServer(server_options(*place.signed("server")))
    async with behind(tmp_path, server, f'connection.ca_cert_path = "{place.ca_path}"') as made:
        assert await body(await made.respond(request("GET", "a"))) == b"good"
        assert await body(await made.respond(request("GET", "b"))) == b"good"
        assert len(server.peers) == 1
        assert server.peers[0].transport.negotiatedProtocol == b"http/1.1"


@ensureDeferred
async def test_a_server_that_somebody_else_signed_is_not_told_anything(tmp_path: Path) -> None:
    place, other = Place(tmp_path), identity("other", authority=True)
    server = SecureServer(server_options(*place.signed("server", by=other)))
    for text in (f'connection.ca_cert_path = "{place.ca_path}"', ""):
        async with behind(tmp_path, server, text) as made:
            with pytest.raises(TransportError) as refused:
                await made.respond(request("GET", "a"))
            assert "certificate verify failed" in refused.value.log_detail
            assert server.requests == []
        server.listen()
    await server.stop()


@ensureDeferred
async def test_a_certificate_for_another_name_is_not_believed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    server = SecureServer(server_options(*place.signed("server")))
    async with behind(tmp_path, server, f'connection.ca_cert_path = "{place.ca_path}"', "localhost") as made:
        with pytest.raises(TransportError) as refused:
            await made.respond(request("GET", "a"))
        assert "not for its host name" in refused.value.log_detail
        assert server.requests == []


@ensureDeferred
async def test_a_server_that_wants_to_know_who_we_are_is_shown_our_certificate(tmp_path: Path) -> None:
    place = Place(tmp_path)
    cert_path, key_path = place.signed("gateway")
    server = SecureServer(server_options(*place.signed("server"), place.ca_path))
    ca = f'connection.ca_cert_path = "{place.ca_path}"\n'
    mine = 'authentication = "own"\n[authentications.own]\nmethod = "mutual_tls"\n'
    mine += f'options = {{ cert_path = "{cert_path}", key_path = "{key_path}" }}\n'
    async with behind(tmp_path, server, ca + mine) as made:
        assert await body(await made.respond(request("GET", "a"))) == b"good"
        shown = server.peers[0].transport.getPeerCertificate().to_cryptography()
        assert shown.subject.rfc4514_string() == "CN=gateway"
    server.listen()
    async with behind(tmp_path, server, ca) as made:
        with pytest.raises(TransportError) as refused:
            await made.respond(request("GET", "a"))
        assert "certificate required" in refused.value.log_detail
        assert len(server.requests) == 1


@ensureDeferred
async def test_a_server_that_never_agrees_is_given_up_at_the_connect_time_out(tmp_path: Path) -> None:
    async def silent(peer: Peer) -> None:
        await Deferred()

    server = WebServer(silent)
    async with behind(tmp_path, server, "", connect_secs=0.3) as made:
        with pytest.raises(TimedOut, match="connect_timeout_secs"):
            await made.respond(request("GET", "a"))
        assert await server.peers[0].gone


@ensureDeferred
async def test_a_server_that_speaks_no_tls_is_an_error(tmp_path: Path) -> None:
    async def plain(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with behind(tmp_path, WebServer(plain), "") as made:
        with pytest.raises(TransportError) as refused:
            await made.respond(request("GET", "a"))
        assert "TLS" in refused.value.log_detail


@ensureDeferred
async def test_a_body_cut_short_below_tls_is_incomplete(tmp_path: Path) -> None:
    """Without a length only the end tells; below TLS anybody could have made that."""
    place = Place(tmp_path)

    async def cut(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        await peer.until(lambda data: b"more" in data or peer.gone.called)

    server = SecureServer(server_options(*place.signed("server")))
    server.script = cut
    async with behind(tmp_path, server, f'connection.ca_cert_path = "{place.ca_path}"') as made:
        reply = await made.respond(request("GET", "a"))
        pieces = await reply.body.__anext__()
        assert b"".join(pieces) == b"half of it"
        server.peers[0].transport.transport.loseConnection()  # the TCP connection, without TLS's own end
        with pytest.raises(Incomplete):
            await reply.body.__anext__()


@ensureDeferred
async def test_a_body_goes_out_at_the_servers_pace_below_tls_too(tmp_path: Path) -> None:
    place, size = Place(tmp_path), 16 * 1024 * 1024  # more than the kernel holds
    seen: list[int] = []

    async def take(peer: Peer) -> None:
        await peer.request()
        peer.transport.pauseProducing()
        await deferLater(reactor, 0.05)
        seen.append(source.size)
        peer.transport.resumeProducing()
        await peer.until(lambda data: len(data) == size)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")

    async def pieces() -> AsyncGenerator[Pieces, None]:
        for _ in range(size // 65536):
            await deferLater(reactor, 0)
            yield (bytes(65536),)

    server = SecureServer(server_options(*place.signed("server")))
    server.script = take
    source = Body(pieces(), length=size)
    async with behind(tmp_path, server, f'connection.ca_cert_path = "{place.ca_path}"') as made:
        reply = await made.respond(request("POST", "a", body=source))
        assert await body(reply) == b"good"
        assert seen[0] < size
