"""The gateway's life: beginning, readiness, draining to a deadline, and what is left afterwards."""

import json
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
import pytest_twisted
import treq
from twisted.application.service import MultiService
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseNeverReceived

from harmonygw.config.model import ListeningAddress
from harmonygw.errors import ConfigurationError, TransportError
from harmonygw.net.http.forwarded import Forwarded
from harmonygw.net.http.server import HTTPSite
from harmonygw.net.http.tree import ToHTTPS
from harmonygw.service import Gateway
from harmonygw.service.life import ENDING_SECS
from tests.certificates import identity
from tests.net.http.asking import ask
from tests.service.conftest import Build, Configure
from tests.service.parts import MAIN, Held, Late, web

DRAINING = MAIN.replace('id = "gateway"', 'id = "gateway"\ndrain_delay_secs = 5\ndrain_timeout_secs = 30')
DOOR = """
[pipelines.scp]
networks = ["default"]
endpoints = ["{name}"]
backends = ["pacs"]

[endpoints.{name}]
service = "door"

[backends.pacs]
service = "telling"
"""


def failure_of(deferred: "Deferred[None]") -> Any:
    found: list[Any] = []
    deferred.addErrback(lambda failure: found.append(failure.value))
    return found[0]


def readiness(gateway: Gateway) -> tuple[int, Any]:
    answered = ask(gateway._house.trees["default"], "/readyz")
    return answered.status, answered.document


class Asked:
    """A request on a connection to a gateway in memory."""

    def __init__(self, memory: MemoryReactorClock, target: str = "/dicom/studies") -> None:
        self.transport = StringTransport()
        self.channel: Any = memory.tcpServers[-1][1].buildProtocol(None)
        self.channel.makeConnection(self.transport)
        self.channel.dataReceived(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())

    @property
    def status(self) -> int:
        return int(self.transport.value().split()[1])


# Beginning


def test_backends_start_before_doors_and_then_it_is_ready(build: Build, diary: list[str], log: list[str]) -> None:
    gateway = build(web(), DOOR.format(name="scp"))
    told: list[bool] = []
    gateway.when_ready().addCallback(lambda _: told.append(gateway.ready))
    assert readiness(gateway) == (
        503,
        {"ready": False, "unauthenticated": False, "targets": {"archive": True, "pacs": True}},
    )
    gateway.privilegedStartService()
    assert diary[2:] == ["scp listens"]
    gateway.startService()
    assert diary[3:] == ["archive starts", "pacs starts", "scp starts"]
    assert told == [True]
    assert log == ["info: ready"]
    assert readiness(gateway)[0] == 200
    gateway.when_ready().addCallback(lambda _: told.append(True))
    assert told == [True, True]


def test_a_backend_may_take_its_time(build: Build, diary: list[str], log: list[str]) -> None:
    gateway = build(web("late"))
    gateway.startService()
    assert (gateway.ready, log) == (False, [])
    Late.starting.callback(None)
    assert (gateway.ready, log) == (True, ["info: ready"])


def test_warnings_are_logged_at_every_start(build: Build, log: list[str]) -> None:
    gateway = build(web(), main=MAIN.replace("127.0.0.1", "0.0.0.0"))
    gateway.startService()
    (warning,) = gateway.configuration.warnings
    assert log == [f"warn: {warning}", "info: ready"]
    assert readiness(gateway)[1]["unauthenticated"] is True
    assert gateway.describe()["pipelines"]["web"]["unauthenticated"] is True


def test_health_is_told_whatever_the_state(build: Build) -> None:
    answered = ask(build(web("late"))._house.trees["default"], "/healthz")
    assert (answered.status, answered.document) == (200, {"alive": True})


def test_each_network_listens_once_with_its_limits(build: Build, memory: MemoryReactorClock) -> None:
    limits = "[network.default.limits]\nmax_connections = 3\nmax_request_bytes = 9\nheader_timeout_secs = 4"
    gateway = build(web(), limits)
    gateway.privilegedStartService()
    gateway.startService()
    ((port, listening, backlog, interface),) = memory.tcpServers
    site = listening.current
    assert (port, backlog, interface) == (0, 511, "127.0.0.1")
    assert (site.limits.max_connections, site.limits.max_request_bytes) == (3, 9)
    assert (site.limits.header_timeout_secs, site.limits.max_header_bytes) == (4, 16384)


def test_a_request_has_no_limit_unless_one_is_given(build: Build, memory: MemoryReactorClock) -> None:
    build(web()).listen()
    assert memory.tcpServers[0][1].current.limits.max_request_bytes == 0


