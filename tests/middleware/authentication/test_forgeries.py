"""Tokens forged in every known way, each at a gateway's door as it would stand there; and the one that is true.

The door knows RSA and elliptic keys of its issuer, as most do: whatever kind a forgery wants is there.
"""

import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from harmonygw.errors import Unauthenticated
from harmonygw.middleware.authentication.bearer import INVALID_TOKEN, MAX_TOKEN_BYTES
from harmonygw.middleware.authentication.keys import MAX_KID_CHARACTERS
from harmonygw.middleware.jwt_auth import JWTAuth
from tests.middleware.authentication.issuer import NOW, _rsa, encoded, jwk, pem, private_key, signed
from tests.middleware.test_jwt_auth import ask, build, http

ISSUER = "https://issuer.example"
RSA, ELLIPTIC, THEIRS = private_key("RS256"), private_key("ES256"), private_key("RS256", 1)
WEAK = _rsa(2, 1024)
K1 = ec.generate_private_key(ec.SECP256K1())
CLAIMS: dict[str, Any] = {"sub": "jörg", "iss": ISSUER, "aud": "gateway", "exp": NOW + 300}
PUBLISHED = {
    "keys": [
        jwk(RSA, "RS256", kid="rsa"),
        jwk(ELLIPTIC, "ES256", kid="ec"),
        jwk(WEAK, "RS256", kid="weak"),
        {"kty": "oct", "kid": "oct", "k": encoded("published")},
    ]
}
LEEWAY = 60.0
TRUE = signed(RSA, "RS256", CLAIMS, kid="rsa")
HEAD, PAYLOAD, SIGNATURE = TRUE.split(".")
SIGNED = urlsafe_b64decode(SIGNATURE + "==")


@pytest.fixture
def door() -> JWTAuth:
    document = json.dumps(PUBLISHED).encode()
    return build(
        fetch=lambda url: succeed(document),
        clock=Clock(),
        jwks_uri=f"{ISSUER}/keys",
        issuer=ISSUER,
        audience="gateway",
        leeway_secs=LEEWAY,
    )


def rsa(claims: Any = CLAIMS, **more: Any) -> str:
    return signed(RSA, "RS256", claims, kid="rsa", **more)


def claiming(**claims: Any) -> str:
    return rsa({**CLAIMS, **claims})


def written(payload: str) -> str:
    """Return a token of claims as they are written, which begin with good ones."""
    good = json.dumps({name: value for name, value in CLAIMS.items() if f'"{name}"' not in payload})[:-1]
    return rsa(f"{good}, {payload}}}")


def headed(header: Any, key: Any = RSA, algorithm: str = "RS256") -> str:
    return signed(key, algorithm, CLAIMS, header=header)


def elliptic(r: int, s: int) -> str:
    message = f"{encoded({'alg': 'ES256', 'kid': 'ec'})}.{encoded(CLAIMS)}"
    return f"{message}.{encoded(r.to_bytes(32) + s.to_bytes(32))}"


def in_der() -> str:
    """A good elliptic signature in the form of X.509, which is not that of JSON Web Signatures (RFC 7518 §3.4)."""
    message = f"{encoded({'alg': 'ES256', 'kid': 'ec'})}.{encoded(CLAIMS)}"
    return f"{message}.{encoded(ELLIPTIC.sign(message.encode(), ec.ECDSA(SHA256())))}"


def of_another_curve() -> str:
    message = f"{encoded({'alg': 'ES256', 'kid': 'ec'})}.{encoded(CLAIMS)}"
    r, s = utils.decode_dss_signature(K1.sign(message.encode(), ec.ECDSA(SHA256())))
    return f"{message}.{encoded(r.to_bytes(32) + s.to_bytes(32))}"


