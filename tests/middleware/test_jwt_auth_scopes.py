"""Tokens and their scopes: which requests go on, and confined to what."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs

from harmonygw.errors import InsufficientScope, Unauthenticated
from harmonygw.exchange import HTTPOrigin, Reply, Request, Restriction
from harmonygw.middleware.authentication.scopes import Scopes
from harmonygw.middleware.jwt_auth import JWTAuth
from harmonygw.operations import Find, Level, Operation
from tests.middleware.authentication.issuer import CLAIMS, NOW, signed
from tests.middleware.test_jwt_auth import SECRET, build

BEFORE = Restriction({"00080080": ("A",)}, "policy")
SMART: dict[str, Any] = {"use_hs256": True, "hs256_secret": SECRET, "scopes": "smart"}


def ask(
    guard: JWTAuth,
    claims: dict[str, Any],
    method: str = "GET",
    path: str = "studies",
    operation: Operation | None = None,
) -> Request:
    token = signed(SECRET.encode(), "HS256", {**CLAIMS, **claims})
    origin = HTTPOrigin(method, tuple(path.split("/")), headers={"authorization": f"Bearer {token}"})
    request = Request(origin, "192.0.2.1", "id", operation=operation, restrictions=(BEFORE,))
    passed: list[Request] = []

    def proceed(request: Request) -> "Deferred[Reply]":
        passed.append(request)
        return succeed(Reply())

    failures: list[Any] = []
    Deferred.fromCoroutine(guard.intercept(request, proceed)).addErrback(failures.append)
    if failures:
        assert passed == []
        failures[0].raiseException()
    return passed[0]


def test_who_may_see_one_patient_is_confined_to_that_patient_besides_what_there_was() -> None:
    passed = ask(build(**SMART), {"scope": "patient/ImagingStudy.rs", "patient": "P1"})
    confined = Restriction({"00100020": ("P1",)}, "scope patient/ImagingStudy.rs")
    assert (passed.principal, passed.restrictions) == ("jörg", (BEFORE, confined))


def test_who_may_see_every_patient_is_confined_to_nothing_more() -> None:
    assert ask(build(**SMART), {"scope": "user/ImagingStudy.rs"}).restrictions == (BEFORE,)


def test_what_no_scope_grants_is_refused_and_no_failed_login() -> None:
    guard = build(**SMART)
    with capturedLogs() as events, pytest.raises(InsufficientScope) as refused:
        ask(guard, {"scope": "patient/ImagingStudy.rs", "patient": "P1"}, "POST")
    assert refused.value.challenge.endswith('error="insufficient_scope", scope="patient/ImagingStudy.c"')
    assert events == []


def test_a_token_that_is_not_good_is_told_nothing_of_scopes() -> None:
    with pytest.raises(Unauthenticated):
        ask(build(**SMART), {"scope": "", "exp": NOW - 1000})


def test_an_operation_that_there_is_already_is_gone_by() -> None:
    guard = build(**SMART)
    claims = {"scope": "patient/ImagingStudy.s", "patient": "P1"}
    assert len(ask(guard, claims, "POST", "find", Find(Level.STUDY)).restrictions) == 2
    with pytest.raises(InsufficientScope):
        ask(guard, claims, "POST", "find")


def test_scopes_are_read_once_for_a_token_and_looked_at_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = build(**SMART)
    read: list[None] = []
    grants = Scopes.grants
    monkeypatch.setattr(Scopes, "grants", lambda self, claims: read.append(None) or grants(self, claims))
    claims = {"scope": "patient/ImagingStudy.r", "patient": "P1"}
    for _ in range(3):
        assert len(ask(guard, claims, path="studies/1").restrictions) == 2
        with pytest.raises(InsufficientScope):
            ask(guard, claims)
    assert len(read) == 1
    assert ask(guard, {**claims, "patient": "P2"}, path="studies/1").restrictions[1].keys == {"00100020": ("P2",)}


def test_plain_scopes_are_for_everything() -> None:
    guard = build(use_hs256=True, hs256_secret=SECRET, required_scopes=("dicom",))
    assert ask(guard, {"scope": "openid dicom"}, "DELETE", "x").restrictions == (BEFORE,)
    with pytest.raises(InsufficientScope, match="does not allow"):
        ask(guard, {"scope": "openid"})