def test_a_network_with_certificates_speaks_tls(build: Build, memory: MemoryReactorClock, tmp_path: Any) -> None:
    identity("server").write(tmp_path, "server")
    gateway = build(
        web(), main=MAIN.replace("bind_port = 0", 'bind_port = 8443\ncert_path = "server.pem"\nkey_path = "server.key"')
    )
    gateway.listen()
    ((port, listening, _, interface),) = memory.tcpServers
    assert (port, interface) == (8443, "127.0.0.1")
    assert isinstance(listening.buildProtocol(None), TLSMemoryBIOProtocol)


def test_certificates_are_read_again_each_by_itself(
    build: Build, memory: MemoryReactorClock, tmp_path: Any, log: list[str]
) -> None:
    identity("server").write(tmp_path, "server")
    gateway = build(
        web(), main=MAIN.replace("bind_port = 0", 'bind_port = 8443\ncert_path = "server.pem"\nkey_path = "server.key"')
    )
    gateway.listen()
    certificates = gateway._house.certificates["default"]
    before = certificates.getContext()
    failing, fine = Certificates(wrong=True), Certificates()
    (backend,) = gateway._house.backends.values()
    backend.certificates = [failing, fine]
    gateway.reload_certificates()
    assert certificates.getContext() is not before
    assert (failing.read, fine.read) == (1, 1)
    assert sorted(log) == [
        "error: backends.archive goes on with the certificate that it has: k.pem: not a key",
        "info: backends.archive: the certificate was read again",
        "info: network.default: the certificate was read again",
    ]


class Certificates:
    """Certificates that can be read again, or cannot."""

    def __init__(self, *, wrong: bool = False) -> None:
        self.wrong = wrong
        self.read = 0

    def reload(self) -> None:
        self.read += 1
        if self.wrong:
            raise ConfigurationError(("k.pem: not a key",))


def test_a_network_may_send_everybody_to_https_and_trust_a_proxy(build: Build) -> None:
    gateway = build(
        web(),
        '[network.default]\ntrusted_proxies = ["10.0.0.0/8"]',
        main=MAIN.replace("bind_port = 0", "bind_port = 0\nforce_https = true"),
    )
    root = gateway._house.root("default")
    assert isinstance(root, Forwarded)
    assert isinstance(root._root, ToHTTPS)
    assert root._trusted == (ip_network("10.0.0.0/8"),)
    assert ask(root, "/dicom/studies").header["location"] == "https://h/dicom/studies"
    told = ask(root, "/dicom/studies", "X-Forwarded-Proto: https", "X-Forwarded-Host: g.example", peer="10.0.0.1")
    assert told.document["base_url"] == "https://g.example/dicom"


# What cannot begin


class Taken(MemoryReactorClock):
    """A reactor one of whose ports is taken."""

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        if port == 8081:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        return super().listenTCP(port, factory, backlog, interface)


def test_ports_that_are_taken_are_named_together_and_nothing_stays_open(configure: Configure, diary: list[str]) -> None:
    memory = Taken()
    second = '[network.second.http]\nbind_address = "::1"\nbind_port = 8081'
    gateway = Gateway(
        configure(
            web().replace('["default"]', '["default", "second", "third"]'),
            second,
            '[network.third.http]\nbind_address = "127.0.0.1"\nbind_port = 8082',
            DOOR.format(name="scp"),
            DOOR.format(name="taken").replace("pipelines.scp", "pipelines.taken").replace("pacs", "other"),
            main=MAIN.replace("bind_port = 0", "bind_port = 8081"),
        ),
        memory,
    )
    with pytest.raises(ConfigurationError) as caught:
        gateway.privilegedStartService()
    assert caught.value.problems == (
        "network.default: cannot listen on 127.0.0.1:8081: Address already in use (tcp_config.bind_address, bind_port)",
        "network.second: cannot listen on [::1]:8081: Address already in use (tcp_config.bind_address, bind_port)",
        "endpoints.taken: cannot listen",
    )
    assert diary[-3:] == ["scp listens", "taken stops", "scp stops"]
    assert len(gateway._ports) == 0


def test_a_port_that_a_backend_cannot_have_is_named(configure: Configure, log: list[str]) -> None:
    class Listening:
        def start(self) -> None:
            raise CannotListenError("", 104, PermissionError(13, "Permission denied"))

        def stop(self) -> None:
            pass

    gateway = Gateway(configure(web()), MemoryReactorClock())
    gateway._house.backends["archive"] = Listening()  # type: ignore[assignment]
    gateway.startService()
    error = failure_of(gateway.when_ready())
    assert str(error) == "backends.archive: cannot listen on *:104: Permission denied"
    assert log == [f"error: the gateway cannot start: {error}"]


