"""Feeds and bodies: backpressure at its edges, ends, failures, aborts, and who is told of them."""

from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.errors import PeerError, TransportError
from harmonygw.streams import Begun, Body, Cancelled, Feed, Instance, Pieces, Stream


class Tap:
    """A flow that notes how it is turned."""

    def __init__(self) -> None:
        self.turned = ""

    def pause(self) -> None:
        self.turned += "p"

    def resume(self) -> None:
        self.turned += "r"


class Reading:
    """A coroutine under way, and what became of it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.outcome: list[Any] = []
        self.deferred: Deferred[Any] = Deferred.fromCoroutine(coroutine)
        self.deferred.addCallbacks(self.outcome.append, lambda failure: self.outcome.append(failure.value))

    @property
    def waits(self) -> bool:
        return not self.outcome

    @property
    def result(self) -> Any:
        (outcome,) = self.outcome
        return outcome


async def all_of(stream: Stream[Any]) -> list[Any]:
    return [item async for item in stream]


def take(stream: Stream[Any]) -> Any:
    """Return the next item, or the exception in its place; it must be there."""

    async def one() -> Any:
        try:
            return await stream.__anext__()
        except StopAsyncIteration:
            return "end"

    return Reading(one()).result


def outcome_of(deferred: "Deferred[None]") -> Any:
    found: list[Any] = []
    deferred.addCallbacks(found.append, lambda failure: found.append(failure.value))
    return found[0] if found else "not yet"


LOST = TransportError("the connection was lost")
WRONG = PeerError("the object was not asked for")


class TestDelivery:
    def test_items_come_in_their_order_and_then_the_end(self) -> None:
        feed: Feed[int] = Feed(limit=10)
        for item in (1, 2, 3):
            feed.put(item)
        feed.end()
        assert Reading(all_of(feed)).result == [1, 2, 3]

    def test_a_waiting_reader_gets_an_item_at_once(self) -> None:
        feed: Feed[int] = Feed(limit=10)
        reading = Reading(all_of(feed))
        feed.put(1)
        feed.put(2)
        assert feed.held == 0
        assert reading.waits
        feed.end()
        assert reading.result == [1, 2]

    def test_the_end_comes_again_to_whoever_reads_on(self) -> None:
        feed: Feed[int] = Feed(limit=10)
        feed.end()
        assert [take(feed), take(feed)] == ["end", "end"]

    def test_nothing_is_delivered_after_the_end(self) -> None:
        feed: Feed[int] = Feed(limit=10)
        feed.end()
        feed.put(1)
        feed.end()
        assert feed.held == 0
        assert Reading(all_of(feed)).result == []

    def test_a_stream_has_one_reader(self) -> None:
        feed: Feed[int] = Feed(limit=10)
        first = Reading(all_of(feed))
        second = Reading(all_of(feed))
        assert isinstance(second.result, RuntimeError)
        feed.end()
        assert first.result == []


class TestBackpressure:
    def test_the_producer_is_paused_at_exactly_the_limit(self) -> None:
        tap = Tap()
        feed: Feed[str] = Feed(limit=10, flow=tap)
        feed.put("a", 9)
        assert tap.turned == ""
        feed.put("b", 1)
        assert (tap.turned, feed.held) == ("p", 10)

    def test_it_is_resumed_when_exactly_half_is_left(self) -> None:
        tap = Tap()
        feed: Feed[str] = Feed(limit=10, flow=tap)
        for item, cost in (("a", 4), ("b", 1), ("c", 5)):
            feed.put(item, cost)
        take(feed)
        assert (tap.turned, feed.held) == ("p", 6)
        take(feed)
        assert (tap.turned, feed.held) == ("pr", 5)

    def test_what_a_paused_producer_still_delivers_is_kept_and_pauses_no_second_time(self) -> None:
        tap = Tap()
        feed: Feed[str] = Feed(limit=10, flow=tap)
        for item in "abc":
            feed.put(item, 10)
        assert (tap.turned, feed.held) == ("p", 30)
        feed.end()
        assert Reading(all_of(feed)).result == ["a", "b", "c"]
        assert tap.turned == "pr"

    def test_it_is_paused_anew_after_it_was_resumed(self) -> None:
        tap = Tap()
        feed: Feed[str] = Feed(limit=1, flow=tap)
        for item in "ab":
            feed.put(item)
            take(feed)
        assert tap.turned == "prpr"

    def test_a_reader_that_waits_is_never_a_reason_to_pause(self) -> None:
        tap = Tap()
        feed: Feed[str] = Feed(limit=1, flow=tap)
        reading = Reading(all_of(feed))
        feed.put("a", 1000)
        assert reading.waits
        assert (tap.turned, feed.held) == ("", 0)

    def test_a_producer_may_deliver_while_it_is_resumed(self) -> None:
        class Eager(Tap):
            def resume(self) -> None:
                super().resume()
                feed.put("more")

        tap = Eager()
        feed: Feed[str] = Feed(limit=1, flow=tap)
        feed.put("first")
        assert [take(feed), take(feed)] == ["first", "more"]
        assert tap.turned == "prprp"

    def test_without_a_flow_the_limit_slows_nobody(self) -> None:
        feed: Feed[str] = Feed(limit=1)
        feed.put("a")
        feed.put("b")
        feed.end()
        assert Reading(all_of(feed)).result == ["a", "b"]


class TestFailure:
    def test_what_waits_is_dropped_and_the_reader_gets_the_error(self) -> None:
        feed: Feed[str] = Feed(limit=10)
        feed.put("a")
        feed.fail(LOST)
        assert feed.held == 0
        assert [take(feed), take(feed)] == [LOST, LOST]

    def test_a_waiting_reader_gets_the_error(self) -> None:
        feed: Feed[str] = Feed(limit=10)
        reading = Reading(all_of(feed))
        feed.fail(LOST)
        assert reading.result is LOST

    def test_only_the_first_end_counts(self) -> None:
        feed: Feed[str] = Feed(limit=10)
        feed.put("a")
        feed.end()
        feed.fail(LOST)
        assert Reading(all_of(feed)).result == ["a"]

    def test_the_producer_is_left_alone_from_then_on(self) -> None:
        """A body that failed because its client has gone must not start that client's connection again."""
        tap = Tap()
        told: list[BaseException] = []
        feed: Feed[str] = Feed(limit=1, flow=tap, on_abort=told.append)
        feed.put("a")
        feed.fail(LOST)
        feed.abort(WRONG)
        assert tap.turned == "p"
        assert told == []
        assert take(feed) is LOST


