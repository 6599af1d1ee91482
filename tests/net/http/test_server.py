"""The whole of net/http under Klein, over real loopback sockets."""

import socket
from datetime import UTC, datetime, timedelta

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from klein import Klein
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ClientEndpoint, TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher

from harmonygw.errors import PeerError, TimedOut, TooLarge
from harmonygw.net.http.limits import BACKLOG, BODY_READ_BYTES, SEND_BYTES, WRITE_BEHIND_BYTES, HTTPLimits
from harmonygw.net.http.response import send
from harmonygw.net.http.server import HTTPSite
from harmonygw.streams import Body
from tests.net.http.wire import Source

MEGABYTE = bytes(1024 * 1024)


class Client(Protocol):
    """Keeps what it receives, and how the connection ended."""

    def __init__(self):
        self.received = bytearray()
        self.lost = Deferred()
        self.waiting = []

    def dataReceived(self, data):
        self.received += data
        for size, waiter in [w for w in self.waiting if len(self.received) >= w[0]]:
            self.waiting.remove((size, waiter))
            waiter.callback(None)

    def connectionLost(self, reason):
        self.lost.callback(reason.type)

    def got(self, size):
        waiter = Deferred()
        self.waiting.append((size, waiter))
        self.dataReceived(b"")
        return waiter


