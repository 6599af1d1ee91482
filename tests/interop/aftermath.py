"""What must hold after every fault, whichever gateway it befell: what was said of it, and that nothing is left.

A house that stands for a gateway in a test begins an `Aftermath` before it starts and ends it when all is stopped, so
that each of its tests asserts this without a word of its own.
"""

import gc
import os
import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher

from harmonygw.journal import json_line
from tests.dicom.audit.schema import users_of
from tests.interop.audited import Recorded, instances_of, word

reactor: Any = _reactor

Audited = Callable[..., Coroutine[Any, Any, list[Any]]]
"""See `Aftermath.audited`."""

OUTCOMES = frozenset({"complete", "not_modified", "refused", "failed", "aborted", "client_gone"})
WITH_A_REASON = frozenset({"refused", "failed", "aborted"})
PASSED_ON = "Pass on"
"""The operation of an answer whose status is another server's, and is all that is known of it."""
MOST_SECS = 3.0
"""What may pass until everything that was stopped has gone."""


class Aftermath:
    """The log while a gateway runs, and what this process has open before and after.

    `identifiers` are of patients, none of which may stand in the log. Unless `is_recorded`, the audit trail goes where
    the configuration says, and is not looked at here.
    """

    def __init__(self, identifiers: Callable[[], Iterable[str]] = tuple, *, is_recorded: bool = True) -> None:
        self._identifiers = identifiers
        self._is_recorded = is_recorded
        self.exchanges: list[dict[str, Any]] = []
        """What the line of each exchange says, in the order of their ends."""
        self.alerts: list[LogEvent] = []
        """What is due in the audit trail besides the exchanges."""
        self.audit = Recorded(identifiers)
        """The audit trail's repository, for the gateway that is watched."""
        self.errors: list[LogEvent] = []
        self._lines: list[str] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def begin(self, apart_from: Iterable[object] = ()) -> None:
        """Watch from now on. `apart_from` are the test's own listeners, which are gone at the end."""
        self._readers = set(reactor.getReaders()) - set(apart_from)
        self._calls = set(reactor.getDelayedCalls())
        self._descriptors = _descriptors()
        Recorded.watching.append(self.audit)
        globalLogPublisher.addObserver(self._observe)

    def stop(self) -> None:
        """Watch no longer."""
        globalLogPublisher.removeObserver(self._observe)
        Recorded.watching.remove(self.audit)

    async def end(self) -> None:
        """Assert what holds once all is stopped: nothing is left, and what was said of it is fit to be."""
        await until(lambda: not self.left_over(), self.left_over)
        gc.collect(1)
        assert not self.errors, self.errors[0]
        if self._opened():
            gc.collect()
        await until(lambda: not self._opened(), self._opened)
        for exchange in self.exchanges:
            assert exchange["correlation_id"], exchange
            assert exchange["outcome"] in OUTCOMES, exchange
            by_itself = exchange["outcome"] in WITH_A_REASON and exchange["operation"] != PASSED_ON
            assert exchange["reason"] or exchange["notes"] or not by_itself, exchange
        if self._is_recorded:
            self.audit.check([one["alert"].kind for one in self.alerts])
        told = [line for line in self._lines for pattern in self._patterns() if pattern.search(line)]
        assert not told, told[0]

    async def logged(self, count: int = 1) -> dict[str, Any]:
        """Wait for the log line of so many exchanges; return the last one."""
        if len(self.exchanges) < count:
            waiter: Deferred[None] = Deferred()
            self._waiting.append((count, waiter))
            await waiter.addTimeout(5, reactor)
        return self.exchanges[-1]

    async def audited(self, *words: str, users: Sequence[str] = (), instances: int | None = None) -> list[Any]:
        """Assert that the audit trail has told this, and no more, since the last time; return the messages.

        `users` are the participants of the last one, `instances` how many arrived whole by all of them.
        """
        await until(lambda: len(self.audit.words) >= len(words), lambda: self.audit.words)
        assert self.audit.words == [*words], (self.audit.words, words)
        told = self.audit.take()
        if users:
            assert users_of(told[-1]) == [*users]
        if instances is not None:
            assert sum(instances_of(one) for one in told if word(one) == "Transferred 0") == instances
        return told

    def left_over(self) -> list[Any]:
        """Sockets and delayed calls that were not there before."""
        readers = {*reactor.getReaders(), *reactor.getWriters()} - self._readers
        return [*readers, *(set(reactor.getDelayedCalls()) - self._calls)]

    def _opened(self) -> list[tuple[str, str]]:
        return sorted(_descriptors().items() - self._descriptors.items())

    def _patterns(self) -> list[re.Pattern[str]]:
        return [re.compile(rf"(?<![\w.^]){re.escape(one)}(?![\w.^])") for one in set(self._identifiers()) if one]

    def _observe(self, event: LogEvent) -> None:
        self._lines.append(json_line(event).decode())
        if "exchange" in event:
            self.exchanges.append(event["exchange"])
            self.audit.exchange_ended(event["exchange"])
            for one in [one for one in self._waiting if len(self.exchanges) >= one[0]]:
                self._waiting.remove(one)
                one[1].callback(None)
        elif "alert" in event:
            self.alerts.append(event)
        elif "log_failure" in event:
            self.errors.append(event)


async def until(condition: Callable[[], bool], told: Callable[[], object]) -> None:
    """Let the reactor turn until the condition holds; `MOST_SECS` at most, and then say what is the case."""
    deadline = reactor.seconds() + MOST_SECS
    while not condition():
        assert reactor.seconds() < deadline, told()
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.001, turn.callback, None)
        await turn


def _descriptors() -> dict[str, str]:
    """What this process has open, by number; but for what Twisted keeps so that a lack of descriptors can be told."""
    folder = Path("/proc/self/fd")
    found: dict[str, str] = {}
    for number in os.listdir(folder):
        try:
            target = os.readlink(folder / number)
        except FileNotFoundError:  # the listing's own
            continue
        if target != os.devnull:
            found[number] = target
    return found
