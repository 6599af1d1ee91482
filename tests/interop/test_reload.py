"""The gateway as a process of its own that reads its configuration again: by SIGHUP, and by the management API."""

import base64
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

from tests.interop.embedded import image, part10
from tests.interop.processes import ROOT, free_port, running, wait_for_port, wait_until_ready
from tests.service.twistd import command

pytestmark = pytest.mark.interop

ANY_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'

MAIN = """
[proxy]
id = "reload"
drain_timeout_secs = 1

[network.default.http]
bind_address = "127.0.0.1"
bind_port = HTTP_PORT

[management]
enabled = true
network = "default"
authentication = "operator"

[authentications.operator]
method = "basic"
options = { username = "operator", password = "let me" }

[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb"]
middleware = ["bridge"]
backends = ["archive"]

[endpoints.dicomweb]
service = "dicomweb"
options = { path_prefix = "/dicom" }

[middleware.bridge]
type = "dicomweb_bridge"
options = { rendering_processes = 1 }

[pipelines.scp]
networks = ["default"]
endpoints = ["scp"]
backends = ["archive"]

[endpoints.scp]
service = "dicom_scp"
options = { local_aet = "GATEWAY", bind_addr = "127.0.0.1", port = SCP_PORT, enable_store = true, enable_find = FINDS }

[backends.archive]
service = "storage"
options = { root = "ROOT", write_pattern = "PATTERN" }
"""

OTHER = """
[pipelines.other]
networks = ["default"]
endpoints = ["other"]

[endpoints.other]
service = "echo"
options = { path_prefix = "/other" }
"""

RELOADED = b"the configuration was read again"
REFUSED = b"nothing is reloaded"


