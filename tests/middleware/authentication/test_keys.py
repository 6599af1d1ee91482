"""Keys: which are taken, and for which algorithms."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from harmonygw.errors import ConfigurationError
from harmonygw.middleware.authentication.keys import (
    MAX_KEYS,
    MAX_KID_CHARACTERS,
    MAX_PEM_BYTES,
    MAX_RSA_BITS,
    MIN_RSA_BITS,
    check_algorithms,
    key_set,
    public_key,
    shared_secret,
)
from tests.middleware.authentication.issuer import _rsa, jwk, pem, private_key

RSA = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
FITTING = [("RS256", RSA), ("ES256", {"ES256"}), ("ES384", {"ES384"}), ("ES512", {"ES512"})]
FITTING += [("EdDSA", {"EdDSA"}), ("Ed448", {"EdDSA"})]


def from_file(folder: Path, content: bytes, *allowed: str) -> Any:
    (folder / "key.pem").write_bytes(content)
    return public_key(str(folder / "key.pem"), allowed)


@pytest.mark.parametrize(("kind", "algorithms"), FITTING)
def test_a_key_is_for_the_algorithms_of_its_kind(tmp_path: Path, kind: str, algorithms: set[str]) -> None:
    key = private_key(kind)
    assert from_file(tmp_path, pem(key)).algorithms == algorithms
    name = "EdDSA" if kind == "Ed448" else kind
    (found,) = key_set(json.dumps({"keys": [jwk(key, name, kid="1")]}).encode(), ())
    assert (found.algorithms, found.kid) == (algorithms, "1")


def test_the_configuration_narrows_them(tmp_path: Path) -> None:
    content = pem(private_key("RS256"))
    assert from_file(tmp_path, content, "PS256", "ES256").algorithms == {"PS256"}
    with pytest.raises(ConfigurationError, match="none of which is in algorithms"):
        from_file(tmp_path, content, "ES256")


def test_a_certificate_has_a_key(tmp_path: Path) -> None:
    key = private_key("ES256")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(day).not_valid_after(day + datetime.timedelta(1))
    content = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    assert from_file(tmp_path, content).algorithms == {"ES256"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is no public key in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n", "is no public key in PEM"),
        (
            private_key("ES256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "is a private key, which only the issuer should have",
        ),
        (pem(_rsa(0, 1024)), "must be RSA of 2048 to 8192 bits, P-256, P-384, P-521, Ed25519 or Ed448"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "must be RSA of 2048 to 8192 bits"),
        (pem(x25519.X25519PrivateKey.generate()), "must be RSA of 2048 to 8192 bits"),
        (b"#" * (MAX_PEM_BYTES + 1), f"is larger than {MAX_PEM_BYTES} bytes"),
        (b"#" * MAX_PEM_BYTES, "is no public key in PEM"),
    ],
)
def test_what_is_no_usable_key_is_an_error_of_the_configuration(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        from_file(tmp_path, content)


def test_a_file_that_is_not_there_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        public_key(str(tmp_path / "key.pem"), ())


@pytest.mark.parametrize("secret", [pem(private_key("RS256")).decode(), "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB"])
def test_a_public_key_is_no_shared_secret(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="a public key is no secret"):
        shared_secret(secret)


@pytest.mark.parametrize("name", ["none", "HS512", "ES256K", "rs256", ""])
def test_algorithms_that_are_not_taken_are_an_error_of_the_configuration(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"algorithms: '{name}' is not among ES256, ES384"):
        check_algorithms(("RS256", name))


def test_of_a_set_what_cannot_be_used_is_passed_over() -> None:
    key = private_key("RS256")
    good = jwk(key, "RS256", kid="good")
    others = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
        {"kty": "new"},
        {},
        "text",
        {**good, "use": "enc"},
        {**good, "key_ops": ["encrypt"]},
        {**good, "key_ops": "verify"},
        {**good, "kid": 7},
        {**good, "kid": "k" * (MAX_KID_CHARACTERS + 1)},
        {**good, "alg": "ES256"},
        {**good, "alg": "none"},
        {**good, "alg": ["RS256"]},
        {**good, "n": "AQAB"},
        {**good, "n": 7},
        {"kty": "RSA", "e": "AQAB"},
        {**jwk(private_key("ES256"), "ES256"), "x": "AAAA"},
        {**jwk(private_key("ES256"), "ES256"), "crv": "P-384"},
        {**jwk(private_key("EdDSA"), "EdDSA"), "crv": "X25519"},
    ]
    longest = {**good, "kid": "k" * MAX_KID_CHARACTERS, "alg": "PS256", "use": "sig", "key_ops": ["verify"]}
    found = key_set(json.dumps({"keys": [*others, good, longest]}).encode(), ())
    assert [one.kid for one in found] == ["good", "k" * MAX_KID_CHARACTERS]
    assert found[1].algorithms == {"PS256"}


def test_a_private_key_that_was_published_only_verifies() -> None:
    key = private_key("RS256")
    document = jwk(key, "RS256", d="AQAB", p="AQAB", q="AQAB", dp="AQAB", dq="AQAB", qi="AQAB")
    (found,) = key_set(json.dumps({"keys": [document]}).encode(), ())
    assert found.key.public_numbers() == key.public_key().public_numbers()


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b"<html>", "Expecting value"),
        (b"{}", 'there is no list "keys" in it'),
        (b'{"keys": {}}', 'there is no list "keys" in it'),
        (b'{"keys": []}', "there is no key in it"),
        (b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "there is no key in it"),
    ],
)
def test_a_document_without_a_usable_key_is_refused(document: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        key_set(document, ())


def test_a_set_has_so_many_keys_at_most() -> None:
    key = jwk(private_key("ES256"), "ES256")
    assert len(key_set(json.dumps({"keys": [key] * MAX_KEYS}).encode(), ())) == MAX_KEYS
    with pytest.raises(ValueError, match=f"more than {MAX_KEYS} keys"):
        key_set(json.dumps({"keys": [key] * (MAX_KEYS + 1)}).encode(), ())


def test_a_key_of_a_set_is_narrowed_by_the_configuration() -> None:
    document = json.dumps({"keys": [jwk(private_key("RS256"), "RS256"), jwk(private_key("ES256"), "ES256")]}).encode()
    assert [set(key.algorithms) for key in key_set(document, ("ES256",))] == [{"ES256"}]


@pytest.mark.parametrize(
    ("bits", "taken"),
    [(MIN_RSA_BITS - 1, False), (MIN_RSA_BITS, True), (MAX_RSA_BITS, True), (MAX_RSA_BITS + 1, False)],
)
def test_an_rsa_key_is_long_enough_and_not_too_long(tmp_path: Path, bits: int, taken: bool) -> None:
    key = RSAPublicNumbers(65537, (1 << bits) - 1).public_key()
    content = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if taken:
        assert from_file(tmp_path, content).algorithms == RSA
        return
    with pytest.raises(ConfigurationError, match="must be RSA of 2048 to 8192 bits"):
        from_file(tmp_path, content)
