"""An HTTP endpoint of any type below a prefix, on connections in memory."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.server import Site

from harmonygw.exchange import Reply, Request
from harmonygw.net.http.server import HTTPSite
from harmonygw.net.http.tree import PrefixTree
from harmonygw.pipeline import EndpointContext, chain
from harmonygw.streams import Body
from tests.endpoints.dicomweb_service import Answered, answered

Respond = Callable[[Request], Awaitable[Reply]]


async def read(request: Request) -> Reply:
    """Answer with how many bytes the body has."""
    origin: Any = request.origin
    size = sum([len(piece) async for pieces in origin.body or Body.of() for piece in pieces])
    return Reply(body=Body.of(b"%d" % size))


class Served:
    """`kind` below `/api`; its pipeline ends at `respond`."""

    def __init__(
        self,
        kind: Any,
        respond: Respond = read,
        *,
        plain: bool = False,
        max_body_size: int = 100,
        options: dict[str, Any] | None = None,
        **context: Any,
    ) -> None:
        self.requests: list[Request] = []

        async def noted(request: Request) -> Reply:
            self.requests.append(request)
            return await respond(request)

        limits = SimpleNamespace(max_body_size=max_body_size)
        configuration: Any = SimpleNamespace(proxy=SimpleNamespace(content_limits=limits))
        self.clock = Clock()
        self.endpoint = kind(
            EndpointContext(
                SimpleNamespace(options=SimpleNamespace(**(options or {}))),
                chain((), noted),
                configuration,
                self.clock,
                **context,
            )
        )
        tree = PrefixTree()
        tree.put("/api", self.endpoint.resource())
        self.site = Site(tree, reactor=self.clock) if plain else HTTPSite(tree, reactor=self.clock)

    def begin(self, method: str, path: str = "/api") -> StringTransport:
        """Send a request without a body; return what its answer comes on."""
        return self._send(f"{method} {path} HTTP/1.1\r\nHost: h", b"")

    def ask(
        self, method: str, path: str = "/api", body: bytes | None = None, *fields: str, content: bytes = b""
    ) -> Answered:
        """Ask; `content` is what follows the header of a request without a Content-Length."""
        length = () if body is None else (f"Content-Length: {len(body)}",)
        head = "\r\n".join((f"{method} {path} HTTP/1.1", "Host: h", *fields, *length))
        return answered(self._send(head, body or content).value())

    def raw(self, head: str) -> Answered:
        """Send these lines, and return the answer."""
        return answered(self._send(head, b"").value())

    def _send(self, head: str, content: bytes) -> StringTransport:
        channel: Any = self.site.buildProtocol(None)
        transport = StringTransport()
        channel.makeConnection(transport)
        channel.dataReceived(head.encode() + b"\r\nConnection: close\r\n\r\n" + content)
        self.clock.advance(0)
        return transport
