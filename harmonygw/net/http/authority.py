"""The host that a request is for (RFC 9110 §7.2)."""
# mypy: allow-untyped-calls

import re
from ipaddress import IPv6Address
from typing import Any, Final

AUTHORITY: Final = re.compile(
    r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_.])?)(?::([0-9]{0,5}))?"
)
"""A host and port: a name that DNS could know, or an address."""

MAX_PORT: Final = 65535

_LABEL = rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|" + _LABEL + rb"(?:\." + _LABEL + rb")*\.?)(?::([0-9]{0,5}))?"
)


def authority(request: Any) -> str:
    """Return the host, and the port if one is given, that the client asked; "" when it says nothing sensible."""
    host = request.getHeader(b"host") or b""
    text = host.decode("latin-1").strip()
    return text if AUTHORITY.fullmatch(text) else ""


def is_host(value: bytes) -> bool:
    """Tell whether a Host field's value is a name of DNS labels, or an address, and a port that can be."""
    found = _HOST.fullmatch(value)
    if found is None or int(found[2] or 0) > MAX_PORT:
        return False
    if found[1] is None:
        return True
    try:
        IPv6Address(found[1].decode("ascii"))
    except ValueError:
        return False
    return True
