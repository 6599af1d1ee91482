"""Conditional requests (RFC 9110 §13): what the client holds already is not sent again.

An entity tag stands in a reply's header before its body is read, so that 304 costs nothing of the body. A JSON body
that is there whole and has no tag gets one here.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from typing import Final

from harmonygw.exchange import Reply
from harmonygw.net.http.fields import Fields, value_of, without
from harmonygw.streams import Piece

MAX_TAGGED_BYTES: Final = 2 * 1024 * 1024
"""Bytes of a body that is hashed for its tag. Default 2 MiB: that takes the reactor 1 to 3 ms."""

DIGEST_CHARACTERS: Final = 32
"""Hexadecimal digits of the hash: two answers with one tag would be a stale study list, and no two have the same 128
bits by chance."""

CACHE_CONTROL: Final = ("Cache-Control", "private, no-cache")
"""Of what is tagged here: it is asked for again each time, by its tag, and no shared cache keeps it."""

KEPT: Final = frozenset(
    {"allow", "cache-control", "content-location", "date", "etag", "expires", "retry-after", "vary", "warning"}
)
"""The fields of a reply that its 304 has too (RFC 9110 §15.4.5), with what says how the answer came about."""

_JSON: Final = re.compile(r"application/(?:[^\s;]*\+)?json\s*(?:;|$)", re.IGNORECASE)

_TAG: Final = re.compile(r'\s*(?:W/)?("[^"]*")\s*(?:,|$)')


def entity_tag(content_type: str, pieces: Iterable[Piece]) -> str:
    """Return a strong entity tag of a representation: its bytes, and the media type that they are of."""
    hashed = sha256(content_type.encode())  # which processors of today do in half the time of BLAKE2
    for piece in pieces:
        hashed.update(piece)
    return f'"{hashed.hexdigest()[:DIGEST_CHARACTERS]}"'


def matches(if_none_match: str, etag: str) -> bool:
    """Tell whether an If-None-Match names an entity tag, by the weak comparison (RFC 9110 §8.8.3.2, §13.1.2).

    What is malformed ends the list.
    """
    if if_none_match.strip() == "*":
        return True
    opaque = etag.removeprefix("W/")
    position = 0
    while found := _TAG.match(if_none_match, position):
        if found[1] == opaque:
            return True
        position = found.end()
    return False


def tagged(reply: Reply) -> Reply:
    """Return a reply with an ETag and Cache-Control, where it is JSON that is there whole; else as it is."""
    body, headers = reply.body, reply.headers
    if body is None or body.whole is None or reply.status != 200 or (body.length or 0) > MAX_TAGGED_BYTES:
        return reply
    values = {name.lower(): value for name, value in headers}
    content_type = values.get("content-type", "")
    if not _JSON.match(content_type) or values.get("etag"):
        return reply
    added: Fields = (("ETag", entity_tag(content_type, body.whole)),)
    if not values.get("cache-control"):
        added = (*added, CACHE_CONTROL)
    return replace(reply, headers=(*headers, *added))


def not_modified(reply: Reply, if_none_match: str) -> Reply:
    """Return the 304 of a reply whose tag the client has named; any other as it is.

    The body stays with it, to be given up unread by whoever sends it.
    """
    if not if_none_match or reply.status not in (200, 206):
        return reply
    etag = value_of(reply.headers, "etag")
    if not (etag and matches(if_none_match, etag)):
        return reply
    gone = {name.lower() for name, _ in reply.headers if not _is_kept(name.lower())}
    return replace(reply, status=304, headers=without(reply.headers, gone))


def _is_kept(name: str) -> bool:
    return name in KEPT or name.startswith("access-control-")
