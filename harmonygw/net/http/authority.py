"""The host that a request is for (RFC 9110 §7.2)."""
# mypy: allow-untyped-calls

import re
from typing import Any, Final

AUTHORITY: Final = re.compile(
    r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_.])?)(?::([0-9]{0,5}))?"
)
"""A host and port: a name that DNS could know, or an address."""


def authority(request: Any) -> str:
    """Return the host, and the port if one is given, that the client asked; "" when it says nothing sensible."""
    host = request.getHeader(b"host") or b""
    text = host.decode("latin-1").strip()
    return text if AUTHORITY.fullmatch(text) else ""
