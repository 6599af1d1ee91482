"""The http endpoint in front of what HTTP requests may go to: another server, a folder, an echo. Each a process."""

import http.client
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.interop.processes import free_port, gateway

BEHIND = """
[proxy]
id = "behind"
content_limits.max_body_size = 1000

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[network.default.limits]
max_request_bytes = 0

[pipelines.echo]
networks = ["default"]
endpoints = ["basic_echo"]

[endpoints.basic_echo]
service = "echo"
options = { path_prefix = "/echo" }
"""

FRONT = """
[proxy]
id = "front"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[pipelines.http]
networks = ["default"]
endpoints = ["any"]
backends = ["server"]

[endpoints.any]
service = "http"
options = { path_prefix = "/api" }

[backends.server]
service = "http"
options = { base_url = "BEHIND/echo" }

[pipelines.gone]
networks = ["default"]
endpoints = ["gone"]
backends = ["gone"]

[endpoints.gone]
service = "http"
options = { path_prefix = "/gone", method = "POST" }

[backends.gone]
service = "http"
max_retries = 0
options = { base_url = "http://127.0.0.1:NOBODY" }

[pipelines.upload]
networks = ["default"]
endpoints = ["upload"]
backends = ["folder"]

[endpoints.upload]
service = "http"
options = { path_prefix = "/upload" }

[backends.folder]
service = "storage"
options = { root = "FOLDER", write_pattern = "{file}" }
"""


class Servers(NamedTuple):
    front: str
    folder: Path


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    with gateway(folder, BEHIND) as behind:
        configuration = FRONT.replace("BEHIND", behind).replace("NOBODY", str(free_port()))
        with gateway(folder, configuration.replace("FOLDER", str(folder / "uploads"))) as front:
            yield Servers(front, folder / "uploads")


def ask(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, fields, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_a_request_is_passed_on_with_its_path_query_and_header(servers: Servers) -> None:
    status, _, content = ask(f"{servers.front}/api/a/b%20c?x=1&y=", X_Mine="yes")
    told = json.loads(content)
    assert (status, told["method"], told["path"], told["query"]) == (200, "GET", "/a/b c", {"x": ["1"], "y": [""]})
    assert told["headers"]["x-mine"] == "yes"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_body_goes_there_and_back(servers: Servers, method: str) -> None:
    status, headers, content = ask(f"{servers.front}/api", method, b"<a/>", Content_Type="application/xml")
    assert (status, headers["Content-Type"], content) == (200, "application/xml", b"<a/>")


def test_megabytes_stream_both_ways_at_once(servers: Servers) -> None:
    """The echo behind holds a kilobyte: the rest is on its way in both directions."""
    address = urlsplit(servers.front)
    piece = bytes(range(256)) * 256
    count = 120
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
        head = f"POST /api HTTP/1.1\r\nHost: h\r\nContent-Length: {len(piece) * count}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        received = bytearray()
        connection.setblocking(False)
        left = [piece] * count
        while left:
            with suppress(BlockingIOError):
                left[0] = left[0][connection.send(left[0]) :]
                if not left[0]:
                    left.pop(0)
            with suppress(BlockingIOError):
                received += connection.recv(1 << 20)
        connection.settimeout(30)
        while more := connection.recv(1 << 20):
            received += more
    head_, _, content = bytes(received).partition(b"\r\n\r\n")
    assert head_.startswith(b"HTTP/1.1 200 ")
    assert f"Content-Length: {len(piece) * count}".lower().encode() in head_.lower()
    assert content == piece * count


def test_a_chunked_body_goes_there_too(servers: Servers) -> None:
    connection = http.client.HTTPConnection(urlsplit(servers.front).netloc, timeout=30)
    connection.request("POST", "/api", iter([b"ab", b"c" * 5000]), {"Content-Type": "text/plain"}, encode_chunked=True)
    assert connection.getresponse().read() == b"ab" + b"c" * 5000
    connection.close()


def test_a_body_beyond_what_may_be_held_is_413(servers: Servers) -> None:
    connection = http.client.HTTPConnection(urlsplit(servers.front).netloc, timeout=30)
    connection.putrequest("POST", "/api")
    connection.putheader("Content-Length", str(10485761))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    assert "max_request_bytes" in json.loads(response.read())["detail"]
    connection.close()


def test_a_server_that_is_not_there_is_502_and_another_method_405(servers: Servers) -> None:
    status, headers, content = ask(f"{servers.front}/gone", "POST", b"x")
    assert (status, json.loads(content)["target"], headers["Content-Type"]) == (502, "gone", "application/problem+json")
    status, headers, _ = ask(f"{servers.front}/gone")
    assert (status, headers["Allow"]) == (405, "OPTIONS, POST")


def test_an_upload_becomes_a_file(servers: Servers) -> None:
    status, _, content = ask(f"{servers.front}/upload/note.txt", "PUT", b"hello", Content_Type="text/plain")
    assert status in (200, 201), content
    assert [one.read_bytes() for one in servers.folder.rglob("note.txt")] == [b"hello"]
    assert ask(f"{servers.front}/upload/note.txt")[2] == b"hello"
