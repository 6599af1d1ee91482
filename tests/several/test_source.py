"""Asking one archive: within its time to the moment, and without waiting for how it takes being given up."""

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from harmonygw.errors import HarmonyError, TimedOut, TransportError
from harmonygw.exchange import Reply
from harmonygw.several.source import Source, ask, following, in_the_background, together, within
from tests.several.archives import PACS, find, image, named, read, request, result_of, series, study


class Stubborn:
    """A backend that takes its time to notice that it is not asked any more."""

    def __init__(self) -> None:
        self.noticed: Deferred[Any] = Deferred()
        self.closed = False
        self.matches = self

    async def respond(self, request: Any) -> Reply:
        try:
            await Deferred()
        except CancelledError:
            await self.noticed
        return Reply(result=self)

    warnings: list[str] = []  # noqa: RUF012 - never changed

    async def aclose(self) -> None:
        self.closed = True


def asked(source: Source, clock: Clock, count: int = 10, **others: Any) -> list[Any]:
    answers: list[Any] = []
    Deferred.fromCoroutine(ask(source, request(), find(), count=count, clock=clock, **others)).addBoth(answers.append)
    return answers


def pacs(*uids: str) -> PACS:
    return PACS(*(study(uid, series(f"{uid}.1", image(f"{uid}.1.1"))) for uid in uids))


def test_an_answer_is_read_to_its_end_or_as_far_as_it_is_wanted() -> None:
    archive = pacs("1", "2", "3")
    [answer] = asked(named("A", archive), Clock())
    assert (len(answer.rows), answer.ended, answer.error) == (3, True, None)
    [answer] = asked(named("A", archive), Clock(), count=2)
    assert (len(answer.rows), answer.ended, archive.cancelled) == (2, False, [False, True])
    [answer] = asked(named("A", archive), Clock(), wanted=lambda row: row["0020000D"]["Value"] == ["3"])
    assert (len(answer.rows), answer.ended) == (1, True)


def test_what_it_notes_is_noted_with_its_name() -> None:
    class Noting(PACS):
        async def respond(self, request: Any) -> Reply:
            request.record.note("retried")
            return await super().respond(request)

    told = request()
    result_of(ask(named("A", Noting()), told, find(), count=1, clock=Clock()))
    assert told.record.notes == ["A: retried"]
    assert told.record.matches == 0


def test_its_time_is_over_at_the_moment_though_it_does_not_notice() -> None:
    stubborn, clock = Stubborn(), Clock()
    answers = asked(named("A", stubborn), clock)
    clock.advance(4.999)
    assert answers == []
    clock.advance(0.001)
    [answer] = answers
    assert isinstance(answer.error, TimedOut)
    assert str(answer.error) == "A did not answer within 5 s (source_timeout_secs)"
    assert not stubborn.closed
    stubborn.noticed.callback(None)
    assert stubborn.closed
    assert clock.getDelayedCalls() == []


def test_each_wait_has_the_whole_time() -> None:
    gates: list[Deferred[Any]] = []

    class Slow(PACS):
        def _matches(self, find: Any) -> Any:
            return super()._matches(find)

    class Gated:
        warnings: list[str] = []  # noqa: RUF012 - never changed

        def __init__(self, rows: list[Any]) -> None:
            self.rows = rows

        def __aiter__(self) -> "Gated":
            return self

        async def __anext__(self) -> Any:
            gate: Deferred[Any] = Deferred()
            gates.append(gate)
            await gate
            if not self.rows:
                raise StopAsyncIteration
            return self.rows.pop(0)

        async def aclose(self) -> None:
            pass

    class Backend:
        async def respond(self, request: Any) -> Reply:
            return Reply(result=Gated([{}, {}]))

    clock = Clock()
    answers = asked(named("A", Backend()), clock)
    clock.advance(4)
    gates[0].callback(None)
    clock.advance(4)
    gates[1].callback(None)
    clock.advance(5)
    [answer] = answers
    assert (len(answer.rows), type(answer.error)) == (2, TimedOut)


def test_what_is_ours_to_mend_is_not_its_failure() -> None:
    archive = pacs()
    archive.error = ZeroDivisionError()  # type: ignore[assignment]
    [failure] = asked(named("A", archive), Clock())
    assert failure.check(ZeroDivisionError)


def test_within_passes_on_what_comes_in_time() -> None:
    gate: Deferred[Any] = Deferred()
    clock = Clock()

    async def work() -> int:
        await gate
        raise TransportError("gone")

    results: list[Any] = []
    within(work(), named("A", None), clock).addBoth(results.append)
    gate.callback(None)
    assert results[0].check(TransportError)
    assert clock.getDelayedCalls() == []


def test_within_is_cancelled_with_what_it_waits_for() -> None:
    gate: Deferred[Any] = Deferred()
    clock = Clock()

    async def work() -> None:
        await gate

    waiting = within(work(), named("A", None), clock)
    results: list[Any] = []
    waiting.addBoth(results.append)
    waiting.cancel()
    assert results[0].check(CancelledError)
    assert (gate.called, clock.getDelayedCalls()) == (True, [])


def test_together_waits_for_all_and_raises_the_first_failure_in_order() -> None:
    gates: list[Deferred[Any]] = [Deferred(), Deferred()]

    async def work(index: int) -> int:
        await gates[index]
        if index == 1:
            raise HarmonyError("second")
        return index

    results: list[Any] = []
    Deferred.fromCoroutine(together(map(work, range(2)))).addBoth(results.append)
    gates[1].callback(None)
    assert results == []
    gates[0].callback(None)
    assert results[0].check(HarmonyError)
    assert result_of(together([])) == []


def test_following_is_none_at_the_end() -> None:
    async def two() -> Any:
        yield (1, 2)

    stream = two()
    assert [result_of(following(stream)), result_of(following(stream))] == [(1, 2), None]
    assert result_of(read(stream)) == []


def test_what_ends_in_the_background_may_fail() -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    in_the_background(fails())


@pytest.mark.parametrize("name", ["A", "B"])
def test_sources_are_told_apart_by_themselves(name: str) -> None:
    assert named(name, None) != named(name, None)
