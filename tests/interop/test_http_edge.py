"""A gateway on a real socket, and who means it ill: raw bytes of every kind, floods, and no descriptors left.

What each kind of malformed request is refused with is in `tests/net/http/test_framing.py`. Here it is seen that nothing
of it gets through a whole gateway, that no error tells of what is inside, that each one's correlation id is in the log,
and that others are served meanwhile.
"""

import json
import re
import resource
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytest

from tests.interop import processes
from tests.interop.processes import free_port, running, wait_until_ready
from tests.net.http.test_framing import BODIES, FRAMINGS, LINES, post
from tests.service import twistd

CONFIGURATION = """
[proxy]
id = "edge"
content_limits.max_body_size = 1000

[network.default.http]
bind_address = "::"
bind_port = {port}

[network.default.limits]
header_timeout_secs = 2
body_timeout_secs = 2
max_connections_per_address = 2000

[management]
enabled = true
network = "default"
base_path = "admin"

[pipelines.echo]
networks = ["default"]
endpoints = ["echo"]

[endpoints.echo]
service = "echo"
options = { path_prefix = "/echo" }

[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb"]
middleware = ["hospital_bridge"]
backends = ["archive_of_radiology"]

[endpoints.dicomweb]
service = "dicomweb"
options = { path_prefix = "/dicom" }

[middleware.hospital_bridge]
type = "dicomweb_bridge"

[backends.archive_of_radiology]
service = "dicom_scu"
target_ref = "archive"
timeout_secs = 1

[backends.archive_of_radiology.options]
aet = "SECRETAET"
local_aet = "SECRETSCU"

[targets.archive.connection]
host = "127.0.0.1"
port = NOBODY
protocol = "dicom"

[pipelines.guarded]
networks = ["default"]
endpoints = ["guarded"]
middleware = ["doorkeeper"]

[endpoints.guarded]
service = "echo"
options = { path_prefix = "/guarded" }

[middleware.doorkeeper]
type = "policies"
options = { policies = ["secret_policy"] }

[policies.secret_policy]
rules = ["secret_rule"]

[rules.secret_rule]
type = "ip_allow"
options = { ip_addresses = ["192.0.2.1"] }
"""

LONG = 14_000
"""Bytes of a field's value that just fits into a header."""

TOLD = re.compile(
    rb"Traceback|File \"|\.py\b|harmonygw\.|twisted|python|0x[0-9a-f]{6}|/tmp/|/home/|/root/|/work/|127\.0\.0\.1|::1"
    rb"|SECRET|secret_|hospital_bridge|doorkeeper|\w+Error\b|Exception\b| object at "
)
"""What no error tells."""

FIELDS = {
    "Accept": ("*/*,", "a/b;q=0.1;", ";", '"', "\\", "(", "multipart/related;type=", "a/b;" + "x=" * 9 + ","),
    "Accept-Charset": ("utf-8;q=0.1,", ";q="),
    "Accept-Encoding": ("gzip;q=0.0001,", ",", "gzip;" + ";" * 9),
    "Accept-Language": ("a-b,", "*;q=1,"),
    "Authorization": ("Basic ", "Bearer a.", ","),
    "Cookie": ("a=b;", "="),
    "Content-Type": ("multipart/related;boundary=", ";", '"'),
    "Forwarded": ("for=1,", 'for="', "for=[", ","),
    "If-Modified-Since": ("9", "Mon, "),
    "If-None-Match": ('"a",', 'W/"', "W/", "\t"),
    "If-Range": ('"',),
    "Origin": ("https://",),
    "Range": ("bytes=0-0,", "0-0,", "9", "-"),
    "Upgrade": ("h2c,",),
    "Via": ("1.1 x,",),
    "X-Forwarded-For": ("1.1.1.1,", ","),
}

PATHS = ("/dicom/studies/1.2/rendered", "/dicom/studies?PatientID=1", "/echo", "/guarded", "/admin/x", "/nothing")