class Endless:
    """A body that never ends, and counts what was taken of it."""

    def __init__(self):
        self.taken = 0
        self.closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        self.taken += len(MEGABYTE) // 4
        return (memoryview(MEGABYTE)[: len(MEGABYTE) // 4],)

    async def aclose(self):
        self.closed = True


class Service:
    """A Klein application on a port of its own."""

    def __init__(self):
        self.source = Source()
        self.endless = Endless()
        self.results = []
        self.failures = []
        self.write_timeout = 60.0
        self.clients = []

    def listen(self, **limits):
        app = Klein()

        @app.route("/fed")
        async def fed(request):
            self.results.append(await self.send(request, self.source.body))

        @app.route("/endless")
        async def endless(request):
            self.results.append(await self.send(request, Body(self.endless)))

        @app.route("/store", methods=["POST"])
        async def store(request):
            request.limit_body(3_000_000)
            size = 0
            try:
                async for pieces in request.body:
                    size += sum(map(len, pieces))
            except TooLarge as error:
                await self.send(request, str(error).encode(), 413)
            else:
                await self.send(request, b"%d" % size)

        self.site = HTTPSite(app.resource(), limits=HTTPLimits(**limits), reactor=reactor)
        self.port = reactor.listenTCP(0, self.site, backlog=BACKLOG, interface="127.0.0.1")

    def send(self, request, body, status=200):
        return send(request, status, [], body, clock=reactor, write_timeout=self.write_timeout)

    async def connect(self, data):
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        client = await connectProtocol(endpoint, Client())
        self.clients.append(client)
        client.transport.write(data)
        return client

    def observe(self, event):
        if "log_failure" in event:
            self.failures.append(event)


def self_signed():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
    ).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return PrivateCertificate.loadPEM(pem + certificate.public_bytes(serialization.Encoding.PEM))


def get(path):
    return b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path


async def until(condition):
    while not condition():
        await deferLater(reactor, 0.01)


@pytest.fixture
def service():
    service = Service()
    globalLogPublisher.addObserver(service.observe)
    yield service
    globalLogPublisher.removeObserver(service.observe)
    for client in service.clients:
        client.transport.abortConnection()
    pytest_twisted.blockon(service.port.stopListening())
    pytest_twisted.blockon(service.site.connections.drain())
    assert len(service.site.connections) == 0
    assert service.failures == []


@pytest_twisted.ensureDeferred
async def test_a_whole_reply_arrives_and_the_connection_is_kept(service):
    service.listen()
    client = await service.connect(get(b"/fed"))
    await until(lambda: service.site.connections)
    service.source.feed.put((b"abc",))
    service.source.feed.end()
    await until(lambda: client.received.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
    client.received.clear()
    client.transport.write(get(b"/nowhere"))
    await client.got(30)
    assert client.received.startswith(b"HTTP/1.1 404 ")


@pytest_twisted.ensureDeferred
async def test_a_body_that_fails_half_way_is_reset_on_the_wire(service):
    service.listen()
    client = await service.connect(get(b"/fed"))
    service.source.feed.put((b"abc",))
    await until(lambda: client.received.endswith(b"3\r\nabc\r\n"))
    service.source.feed.fail(PeerError("the association is gone"))
    assert await client.lost is ConnectionLost
    assert client.received.endswith(b"3\r\nabc\r\n")
    assert isinstance(service.results[0].error, PeerError)


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")  # Twisted passes them
@pytest_twisted.ensureDeferred
async def test_a_body_that_fails_half_way_has_no_clean_end_over_tls_either(service):
    service.listen()
    certificate = self_signed()
    secure = reactor.listenSSL(0, service.site, certificate.options(), interface="127.0.0.1")
    endpoint = SSL4ClientEndpoint(reactor, "127.0.0.1", secure.getHost().port, CertificateOptions())
    client = await connectProtocol(endpoint, Client())
    client.transport.write(get(b"/fed"))
    service.source.feed.put((b"abc",))
    await until(lambda: client.received.endswith(b"3\r\nabc\r\n"))
    service.source.feed.fail(PeerError("the association is gone"))
    assert await client.lost is ConnectionLost
    assert client.received.endswith(b"3\r\nabc\r\n")
    await secure.stopListening()


@pytest_twisted.ensureDeferred
async def test_small_writes_leave_at_once_and_large_ones_whole(service):
    service.listen()
    await service.connect(b"")
    await until(lambda: len(service.site.connections))
    (channel,) = service.site.connections._open
    transport = channel.transport
    assert transport.getTcpNoDelay()
    assert (transport.bufferSize, transport.SEND_LIMIT) == (WRITE_BEHIND_BYTES, SEND_BYTES)


@pytest_twisted.ensureDeferred
async def test_a_body_is_read_in_larger_pieces_until_it_has_ended(service):
    service.listen()
    client = await service.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
    await until(lambda: len(service.site.connections))
    (channel,) = service.site.connections._open
    await until(lambda: channel.transport.bufferSize == BODY_READ_BYTES)
    client.transport.write(b"b")
    await until(lambda: channel.transport.bufferSize == WRITE_BEHIND_BYTES)


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_away_ends_the_body_and_nothing_is_logged(service):
    service.listen()
    client = await service.connect(get(b"/fed"))
    service.source.feed.put((b"abc",))
    await until(lambda: client.received)
    client.transport.abortConnection()
    await until(lambda: service.source.aborted)
    await until(lambda: not len(service.site.connections))
    assert service.results == []


@pytest_twisted.ensureDeferred
async def test_a_client_that_never_reads_costs_a_bounded_amount_and_is_reset(service):
    service.write_timeout = 0.3
    service.listen()
    client = await service.connect(b"")
    client.transport.pauseProducing()
    client.transport.write(get(b"/endless"))
    await until(lambda: service.results)
    assert isinstance(service.results[0].error, TimedOut)
    assert service.endless.closed
    assert service.endless.taken < 16 * len(MEGABYTE)  # what two kernel buffers hold at most, and ours
    client.transport.resumeProducing()
    assert await client.lost is ConnectionLost
    assert len(client.received) < service.endless.taken


@pytest_twisted.ensureDeferred
async def test_a_client_that_reads_slowly_is_not_reset(service):
    service.write_timeout = 0.2
    service.listen()
    client = await service.connect(b"")
    client.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    client.transport.write(get(b"/endless"))
    for _ in range(20):
        client.transport.pauseProducing()
        await deferLater(reactor, 0.03)
        client.transport.resumeProducing()
        await client.got(len(client.received) + 1)
    assert service.results == []
    client.transport.abortConnection()
    await until(lambda: service.endless.closed)


@pytest_twisted.ensureDeferred
async def test_an_upload_streams_and_the_connection_is_kept(service):
    service.listen()
    head = b"POST /store HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 * len(MEGABYTE))
    client = await service.connect(head)
    client.transport.write(MEGABYTE)
    client.transport.write(MEGABYTE + get(b"/nowhere"))
    await until(lambda: b"404" in client.received)
    assert b"\r\n\r\n2097152HTTP/1.1 404" in client.received


@pytest_twisted.ensureDeferred
async def test_a_client_whose_upload_is_too_large_gets_to_see_413(service):
    service.listen()
    head = b"POST /store HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    client = await service.connect(head)
    for _ in range(3):
        client.transport.write(b"100000\r\n" + MEGABYTE + b"\r\n")
    await until(lambda: b"larger than 3000000 bytes (limits.max_request_bytes" in client.received)
    assert client.received.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in client.received


@pytest_twisted.ensureDeferred
async def test_a_connection_too_many_gets_503_and_others_are_served_meanwhile(service):
    service.listen(max_connections=1)
    first = await service.connect(b"")
    await until(lambda: len(service.site.connections))
    second = await service.connect(get(b"/nowhere"))
    await second.got(12)
    assert second.received.startswith(b"HTTP/1.1 503 ")
    first.transport.write(get(b"/nowhere"))
    await first.got(12)
    assert first.received.startswith(b"HTTP/1.1 404 ")
    first.transport.loseConnection()
    assert await first.lost is ConnectionDone
    await until(lambda: not len(service.site.connections))


def test_only_http_1_1_is_offered_and_nothing_is_logged_or_timed(service):
    service.listen()
    assert service.site.acceptableProtocols() == [b"http/1.1"]
    assert service.site.startFactory() is None
    assert service.site._logDateTimeCall is None