class TestAbort:
    def test_the_producer_is_told_once_and_flows_again(self) -> None:
        tap = Tap()
        told: list[BaseException] = []
        feed: Feed[str] = Feed(limit=1, flow=tap, on_abort=told.append)
        feed.put("a")
        feed.abort(WRONG)
        feed.abort(LOST)
        assert told == [WRONG]
        assert tap.turned == "pr"
        assert (feed.done, feed.held) == (True, 0)

    def test_the_producer_may_stop_before_it_is_let_go(self) -> None:
        order: list[str] = []

        class Producer(Tap):
            def resume(self) -> None:
                order.append("resume")

        feed: Feed[str] = Feed(limit=1, flow=Producer(), on_abort=lambda reason: order.append("abort"))
        feed.put("a")
        feed.abort(WRONG)
        assert order == ["abort", "resume"]

    def test_nothing_is_delivered_after_it(self) -> None:
        feed: Feed[str] = Feed(limit=10)
        feed.abort(WRONG)
        feed.put("a")
        feed.end()
        assert feed.held == 0
        assert take(feed) is WRONG

    def test_after_the_end_it_drops_what_waits_and_the_rest_does_not_look_whole(self) -> None:
        tap = Tap()
        told: list[BaseException] = []
        feed: Feed[str] = Feed(limit=1, flow=tap, on_abort=told.append)
        feed.put("a")
        feed.end()
        feed.abort(WRONG)
        assert told == []
        assert tap.turned == "pr"
        assert take(feed) is WRONG

    def test_after_the_last_item_was_read_it_changes_nothing(self) -> None:
        feed: Feed[str] = Feed(limit=1)
        feed.end()
        feed.abort(WRONG)
        assert take(feed) == "end"

    def test_a_reader_that_waits_gets_the_reason(self) -> None:
        feed: Feed[str] = Feed(limit=1)
        reading = Reading(all_of(feed))
        feed.abort(WRONG)
        assert reading.result is WRONG

    def test_aclose_is_an_abort_without_a_reason_of_its_own(self) -> None:
        told: list[BaseException] = []
        feed: Feed[str] = Feed(limit=1, on_abort=told.append)
        assert Reading(feed.aclose()).result is None
        assert isinstance(told[0], Cancelled)

    def test_cancelling_the_reader_aborts_the_feed(self) -> None:
        told: list[BaseException] = []
        feed: Feed[str] = Feed(limit=1, on_abort=told.append)
        reading = Reading(all_of(feed))
        reading.deferred.cancel()
        assert isinstance(reading.result, CancelledError)
        assert [type(reason) for reason in told] == [CancelledError]
        assert feed.done


class TestWhenDone:
    def test_it_fires_at_the_end_even_when_something_waits(self) -> None:
        feed: Feed[str] = Feed(limit=10)
        done = feed.when_done()
        feed.put("a")
        assert outcome_of(done) == "not yet"
        feed.end()
        assert outcome_of(feed.when_done()) is None
        assert take(feed) == "a"

    @pytest.mark.parametrize("how", ["fail", "abort"])
    def test_it_fails_with_what_ended_the_feed(self, how: str) -> None:
        feed: Feed[str] = Feed(limit=10)
        before = [feed.when_done(), feed.when_done()]
        getattr(feed, how)(LOST)
        assert [outcome_of(done) for done in before] == [LOST, LOST]
        assert outcome_of(feed.when_done()) is LOST

    def test_whoever_is_told_may_cancel_the_reader(self) -> None:
        feed: Feed[str] = Feed(limit=10)
        reading = Reading(all_of(feed))
        feed.when_done().addCallback(lambda _: reading.deferred.cancel())
        feed.end()
        assert isinstance(reading.result, CancelledError)

    def test_one_who_no_longer_waits_is_passed_over(self) -> None:
        feed: Feed[str] = Feed(limit=10)
        given_up = feed.when_done()
        given_up.cancel()
        assert isinstance(outcome_of(given_up), CancelledError)
        other = feed.when_done()
        feed.end()
        assert outcome_of(other) is None