TARGETS = (
    "/dicom/studies?" + "&" * 8000,
    "/dicom/studies?" + "a=b&" * 2000,
    "/dicom/studies?" + "%00=" * 2000,
    "/dicom/studies?" + "%" * 8000,
    "/dicom/studies?" + "PatientName=%2A&" * 480,
    "/dicom/studies?limit=" + "9" * 7000,
    "/dicom/studies?00100010=" + "*" * 7000,
    "/dicom/studies?" + "00081115." * 800 + "00100010=a",
    "/dicom/studies?PatientName=%C0%AF",
    "/dicom/studies?a=%0d%0aSet-Cookie:x",
    "/dicom/studies" + "/" * 8000,
    "/dicom/studies" + "/a" * 4000,
    "/" * 8000,
    "/" + "a/" * 4000,
    "/dicom/studies/" + "1" * 7000,
    "/dicom/studies/%00",
    "/dicom/..%2f..%2fetc%2fpasswd",
    "/dicom/%2e%2e/admin",
    "/dicom/../../../../etc/passwd",
    "//evil.example.org/x",
    "/%c0%ae%c0%ae/",
    "/dicom/studies/1.2/rendered?viewport=1e400,1",
    "/dicom/studies/1.2/series/1/instances/1/frames/" + "1," * 3900 + "1",
    "/admin/middleware/x/studies/1",
    "/guarded/%ff",
)


class Answer(NamedTuple):
    """An answer up to the end of its connection."""

    raw: bytes
    seconds: float

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]


class Edge(NamedTuple):
    """A running gateway."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    def send(self, *reads: bytes, address: str = "127.0.0.1") -> Answer:
        """Send bytes, whatever they are, and read until the gateway closes.

        It waits with that for who may still be sending: once the answer is whole, we say that we are not.
        """
        begun = time.perf_counter()
        received = b""
        with socket.create_connection((address, self.port), timeout=10) as client:
            try:
                for read in reads:
                    client.sendall(read)
                while data := client.recv(65536):
                    received += data
                    header, ended, body = received.partition(b"\r\n\r\n")
                    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", header)
                    if ended and b"lose" in header and length is not None and len(body) >= int(length[1]):
                        time.sleep(0.02)
                        client.shutdown(socket.SHUT_WR)
            except OSError:  # a reset: what had come stays
                pass
        return Answer(received, time.perf_counter() - begun)

    def healthy(self) -> float:
        """Ask how the gateway is, and return how long that took, in seconds."""
        answer = self.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert answer.status == 200
        return answer.seconds

    def logged(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def processor_seconds(self) -> float:
        """Return what the process has had of the processors."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@contextmanager
def edge(folder: Path, most_descriptors: int = 0) -> Iterator[Edge]:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        port = listener.getsockname()[1]  # one that is free on every address
    path = folder / "gateway.toml"
    text = CONFIGURATION.replace("{port}", str(port)).replace("NOBODY", str(free_port()))
    if most_descriptors:  # the test takes longer than its clients otherwise may
        text = text.replace("body_timeout_secs = 2", "body_timeout_secs = 60")
    path.write_text(text)
    arguments = twistd.command("-n", "--pidfile=", "harmonygw", "-c", str(path))
    if most_descriptors:
        arguments = ["prlimit", f"--nofile={most_descriptors}:{most_descriptors}", *arguments]
    log = folder / "gateway.log"
    with running(arguments, port, log=log, cwd=processes.ROOT) as process:
        wait_until_ready(f"http://127.0.0.1:{port}")
        yield Edge(port, process, log)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with edge(tmp_path_factory.mktemp("edge")) as running_edge:
        yield running_edge
        assert "Traceback" not in running_edge.logged()
        assert "Unhandled" not in running_edge.logged()


def asking(method: str, target: str, *fields: str) -> bytes:
    lines = (f"{method} {target} HTTP/1.1", "Host: gateway", *fields, "Connection: close", "", "")
    return "\r\n".join(lines).encode("latin-1")


def check(attacked: Edge, answer: Answer) -> Any:
    """See that an error says what it is, that its id is in the log, and nothing else."""
    assert answer.raw.count(b"HTTP/1.1 ") == 1
    for field in (
        b"x-content-type-options: nosniff",
        b"content-security-policy: default-src 'none'",
        b"cache-control:",
    ):
        assert field in answer.raw.lower()
    assert b"\r\nserver:" not in answer.raw.lower()
    if answer.status < 400 or not answer.body:
        return None
    assert TOLD.search(answer.raw) is None, answer.raw
    assert b"\r\ncache-control: no-store\r\n" in answer.raw.lower()
    document = json.loads(answer.body)
    assert document["status"] == answer.status
    assert document["correlation_id"] in attacked.logged()
    return document


