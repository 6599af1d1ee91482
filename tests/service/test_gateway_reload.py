"""Another configuration in the place of one: what goes on, what is new, what ends when, and what changes nothing."""

import gc
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from harmonygw.errors import ConfigurationError, TimedOut, TransportError
from harmonygw.exchange import HTTPOrigin, Request
from harmonygw.pipeline import Context
from harmonygw.service import Gateway
from harmonygw.service.gateway import MAX_LEAVING, STARTING_SECS
from tests.certificates import identity
from tests.net.http.asking import ask
from tests.service.conftest import Build, Configure
from tests.service.parts import MAIN, Held, Late, Telling, diary, web
from tests.service.test_gateway import DOOR, Asked, Certificates, readiness


class Lasting(Telling):
    """Goes on while its options are the same but for the `loose` one."""

    @staticmethod
    def foundation(context: Context) -> object:
        return {name: value for name, value in context.options.items() if name != "loose"}

    def renew(self, context: Context) -> None:
        diary.append(f"{self.name} is renewed: {context.options.get('loose')}")


class Retiring:
    """A door with associations that outlast a reload."""

    retiring: ClassVar["list[Deferred[None]]"] = []

    def __init__(self, context: Any) -> None:
        pass

    def start(self) -> None:
        diary.append("door starts")

    def retire(self) -> "Deferred[None]":
        self.retiring.append(Deferred())
        return self.retiring[-1]

    def drain(self) -> None:
        diary.append("door drains")

    def stop(self) -> None:
        diary.append("door stops")


LASTING = '[services.lasting]\nmodule = "tests.service.test_gateway_reload:Lasting"\n'


def done(deferred: "Deferred[Any]") -> Any:
    found: list[Any] = []
    deferred.addCallbacks(found.append, lambda failure: found.append(failure.value))
    return found[0] if found else None


def test_the_old_house_stops_once_the_new_one_is_there(
    started: Build, configure: Configure, diary: list[str], log: list[str], memory: MemoryReactorClock
) -> None:
    gateway = started(web())
    told = done(gateway.reload(configure(web(prefix="/other"))))
    assert told == {
        "changed": {"endpoints": {"added": [], "removed": [], "changed": ["web"]}},
        "warnings": [],
        "needs_restart": [],
    }
    assert diary == ["archive is built", "archive starts", "archive stops"]
    root = gateway._house.root("default")
    assert (ask(root, "/dicom/studies").status, ask(root, "/other/studies").status) == (404, 200)
    assert log[:2] == ["info: ready", "info: the configuration was read again; changed: endpoints"]
    assert memory.getDelayedCalls() == []
    assert gateway.describe()["info"]["reloads"] == {"done": 1, "configurations_leaving": 0}
    assert gateway.configuration is gateway._house.configuration


def test_what_would_be_built_from_the_same_goes_on(started: Build, configure: Configure, diary: list[str]) -> None:
    gateway = started(web("lasting"), LASTING)
    done(gateway.reload(configure(web("lasting", prefix="/other"), LASTING)))
    done(gateway.reload(configure(web("lasting") + "options = { loose = 3 }", LASTING)))
    assert diary == ["archive is renewed: None", "archive is renewed: 3"]
    done(gateway.reload(configure(web("lasting") + "options = { tight = 3 }", LASTING)))
    assert diary[2:] == ["archive is built", "archive starts", "archive stops"]
    assert done(gateway.stopService()) is None
    assert diary[-1] == "archive stops"
    assert diary.count("archive stops") == 2


def test_a_request_under_way_ends_where_it_began_and_the_next_on_its_connection_is_new(
    started: Build, configure: Configure, memory: MemoryReactorClock, diary: list[str]
) -> None:
    gateway = started(web("held"))
    asked = Asked(memory)
    held = Held.held
    done(gateway.reload(configure(web(prefix="/other"))))
    assert len(memory.tcpServers) == 1
    assert diary == ["archive is asked", "archive is built", "archive starts"]
    held.callback(None)
    assert asked.status == 200
    assert diary[3:] == ["archive stops"]
    asked.transport.clear()
    asked.channel.dataReceived(b"GET /other/studies HTTP/1.1\r\nHost: h\r\n\r\n")
    assert asked.status == 200
    asked.transport.clear()
    asked.channel.dataReceived(b"GET /dicom/studies HTTP/1.1\r\nHost: h\r\n\r\n")
    assert asked.status == 404
    asked.channel.connectionLost(Failure(ConnectionDone()))


