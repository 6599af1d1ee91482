"""A request that has arrived over HTTP, in the words of a pipeline."""
# mypy: allow-untyped-calls

from dataclasses import dataclass
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from harmonygw.exchange import HTTPOrigin, Request
from harmonygw.net.http.foreign import ForeignRequest
from harmonygw.net.http.request import StreamingRequest
from harmonygw.net.tls import subject_of


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that has arrived."""

    client: Any
    """How to reply: a `StreamingRequest`, or what makes one of somebody else's."""
    request: Request
    """What goes into the pipeline."""
    origin: HTTPOrigin
    """The request's own."""

    @classmethod
    def of(cls, http_request: Any, host: str, public_url: str | None) -> "Arrival":
        """Return what an HTTP request asks `host`; what is not UTF-8 in it comes out as U+FFFD.

        `public_url` is the absolute URL of the endpoint's prefix, when that is configured. Who has shown a certificate
        is its subject, until a middleware knows better.
        """
        query = _query_of(http_request)
        lines = {
            name.decode("latin-1").lower(): tuple(value.decode("latin-1") for value in values)
            for name, values in http_request.requestHeaders.getAllRawHeaders()
        }
        client = http_request if isinstance(http_request, StreamingRequest) else ForeignRequest(http_request)
        origin = HTTPOrigin(
            method=http_request.method.decode("latin-1").upper(),
            path=tuple(segment.decode("utf-8", "replace") for segment in http_request.postpath),
            query=tuple(parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True)) if query else (),
            headers={name: ", ".join(values) for name, values in lines.items()},
            base_url=public_url or _base_url(http_request, host),
            body=client.body,
            repeated={name: values for name, values in lines.items() if len(values) > 1},
        )
        peer = getattr(http_request.getClientAddress(), "host", "")
        principal = subject_of(getattr(http_request, "transport", None))
        return cls(client, Request(origin, peer, correlation_id=token_hex(16), principal=principal), origin)


def fault_of(http_request: Any, host: str, public_url: str | None) -> str:
    """Say what of an HTTP request to `host` cannot be understood; "" if nothing."""
    query = _query_of(http_request)
    if b"%" in query:
        query = unquote_to_bytes(query)
    try:
        for part in (*http_request.postpath, query):
            part.decode()
    except UnicodeDecodeError:
        return "The path and the query must be UTF-8, once they are percent-decoded."
    if public_url is None and not host:
        return "The Host header field is missing, or not a host and port."
    return ""


def _query_of(http_request: Any) -> bytes:
    uri: bytes = http_request.uri
    return uri.partition(b"?")[2]


def _base_url(http_request: Any, host: str) -> str:
    scheme = "https" if http_request.isSecure() else "http"
    mounted_at = "".join(["/" + quote(segment, safe="") for segment in http_request.prepath if segment])
    return f"{scheme}://{host}{mounted_at}"
