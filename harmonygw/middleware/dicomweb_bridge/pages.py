"""What a Search has found, kept for a short time: the next page of a walk comes from the same answer.

C-FIND has no offset, so each page asks the archive from the start. What an earlier page has seen stays the
beginning of the answer, so that a walk neither repeats nor skips a match when the archive changes meanwhile.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from twisted.internet.interfaces import IReactorTime

MAX_ANSWERS = 64
"""Answers that are kept: as many viewers page at one time."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of all the matches that are kept, encoded."""

Key = tuple[object, ...]
"""Who asked what: two clients never share an answer, since they may not be allowed to see the same."""


@dataclass(slots=True)
class Answer:
    """The beginning of an answer: encoded matches by their UID, in order."""

    matches: dict[str, bytes] = field(default_factory=dict)
    complete: bool = False
    """Whether there are no others."""
    warnings: tuple[str, ...] = ()
    expires: float = 0.0
    size: int = 0

    def reaches(self, count: int) -> bool:
        """Whether the first `count` matches are here, as far as there are as many."""
        return self.complete or len(self.matches) >= count


class PageMemory:
    """The answers of the last seconds, the oldest forgotten first."""

    def __init__(self, clock: IReactorTime, secs: float) -> None:
        self._clock = clock
        self._secs = secs
        self._answers: OrderedDict[Key, Answer] = OrderedDict()
        self._size = 0

    def recall(self, key: Key) -> Answer | None:
        """Return what is known of an answer, unless it is too old."""
        self._forget_old()
        return self._answers.get(key)

    def remember(
        self, key: Key, matches: Iterable[tuple[str, bytes]], *, complete: bool, warnings: tuple[str, ...]
    ) -> Answer:
        """Keep an answer; what an earlier page of it has seen stays its beginning."""
        earlier = self._answers.pop(key, None)
        answer = Answer(dict(earlier.matches) if earlier is not None else {}, complete, warnings)
        if earlier is not None:
            self._size -= earlier.size
        for uid, match in matches:
            answer.matches.setdefault(uid, match)
        answer.size = sum(map(len, answer.matches.values()))
        answer.expires = self._clock.seconds() + self._secs
        if self._secs and answer.size <= MAX_BYTES:
            self._answers[key] = answer
            self._size += answer.size
            while len(self._answers) > MAX_ANSWERS or self._size > MAX_BYTES:
                self._forget_oldest()
        return answer

    def _forget_old(self) -> None:
        now = self._clock.seconds()
        while self._answers and next(iter(self._answers.values())).expires <= now:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._size -= self._answers.popitem(last=False)[1].size
