"""The queue of reloads: one at a time, one that waits, and the end."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.errors import ConfigurationError, TransportError
from harmonygw.service.reloading import Reloads


class Performing:
    """What does reloads, each when it is let."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.under_way: list[Deferred[dict[str, Any]]] = []
        self.cancelled = 0

    async def __call__(self, source: Callable[[], Any]) -> dict[str, Any]:
        self.asked.append(source())
        self.under_way.append(Deferred())
        try:
            return await self.under_way[-1]
        except CancelledError:
            self.cancelled += 1
            raise


def result(deferred: "Deferred[Any]") -> list[Any]:
    found: list[Any] = []
    deferred.addCallbacks(found.append, lambda failure: found.append(failure.value))
    return found


@pytest.fixture
def performing() -> Performing:
    return Performing()


@pytest.fixture
def reloads(performing: Performing) -> Reloads:
    return Reloads(performing)


def test_one_is_done_at_once(reloads: Reloads, performing: Performing) -> None:
    told = result(reloads.ask(lambda: "a"))  # type: ignore[arg-type, return-value]
    assert (performing.asked, told) == (["a"], [])
    performing.under_way[0].callback({"changed": {}})
    assert told == [{"changed": {}}]
    result(reloads.ask(lambda: "b"))  # type: ignore[arg-type, return-value]
    assert performing.asked == ["a", "b"]


def test_of_those_that_wait_the_last_one_is_done_for_all(reloads: Reloads, performing: Performing) -> None:
    told = [result(reloads.ask(lambda name=name: name)) for name in "abc"]  # type: ignore[misc]
    assert performing.asked == ["a"]
    performing.under_way[0].callback({"done": "a"})
    assert (performing.asked, told) == (["a", "c"], [[{"done": "a"}], [], []])
    performing.under_way[1].callback({"done": "c"})
    assert told == [[{"done": "a"}], [{"done": "c"}], [{"done": "c"}]]


@pytest.mark.parametrize("error", [ConfigurationError(("wrong",)), ZeroDivisionError()])
def test_one_that_fails_is_told_and_the_next_one_has_its_turn(
    error: Exception, reloads: Reloads, performing: Performing
) -> None:
    told = [result(reloads.ask(lambda name=name: name)) for name in "ab"]  # type: ignore[misc]
    performing.under_way[0].errback(error)
    assert told == [[error], []]
    performing.under_way[1].callback({})
    assert told == [[error], [{}]]


def test_who_does_not_wait_any_more_does_not_end_it(reloads: Reloads, performing: Performing) -> None:
    waiting = reloads.ask(lambda: "a")  # type: ignore[arg-type, return-value]
    told = result(waiting)
    waiting.cancel()
    assert isinstance(told[0], CancelledError)
    assert performing.cancelled == 0
    performing.under_way[0].callback({})
    assert len(told) == 1


def test_a_stop_breaks_it_off_and_refuses_the_others(reloads: Reloads, performing: Performing) -> None:
    told = [result(reloads.ask(lambda name=name: name)) for name in "ab"]  # type: ignore[misc]
    stopped = reloads.stop()
    told.append(result(reloads.ask(lambda: "c")))  # type: ignore[arg-type, return-value]
    assert stopped.called
    assert (performing.asked, performing.cancelled) == (["a"], 1)
    assert [type(error) for (error,) in told] == [TransportError] * 3
    assert str(told[0][0]) == "the gateway is being stopped"


def test_a_stop_without_any_is_at_once(reloads: Reloads) -> None:
    assert reloads.stop().called
