import inspect

import pytest

from harmonygw import errors
from harmonygw.errors import (
    BadRequest,
    Busy,
    ConfigurationError,
    Denied,
    HarmonyError,
    MethodNotAllowed,
    PeerError,
    RangeNotSatisfiable,
    RateLimited,
    RejectedError,
    TooLarge,
)

TREE = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, HarmonyError)]


@pytest.mark.parametrize("kind", TREE)
def test_every_error_tells_the_operator_what_it_means(kind: type[HarmonyError]) -> None:
    assert kind.__doc__
    assert kind.__doc__.strip().endswith((".", "log."))


def test_the_tree_has_one_root_and_nothing_else_in_its_module() -> None:
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass)]
    assert classes == TREE


@pytest.mark.parametrize("kind", [one for one in TREE if one is not ConfigurationError])
def test_what_the_client_may_read_is_apart_from_what_the_log_adds(kind: type[HarmonyError]) -> None:
    error = kind("The request is not allowed.", log_detail="policy inside, rule wards")
    assert str(error) == error.detail == "The request is not allowed."
    assert error.log_detail == "policy inside, rule wards"
    assert "wards" not in repr(error)


def test_a_rate_limit_is_a_kind_of_being_busy_and_a_denial_is_not() -> None:
    assert issubclass(RateLimited, Busy)
    assert not issubclass(RateLimited, Denied)
    assert issubclass(TooLarge, BadRequest)


def test_busy_says_when_to_come_again() -> None:
    assert Busy("full").retry_after == 1
    assert RateLimited("slowly", retry_after=30).retry_after == 30


def test_a_refusal_knows_what_would_be_right() -> None:
    assert MethodNotAllowed("no").allowed == ()
    assert MethodNotAllowed("no", allowed=("GET", "POST")).allowed == ("GET", "POST")
    assert RangeNotSatisfiable("no").length is None
    assert RangeNotSatisfiable("no", length=0).length == 0


def test_a_peer_error_knows_its_a_abort() -> None:
    assert (PeerError("x").source, PeerError("x").reason) == (2, 0)
    error = PeerError("x", source=0, reason=6)
    assert (error.source, error.reason) == (0, 6)


@pytest.mark.parametrize(("result", "transient"), [(None, False), (1, False), (2, True)])
def test_only_a_transient_rejection_is_worth_another_try(result: int | None, transient: bool) -> None:
    assert RejectedError("no", result=result, source=3, reason=2).transient is transient


def test_a_rejection_carries_what_the_peer_said() -> None:
    error = RejectedError("no", result=1, source=2, reason=7, status=0xA700)
    assert (error.result, error.source, error.reason, error.status) == (1, 2, 7, 0xA700)


def test_a_configuration_error_holds_each_problem_and_reads_as_all_of_them() -> None:
    error = ConfigurationError(("a.toml:1: one", "b.toml:2: two"))
    assert error.problems == ("a.toml:1: one", "b.toml:2: two")
    assert str(error) == "a.toml:1: one\nb.toml:2: two"
