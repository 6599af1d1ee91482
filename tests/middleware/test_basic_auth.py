"""Basic authentication: who gets through, and as whom."""

import base64
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bcrypt
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from harmonygw.config.middleware_options import BasicAuthOptions
from harmonygw.config.system import Authentication, AuthenticationOptions
from harmonygw.errors import ConfigurationError, Denied, Unauthenticated
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Reply, Request
from harmonygw.middleware.authentication.users import LOOK_SECS
from harmonygw.middleware.basic_auth import CHALLENGE, BasicAuth
from harmonygw.pipeline import Context


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def build(
    clock: Any = None, *, authentication: str | None = None, table: Authentication | None = None, **options: str
) -> BasicAuth:
    settings = SimpleNamespace(name="guard", options=BasicAuthOptions(**options), authentication=authentication)
    configuration: Any = SimpleNamespace(authentications={} if table is None else {"users": table})
    return BasicAuth(Context(settings, configuration, clock or Clock()), run=execute)


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
    assert passed[0].record.principal == passed[0].principal
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


def test_someone_must_be_let_in() -> None:
    with pytest.raises(ConfigurationError, match=r"middleware\.guard: give username and password, or a file of users"):
        build(username="user")


def users(tmp_path: Path, **passwords: str) -> str:
    file = tmp_path / "users"
    file.write_text("".join(f"{name}:{hashed(password)}\n" for name, password in passwords.items()))
    return str(file)


def test_beside_one_user_the_file_may_come_later(tmp_path: Path) -> None:
    guard = build(username="user", password="secret", token_path=str(tmp_path / "users"))
    assert ask(guard, http(basic("user", "secret"))) == "user"
    with pytest.raises(Unauthenticated):
        ask(guard, http(basic("ward", "secret")))
    with pytest.raises(ConfigurationError, match="users: cannot be read: No such file"):
        build(token_path=str(tmp_path / "users"))


@pytest.mark.parametrize("key", ["token_path", "table"])
def test_every_user_of_a_file_is_let_in_and_nobody_else(tmp_path: Path, key: str) -> None:
    file = users(tmp_path, jörg="a:b", ward="secret")
    if key == "table":
        table = Authentication("basic", options=AuthenticationOptions(credentials_path=file))
        guard = build(authentication="users", table=table)
    else:
        guard = build(token_path=file)
    assert ask(guard, http(basic("jörg", "a:b"))) == "jörg"
    assert ask(guard, http(basic("ward", "secret"))) == "ward"
    for name, password in (("ward", "a:b"), ("nobody", "secret"), ("", "secret"), ("ward", "")):
        with pytest.raises(Unauthenticated):
            ask(guard, http(basic(name, password)))


def test_the_one_user_of_the_configuration_and_those_of_a_file_are_let_in(tmp_path: Path) -> None:
    guard = build(username="admin", password="root", token_path=users(tmp_path, ward="secret"))
    assert ask(guard, http(basic("admin", "root"))) == "admin"
    assert ask(guard, http(basic("ward", "secret"))) == "ward"
    with pytest.raises(Unauthenticated):
        ask(guard, http(basic("admin", "secret")))


def test_an_unusable_file_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "users").touch()
    with pytest.raises(ConfigurationError, match="there is no user in it"):
        build(token_path=str(tmp_path / "users"))


@pytest.mark.parametrize("character", ["\0", "\x1f", "\x7f"])
def test_control_characters_are_in_no_credentials(tmp_path: Path, character: str) -> None:
    guard = build(username="user", password=f"se{character}cret")
    with pytest.raises(Unauthenticated):
        ask(guard, http(basic("user", f"se{character}cret")))


def test_a_failed_login_is_logged_with_the_address_and_without_what_was_given() -> None:
    guard = build(username="user", password="secret")
    with capturedLogs() as events:
        for authorization in (None, basic("sesame", "open")):
            with pytest.raises(Unauthenticated):
                ask(guard, http(authorization))
    (event,) = events
    line = formatEvent(event)
    assert line == "guard: failed login from 192.0.2.1: no user has this name and password"
    assert "sesame" not in repr(event)


def test_a_changed_file_counts_from_the_next_look(tmp_path: Path) -> None:
    clock = Clock()
    guard = build(clock, token_path=users(tmp_path, ward="secret"))
    guard.start()
    users(tmp_path, nurse="secret", ward="other")
    clock.advance(LOOK_SECS)
    assert ask(guard, http(basic("nurse", "secret"))) == "nurse"
    with pytest.raises(Unauthenticated):
        ask(guard, http(basic("ward", "secret")))
    guard.stop()
    assert clock.getDelayedCalls() == []


def test_without_a_file_there_is_nothing_to_start_or_stop() -> None:
    clock = Clock()
    guard = build(clock, username="user", password="secret")
    guard.start()
    assert clock.getDelayedCalls() == []
    assert guard.stop().called


@pytest_twisted.ensureDeferred
async def test_passwords_are_hashed_in_threads_of_its_own(tmp_path: Path) -> None:
    from twisted.internet import reactor

    options = BasicAuthOptions(token_path=users(tmp_path, ward="secret"))
    settings = SimpleNamespace(name="guard", options=options, authentication=None)
    configuration: Any = SimpleNamespace(authentications={})
    guard = BasicAuth(Context(settings, configuration, reactor))
    guard.start()
    try:
        passed = await guard.intercept(Request(http(basic("ward", "secret")), "192.0.2.1", "id"), threads_now)
    finally:
        await guard.stop()
    assert passed.status == 200


def threads_now(request: Request) -> "Deferred[Reply]":
    assert any("passwords of guard" in thread.name for thread in threading.enumerate())
    return succeed(Reply())
