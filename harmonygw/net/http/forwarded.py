"""Who sent a request, and to which host: what the connection says, or a reverse proxy that is trusted.

`X-Forwarded-For`, `-Proto` and `-Host` are lists to which each proxy appends. Only what a trusted proxy has
written is believed, and a proxy writes at the right end; so the lists are read from there.
"""
# mypy: allow-untyped-calls

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.web.resource import IResource, Resource, getChildForRequest
from zope.interface import implementer

_AUTHORITY: Final = re.compile(
    r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_.])?)(?::([0-9]{0,5}))?"
)
"""A host and port (RFC 9110 §7.2): a name that DNS could know, or an address."""


def authority(request: Any) -> str:
    """Return the host, and the port if one is given, that the client asked; "" when it says nothing sensible."""
    host = request.getHeader(b"host") or b""
    text = host.decode("latin-1").strip()
    return text if _AUTHORITY.fullmatch(text) else ""


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
        if self._is_trusted(getattr(request.getClientAddress(), "host", "")):
            self._set_client(request)
            self._set_host(request)
        return getChildForRequest(self._root, request).render(request)

    def _set_client(self, request: Any) -> None:
        """Take the last address that is not that of a trusted proxy; what is no address ends the search."""
        for text in reversed(_values(request, b"x-forwarded-for")):
            try:
                address = ip_address(text)
            except ValueError:
                return
            kind = IPv4Address if address.version == 4 else IPv6Address
            request.client = kind("TCP", str(address), 0)
            if not self._is_trusted(str(address)):
                return

    def _set_host(self, request: Any) -> None:
        scheme = next(reversed(_values(request, b"x-forwarded-proto")), "").lower()
        secure = scheme == "https" if scheme in {"http", "https"} else request.isSecure()
        named = next(reversed(_values(request, b"x-forwarded-host")), "") or authority(request)
        host = _AUTHORITY.fullmatch(named)
        if host is not None:
            port = int(host[2] or (443 if secure else 80))
            request.setHost(host[1].encode(), port, secure)

    def _is_trusted(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in block for block in self._trusted)


def _values(request: Any, name: bytes) -> list[str]:
    fields = request.requestHeaders.getRawHeaders(name, [])
    return [text.strip() for field in fields for text in field.decode("latin-1").split(",") if text.strip()]
