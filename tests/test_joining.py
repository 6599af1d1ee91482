"""Work that is done once for everybody who wants it."""

from collections.abc import Coroutine
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.errors import NotAcceptable
from harmonygw.joining import Joining


class Special(NotAcceptable):
    def __init__(self, detail: str, *, number: int) -> None:
        super().__init__(detail)
        self.number = number


class Work:
    """Work that ends when a test says so."""

    def __init__(self) -> None:
        self.joining: Joining[str, int] = Joining()
        self.begun: list[Deferred[int]] = []

    def wait(self, key: str = "a") -> "Deferred[int]":
        async def wait() -> int:
            return await self.joining.wait(key, self.begin)

        return Deferred.fromCoroutine(wait())

    def begin(self) -> Coroutine[Any, Any, int]:
        work: Deferred[int] = Deferred()
        self.begun.append(work)

        async def run() -> int:
            return await work

        return run()


def results_of(*waits: "Deferred[int]") -> list[Any]:
    found: list[Any] = []
    for wait in waits:
        wait.addBoth(found.append)
    return found


def test_many_who_want_the_same_get_what_is_done_once() -> None:
    work = Work()
    found = results_of(work.wait(), work.wait(), work.wait("b"))
    work.begun[0].callback(1)
    work.begun[1].callback(2)
    assert found == [1, 1, 2]


def test_what_has_ended_is_begun_anew() -> None:
    work = Work()
    first = results_of(work.wait())
    work.begun[0].callback(1)
    second = results_of(work.wait())
    work.begun[1].callback(2)
    assert first + second == [1, 2]


def test_what_needs_no_waiting_is_given_at_once() -> None:
    async def now() -> int:
        return 7

    joining: Joining[str, int] = Joining()

    async def wait() -> int:
        return await joining.wait("a", now)

    assert results_of(Deferred.fromCoroutine(wait())) == [7]


def test_whoever_began_it_may_go_while_others_wait() -> None:
    work = Work()
    first, second = work.wait(), work.wait()
    found = results_of(second)
    first.addErrback(lambda failure: failure.trap(CancelledError))
    first.cancel()
    work.begun[0].callback(1)
    assert found == [1]


def test_it_is_broken_off_with_the_last_who_goes_and_begun_anew_for_the_next() -> None:
    work = Work()
    waits = [work.wait(), work.wait()]
    for wait in waits:
        wait.addErrback(lambda failure: failure.trap(CancelledError))
        wait.cancel()
    assert work.begun[0].called, "cancelled"
    found = results_of(work.wait())
    work.begun[1].callback(3)
    assert found == [3]


def test_a_failure_is_another_object_for_each_that_says_the_same() -> None:
    work = Work()
    found = results_of(work.wait(), work.wait())
    error = Special("no", number=3)
    error.log_detail = "because"
    work.begun[0].errback(error)
    first, second = (one.value for one in found)
    assert first is not second
    assert first is not error
    for one in (first, second):
        assert (type(one), one.detail, one.log_detail, one.number) == (Special, "no", "because", 3)


def test_one_who_goes_when_another_is_told_is_not_told() -> None:
    work = Work()
    first, second = work.wait(), work.wait()
    first.addCallback(lambda _: second.cancel())
    found = results_of(second)
    work.begun[0].callback(1)
    with pytest.raises(CancelledError):
        found[0].raiseException()


def test_what_is_under_way_is_waited_for_and_nothing_that_follows() -> None:
    work = Work()
    found = results_of(work.wait(), work.wait("b"))
    finished = Deferred.fromCoroutine(work.joining.finish())
    assert not finished.called
    later = results_of(work.wait("c"))
    work.begun[0].errback(NotAcceptable("no"))
    assert not finished.called
    work.begun[1].callback(2)
    assert finished.called
    assert ([type(found[0].value), found[1]], later) == ([NotAcceptable, 2], [])
    work.begun[2].callback(3)
    assert later == [3]


def test_nothing_is_under_way_to_be_waited_for() -> None:
    assert Deferred.fromCoroutine(Work().joining.finish()).called
