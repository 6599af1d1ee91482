"""The `Forwarded` header field (RFC 7239): its elements, read from the right end, at which each proxy writes.

Whatever stands further left may be the client's own words. So each element is found by its end, and nothing before it,
an open quote for one, changes what it says.
"""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

MAX_ELEMENT_LENGTH: Final = 512
"""Characters of one element: four parameters, with a host name of 253. A longer one ends the reading."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word for it
_UNQUOTED = r"[!#$%&'*+.^_`|~0-9A-Za-z:\[\]-]+"  # ports and IPv6 addresses have to be quoted, and often are not
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'

_PAIR: Final = re.compile(rf"[ \t]*({_TOKEN})=({_UNQUOTED}|{_QUOTED})[ \t]*(?:;|\Z)|[ \t]*(?:;|\Z)")

_NODE: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?")
"""A node that has an address (RFC 7239 §6), in brackets when it is of IPv6; and its port."""


def elements(value: str) -> Iterator[dict[str, str]]:
    """Yield the elements of a field's value, the last first: lower-case parameter to its unquoted value.

    What is malformed ends it, so that nothing beyond it is believed; empty elements are passed over (RFC 9110 §5.6.1).
    """
    end = len(value)
    while end > 0:
        comma = end
        element: dict[str, str] | None = None
        while element is None and comma > 0:
            comma = value.rfind(",", 0, comma)
            if end - comma > MAX_ELEMENT_LENGTH + 1:
                return
            element = _element(value[comma + 1 : end])
            comma = max(comma, 0)
        if element is None:
            return
        if element:
            yield element
        end = comma


def _element(text: str) -> dict[str, str] | None:
    """Return the parameters of an element; None when it is malformed, or says one thing twice."""
    parameters: dict[str, str] = {}
    position = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        if pair is None:
            return None
        position = pair.end()
        if pair[1]:
            name = pair[1].lower()
            if name in parameters:
                return None
            parameters[name] = re.sub(r"\\(.)", r"\1", pair[2][1:-1]) if pair[2].startswith('"') else pair[2]
    return parameters


def address_of(node: str) -> IPv4Address | IPv6Address | None:
    """Return the address of a node; None when it is `unknown`, obfuscated (RFC 7239 §6.3), or no node at all."""
    found = _NODE.fullmatch(node)
    if found is None:
        return None
    try:
        address = ip_address(found[1] or found[2])
    except ValueError:
        return None
    return address if (address.version == 6) == (found[1] is not None) else None
