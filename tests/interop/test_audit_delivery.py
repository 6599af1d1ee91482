"""The audit trail to real collectors on loopback: they come and go, and everything arrives, in order."""

import itertools
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, globalLogPublisher

from harmonygw.audit import delivery as module
from harmonygw.audit.delivery import Delivery
from harmonygw.audit.tls_collector import TLSCollector
from harmonygw.audit.udp_collector import UDPCollector
from harmonygw.config.audit import Audit
from harmonygw.net.tls import server_options
from tests.certificates import Identity, identity
from tests.interop.processes import ROOT, free_port

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]


class Collection(Factory):
    """A syslog collector over TLS (RFC 5425), which can be stopped and started."""

    def __init__(self, folder: Path, authority: Identity) -> None:
        self.files = identity("127.0.0.1", authority).write(folder, "collector")
        self.port = free_port()
        self.messages: list[bytes] = []
        self.connections: set[Protocol] = set()
        self.listening: Any = None

    def buildProtocol(self, addr: object) -> Protocol:
        return Reading(self)

    def start(self) -> None:
        options = server_options(*self.files, protocols=())
        self.listening = reactor.listenSSL(self.port, self, options, interface="127.0.0.1")

    def stop(self) -> None:
        """End as a process does that is killed: what has not been read is gone."""
        self.listening.stopListening()
        for connection in list(self.connections):
            connection.transport.abortConnection()  # type: ignore[union-attr]

    @property
    def xml(self) -> list[bytes]:
        """What was sent, without the headers."""
        return [message.partition(b" DICOM+RFC3881 - \xef\xbb\xbf")[2] for message in self.messages]