DRAINING = MAIN.replace('id = "gateway"', 'id = "gateway"\nreload_drain_timeout_secs = 100\ndrain_timeout_secs = 30')


def test_what_does_not_end_is_broken_off_at_its_time(
    started: Build, configure: Configure, memory: MemoryReactorClock, diary: list[str], log: list[str]
) -> None:
    gateway = started(web("held"), main=DRAINING)
    asked = Asked(memory)
    done(gateway.reload(configure(web())))
    memory.advance(129.9)
    memory.advance(0)
    assert "archive is cancelled" not in diary
    assert log[-1] == "info: exchanges of a configuration of before are told to end"
    memory.advance(30)
    assert diary[-2:] == ["archive is cancelled", "archive stops"]
    assert "warn: exchanges of a configuration of before have not ended; they are broken off" in log
    assert asked.transport.value() == b""
    assert gateway.describe()["info"]["reloads"]["configurations_leaving"] == 0
    assert memory.getDelayedCalls() == []


def test_a_door_leaves_its_associations_alone_until_they_have_to_end(
    started: Build, configure: Configure, memory: MemoryReactorClock, diary: list[str]
) -> None:
    service = '[services.retiring]\nmodule = "tests.service.test_gateway_reload:Retiring"\n'
    door = DOOR.format(name="scp").replace('service = "door"', 'service = "retiring"') + service
    gateway = started(web(), door, main=DRAINING)
    for _ in range(2):
        done(gateway.reload(configure(web(), door, main=DRAINING)))
    assert [line for line in diary if "door" in line] == ["door starts"] * 2
    Retiring.retiring[-1].callback(None)
    assert (diary.count("door drains"), diary.count("door stops")) == (0, 0), "one of before may ask in it"
    memory.advance(100)
    assert (diary.count("door drains"), diary.count("door stops")) == (1, 2)


def test_an_association_of_before_asks_the_pipeline_that_is_in_force(started: Build, configure: Configure) -> None:
    """With its own, who was shut out by a reload would stay in for as long as he asks."""
    request = Request(HTTPOrigin("GET", ("studies",)), "192.0.2.1", "c1")
    signed = DOOR.format(name="scp").replace("backends =", 'middleware = ["mine"]\nbackends =')
    signed += '[middleware.mine]\ntype = "signing"\n'
    gateway = started(web(), DOOR.format(name="scp"))
    door = gateway._house.doors["scp"]
    assert done(door.context.proceed(request)).headers[1:] == ()
    done(gateway.reload(configure(web(), signed)))
    assert gateway._house.doors["scp"] is not door
    assert done(door.context.proceed(request)).headers[1:] == (("X-Signed", "mine"),)
    done(gateway.reload(configure(web())))
    assert done(door.context.proceed(request)).headers[1:] == (), "there is no such pipeline any more"


def test_a_configuration_that_is_wrong_changes_nothing(
    started: Build, configure: Configure, diary: list[str], log: list[str]
) -> None:
    gateway = started(web())
    before = gateway._house
    wrong = web("refused") + web("misbuilt", pipeline="second", prefix="/second")
    error = done(gateway.reload(configure(wrong)))
    assert error.problems == (
        "backends.archive.options: wrong",
        "backends.second_archive: cannot be built: LookupError: no such thing",
    )
    assert gateway._house is before
    assert gateway.ready
    assert diary == []
    assert [line for line in log if "nothing is reloaded" in line] == [
        f"error: nothing is reloaded, the configuration is wrong: {problem}" for problem in error.problems
    ]


