"""The `cors` middleware: whether a page of another origin may read the answers (the Fetch standard's CORS protocol).

It stands first in its pipeline: a preflight comes without credentials, and is answered here, whatever the path. The
fields that let a page read an answer go with each one, so that it can also read why it was refused.
"""

import re
from dataclasses import replace
from typing import Final

from zope.interface import implementer

from harmonygw.errors import Denied
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.net.http.fields import without
from harmonygw.pipeline import Context, IForEveryRequest, Proceed

METHODS: Final = ("GET", "HEAD", "POST", "OPTIONS")
"""What a page may ask with: the methods that DICOMweb resources have."""

REQUEST_FIELDS: Final = ("Accept", "Authorization", "Content-Type", "If-None-Match", "If-Range", "Range")
"""What a page may set. Accept is among them because the Fetch standard asks when it is long or has quotes."""

EXPOSED_FIELDS: Final = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Location",
    "Content-Range",
    "ETag",
    "Retry-After",
    "Warning",
)
"""What a page may read, beside what every page may."""

MAX_ORIGIN_LENGTH: Final = 512
"""Characters of an Origin that are looked at: a scheme, a host name of 253 at most, and a port."""

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


@implementer(IForEveryRequest)
class CORS:
    """Answers preflights, and marks every other answer for the origins that may read it."""

    def __init__(self, context: Context) -> None:
        options = context.options
        self._anybody = "*" in options.allowed_origins
        self._allowed = re.compile("|".join(map(_pattern, options.allowed_origins)))
        self._credentials: bool = options.allow_credentials
        self._private_network: bool = options.allow_private_network
        self._preflight = (
            ("Access-Control-Allow-Methods", ", ".join(METHODS)),
            ("Access-Control-Allow-Headers", ", ".join((*REQUEST_FIELDS, *options.allowed_headers))),
            ("Access-Control-Max-Age", str(options.max_age_secs)),
        )
        self._exposed = ("Access-Control-Expose-Headers", ", ".join(EXPOSED_FIELDS))

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Answer a preflight, or proceed; raises `Denied` for the preflight of an origin that is not allowed."""
        origin = request.origin
        if not isinstance(origin, HTTPOrigin):
            return await proceed(request)
        named = origin.headers.get("origin", "")
        permission = self._permission(named)
        _add(request, *(() if self._anybody else (("Vary", "Origin"),)), *permission)
        if named and origin.method == "OPTIONS" and "access-control-request-method" in origin.headers:
            request.record.operation = "CORS preflight"
            if not permission:
                raise Denied(
                    "The origin is not allowed.",
                    log_detail=f"{named[:MAX_ORIGIN_LENGTH]} is not among allowed_origins",
                )
            return Reply(204, (*self._preflight, *self._to_private_network(origin)))
        if permission:
            _add(request, self._exposed)
        return _without_others(await proceed(request))

    def _permission(self, named: str) -> tuple[tuple[str, str], ...]:
        """Return the fields that let an origin read an answer; none for one that may not."""
        if self._anybody:
            return (("Access-Control-Allow-Origin", "*"),)
        if not 0 < len(named) <= MAX_ORIGIN_LENGTH or not self._allowed.fullmatch(named):
            return ()
        allowed = ("Access-Control-Allow-Origin", named)
        return (allowed, ("Access-Control-Allow-Credentials", "true")) if self._credentials else (allowed,)

    def _to_private_network(self, origin: HTTPOrigin) -> tuple[tuple[str, str], ...]:
        if self._private_network and origin.headers.get("access-control-request-private-network") == "true":
            return (("Access-Control-Allow-Private-Network", "true"),)
        return ()


def _without_others(reply: Reply) -> Reply:
    """Drop what a server behind the gateway has said of the same: two permissions are none, and this one counts."""
    others = {name.lower() for name, _ in reply.headers if name.lower().startswith("access-control-")}
    return replace(reply, headers=without(reply.headers, others)) if others else reply


def _add(request: Request, *fields: tuple[str, str]) -> None:
    """Put fields on every reply; a step that stands on both sides of a pipeline may come by twice."""
    request.common_headers.extend(one for one in fields if one not in request.common_headers)


def _pattern(allowed: str) -> str:
    """Return the expression of an allowed origin, as browsers serialise it: in lower case, without a default port."""
    scheme, _, host = allowed.lower().partition("://")
    host = host.removesuffix(_DEFAULT_PORTS.get(scheme, ""))
    below = r"(?:[a-z0-9_-]+\.)+" if host.startswith("*.") else ""
    return re.escape(f"{scheme}://") + below + re.escape(host.removeprefix("*."))
