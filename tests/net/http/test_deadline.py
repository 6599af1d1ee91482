"""A deadline that is put off often."""

import pytest
from twisted.internet.task import Clock

from harmonygw.net.http.deadline import Deadline


class Watch:
    """A deadline on a clock, and when it was met."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.deadline = Deadline(self.clock)
        self.met: list[tuple[str, float]] = []

    def start(self, seconds: float, name: str = "") -> None:
        self.deadline.start(seconds, lambda: self.met.append((name, self.clock.seconds())))

    def pump(self, seconds: int) -> None:
        self.clock.pump([1] * seconds)


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_it_is_met_once_its_time_is_up(watch: Watch) -> None:
    watch.start(3)
    assert watch.deadline.running
    watch.pump(10)
    assert (watch.met, watch.deadline.running) == ([("", 3)], False)
    assert watch.clock.getDelayedCalls() == []


def test_one_that_is_put_off_moves_its_timer_when_that_fires(watch: Watch) -> None:
    watch.start(5, "a")
    (timer,) = watch.clock.getDelayedCalls()
    watch.pump(2)
    watch.start(5, "b")
    watch.pump(2)
    watch.start(5, "c")
    assert watch.clock.getDelayedCalls() == [timer]
    watch.pump(10)
    assert watch.met == [("c", 9)]


def test_an_earlier_one_is_not_missed(watch: Watch) -> None:
    watch.start(60, "late")
    watch.pump(1)
    watch.start(2, "early")
    watch.pump(100)
    assert watch.met == [("early", 3)]


def test_one_that_is_given_up_is_not_met(watch: Watch) -> None:
    watch.start(3)
    watch.deadline.stop()
    assert not watch.deadline.running
    watch.pump(10)
    assert watch.met == []
    watch.start(3)
    watch.pump(3)
    assert watch.met == [("", 13)]


def test_what_is_called_may_set_the_next(watch: Watch) -> None:
    watch.deadline.start(3, lambda: watch.start(3, "next"))
    watch.pump(10)
    assert watch.met == [("next", 6)]


def test_nothing_is_left_behind_at_the_end(watch: Watch) -> None:
    watch.deadline.close()
    watch.start(3)
    watch.deadline.close()
    assert (watch.clock.getDelayedCalls(), watch.deadline.running) == ([], False)
