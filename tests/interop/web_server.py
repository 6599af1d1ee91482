"""A web server in the reactor of the tests that does what a script says, byte by byte; and the gateway before it."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from harmonygw.config.loading import load
from harmonygw.service import Gateway, available
from tests.interop.aftermath import Aftermath, Audited, until
from tests.interop.house import Client, Reply
from tests.interop.processes import free_port

reactor: Any = _reactor

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ngood"

CONFIGURATION = """
[proxy]
id = "behind"
drain_timeout_secs = 0

[network.default.http]
bind_address = "127.0.0.1"
bind_port = HTTP_PORT

[network.default.limits]
write_timeout_secs = 0.5
body_timeout_secs = 0.5

[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb"]
backends = ["server"]

[endpoints.dicomweb]
service = "dicomweb"
options = { path_prefix = "/dicom" }

[backends.server]
service = "SERVICE"
timeout_secs = 1
max_retries = 1
"""

OPTIONS = {"connect_timeout_secs": 0.3, "silence_timeout_secs": 0.4, "queue_timeout_secs": 1.0}


class Peer(Protocol):
    """The server's end of one connection, in a script's words."""

    transport: Any

    def __init__(self, server: "WebServer") -> None:
        self._server = server
        self.received = bytearray()
        self.gone: Deferred[bool] = Deferred()
        """Fires when the connection is over, with whether it was reset."""
        self._waiting: list[tuple[Callable[[bytearray], bool], Deferred[None]]] = []

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self._server.peers.append(self)
        self._server.run(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for condition, waiter in list(self._waiting):
            if condition(self.received):
                self._waiting.remove((condition, waiter))
                waiter.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._server.open.discard(self)
        self.gone.callback(not isinstance(reason.value, ConnectionDone))

    async def until(self, condition: Callable[[bytearray], bool]) -> bytearray:
        """Wait until what has come meets a condition; five seconds at most."""
        if not condition(self.received):
            waiter: Deferred[None] = Deferred()
            self._waiting.append((condition, waiter))
            await waiter.addTimeout(5, reactor)
        return self.received

    async def request(self) -> bytes:
        """Wait for the next request's header; return it, and leave what follows it."""
        await self.until(lambda data: b"\r\n\r\n" in data)
        head, blank, self.received = self.received.partition(b"\r\n\r\n")
        self._server.requests.append(bytes(head + blank))
        return bytes(head + blank)

    def send(self, *data: bytes) -> None:
        for one in data:
            self.transport.write(one)

    def close(self) -> None:
        self.transport.loseConnection()

    def reset(self) -> None:
        self.transport.abortConnection()


Script = Callable[[Peer], Awaitable[None]]


async def good(peer: Peer) -> None:
    """Answer every request as one should."""
    while True:
        await peer.request()
        peer.send(OK)


class WebServer(Factory):
    """Runs its script on every connection."""

    noisy = False

    def __init__(self, script: Script = good) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.peers: list[Peer] = []
        self.open: set[Peer] = set()
        self.failures: list[str] = []
        self._running: set[Deferred[None]] = set()
        self.listening: Any = None
        self.port = 0
        self.listen()

    def listen(self) -> None:
        self.listening = reactor.listenTCP(self.port, self, interface="127.0.0.1")
        self.port = self.listening.getHost().port

    def buildProtocol(self, addr: object) -> Peer:
        return Peer(self)

    def run(self, peer: Peer) -> None:
        self.open.add(peer)
        running: Deferred[None] = Deferred.fromCoroutine(self.script(peer))  # type: ignore[arg-type]
        self._running.add(running)

        def failed(failure: Failure) -> None:
            if not peer.gone.called:
                self.failures.append(failure.getTraceback())

        running.addErrback(failed).addBoth(lambda _: self._running.discard(running))
        peer.gone.addBoth(self._stop_script, running)

    def _stop_script(self, reset: bool, running: "Deferred[None]") -> bool:
        running.cancel()
        return reset

    async def refuse_connections(self) -> None:
        listening, self.listening = self.listening, None
        if listening is not None:
            await listening.stopListening()

    async def stop(self) -> None:
        await self.refuse_connections()
        for peer in list(self.open):
            peer.reset()
            await peer.gone
        assert not self.failures, self.failures[0]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + " }"
    return json.dumps(value)


class Proxy:
    """A running gateway and the web server behind it.

    Leaving it asserts what holds after every fault: the next good request works, no connection is taken, and when all
    is stopped no socket and no delayed call is left.
    """

    def __init__(
        self, folder: Path, server: WebServer, *, service: str = "dicomweb", base: str = "/base", **options: Any
    ) -> None:
        self.server = server
        self._folder = folder
        self._service = service
        self._base = base
        self._options = {**OPTIONS, **options}
        self.aftermath = Aftermath()
        self.gateway: Gateway
        self.port = 0

    async def __aenter__(self) -> "Proxy":
        self.aftermath.begin((self.server.listening,))
        self.port = free_port()
        text = CONFIGURATION.replace("HTTP_PORT", str(self.port)).replace("SERVICE", self._service)
        text += "[backends.server.options]\n"
        text += f'base_url = "http://127.0.0.1:{self.server.port}{self._base}"\n'
        text += "\n".join(f"{name} = {_toml(value)}" for name, value in self._options.items())
        main = self._folder / "config.toml"
        main.write_text(text, encoding="utf-8")
        self.gateway = Gateway(
            load(main, environ={}, available=available()), reactor, audit_repository=self.aftermath.audit
        )
        self.gateway.startService()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                await self._is_as_good_as_new()
        finally:
            await self.gateway.stopService()
            await self.server.stop()
            self.aftermath.stop()
        if kind is None:
            await self.aftermath.end()

    @property
    def audited(self) -> Audited:
        """Assert what the audit trail tells: see `Aftermath.audited`."""
        return self.aftermath.audited

    @property
    def exchanges(self) -> list[dict[str, Any]]:
        return self.aftermath.exchanges

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom"

    @property
    def target(self) -> dict[str, Any]:
        """What the gateway says of the server."""
        described: dict[str, Any] = self.gateway.describe()["targets"]["server"]
        return described

    async def connect(self) -> Client:
        client = Client()
        await TCP4ClientEndpoint(reactor, "127.0.0.1", self.port).connect(Factory.forProtocol(lambda: client))
        return client

    async def send(self, *lines: str, body: bytes = b"") -> Client:
        """Send a request, whose lines are given, and close behind it."""
        client = await self.connect()
        client.transport.write("\r\n".join((*lines, "Connection: close", "", "")).encode("latin-1") + body)
        return client

    async def ask(self, path: str = "/dicom/studies", *fields: str, method: str = "GET") -> Reply:
        client = await self.send(f"{method} {path} HTTP/1.1", "Host: gateway", *fields)
        return await client.reply()

    async def logged(self, count: int = 1) -> dict[str, Any]:
        """Wait for the log line of so many exchanges; return the last one."""
        return await self.aftermath.logged(count)

    async def freed(self) -> None:
        """Wait until no connection is taken."""
        await self.until(lambda: self.target["connections"] == self.target["idle_connections"])

    async def _is_as_good_as_new(self) -> None:
        await self.freed()
        self.server.script = good
        if self.server.listening is None:
            self.server.listen()
        for peer in list(self.server.open):  # whose scripts are other ones
            peer.reset()
            await peer.gone
        reply = await self.ask()
        assert (reply.status, reply.content, reply.whole) == (200, b"good", True), reply.raw
        await self.freed()

    async def until_later(self, secs: float) -> None:
        """Let some time pass."""
        turn: Deferred[None] = Deferred()
        reactor.callLater(secs, turn.callback, None)
        await turn

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the reactor turn until the condition holds; three seconds at most."""
        await until(condition, lambda: (self.target, self.aftermath.left_over()))
