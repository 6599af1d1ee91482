"""An issuer's description of itself, and where it leads."""

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from harmonygw.errors import TransportError
from harmonygw.middleware.authentication.discovery import discovered, metadata_url, published
from tests.middleware.authentication.issuer import jwk, private_key

ISSUER = "https://login.example/realms/x"
AT = f"{ISSUER}/.well-known/openid-configuration"
JWKS = f"{ISSUER}/keys"
SET = json.dumps({"keys": [jwk(private_key("RS256"), "RS256", kid="1")]}).encode()


@pytest.mark.parametrize(
    ("issuer", "openid", "oauth"),
    [
        (
            "https://a/x/y",
            "https://a/x/y/.well-known/openid-configuration",
            "https://a/.well-known/oauth-authorization-server/x/y",
        ),
        (
            "https://a:8443/",
            "https://a:8443/.well-known/openid-configuration",
            "https://a:8443/.well-known/oauth-authorization-server",
        ),
        (
            "https://a/x/",
            "https://a/x/.well-known/openid-configuration",
            "https://a/.well-known/oauth-authorization-server/x",
        ),
        ("https://a", "https://a/.well-known/openid-configuration", "https://a/.well-known/oauth-authorization-server"),
    ],
)
def test_where_a_description_is(issuer: str, openid: str, oauth: str) -> None:
    assert (metadata_url(issuer, "openid"), metadata_url(issuer, "oauth")) == (openid, oauth)


def keys_of(description: Any, issuer: str = ISSUER, allowed: tuple[str, ...] = ()) -> tuple[Any, list[str]]:
    """Return what comes of a description, and which URLs were asked."""
    asked: list[str] = []

    def fetch(url: str) -> "Deferred[bytes]":
        asked.append(url)
        if len(asked) > 1:
            return succeed(SET)
        return succeed(description if isinstance(description, bytes) else json.dumps(description).encode())

    found: list[Any] = []
    Deferred.fromCoroutine(discovered(issuer, "openid", fetch, allowed)).addBoth(found.append)
    if isinstance(found[0], Failure):
        found[0].trap(ValueError)
        return str(found[0].value), asked
    return [(key.kid, key.algorithms) for key in found[0]], asked


RSA = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
GOOD = {"issuer": ISSUER, "jwks_uri": JWKS}


@pytest.mark.parametrize(
    ("signing", "allowed", "algorithms"),
    [
        (None, (), RSA),
        (["RS256"], (), {"RS256"}),
        (["RS256", "none", "HS256", "ES256"], (), {"RS256"}),
        (["RS256", "PS256"], ("PS256", "PS512"), {"PS256"}),
        (None, ("PS512",), {"PS512"}),
    ],
)
def test_keys_are_fetched_where_it_says_and_its_algorithms_only_narrow(
    signing: list[str] | None, allowed: tuple[str, ...], algorithms: set[str]
) -> None:
    more = {} if signing is None else {"id_token_signing_alg_values_supported": signing}
    assert keys_of({**GOOD, **more}, allowed=allowed) == ([("1", algorithms)], [AT, JWKS])


@pytest.mark.parametrize(
    "other",
    [
        f"{ISSUER}/",
        "https://LOGIN.example/realms/x",
        "https://login.example:443/realms/x",
        "https://evil.example",
        "",
        None,
        7,
        [ISSUER],
    ],
)
def test_a_description_of_another_issuer_is_none(other: Any) -> None:
    assert keys_of({**GOOD, "issuer": other}) == ("the issuer in its description is another", [AT])


def test_an_issuer_with_a_slash_is_as_it_is_written() -> None:
    found, asked = keys_of({**GOOD, "issuer": f"{ISSUER}/"}, issuer=f"{ISSUER}/")
    assert (len(found), asked) == (1, [AT, JWKS])


@pytest.mark.parametrize(
    ("jwks_uri", "problem"),
    [
        (None, "its description has no jwks_uri"),
        (7, "its description has no jwks_uri"),
        ("", "its description has no jwks_uri"),
        ("/keys", "its description has no jwks_uri"),
        ("file:///etc/passwd", "its description has no jwks_uri"),
        ("https://a/keys\r\nHost: b", "its description has no jwks_uri"),
        ("http://login.example/keys", "the jwks_uri in its description has no https"),
        ("http://127.0.0.1/keys", "the jwks_uri in its description has no https"),
    ],
)
def test_where_no_keys_can_be_trusted_none_are_fetched(jwks_uri: Any, problem: str) -> None:
    assert keys_of({**GOOD, "jwks_uri": jwks_uri}) == (problem, [AT])


@pytest.mark.parametrize(
    ("jwks_uri", "taken"),
    [("http://127.0.0.1:9/keys", True), ("https://elsewhere/keys", True), ("http://elsewhere/keys", False)],
)
def test_an_issuer_on_this_machine_may_do_without_tls(jwks_uri: str, taken: bool) -> None:
    issuer = "http://localhost:9"
    _, asked = keys_of({"issuer": issuer, "jwks_uri": jwks_uri}, issuer=issuer)
    assert asked[1:] == [jwks_uri] * taken


@pytest.mark.parametrize(
    ("signing", "problem"),
    [
        ("RS256", "the algorithms in its description are no list of names"),
        ([["RS256"]], "the algorithms in its description are no list of names"),
        ([], "it signs by no algorithm that is allowed"),
        (["none"], "it signs by no algorithm that is allowed"),
    ],
)
def test_algorithms_that_are_none_leave_no_keys(signing: Any, problem: str) -> None:
    assert keys_of({**GOOD, "id_token_signing_alg_values_supported": signing}) == (problem, [AT])


@pytest.mark.parametrize("document", [b"<html>", b"[]", b'{"issuer": "a", "issuer": "b"}', b"\xff"])
def test_what_is_no_description_is_none(document: bytes) -> None:
    problem, asked = keys_of(document)
    assert (isinstance(problem, str), asked) == (True, [AT])


def test_a_failure_is_that_of_the_fetch() -> None:
    found: list[Any] = []
    for keys in (
        discovered(ISSUER, "oauth", lambda url: fail(TransportError(url)), ()),
        published(JWKS, lambda url: fail(TransportError(url)), ()),
    ):
        Deferred.fromCoroutine(keys).addErrback(lambda failure: found.append(str(failure.value)))
    assert found == ["https://login.example/.well-known/oauth-authorization-server/realms/x", JWKS]