def spare_bits(part: str) -> str:
    """Return a part of which the last character has other bits that mean nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]


N = int("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
"""The order of P-256."""

FORGERIES: dict[str, str] = {
    # No signature (RFC 8725 §2.1).
    **{
        f"algorithm {one!r}, {len(signature)} characters of signature": f"{encoded({'alg': one})}.{PAYLOAD}.{signature}"
        for one in ("none", "None", "NONE", "nOnE", "none ", "", None, False, 0, [], ["none"], {"alg": "RS256"})
        for signature in ("", SIGNATURE)
    },
    "an empty signature": f"{HEAD}.{PAYLOAD}.",
    "a signature left out": f"{HEAD}.{PAYLOAD}",
    # One kind of key for another (RFC 8725 §2.1, CVE-2015-9235).
    "HS256 with the public key in PEM": signed(pem(RSA), "HS256", CLAIMS, kid="rsa"),
    "HS256 with the public key in PEM, without its line break": signed(pem(RSA).strip(), "HS256", CLAIMS, kid="rsa"),
    "HS256 with the public key as it is published": signed(json.dumps(PUBLISHED["keys"][0]).encode(), "HS256", CLAIMS),
    "HS256 with the modulus": signed(urlsafe_b64decode(PUBLISHED["keys"][0]["n"] + "=="), "HS256", CLAIMS, kid="rsa"),
    "HS256 with the elliptic key in PEM": signed(pem(ELLIPTIC), "HS256", CLAIMS, kid="ec"),
    "HS256 with a secret that was published": signed(b"published", "HS256", CLAIMS, kid="oct"),
    "HS256 with an empty secret": signed(b"", "HS256", CLAIMS),
    "RS256 by the elliptic key's identifier": signed(RSA, "RS256", CLAIMS, kid="ec"),
    "ES256 by the RSA key's identifier": signed(ELLIPTIC, "ES256", CLAIMS, kid="rsa"),
    "PS256 over a signature of RS256": headed({"alg": "PS256", "kid": "rsa"}),
    "RS384 over a signature of RS256": headed({"alg": "RS384", "kid": "rsa"}),
    "RS1": headed({"alg": "RS1", "kid": "rsa"}),
    "an algorithm in lower case": headed({"alg": "rs256", "kid": "rsa"}),
    # Keys that the token brings (RFC 8725 §2.9, §3.10, CVE-2018-0114).
    "a key in it": signed(THEIRS, "RS256", CLAIMS, jwk=jwk(THEIRS, "RS256")),
    "a key in it with our identifier": signed(THEIRS, "RS256", CLAIMS, jwk=jwk(THEIRS, "RS256", kid="rsa"), kid="rsa"),
    "an address of keys": signed(THEIRS, "RS256", CLAIMS, jku="https://evil.example/keys"),
    "an address of keys that looks like ours": signed(THEIRS, "RS256", CLAIMS, jku=f"{ISSUER}@evil.example/keys"),
    "an address of a certificate": signed(THEIRS, "RS256", CLAIMS, x5u="https://evil.example/certificate"),
    "a certificate in it": signed(THEIRS, "RS256", CLAIMS, x5c=["MIIB"]),
    "thumbprints": signed(THEIRS, "RS256", CLAIMS, x5t="AAAA", **{"x5t#S256": "AAAA"}),
    # Identifiers of keys that are something else.
    **{
        f"a kid that is {name}": signed(key, algorithm, CLAIMS, kid=kid)
        for name, kid, key, algorithm in (
            ("a path to nothing", "../../../../dev/null", b"", "HS256"),
            ("a path to nothing, of ours", "../../../../dev/null", THEIRS, "RS256"),
            ("SQL", "x' UNION SELECT 'secret", b"secret", "HS256"),
            ("a command", "rsa|/bin/true", THEIRS, "RS256"),
            ("an address", "https://evil.example/keys", THEIRS, "RS256"),
            ("ours, with a null", "rsa\0", RSA, "RS256"),
            ("ours, with a blank", "rsa ", RSA, "RS256"),
            ("ours, in upper case", "RSA", RSA, "RS256"),
            ("too long", "k" * (MAX_KID_CHARACTERS + 1), RSA, "RS256"),
            ("a number", 0, RSA, "RS256"),
            ("a list", ["rsa"], RSA, "RS256"),
            ("null", None, RSA, "RS256"),
        )
    },
    # Keys and signatures that are none.
    "another key": signed(THEIRS, "RS256", CLAIMS, kid="rsa"),
    "a key that is too short": signed(WEAK, "RS256", CLAIMS, kid="weak"),
    "an elliptic signature of zeros (CVE-2022-21449)": elliptic(0, 0),
    "an elliptic signature with r zero": elliptic(0, 1),
    "an elliptic signature with s zero": elliptic(1, 0),
    "an elliptic signature of the order": elliptic(N, N),
    "an elliptic signature in DER": in_der(),
    "an elliptic signature of another curve": of_another_curve(),
    "an RSA signature of zeros": f"{HEAD}.{PAYLOAD}.{encoded(bytes(256))}",
    "an RSA signature of one": f"{HEAD}.{PAYLOAD}.{encoded(bytes(255) + bytes([1]))}",
    "an RSA signature with a null before it": f"{HEAD}.{PAYLOAD}.{encoded(bytes(1) + SIGNED)}",
    # Other claims under a signature.
    "other claims": f"{HEAD}.{encoded({**CLAIMS, 'sub': 'root'})}.{SIGNATURE}",
    "another header": f"{encoded({'alg': 'RS256', 'kid': 'rsa', 'x': 1})}.{PAYLOAD}.{SIGNATURE}",
    # What is for something else (RFC 8725 §3.11).
    **{
        f"type {one!r}": rsa(typ=one)
        for one in ("logout+jwt", "dpop+jwt", "secevent+jwt", "application/logout+jwt", "JWE", "at+jwt2", "text/jwt")
    },
    **{f"type {one!r}": rsa(typ=one) for one in (None, 7, ["JWT"], "application/", " JWT", "JWT ")},
    # Extensions (RFC 7515 §4.1.11, RFC 7797 §7).
    "crit of what is not known": rsa(crit=["x"], x=1),
    "crit of what is known": rsa(crit=["exp"], exp=NOW + 300),
    "crit that is empty": rsa(crit=[]),
    "a payload that is not encoded": rsa(crit=["b64"], b64=False),
    "a payload that is not encoded, without crit": rsa(b64=False),
    "b64 that is zero": rsa(b64=0),
    # JSON that is read in two ways, or in none.
    "a header with two algorithms": headed('{"alg": "none", "alg": "RS256", "kid": "rsa"}'),
    "a header that is a list": headed("[]"),
    "a header that is no JSON": headed("{"),
    "a header with a byte order mark": headed(b"\xef\xbb\xbf" + json.dumps({"alg": "RS256", "kid": "rsa"}).encode()),
    "a header in UTF-16": headed(json.dumps({"alg": "RS256", "kid": "rsa"}).encode("utf-16")),
    "a claim twice": written('"sub": "jörg", "sub": "root"'),
    "a claim twice, once escaped": written('"sub": "jörg", "s\\u0075b": "root"'),
    "a claim twice, deep within": written('"x": {"a": 1, "a": 2}'),
    **{
        f"claims that are {one}": rsa(one)
        for one in ("[]", "null", '"text"', "7", "true", "", '["sub"]', "{}", "{} {}")
    },
    "claims that are no text": rsa(b"\xff\xfe"),
    "claims nested deep": rsa(b'{"sub": ' + b"[" * 5000),
    "a claim nested deep": written('"x": ' + "[" * 1400 + "]" * 1400),
    "a number of thousands of digits": written(f'"x": {"9" * 4400}'),
    # Dates.
    **{
        f"{name} that is {one}": written(f'"{name}": {one}')
        for name in ("exp", "nbf", "iat")
        for one in (f'"{NOW + 300}"', "NaN", "Infinity", "1e400", "-1e400", "true", "false", "null", "[1]", "{}")
    },
    "no end": rsa({name: value for name, value in CLAIMS.items() if name != "exp"}),
    "expired, to the second": claiming(exp=NOW - LEEWAY),
    "an end before the beginning of time": claiming(exp=-1),
    "not valid yet": claiming(nbf=NOW + LEEWAY + 1),
    "of a time to come": claiming(iat=NOW + LEEWAY + 1),
    # For others, of others.
    **{
        f"for {one!r}": claiming(aud=one)
        for one in ("gateway2", "gate", "GATEWAY", "gateway ", "", None, 7, [], ["x"], [["gateway"]], ["gateway", 7])
    },
    **{f"for {one!r}": claiming(aud=one) for one in ({"gateway": 1}, "gateway,other", "gateway other", ["gateway2"])},
    **{
        f"of {one!r}": claiming(iss=one)
        for one in (f"{ISSUER}/", f"{ISSUER}.evil.example", "HTTPS://ISSUER.EXAMPLE", "http://issuer.example", "", None)
    },
    **{f"of {one!r}": claiming(iss=one) for one in ([ISSUER], {ISSUER: 1}, 7, f"{ISSUER}\0", f" {ISSUER}")},
    **{
        f"the subject {one!r}": claiming(sub=one) for one in (None, 7, "", " ", ["jörg"], "a\nb", "a\x1b[0m", "s" * 256)
    },
    # The form.
    "five parts, encrypted": ".".join((encoded({"alg": "RSA-OAEP", "enc": "A256GCM"}), *[PAYLOAD] * 3, SIGNATURE)),
    "five parts, ours in front": f"{TRUE}.{PAYLOAD}.{SIGNATURE}",
    "two tokens": f"{TRUE}.{TRUE}",
    "a dot in front": f".{TRUE}",
    "a dot behind": f"{TRUE}.",
    "dots": "..",
    "a signature in JSON": encoded({"payload": PAYLOAD, "protected": HEAD, "signature": SIGNATURE}),
    "padding": f"{TRUE}==",
    "padding within": f"{HEAD}=.{PAYLOAD}.{SIGNATURE}",
    "the other alphabet": f"{HEAD}.{PAYLOAD}.{'/+' * 171}",
    "spare bits in the signature": f"{HEAD}.{PAYLOAD}.{spare_bits(SIGNATURE)}",
    "a blank within": f"{HEAD}. {PAYLOAD}.{SIGNATURE}",
    "a line break within": f"{HEAD}.\n{PAYLOAD}.{SIGNATURE}",
    "a line break behind": f"{TRUE}\n.",
    "a null behind": f"{TRUE}\0",
    "a letter that is no ASCII": f"{HEAD}.{PAYLOAD}.{SIGNATURE[:-1]}\u0410",
    "digits of another script": f"{HEAD}.{PAYLOAD}.{SIGNATURE[:-1]}\u0661",
    "cut short": TRUE[:-4],
    "too long": rsa({**CLAIMS, "x": "x" * MAX_TOKEN_BYTES}),
    "nothing": "",
}


@pytest.mark.parametrize("token", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_opens_no_door(door: JWTAuth, token: str) -> None:
    ask(door, http(TRUE))  # what is remembered of a true one lends nothing to a forgery
    with pytest.raises(Unauthenticated) as refused:
        ask(door, http(token))
    assert (str(refused.value), refused.value.challenge) == ("The token is not valid.", INVALID_TOKEN)
    assert refused.value.log_detail


TOKENS: dict[str, str] = {
    "RSA": TRUE,
    "RSA without an identifier": signed(RSA, "RS256", CLAIMS),
    "elliptic": signed(ELLIPTIC, "ES256", CLAIMS, kid="ec"),
    "valid to the last second": claiming(exp=NOW - LEEWAY + 1),
    "valid from now on": claiming(nbf=NOW + LEEWAY, iat=NOW + LEEWAY),
    "a date with a fraction": claiming(exp=NOW + 0.5),
    "for several": claiming(aud=["other", "gateway"]),
    "with keys that nobody looks at": rsa(jwk=jwk(THEIRS, "RS256"), jku="https://evil.example", x5u="x", x5c=[]),
    "a payload that says it is encoded": rsa(b64=True),
    **{
        f"type {one!r}": rsa(typ=one)
        for one in ("JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT", "")
    },
    "without a type": headed({"alg": "RS256", "kid": "rsa"}),
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_a_true_one_does(door: JWTAuth, token: str) -> None:
    assert ask(door, http(token)).principal == "jörg"


def test_where_access_tokens_only_are_taken_others_are_not(door: JWTAuth) -> None:
    strict = build(fetch=lambda url: succeed(json.dumps(PUBLISHED).encode()), jwks_uri=ISSUER, token_types=("at+JWT",))
    for one in ("at+jwt", "application/AT+jwt"):
        assert ask(strict, http(rsa(typ=one))).principal == "jörg"
    for token in (TRUE, rsa(typ="JWT"), rsa(typ=""), headed({"alg": "RS256", "kid": "rsa"})):
        with pytest.raises(Unauthenticated) as refused:
            ask(strict, http(token))
        assert refused.value.log_detail == "its type is none that is taken (typ)"
