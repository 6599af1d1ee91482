"""Basic authentication: who gets through, and as whom."""

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs

from harmonygw.config.middleware_options import BasicAuthOptions
from harmonygw.config.system import Authentication, AuthenticationOptions
from harmonygw.errors import ConfigurationError, Denied, Unauthenticated
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Reply, Request
from harmonygw.middleware.basic_auth import CHALLENGE, BasicAuth
from harmonygw.pipeline import Context


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def build(*, authentication: str | None = None, table: Authentication | None = None, **options: str) -> BasicAuth:
    settings = SimpleNamespace(name="guard", options=BasicAuthOptions(**options), authentication=authentication)
    configuration: Any = SimpleNamespace(authentications={} if table is None else {"users": table})
    return BasicAuth(Context(settings, configuration, None))


def ask(guard: BasicAuth, origin: HTTPOrigin | AssociationOrigin) -> str | None:
    """Return as whom the request goes on; raises what refuses it."""
    passed: list[Request] = []

    def proceed(request: Request) -> "Deferred[Reply]":
        passed.append(request)
        return succeed(Reply())

    outcome: list[Any] = []
    Deferred.fromCoroutine(guard.intercept(Request(origin, "192.0.2.1", "id"), proceed)).addBoth(outcome.append)
    if hasattr(outcome[0], "raiseException"):
        assert passed == []
        outcome[0].raiseException()
    return passed[0].principal


def http(authorization: str | None = None) -> HTTPOrigin:
    return HTTPOrigin("GET", ("studies",), headers={} if authorization is None else {"authorization": authorization})


@pytest.mark.parametrize(
    "authorization",
    [basic("jörg", "a:b"), basic("jörg", "a:b").replace("Basic", "bAsIc"), basic("jörg", "a:b").replace(" ", "  ")],
)
def test_valid_credentials_make_the_user_the_principal(authorization: str) -> None:
    assert ask(build(username="jörg", password="a:b"), http(authorization)) == "jörg"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Basic " + base64.b64encode(b"user").decode(),
        basic("user", ""),
        basic("", "secret"),
        basic("user", "secret "),
        basic("User", "secret"),
        basic("user", "secret").replace("Basic", "Bearer"),
    ],
)
def test_anything_else_is_refused_with_a_challenge(authorization: str | None) -> None:
    with pytest.raises(Unauthenticated) as refused:
        ask(build(username="user", password="secret"), http(authorization))
    assert refused.value.challenge == CHALLENGE


def test_an_association_is_refused() -> None:
    with pytest.raises(Denied):
        ask(build(username="user", password="secret"), AssociationOrigin("CT1", "GATEWAY"))


def test_the_credentials_may_stand_in_a_table_of_their_own() -> None:
    table = Authentication("basic", options=AuthenticationOptions(username="ward", password="secret"))
    guard = build(authentication="users", table=table)
    assert ask(guard, http(basic("ward", "secret"))) == "ward"


def test_a_file_of_users_alone_is_not_in_this_build(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"middleware\.guard: files of users are not in this build yet"):
        build(token_path=str(tmp_path / "users"))


@pytest.mark.parametrize(("there", "said"), [(True, "is not in this build yet"), (False, "is not there")])
def test_a_file_of_users_beside_one_user_is_warned_about(tmp_path: Path, there: bool, said: str) -> None:
    file = tmp_path / "users"
    if there:
        file.touch()
    with capturedLogs() as events:
        guard = build(username="user", password="secret", token_path=str(file))
    assert [event["there"] for event in events if "there" in event] == [said]
    assert ask(guard, http(basic("user", "secret"))) == "user"
