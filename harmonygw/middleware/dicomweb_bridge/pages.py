"""What a Search has found, kept for a short time: the next page of a walk comes from the same answer.

C-FIND has no offset, so each page asks the archive from the start. What an earlier page has seen stays the beginning of
the answer, so that a walk neither repeats nor skips a match when the archive changes meanwhile.
"""

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from itertools import islice

from twisted.internet.interfaces import IReactorTime

MAX_ANSWERS = 64
"""Answers that are kept: as many viewers page at one time."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of all the answers that are kept."""

Key = tuple[object, ...]
"""Who asked what: two clients never share an answer, since they may not be allowed to see the same."""


@dataclass(slots=True)
class Answer:
    """The beginning of an answer."""

    first: int = 0
    """Where the page began that asked first: what is before it was counted and not encoded."""
    matches: dict[str, bytes] = field(default_factory=dict)
    """Encoded matches by their identity, in order; empty before `first`."""
    rejected: set[str] = field(default_factory=set)
    """Identities of what the archive sent and a closer look dropped."""
    complete: bool = False
    """Whether there are no others."""
    warnings: dict[str, None] = field(default_factory=dict)

    def covers(self, offset: int, needed: int) -> bool:
        """Tell whether the matches from `offset` to `needed` are here, as far as there are as many."""
        return self.first <= offset and (self.complete or len(self.matches) >= needed)

    def page(self, offset: int, size: int) -> list[bytes]:
        """Return the matches of a page."""
        return list(islice(self.matches.values(), offset, offset + size))

    def copy(self) -> "Answer":
        """Return a copy that can grow while others read this one."""
        return replace(self, matches=dict(self.matches), rejected=set(self.rejected), warnings=dict(self.warnings))

    def size(self) -> int:
        """Return the bytes that are kept, as far as they grow with the archive."""
        return sum(map(len, self.matches)) + sum(map(len, self.matches.values())) + sum(map(len, self.rejected))


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    size: int
    expires: float


class PageMemory:
    """The answers of the last seconds, the oldest forgotten first."""

    def __init__(self, clock: IReactorTime, secs: float) -> None:
        self._clock = clock
        self._secs = secs
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._size = 0

    def recall(self, key: Key) -> Answer | None:
        """Return what is known of an answer, unless it is too old."""
        now = self._clock.seconds()
        while self._kept and next(iter(self._kept.values())).expires <= now:
            self._forget_oldest()
        kept = self._kept.get(key)
        return None if kept is None else kept.answer

    def remember(self, key: Key, answer: Answer) -> None:
        """Keep an answer instead of what was known of it, unless it is too large."""
        replaced = self._kept.pop(key, None)
        if replaced is not None:
            self._size -= replaced.size
        size = answer.size()
        if self._secs and size <= MAX_BYTES:
            self._kept[key] = _Kept(answer, size, self._clock.seconds() + self._secs)
            self._size += size
            while len(self._kept) > MAX_ANSWERS or self._size > MAX_BYTES:
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._size -= self._kept.popitem(last=False)[1].size
