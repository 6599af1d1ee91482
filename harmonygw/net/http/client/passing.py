"""What of a message's header may pass a proxy, in either direction (RFC 9110 §7.6)."""

from collections.abc import Iterable
from secrets import token_hex
from typing import Final

from harmonygw.net.http.fields import Fields, without

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""The fields of one connection (RFC 9110 §7.6.1), and those that were once meant to be."""

FRAMING: Final = frozenset({"content-length", "expect", "host"})
"""The fields that each side of a proxy makes by itself."""

PSEUDONYM: Final = f"harmonygw-{token_hex(4)}"
"""What this process calls itself in Via; two of them in a row have different ones."""


def end_to_end(fields: Iterable[tuple[str, str]]) -> Fields:
    """Return the fields that are meant for the other end: not those of the connection, nor those that it names."""
    pairs = tuple(fields)
    named = (
        token.strip().lower() for name, value in pairs if name.lower() == "connection" for token in value.split(",")
    )
    return without(pairs, {*HOP_BY_HOP, *FRAMING, *named})


def with_via(fields: Fields) -> Fields:
    """Return the fields with one Via, to which we have added ourselves (RFC 9110 §7.6.3)."""
    passed = [value for name, value in fields if name.lower() == "via"]
    return (*without(fields, ("via",)), ("Via", ", ".join((*passed, f"1.1 {PSEUDONYM}"))))


def has_passed(fields: Iterable[tuple[str, str]]) -> bool:
    """Tell whether a message has been here before: then it would go round for ever."""
    return any(PSEUDONYM in value for name, value in fields if name.lower() == "via")
