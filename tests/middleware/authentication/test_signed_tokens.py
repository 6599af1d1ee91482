"""Tokens with a signature, and every known way to forge one."""

import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest

from harmonygw.errors import Unauthenticated
from harmonygw.middleware.authentication.bearer import INVALID_TOKEN, MAX_TOKEN_BYTES
from harmonygw.middleware.authentication.keys import MAX_KID_CHARACTERS, VerificationKey, key_set, shared_secret
from harmonygw.middleware.authentication.signed_tokens import read
from tests.middleware.authentication.issuer import CLAIMS, encoded, jwk, pem, private_key, signed

SECRET = "s" * 32
OURS = private_key("RS256")
THEIRS = private_key("RS256", 1)
TRUE = signed(OURS, "RS256")
HEADER, PAYLOAD, SIGNATURE = TRUE.split(".")


def verification_key(algorithm: str, key: Any) -> VerificationKey:
    if isinstance(key, bytes):
        return shared_secret(key.decode())
    return key_set(json.dumps({"keys": [jwk(key, algorithm)]}).encode(), ())[0]


KEY = verification_key("RS256", OURS)


@pytest.mark.parametrize(
    "algorithm",
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256"],
)
def test_a_signature_is_checked_by_each_algorithm(algorithm: str) -> None:
    own = SECRET.encode() if algorithm == "HS256" else private_key(algorithm)
    key = verification_key(algorithm, own)
    token = signed(own, algorithm)
    assert read(token).claims([key]) == CLAIMS
    head, payload, signature = token.split(".")
    content = urlsafe_b64decode(signature + "==")
    for wrong in (content[:-1], content + b"\0", bytes([content[0] ^ 1]) + content[1:], b"\0" * len(content), b"\0"):
        with pytest.raises(Unauthenticated):
            read(f"{head}.{payload}.{encoded(wrong)}").claims([key])


def test_the_key_that_fits_is_found_among_others() -> None:
    keys = [verification_key("ES256", private_key("ES256")), verification_key("RS256", THEIRS), KEY]
    assert read(TRUE).claims(keys) == CLAIMS


def test_the_identifier_of_the_key_is_read() -> None:
    longest = "k" * MAX_KID_CHARACTERS
    assert read(TRUE).kid == ""
    assert read(signed(OURS, "RS256", kid=longest)).kid == longest


def unsigned(algorithm: Any) -> str:
    return f"{encoded({'alg': algorithm})}.{PAYLOAD}."


HEADERS: dict[str, Any] = {
    "no algorithm": {"typ": "JWT"},
    "an algorithm that is a number": {"alg": 1},
    "an algorithm that is a list": {"alg": ["RS256"]},
    "an algorithm in lower case": {"alg": "rs256"},
    "an algorithm with a space": {"alg": "RS256 "},
    "none with a signature": {"alg": "none"},
    "HS512": {"alg": "HS512"},
    "ES256K": {"alg": "ES256K"},
    "two algorithms": '{"alg": "RS256", "alg": "RS256"}',
    "a header that is a list": "[]",
    "a header that is no JSON": "{",
    "crit": {"alg": "RS256", "crit": ["exp"], "exp": 1},
    "empty crit": {"alg": "RS256", "crit": []},
    "b64": {"alg": "RS256", "b64": False, "crit": ["b64"]},
    "a kid that is a number": {"alg": "RS256", "kid": 1},
    "a kid that is too long": {"alg": "RS256", "kid": "k" * (MAX_KID_CHARACTERS + 1)},
    "a kid that is null": {"alg": "RS256", "kid": None},
}

