"""What twistd runs: options, the clock, the log, systemd, and how the process ends."""

import atexit
import http.client
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Application, MultiService
from twisted.internet.base import ReactorBase
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher

from harmonygw.errors import ConfigurationError
from harmonygw.net.http.descriptors import RESERVED
from harmonygw.service import Gateway
from harmonygw.tap import GatewayProcess, Options, makeService, notify_systemd
from tests.service import twistd
from tests.service.parts import MAIN, Late, web, written

Make = Callable[..., GatewayProcess]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> MemoryReactorClock:
    """The reactor that twistd would have chosen."""
    memory = MemoryReactorClock()
    monkeypatch.setattr("twisted.internet.reactor", memory)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    return memory


@pytest.fixture
def make(tmp_path: Path, memory: MemoryReactorClock) -> Make:
    """Make the service as twistd does."""

    def made(*texts: str, main: str = MAIN, parent: Any = None) -> GatewayProcess:
        options = Options()
        options.parseOptions(["-c", str(written(tmp_path, *texts, main=main))])
        options.parent = parent
        process = makeService(options)
        assert isinstance(process, GatewayProcess)
        return process

    return made


@pytest.fixture
def logged() -> Iterator[list[str]]:
    found: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("log_namespace", "").startswith("harmonygw"):
            found.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


# Making the service


def test_an_embedder_gets_a_gateway_on_its_own_reactor_and_clock(tmp_path: Path) -> None:
    memory = MemoryReactorClock()
    clock = memory.seconds
    service = makeService({"config": written(tmp_path, web())}, memory)
    assert type(service) is Gateway
    assert memory.seconds == clock


def test_an_embedder_is_told_everything_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        makeService({"config": written(tmp_path, "[proxi]", "[network.default.htp]")}, MemoryReactorClock())
    assert len(caught.value.problems) >= 2


def test_twistd_ends_with_everything_that_is_wrong(make: Make) -> None:
    with pytest.raises(SystemExit) as caught:
        make("[proxi]", "[network.default.htp]")
    assert isinstance(caught.value.code, str)
    first, *rest = caught.value.code.splitlines()
    assert first == "the configuration cannot be used:"
    assert len(rest) >= 2


@pytest.mark.parametrize(("allowed", "warned"), [(2000 + RESERVED, False), (2000 + RESERVED - 1, True)])
def test_the_process_takes_the_descriptors_that_its_connections_need_or_says_that_it_cannot(
    make: Make, logged: list[str], monkeypatch: pytest.MonkeyPatch, allowed: int, warned: bool
) -> None:
    wanted: list[int] = []
    monkeypatch.setattr("harmonygw.tap.allow", lambda number: wanted.append(number) or allowed)
    make(web()).privilegedStartService()
    assert wanted == [2000 + 2 * RESERVED]
    told = f"the process may have {allowed} file descriptors"
    assert any(line.startswith(told) and line.endswith("max_connections is 2000") for line in logged) is warned