@pytest.mark.parametrize(
    ("service", "kind", "line"),
    [
        ("unstartable", ConfigurationError, "error: the gateway cannot start: backends.archive: its disk is gone"),
        ("crashing", ZeroDivisionError, "critical: the gateway cannot start (ZeroDivisionError)"),
    ],
)
def test_what_cannot_start_stops_what_has_started(
    service: str, kind: type[Exception], line: str, build: Build, diary: list[str], log: list[str]
) -> None:
    gateway = build(web(pipeline="first", prefix="/first"), web(service), DOOR.format(name="scp"))
    waiting = gateway.when_ready()
    gateway.startService()
    assert isinstance(failure_of(waiting), kind)
    assert isinstance(failure_of(gateway.when_ready()), kind)
    assert not gateway.ready
    assert log == [line]
    assert diary[3:] == ["scp listens", "first_archive starts", "scp stops", "archive stops", "first_archive stops"]
    stopped = gateway.stopService()
    gateway._reactor.advance(0)
    assert stopped.called


def test_stopping_before_it_is_ready_gives_up(build: Build, memory: MemoryReactorClock, diary: list[str]) -> None:
    gateway = build(web("late"))
    waiting = gateway.when_ready()
    gateway.startService()
    stopped = gateway.stopService()
    assert stopped.called
    assert isinstance(failure_of(waiting), TransportError)
    assert diary[-2:] == ["archive starts", "archive stops"]
    assert memory.getDelayedCalls() == []


# Ending


def test_what_was_never_started_stops_at_once(build: Build, memory: MemoryReactorClock, diary: list[str]) -> None:
    assert build(web()).stopService().called
    assert diary == ["archive is built"]
    assert memory.getDelayedCalls() == []


def test_it_drains_as_configured(build: Build, memory: MemoryReactorClock, diary: list[str], log: list[str]) -> None:
    gateway = build(web("held"), DOOR.format(name="scp"), main=DRAINING)
    gateway.startService()
    asked = Asked(memory)
    stopped = gateway.stopService()
    assert gateway.stopService().called
    assert (readiness(gateway)[0], len(gateway._ports)) == (503, 1)
    memory.advance(4.9)
    late = Asked(memory, "/dicom/studies/1")
    assert len(gateway._ports) == 1
    memory.advance(0.1)
    assert len(gateway._ports) == 0
    assert diary[-1] == "scp drains"
    memory.advance(29)
    assert not stopped.called
    assert diary[-1] == "scp drains"
    Held.held.callback(None)
    assert (late.status, late.transport.disconnecting) == (200, True)
    late.channel.connectionLost(Failure(ConnectionDone()))
    assert "archive is cancelled" not in diary
    memory.advance(1)
    assert diary[-4:] == ["archive is cancelled", "scp stops", "pacs stops", "archive stops"]
    assert asked.transport.value() == b""
    assert asked.transport.disconnected
    asked.channel.connectionLost(Failure(ConnectionDone()))
    assert stopped.called
    assert memory.getDelayedCalls() == []
    assert [line for line in log if "archive" not in line and "aborted" not in line] == [
        "info: ready",
        "info: draining: /readyz says 503 for 5 s",
        "info:  complete",
        "warn: exchanges have not ended within drain_timeout_secs; they are broken off",
        "info: stopped",
    ]


def test_it_stops_as_soon_as_the_last_exchange_has_ended(build: Build, memory: MemoryReactorClock) -> None:
    gateway = build(web("held"), main=DRAINING)
    gateway.startService()
    asked = Asked(memory)
    stopped = gateway.stopService()
    memory.advance(5)
    memory.advance(3)
    Held.held.callback(None)
    assert asked.status == 200
    assert b"backend" in asked.transport.value()
    assert not stopped.called
    asked.channel.connectionLost(Failure(ConnectionDone()))
    assert stopped.called
    assert memory.getDelayedCalls() == []


def test_an_idle_connection_does_not_keep_it(build: Build, memory: MemoryReactorClock) -> None:
    gateway = build(web())
    gateway.startService()
    asked = Asked(memory)
    stopped = gateway.stopService()
    assert asked.transport.disconnecting
    asked.channel.connectionLost(Failure(ConnectionDone()))
    assert stopped.called


