"""An issuer of tokens: its keys, and what it signs; and everything that it would not."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

NOW = 1_800_000_000.0
CLAIMS: dict[str, Any] = {"sub": "jörg", "exp": NOW + 300}


@cache
def private_key(algorithm: str, number: int = 0) -> Any:
    """Return a key that fits an algorithm, the same one for the same number."""
    if algorithm[:2] in {"RS", "PS"}:
        return _rsa(number)
    match algorithm:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ES384":
            return ec.generate_private_key(ec.SECP384R1())
        case "ES512":
            return ec.generate_private_key(ec.SECP521R1())
        case "Ed448":
            return ed448.Ed448PrivateKey.generate()
        case _:
            return ed25519.Ed25519PrivateKey.generate()


@cache
def _rsa(number: int, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def pem(key: Any) -> bytes:
    """Return the public part of a key."""
    found: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found


def jwk(key: Any, algorithm: str, **more: Any) -> dict[str, Any]:
    """Return the public part of a key as a JSON Web Key."""
    found: dict[str, Any] = json.loads(get_default_algorithms()[algorithm].to_jwk(key.public_key()))
    return {**found, **more}


def encoded(content: bytes | str | dict[str, Any]) -> str:
    if isinstance(content, dict):
        content = json.dumps(content)
    if isinstance(content, str):
        content = content.encode()
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(key: Any, algorithm: str, claims: Any = CLAIMS, header: Any = None, **more: Any) -> str:
    """Return a token; `header` in the place of one that says the algorithm, `more` in it."""
    head = {"alg": algorithm, "typ": "JWT", **more} if header is None else header
    message = f"{encoded(head)}.{encoded(claims)}"
    if isinstance(key, bytes):
        signature = hmac.new(key, message.encode(), getattr(hashlib, f"sha{algorithm[2:]}")).digest()
    else:
        signature = get_default_algorithms()[algorithm].sign(message.encode(), key)
    return f"{message}.{encoded(signature)}"
