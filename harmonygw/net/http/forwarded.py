"""Who sent a request, and to which host: what the connection says, or a reverse proxy that is trusted.

`Forwarded` (RFC 7239), `X-Forwarded-For`, `-Proto` and `-Host` are lists to which each proxy appends. Only what a
trusted proxy has written is believed, and a proxy writes at the right end; so the lists are read from there.

`Forwarded` comes before the others. A proxy that writes one of them, and lets the client's own other one pass, would
let every client choose its address, and nobody can tell which of the two that is: so when both name a client they have
to name the same one.
"""
# mypy: allow-untyped-calls

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from twisted.internet import address as addresses
from twisted.web.resource import IResource, Resource, getChildForRequest
from zope.interface import implementer

from harmonygw.net.http.addresses import plain
from harmonygw.net.http.authority import AUTHORITY, MAX_PORT, authority
from harmonygw.net.http.forwarded_elements import address_of, elements
from harmonygw.net.http.tree import Problem

SCHEMES: Final = frozenset({"http", "https"})
"""What a proxy may say it was asked by; anything else is ignored."""

CONFLICT: Final = "The header fields Forwarded and X-Forwarded-For name different clients."

_PORT: Final = re.compile(r"[0-9]{1,5}")


@dataclass(slots=True)
class _Said:
    """What the proxies say in one way; "" where they say nothing of use."""

    client: str = ""
    scheme: str = ""
    host: str = ""
    port: str = ""


@implementer(IResource)
class Forwarded(Resource):
    """A root whose requests are as the reverse proxies at `trusted` addresses say that they were."""

    isLeaf = True

    def __init__(self, root: IResource, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        super().__init__()
        self._root = root
        self._trusted = trusted

    def render(self, request: Any) -> Any:
        """Set the client's address, the scheme and the host right, and let the root's resource answer."""
        peer = getattr(request.getClientAddress(), "host", "")
        if self._is_trusted(peer):
            standard, customary = self._forwarded(request, peer), self._x_forwarded(request, peer)
            if standard.client and customary.client and standard.client != customary.client:
                return Problem(400, CONFLICT).render(request)
            _set_client(request, standard.client or customary.client)
            _set_host(request, standard, customary)
        return getChildForRequest(self._root, request).render(request)

    def _forwarded(self, request: Any, peer: str) -> _Said:
        """Read Forwarded as far as trusted proxies have written it; the furthest of them knows the most."""
        said = _Said()
        for element in elements(", ".join(_fields(request, b"forwarded"))):
            scheme, host = element.get("proto", "").lower(), element.get("host", "")
            if scheme in SCHEMES:
                said.scheme = scheme
            if AUTHORITY.fullmatch(host):
                said.host = host
            if "for" not in element:
                break
            address = address_of(element["for"])
            said.client = plain(str(address)) if address is not None else said.client or peer
            if address is None or not self._is_trusted(said.client):
                break
        return said

    def _x_forwarded(self, request: Any, peer: str) -> _Said:
        """Read X-Forwarded-*: the client, and what the nearest proxy says of the rest."""
        port = _last(request, b"x-forwarded-port")
        scheme, host = _last(request, b"x-forwarded-proto").lower(), _last(request, b"x-forwarded-host")
        return _Said(
            self._x_client(request, peer),
            scheme if scheme in SCHEMES else "",
            host if AUTHORITY.fullmatch(host) else "",
            port if _PORT.fullmatch(port) and 0 < int(port) <= MAX_PORT else "",
        )

    def _x_client(self, request: Any, peer: str) -> str:
        """Take the last address that is not that of a trusted proxy; what is no address ends the search."""
        client = ""
        for text in reversed(_values(request, b"x-forwarded-for")):
            try:
                address = plain(text)
            except ValueError:
                return client or peer
            client = address
            if not self._is_trusted(client):
                break
        return client

    def _is_trusted(self, host: str) -> bool:
        try:
            address = ip_address(plain(host))
        except ValueError:
            return False
        both = (address, IPv6Address(f"::ffff:{address}")) if address.version == 4 else (address,)
        return any(one in block for one in both for block in self._trusted)


def _set_client(request: Any, client: str) -> None:
    if client:
        kind = addresses.IPv4Address if ip_address(client).version == 4 else addresses.IPv6Address
        request.client = kind("TCP", client, 0)


def _set_host(request: Any, standard: _Said, customary: _Said) -> None:
    """Set host, port and scheme; X-Forwarded-Port is for a host that Forwarded has said nothing about."""
    scheme = standard.scheme or customary.scheme
    secure = scheme == "https" if scheme else request.isSecure()
    host = AUTHORITY.fullmatch(standard.host or customary.host or authority(request))
    if host is not None:
        customary_port = "" if standard.scheme or standard.host else customary.port
        port = int(host[2] or customary_port or (443 if secure else 80))
        request.setHost(host[1].encode(), port, secure)


def _fields(request: Any, name: bytes) -> list[str]:
    return [field.decode("latin-1") for field in request.requestHeaders.getRawHeaders(name, [])]


def _values(request: Any, name: bytes) -> list[str]:
    return [text.strip() for field in _fields(request, name) for text in field.split(",") if text.strip()]


def _last(request: Any, name: bytes) -> str:
    return next(reversed(_values(request, name)), "")
