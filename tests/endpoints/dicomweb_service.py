"""What the tests in `test_dicomweb.py` and beside it share."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.server import Site

from harmonygw.endpoints.dicomweb import DICOMwebEndpoint
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.net.http.server import HTTPSite
from harmonygw.net.http.tree import PrefixTree
from harmonygw.pipeline import EndpointContext, chain
from harmonygw.streams import Body

Respond = Callable[[Request], Awaitable[Reply]]


async def fine(request: Request) -> Reply:
    return Reply(headers=(("Content-Type", "application/dicom+json"),), body=Body.of(b"[]"))


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        return document


def answered(raw: bytes) -> Answered:
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    header = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    if header.get("transfer-encoding") == "chunked":
        chunks, rest = [], body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            chunks.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        body = b"".join(chunks)
    return Answered(int(status.split()[1]), header, body)


def endpoint_of(
    respond: Respond, clock: Any, public_url: str | None = None, sources: tuple[str, ...] = ()
) -> DICOMwebEndpoint:
    settings = SimpleNamespace(options=SimpleNamespace(public_url=public_url))
    configuration: Any = None
    return DICOMwebEndpoint(
        EndpointContext(settings, chain((), respond), configuration, clock, write_timeout=60, sources=sources)
    )


@dataclass
class Sent:
    """A request that was sent, on its connection."""

    channel: Any
    transport: StringTransport


@dataclass
class Service:
    """An endpoint below `/dicom`, on connections in memory."""

    respond: Respond = fine
    public_url: str | None = None
    prefix: str = "/dicom"
    plain: bool = False
    sources: tuple[str, ...] = ()
    clock: Clock = field(default_factory=Clock)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        async def respond(request: Request) -> Reply:
            self.requests.append(request)
            return await self.respond(request)

        self.endpoint = endpoint_of(respond, self.clock, self.public_url, self.sources)
        tree = PrefixTree()
        tree.put(self.prefix, self.endpoint.resource())
        self.site = Site(tree, reactor=self.clock) if self.plain else HTTPSite(tree, reactor=self.clock)

    def send(self, target: str, method: str = "GET", *fields: str, version: str = "1.1", host: str = "h") -> "Sent":
        channel: Any = self.site.buildProtocol(None)
        transport = StringTransport()
        channel.makeConnection(transport)
        named = (f"Host: {host}",) if host else ()
        lines = (f"{method} {target} HTTP/{version}", *named, *fields, "Connection: close", "", "")
        channel.dataReceived("\r\n".join(lines).encode("latin-1"))
        return Sent(channel, transport)

    def ask(self, target: str, method: str = "GET", *fields: str, **more: str) -> Answered:
        return answered(self.send(target, method, *fields, **more).transport.value())

    @property
    def origin(self) -> HTTPOrigin:
        origin = self.requests[-1].origin
        assert isinstance(origin, HTTPOrigin)
        return origin