def test_checking_says_that_all_is_well(
    tmp_path: Path, memory: MemoryReactorClock, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(written(tmp_path, web(), main=MAIN.replace("127.0.0.1", "0.0.0.0")))
    with pytest.raises(SystemExit) as caught:
        Options().parseOptions(["--check", "-c", path])
    assert caught.value.code == 0
    warning, verdict = capsys.readouterr().out.splitlines()
    assert warning.startswith("warning: ")
    assert verdict == f"{path}: good"
    assert memory.tcpServers == []


def test_checking_ends_with_everything_that_is_wrong(tmp_path: Path, memory: MemoryReactorClock) -> None:
    with pytest.raises(SystemExit, match="the configuration cannot be used"):
        Options().parseOptions(["--check", "-c", str(tmp_path / "absent.toml")])


# The clock


class Timers(ReactorBase):
    """A reactor of which only the timers work."""

    def installWaker(self) -> None:
        self.waker = None


class Watch:
    """What time it is."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_wall_clock_that_jumps_moves_no_timer(jump: float, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    wall, steady = Watch(1_700_000_000), Watch(500)
    monkeypatch.setattr(ReactorBase, "seconds", staticmethod(wall))
    monkeypatch.setattr(time, "monotonic", steady)
    timers = Timers()
    monkeypatch.setattr("twisted.internet.reactor", timers)
    make(web())
    fired: list[float] = []
    for delay in (10, 20):
        timers.callLater(delay, fired.append, delay)
    wall.now += jump
    steady.now += 9.9
    timers.runUntilCurrent()
    assert fired == []
    steady.now += 0.2
    timers.runUntilCurrent()
    assert fired == [10]


def test_a_clock_that_something_is_scheduled_by_stays(make: Make, memory: MemoryReactorClock) -> None:
    clock = memory.seconds
    memory.callLater(1, list)
    make(web())
    assert memory.seconds == clock


# The log


def test_an_application_without_a_log_gets_ours(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "logs" / "gateway.log"
    settings = f'[logging]\nlog_to_file = true\nlog_file_path = "{path}"\nformat = "json"\nlog_level = "warn"'
    application = Application("harmonygw")
    make(web(), settings).setServiceParent(application)
    observer = application.getComponent(ILogObserver)
    for level in (LogLevel.info, LogLevel.warn):
        observer({"log_level": level, "log_format": "hello", "log_time": 0.0, "log_namespace": "x"})
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert (json.loads(line)["message"], json.loads(line)["level"]) == ("hello", "warn")


def test_an_application_keeps_the_log_it_has(make: Make) -> None:
    application, own = Application("harmonygw"), object()
    application.setComponent(ILogObserver, own)
    make(web()).setServiceParent(application)
    assert application.getComponent(ILogObserver) is own


@pytest.mark.parametrize(
    ("twistd_options", "to_file", "ours"),
    [
        ({"nodaemon": True}, False, True),
        ({"nodaemon": True, "logfile": "x.log"}, False, False),
        ({"nodaemon": True, "syslog": 1}, True, False),
        ({"nodaemon": True, "logger": print}, False, False),
        ({"nodaemon": False}, False, False),
        ({"nodaemon": False}, True, True),
    ],
)
def test_the_log_is_twistds_when_it_was_told_where_or_nobody_would_see_ours(
    twistd_options: dict[str, Any], to_file: bool, ours: bool, make: Make, tmp_path: Path
) -> None:
    parent = {"logfile": None, "syslog": 0, "logger": None, **twistd_options}
    settings = f'[logging]\nlog_to_file = {str(to_file).lower()}\nlog_file_path = "{tmp_path}/x.log"'
    application = Application("harmonygw")
    make(web(), settings, parent=parent).setServiceParent(application)
    assert (application.getComponent(ILogObserver, None) is not None) == ours


def test_any_other_parent_is_left_alone(make: Make) -> None:
    parent = MultiService()
    make(web()).setServiceParent(parent)
    assert len(parent.services) == 1


def test_a_log_file_that_cannot_be_written_ends_the_command(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = make(web(), f'[logging]\nlog_to_file = true\nlog_file_path = "{tmp_path}/file/x.log"')
    with pytest.raises(SystemExit, match=r"^logging\.log_file_path: "):
        process.setServiceParent(Application("harmonygw"))


# systemd


@pytest.fixture(params=["path", "abstract"])
def systemd(
    request: pytest.FixtureRequest, tmp_path: Path, memory: MemoryReactorClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], list[str]]]:
    """What systemd has been told so far."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@harmonygw-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(name.replace("@", "\0"))
        notified.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", name)

        def told() -> list[str]:
            found = []
            while True:
                try:
                    found.append(notified.recv(100).decode())
                except BlockingIOError:
                    return found

        yield told


@pytest.fixture
def hang_up(memory: MemoryReactorClock, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    installed: dict[int, Any] = {}
    monkeypatch.setattr("harmonygw.tap.signal.signal", installed.__setitem__)
    monkeypatch.setattr(memory, "callFromThread", lambda call: call(), raising=False)
    return lambda: installed[signal.SIGHUP](signal.SIGHUP, None)


def test_sighup_has_the_file_read_again_with_the_environment_as_it_is(
    make: Make, hang_up: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = make(web())
    process.startService()
    written(tmp_path, web(prefix="${PREFIX}"))
    monkeypatch.setenv("PREFIX", "/other")
    monkeypatch.chdir("/")
    hang_up()
    assert process.configuration.routes["default"][0].path_prefix == "/other"


def test_a_file_that_is_wrong_is_in_the_log_and_nothing_changes(
    make: Make, hang_up: Callable[[], None], tmp_path: Path, logged: list[str]
) -> None:
    process = make(web())
    process.startService()
    before = process.configuration
    path = written(tmp_path, web(), "[proxi]")
    line = path.read_text(encoding="utf-8").splitlines().index("[proxi]") + 1
    hang_up()
    assert process.configuration is before
    assert any(f"nothing is reloaded, the configuration is wrong: {path}:{line}: " in one for one in logged)


def test_an_embedded_gateway_knows_its_file_too(tmp_path: Path) -> None:
    gateway = makeService({"config": written(tmp_path, web())}, MemoryReactorClock())
    assert isinstance(gateway, Gateway)
    gateway.startService()
    written(tmp_path, web(prefix="/other"))
    assert gateway.reload().called
    assert gateway.configuration.routes["default"][0].path_prefix == "/other"


def test_systemd_is_told_when_a_reload_begins_and_when_all_have_ended(
    systemd: Callable[[], list[str]], make: Make, hang_up: Callable[[], None], tmp_path: Path, monkeypatch: Any
) -> None:
    process = make(web())
    process.startService()
    assert systemd() == ["READY=1"]
    monkeypatch.setattr(time, "monotonic_ns", lambda: 7_000_999)
    written(tmp_path, web("late"))
    hang_up()
    hang_up()
    assert systemd() == ["RELOADING=1\nMONOTONIC_USEC=7000"]
    first = Late.starting
    first.callback(None)
    assert systemd() == [], "the second one is under way"
    Late.starting.callback(None)
    assert systemd() == ["READY=1"]
    process.stopService()
    assert systemd() == ["STOPPING=1"]


def test_a_reload_that_fails_is_over_for_systemd(
    systemd: Callable[[], list[str]], make: Make, hang_up: Callable[[], None], tmp_path: Path
) -> None:
    process = make(web())
    process.startService()
    systemd()
    written(tmp_path, "[proxi]")
    hang_up()
    begun, ended = systemd()
    assert begun.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert ended == "READY=1"


def test_a_stop_amid_a_reload_is_no_readiness(
    systemd: Callable[[], list[str]], make: Make, hang_up: Callable[[], None], tmp_path: Path
) -> None:
    process = make(web())
    process.startService()
    written(tmp_path, web("late"))
    hang_up()
    systemd()
    process.stopService()
    assert systemd() == ["STOPPING=1"]


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(
    systemd: Callable[[], list[str]], make: Make, logged: list[str]
) -> None:
    process = make(web("late"))
    process.startService()
    assert systemd() == []
    process.when_ready().addCallback(lambda _: logged.extend(systemd()))
    Late.starting.callback(None)
    assert logged == ["READY=1", "ready"]
    process.stopService()
    assert systemd() == ["STOPPING=1"]


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_systemd("READY=1")
    assert logged == []


def test_a_systemd_that_does_not_listen_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "absent"))
    notify_systemd("READY=1")
    (line,) = logged
    assert line.startswith("systemd cannot be told READY=1: ")


# How the process ends


def test_a_port_that_is_taken_is_one_sentence(
    make: Make, memory: MemoryReactorClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise CannotListenError("127.0.0.1", 8081, OSError(98, "Address already in use"))

    monkeypatch.setattr(memory, "listenTCP", refuse)
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    process = make(web())
    with pytest.raises(ConfigurationError, match=r"^network\.default: cannot listen on 127\.0\.0\.1:8081: "):
        process.privilegedStartService()
    assert sys.tracebacklimit == 0


def test_what_cannot_start_stops_the_reactor_and_ends_with_status_1(
    make: Make, memory: MemoryReactorClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_exit: list[tuple[object, ...]] = []
    monkeypatch.setattr(atexit, "register", lambda *call: at_exit.append(call))
    make(web("unstartable")).startService()
    assert at_exit == [(os._exit, 1)]
    assert [call for call, _, _ in memory.whenRunningHooks] == [memory.stop]


def test_a_stop_before_it_is_ready_is_no_failure(
    make: Make, memory: MemoryReactorClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atexit, "register", pytest.fail)
    process = make(web("late"))
    process.startService()
    process.stopService()
    assert memory.whenRunningHooks == []


# The whole of it


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def on(port: int) -> str:
    return MAIN.replace("bind_port = 0", f"bind_port = {port}")


def test_a_wrong_configuration_is_one_list_and_status_1(tmp_path: Path) -> None:
    path = written(tmp_path, "[proxi]", "[network.default.htp]")
    ran = twistd.run(tmp_path, "-n", "--pidfile=", "harmonygw", "-c", str(path))
    assert ran.returncode == 1
    assert "proxi" in ran.stderr
    assert "htp" in ran.stderr
    assert "Traceback" not in ran.stderr + ran.stdout


def test_what_we_ship_is_good(tmp_path: Path) -> None:
    path = str(twistd.ROOT / "etc" / "config.toml")
    ran = twistd.run(tmp_path, "harmonygw", "--check", "-c", path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{path}: good\n", "")
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_one_sentence_and_status_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = written(tmp_path, web(), main=on(port))
        ran = twistd.run(tmp_path, "-n", "--pidfile=pid", "harmonygw", "-c", str(path))
    assert ran.returncode == 1
    sentence = f"network.default: cannot listen on 127.0.0.1:{port}: Address already in use"
    assert ran.stdout.count(sentence) == 1
    assert 'File "' not in ran.stdout + ran.stderr
    assert not (tmp_path / "pid").exists()


def test_what_cannot_start_in_the_end_is_status_1(tmp_path: Path) -> None:
    path = written(tmp_path, web("failing"), main=on(free_port()))
    ran = twistd.run(tmp_path, "-n", "--pidfile=pid", "harmonygw", "-c", str(path))
    assert ran.returncode == 1
    assert "the gateway cannot start: backends.archive: its disk is gone" in ran.stdout
    assert not (tmp_path / "pid").exists()


def test_sigterm_lets_a_reply_end_and_the_process_ends_as_systemd_expects(tmp_path: Path) -> None:
    port = free_port()
    path = written(tmp_path, web("slow"), main=on(port))
    process = twistd.start(tmp_path, "-n", "--pidfile=", "harmonygw", "-c", str(path))
    try:
        assert process.stdout is not None
        while not process.stdout.readline().rstrip().endswith("ready"):
            assert process.poll() is None
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/dicom/studies/1")
        response = connection.getresponse()
        assert response.read(5) == b"first"
        process.send_signal(signal.SIGTERM)
        assert response.read() == b"last"
        connection.close()
        log, _ = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (0, -signal.SIGTERM)
    assert "outcome=complete" in log
    assert "stopped" in log
