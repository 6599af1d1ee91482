from collections.abc import AsyncGenerator

import pytest
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.backends.storage.prefetch import Prefetch


class Source:
    """Numbers without end, and a note of what was asked for; the one called `stuck` never comes."""

    def __init__(self, stuck: int = -1, error: int = -1) -> None:
        self.made = 0
        self.closed = False
        self.stuck = stuck
        self.error = error

    async def run(self) -> AsyncGenerator[int, None]:
        try:
            while True:
                if self.made == self.stuck:
                    await Deferred()
                if self.made == self.error:
                    raise OSError("broken")
                self.made += 1
                yield self.made
        finally:
            self.closed = True


def taken(prefetch: Prefetch[int], count: int) -> list[int]:
    """Take items that are there already."""

    async def take() -> list[int]:
        return [await prefetch.feed.__anext__() for _ in range(count)]

    results: list[list[int]] = []
    Deferred.fromCoroutine(take()).addCallback(results.append)
    return results[0]


def test_it_runs_ahead_to_its_limit_and_on_when_half_of_it_is_taken() -> None:
    source = Source()
    prefetch = Prefetch(source.run(), limit=4)
    ahead = [source.made]
    ahead += [(taken(prefetch, 1), source.made)[1] for _ in range(2)]

    assert ahead == [4, 4, 6]


def test_the_limit_is_in_units_of_cost() -> None:
    source = Source()
    Prefetch(source.run(), limit=10, cost=lambda number: number)

    assert source.made == 4


def test_a_second_pause_changes_nothing() -> None:
    source = Source()
    prefetch = Prefetch(source.run(), limit=4)
    prefetch.pause()

    assert (taken(prefetch, 2), source.made) == ([1, 2], 6)


@pytest.mark.parametrize("stuck", [2, -1])
def test_a_reader_that_gives_up_closes_the_source_wherever_it_is(stuck: int) -> None:
    source = Source(stuck=stuck)
    prefetch = Prefetch(source.run(), limit=4)
    prefetch.feed.abort(ConnectionError("gone"))

    assert source.closed


def test_an_error_of_the_source_reaches_the_reader() -> None:
    source = Source(error=0)
    prefetch = Prefetch(source.run(), limit=4)
    errors: list[object] = []
    Deferred.fromCoroutine(prefetch.feed.__anext__()).addErrback(lambda failure: errors.append(failure.value))

    assert [str(error) for error in errors] == ["broken"]


def test_cut_ends_the_source_and_the_reader_finds_the_error() -> None:
    source = Source(stuck=0)
    prefetch = Prefetch(source.run(), limit=4)
    errors: list[object] = []
    Deferred.fromCoroutine(prefetch.feed.__anext__()).addErrback(lambda failure: errors.append(failure.value))
    prefetch.cut(ConnectionError("stopped"))

    assert source.closed
    assert [str(error) for error in errors] == ["stopped"]


def test_a_cancelled_reader_cancels_the_source() -> None:
    source = Source(stuck=0)
    prefetch = Prefetch(source.run(), limit=4)
    reading = Deferred.fromCoroutine(prefetch.feed.__anext__())
    errors: list[object] = []
    reading.addErrback(lambda failure: errors.append(failure.type))
    reading.cancel()

    assert source.closed
    assert errors == [CancelledError]


def test_the_end_of_the_source_is_the_end_of_the_feed() -> None:
    async def three() -> AsyncGenerator[int, None]:
        for number in range(3):
            yield number

    prefetch = Prefetch(three(), limit=10)

    assert taken(prefetch, 3) == [0, 1, 2]
    assert prefetch.feed.done
    prefetch.resume()
