"""Listening ports that pass from one to the next: whose turn it is, and when a socket is closed."""

from typing import Any

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOProtocol

from harmonygw.net.ports import Ports, Upcoming
from harmonygw.net.tls import ServerCertificates
from tests.certificates import identity


class Named(Factory):
    noisy = False
    protocol = Protocol

    def __init__(self, name: str) -> None:
        self.name = name


class Memory(MemoryReactorClock):
    """A reactor that remembers which sockets were closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[int] = []

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        if port == 81:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        listening = super().listenTCP(port, factory, backlog, interface)
        listening.stopListening = lambda: self.closed.append(port)  # type: ignore[method-assign]
        return listening


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def ports(memory: Memory) -> Ports:
    return Ports(memory)


def served_by(memory: Memory, number: int = 0) -> str:
    """Return the name of the factory that makes the protocol of a new connection."""
    listening: Any = memory.tcpServers[number][1]
    return str(listening.buildProtocol(None).factory.name)


def test_an_address_is_bound_once_and_the_last_one_has_its_connections(memory: Memory, ports: Ports) -> None:
    first = ports.listen(80, Named("first"), interface="127.0.0.1", backlog=9)
    assert [(port, *more) for port, _, *more in memory.tcpServers] == [(80, 9, "127.0.0.1")]
    assert served_by(memory) == "first"
    second = ports.listen(80, Named("second"), interface="127.0.0.1")
    assert (len(memory.tcpServers), len(ports), served_by(memory)) == (1, 1, "second")
    assert first.stopListening().called
    assert (memory.closed, served_by(memory)) == ([], "second")
    assert second.stopListening().called
    assert (memory.closed, len(ports)) == ([80], 0)


def test_who_goes_away_again_leaves_the_address_to_who_had_it(memory: Memory, ports: Ports) -> None:
    ports.listen(80, Named("first"))
    second = ports.listen(80, Named("second"))
    second.stopListening()
    second.stopListening()
    assert (memory.closed, served_by(memory)) == ([], "first")


def test_an_address_that_was_closed_is_bound_anew(memory: Memory, ports: Ports) -> None:
    ports.listen(80, Named("first")).stopListening()
    ports.listen(80, Named("second"))
    assert (len(memory.tcpServers), served_by(memory, 1)) == (2, "second")


def test_addresses_are_told_apart_by_host_and_port_and_a_chosen_port_by_its_place(memory: Memory, ports: Ports) -> None:
    for port, interface, place in (
        (80, "127.0.0.1", "a"),
        (80, "127.0.0.1", "b"),
        (80, "", "a"),
        (80, "0.0.0.0", "b"),
        (80, "::", "a"),
        (0, "127.0.0.1", "a"),
        (0, "127.0.0.1", "a"),
        (0, "127.0.0.1", "b"),
    ):
        ports.listen(port, Named("one"), interface=interface, place=place)
    bound = [(port, interface) for port, _, _, interface in memory.tcpServers]
    assert bound == [(80, "127.0.0.1"), (80, ""), (80, "::"), (0, "127.0.0.1"), (0, "127.0.0.1")]


def test_an_address_that_cannot_be_had_leaves_nothing(ports: Ports) -> None:
    with pytest.raises(CannotListenError):
        ports.listen(81, Named("one"))
    assert len(ports) == 0


def test_the_address_is_told(ports: Ports) -> None:
    assert ports.listen(80, Named("one"), interface="127.0.0.1").getHost().port == 80


def test_tls_is_each_ones_own(memory: Memory, ports: Ports, tmp_path: Any) -> None:
    certificates = ServerCertificates(*identity("server").write(tmp_path, "server"))
    secured = ports.listen(80, Named("secured"), tls=certificates)
    listening: Any = memory.tcpServers[0][1]
    protocol = listening.buildProtocol(None)
    assert isinstance(protocol, TLSMemoryBIOProtocol)
    assert protocol.wrappedProtocol.factory.name == "secured"
    ports.listen(80, Named("plain"))
    secured.stopListening()
    assert served_by(memory) == "plain"


def test_who_is_to_come_waits_where_somebody_is_and_begins_with_all_at_once(memory: Memory, ports: Ports) -> None:
    ports.listen(80, Named("old"))
    upcoming = Upcoming(ports)
    upcoming.listen(80, Named("new"))
    alone = upcoming.listen(82, Named("alone"))
    assert (served_by(memory), served_by(memory, 1)) == ("old", "alone")
    later = ports.listen(80, Named("old, once more"))  # for a move of before that begins just now
    assert served_by(memory) == "old, once more"
    later.stopListening()
    upcoming.begin()
    assert served_by(memory) == "new"
    upcoming.listen(80, Named("newer"))
    assert served_by(memory) == "newer"
    alone.stopListening()
    assert memory.closed == [82]


def test_who_was_to_come_and_does_not_is_not_missed(memory: Memory, ports: Ports) -> None:
    old = ports.listen(80, Named("old"))
    new = Upcoming(ports).listen(80, Named("new"))
    new.stopListening()
    assert served_by(memory) == "old"
    old.stopListening()
    assert memory.closed == [80]