# What is malformed


@pytest.mark.parametrize("fields", FRAMINGS.values(), ids=FRAMINGS.keys())
def test_a_disputable_body_smuggles_nothing(attacked: Edge, fields: bytes) -> None:
    smuggled = b"0\r\n\r\nGET /echo/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = attacked.send(post(fields).replace(b" / ", b" /echo ", 1) + smuggled)
    assert answer.status == 400
    check(attacked, answer)


@pytest.mark.parametrize("read", LINES.values(), ids=LINES.keys())
def test_a_malformed_request_line_gets_400(attacked: Edge, read: bytes) -> None:
    answer = attacked.send(read)
    assert answer.status == 400
    check(attacked, answer)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_malformed_chunks_get_400_or_413(attacked: Edge, body: bytes) -> None:
    header = post(b"Content-Type: application/dicom\r\nTransfer-Encoding: chunked\r\n")
    answer = attacked.send(header.replace(b" / ", b" /dicom/studies ", 1) + body)
    assert answer.status in (400, 413)
    check(attacked, answer)


@pytest.mark.parametrize("method", ["TRACE", "PATCH", "BREW", "PROPFIND", "!", "x" * 7000])
@pytest.mark.parametrize("path", PATHS)
def test_no_method_does_harm(attacked: Edge, path: str, method: str) -> None:
    answer = attacked.send(asking(method, path))
    check(attacked, answer)
    assert answer.status in (200, 403, 404, 405)
    if answer.status == 200:
        assert path == "/echo"


def test_a_method_without_end_is_431(attacked: Edge) -> None:
    answer = attacked.send(b"x" * 100_000)
    assert answer.status in (414, 431)
    check(attacked, answer)


# What takes time


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_the_greatest_length_is_read_in_no_time(attacked: Edge, name: str) -> None:
    for unit in FIELDS[name]:
        for path in PATHS:
            answer = attacked.send(asking("GET", path, f"{name}: {(unit * LONG)[:LONG]}"))
            check(attacked, answer)
            assert answer.status != 500
            assert answer.seconds < 1.5, (
                unit,
                path,
            )  # of a PACS that nobody is, two attempts to connect are some of it


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_a_target_of_the_greatest_length_is_read_in_no_time(attacked: Edge, method: str, target: str) -> None:
    answer = attacked.send(asking(method, target, "Content-Length: 0"))
    check(attacked, answer)
    assert answer.status != 500
    assert answer.seconds < 1.5


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip, gzip", "x" * LONG])
@pytest.mark.parametrize("kind", ["application/dicom", 'multipart/related; type="application/dicom"; boundary=a'])
def test_a_store_in_a_content_coding_is_415(attacked: Edge, coding: str, kind: str) -> None:
    fields = (f"Content-Type: {kind}", f"Content-Encoding: {coding}", "Content-Length: 3")
    answer = attacked.send(asking("POST", "/dicom/studies", *fields) + b"\x1f\x8b\x08")
    assert answer.status == 415
    check(attacked, answer)


def test_ten_thousand_pipelined_requests_hold_nobody_up(attacked: Edge) -> None:
    request = b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection(("127.0.0.1", attacked.port), timeout=20) as client:
        client.setblocking(False)
        left, answers, times = request * 10_000, 0, []
        deadline = time.monotonic() + 60
        while answers < 10_000 and time.monotonic() < deadline:
            with suppress(BlockingIOError):
                left = left[client.send(left[:65536]) :] if left else left
            with suppress(BlockingIOError):
                answers += client.recv(1 << 20).count(b"HTTP/1.1 404 ")
            if len(times) * 200 < answers:
                times.append(attacked.healthy())
    assert answers > 9_900  # some of the words lie across two reads
    assert median(times) < 0.1


def test_a_client_of_ten_thousand_pipelined_requests_that_reads_nothing_is_not_read_either(attacked: Edge) -> None:
    request = b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", attacked.port))
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            client.sendall(request * 1_000_000)
        assert attacked.healthy() < 0.5


