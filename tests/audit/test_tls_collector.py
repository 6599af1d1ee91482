"""A collector over TLS, on a loopback socket: what is framed, what has been taken, how it ends, and who is believed."""

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from harmonygw.audit import tls_collector as module
from harmonygw.audit.tls_collector import KEEPALIVE_SECS, USER_TIMEOUT_MS, TLSCollector
from harmonygw.config.audit import Audit
from harmonygw.errors import ConfigurationError, HarmonyError, TimedOut, TransportError
from tests.certificates import identity


class Peer:
    """A collector in a thread, which reads when it is told to."""

    def __init__(self, folder: Path, *, demanding: bool = False) -> None:
        root = identity("authority", authority=True)
        self.ca, _ = root.write(folder, "ca")
        cert, key = identity("127.0.0.1", root).write(folder, "server")
        self.own = identity("gateway", root).write(folder, "gateway")
        self.other, _ = identity("other", authority=True).write(folder, "other")
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(cert, key)
        if demanding:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(self.ca)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connection: ssl.SSLSocket | None = None

    def settings(self, **more: Any) -> Audit:
        return Audit(enabled=True, port=self.port, **{"host": "127.0.0.1", "ca_path": self.ca, **more})

    def accept(self) -> "Deferred[None]":
        """Accept a connection and shake hands, in a thread."""
        return in_thread(self._accept)

    def _accept(self) -> None:
        plain, _ = self.listener.accept()
        plain.settimeout(10)
        self.connection = self.context.wrap_socket(plain, server_side=True)

    def read(self, length: int) -> "Deferred[bytes]":
        return in_thread(self._read, length)

    def _read(self, length: int) -> bytes:
        assert self.connection is not None
        found = bytearray()
        while len(found) < length and (some := self.connection.recv(65536)):
            found += some
        return bytes(found)

    def answer_the_end(self) -> "Deferred[bytes]":
        """Read to close_notify, answer it, and return what came before."""

        def end() -> bytes:
            assert self.connection is not None
            found = self._read(1 << 30)
            self.connection.unwrap().close()
            return found

        return in_thread(end)

    def close(self) -> None:
        self.listener.close()
        if self.connection is not None:
            self.connection.close()


def in_thread(function: Any, *arguments: Any) -> "Deferred[Any]":
    result: Deferred[Any] = Deferred()

    def work() -> None:
        try:
            found = function(*arguments)
        except Exception as error:  # noqa: BLE001 - the test awaits it
            reactor.callFromThread(result.errback, error)
        else:
            reactor.callFromThread(result.callback, found)

    threading.Thread(target=work, daemon=True).start()
    return result


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    peer = Peer(tmp_path)
    yield peer
    peer.close()


class Losses(list[HarmonyError]):
    async def first(self) -> HarmonyError:
        for _ in range(500):
            if self:
                return self[0]
            await deferLater(reactor, 0.01)
        raise AssertionError("nothing was lost")


async def opened(peer: Peer, lost: Losses, **more: Any) -> TLSCollector:
    collector = TLSCollector(peer.settings(**more), reactor)
    accepted = peer.accept()
    await collector.open(lost.append)
    await accepted
    return collector


async def taken(collector: TLSCollector, wanted: int) -> None:
    for _ in range(500):
        if collector.taken() == wanted:
            return
        await deferLater(reactor, 0.01)
    raise AssertionError(f"taken: {collector.taken()}")


@ensureDeferred
async def test_messages_are_counted_octets_and_taken_when_they_were_acknowledged(peer: Peer) -> None:
    lost = Losses()
    collector = await opened(peer, lost)
    assert collector.name == f"tls 127.0.0.1:{peer.port}"
    assert collector.taken() == 0
    assert await collector.send([b"<85>1 a", "ü".encode()]) == []
    assert await collector.send([b"b"]) == []
    assert collector.taken() == 0, "it may not have been encrypted yet"
    assert await peer.read(16) == b"7 <85>1 a2 \xc3\xbc1 b"
    await taken(collector, 3)
    ended = peer.answer_the_end()
    assert await collector.close()
    assert await ended == b""
    assert lost == []
    assert collector.taken() == 3
    assert not await collector.close()


@ensureDeferred
async def test_a_connection_is_watched_by_the_system(peer: Peer) -> None:
    collector = await opened(peer, Losses())
    assert collector._connection is not None
    tcp = collector._connection.transport.transport.socket  # type: ignore[union-attr]
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    set_to = [tcp.getsockopt(socket.IPPROTO_TCP, option) for option in options]
    assert set_to == [KEEPALIVE_SECS, KEEPALIVE_SECS, 4, USER_TIMEOUT_MS]
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    collector.abort()


@ensureDeferred
async def test_who_reads_nothing_has_not_taken_it_and_is_waited_for(peer: Peer) -> None:
    lost = Losses()
    collector = await opened(peer, lost)
    message = bytes(1 << 20)
    sending = Deferred.fromCoroutine(collector.send([message] * 16))
    await deferLater(reactor, 0.3)
    assert not sending.called
    collector.taken()
    assert collector.taken() == 0
    whole = 16 * (len(b"1048576 ") + len(message))
    assert len(await peer.read(whole)) == whole
    assert await sending == []
    await taken(collector, 16)
    collector.abort()
    assert lost == []


