"""One connection to a server, in memory: what is sent, what arrives, and a clock to move."""

from typing import Any

import h11
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from harmonygw.net.http.client.connection import Connection
from harmonygw.net.http.client.limits import ClientLimits
from harmonygw.net.http.client.response import Download, Response
from harmonygw.net.http.client.upload import BodyProducer
from harmonygw.streams import Body, Feed, Pieces

GET = h11.Request(method="GET", target="/a", headers=[("Host", "server")])
GET_BYTES = b"GET /a HTTP/1.1\r\nHost: server\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: 5\r\n\r\nwhole"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def post(length: int | None) -> h11.Request:
    framing = ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
    return h11.Request(method="POST", target="/a", headers=[("Host", "server"), framing])


class Transport(StringTransport):
    """A transport that says how it ended, and whose buffer may be full."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    @property
    def paused(self) -> bool:
        return self.producerState == "paused"

    def fill(self) -> None:
        """Hold back whatever is sent."""
        producer: IPushProducer = self.producer
        producer.pauseProducing()

    def empty(self) -> None:
        producer: IPushProducer = self.producer
        producer.resumeProducing()


class Wire:
    """A connection, its home, and everything that has become of them."""

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.transport = Transport()
        self.homecomings: list[str] = []
        self.connection = Connection(self.clock, ClientLimits(**limits), self)
        self.connection.makeConnection(self.transport)

    def idle(self, connection: Connection) -> None:
        self.homecomings.append("idle")

    def closed(self, connection: Connection) -> None:
        self.homecomings.append("closed")

    def get(self, method: str = "GET") -> "Asked":
        return Asked(self, self.connection.request(h11.Request(method=method, target="/a", headers=GET.headers), None))

    def post(self, body: Body) -> "Asked":
        return Asked(self, self.connection.request(post(body.length), BodyProducer(body)))

    def receive(self, *reads: bytes) -> None:
        for read in reads:
            self.connection.dataReceived(read)

    def end(self) -> None:
        """The server closes the connection."""
        self.connection.connectionLost(Failure(ConnectionDone()))

    def reset(self) -> None:
        """The connection breaks."""
        self.connection.connectionLost(Failure(ConnectionLost()))

    @property
    def sent(self) -> bytes:
        return self.transport.value()


class Asked:
    """A request: its response or failure, and what of the body has been read."""

    def __init__(self, wire: Wire, answer: "Deferred[Response]") -> None:
        self.answer = answer
        self.response: Response | None = None
        self.failure: BaseException | None = None
        self.download = Download()
        answer.addCallbacks(self._responded, self._failed)

    def _responded(self, response: Response) -> None:
        self.response = response

    def _failed(self, failure: Failure) -> None:
        self.failure = failure.value

    @property
    def status(self) -> int:
        assert self.response is not None, self.failure
        return self.response.code

    def body(self) -> "Read":
        assert self.response is not None
        self.response.deliverBody(self.download)
        return Read(self.download.feed)


class Read:
    """A body that is read to its end, as far as that has come."""

    def __init__(self, feed: Feed[Pieces]) -> None:
        self.data = b""
        self.outcome: object = None
        self.done: Deferred[None] = Deferred.fromCoroutine(self._read(feed))
        self.done.addErrback(self._failed)

    async def _read(self, feed: Feed[Pieces]) -> None:
        async for pieces in feed:
            self.data += b"".join(pieces)
        self.outcome = "whole"

    def _failed(self, failure: Failure) -> None:
        self.outcome = failure.value


class Source:
    """A body that a test makes come."""

    def __init__(self, length: int | None = None, limit: int = 1000) -> None:
        self.given_up: list[BaseException] = []
        self.feed: Feed[Pieces] = Feed(limit=limit, on_abort=self.given_up.append)
        self.body = Body(self.feed, length=length)

    def put(self, data: bytes) -> None:
        self.feed.put((data,), len(data))