@pytest.mark.parametrize(
    ("service", "kind", "line"),
    [
        ("unstartable", ConfigurationError, "error: nothing is reloaded, the configuration is wrong: backends."),
        ("crashing", ZeroDivisionError, "critical: nothing is reloaded (ZeroDivisionError)"),
    ],
)
def test_what_cannot_start_changes_nothing(
    service: str, kind: type[Exception], line: str, started: Build, configure: Configure, diary: list[str], log: Any
) -> None:
    gateway = started(web())
    texts = (web(pipeline="first", prefix="/first"), web(service))
    assert isinstance(done(gateway.reload(configure(*texts))), kind)
    assert diary[2:] == ["first_archive starts", "archive stops", "first_archive stops"]
    assert any(one.startswith(line) for one in log)
    assert ask(gateway._house.root("default"), "/dicom/studies").status == 200
    done(gateway.reload(configure(web(prefix="/other"))))
    assert diary[-1] == "archive stops"
    assert ask(gateway._house.root("default"), "/other/studies").status == 200


def test_a_port_that_cannot_be_had_changes_nothing(
    started: Build, configure: Configure, memory: MemoryReactorClock, diary: list[str], monkeypatch: Any
) -> None:
    gateway = started(web())
    site = memory.tcpServers[0][1].current
    taken = '[network.second.http]\nbind_address = "127.0.0.1"\nbind_port = 8081'
    listen = memory.listenTCP

    def refuse(port: int, *arguments: Any, **more: Any) -> Any:
        if port == 8081:
            raise CannotListenError("127.0.0.1", port, OSError(98, "Address already in use"))
        return listen(port, *arguments, **more)

    monkeypatch.setattr(memory, "listenTCP", refuse)
    both = web(prefix="/other").replace('["default"]', '["default", "second", "third"]')
    third = '[network.third.http]\nbind_address = "127.0.0.1"\nbind_port = 8082'
    error = done(gateway.reload(configure(both, taken, third)))
    assert error.problems == (
        "network.second: cannot listen on 127.0.0.1:8081: Address already in use (tcp_config.bind_address, bind_port)",
    )
    assert diary[-1] == "archive stops"
    assert len(gateway._ports) == 1
    assert memory.tcpServers[0][1].current is site
    assert ask(site.resource, "/dicom/studies").status == 200


def test_ports_come_and_go_and_one_that_stays_has_its_new_limits(
    started: Build, configure: Configure, memory: MemoryReactorClock
) -> None:
    second = '[network.second.http]\nbind_address = "127.0.0.1"\nbind_port = 8082'
    both = web().replace('["default"]', '["default", "second"]')
    gateway = started(both, second)
    sites = [listening.current for _, listening, *_ in memory.tcpServers]
    idle = Asked(memory)
    limits = "[network.default.limits]\nmax_connections = 3"
    third = second.replace("second", "third").replace("8082", "8083")
    done(gateway.reload(configure(both.replace("second", "third"), third, limits)))
    assert [port for port, *_ in memory.tcpServers] == [0, 8082, 8083]
    assert memory.tcpServers[0][1].current is sites[0]
    assert (sites[0].limits.max_connections, sites[0].connections._limits.max_connections) == (3, 3)
    assert idle.transport.disconnecting, "its port is gone"
    assert gateway.address("third").port == 8083
    assert len(gateway._ports) == 2
    assert gateway.describe()["info"]["reloads"]["configurations_leaving"] == 1
    idle.channel.connectionLost(Failure(ConnectionDone()))
    assert gateway.describe()["info"]["reloads"]["configurations_leaving"] == 0


def test_certificates_are_read_again_even_when_the_rest_is_wrong(
    started: Build, configure: Configure, tmp_path: Path
) -> None:
    identity("server").write(tmp_path, "server")
    secured = MAIN.replace("bind_port = 0", 'bind_port = 8443\ncert_path = "server.pem"\nkey_path = "server.key"')
    gateway = started(web(), main=secured)
    certificates = gateway._house.certificates["default"]
    before = certificates.getContext()
    assert isinstance(done(gateway.reload(configure(web("refused"), main=secured))), ConfigurationError)
    assert gateway._house.certificates["default"] is certificates
    assert certificates.getContext() is not before


