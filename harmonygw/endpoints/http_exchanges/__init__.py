"""What every HTTP endpoint does: requests become exchanges, replies go out as they come, and a line tells of each."""

from harmonygw.endpoints.http_exchanges.endpoint import EndpointOverHTTP

__all__ = ["EndpointOverHTTP"]
