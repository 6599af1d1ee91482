"""JSON Web Tokens: who gets through, and as whom."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from harmonygw.config.middleware_options import JWTAuthOptions
from harmonygw.config.system import Authentication, AuthenticationOptions
from harmonygw.errors import AmbiguousCredentials, ConfigurationError, Denied, TransportError, Unauthenticated
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Reply, Request
from harmonygw.middleware.authentication.bearer import CHALLENGE, INVALID_TOKEN
from harmonygw.middleware.authentication.claims import Claims
from harmonygw.middleware.authentication.key_set import FRESH_SECS, UNKNOWN_KEY_SECS
from harmonygw.middleware.authentication.keys import VerificationKey
from harmonygw.middleware.jwt_auth import JWTAuth
from harmonygw.pipeline import Context
from tests.middleware.authentication.issuer import CLAIMS, NOW, jwk, pem, private_key, signed

SECRET = "s" * 32
OURS = private_key("RS256")
THEIRS = private_key("RS256", 1)
JWKS = {"jwks_uri": "https://issuer.example/keys"}


def build(*, table: Authentication | None = None, fetch: Any = None, clock: Any = None, **options: Any) -> JWTAuth:
    authentication = None if table is None else "staff"
    settings = SimpleNamespace(name="guard", options=JWTAuthOptions(**options), authentication=authentication)
    configuration: Any = SimpleNamespace(authentications={} if table is None else {"staff": table})
    return JWTAuth(Context(settings, configuration, clock or Clock()), fetch=fetch, now=lambda: NOW)


def ask(guard: JWTAuth, origin: HTTPOrigin | AssociationOrigin) -> Request:
    """Return the request that goes on; raises what refuses it."""
    passed: list[Request] = []

    def proceed(request: Request) -> "Deferred[Reply]":
        passed.append(request)
        return succeed(Reply())

    outcome: list[Any] = []
    request = Request(origin, "192.0.2.1", "id", attributes={"kept": 1})
    Deferred.fromCoroutine(guard.intercept(request, proceed)).addBoth(outcome.append)
    if hasattr(outcome[0], "raiseException"):
        assert passed == []
        outcome[0].raiseException()
    return passed[0]


def http(token: str | None = None) -> HTTPOrigin:
    return HTTPOrigin("GET", ("studies",), headers={} if token is None else {"authorization": f"Bearer {token}"})


@pytest.fixture
def pem_file(tmp_path: Path) -> str:
    (tmp_path / "key.pem").write_bytes(pem(OURS))
    return str(tmp_path / "key.pem")


def document(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def test_the_subject_is_the_principal_and_the_claims_go_along(pem_file: str) -> None:
    passed = ask(build(public_key_path=pem_file), http(signed(OURS, "RS256", {**CLAIMS, "scope": "read"})))
    assert passed.principal == passed.record.principal == "jörg"
    assert passed.attributes == {"kept": 1, "claims": {**CLAIMS, "scope": "read"}}
    with pytest.raises(TypeError):
        passed.attributes["claims"]["sub"] = "root"


def test_the_options_may_stand_in_a_table_of_their_own() -> None:
    table = Authentication("jwt", options=AuthenticationOptions(use_hs256=True, hs256_secret=SECRET, audience="us"))
    guard = build(table=table)
    assert ask(guard, http(signed(SECRET.encode(), "HS256", {**CLAIMS, "aud": ["us"]}))).principal == "jörg"
    with pytest.raises(Unauthenticated):
        ask(guard, http(signed(SECRET.encode(), "HS256")))


def test_a_refused_token_is_challenged_and_logged_without_it(pem_file: str) -> None:
    forged = signed(pem(OURS), "HS256")
    expired = signed(OURS, "RS256", {**CLAIMS, "exp": 1})
    with capturedLogs() as events:
        for token in (forged, expired, "a b"):
            with pytest.raises(Unauthenticated) as refused:
                ask(build(public_key_path=pem_file), http(token))
            assert refused.value.challenge == INVALID_TOKEN
    assert [formatEvent(event) for event in events] == [
        "guard: failed login from 192.0.2.1: none of our keys has signed it by its algorithm",
        "guard: failed login from 192.0.2.1: it has expired (exp)",
        "guard: failed login from 192.0.2.1: it is too long, or has characters that no token has",
    ]
    assert forged[:20] not in repr(events)


def test_without_a_token_it_is_asked_for_and_nothing_is_logged(pem_file: str) -> None:
    with capturedLogs() as events, pytest.raises(Unauthenticated) as refused:
        ask(build(public_key_path=pem_file), http())
    assert (refused.value.challenge, events) == (CHALLENGE, [])


def test_a_token_in_two_ways_is_refused(pem_file: str) -> None:
    with pytest.raises(AmbiguousCredentials):
        ask(build(public_key_path=pem_file), http(f"{signed(OURS, 'RS256')}, Bearer x"))


def test_an_association_is_refused(pem_file: str) -> None:
    with pytest.raises(Denied):
        ask(build(public_key_path=pem_file), AssociationOrigin("CT1", "GATEWAY"))


def test_a_key_of_the_issuers_set_is_found_by_its_identifier() -> None:
    keys = document(jwk(OURS, "RS256", kid="1"), jwk(THEIRS, "RS256", kid="2"))
    guard = build(fetch=lambda url: succeed(keys), **JWKS)
    guard.start()
    for key, more in ((OURS, {"kid": "1"}), (THEIRS, {"kid": "2"}), (OURS, {}), (THEIRS, {})):
        assert ask(guard, http(signed(key, "RS256", **more))).principal == "jörg"
    for key, kid in ((OURS, "2"), (OURS, "3"), (THEIRS, "https://evil.example/keys")):
        with pytest.raises(Unauthenticated):
            ask(guard, http(signed(key, "RS256", kid=kid)))
    guard.stop()


def test_a_token_that_brings_its_key_does_not_make_us_fetch_it() -> None:
    fetches: list[None] = []

    def fetch(url: str) -> "Deferred[bytes]":
        fetches.append(None)
        return succeed(document(jwk(OURS, "RS256", kid="1")))

    guard = build(fetch=fetch, **JWKS)
    for more in ({"jku": "https://evil.example/keys"}, {"jwk": jwk(THEIRS, "RS256")}, {"x5u": "https://evil.example"}):
        with pytest.raises(Unauthenticated):
            ask(guard, http(signed(THEIRS, "RS256", kid="1", **more)))
    assert len(fetches) == 1


def test_a_new_key_is_fetched_when_a_token_names_it() -> None:
    clock = Clock()
    published = [document(jwk(OURS, "RS256", kid="1"))]
    guard = build(fetch=lambda url: succeed(published[-1]), clock=clock, **JWKS)
    guard.start()
    published.append(document(jwk(THEIRS, "RS256", kid="2")))
    token = http(signed(THEIRS, "RS256", kid="2"))
    with pytest.raises(Unauthenticated):
        ask(guard, token)
    clock.advance(UNKNOWN_KEY_SECS)
    assert ask(guard, token).principal == "jörg"


def test_without_the_issuers_keys_it_is_nobodys_fault_who_asks() -> None:
    guard = build(fetch=lambda url: fail(TransportError("down")), **JWKS)
    with pytest.raises(TransportError):
        ask(guard, http(signed(OURS, "RS256", kid="1")))


def test_the_algorithms_of_the_configuration_hold_for_the_issuers_keys_too() -> None:
    fetch = lambda url: succeed(document(jwk(OURS, "RS256", kid="1")))  # noqa: E731
    guard = build(fetch=fetch, algorithms=("PS256",), **JWKS)
    assert ask(guard, http(signed(OURS, "PS256"))).principal == "jörg"
    with pytest.raises(Unauthenticated):
        ask(guard, http(signed(OURS, "RS256")))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"public_key_path": "key.pem", "use_hs256": True, "hs256_secret": SECRET}, "give one of discovery, jwks_uri"),
        ({**JWKS, "public_key_path": "key.pem"}, "give one of discovery, jwks_uri"),
        ({}, "give one of discovery, jwks_uri"),
        ({**JWKS, "algorithms": ("none",)}, "algorithms: 'none' is not among"),
        ({"use_hs256": True, "hs256_secret": SECRET, "algorithms": ("RS256",)}, "HS256 is not in algorithms"),
        ({"use_hs256": True, "hs256_secret": pem(OURS).decode()}, "a public key is no secret"),
        ({"public_key_path": "key.pem"}, "cannot be read"),
    ],
)
def test_what_could_let_in_the_wrong_ones_is_an_error_of_the_configuration(
    options: dict[str, Any], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=problem):
        build(**options)


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({"jwks_uri": "https://issuer.example/keys", "audience": "us"}, []),
        ({"jwks_uri": "http://127.0.0.1:8080/keys", "audience": "us"}, []),
        ({"jwks_uri": "http://issuer.example/keys", "audience": "us"}, ["without TLS"]),
        ({"use_hs256": True, "hs256_secret": SECRET}, ["without an audience"]),
    ],
)
def test_what_lets_in_more_than_it_seems_to_is_warned_of(options: dict[str, Any], warned: list[str]) -> None:
    guard = build(fetch=lambda url: succeed(document(jwk(OURS, "RS256"))), **options)
    with capturedLogs() as events:
        guard.start()
    lines = [formatEvent(event) or "" for event in events]
    assert [part in line for part, line in zip(warned, lines, strict=True)] == [True] * len(warned)


def test_without_a_set_of_keys_there_is_nothing_to_start_or_stop(pem_file: str) -> None:
    clock = Clock()
    guard = build(public_key_path=pem_file, clock=clock)
    guard.start()
    guard.stop()
    assert clock.getDelayedCalls() == []


def test_a_signature_is_verified_once_for_as_long_as_the_keys_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    guard = build(use_hs256=True, hs256_secret=SECRET, clock=clock)
    verified: list[bytes] = []
    verifies = VerificationKey.verifies

    def counted(self: VerificationKey, algorithm: str, message: bytes, signature: bytes) -> bool:
        verified.append(message)
        return verifies(self, algorithm, message, signature)

    monkeypatch.setattr(VerificationKey, "verifies", counted)
    token = signed(SECRET.encode(), "HS256")
    assert [ask(guard, http(token)).principal for _ in range(3)] == [CLAIMS["sub"]] * 3
    assert len(verified) == 1
    with pytest.raises(Unauthenticated):
        ask(guard, http(token[:-2] + ("AA" if token[-2:] != "AA" else "BB")))
    guard._keys = tuple(replace(key) for key in guard._keys)
    assert ask(guard, http(token)).principal == CLAIMS["sub"]
    assert len(verified) == 3


def test_a_token_that_was_good_expires_all_the_same(pem_file: str) -> None:
    guard = build(public_key_path=pem_file)
    token = signed(OURS, "RS256")
    assert ask(guard, http(token)).principal == CLAIMS["sub"]
    guard._claims = Claims(JWTAuthOptions(public_key_path=pem_file), lambda: NOW + 86_400 * 365)
    with pytest.raises(Unauthenticated, match="not valid"):
        ask(guard, http(token))


def test_a_key_that_the_issuer_withdraws_verifies_nothing_any_more() -> None:
    clock = Clock()
    documents = [{"keys": [jwk(OURS, "RS256", kid="1")]}, {"keys": [jwk(THEIRS, "RS256", kid="1")]}]
    guard = build(**JWKS, clock=clock, fetch=lambda url: succeed(json.dumps(documents.pop(0)).encode()))
    token = signed(OURS, "RS256", kid="1")
    assert ask(guard, http(token)).principal == CLAIMS["sub"]
    clock.advance(FRESH_SECS)
    with pytest.raises(Unauthenticated):
        ask(guard, http(token))


def test_so_many_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch, pem_file: str) -> None:
    monkeypatch.setattr("harmonygw.middleware.jwt_auth.MAX_VERIFIED", 2)
    guard = build(public_key_path=pem_file)
    for subject in ("a", "b", "c"):
        ask(guard, http(signed(OURS, "RS256", {**CLAIMS, "sub": subject})))
    assert [one.claims["sub"] for one in guard._verified.values()] == ["b", "c"]