def test_what_never_stops_is_left_behind(build: Build, memory: MemoryReactorClock, log: list[str]) -> None:
    gateway = build(web("endless"))
    gateway.startService()
    stopped = gateway.stopService()
    memory.advance(ENDING_SECS)
    assert stopped.called
    assert log[1:] == ["critical: backends.archive did not stop (TimeoutError)", "info: stopped"]
    assert memory.getDelayedCalls() == []


def test_a_resource_that_is_mounted_elsewhere_is_not_listened_for_and_drains_too(
    build: Build, memory: MemoryReactorClock, diary: list[str]
) -> None:
    gateway = build(web("held"))
    root = gateway.resource("default")
    gateway.startService()
    assert memory.tcpServers == []
    memory.listenTCP(0, HTTPSite(root, reactor=memory))
    asked = Asked(memory)
    stopped = gateway.stopService()
    assert not stopped.called
    Held.held.callback(None)
    assert asked.status == 200
    assert stopped.called


def test_what_is_not_there_cannot_be_had(build: Build) -> None:
    gateway = build(web(), "[network.dimse.http]\nbind_port = 11112")
    with pytest.raises(ConfigurationError, match='network "dimse" serves no HTTP'):
        gateway.resource("dimse")
    with pytest.raises(ConfigurationError, match='there is no pipeline "absent"'):
        gateway.pipeline("absent")


def test_a_description_has_no_secret(build: Build) -> None:
    gateway = build(web(), '[authentications.us]\nmethod = "basic"\noptions = { username = "u", password = "hunter2" }')
    gateway.startService()
    described = gateway.describe()
    assert "hunter2" not in json.dumps(described)
    assert described["info"]["ready"] is True
    assert described["routes"] == [
        {
            "network": "default",
            "address": "127.0.0.1:0",
            "path_prefix": "/dicom",
            "pipeline": "web",
            "endpoint": "web",
        }
    ]


# Real sockets


@pytest.fixture
def running(configure: Configure) -> Iterator[Gateway]:
    gateway = Gateway(configure(web("held")), reactor)
    parent = MultiService()
    gateway.setServiceParent(parent)
    parent.privilegedStartService()
    parent.startService()
    yield gateway
    pytest_twisted.blockon(parent.stopService())
    assert [site.connections._open for site in gateway._sites] == [{}]


@pytest_twisted.ensureDeferred
async def test_over_sockets_a_slow_reply_ends_before_the_gateway_does(running: Gateway) -> None:
    host, port = running.address("default")
    assert (host, port > 0) == ("127.0.0.1", True)
    url = f"http://127.0.0.1:{port}/dicom/studies".encode()
    asking = Agent(reactor).request(b"GET", url)
    while not (hasattr(Held, "held") and not Held.held.called):
        await deferLater(reactor, 0.005)
    stopped = running.stopService()
    await deferLater(reactor, 0.05)
    with pytest.raises(Exception, match="refused"):
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Protocol())
    assert not stopped.called
    Held.held.callback(None)
    response = await asking
    assert (response.code, (await treq.json_content(response))["backend"]) == (200, "archive")
    await stopped
    assert running.address("default") == ListeningAddress("127.0.0.1", 0)


@pytest_twisted.ensureDeferred
async def test_over_sockets_a_port_that_is_taken_is_named(running: Gateway, configure: Configure) -> None:
    port = running.address("default").port
    second = Gateway(configure(web(), main=MAIN.replace("bind_port = 0", f"bind_port = {port}")), reactor)
    with pytest.raises(ConfigurationError, match=f"network.default: cannot listen on 127.0.0.1:{port}: Address"):
        second.privilegedStartService()


@pytest_twisted.ensureDeferred
async def test_over_sockets_what_takes_too_long_is_reset(configure: Configure, diary: list[str]) -> None:
    main = MAIN.replace('id = "gateway"', 'id = "gateway"\ndrain_timeout_secs = 0.1')
    before = set(reactor.getDelayedCalls())
    gateway = Gateway(configure(web("held"), main=main), reactor)
    gateway.startService()
    port = gateway.address("default").port
    asking = Agent(reactor).request(b"GET", f"http://127.0.0.1:{port}/dicom/studies".encode())
    while "archive is asked" not in diary:
        await deferLater(reactor, 0.005)
    await gateway.stopService()
    with pytest.raises(ResponseNeverReceived):
        await asking
    assert diary[-2:] == ["archive is cancelled", "archive stops"]
    assert set(reactor.getDelayedCalls()) <= before