FORGERIES: dict[str, str] = {
    **{f"alg {one}": unsigned(one) for one in ("none", "None", "NONE", "nOnE", "", "none ", None)},
    **{f"alg {one} with a signature": f"{encoded({'alg': one})}.{PAYLOAD}.{SIGNATURE}" for one in ("none", "NONE")},
    **{name: signed(OURS, "RS256", header=header) for name, header in HEADERS.items()},
    "HS256 with the public key": signed(pem(OURS), "HS256"),
    "HS256 with the public key without its last line break": signed(pem(OURS).strip(), "HS256"),
    "HS256 with the secret of nobody": signed(b"", "HS256"),
    "another key": signed(THEIRS, "RS256"),
    "another kind of key": signed(private_key("ES256"), "ES256"),
    "an embedded key": signed(THEIRS, "RS256", jwk=jwk(THEIRS, "RS256")),
    "an address of a key": signed(THEIRS, "RS256", jku="https://evil.example/keys"),
    "an embedded certificate": signed(THEIRS, "RS256", x5c=["MIIB"], x5u="https://evil.example/certificate"),
    "a kid that is a path": signed(b"", "HS256", kid="../../../../dev/null"),
    "another algorithm than it is signed by": signed(OURS, "RS256", header={"alg": "PS256"}),
    "other claims": f"{HEADER}.{encoded({**CLAIMS, 'sub': 'root'})}.{SIGNATURE}",
    "claims of the same meaning": f"{HEADER}.{encoded(json.dumps(CLAIMS, indent=1))}.{SIGNATURE}",
    "claims that are there twice": signed(OURS, "RS256", '{"sub": "a", "sub": "b", "exp": 9999999999}'),
    "claims with NaN": signed(OURS, "RS256", '{"sub": "a", "exp": NaN}'),
    "claims that are a list": signed(OURS, "RS256", "[]"),
    "claims that are no text": signed(OURS, "RS256", b"\xff"),
    "claims of great depth": signed(OURS, "RS256", b'{"sub": ' + b"[" * 5000),
    "no signature": f"{HEADER}.{PAYLOAD}.",
    "two parts": f"{HEADER}.{PAYLOAD}",
    "a dot behind": f"{TRUE}.",
    "dots behind": f"{TRUE}...",
    "a dot in front": f".{TRUE}",
    "five parts": f"{TRUE}.a.b",
    "nothing": "",
    "dots": "..",
    "cut short": TRUE[:-10],
    "cut short in the claims": f"{HEADER}.{PAYLOAD[:-3]}.{SIGNATURE}",
    "padding": f"{HEADER}.{PAYLOAD}.{SIGNATURE}==",
    "another alphabet": f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-2]}+/",
    "a line break": f"{HEADER}.{PAYLOAD}.{SIGNATURE}\n",
    "a length that base64 has not": f"{HEADER}.{PAYLOAD}.{'A' * 341}",
    "too long": f"{HEADER}.{PAYLOAD}.{'A' * MAX_TOKEN_BYTES}",
}


@pytest.mark.parametrize("token", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_is_refused(token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        read(token).claims([KEY])
    assert refused.value.challenge == INVALID_TOKEN
    assert str(refused.value) == "The token is not valid."
    assert refused.value.log_detail


def test_a_signature_is_written_in_one_way() -> None:
    # The last character of 256 bytes has four bits that mean nothing.
    other = {"A": "B", "Q": "R", "g": "h", "w": "x"}[SIGNATURE[-1]]
    with pytest.raises(Unauthenticated):
        read(f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}{other}")


def test_a_public_key_is_never_a_secret_even_where_secrets_are_taken() -> None:
    keys = [KEY, shared_secret(SECRET)]
    with pytest.raises(Unauthenticated):
        read(FORGERIES["HS256 with the public key"]).claims(keys)
    assert read(signed(SECRET.encode(), "HS256")).claims(keys) == CLAIMS


def test_a_token_is_so_long_at_most() -> None:
    def of(length: int) -> str:
        return signed(SECRET.encode(), "HS256", {**CLAIMS, "groups": "x" * length})

    length = next(one for one in range(5900, 6200) if len(of(one)) == MAX_TOKEN_BYTES)
    assert read(of(length)).claims([shared_secret(SECRET)])["sub"] == "jörg"
    with pytest.raises(Unauthenticated) as refused:
        read(of(length + 1))
    assert refused.value.log_detail == "it is too long"


def test_a_token_without_keys_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        read(TRUE).claims([])


def test_what_is_shown_of_a_token_or_a_key_is_none_of_it() -> None:
    assert PAYLOAD not in repr(read(TRUE))
    assert SECRET not in repr(shared_secret(SECRET))