class Reading(Protocol):
    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.buffer = b""

    def connectionMade(self) -> None:
        self.collection.connections.add(self)

    def connectionLost(self, reason: object = None) -> None:
        self.collection.connections.discard(self)

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        while b" " in self.buffer[:8]:
            length, _, rest = self.buffer.partition(b" ")
            if len(rest) < int(length):
                return
            self.collection.messages.append(rest[: int(length)])
            self.buffer = rest[int(length) :]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waits that a test would have to sit through."""
    monkeypatch.setattr(module, "FIRST_BACKOFF", 0.02)
    monkeypatch.setattr(module, "LONGEST_BACKOFF", 0.1)
    monkeypatch.setattr(module, "LOOK_SECS", 0.02)
    monkeypatch.setattr(TLSCollector, "settle_secs", 0.2)
    monkeypatch.setattr(UDPCollector, "settle_secs", 0.2)


@pytest.fixture
def logged() -> Any:
    events: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == "harmonygw.audit":
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield lambda: [event["log_format"].format(**event) for event in events]
    globalLogPublisher.removeObserver(observe)


@asynccontextmanager
async def delivering(folder: Path, **settings: Any) -> AsyncIterator[Delivery]:
    delivery = Delivery(Audit(enabled=True, spool_path=str(folder / "spool"), **settings), reactor)
    delivery._backoff = module.FIRST_BACKOFF
    await delivery.start()
    try:
        yield delivery
    finally:
        await delivery.stop()


async def until(condition: Callable[[], Any]) -> None:
    for _ in range(2000):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it did not become so")


def firsts(messages: list[bytes]) -> list[bytes]:
    """Return messages without those that came again."""
    return list(dict.fromkeys(messages))


def in_order(messages: list[bytes], expected: list[bytes]) -> None:
    """What came is what was sent: all of it, and after each interruption from some earlier message on without a gap."""
    assert firsts(messages) == expected
    place = {message: number for number, message in enumerate(expected)}
    numbers = [place[message] for message in messages]
    assert all(after <= before + 1 for before, after in itertools.pairwise(numbers))


@pytest.mark.usefixtures("quick")
@ensureDeferred
async def test_a_collector_that_comes_and_goes_gets_everything_in_order(tmp_path: Path, logged: Any) -> None:
    authority = identity("authority", authority=True)
    ca, _ = authority.write(tmp_path, "ca")
    collection = Collection(tmp_path, authority)
    settings = {"host": "127.0.0.1", "port": collection.port, "ca_path": ca}
    expected: list[bytes] = []
    ended: Deferred[None] = Deferred()

    async with delivering(tmp_path, **settings) as delivery:

        def put() -> None:
            for _ in range(25):
                expected.append(b"<AuditMessage n='%d'/>" % len(expected) + b" " * (len(expected) % 3000))
                delivery.put(expected[-1])
            if len(expected) < 5000:
                reactor.callLater(0.005, put)
            else:
                ended.callback(None)

        put()
        for _ in range(4):
            collection.start()
            before = len(collection.messages)
            await until(lambda: len(collection.messages) > before + 200)  # noqa: B023 - it is awaited in this turn
            collection.stop()
            await deferLater(reactor, 0.05)
        await ended
        assert not delivery.state()["connected"]
        assert delivery.state()["waiting"] > 0
        collection.start()
        await until(lambda: delivery.state()["waiting"] == 0)
        assert delivery.state()["connected"]
    in_order(collection.xml, [message.strip() for message in expected])
    assert "is away" in logged()[0]
    collection.stop()


@pytest.mark.usefixtures("quick")
@ensureDeferred
async def test_what_waits_at_a_restart_is_delivered_first_and_the_end_is_orderly(tmp_path: Path) -> None:
    authority = identity("authority", authority=True)
    ca, _ = authority.write(tmp_path, "ca")
    collection = Collection(tmp_path, authority)
    settings = {"host": "127.0.0.1", "port": collection.port, "ca_path": ca}
    expected = [b"<A n='%d'/>" % number for number in range(300)]
    async with delivering(tmp_path, **settings) as delivery:
        for message in expected[:100]:
            delivery.put(message)
    collection.start()
    async with delivering(tmp_path, **settings) as delivery:
        for message in expected[100:200]:
            delivery.put(message)
        await until(lambda: collection.messages)
    assert collection.xml == expected[:200], "the stop has sent the rest"
    async with delivering(tmp_path, **settings) as delivery:
        assert delivery.state()["waiting"] == 0, "the collector has answered our close_notify"
        await until(lambda: delivery.state()["connected"])
        for message in expected[200:]:
            delivery.put(message)
    assert collection.xml == expected
    collection.stop()


SENDER = """
import sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from harmonygw.audit.delivery import Delivery
from harmonygw.config.audit import Audit

async def main():
    port, ca, spool, number = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    delivery = Delivery(Audit(enabled=True, host="127.0.0.1", port=port, ca_path=ca, spool_path=spool), reactor)
    await delivery.start()
    def some():
        nonlocal number
        for _ in range(20):
            delivery.put(b"<A n='%d'/>" % number)
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()
            number += 1
        reactor.callLater(0.002, some)
    some()

