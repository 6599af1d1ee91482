"""Bearer tokens in requests, and what is said to a request without a good one (RFC 6750)."""

import re
from typing import Final

from harmonygw.errors import AmbiguousCredentials, InsufficientScope, Unauthenticated
from harmonygw.exchange import HTTPOrigin

CHALLENGE: Final = 'Bearer realm="harmonygw"'
"""What a refusal asks for when no token came. It has no error then (RFC 6750 §3.1)."""

INVALID_TOKEN: Final = f'{CHALLENGE}, error="invalid_token"'
"""What a refusal says when a token came that is not good (RFC 6750 §3.1)."""

INVALID_REQUEST: Final = f'{CHALLENGE}, error="invalid_request"'
"""What a refusal says to tokens in two ways at once (RFC 6750 §3.1)."""

INSUFFICIENT_SCOPE: Final = f'{CHALLENGE}, error="insufficient_scope"'
"""What a refusal says when a token came that is good, and does not allow this (RFC 6750 §3.1)."""

MAX_TOKEN_BYTES: Final = 8192
"""Bytes of a token. Default 8192: those of issuers that list a user's hundred groups have less."""

IN_QUERY: Final = "access_token"
"""The query parameter of RFC 6750 §2.3. It is not taken: addresses are logged and kept wherever they pass."""

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


def is_token(text: str) -> bool:
    """Return whether a text can be sent as a bearer token (`b64token`, RFC 6750 §2.1)."""
    return len(text) <= MAX_TOKEN_BYTES and _TOKEN.fullmatch(text) is not None


def token_of(origin: HTTPOrigin) -> str:
    """Return the token of a request; raises `Unauthenticated` without one, and `AmbiguousCredentials`."""
    # Repeated fields have been joined by commas, of which a token has none.
    given = [one.strip() for one in origin.headers.get("authorization", "").split(",")]
    tokens = [one for one in given if one.partition(" ")[0].lower() == "bearer"]
    if not tokens:
        raise Unauthenticated("A bearer token is needed.", challenge=CHALLENGE)
    if len(given) > 1 or any(name == IN_QUERY for name, _ in origin.query):
        raise AmbiguousCredentials("A token must come in one way, once.", challenge=INVALID_REQUEST)
    token = tokens[0].partition(" ")[2].strip()
    if not is_token(token):
        raise refusal("it is too long, or has characters that no token has")
    return token


def refusal(why: str = "the token is not valid") -> Unauthenticated:
    """Return what is raised for a token that is not good; the log, and nobody else, is told why."""
    return Unauthenticated("The token is not valid.", challenge=INVALID_TOKEN, log_detail=why)


def insufficient_scope(scope: str, why: str) -> InsufficientScope:
    """Return what is raised for a good token that does not allow something; `scope` would, empty when nothing does."""
    challenge = f'{INSUFFICIENT_SCOPE}, scope="{scope}"' if scope else INSUFFICIENT_SCOPE
    return InsufficientScope("The token does not allow it.", challenge=challenge, log_detail=why)
