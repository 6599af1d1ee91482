"""One request to a tree of resources, in memory."""

import json
from dataclasses import dataclass
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site

from harmonygw.net.http.server import HTTPSite


@dataclass
class Answered:
    status: int
    header: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Told(Resource):
    """A leaf that tells what it was asked."""

    isLeaf = True

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.name = name

    def render(self, request: Any) -> bytes:
        told = {
            "name": self.name,
            "prepath": [segment.decode() for segment in request.prepath],
            "postpath": [segment.decode() for segment in request.postpath],
            "client": request.getClientAddress().host,
            "host": request.getHeader("host"),
            "secure": request.isSecure(),
        }
        return json.dumps(told).encode()


def ask(
    root: IResource,
    target: str,
    *fields: str,
    method: str = "GET",
    peer: str = "192.0.2.1",
    version: str = "1.1",
    plain: bool = False,
    body: bytes = b"",
) -> Answered:
    """Ask a root for a target; without a Host among the fields it is `h`."""
    site = Site(root, reactor=Clock()) if plain else HTTPSite(root, reactor=Clock())
    channel: Any = site.buildProtocol(None)
    transport = StringTransport(peerAddress=IPv4Address("TCP", peer, 50000))
    channel.makeConnection(transport)
    named = () if any(field.startswith("Host:") for field in fields) else ("Host: h",)
    lines = (f"{method} {target} HTTP/{version}", *named, *fields, "Connection: close", "", "")
    channel.dataReceived("\r\n".join(lines).encode("latin-1") + body)
    head, _, body = transport.value().partition(b"\r\n\r\n")
    status, *rest = head.decode("latin-1").split("\r\n")
    header = {name.lower(): value for name, _, value in (field.partition(": ") for field in rest)}
    return Answered(int(status.split()[1]), header, body)