def test_expectations_are_met_one_at_a_time(attacked: Edge) -> None:
    request = b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"
    answer = attacked.send(request * 99 + request.replace(b"Host: a", b"Host: a\r\nConnection: close"))
    assert answer.raw.count(b"HTTP/1.1 200 ") == 100
    assert answer.raw.count(b"HTTP/1.1 100 ") <= 100


def test_a_thousand_silent_connections_get_408_at_the_deadline_and_others_are_served_meanwhile(attacked: Edge) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard)), hard))
    try:
        with ExitStack() as open_sockets:
            begun = time.monotonic()
            silent = [
                open_sockets.enter_context(socket.create_connection(("127.0.0.1", attacked.port), timeout=10))
                for _ in range(1000)
            ]
            connected = time.monotonic() - begun
            times = [attacked.healthy() for _ in range(20)]
            answers = [client.recv(65536) for client in silent]
            ended = time.monotonic() - begun
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(answer.startswith(b"HTTP/1.1 408 ") and b"\r\nConnection: close\r\n" in answer for answer in answers)
    assert 2 <= ended < connected + 4
    assert median(times) < 0.1


# Who it is


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP"])
def test_nobody_is_who_he_says_without_a_trusted_proxy(attacked: Edge, name: str) -> None:
    for value in ("192.0.2.1", "for=192.0.2.1", "192.0.2.1, 192.0.2.1", "::ffff:192.0.2.1"):
        assert attacked.send(asking("GET", "/guarded", f"{name}: {value}")).status == 403


def test_who_comes_by_ipv4_to_a_socket_for_both_has_an_address_of_ipv4(attacked: Edge) -> None:
    assert json.loads(attacked.send(asking("GET", "/echo")).body)["peer"] == "127.0.0.1"
    assert json.loads(attacked.send(asking("GET", "/echo"), address="::1").body)["peer"] == "::1"


# No descriptors left

MOST = 200
"""Descriptors of the process: a quarter is not for clients."""


def test_without_descriptors_load_is_shed_and_nothing_spins_and_all_comes_back(tmp_path: Path) -> None:
    with edge(tmp_path, most_descriptors=MOST) as short, ExitStack() as clients:
        before = short.descriptors()
        living = clients.enter_context(socket.create_connection(("127.0.0.1", short.port), timeout=10))
        begun = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\nConnection: close\r\n\r\n" + b"x" * 300
        living.sendall(begun)
        with ExitStack() as flood:
            answers: list[bytes] = []
            silent = [
                flood.enter_context(socket.create_connection(("127.0.0.1", short.port), timeout=10))
                for _ in range(3 * MOST)
            ]
            time.sleep(0.5)
            for client in silent:
                client.setblocking(False)
                try:
                    answers.append(client.recv(4096))
                except BlockingIOError:
                    answers.append(b"waits")
                except ConnectionResetError:
                    answers.append(b"reset")
            shed = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
            assert len(shed) >= 10
            assert b"\r\nRetry-After: 1\r\n" in shed[0] or b"\r\nretry-after: 1\r\n" in shed[0].lower()
            assert answers.count(b"waits") + len(shed) < MOST
            assert short.descriptors() < MOST
            processor = short.processor_seconds()
            time.sleep(1)
            assert short.processor_seconds() - processor < 0.5
            living.sendall(b"y" * 300)
        deadline = time.monotonic() + 20
        while short.send(asking("GET", "/healthz")).raw[9:12] != b"200":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        living.sendall(b"z" * 300)
        received = b""
        while data := living.recv(65536):
            received += data
        assert received.startswith(b"HTTP/1.1 200 ")
        assert received.endswith(b"\r\n\r\n" + b"x" * 300 + b"y" * 300 + b"z" * 300)
        while short.descriptors() > before + 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert short.descriptors() <= before + 2
        assert "Traceback" not in short.logged()


def test_the_operator_is_told_that_descriptors_are_too_few(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with edge(tmp_path, most_descriptors=MOST) as short:
        assert f"may have {MOST} file descriptors" in short.logged()
    if hard == resource.RLIM_INFINITY or hard > 4096:
        with edge(tmp_path) as plenty:
            assert "file descriptors" not in plenty.logged()
