"""A server in memory: its connections, as they are made, and a client before it."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from harmonygw.net.http.client.client import Answer, Client, Outgoing
from harmonygw.net.http.client.connection import Connection
from harmonygw.net.http.client.limits import ClientLimits
from harmonygw.streams import Body
from tests.net.http.client.wire import Read, Transport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Link:
    """The server's end of one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.transport = Transport()

    @property
    def received(self) -> bytes:
        return self.transport.value()

    def send(self, data: bytes = OK) -> None:
        self.connection.dataReceived(data)

    def close(self) -> None:
        self.connection.connectionLost(Failure(ConnectionDone()))

    def reset(self) -> None:
        self.connection.connectionLost(Failure(ConnectionLost()))


@implementer(IStreamClientEndpoint)
class Server:
    """Takes connections, unless `refuses` or `swallows` says otherwise."""

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.links: list[Link] = []
        self.attempts = 0
        self.refuses: list[BaseException] = []
        """What the next attempts to connect come to."""
        self.swallows = False
        self.pending: list[Deferred[Any]] = []
        self.client = Client(self, self.clock, ClientLimits(**limits))

    def connect(self, protocolFactory: Any) -> "Deferred[Any]":
        self.attempts += 1
        connecting: Deferred[Any] = Deferred()
        if self.swallows:
            self.pending.append(connecting)
        elif self.refuses:
            connecting.errback(self.refuses.pop(0))
        else:
            link = Link(protocolFactory.buildProtocol(None))
            self.links.append(link)
            link.connection.makeConnection(link.transport)
            connecting.callback(link.connection)
        return connecting

    def ask(self, method: str = "GET", body: Body | None = None, deadline: float | None = None) -> "Sent":
        outgoing = Outgoing(method, "http://server/a", b"/a", ((b"Host", b"server"),), body)
        return Sent(self, outgoing, deadline)


class Sent:
    """A request, and what has come of it."""

    def __init__(self, server: Server, outgoing: Outgoing, deadline: float | None) -> None:
        self.notes: list[str] = []
        self.answer: Answer | None = None
        self.failure: BaseException | None = None
        self.running = Deferred.fromCoroutine(server.client.send(outgoing, self.notes.append, deadline))
        self.running.addCallbacks(self._answered, self._failed)

    def _answered(self, answer: Answer) -> None:
        self.answer = answer

    def _failed(self, failure: Failure) -> None:
        self.failure = failure.value

    def read(self) -> Read:
        assert self.answer is not None, self.failure
        assert self.answer.body is not None
        return Read(self.answer.body)  # type: ignore[arg-type]