def body_of(*reads: bytes, length: int | None = None, end: bool = True) -> tuple[Body, Feed[Pieces], list[Any]]:
    told: list[Any] = []
    feed: Feed[Pieces] = Feed(limit=100, on_abort=told.append)
    for read in reads:
        feed.put((read, memoryview(read)))
    if end:
        feed.end()
    return Body(feed, length=length), feed, told


class TestBody:
    def test_of_bytes_it_knows_its_length_and_leaves_out_what_is_empty(self) -> None:
        body = Body.of(b"ab", b"", b"c")
        assert body.length == 3
        assert body.whole == (b"ab", b"", b"c")
        assert Reading(all_of(body)).result == [(b"ab", b"c")]
        assert body.size == 3

    @pytest.mark.parametrize("pieces", [(), (b"",)])
    def test_of_no_bytes_it_is_empty(self, pieces: tuple[bytes, ...]) -> None:
        body = Body.of(*pieces)
        assert body.length == 0
        assert Reading(all_of(body)).result == []

    def test_it_counts_what_passes_and_is_done_when_the_last_byte_was_read(self) -> None:
        body, _, _ = body_of(b"ab", b"cde", length=10)
        done = body.when_done()
        assert (body.size, body.length, body.whole) == (0, 10, None)
        take(body)
        assert body.size == 4
        take(body)
        assert body.size == 10
        assert outcome_of(done) == "not yet"
        assert take(body) == "end"
        assert outcome_of(body.when_done()) is None

    def test_what_fails_it_fails_its_completion(self) -> None:
        body, feed, _ = body_of(end=False)
        done = body.when_done()
        reading = Reading(all_of(body))
        feed.fail(LOST)
        assert reading.result is LOST
        assert outcome_of(done) is LOST

    def test_to_abort_it_tells_its_maker_and_fires_with_the_reason(self) -> None:
        body, _, told = body_of(b"ab", end=False)
        done = body.when_done()
        Reading(body.abort(WRONG))
        assert outcome_of(done) is WRONG
        assert [type(reason) for reason in told] == [Cancelled]

    def test_to_close_it_gives_no_reason_of_its_own(self) -> None:
        body, _, told = body_of(b"ab", end=False)
        Reading(body.aclose())
        assert isinstance(outcome_of(body.when_done()), Cancelled)
        assert len(told) == 1

    def test_to_close_it_after_its_end_is_harmless(self) -> None:
        body, _, told = body_of(b"ab")
        Reading(all_of(body))
        assert Reading(body.aclose()).result is None
        assert outcome_of(body.when_done()) is None
        assert told == []

    def test_cancelling_its_reader_is_what_it_ends_with(self) -> None:
        body, _, told = body_of(end=False)
        reading = Reading(all_of(body))
        reading.deferred.cancel()
        assert isinstance(outcome_of(body.when_done()), CancelledError)
        assert [type(reason) for reason in told] == [CancelledError]

    def test_one_that_was_given_up_does_not_end_cleanly_for_who_reads_on(self) -> None:
        closed: list[bool] = []

        async def source() -> AsyncGenerator[Pieces, None]:
            try:
                yield (b"ab",)
                yield (b"cd",)
            finally:
                closed.append(True)

        body = Body(source())
        take(body)
        Reading(body.abort(WRONG))
        assert closed == [True]
        assert take(body) is WRONG


def test_an_instance_without_a_scan_has_no_leading_attributes() -> None:
    instance = Instance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1", Body.of())
    assert instance.leading == {}


def test_a_stream_that_has_begun_is_read_from_its_first_item() -> None:
    feed: Feed[int] = Feed(limit=10)
    feed.put(1)
    feed.put(2)
    feed.end()
    begun = Reading(Begun.of(feed)).result
    assert feed.held == 1
    assert Reading(all_of(begun)).result == [1, 2]
    empty: Feed[int] = Feed(limit=1)
    empty.end()
    assert Reading(all_of(Reading(Begun.of(empty)).result)).result == []


def test_a_stream_that_fails_before_its_first_item_is_closed() -> None:
    told: list[BaseException] = []

    async def failing() -> AsyncGenerator[int, None]:
        try:
            raise ValueError("no")
            yield 1
        finally:
            told.append(Cancelled())

    assert isinstance(Reading(Begun.of(failing())).result, ValueError)
    assert len(told) == 1


def test_giving_a_stream_up_that_has_begun_gives_its_rest_up() -> None:
    told: list[BaseException] = []
    feed: Feed[int] = Feed(limit=10, on_abort=told.append)
    feed.put(1)
    begun = Reading(Begun.of(feed)).result
    assert Reading(begun.aclose()).result is None
    assert len(told) == 1
    assert isinstance(Reading(begun.__anext__()).result, Cancelled)
