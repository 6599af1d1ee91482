"""The web site: a factory of connections with limits, for a tree of resources (Klein's, or any other)."""
# mypy: allow-untyped-calls

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.web.http import Request
from twisted.web.resource import IResource
from twisted.web.server import Site

from harmonygw.net.http.channel import Channel
from harmonygw.net.http.connections import Connections
from harmonygw.net.http.descriptors import Descriptors
from harmonygw.net.http.limits import HTTPLimits
from harmonygw.net.http.request import StreamingRequest


class HTTPSite(Site):
    """Serves `resource` over HTTP/1.1 and 1.0; each request is a `StreamingRequest`.

    Listen with a backlog of `limits.BACKLOG`. To stop: stop listening, wait for `connections.drain()` as long
    as may be, then `connections.abort()`. `hsts_max_age_secs` goes with what is answered over TLS (RFC 6797), 0 for
    nothing. HTTP/2 is not offered, and there is no access log: whoever answers writes one.
    """

    noisy = False

    def __init__(
        self,
        resource: IResource,
        *,
        limits: HTTPLimits | None = None,
        hsts_max_age_secs: int = 0,
        reactor: IReactorTime,
    ) -> None:
        super().__init__(resource, requestFactory=StreamingRequest, reactor=reactor, parsePOSTFormSubmission=False)
        self.limits = limits or HTTPLimits()
        self.connections = Connections(self.limits, Descriptors.of_process())
        self._hsts_max_age_secs = hsts_max_age_secs

    def limit(self, limits: HTTPLimits, hsts_max_age_secs: int = 0) -> None:
        """Give connections from now on other limits; how many there may be holds for all."""
        self.limits = limits
        self._hsts_max_age_secs = hsts_max_age_secs
        self.connections.limit(limits)

    def buildProtocol(self, addr: IAddress | None) -> Channel:  # type: ignore[override]
        """Make the server's side of a connection."""
        channel = Channel(self.limits, self.reactor, self.connections, hsts_max_age_secs=self._hsts_max_age_secs)
        channel.factory = channel.site = self
        channel.requestFactory = self.requestFactory
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        """Offer HTTP/1.1 in the TLS handshake, and nothing else."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """Open no access log, and start no clock for its times."""

    def stopFactory(self) -> None:
        """Close no access log."""

    def log(self, request: Request) -> None:
        """Write no access log."""
