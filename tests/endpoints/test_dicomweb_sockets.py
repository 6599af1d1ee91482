"""HTTP in and out of the DICOMweb endpoint: what reaches the pipeline, what is sent, and the line in the log."""

import gzip
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.server import Site

from harmonygw import errors
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.net.http.server import HTTPSite
from harmonygw.net.http.tree import PrefixTree
from harmonygw.streams import Body
from tests.endpoints.dicomweb_service import Service, answered, endpoint_of
from tests.net.http.wire import Source


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """The lines that exchanges have written to the log."""
    found: list[dict[str, Any]] = []

    def observe(event: dict[str, Any]) -> None:
        if "exchange" in event:
            found.append(event["exchange"])

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest.fixture(autouse=True)
def failures() -> Iterator[list[str]]:
    """What is logged as failed without anybody having foreseen it; tests that expect it empty the list."""
    found: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            found.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)
    assert found == []


# Somebody else's site


def test_on_a_plain_site_a_body_streams_and_a_request_body_is_there(lines: list[dict[str, Any]]) -> None:
    source = Source()
    bodies: list[bytes] = []

    async def respond(request: Request) -> Reply:
        assert isinstance(request.origin, HTTPOrigin)
        assert request.origin.body is not None
        bodies.extend([bytes(piece) async for pieces in request.origin.body for piece in pieces])
        return Reply(body=source.body)

    service = Service(respond, plain=True)
    sent = service.send("/dicom/studies/1", "GET", "Content-Length: 3")
    sent.channel.dataReceived(b"xyz")
    assert bodies == [b"xyz"]
    source.feed.put((b"abc", b"de"), 5)
    assert sent.transport.value().endswith(b"\r\n\r\n5\r\nabcde\r\n")
    source.feed.end()
    assert answered(sent.transport.value()).body == b"abcde"
    assert [(line["outcome"], line["bytes"]) for line in lines] == [("complete", 5)]


def test_on_a_plain_site_a_client_that_goes_away_cancels_too(lines: list[dict[str, Any]]) -> None:
    source = Source()

    async def respond(request: Request) -> Reply:
        return Reply(body=source.body)

    sent = Service(respond, plain=True).send("/dicom/studies/1")
    source.feed.put((b"abc",), 3)
    sent.channel.connectionLost(Failure(ConnectionLost()))
    assert source.aborted
    assert [(line["outcome"], line["status"], line["bytes"]) for line in lines] == [("client_gone", 200, 3)]


# Real sockets


class Client(Protocol):
    def __init__(self, request: bytes) -> None:
        self.request = request
        self.received = bytearray()
        self.lost: Deferred[type[BaseException]] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self.request)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.lost.callback(reason.type)  # type: ignore[arg-type]


@pytest.mark.parametrize("plain", [False, True])
@pytest_twisted.ensureDeferred
async def test_over_a_socket_a_lost_client_reaches_the_backend(plain: bool, lines: list[dict[str, Any]]) -> None:
    asked: Deferred[None] = Deferred()
    cancelled: Deferred[None] = Deferred()

    async def respond(request: Request) -> Reply:
        asked.callback(None)
        try:
            return await Deferred()
        except CancelledError:
            cancelled.callback(None)
            raise

    tree = PrefixTree()
    tree.put("/dicom", endpoint_of(respond, reactor).resource())
    site = Site(tree, reactor=reactor) if plain else HTTPSite(tree, reactor=reactor)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    try:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client = await connectProtocol(endpoint, Client(b"GET /dicom/studies/1 HTTP/1.1\r\nHost: h\r\n\r\n"))
        await asked
        client.transport.abortConnection()
        await client.lost
        await cancelled
        while not lines:
            await deferLater(reactor, 0.005)
        assert [line["outcome"] for line in lines] == ["client_gone"]
    finally:
        await port.stopListening()


@pytest.mark.parametrize("plain", [False, True])
@pytest_twisted.ensureDeferred
async def test_over_a_socket_megabytes_arrive_compressed_and_the_reactor_has_its_turns(plain: bool) -> None:
    metadata = b"[" + b",".join(b'{"00080018":{"vr":"UI","Value":["1.2.%d"]}}' % one for one in range(50_000)) + b"]"
    turns: list[int] = []

    async def respond(request: Request) -> Reply:
        turning.start(0)
        return Reply(headers=(("Content-Type", "application/dicom+json"),), body=Body.of(metadata))

    turning = LoopingCall(lambda: turns.append(len(client.received)))
    tree = PrefixTree()
    tree.put("/dicom", endpoint_of(respond, reactor).resource())
    site = Site(tree, reactor=reactor) if plain else HTTPSite(tree, reactor=reactor)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    try:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        request = (
            b"GET /dicom/studies/1/metadata HTTP/1.1\r\nHost: h\r\n"
            b"Accept-Encoding: deflate, gzip, br\r\nConnection: close\r\n\r\n"
        )
        client = await connectProtocol(endpoint, Client(request))
        assert await client.lost is ConnectionDone
        got = answered(bytes(client.received))
        assert (got.status, got.headers["content-encoding"]) == (200, "gzip")
        assert gzip.decompress(got.body) == metadata
        assert len(set(turns)) > 3  # a part was there before the next was compressed
    finally:
        turning.stop()
        await port.stopListening()


@pytest.mark.parametrize("plain", [False, True])
@pytest_twisted.ensureDeferred
async def test_over_a_socket_a_reply_that_breaks_off_is_a_reset(plain: bool) -> None:
    source = Source()

    async def respond(request: Request) -> Reply:
        return Reply(body=source.body)

    tree = PrefixTree()
    tree.put("/dicom", endpoint_of(respond, reactor).resource())
    site = Site(tree, reactor=reactor) if plain else HTTPSite(tree, reactor=reactor)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    try:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client = await connectProtocol(endpoint, Client(b"GET /dicom/studies/1 HTTP/1.1\r\nHost: h\r\n\r\n"))
        source.feed.put((b"abc",), 3)
        while not client.received.endswith(b"3\r\nabc\r\n"):
            await deferLater(reactor, 0.005)
        source.feed.fail(errors.PeerError("the association is gone"))
        assert await client.lost is ConnectionLost
        assert client.received.endswith(b"3\r\nabc\r\n")
    finally:
        await port.stopListening()
