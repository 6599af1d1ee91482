"""Keys that signatures are checked with, each for some algorithms and no other (RFC 8725 §3.1).

This module loads PyJWT: only `jwt_auth` imports it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms
from jwt.exceptions import InvalidKeyError

from harmonygw.errors import ConfigurationError
from harmonygw.middleware.authentication.json_objects import json_object

MIN_RSA_BITS: Final = 2048
"""Bits of an RSA key at least (RFC 7518 §3.3)."""

MAX_RSA_BITS: Final = 8192
"""Bits of an RSA key at most. Default 8192: what a token costs grows with the square of it."""

MAX_KEYS: Final = 64
"""Keys of a set. Default 64, ten times what issuers have while they change theirs: a token that names none is tried
with each."""

MAX_KID_CHARACTERS: Final = 256
"""Characters of the identifier of a key. Default 256."""

MAX_PEM_BYTES: Final = 65_536
"""Bytes of the file of a public key. Default 64 KiB."""

_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}

ALGORITHMS: Final = frozenset({*_RSA, *_CURVES.values(), "EdDSA", "HS256"})
"""The algorithms that signatures are checked by. `none` is not one."""

_VERIFYING: Final = {name: one for name, one in get_default_algorithms().items() if name in ALGORITHMS}

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey


@dataclass(frozen=True, slots=True, repr=False)
class VerificationKey:
    """A public key, or a shared secret for HS256."""

    key: PublicKey | bytes
    algorithms: frozenset[str]
    kid: str = ""
    """Its identifier in a set; empty for none."""

    def verifies(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Return whether a signature is of a message, by an algorithm that the key is for."""
        if algorithm not in self.algorithms:
            return False
        found: bool = _VERIFYING[algorithm].verify(message, self.key, signature)
        return found


def shared_secret(secret: str) -> VerificationKey:
    """Return the key for HS256; raises `ConfigurationError` for a public key, which everybody has."""
    if "-----BEGIN" in secret or secret.startswith(("ssh-", "ecdsa-")):
        raise ConfigurationError(("hs256_secret: a public key is no secret; give its file as public_key_path",))
    return VerificationKey(secret.encode(), frozenset({"HS256"}))


def public_key(path: str, allowed: Collection[str]) -> VerificationKey:
    """Return the key of a PEM file, of a public key or a certificate; raises `ConfigurationError`. Blocks."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise ConfigurationError((f"{path}: cannot be read: {error.strerror}",)) from error
    if len(content) > MAX_PEM_BYTES:
        raise ConfigurationError((f"{path}: is larger than {MAX_PEM_BYTES} bytes",))
    if b"PRIVATE KEY-----" in content:
        raise ConfigurationError((f"{path}: is a private key, which only the issuer should have",))
    try:
        if b"-----BEGIN CERTIFICATE-----" in content:
            found: Any = load_pem_x509_certificate(content).public_key()
        else:
            found = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError((f"{path}: is no public key in PEM",)) from error
    fitting = _fitting(found)
    if not fitting:
        bits = f"RSA of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits"
        raise ConfigurationError((f"{path}: must be {bits}, P-256, P-384, P-521, Ed25519 or Ed448",))
    algorithms = _narrowed(fitting, allowed)
    if not algorithms:
        raise ConfigurationError((f"{path}: is for {', '.join(sorted(fitting))}, none of which is in algorithms",))
    return VerificationKey(found, algorithms)


def check_algorithms(names: Iterable[str]) -> None:
    """Raise `ConfigurationError` for a name of no algorithm that signatures are checked by."""
    unknown = [name for name in names if name not in ALGORITHMS]
    if unknown:
        known = ", ".join(sorted(ALGORITHMS))
        raise ConfigurationError((f"algorithms: {unknown[0]!r} is not among {known}",))


def key_set(document: bytes, allowed: Collection[str]) -> tuple[VerificationKey, ...]:
    """Return the keys of a JSON Web Key Set (RFC 7517 §5) that can be used; raises `ValueError` when there are none.

    What is for encryption, is a shared secret, or is of a kind that is not known is passed over, as there.
    """
    listed = json_object(document).get("keys")
    if not isinstance(listed, list):
        raise ValueError('there is no list "keys" in it')
    if len(listed) > MAX_KEYS:
        raise ValueError(f"there are more than {MAX_KEYS} keys in it (MAX_KEYS)")
    keys = tuple(key for one in listed if (key := _key(one, allowed)) is not None)
    if not keys:
        raise ValueError("there is no key in it that signatures can be checked with")
    return keys


def _key(given: Any, allowed: Collection[str]) -> VerificationKey | None:
    if not isinstance(given, dict) or not _is_for_signatures(given):
        return None
    kid = given.get("kid", "")
    if not isinstance(kid, str) or len(kid) > MAX_KID_CHARACTERS:
        return None
    try:
        found = _public(given)
    except (ValueError, TypeError, KeyError, InvalidKeyError, UnsupportedAlgorithm):
        return None
    algorithms = _narrowed(_fitting(found), allowed)
    if "alg" in given:
        algorithms &= {given["alg"]} if isinstance(given["alg"], str) else set()
    return VerificationKey(found, algorithms, kid) if algorithms else None


def _is_for_signatures(given: Mapping[str, Any]) -> bool:
    operations = given.get("key_ops", ["verify"])
    return given.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _public(given: Mapping[str, Any]) -> Any:
    # Only what makes a public key: a private one that was published must not become something that signs.
    members = {name: given[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in given}
    match given.get("kty"):
        case "RSA":
            return RSAAlgorithm.from_jwk(members)
        case "EC":
            return ECAlgorithm.from_jwk(members)
        case "OKP":
            return OKPAlgorithm.from_jwk(members)
        case _:
            return None


def _fitting(key: Any) -> frozenset[str]:
    """Return the algorithms of a kind of key (RFC 7518 §3.1, RFC 8037 §3.1)."""
    if isinstance(key, RSAPublicKey):
        return _RSA if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS else frozenset()
    if isinstance(key, EllipticCurvePublicKey):
        return frozenset({_CURVES[key.curve.name]} if key.curve.name in _CURVES else ())
    return frozenset({"EdDSA"} if isinstance(key, Ed25519PublicKey | Ed448PublicKey) else ())


def _narrowed(fitting: frozenset[str], allowed: Collection[str]) -> frozenset[str]:
    return fitting & frozenset(allowed) if allowed else fitting
