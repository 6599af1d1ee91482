"""The backend as it is built, and what it makes of an exchange; its wire is tested with the client and the proxy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from harmonygw.errors import ConfigurationError, HarmonyError, RejectedError
from harmonygw.exchange import AssociationOrigin, Reply, Request
from tests.backends.http.served import backend, request
from tests.certificates import identity
from tests.net.http.client.wire import Read, Transport

KEYED = """
authentication = "key"
options = { base_url = "http://192.0.2.7/base" }

[authentications.key]
method = "api_key"
options = { token = "secret" }
"""


class Served:
    """A backend on a reactor in memory, and its one connection."""

    def __init__(self, folder: Path, text: str, service: str = "http") -> None:
        self.reactor = MemoryReactorClock()
        self.backend: Any = backend(folder, self.reactor, text, service)
        self.connection: Any = None
        self.transport = Transport()
        self.reply: Reply | None = None
        self.failure: Any = None

    def ask(self, asked: Request) -> bytes:
        """Ask; return what goes out."""
        running = Deferred.fromCoroutine(self.backend.respond(asked))
        running.addCallbacks(self._replied, self._failed)
        if self.connection is None and self.reactor.tcpClients:
            factory = self.reactor.tcpClients[0][2]
            self.connection = factory.buildProtocol(None)
            self.connection.makeConnection(self.transport)
        sent = self.transport.value()
        self.transport.clear()
        return sent

    def _replied(self, reply: Reply) -> None:
        self.reply = reply

    def _failed(self, failure: Failure) -> None:
        self.failure = failure.value

    def answer(self, data: bytes) -> None:
        self.connection.dataReceived(data)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []
    observer = lambda event: found.append(formatEvent(event))  # noqa: E731
    globalLogPublisher.addObserver(observer)
    yield found
    globalLogPublisher.removeObserver(observer)


def test_a_request_is_passed_on_and_its_response_back(tmp_path: Path) -> None:
    served = Served(tmp_path, 'options = { host = "192.0.2.7", port = 81, base_path = "a/b", method = "POST" }')
    asked = request("GET", "c", query=(("d", "e"),))
    assert served.ask(asked).startswith(b"POST /a/b/c?d=e HTTP/1.1\r\nHost: 192.0.2.7:81\r\n")
    served.answer(b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\nX: y\r\n\r\nok")
    assert served.reply is not None
    assert served.reply.status == 201
    assert served.reply.of_web_server
    assert ("X", "y") in served.reply.headers
    assert not [name for name, _ in served.reply.headers if name.lower() == "content-length"]
    body = served.reply.body
    assert body is not None
    assert (body.length, Read(body).data) == (2, b"ok")  # type: ignore[arg-type]
    assert (asked.record.target, asked.record.operation) == ("server", "Pass on")


def test_it_is_described(tmp_path: Path) -> None:
    served = Served(tmp_path, 'options = { base_url = "http://192.0.2.7/base/" }')
    assert served.backend.state() == {
        "target": "server",
        "base_url": "http://192.0.2.7/base",
        "ready": True,
        "last_failure": "",
        "connections": 0,
        "idle_connections": 0,
        "requests_waiting": 0,
    }
    served.backend.start()
    served.backend.stop()


def test_credentials_of_ours_go_out_and_those_of_the_client_do_not(tmp_path: Path, lines: list[str]) -> None:
    served = Served(tmp_path, KEYED)
    served.backend.start()
    assert lines == ["backends.server sends its credentials to the server without TLS"]
    sent = served.ask(request(headers={"authorization": "Bearer x", "x-api-key": "mine"}))
    assert sent.endswith(b"\r\nX-API-Key: secret\r\n\r\n")
    assert b"uthorization" not in sent
    assert b"mine" not in sent
    served.answer(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
    assert isinstance(served.failure, RejectedError)
    assert "http://192.0.2.7/base" in served.failure.log_detail
    assert "192.0.2.7" not in str(served.failure)
    assert "secret" not in served.failure.log_detail


def test_a_client_that_somebody_here_has_authenticated_keeps_its_credentials(tmp_path: Path) -> None:
    served = Served(tmp_path, 'options = { base_url = "http://192.0.2.7" }')
    sent = served.ask(request(headers={"authorization": "Bearer x"}, principal="jane"))
    assert b"uthorization" not in sent


def test_a_refused_response_is_given_up(tmp_path: Path) -> None:
    served = Served(tmp_path, KEYED)
    served.ask(request())
    served.answer(b"HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\nno")
    assert isinstance(served.failure, RejectedError)
    assert served.transport.aborted


def test_head_has_the_length_that_get_would_have(tmp_path: Path) -> None:
    served = Served(tmp_path, 'options = { base_url = "http://192.0.2.7" }')
    served.ask(request("HEAD"))
    served.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\n")
    assert served.reply is not None
    assert served.reply.body is None
    assert ("Content-Length", "700") in served.reply.headers
    served.ask(request("HEAD"))
    served.answer(b"HTTP/1.1 204 No\r\nContent-Length: 700\r\n\r\n")
    assert "Content-Length" not in dict(served.reply.headers)


def test_an_operation_that_nobody_has_translated_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    served = Served(tmp_path, 'options = { base_url = "http://192.0.2.7" }')
    served.ask(Request(AssociationOrigin("A", "B"), "192.0.2.1", "c"))
    assert isinstance(served.failure, ConfigurationError)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('options = { base_url = "http://h", headers = { Connection = "x" } }', "made by the gateway itself"),
        ('options = { base_url = "http://h", headers = { "Content-Length" = "1" } }', "made by the gateway itself"),
        ('options = { base_url = "http://h", headers = { "A B" = "x" } }', "no header field"),
        ('options = { base_url = "http://h", headers = { A = "x\\ny" } }', "no header field"),
        ('options = { base_url = "http://h", headers = { A = "漢" } }', "no header field"),
        (
            'authentication = "a"\noptions = { base_url = "http://h" }\n[authentications.a]\nmethod = "mutual_tls"\n'
            'options = { cert_path = "c", key_path = "k" }',
            "needs protocol https",
        ),
        ('options = { base_url = "http://user:secret@h" }', "a user in a URL"),
        ('connection.ca_cert_path = "nowhere.pem"\noptions = { base_url = "https://h" }', "nowhere.pem"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_built(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        backend(tmp_path, MemoryReactorClock(), text)


def test_a_certificate_of_ours_is_read_when_it_is_built(tmp_path: Path) -> None:
    chain, key = identity("us").write(tmp_path, "us")
    text = 'authentication = "a"\noptions = { base_url = "https://h" }\n[authentications.a]\nmethod = "mutual_tls"\n'
    assert backend(tmp_path, MemoryReactorClock(), text + f'options = {{ cert_path = "{chain}", key_path = "{key}" }}')
    with pytest.raises(ConfigurationError, match="not a PEM private key"):
        backend(tmp_path, MemoryReactorClock(), text + f'options = {{ cert_path = "{chain}", key_path = "{chain}" }}')


def test_errors_are_the_houses(tmp_path: Path) -> None:
    served = Served(tmp_path, 'options = { base_url = "http://192.0.2.7" }')
    served.ask(request("GET", ".."))
    assert isinstance(served.failure, HarmonyError)
    assert "backend server" in served.failure.log_detail
