"""One HTTP connection in memory: what arrives, what is sent, and a clock to move."""

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from harmonygw.net.http.limits import HTTPLimits
from harmonygw.net.http.request import StreamingRequest
from harmonygw.net.http.response import send
from harmonygw.net.http.server import HTTPSite
from harmonygw.streams import Body, Feed, Pieces

Answer = Callable[[StreamingRequest], Awaitable[Any]]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class App(Resource):
    """Answers every request by a coroutine, as Klein does, and remembers how that went."""

    isLeaf = True

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer
        self.requests: list[StreamingRequest] = []
        self.results: list[Any] = []

    def render(self, request: StreamingRequest) -> int:
        self.requests.append(request)
        answering = Deferred.fromCoroutine(self.answer(request))
        request.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addErrback(lambda failure: failure.value).addCallback(self.results.append)
        return NOT_DONE_YET


class Wire:
    """A channel of a site on a transport in memory."""

    def __init__(self, answer: Answer | None = None, limits: HTTPLimits | None = None) -> None:
        self.clock = Clock()
        self.app = App(answer or self.nothing)
        self.site = HTTPSite(self.app, limits=limits, reactor=self.clock)
        self.transport, self.channel = self.connect()

    async def nothing(self, request: StreamingRequest) -> Any:
        return await self.reply(request, b"")

    async def reply(self, request: StreamingRequest, body: Body | bytes | None, status: int = 200) -> Any:
        return await send(request, status, [], body, clock=self.clock, write_timeout=60)

    def connect(self) -> tuple[StringTransport, Any]:
        transport = StringTransport()
        channel = self.site.buildProtocol(None)
        channel.makeConnection(transport)
        return transport, channel

    def receive(self, *reads: bytes) -> None:
        for read in reads:
            self.channel.dataReceived(read)

    def lose(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def sent(self) -> bytes:
        return self.transport.value()

    @property
    def status(self) -> int:
        return int(self.sent.split(b" ", 2)[1])

    @property
    def results(self) -> list[Any]:
        return self.app.results

    @property
    def request(self) -> StreamingRequest:
        return self.app.requests[-1]


def is_cancelled(result: object) -> bool:
    return isinstance(result, CancelledError)


class Source:
    """A body that the test feeds, with what became of it."""

    def __init__(self, length: int | None = None) -> None:
        self.aborted: list[BaseException] = []
        self.feed: Feed[Pieces] = Feed(limit=1, on_abort=self.aborted.append)
        self.body = Body(self.feed, length=length)
