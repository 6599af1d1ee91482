"""Tokens and keys: who gets through, and as whom."""

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from harmonygw.config.middleware_options import TokenAuthOptions
from harmonygw.config.system import Authentication, AuthenticationOptions
from harmonygw.errors import AmbiguousCredentials, ConfigurationError, Denied, Unauthenticated
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Reply, Request
from harmonygw.middleware.authentication.bearer import CHALLENGE, INVALID_TOKEN
from harmonygw.middleware.token_auth import TokenAuth
from harmonygw.pipeline import Context


def build(method: Any, token: str = "abc", **options: str) -> TokenAuth:
    table = Authentication(method, AuthenticationOptions(token=token, **options))
    settings = SimpleNamespace(name="guard", options=TokenAuthOptions(), authentication="viewer")
    configuration: Any = SimpleNamespace(authentications={"viewer": table})
    return TokenAuth(Context(settings, configuration, Clock()))


def ask(guard: TokenAuth, origin: HTTPOrigin | AssociationOrigin) -> Request:
    """Return the request that goes on; raises what refuses it."""
    passed: list[Request] = []

    def proceed(request: Request) -> "Deferred[Reply]":
        passed.append(request)
        return succeed(Reply())

    outcome: list[Any] = []
    Deferred.fromCoroutine(guard.intercept(Request(origin, "192.0.2.1", "id"), proceed)).addBoth(outcome.append)
    if hasattr(outcome[0], "raiseException"):
        assert passed == []
        outcome[0].raiseException()
    return passed[0]


def http(**headers: str) -> HTTPOrigin:
    return HTTPOrigin("GET", ("studies",), headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_the_token_makes_the_name_of_its_table_the_principal() -> None:
    passed = ask(build("bearer"), http(authorization="Bearer abc"))
    assert passed.principal == passed.record.principal == "viewer"
    assert isinstance(passed.origin, HTTPOrigin)
    assert passed.origin.headers == {"authorization": "Bearer abc"}


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({}, CHALLENGE),
        ({"x_api_key": "abc"}, CHALLENGE),
        ({"authorization": "Basic abc"}, CHALLENGE),
        ({"authorization": "Bearer ab"}, INVALID_TOKEN),
        ({"authorization": "Bearer abcd"}, INVALID_TOKEN),
        ({"authorization": "Bearer ABC"}, INVALID_TOKEN),
    ],
)
def test_without_the_token_nobody_gets_through(headers: dict[str, str], challenge: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        ask(build("bearer"), http(**headers))
    assert refused.value.challenge == challenge


def test_a_token_in_two_ways_is_refused() -> None:
    with pytest.raises(AmbiguousCredentials):
        ask(build("bearer"), http(authorization="Bearer abc, Bearer abc"))


@pytest.mark.parametrize("header", ["X-API-Key", "X-Clinic"])
def test_the_key_is_in_its_header_and_goes_no_further(header: str) -> None:
    name = header.lower().replace("-", "_")
    passed = ask(build("api_key", "a, b", header=header), http(accept="*/*", **{name: "a, b"}))
    assert passed.principal == "viewer"
    assert isinstance(passed.origin, HTTPOrigin)
    assert passed.origin.headers == {"accept": "*/*"}


@pytest.mark.parametrize(
    "headers", [{}, {"x_api_key": ""}, {"x_api_key": "abc, abc"}, {"x_api_key": "ab"}, {"authorization": "Bearer abc"}]
)
def test_without_the_key_nobody_gets_through(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated) as refused:
        ask(build("api_key"), http(**headers))
    assert refused.value.challenge == 'ApiKey realm="harmonygw", header="X-API-Key"'


@pytest.mark.parametrize("method", ["bearer", "api_key"])
def test_an_association_is_refused(method: str) -> None:
    with pytest.raises(Denied):
        ask(build(method), AssociationOrigin("CT1", "GATEWAY"))


def test_a_wrong_token_is_logged_with_the_address_and_a_missing_one_is_not() -> None:
    tries = [("bearer", {}), ("bearer", {"authorization": "Bearer wrong"})]
    tries += [("api_key", {}), ("api_key", {"x_api_key": "wrong"})]
    with capturedLogs() as events:
        for method, headers in tries:
            with pytest.raises(Unauthenticated):
                ask(build(method), http(**headers))
    assert [formatEvent(event) for event in events] == [
        "guard: failed login from 192.0.2.1: the token is not valid",
        "guard: failed login from 192.0.2.1: the token is not valid",
    ]
    assert "wrong" not in repr(events)


def test_a_token_that_nobody_could_send_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match=r"authentications\.viewer: a token that a client can send has"):
        build("bearer", "a b")


def test_another_method_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match="give an authentication of method bearer or api_key"):
        build("none")
