"""What has begun stops, once, in the opposite order; and who has to wait for a folder."""

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock

from harmonygw.config.model import ListeningAddress
from harmonygw.errors import ConfigurationError
from harmonygw.service.life import ENDING_SECS, Life, all_within, call, text

diary: list[str] = []


@pytest.fixture(autouse=True)
def empty() -> None:
    diary.clear()


class Part:
    def __init__(self, name: str, folder: str | None = None) -> None:
        self.name = name
        self.folder = folder

    def start(self) -> None:
        diary.append(f"{self.name} starts")

    def stop(self) -> Any:
        diary.append(f"{self.name} stops")


class Listening(Part):
    def listen(self) -> None:
        diary.append(f"{self.name} listens")


class Slow(Part):
    stopping: "Deferred[None]"

    def stop(self) -> Any:
        super().stop()
        self.stopping = Deferred()
        return self.stopping


class Taken(Part):
    def start(self) -> None:
        raise CannotListenError("127.0.0.1", 104, OSError(98, "in use"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def life(clock: Clock) -> Life:
    return Life(clock)


def placed(*parts: Part) -> list[tuple[str, Part]]:
    return [(f"backends.{part.name}", part) for part in parts]


def do(coroutine: Any) -> list[Any]:
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(found.append, lambda failure: found.append(failure.value))
    return found


def test_what_has_begun_stops_the_last_one_first_and_once(life: Life) -> None:
    parts = placed(Part("a"), Listening("b"), Part("c"))
    life.listen(parts[1][1])
    do(life.start(parts[:2]))
    assert [life.has(part) for _, part in parts] == [True, True, False]
    do(life.stop(parts))
    do(life.stop(parts))
    assert diary == ["b listens", "a starts", "b starts", "b stops", "a stops"]
    assert not any(life.has(part) for _, part in parts)


def test_what_only_listens_has_begun(life: Life) -> None:
    parts = placed(Part("a"), Listening("b"))
    for _, part in parts:
        life.listen(part)
    do(life.stop(parts))
    assert diary == ["b listens", "b stops", "a stops"]


def test_an_address_that_cannot_be_had_is_named_with_the_part(life: Life) -> None:
    parts = placed(Part("a"), Taken("b"), Part("c"))
    (error,) = do(life.start(parts))
    assert isinstance(error, ConfigurationError)
    assert str(error) == "backends.b: cannot listen on 127.0.0.1:104: in use"
    assert [life.has(part) for _, part in parts] == [True, True, False]


def test_what_does_not_stop_is_left_behind(life: Life, clock: Clock, log: list[str]) -> None:
    stopped = do(life.stop(()))
    parts = placed(Part("a"), Slow("b"))
    do(life.start(parts))
    stopped = do(life.stop(parts))
    clock.advance(ENDING_SECS - 0.1)
    assert (stopped, diary[-1]) == ([], "b stops")
    clock.advance(0.1)
    assert (stopped, diary[-1]) == ([None], "a stops")
    assert log == ["critical: backends.b did not stop (TimeoutError)"]
    assert clock.getDelayedCalls() == []


def test_a_stop_that_is_cancelled_stops_no_more(life: Life) -> None:
    parts = placed(Part("a"), Slow("b"))
    do(life.start(parts))
    stopping = Deferred.fromCoroutine(life.stop(parts))
    stopping.cancel()
    failures: list[Any] = []
    stopping.addErrback(failures.append)
    assert failures[0].type is CancelledError
    assert diary[-1] == "b stops"


def test_who_wants_the_folder_of_another_waits_until_that_has_stopped(life: Life, clock: Clock) -> None:
    old, new, elsewhere, none = Slow("old", "f"), Part("new", "f"), Part("elsewhere", "g"), Part("none")
    assert not life.is_held_up(new)
    do(life.start(placed(old)))
    assert [life.is_held_up(one) for one in (old, new, elsewhere, none)] == [False, True, False, False]
    do(life.stop(placed(old)))
    assert life.is_held_up(new), "it is still closing its folder"
    old.stopping.callback(None)
    assert not life.is_held_up(new)
    assert clock.getDelayedCalls() == []


# What is waited for


def test_all_within_knows_as_soon_as_all_have(clock: Clock) -> None:
    first, second = Deferred[None](), Deferred[None]()
    known = all_within(clock, 5, [first, second])
    first.errback(ZeroDivisionError())
    assert not known.called
    second.callback(None)
    assert known.result is True
    assert clock.getDelayedCalls() == []


def test_all_within_ends_with_its_time(clock: Clock) -> None:
    late = Deferred[None]()
    known = all_within(clock, 5, [late])
    clock.advance(4.9)
    assert not known.called
    clock.advance(0.1)
    assert known.result is False
    late.callback(None)
    assert known.result is False


def test_all_within_leaves_nothing_when_it_is_cancelled(clock: Clock) -> None:
    late = Deferred[None]()
    known = all_within(clock, 5, [late])
    known.cancel()
    failures: list[Any] = []
    known.addErrback(failures.append)
    late.callback(None)
    assert (failures[0].type, clock.getDelayedCalls()) == (CancelledError, [])


def test_the_first_method_that_there_is_is_called() -> None:
    assert call(Slow("a"), "retire", "stop").called is False
    assert call(Part("b"), "retire", "stop").called
    assert call(Part("c"), "retire").called
    assert diary == ["a stops", "b stops"]


def test_addresses_are_written_as_in_urls() -> None:
    assert text(ListeningAddress("::1", 80)) == "[::1]:80"
    assert text(ListeningAddress("127.0.0.1", 80)) == "127.0.0.1:80"