def test_a_part_that_goes_on_has_its_certificates_read_again(started: Build, configure: Configure) -> None:
    gateway = started(web("lasting"), LASTING)
    (backend,) = gateway._house.backends.values()
    backend.certificates = [Certificates()]  # type: ignore[attr-defined]
    done(gateway.reload(configure(web("lasting"), LASTING)))
    assert backend.certificates[0].read == 1  # type: ignore[attr-defined]


def test_what_has_no_effect_before_the_next_start_is_named(
    started: Build, configure: Configure, log: list[str]
) -> None:
    gateway = started(web())
    told = done(gateway.reload(configure(web(), '[logging]\nlog_level = "warn"')))
    assert told["needs_restart"] == ["logging"]
    assert "warn: logging: what has changed has no effect before the next start" in log


def test_a_reload_waits_until_the_gateway_is_ready(build: Build, configure: Configure, diary: list[str]) -> None:
    gateway = build(web("late"))
    gateway.startService()
    reloading = gateway.reload(configure(web()))
    assert diary[-1] == "archive starts"
    Late.starting.callback(None)
    assert done(reloading)["changed"]["backends"]["changed"] == ["archive"]
    assert diary[-1] == "archive stops"


def test_a_stop_amid_a_reload_stops_what_is_new_too(
    started: Build, configure: Configure, memory: MemoryReactorClock, diary: list[str]
) -> None:
    gateway = started(web())
    reloading = gateway.reload(configure(web("late")))
    assert diary == ["archive is built", "archive starts"]
    stopped = gateway.stopService()
    assert stopped.called
    assert isinstance(done(reloading), TransportError)
    assert isinstance(done(gateway.reload(configure(web()))), TransportError)
    assert diary[2:] == ["archive stops", "archive stops"]
    assert memory.getDelayedCalls() == []


def test_a_stop_gives_the_house_of_before_no_more_than_its_own_time(
    started: Build, configure: Configure, memory: MemoryReactorClock, diary: list[str]
) -> None:
    gateway = started(web("held"), main=DRAINING)
    asked = Asked(memory)
    done(gateway.reload(configure(web(), main=DRAINING)))
    stopped = gateway.stopService()
    memory.advance(29.9)
    assert not stopped.called
    memory.advance(0.1)
    memory.advance(0)
    assert "archive is cancelled" in diary
    assert asked.transport.disconnected
    asked.channel.connectionLost(Failure(ConnectionDone()))
    assert stopped.called
    assert diary.count("archive stops") == 2
    assert memory.getDelayedCalls() == []


def test_a_stop_waits_for_what_is_under_way_in_the_house_of_before(
    started: Build, configure: Configure, memory: MemoryReactorClock, diary: list[str]
) -> None:
    gateway = started(web("held"), main=DRAINING)
    asked = Asked(memory)
    done(gateway.reload(configure(web(), main=DRAINING)))
    stopped = gateway.stopService()
    Held.held.callback(None)
    assert asked.status == 200
    asked.channel.connectionLost(Failure(ConnectionDone()))
    assert stopped.called
    assert "archive is cancelled" not in diary
    assert memory.getDelayedCalls() == []


def test_more_houses_of_before_than_may_be_end_the_oldest(
    started: Build, configure: Configure, memory: MemoryReactorClock, diary: list[str]
) -> None:
    gateway = started(web("held"), main=DRAINING)
    every = []
    for number in range(MAX_LEAVING + 1):
        every.append(Asked(memory))
        assert diary.count("archive is cancelled") == 0
        assert gateway.describe()["info"]["reloads"]["configurations_leaving"] == number
        done(gateway.reload(configure(web("held"), main=DRAINING)))
    memory.advance(30)
    assert diary.count("archive is cancelled") == 1
    assert [one.transport.disconnected for one in every] == [True] + [False] * MAX_LEAVING
    assert gateway.describe()["info"]["reloads"]["configurations_leaving"] == MAX_LEAVING


