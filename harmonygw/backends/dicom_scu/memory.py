"""What has been asked a moment ago, for whoever asks the same again: bounded in time and in number.

Who asks while the answer is still on its way waits for that answer. Nothing that failed is remembered.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

T = TypeVar("T")

Key = tuple[str, ...]
"""What an answer is about: the first of it is what `forget` takes."""


@dataclass(slots=True, eq=False)
class _Question(Generic[T]):
    """One on its way to the archive, and who waits for the answer."""

    asked_at: float
    waiters: list["Deferred[T]"] = field(default_factory=list)
    asking: "Deferred[T] | None" = None


class Memory(Generic[T]):
    """Answers by key, each for `seconds` from when it was asked for, `entries` of them at most."""

    def __init__(self, clock: IReactorTime, *, seconds: float, entries: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._most = entries
        self._answers: OrderedDict[Key, tuple[float, T]] = OrderedDict()
        self._questions: dict[Key, _Question[T]] = {}

    def __len__(self) -> int:
        return len(self._answers)

    async def recall(self, key: Key, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer that is remembered, or that is on its way, or else what `ask` brings; raises what it does.

        `ask` goes on when who began it is cancelled, for as long as somebody else waits.
        """
        now = self._clock.seconds()
        remembered = self._answers.get(key)
        if remembered is not None and now - remembered[0] < self._seconds:
            self._answers.move_to_end(key)
            return remembered[1]
        question = self._questions.get(key)
        is_new = question is None
        if question is None:
            question = self._questions[key] = _Question(now)
        waiter: Deferred[T] = Deferred(partial(self._gave_up, key, question))
        question.waiters.append(waiter)
        if is_new:
            question.asking = Deferred.fromCoroutine(_awaited(ask))
            question.asking.addBoth(partial(self._answered, key, question))
        return await waiter

    def forget(self, first: str) -> None:
        """Forget what is known under keys that begin with `first`; what is on its way serves who waits, and no more."""
        for kept in (self._answers, self._questions):
            for key in [key for key in kept if key[0] == first]:
                del kept[key]

    def _answered(self, key: Key, question: _Question[T], answer: Any) -> None:
        if self._questions.get(key) is question:
            del self._questions[key]
            if not isinstance(answer, Failure):
                self._answers[key] = question.asked_at, answer
                self._answers.move_to_end(key)
                if len(self._answers) > self._most:
                    self._answers.popitem(last=False)
        for waiter in question.waiters:
            waiter.callback(answer)

    def _gave_up(self, key: Key, question: _Question[T], waiter: "Deferred[T]") -> None:
        question.waiters.remove(waiter)
        if not question.waiters and question.asking is not None:
            if self._questions.get(key) is question:
                del self._questions[key]
            question.asking.cancel()


async def _awaited(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()
