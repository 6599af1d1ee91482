"""What is passed on: of a client's request to the server, and of the server's response to the client.

Credentials are passed on where they can only be meant for the server. Where somebody here has authenticated the client,
or where we have credentials of our own, the client's are dropped; and the server's challenges and cookies, which then
are meant for us, do not reach the client.
"""

from collections.abc import Collection, Sequence
from typing import Final
from urllib.parse import urlsplit

from harmonygw.errors import BadRequest, MethodNotAllowed, RejectedError
from harmonygw.exchange import HTTPOrigin, Request
from harmonygw.net.http.client.client import Outgoing, RawFields
from harmonygw.net.http.client.passing import end_to_end, has_passed, with_via
from harmonygw.net.http.client.urls import BaseURL, below
from harmonygw.net.http.fields import Fields, without

REFUSED_METHODS: Final = frozenset({"CONNECT", "TRACE"})
"""What is for proxies of another kind, and what would show a client the fields that we add."""

CREDENTIALS: Final = frozenset({"authorization", "cookie"})
"""What a client proves itself with."""

CHALLENGES: Final = frozenset({"www-authenticate", "authentication-info", "set-cookie"})
"""What a server answers to that."""

FORWARDED: Final = frozenset(
    {
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-forwarded-server",
        "x-original-url",
        "x-real-ip",
        "x-rewrite-url",
    }
)
"""What a client may say of where it is, and is not believed: we say it."""

OVERRIDING: Final = frozenset({"x-http-method", "x-http-method-override", "x-method-override"})
"""What would have a server do another method than the one that rules here have been asked about."""

OURS: Final = frozenset({"alt-svc", "date", "server", "strict-transport-security"})
"""What each server says of itself: of ours, these clients are told, and not of the one behind it."""

LOCATIONS: Final = frozenset({"content-location", "location"})
"""The fields of a response that name a URL of the server."""


def outgoing(
    request: Request,
    origin: HTTPOrigin,
    base: BaseURL,
    set_fields: Fields,
    *,
    method: str | None = None,
    pass_credentials: bool,
) -> Outgoing:
    """Return the request that is sent to the server at `base`, with `set_fields` in its header.

    The server is told the host and scheme of `origin.base_url`, when there is one. Raises `BadRequest` for what cannot
    be passed on, and `MethodNotAllowed`.
    """
    method = method or origin.method
    if method in REFUSED_METHODS:
        raise MethodNotAllowed("The service does not pass this method on.")
    if has_passed(origin.headers.items()):
        raise BadRequest("The request has passed this gateway before: the configuration sends it round in a circle.")
    target = base.target(origin.path, origin.query)
    ours = {name.lower() for name, _ in set_fields}
    dropped = FORWARDED | OVERRIDING | ours | (frozenset() if pass_credentials else CREDENTIALS)
    passed = with_via(without(_strict(end_to_end(origin.headers.items()), dropped), dropped))
    fields = (("Host", base.authority), *passed, *_forwarded(request.peer, origin.base_url))
    fields = (*without(fields, ours), *set_fields)
    return Outgoing(
        method=method,
        url=base.origin + target,
        target=target.encode("ascii"),
        fields=tuple((name.encode("ascii"), _encoded(name, value)) for name, value in fields),
        body=origin.body,
    )


def incoming(fields: RawFields, theirs: Sequence[str], ours: str, *, pass_credentials: bool) -> Fields:
    """Return the header fields of a response that are passed on to a client.

    `theirs` are the URLs that the server may have for itself, `ours` is the client's for us; "" when it has none.
    Content-Length is left out: whoever sends the body says it.
    """
    decoded = tuple((name.decode("ascii"), _decoded(value)) for name, value in fields)
    dropped = OURS if pass_credentials else OURS | CHALLENGES
    passed = without(with_via(end_to_end(decoded)), dropped)
    if not ours:
        return passed
    return tuple(
        (name, relocated(value, theirs, ours) if name.lower() in LOCATIONS else value) for name, value in passed
    )


def relocated(url: str, theirs: Sequence[str], ours: str) -> str:
    """Return the URL by which a client reaches, through us, what the server calls `url`; any other as it is."""
    for prefix in theirs:
        rest = below(prefix, url)
        if rest is not None:
            return ours + rest
    rest = below(urlsplit(theirs[0]).path, url)
    if rest is not None and url.startswith("/") and not url.startswith("//"):
        return urlsplit(ours).path + rest
    return url


def urls_of(base: BaseURL, host: str, ours: str) -> tuple[str, ...]:
    """Return the URLs that a server at `base` may have for itself: by its address, by the `host` that it is told in
    Host, and by ours, when it is told that by Forwarded."""
    scheme = urlsplit(base.origin).scheme
    others = [f"{scheme}://{host}{base.path}"] if host else []
    if ours:
        parts = urlsplit(ours)
        others.append(f"{parts.scheme}://{parts.netloc}{base.path}")
    return tuple(dict.fromkeys((str(base), *others)))


def check_status(status: int, *, own_credentials: bool) -> None:
    """Raise `RejectedError` for what the server demands of us, and no client can give."""
    if status == 407 or (status == 401 and own_credentials):
        raise RejectedError("the server does not accept the gateway's own credentials (authentication)")


def _strict(fields: Fields, names: Collection[str]) -> Fields:
    """Return the fields but those that are one of some names to a server which takes `_` for `-` (RFC 3875 §4.1.18)."""
    return tuple(pair for pair in fields if "_" not in pair[0] or pair[0].lower().replace("_", "-") not in names)


def _forwarded(peer: str, base_url: str) -> Fields:
    """Say who asked, and for which host (RFC 7239); the customary fields say the same."""
    parts = urlsplit(base_url)
    known = {
        "for": f'"[{peer}]"' if ":" in peer else peer,
        "host": f'"{parts.netloc}"' if ":" in parts.netloc else parts.netloc,
        "proto": parts.scheme,
    }
    fields: list[tuple[str, str]] = []
    if any(known.values()):
        fields.append(("Forwarded", ";".join(f"{name}={value}" for name, value in known.items() if value)))
    customary = {"X-Forwarded-For": peer, "X-Forwarded-Host": parts.netloc, "X-Forwarded-Proto": parts.scheme}
    return (*fields, *((name, value) for name, value in customary.items() if value))


def _decoded(value: bytes) -> str:
    """Return a value so that it goes out as it came in, when it is UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _encoded(name: str, value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        raise BadRequest(f"The header field {name} has characters that no header field has.") from None
