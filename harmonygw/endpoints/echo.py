"""The `echo` endpoint: answers with what it was sent, by itself, behind the middleware of its pipeline."""

from harmonygw.endpoints.http_exchanges import EndpointOverHTTP
from harmonygw.endpoints.http_exchanges.arrival import Arrival
from harmonygw.endpoints.http_exchanges.problems import Settled
from harmonygw.errors import NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.net.http.echoing import echo
from harmonygw.pipeline import EndpointContext


class EchoEndpoint(EndpointOverHTTP):
    """One echo. A backend of its pipeline is not asked."""

    def __init__(self, context: EndpointContext) -> None:
        super().__init__(context, proceed=context.around(self.respond))
        self._hold_bytes: int = context.configuration.proxy.content_limits.max_body_size

    def settled(self, arrival: Arrival) -> Settled:
        """Limit the body."""
        self.limit(arrival)
        return None

    async def respond(self, request: Request) -> Reply:
        """Return the body that came, or a description of a request without one."""
        request.record.operation = "echo"
        if not isinstance(request.origin, HTTPOrigin):
            raise NotFound("An echo endpoint is asked over HTTP.")
        return await echo(request, request.origin, hold_bytes=self._hold_bytes)
