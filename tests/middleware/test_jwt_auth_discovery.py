"""Issuers that say themselves where their keys are: each has its own, for its own tokens."""

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from harmonygw.errors import TransportError, Unauthenticated
from harmonygw.middleware.authentication.key_set import FRESH_SECS, GRACE_SECS, RETRY_SECS, UNKNOWN_KEY_SECS
from harmonygw.middleware.jwt_auth import JWTAuth
from tests.middleware.authentication.issuer import CLAIMS, jwk, private_key, signed
from tests.middleware.test_jwt_auth import OURS, THEIRS, ask, build, http

A, B = "https://a.example/realm", "https://b.example"
KEYS = {A: OURS, B: THEIRS}


class Web:
    """The servers of two issuers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[str] = []
        self.down: set[str] = set()
        self.pages: dict[str, Any] = {}
        for issuer, key in KEYS.items():
            self.pages[f"{issuer}/.well-known/openid-configuration"] = {"issuer": issuer, "jwks_uri": f"{issuer}/keys"}
            self.pages[f"{issuer}/keys"] = {"keys": [jwk(key, "RS256", kid="1")]}

    def fetch(self, url: str) -> "Deferred[bytes]":
        self.asked.append(url)
        if any(url.startswith(one) for one in self.down):
            return fail(TransportError("down"))
        return succeed(json.dumps(self.pages[url]).encode())

    def guard(self, **options: Any) -> JWTAuth:
        return build(
            fetch=self.fetch,
            clock=self.clock,
            **{"discovery": "openid", "issuer": A, "trusted_issuers": (B,), "audience": "us", **options},
        )


def token(issuer: Any, key: Any, kid: str = "1", **more: Any) -> str:
    return signed(key, "RS256", {**CLAIMS, "iss": issuer, "aud": "us", **more}, kid=kid)


@pytest.fixture
def web() -> Web:
    return Web()


def test_each_issuer_is_asked_once_at_the_start(web: Web) -> None:
    guard = web.guard()
    guard.start()
    for _ in range(3):
        for issuer, key in KEYS.items():
            assert ask(guard, http(token(issuer, key))).principal == "jörg"
    assert web.asked == [page for issuer in (A, B) for page in web.pages if page.startswith(issuer)]
    guard.stop()


def test_the_keys_of_one_issuer_are_good_for_no_token_of_another(web: Web) -> None:
    guard = web.guard()
    for issuer, key in ((A, THEIRS), (B, OURS)):
        with pytest.raises(Unauthenticated):
            ask(guard, http(token(issuer, key)))
    assert ask(guard, http(token(A, OURS))).principal == "jörg"


@pytest.mark.parametrize("issuer", [f"{A}/", f"{B}/", "https://evil.example", "", None, 7, [A], {A: 1}])
def test_an_issuer_that_is_not_trusted_is_not_asked_for_keys(web: Web, issuer: Any) -> None:
    guard = web.guard()
    with pytest.raises(Unauthenticated) as refused:
        ask(guard, http(token(issuer, OURS)))
    assert refused.value.log_detail == "its issuer (iss) is none that is trusted"
    assert web.asked == []


def test_a_remembered_token_is_of_its_issuer_too(web: Web) -> None:
    guard = web.guard()
    one = http(token(A, OURS))
    assert ask(guard, one).principal == "jörg"
    web.pages[f"{A}/keys"] = {"keys": [jwk(private_key("RS256", 2), "RS256", kid="1")]}
    web.clock.advance(FRESH_SECS)
    with pytest.raises(Unauthenticated):
        ask(guard, one)


def test_a_new_key_is_found_where_the_issuer_has_moved_its_keys(web: Web) -> None:
    guard = web.guard()
    guard.start()
    web.pages[f"{B}/.well-known/openid-configuration"]["jwks_uri"] = "https://keys.example/b"
    web.pages["https://keys.example/b"] = {"keys": [jwk(private_key("RS256", 2), "RS256", kid="2")]}
    new = http(token(B, private_key("RS256", 2), kid="2"))
    with pytest.raises(Unauthenticated):
        ask(guard, new)
    web.clock.advance(UNKNOWN_KEY_SECS)
    assert ask(guard, new).principal == "jörg"
    assert web.asked.count(f"{A}/keys") == 1


def test_one_issuer_that_is_down_stops_nobody_of_another_and_has_its_grace(web: Web) -> None:
    guard = web.guard()
    guard.start()
    web.down.add(A)
    web.clock.advance(FRESH_SECS + 1)
    for issuer, key in KEYS.items():
        assert ask(guard, http(token(issuer, key))).principal == "jörg"
    web.clock.advance(GRACE_SECS)
    with pytest.raises(TransportError, match="are not to be had"):
        ask(guard, http(token(A, OURS)))
    assert ask(guard, http(token(B, THEIRS))).principal == "jörg"
    web.down.clear()
    web.clock.advance(RETRY_SECS)
    assert ask(guard, http(token(A, OURS))).principal == "jörg"


def test_an_issuer_that_describes_another_has_no_keys_and_the_log_says_why(web: Web) -> None:
    web.pages[f"{A}/.well-known/openid-configuration"]["issuer"] = B
    guard = web.guard()
    with capturedLogs() as events, pytest.raises(TransportError):
        ask(guard, http(token(A, OURS)))
    assert [formatEvent(event) for event in events] == [
        f"{A}/.well-known/openid-configuration: the keys cannot be fetched: the issuer in its description is another"
    ]
    assert f"{A}/keys" not in web.asked


def test_an_authorization_server_describes_itself_elsewhere(web: Web) -> None:
    web.pages["https://a.example/.well-known/oauth-authorization-server/realm"] = {"issuer": A, "jwks_uri": f"{A}/keys"}
    guard = web.guard(discovery="oauth", trusted_issuers=())
    assert ask(guard, http(token(A, OURS))).principal == "jörg"
    assert web.asked == ["https://a.example/.well-known/oauth-authorization-server/realm", f"{A}/keys"]


def test_a_payload_that_is_no_object_has_no_issuer(web: Web) -> None:
    with pytest.raises(Unauthenticated):
        ask(web.guard(), http(signed(OURS, "RS256", "[]")))
