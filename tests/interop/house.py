"""The whole gateway in front of a scripted PACS, in this process; and a client that sees every byte of its answers."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from harmonygw.config.loading import load
from harmonygw.service import Gateway, available
from tests.interop.aftermath import Aftermath, Audited, until
from tests.interop.pacs import PACS
from tests.interop.processes import free_port

reactor: Any = _reactor

CONFIGURATION = """
[proxy]
id = "faults"
drain_timeout_secs = 0

[network.default.http]
bind_address = "127.0.0.1"
bind_port = HTTP_PORT

[network.default.limits]
write_timeout_secs = 0.5

[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb"]
middleware = ["bridge"]
backends = ["pacs"]

[endpoints.dicomweb]
service = "dicomweb"
options = { path_prefix = "/dicom" }

[middleware.bridge]
type = "dicomweb_bridge"
options = { max_results = 50 }

[backends.pacs]
service = "dicom_scu"
target_ref = "archive"
timeout_secs = 1
max_retries = 1

[backends.pacs.options]
aet = "PACS"
local_aet = "HARMONYGW"
"""

TARGET = """
[targets.archive.connection]
host = "127.0.0.1"
port = {port}
protocol = "dicom"
"""

OPTIONS = {
    "connect_timeout_secs": 0.3,
    "association_timeout_secs": 0.3,
    "silence_timeout_secs": 0.4,
    "cancel_grace_secs": 0.3,
    "move_grace_secs": 0.2,
    "queue_timeout_secs": 1.0,
}

PATIENT = dict.fromkeys(("timeout_secs", *OPTIONS), 5.0)
"""Time enough for a busy machine, where no time-out is what a test is about."""

CLIENT = ("127.0.0.1", "faults", "pacs")
"""The participants of a query and of a Store: who asks, the gateway, and the archive."""
ENDS = ("faults", "127.0.0.1", "pacs")
"""Those of a Retrieve: who sends, who receives, and whose they are."""

STUDY = "/dicom/studies/1.2"
ANY_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'


class Reply(NamedTuple):
    """An answer, as it was on the wire."""

    status: int
    headers: dict[str, str]
    content: bytes
    """Without the framing."""
    whole: bool
    """Whether its framing says that it ended: the last chunk, or as many bytes as announced."""
    reset: bool
    """Whether the connection ended with a reset."""
    raw: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = json.loads(self.content)
        return document

    @property
    def is_broken_off(self) -> bool:
        """Whether nobody could take it for a whole one: no last chunk, no closing boundary, a reset."""
        boundary = self.headers["content-type"].partition("boundary=")[2].strip('"').encode()
        closed = b"--" + boundary + b"--" in self.content
        return not self.whole and self.reset and not closed and not self.raw.endswith(b"0\r\n\r\n")


class Client(Protocol):
    """One HTTP connection."""

    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended: Deferred[bool] = Deferred()
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def request(self, path: str, accept: str = "*/*", method: str = "GET") -> None:
        lines = (f"{method} {path} HTTP/1.1", "Host: gateway", f"Accept: {accept}", "Connection: close", "", "")
        self.transport.write("\r\n".join(lines).encode())

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for one in [one for one in self._waiting if len(self.received) >= one[0]]:
            self._waiting.remove(one)
            one[1].callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(not isinstance(reason.value, ConnectionDone))

    async def bytes_received(self, count: int) -> None:
        """Wait until so much has come."""
        if len(self.received) < count:
            waiter: Deferred[None] = Deferred()
            self._waiting.append((count, waiter))
            await waiter.addTimeout(5, reactor)

    async def reply(self) -> Reply:
        """Wait for the end of the connection; return what came."""
        reset = await self.ended.addTimeout(10, reactor)
        if not self.received:
            return Reply(0, {}, b"", False, reset, b"")
        head, _, rest = bytes(self.received).partition(b"\r\n\r\n")
        lines = head.decode("ascii").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if headers.get("transfer-encoding") == "chunked":
            content, whole = _unchunked(rest)
        else:
            content, whole = rest, len(rest) == int(headers["content-length"])
        return Reply(int(lines[0].split()[1]), headers, content, whole, reset, bytes(self.received))


def _unchunked(data: bytes) -> tuple[bytes, bool]:
    content = bytearray()
    while data:
        size, separator, rest = data.partition(b"\r\n")
        length = int(size, 16) if separator else -1
        if length == 0:
            return bytes(content), rest == b"\r\n"
        if length < 0 or len(rest) < length + 2:
            break
        content += rest[:length]
        data = rest[length + 2 :]
    return bytes(content), False


class House:
    """A running gateway and the PACS behind it.

    Leaving it asserts what holds after every fault: the next good request works, no place of the pool is taken by
    anything but an idle association, and when all is stopped no socket and no delayed call is left.
    """

    is_recorded = True
    """Whether its audit trail is kept here, and not sent where the configuration says."""
    more = ""
    """Further tables of the configuration."""

    def __init__(self, folder: Path, pacs: PACS, **options: Any) -> None:
        self.pacs = pacs
        self.folder = folder
        self._first_answer_secs = options.pop("timeout_secs", 1)
        self._options = {**OPTIONS, **options}
        self.aftermath = Aftermath(pacs.identifiers, is_recorded=self.is_recorded)
        self.recovers = True
        """Whether the next good request is expected to work."""
        self.gateway: Gateway
        self.port = 0

    async def __aenter__(self) -> "House":
        self.aftermath.begin(self.pacs_sockets())
        options = "\n".join(f"{name} = {json.dumps(value)}" for name, value in self._options.items())
        main = self.folder / "config.toml"
        self.port = free_port()
        text = (
            CONFIGURATION.replace("HTTP_PORT", str(self.port)).replace(
                "\ntimeout_secs = 1\n", f"\ntimeout_secs = {self._first_answer_secs:g}\n"
            )
            + options
            + TARGET.format(port=self.pacs.port)
            + self.more
        )
        main.write_text(text, encoding="utf-8")
        repository = self.aftermath.audit if self.is_recorded else None
        configuration = load(main, environ={}, available=available())
        self.gateway = Gateway(configuration, reactor, audit_repository=repository)
        self.gateway.startService()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self.recovers:
                await self._is_as_good_as_new()
        finally:
            await self.gateway.stopService()
            if kind is None:
                await self.pacs.quiet()
            await self.pacs.stop()
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
    def alerts(self) -> list[LogEvent]:
        return self.aftermath.alerts

    def pacs_sockets(self) -> list[Any]:
        return [self.pacs._listening]

    @property
    def target(self) -> dict[str, Any]:
        """What the gateway says of the PACS."""
        described: dict[str, Any] = self.gateway.describe()["targets"]["pacs"]
        return described

    @property
    def places(self) -> tuple[int, int]:
        """Places of the pool that are taken, and those of them that are idle."""
        return self.target["associations"], self.target["idle"]

    @property
    def now(self) -> float:
        return float(reactor.seconds())

    async def connect(self, *, receive_buffer: int = 0) -> Client:
        client = Client()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        await endpoint.connect(Factory.forProtocol(lambda: client))
        if receive_buffer:
            handle: socket.socket = client.transport.getHandle()
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        return client

    async def ask(self, path: str, accept: str = "*/*") -> Reply:
        """Ask, and wait for the end."""
        client = await self.connect()
        client.request(path, accept)
        return await client.reply()

    async def retrieve(self, accept: str = ANY_DICOM) -> Reply:
        """Ask for the study."""
        return await self.ask(STUDY, accept)

    async def logged(self, count: int = 1) -> dict[str, Any]:
        """Wait for the log line of so many exchanges; return the last one."""
        return await self.aftermath.logged(count)

    async def freed(self) -> None:
        """Wait until no place is taken by anything but an idle association."""
        await self._until(lambda: self.places[0] == self.places[1])

    async def _is_as_good_as_new(self) -> None:
        await self.freed()
        self.pacs.behave()
        if self.pacs._listening is None:
            self.pacs.listen()
        reply = await self.ask("/dicom/studies?StudyInstanceUID=1.2")
        assert reply.status == 200, reply.raw
        [match] = json.loads(reply.content)
        assert match["0020000D"]["Value"] == ["1.2"]
        reply = await self.retrieve()
        assert (reply.status, reply.whole) == (200, True), reply.raw
        assert reply.content.count(b"\x08\x00\x18\x00UI") == len(self.pacs.held)
        await self.freed()
        assert (self.target["waiting"], self.target["moves_under_way"]) == (0, 0)

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Let the reactor turn until the condition holds; three seconds at most."""
        await until(condition, lambda: (self.places, self.aftermath.left_over(), self.pacs.seen))
