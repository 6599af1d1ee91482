"""The sites of a gateway: bound before they serve, kept by their address, and mounted elsewhere."""

from typing import Any

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.web.resource import IResource

from harmonygw.config.model import ListeningAddress, Network
from harmonygw.config.system import Limits, TCPSettings
from harmonygw.errors import ConfigurationError
from harmonygw.net.ports import Ports, Upcoming
from harmonygw.service.sites import Mounted, Sites, Wanted
from tests.net.http.asking import Told, ask


class Memory(MemoryReactorClock):
    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        if port == 81:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        return super().listenTCP(port, factory, backlog, interface)


class Served:
    """Sites, and the ports that they listen on."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.ports = Ports(self.memory)
        self.sites = Sites(self.memory)

    def bind(self, **networks: Wanted) -> tuple[Any, list[str]]:
        upcoming = Upcoming(self.ports)
        bound, problems = self.sites.bind(networks, upcoming)
        upcoming.begin()
        return bound, problems

    def serve(self, **networks: Wanted) -> list[Any]:
        bound, problems = self.bind(**networks)
        assert problems == []
        return self.sites.replace(bound)


@pytest.fixture
def served() -> Served:
    return Served()


def wanted(port: int, name: str = "", **limits: Any) -> Wanted:
    tcp = TCPSettings(bind_address="127.0.0.1", bind_port=port)
    return Wanted(Network(tcp_config=tcp, limits=Limits(**limits)), Told(name), None)


def names(served: Served) -> list[str]:
    return [ask(site.resource, "/a").document["name"] for site in served.sites]


def test_what_stays_where_it_was_is_the_same_site_with_another_root_and_limits(served: Served) -> None:
    served.serve(one=wanted(80, "first"), two=wanted(82, "second"))
    sites = list(served.sites)
    left = served.serve(renamed=wanted(80, "third", max_connections=7, max_request_bytes=9), three=wanted(83, "fourth"))
    assert left == [sites[1]]
    assert next(iter(served.sites)) is sites[0]
    assert (sites[0].limits.max_connections, sites[0].limits.max_request_bytes) == (7, 9)
    assert names(served) == ["third", "fourth"]
    assert len(served.ports) == 2


def test_a_port_that_the_system_chose_stays_with_its_network(served: Served) -> None:
    served.serve(one=wanted(0, "first"), two=wanted(0, "second"))
    sites = list(served.sites)
    assert served.serve(two=wanted(0, "third")) == [sites[0]]
    assert list(served.sites) == [sites[1]]


def test_what_is_only_bound_changes_nothing(served: Served) -> None:
    served.serve(one=wanted(80, "first"))
    bound, problems = served.bind(one=wanted(80, "second"), two=wanted(81), three=wanted(82))
    sentence = "cannot listen on 127.0.0.1:81: Address already in use (tcp_config.bind_address, bind_port)"
    assert problems == [f"network.two: {sentence}"]
    assert list(bound) == ["one", "three"]
    for one in bound.values():
        one.lease.stopListening()
    assert names(served) == ["first"]
    assert len(served.ports) == 1


def test_an_address_is_told_while_it_is_listened_on(served: Served) -> None:
    served.serve(one=wanted(80))
    assert served.sites.address("one") == ListeningAddress("127.0.0.1", 80)
    assert served.sites.address("two") is None
    assert len(served.sites.release()) == 1
    assert served.sites.address("one") is None
    assert len(served.ports) == 0


def test_what_is_mounted_is_asked_for_at_each_request() -> None:
    roots: list[IResource] = [Told("first")]

    def root() -> IResource:
        if not roots:
            raise ConfigurationError(("it serves no HTTP",))
        return roots[0]

    mounted = Mounted(root)
    assert ask(mounted, "/a").document["name"] == "first"
    roots[0] = Told("second")
    assert ask(mounted, "/a").document["name"] == "second"
    roots.clear()
    assert ask(mounted, "/a").status == 404
