"""Where issuers publish their keys, and the keys that are there (OpenID Connect Discovery 1.0 §4, RFC 8414 §3)."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

from harmonygw.config.constraints import http_address
from harmonygw.config.tokens import is_safe
from harmonygw.errors import ConfigurationError
from harmonygw.middleware.authentication.json_objects import json_object
from harmonygw.middleware.authentication.keys import ALGORITHMS, VerificationKey, key_set

Fetch = Callable[[str], Awaitable[bytes]]
"""Brings what a URL has."""

OPENID: Final = "/.well-known/openid-configuration"
OAUTH: Final = "/.well-known/oauth-authorization-server"


def metadata_url(issuer: str, kind: Literal["openid", "oauth"]) -> str:
    """Return where an issuer describes itself.

    The one is put behind an issuer's path (OpenID Connect Discovery §4.1), the other between its host and its path (RFC
    8414 §3.1); a slash at the end of the path goes in both.
    """
    parts = urlsplit(issuer)
    path = parts.path.removesuffix("/")
    return urlunsplit((parts.scheme, parts.netloc, path + OPENID if kind == "openid" else OAUTH + path, "", ""))


async def published(jwks_uri: str, fetch: Fetch, allowed: Collection[str]) -> tuple[VerificationKey, ...]:
    """Return the keys of a set that is at `jwks_uri`, for the algorithms allowed, empty for all.

    Raises `ValueError` for what is no set of keys, and what `fetch` raises.
    """
    return key_set(await fetch(jwks_uri), allowed)


async def discovered(
    issuer: str, kind: Literal["openid", "oauth"], fetch: Fetch, allowed: Collection[str]
) -> tuple[VerificationKey, ...]:
    """Return the keys of an issuer, which says where they are; as `published`.

    Raises `ValueError` too for a description that is of another issuer (OpenID Connect Discovery §4.3, RFC 8414 §3.3),
    or that leads to keys over a connection that others may change. The algorithms that it says tokens are signed by
    leave out some of those allowed, and add none.
    """
    description = json_object(await fetch(metadata_url(issuer, kind)))
    if description.get("issuer") != issuer:
        raise ValueError("the issuer in its description is another")
    return await published(_jwks_uri(description, issuer), fetch, _algorithms(description, allowed))


def _jwks_uri(description: dict[str, Any], issuer: str) -> str:
    given = description.get("jwks_uri")
    try:
        found = http_address(given) if isinstance(given, str) else ""
    except ConfigurationError:
        found = ""
    if not found:
        raise ValueError("its description has no jwks_uri")
    # A description that came over TLS leads to no keys that do not, not even on this machine.
    if not is_safe(found) or (issuer.startswith("https:") and not found.startswith("https:")):
        raise ValueError("the jwks_uri in its description has no https")
    return found


def _algorithms(description: dict[str, Any], allowed: Collection[str]) -> Collection[str]:
    signing = description.get("id_token_signing_alg_values_supported")
    if signing is None:
        return allowed
    if not isinstance(signing, list) or not all(isinstance(one, str) for one in signing):
        raise ValueError("the algorithms in its description are no list of names")
    found = (frozenset(allowed) or ALGORITHMS) & frozenset(signing)
    if not found:
        raise ValueError("it signs by no algorithm that is allowed")
    return found
