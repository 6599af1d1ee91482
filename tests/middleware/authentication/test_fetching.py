"""A small document from a URL: what is taken, and what is not waited for."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from harmonygw.errors import TransportError
from harmonygw.middleware.authentication.fetching import FETCH_SECS, MAX_DOCUMENT_BYTES, fetch

URL = "https://issuer.example/keys"


class Response:
    """What the server says, for a client that reads it."""

    version = (b"HTTP", 1, 1)
    phrase = b""
    length = 0
    request = previousResponse = None

    def __init__(self, code: int, *pieces: bytes, headers: dict[str, list[str]] | None = None, reason: Any = None):
        self.code = code
        self.headers = Headers(headers or {})
        self.pieces = pieces
        self.reason = reason
        self.closed = False
        self.protocol: Any = None

    def deliverBody(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)
        for piece in self.pieces:
            protocol.dataReceived(piece)
        if self.reason is not None:
            protocol.connectionLost(Failure(self.reason))

    def loseConnection(self) -> None:
        self.closed = True


class Server:
    def __init__(self, answer: "Callable[[], Deferred[Any]]") -> None:
        self.clock = Clock()
        self.requests: list[tuple[bytes, bytes]] = []
        self._answer = answer

    def request(self, method: bytes, url: bytes, headers: Any = None, body: Any = None) -> "Deferred[Any]":
        self.requests.append((method, url))
        return self._answer()

    def fetched(self) -> list[Any]:
        found: list[Any] = []
        fetch(URL, self.clock, self).addBoth(found.append)
        return found


def answered(response: Response) -> Any:
    server = Server(lambda: succeed(response))
    (found,) = server.fetched()
    assert server.requests == [(b"GET", URL.encode())]
    assert server.clock.getDelayedCalls() == []
    if isinstance(found, Failure):
        found.raiseException()
    return found


@pytest.mark.parametrize("reason", [ResponseDone(), PotentialDataLoss()])
def test_a_document_is_returned_whole(reason: Exception) -> None:
    assert answered(Response(200, b"ab", b"c", reason=reason)) == b"abc"


def test_a_document_is_so_large_at_most() -> None:
    half = b"x" * (MAX_DOCUMENT_BYTES // 2)
    assert answered(Response(200, half, half, reason=ResponseDone())) == half * 2
    response = Response(200, half, half, b"x", b"x", reason=ResponseDone())
    with pytest.raises(TransportError, match="MAX_DOCUMENT_BYTES"):
        answered(response)
    assert response.closed


@pytest.mark.parametrize("code", [204, 301, 302, 307, 401, 404, 500])
def test_any_other_status_is_a_failure_and_no_redirection_is_followed(code: int) -> None:
    response = Response(code, b"ab", headers={"Location": ["https://evil.example/keys"]}, reason=ResponseDone())
    with pytest.raises(TransportError, match=f"the answer was {code}"):
        answered(response)


def test_an_error_that_never_ends_is_left() -> None:
    response = Response(500, b"ab")
    with pytest.raises(TransportError, match="the answer was 500"):
        answered(response)
    assert response.closed
    response.protocol.connectionLost(Failure(ResponseFailed([])))


def test_a_document_that_is_cut_short_is_a_failure() -> None:
    with pytest.raises(TransportError, match="lost in the middle"):
        answered(Response(200, b"ab", reason=ResponseFailed([])))


def test_a_server_that_is_not_there_is_a_failure() -> None:
    (found,) = Server(lambda: fail(ConnectionRefusedError())).fetched()
    assert found.check(ConnectionRefusedError)


@pytest.mark.parametrize("response", [None, Response(200, b"ab")])
def test_a_fetch_takes_so_long_at_most(response: Response | None) -> None:
    server = Server(lambda: Deferred() if response is None else succeed(response))
    found = server.fetched()
    server.clock.advance(FETCH_SECS - 1)
    assert found == []
    server.clock.advance(1)
    assert found[0].check(TimeoutError)
    assert response is None or response.closed