Deferred.fromCoroutine(main()).addErrback(lambda failure: (failure.printTraceback(), reactor.stop()))
reactor.run()
"""


class Killed(ProcessProtocol):
    """A process that puts messages and tells their numbers, until it is killed."""

    def __init__(self) -> None:
        self.told = b""
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.told += data

    def processEnded(self, reason: object) -> None:
        self.ended.callback(None)


@pytest.mark.usefixtures("quick")
@ensureDeferred
async def test_a_gateway_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    authority = identity("authority", authority=True)
    ca, _ = authority.write(tmp_path, "ca")
    collection = Collection(tmp_path, authority)
    collection.start()
    settings = [str(collection.port), ca, str(tmp_path / "spool")]
    put = 0
    for _ in range(3):
        killed = Killed()
        before = len(collection.messages)
        process = reactor.spawnProcess(
            killed, sys.executable, [sys.executable, "-c", SENDER, *settings, str(put)], env=None, path=str(ROOT)
        )
        await until(lambda: len(collection.messages) > before + 500)  # noqa: B023 - it is awaited in this turn
        process.signalProcess("KILL")
        await killed.ended
        put = int(killed.told.rpartition(b"\n")[0].rpartition(b"\n")[2]) + 1
        # One more may have been written whose number was not told any more: it is told twice then, with one number.
    async with delivering(tmp_path, host="127.0.0.1", port=collection.port, ca_path=ca) as delivery:
        await until(lambda: delivery.state()["waiting"] == 0)
    in_order(collection.xml, [b"<A n='%d'/>" % number for number in range(max(put, len(firsts(collection.xml))))])
    assert len(firsts(collection.xml)) in {put, put + 1}
    collection.stop()


@pytest.mark.usefixtures("quick")
@ensureDeferred
async def test_who_is_not_the_collector_gets_nothing_and_the_messages_wait(tmp_path: Path, logged: Any) -> None:
    impostor = Collection(tmp_path, identity("somebody", authority=True))
    ca, _ = identity("authority", authority=True).write(tmp_path, "ca")
    impostor.start()
    async with delivering(tmp_path, host="127.0.0.1", port=impostor.port, ca_path=ca) as delivery:
        delivery.put(b"<secret/>")
        await until(lambda: delivery.state()["failure"])
        await deferLater(reactor, 0.3)
        state = delivery.state()
        assert (state["connected"], state["waiting"], state["accepting"]) == (False, 1, True)
        assert "certificate verify failed" in state["failure"]
    assert impostor.messages == []
    assert len(logged()) == 1
    assert "certificate verify failed" in logged()[0]
    assert "secret" not in "".join(logged())
    impostor.stop()


@pytest.mark.usefixtures("quick")
@ensureDeferred
async def test_datagrams_wait_while_nobody_listens(tmp_path: Path, logged: Any) -> None:
    port = free_port()
    expected = [b"<A n='%d'/>" % number for number in range(50)]
    async with delivering(tmp_path, transport="syslog_udp", host="127.0.0.1", port=port) as delivery:
        for message in expected[:30]:
            delivery.put(message)
        await until(lambda: delivery.state()["failure"])
        assert delivery.state()["waiting"] == 30
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
            collector.bind(("127.0.0.1", port))
            collector.setblocking(False)
            for message in expected[30:]:
                delivery.put(message)
            await until(lambda: delivery.state()["waiting"] == 0)
            received = []
            for _ in range(1000):
                try:
                    received.append(collector.recv(70_000))
                except BlockingIOError:
                    break
    assert all(message.startswith(b"<85>1 20") for message in received)
    in_order([message.partition(b"\xef\xbb\xbf")[2] for message in received], expected)
    assert [line.partition(":")[0] for line in logged()] == ["audit", "audit"]


@ensureDeferred
async def test_a_file_has_a_line_a_message_and_may_be_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "log" / "audit.log"
    async with delivering(tmp_path, transport="file", path=str(path)) as delivery:
        delivery.put(b"<?xml version='1.0'?>\n<A/>\n")
        delivery.put(b"<B/>")
        await until(lambda: delivery.state()["waiting"] == 0)
        path.rename(tmp_path / "rotated")
        delivery.put(b"<C/>")
        await until(lambda: delivery.state()["waiting"] == 0)
        (tmp_path / "log" / "audit.log").unlink()
        (tmp_path / "log").rmdir()
        (tmp_path / "log").write_bytes(b"")
        delivery.put(b"<D/>")
        await until(lambda: delivery.state()["failure"])
        assert delivery.state()["waiting"] == 1
        (tmp_path / "log").unlink()
        await until(lambda: delivery.state()["waiting"] == 0)
    lines = (tmp_path / "rotated").read_bytes().splitlines()
    assert [line.partition(b"\xef\xbb\xbf")[2] for line in lines] == [b"<?xml version='1.0'?> <A/>", b"<B/>"]
    assert path.read_bytes().endswith(b"\xef\xbb\xbf<D/>\n")