def test_what_was_mounted_or_asked_for_follows(started: Build, build: Build, configure: Configure) -> None:
    gateway = build(web(), web(pipeline="second", prefix="/second"))
    root, pipeline = gateway.resource("default"), gateway.pipeline("second")
    gateway.startService()
    request = Request(HTTPOrigin("GET", ("studies",)), "192.0.2.1", "c")
    assert done(pipeline(request)).status == 200
    done(gateway.reload(configure(web(prefix="/other"))))
    assert (ask(root, "/dicom/studies").status, ask(root, "/other/studies").status) == (404, 200)
    assert str(done(pipeline(request))) == 'there is no pipeline "second"'
    dimse = '[network.dimse.http]\nbind_address = "127.0.0.1"\nbind_port = 0'
    done(gateway.reload(configure(dimse, DOOR.format(name="scp").replace("default", "dimse"))))
    assert ask(root, "/other/studies").status == 404
    assert len(gateway._ports) == 0


def test_without_a_configuration_it_is_read_anew_by_who_knows_where(
    configure: Configure, memory: MemoryReactorClock
) -> None:
    texts = [web()]
    gateway = Gateway(configure(*texts), memory, reread=lambda: configure(*texts))
    gateway.startService()
    texts.append(web(pipeline="second", prefix="/second"))
    assert done(gateway.reload())["changed"]["pipelines"]["added"] == ["second"]
    ignorant = Gateway(configure(web()), memory)
    assert "nobody has told" in str(done(ignorant.reload()))


def test_nothing_of_fifty_houses_is_left(started: Build, configure: Configure, memory: MemoryReactorClock) -> None:
    gateway = started(web("lasting"), LASTING, web(pipeline="second", prefix="/second"), DOOR.format(name="scp"))
    houses, parts = [], []
    for number in range(50):
        second = web(pipeline="second", prefix=f"/second{number}")
        done(gateway.reload(configure(web("lasting"), LASTING, second, DOOR.format(name="scp"))))
        houses.append(weakref.ref(gateway._house))
        parts.append(weakref.ref(gateway._house.backends["second_archive"]))
    gc.collect()
    assert [one() is not None for one in houses] == [False] * 49 + [True]
    assert [one() is not None for one in parts] == [False] * 49 + [True]
    assert len(gateway._life._begun) == 4
    assert memory.getDelayedCalls() == []
    assert len(memory.tcpServers) == 1


def test_readiness_is_the_new_houses(started: Build, configure: Configure) -> None:
    gateway = started(web())
    done(gateway.reload(configure(web(), web(pipeline="second", prefix="/second"))))
    status, told = readiness(gateway)
    assert (status, isinstance(told, Mapping), list(told["targets"])) == (200, True, ["archive", "second_archive"])


def test_what_does_not_start_in_its_time_changes_nothing(
    started: Build, configure: Configure, memory: MemoryReactorClock, diary: list[str], log: list[str]
) -> None:
    gateway = started(web())
    late, good = gateway.reload(configure(web("late"))), gateway.reload(configure(web(prefix="/other")))
    memory.advance(STARTING_SECS - 0.1)
    assert diary == ["archive is built", "archive starts"]
    memory.advance(0.1)
    assert isinstance(done(late), TimedOut)
    assert "error: nothing is reloaded: the new configuration has not started within 300 s" in log
    assert diary[2:] == ["archive stops", "archive is built", "archive starts", "archive stops"]
    assert done(good)["changed"]["endpoints"]["changed"] == ["web"]
    assert memory.getDelayedCalls() == []


def test_a_stop_does_not_wait_for_a_house_of_before_that_has_more_time(
    started: Build, configure: Configure, memory: MemoryReactorClock, diary: list[str]
) -> None:
    gateway = started(web("held"), main=DRAINING)
    asked = Asked(memory)
    done(gateway.reload(configure(web(), main=MAIN.replace('"gateway"', '"gateway"\ndrain_timeout_secs = 1'))))
    stopped = gateway.stopService()
    memory.advance(1)
    assert "archive is cancelled" in diary
    assert asked.transport.disconnected
    asked.channel.connectionLost(Failure(ConnectionDone()))
    assert stopped.called
    assert diary.count("archive stops") == 2
    assert memory.getDelayedCalls() == []