@ensureDeferred
async def test_what_was_in_front_of_a_collector_that_ends_was_not_taken(peer: Peer) -> None:
    lost = Losses()
    collector = await opened(peer, lost)
    sending = Deferred.fromCoroutine(collector.send([bytes(1 << 20)] * 32))
    await deferLater(reactor, 0.1)
    assert peer.connection is not None
    peer.connection.close()
    with pytest.raises(TransportError):
        await sending
    assert len(lost) == 1
    assert collector.taken() == 0
    assert not await collector.close()
    collector.abort()


@pytest.mark.parametrize("how", ["reset", "closed", "close_notify"])
@ensureDeferred
async def test_a_collector_that_ends_is_lost_at_once(peer: Peer, how: str) -> None:
    lost = Losses()
    collector = await opened(peer, lost)
    await collector.send([b"one"])
    assert peer.connection is not None
    if how == "reset":
        peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "close_notify":
        assert await peer.read(5) == b"3 one"
        await in_thread(peer.connection.unwrap)
    peer.connection.close()
    assert isinstance(await lost.first(), TransportError)
    assert str(lost[0]) == "the collector closed the connection"
    with pytest.raises(TransportError):
        await collector.send([b"two"])
    collector.abort()
    with pytest.raises(TransportError, match="given up"):
        await collector.send([b"two"])
    assert len(lost) == 1


@ensureDeferred
async def test_who_does_not_answer_the_end_may_not_have_read_everything(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_SECS", 0.1)
    collector = await opened(peer, Losses())
    await collector.send([b"one"])
    assert not await collector.close()


@ensureDeferred
async def test_who_only_closes_may_not_have_read_everything(peer: Peer) -> None:
    collector = await opened(peer, Losses())
    await collector.send([b"one"])
    await peer.read(5)
    closing = Deferred.fromCoroutine(collector.close())
    assert peer.connection is not None
    peer.connection.close()
    assert not await closing


@ensureDeferred
async def test_who_is_not_of_our_authorities_gets_nothing(peer: Peer) -> None:
    collector = TLSCollector(peer.settings(ca_path=peer.other), reactor)
    accepted = peer.accept()
    lost = Losses()
    with pytest.raises(TransportError, match=r"TLS: .*certificate verify failed"):
        await collector.open(lost.append)
    with pytest.raises(OSError):
        await accepted


@ensureDeferred
async def test_who_has_another_name_gets_nothing_unless_names_do_not_count(peer: Peer) -> None:
    named = peer.settings(host="localhost")
    collector = TLSCollector(named, reactor)
    accepted = peer.accept()
    with pytest.raises(TransportError, match="not for its host name"):
        await collector.open(Losses().append)
    with pytest.raises(OSError):
        await accepted
    collector = TLSCollector(peer.settings(host="localhost", check_hostname=False), reactor)
    accepted = peer.accept()
    await collector.open(Losses().append)
    await accepted
    collector.abort()


@pytest.mark.parametrize("profile", ["bcp195", "strict"])
@ensureDeferred
async def test_our_certificate_is_shown_to_who_demands_it(tmp_path: Path, profile: str) -> None:
    peer = Peer(tmp_path, demanding=True)
    cert, key = peer.own
    collector = await opened(peer, Losses(), cert_path=cert, key_path=key, tls_profile=profile)
    assert peer.connection is not None
    subject = peer.connection.getpeercert()
    assert subject is not None
    assert subject["subject"] == ((("commonName", "gateway"),),)
    collector.abort()
    peer.close()


@ensureDeferred
async def test_a_collector_that_refuses_us_after_the_handshake_is_lost(tmp_path: Path) -> None:
    peer = Peer(tmp_path, demanding=True)
    lost = Losses()
    collector = TLSCollector(peer.settings(), reactor)
    accepted = peer.accept()
    await collector.open(lost.append)  # a client of TLS 1.3 is done before its certificate is missed
    await lost.first()
    with pytest.raises(OSError):
        await accepted
    peer.close()


@ensureDeferred
async def test_a_handshake_has_its_time(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECS", 0.1)
    collector = TLSCollector(peer.settings(), reactor)
    lost = Losses()
    with pytest.raises(TimedOut, match="no TLS handshake in time"):
        await collector.open(lost.append)
    assert lost == []


@ensureDeferred
async def test_reaching_it_can_be_given_up(peer: Peer) -> None:
    collector = TLSCollector(peer.settings(), reactor)
    opening = Deferred.fromCoroutine(collector.open(Losses().append))
    await deferLater(reactor, 0.05)
    opening.cancel()
    with pytest.raises(CancelledError):
        await opening
    collector.abort()
    collector.abort()
    assert collector.taken() == 0


@ensureDeferred
async def test_nobody_there_is_a_refused_connection(peer: Peer) -> None:
    peer.close()
    with pytest.raises(TransportError, match="the connection was refused"):
        await TLSCollector(peer.settings(), reactor).open(Losses().append)


def test_a_certificate_that_cannot_be_used_is_told_of_before_anything(peer: Peer, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.pem: not a PEM certificate file"):
        TLSCollector(peer.settings(ca_path=str(tmp_path / "none.pem")), reactor)
