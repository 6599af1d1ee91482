"""What of a request's header leaves it open where the request goes, or where it ends (RFC 9112), in one place.

Twisted's parser is lenient where RFC 9112 lets it be, and in some places beyond that: it folds lines, takes control
characters in values, a fragment or bytes beyond ASCII in the target, a Content-Length of 5,000 digits that Python will
not convert, and names of any length, which it keeps for good. Whatever stands in front of us may read such things in
another way. So each line is looked at here before that parser sees it, and the header once more when it has ended.
"""
# mypy: allow-untyped-calls

import re
from typing import Final, NamedTuple

from twisted.web.http_headers import Headers

from harmonygw.net.http.authority import is_host
from harmonygw.net.http.limits import MAX_FIELD_NAME_BYTES, MAX_LENGTH_DIGITS, MAX_TARGET_BYTES

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"

_FIELD: Final = re.compile(_TOKEN + rb"{1,%d}:[\t -~\x80-\xff]*" % MAX_FIELD_NAME_BYTES)
"""A field line (RFC 9112 §5): a token, a colon at once, and no control characters (RFC 9110 §5.5)."""

_NAME: Final = re.compile(_TOKEN + rb"+")
_CONTENT_LENGTH: Final = b"content-length:"

_TARGET: Final = re.compile(rb"[!\"$-~]+")
"""A request target: visible ASCII, and no fragment (RFC 9112 §3.2)."""

_ABSOLUTE_FORM: Final = re.compile(rb"https?://([^/?]*)", re.IGNORECASE)
"""The beginning of a request target in absolute form, which a server accepts (RFC 9112 §3.2.2)."""


class Fault(NamedTuple):
    """Why a request is refused."""

    status: int
    detail: str


def request_line_fault(line: bytes) -> Fault | None:
    """Say what is wrong with a request line, as far as its length goes; Twisted looks at the rest."""
    if len(line) > MAX_TARGET_BYTES and any(len(word) > MAX_TARGET_BYTES for word in line.split(b" ")):
        return Fault(414, f"the request target is longer than {MAX_TARGET_BYTES} bytes")
    return None


def field_fault(line: bytes) -> Fault | None:
    """Say what is wrong with a line of the header."""
    if _FIELD.fullmatch(line) is None:
        return _why(line)
    start = len(_CONTENT_LENGTH)
    if (
        len(line) > start + MAX_LENGTH_DIGITS
        and line[:start].lower() == _CONTENT_LENGTH
        and len(line[start:].strip(b" \t")) > MAX_LENGTH_DIGITS
    ):
        return Fault(400, f"Content-Length has more than {MAX_LENGTH_DIGITS} digits")
    return None


def _why(line: bytes) -> Fault:
    if line[:1] in (b" ", b"\t"):
        return Fault(400, "a header field is folded over several lines (obs-fold)")
    name, colon, _ = line.partition(b":")
    if colon and len(name) > MAX_FIELD_NAME_BYTES and _NAME.fullmatch(name):
        return Fault(431, f"the name of a header field is longer than {MAX_FIELD_NAME_BYTES} bytes")
    return Fault(400, "a line of the header is not a field: a name, a colon, and a value without control characters")


def header_fault(fields: Headers, version: bytes) -> Fault | None:
    """Say what leaves it open where a request goes or ends (RFC 9112 §3.2, §6.1), or what it expects in vain."""
    hosts = fields.getRawHeaders(b"host", [])
    if len(hosts) > 1 or (not hosts and version != b"HTTP/1.0"):
        return Fault(400, "a request has one Host header field")
    if hosts and not is_host(hosts[0]):
        return Fault(400, "the Host header field is not a host and port")
    codings = fields.getRawHeaders(b"transfer-encoding", [])
    if codings and version == b"HTTP/1.0":
        return Fault(400, "HTTP/1.0 has no Transfer-Encoding")
    if any(coding.lower() != b"chunked" for coding in codings):
        return Fault(400, "the only Transfer-Encoding here is chunked")
    if version != b"HTTP/1.0" and any(one.lower() != b"100-continue" for one in fields.getRawHeaders(b"expect", [])):
        return Fault(417, "the only expectation that can be met is 100-continue")
    return None


def origin_form(method: bytes, target: bytes, fields: Headers) -> tuple[bytes, Fault | None]:
    """Return a request target in origin form (RFC 9112 §3.2.1), or `*`; and what is wrong with it."""
    if _TARGET.fullmatch(target) is None:
        return target, Fault(400, "the request target has characters that no URL has, or a fragment")
    absolute = _ABSOLUTE_FORM.match(target)
    if absolute is not None:
        if absolute[1].lower() != fields.getRawHeaders(b"host", [b""])[0].lower():
            return target, Fault(400, "the request target and the Host header field name different hosts")
        target = target[absolute.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    if not target.startswith(b"/") and (target, method) != (b"*", b"OPTIONS"):
        return target, Fault(400, "the request target is neither a path nor an http URL")
    return target, None


def asks_to_close(fields: Headers) -> bool:
    """Tell whether a client wants the connection closed after the reply (RFC 9112 §9.6)."""
    return any(
        option.strip(b" \t").lower() == b"close"
        for value in fields.getRawHeaders(b"connection", [])
        for option in value.split(b",")
    )
