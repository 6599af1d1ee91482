"""Datagrams to a collector: one message each, whole; refusals come back; what is too long is told."""

import errno
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.task import deferLater

from harmonygw.audit.udp_collector import UDPCollector
from harmonygw.disk import Disk
from harmonygw.errors import HarmonyError, TransportError


@pytest_twisted.async_yield_fixture
async def disk() -> AsyncIterator[Disk]:
    disk = Disk(reactor, threads=1, name="test")
    disk.start()
    yield disk
    await disk.stop()


def receiver(family: int = socket.AF_INET, address: str = "127.0.0.1") -> socket.socket:
    found = socket.socket(family, socket.SOCK_DGRAM)
    found.bind((address, 0))
    found.settimeout(5)
    return found


def never(error: object) -> None:
    raise AssertionError(error)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
@ensureDeferred
async def test_a_message_is_a_datagram(disk: Disk, family: int, address: str) -> None:
    with receiver(family, address) as there:
        collector = UDPCollector(address, there.getsockname()[1], reactor, disk)
        await collector.open(never)
        longest = b"x" * 65_507
        assert await collector.send([b"<85>1 a", "ü".encode(), longest]) == []
        assert [there.recv(70_000) for _ in range(3)] == [b"<85>1 a", b"\xc3\xbc", longest]
        assert collector.taken() == 3
        assert not await collector.close()
        await collector.open(never)
        assert collector.taken() == 0
        collector.abort()


@ensureDeferred
async def test_a_message_that_no_datagram_holds_comes_back_and_the_others_go(disk: Disk) -> None:
    with receiver() as there:
        collector = UDPCollector("127.0.0.1", there.getsockname()[1], reactor, disk)
        await collector.open(never)
        assert await collector.send([b"a", b"x" * 65_508, b"b"]) == [b"x" * 65_508]
        assert [there.recv(100), there.recv(100), collector.taken()] == [b"a", b"b", 3]
        collector.abort()


@ensureDeferred
async def test_nobody_there_is_noticed_once_and_nothing_goes_out_then(disk: Disk) -> None:
    with receiver() as there:
        port = there.getsockname()[1]
    lost: list[HarmonyError] = []
    collector = UDPCollector("127.0.0.1", port, reactor, disk)
    await collector.open(lost.append)
    await collector.send([b"a"])
    for _ in range(100):
        if lost:
            break
        await deferLater(reactor, 0.01)
    assert [str(error) for error in lost] == ["the collector refuses datagrams"]
    with pytest.raises(TransportError, match="refuses datagrams"):
        await collector.send([b"b"])
    assert len(lost) == 1
    collector.abort()
    with pytest.raises(TransportError, match="given up"):
        await collector.send([b"b"])


@ensureDeferred
async def test_a_name_that_nobody_has_and_a_socket_that_there_is_not(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(TransportError, match="address was not found"):
            await UDPCollector("nobody.invalid", 514, reactor, disk).open(never)

    class Full:
        def listenUDP(self, *_: Any, **__: Any) -> None:
            raise CannotListenError("", 0, OSError(errno.EMFILE, "no more"))

    with pytest.raises(TransportError, match="address was not found"):
        await UDPCollector("127.0.0.1", 514, Full(), disk).open(never)


class Port:
    """Stands for a socket: each write ends as it is told."""

    def __init__(self, *endings: Exception | None) -> None:
        self.endings = list(endings)
        self.written: list[bytes] = []

    def connect(self, host: str, port: int) -> None:
        self.to = (host, port)

    def write(self, datagram: bytes) -> None:
        ending = self.endings.pop(0)
        if ending is not None:
            raise ending
        self.written.append(datagram)

    def stopListening(self) -> None:
        pass


class Reactor:
    """Has one socket, and the real reactor's time."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.callLater = reactor.callLater

    def listenUDP(self, port: int, protocol: Any, interface: str = "") -> None:
        protocol.transport = self.port


@ensureDeferred
async def test_a_system_without_room_is_asked_again_and_a_network_that_is_none_is_a_loss(disk: Disk) -> None:
    busy = [OSError(number, os.strerror(number)) for number in (errno.EAGAIN, errno.ENOBUFS)]
    port = Port(*busy, None, MessageLengthError("long"), OSError(errno.ENETUNREACH, "no network"))
    collector = UDPCollector("127.0.0.1", 514, Reactor(port), disk)
    await collector.open(never)
    assert port.to == ("127.0.0.1", 514)
    assert await collector.send([b"a", b"long"]) == [b"long"]
    assert (port.written, collector.taken()) == ([b"a"], 2)
    with pytest.raises(TransportError) as lost:
        await collector.send([b"b"])
    assert lost.value.log_detail == "[Errno 101] no network"
    assert collector.taken() == 2