class Process:
    """A gateway that runs, and its configuration file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.scp_port = free_port(), free_port()
        self.path = folder / "config.toml"
        self.log = folder / "log"
        self.process: Any = None
        self.write()

    def write(self, more: str = "", *, pattern: str = "{SOPInstanceUID}.dcm", finds: bool = True) -> None:
        text = MAIN.replace("HTTP_PORT", str(self.port)).replace("SCP_PORT", str(self.scp_port))
        text = text.replace("ROOT", str(self.folder / "archive")).replace("PATTERN", pattern)
        self.path.write_text(text.replace("FINDS", str(finds).lower()) + more)

    def logged(self, line: bytes) -> int:
        return self.log.read_bytes().count(line)

    def hang_up(self, told: bytes = RELOADED) -> None:
        """Send SIGHUP, and wait for what the log says then."""
        before = self.logged(told)
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.logged(told) > before)

    def ask(self, path: str, method: str = "GET", **fields: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): one for name, one in fields.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @property
    def descriptors(self) -> int:
        """Those that are open, but for files that SQLite closes when no connection of the process locks them."""
        targets = []
        for one in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                targets.append(str(one.readlink()))
        return sum("index.sqlite3" not in target for target in targets)

    @property
    def info(self) -> Any:
        return json.loads(self.ask("/admin/info", Authorization=OPERATOR)[1])


OPERATOR = "Basic " + base64.b64encode(b"operator:let me").decode()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Process]:
    one = Process(tmp_path)
    with started(one):
        yield one


@contextmanager
def started(one: Process) -> Iterator[None]:
    arguments = command("-n", "--pidfile=", "harmonygw", "-c", str(one.path))
    with running(arguments, one.port, log=one.log, cwd=ROOT) as process:
        one.process = process
        wait_until_ready(f"http://127.0.0.1:{one.port}")
        wait_for_port(one.scp_port, process)
        yield
    assert b"Traceback" not in one.log.read_bytes()


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def test_a_pipeline_appears_and_vanishes_and_a_connection_that_is_open_sees_it(gateway: Process) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)

    def status(path: str) -> int:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    assert status("/other/") == 404
    here = connection.sock.getsockname()
    gateway.write(OTHER)
    gateway.hang_up()
    assert status("/other/") == 200
    gateway.write()
    gateway.hang_up()
    assert status("/other/") == 404
    assert connection.sock.getsockname() == here, "it is the same connection"
    connection.close()


def test_a_configuration_that_is_wrong_changes_nothing_and_the_log_says_where(gateway: Process) -> None:
    gateway.path.write_text(gateway.path.read_text() + OTHER + '\n[endpoints.third]\nservice = "ecko"\n[pipelines.x]\n')
    lines = gateway.path.read_text().splitlines()
    gateway.hang_up(REFUSED)
    for line in ('service = "ecko"', "[pipelines.x]"):
        place = f"{gateway.path}:{lines.index(line) + 1}: ".encode()
        assert place in gateway.log.read_bytes()
    assert gateway.ask("/readyz")[0] == 200
    assert gateway.ask("/other/")[0] == 404
    assert gateway.ask("/dicom/studies")[0] == 200
    assert gateway.info["reloads"] == {"done": 0, "configurations_leaving": 0}


def test_a_port_that_is_taken_changes_nothing(gateway: Process) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        network = '[network.second.http]\nbind_address = "127.0.0.1"\n'
        more = OTHER.replace('["default"]', '["default", "second"]')
        before = gateway.descriptors
        gateway.write(f"{more}\n{network}bind_port = {taken.getsockname()[1]}\n")
        gateway.hang_up(REFUSED)
        address = f"network.second: cannot listen on 127.0.0.1:{taken.getsockname()[1]}".encode()
        assert address in gateway.log.read_bytes()
        assert gateway.ask("/other/")[0] == 404
        wait_for(lambda: gateway.descriptors <= before)
    gateway.hang_up()
    assert gateway.ask("/other/")[0] == 200


def test_a_port_that_is_named_no_more_is_closed(gateway: Process) -> None:
    port = free_port()
    network = f'[network.second.http]\nbind_address = "127.0.0.1"\nbind_port = {port}\n'
    gateway.write(OTHER.replace('["default"]', '["second"]') + network)
    gateway.hang_up()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/other/")
    assert connection.getresponse().read()
    gateway.write()
    gateway.hang_up()
    wait_for(lambda: refused(port))
    assert connection.sock.recv(1) == b"", "an idle connection of the port is closed"
    connection.close()


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_study_under_way_arrives_whole_and_so_does_the_log_of_it(gateway: Process, tmp_path: Path) -> None:
    pixels = os.urandom(8_000_000)
    files = [part10(image(number, PixelData=pixels), tmp_path / f"{number}.dcm") for number in range(1, 5)]
    storing = association(gateway)
    assert [storing.send_c_store(file).Status for file in files] == [0] * 4
    storing.release()
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", gateway.port))
        slow.sendall(f"GET /dicom/studies/1.2 HTTP/1.1\r\nHost: a\r\nAccept: {ANY_DICOM}\r\n\r\n".encode())
        begun = slow.recv(1000)
        assert b"200 OK" in begun
        gateway.write(OTHER, pattern="other/{SOPInstanceUID}.dcm")  # another backend, of the same folder
        gateway.hang_up()
        assert gateway.ask("/other/")[0] == 200
        assert gateway.info["reloads"] == {"done": 1, "configurations_leaving": 1}
        received = bytearray(begun)
        slow.settimeout(20)
        while not received.endswith(b"\r\n0\r\n\r\n"):
            piece = slow.recv(1 << 20)
            assert piece, "it was broken off"
            received += piece
    assert received.count(b"DICM") == 4
    assert unchunked(bytes(received)).count(pixels) == 4
    wait_for(lambda: gateway.info["reloads"]["configurations_leaving"] == 0)


def unchunked(answer: bytes) -> bytes:
    _, _, rest = answer.partition(b"\r\n\r\n")
    content = bytearray()
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return bytes(content)
        content += rest[:length]
        rest = rest[length + 2 :]


def association(gateway: Process) -> Any:
    entity = AE("TEST")
    entity.add_requested_context(Verification)
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    entity.add_requested_context("1.2.840.10008.5.1.4.1.2.2.1")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    return entity.associate("127.0.0.1", gateway.scp_port, ae_title="GATEWAY")


def test_an_association_goes_on_and_the_next_one_is_the_new_configurations(gateway: Process, tmp_path: Path) -> None:
    before = association(gateway)
    assert before.is_established
    assert before.send_c_echo().Status == 0
    gateway.write(pattern="other/{SOPInstanceUID}.dcm", finds=False)
    gateway.hang_up()
    time.sleep(1.5)  # longer than an association is left alone when the gateway stops (DRAIN_IDLE)
    part10(image(7), tmp_path / "7.dcm")
    assert before.send_c_store(tmp_path / "7.dcm").Status == 0
    after = association(gateway)
    assert {one.abstract_syntax for one in after.accepted_contexts} == {Verification, CTImageStorage}
    assert len(before.accepted_contexts) == 3
    assert after.send_c_store(tmp_path / "7.dcm").Status == 0
    after.release()
    assert gateway.info["reloads"]["configurations_leaving"] == 1
    before.release()
    assert before.is_released
    wait_for(lambda: gateway.info["reloads"]["configurations_leaving"] == 0)


class Hammer:
    """Asks on and on, and keeps what went wrong."""

    def __init__(self, gateway: Process) -> None:
        self.gateway = gateway
        self.failures: list[str] = []
        self.done = dict.fromkeys(("fresh", "kept", "associations"), 0)
        self._stopped = threading.Event()
        kinds = (self.fresh, self.kept, self.kept, self.associations)
        self._threads = [threading.Thread(target=self._run, args=(kind,)) for kind in kinds]

    def __enter__(self) -> "Hammer":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, ask: Callable[[], None]) -> None:
        while not self._stopped.is_set():
            try:
                ask()
            except Exception as error:  # noqa: BLE001 - whatever it is, it should not have been
                self.failures.append(f"{ask.__name__}: {error!r}")

    def fresh(self) -> None:
        status, _ = self.gateway.ask("/dicom/studies", Connection="close")
        assert status in (200, 204), status
        self.done["fresh"] += 1

    def kept(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=20)
        for _ in range(50):
            connection.request("GET", "/dicom/studies")
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (200, 204), answer.status
            self.done["kept"] += 1
            if self._stopped.is_set():
                break
        connection.close()

    def associations(self) -> None:
        one = association(self.gateway)
        assert one.is_established, "no association"
        assert one.send_c_echo().Status == 0
        one.release()
        self.done["associations"] += 1


def test_under_load_no_request_fails_in_fifty_reloads_and_nothing_is_left_of_them(gateway: Process) -> None:
    gateway.write(OTHER)
    gateway.hang_up()
    with Hammer(gateway) as warming:
        wait_for(lambda: min(warming.done.values()) > 20)
    wait_for(lambda: gateway.info["reloads"]["configurations_leaving"] == 0)
    settled = gateway.descriptors
    with Hammer(gateway) as hammer:
        for number in range(50):
            gateway.write(OTHER if number % 2 else "", pattern=f"{number % 3}/{{SOPInstanceUID}}.dcm")
            gateway.hang_up()
    assert hammer.failures == []
    assert min(hammer.done.values()) > 10, hammer.done
    wait_for(lambda: gateway.info["reloads"] == {"done": 51, "configurations_leaving": 0})
    wait_for(lambda: gateway.descriptors <= settled)


def test_the_management_api_reloads_for_whom_it_knows(gateway: Process) -> None:
    json_type = {"Content_Type": "application/json"}
    assert gateway.ask("/admin/reload", "POST", **json_type)[0] == 401
    assert gateway.ask("/admin/info")[0] == 401
    gateway.write(OTHER)
    assert gateway.ask("/admin/reload", "POST", Authorization=OPERATOR)[0] == 415
    status, told = gateway.ask("/admin/reload", "POST", Authorization=OPERATOR, **json_type)
    assert status == 200
    assert json.loads(told)["changed"]["pipelines"] == {"added": ["other"], "removed": [], "changed": []}
    assert gateway.ask("/other/")[0] == 200
    gateway.write("[pipelines.x]\n")
    status, told = gateway.ask("/admin/reload", "POST", Authorization=OPERATOR, **json_type)
    assert status == 422
    assert all(one.startswith(f"{gateway.path}:") for one in json.loads(told)["errors"])
    assert gateway.ask("/other/")[0] == 200


def test_a_stop_amid_reloads_is_clean(tmp_path: Path) -> None:
    one = Process(tmp_path)
    with started(one):
        for _ in range(5):
            one.process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
        one.process.terminate()
        assert one.process.wait(20) in (0, -signal.SIGTERM)
    assert one.logged(b"stopped") == 1
