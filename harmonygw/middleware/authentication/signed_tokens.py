"""JSON Web Tokens with a signature (RFC 7515 §7.1, RFC 7519 §7.2), read without trusting anything that they say of
themselves (RFC 8725)."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harmonygw.errors import Unauthenticated
from harmonygw.middleware.authentication.bearer import MAX_TOKEN_BYTES, refusal
from harmonygw.middleware.authentication.json_objects import json_object
from harmonygw.middleware.authentication.keys import ALGORITHMS, MAX_KID_CHARACTERS, VerificationKey

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, repr=False)
class SignedToken:
    """A token in its parts; nothing about it is known to be true before `claims` has returned."""

    algorithm: str
    kid: str
    """The identifier of the key, for a look in our own set; empty for none."""
    type: str
    """What it says that it is, in lower case and without `application/` (RFC 7515 §4.1.9); empty for nothing."""
    message: bytes
    payload: bytes
    signature: bytes

    @property
    def issuer(self) -> str:
        """Who it says that has signed it, to choose the keys of whom it must have been; raises `Unauthenticated`."""
        issuer = self._payload().get("iss")
        return issuer if isinstance(issuer, str) else ""

    def claims(self, keys: Iterable[VerificationKey]) -> dict[str, Any]:
        """Return the claims, when one of some keys has signed them; raises `Unauthenticated`."""
        if not any(key.verifies(self.algorithm, self.message, self.signature) for key in keys):
            raise refusal("none of our keys has signed it by its algorithm")
        return self._payload()

    def _payload(self) -> dict[str, Any]:
        try:
            return json_object(self.payload)
        except ValueError as error:
            raise refusal("its claims are no JSON object that can be read in one way") from error


def read(token: str) -> SignedToken:
    """Return the parts of a token; raises `Unauthenticated`.

    Of its header the algorithm and `kid` count. Keys and addresses of keys that a token brings (`jwk`, `jku`, `x5c`,
    `x5u`) are not looked at. A token with `crit` is refused, no extension is known here (RFC 7515 §4.1.11), and so is a
    payload that says it is not encoded (`b64`), which a JSON Web Token never has (RFC 7797 §7).
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise refusal("it is too long")
    parts = token.split(".")
    if len(parts) != 3:
        raise refusal("it has not three parts")
    header_bytes, payload, signature = map(_decoded, parts)
    try:
        header = json_object(header_bytes)
    except ValueError as error:
        raise refusal("its header is no JSON object that can be read in one way") from error
    algorithm, kid = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise refusal("its algorithm is none that is taken")
    if "crit" in header or header.get("b64", True) is not True:
        raise refusal("it has extensions that are critical")
    if not isinstance(kid, str) or len(kid) > MAX_KID_CHARACTERS:
        raise refusal("the identifier of its key is none")
    type_ = header.get("typ", "")
    if not isinstance(type_, str):
        raise refusal("its type is none")
    return SignedToken(algorithm, kid, plain_type(type_), f"{parts[0]}.{parts[1]}".encode("ascii"), payload, signature)


def plain_type(text: str) -> str:
    """Return a media type in lower case, without `application/` where nothing but a name follows (RFC 7515 §4.1.9)."""
    lowered = text.lower()
    name = lowered.removeprefix("application/")
    return name if name and "/" not in name else lowered


def _decoded(part: str) -> bytes:
    """Return what is in a part in base64url without padding (RFC 7515 §2), in the one way that it can be written."""
    if _BASE64URL.fullmatch(part) is None or len(part) % 4 == 1:
        raise _no_base64url()
    found = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if urlsafe_b64encode(found).rstrip(b"=").decode("ascii") != part:
        raise _no_base64url()
    return found


def _no_base64url() -> Unauthenticated:
    return refusal("a part of it is no base64url")
