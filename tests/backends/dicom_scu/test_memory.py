from collections.abc import Awaitable, Callable

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from harmonygw.backends.dicom_scu.memory import Memory


class Asking:
    """Questions that are answered when a test says so."""

    def __init__(self) -> None:
        self.asked: list[Deferred[str]] = []
        self.cancelled = 0

    async def __call__(self) -> str:
        question: Deferred[str] = Deferred(lambda _: setattr(self, "cancelled", self.cancelled + 1))
        self.asked.append(question)
        return await question


def answering(*answers: str) -> Callable[[], Awaitable[str]]:
    left = list(answers)

    async def ask() -> str:
        return left.pop(0)

    return ask


def recalling(memory: Memory[str], asking: Asking, *key: str) -> "Deferred[str]":
    return Deferred.fromCoroutine(memory.recall(key or ("1.2",), asking))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> Memory[str]:
    return Memory(clock, seconds=5, entries=2)


@ensureDeferred
async def test_an_answer_is_good_until_its_time_is_over(memory: Memory[str], clock: Clock) -> None:
    ask = answering("first", "second")
    assert await memory.recall(("1.2",), ask) == "first"
    clock.advance(4.9)
    assert await memory.recall(("1.2",), ask) == "first"
    clock.advance(0.1)
    assert await memory.recall(("1.2",), ask) == "second"


@ensureDeferred
async def test_the_time_runs_from_the_question(memory: Memory[str], clock: Clock) -> None:
    asking = Asking()
    first = recalling(memory, asking)
    clock.advance(3)
    asking.asked[0].callback("late")
    assert await first == "late"
    clock.advance(2)
    recalling(memory, asking).addErrback(lambda _: None)
    assert len(asking.asked) == 2


@ensureDeferred
async def test_the_answer_that_was_used_longest_ago_makes_room(memory: Memory[str]) -> None:
    for key in ("1", "2", "1", "3"):
        await memory.recall((key,), answering(f"first of {key}"))
    assert len(memory) == 2
    assert [await memory.recall((key,), answering(f"second of {key}")) for key in ("1", "3", "2")] == [
        "first of 1",
        "first of 3",
        "second of 2",
    ]


@ensureDeferred
async def test_one_question_answers_all_who_ask_meanwhile(memory: Memory[str]) -> None:
    asking = Asking()
    answers = [recalling(memory, asking) for _ in range(3)]
    [question] = asking.asked
    question.callback("all the same")
    assert [await answer for answer in answers] == ["all the same"] * 3


@ensureDeferred
async def test_a_failure_is_told_to_all_and_not_remembered(memory: Memory[str]) -> None:
    asking = Asking()
    answers = [recalling(memory, asking) for _ in range(2)]
    asking.asked[0].errback(ValueError("no"))
    for answer in answers:
        with pytest.raises(ValueError, match="no"):
            await answer
    assert await memory.recall(("1.2",), answering("yes")) == "yes"


@ensureDeferred
async def test_a_question_goes_on_for_the_others_when_who_began_it_gives_up(memory: Memory[str]) -> None:
    asking = Asking()
    first, second = recalling(memory, asking), recalling(memory, asking)
    first.cancel()
    with pytest.raises(CancelledError):
        await first
    assert asking.cancelled == 0
    asking.asked[0].callback("still")
    assert await second == "still"


@pytest.mark.parametrize("forgotten", [False, True])
@ensureDeferred
async def test_a_question_that_nobody_waits_for_is_cancelled(memory: Memory[str], forgotten: bool) -> None:
    asking = Asking()
    only = recalling(memory, asking)
    if forgotten:
        memory.forget("1.2")
    only.cancel()
    with pytest.raises(CancelledError):
        await only
    assert asking.cancelled == 1
    assert await memory.recall(("1.2",), answering("anew")) == "anew"


@ensureDeferred
async def test_what_is_forgotten_is_asked_anew(memory: Memory[str]) -> None:
    for key in (("1", "a"), ("2", "a")):
        await memory.recall(key, answering("old"))
    memory.forget("1")
    assert await memory.recall(("1", "a"), answering("new")) == "new"
    assert await memory.recall(("2", "a"), answering("new")) == "old"


@ensureDeferred
async def test_an_answer_on_its_way_when_it_is_forgotten_is_not_remembered(memory: Memory[str]) -> None:
    asking = Asking()
    before = recalling(memory, asking)
    memory.forget("1.2")
    after = recalling(memory, asking)
    for question, answer in zip(asking.asked, ("old", "new"), strict=True):
        question.callback(answer)
    assert (await before, await after) == ("old", "new")
    assert await memory.recall(("1.2",), answering("unasked")) == "new"
