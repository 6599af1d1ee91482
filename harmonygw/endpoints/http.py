"""The `http` endpoint: any request below a path prefix becomes an exchange, whatever its path means.

Bodies stream both ways. Unless the network sets a limit of its own, a body may be as long as what may be held whole
(`proxy.content_limits.max_body_size`), but for a DICOM object that the pipeline stores: that streams, as in STOW-RS.
"""

from harmonygw.dicom.web.media_types import DICOM
from harmonygw.endpoints.http_exchanges import EndpointOverHTTP
from harmonygw.endpoints.http_exchanges.arrival import Arrival
from harmonygw.endpoints.http_exchanges.problems import Settled, unless_allowed
from harmonygw.pipeline import EndpointContext


class HTTPEndpoint(EndpointOverHTTP):
    """One service of any kind over HTTP."""

    def __init__(self, context: EndpointContext) -> None:
        super().__init__(context)
        self._method: str | None = context.settings.options.method
        self._stores_objects = context.makes_operations

    def settled(self, arrival: Arrival) -> Settled:
        """Limit the body; return what is said to another method than the one that is configured."""
        media_type = arrival.origin.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not (self._stores_objects and media_type == DICOM):
            self.limit(arrival)
        if self._method is None:
            return None
        return unless_allowed(arrival.origin.method, (self._method,), "The resource does not answer this method.")
