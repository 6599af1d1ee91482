"""One of several archives, and how it is asked: within its time, and without waiting for how it takes the end of it."""

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from harmonygw.errors import HarmonyError, TimedOut
from harmonygw.exchange import Record, Reply, Request
from harmonygw.operations import Find, Matches
from harmonygw.streams import Match, following

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """An archive, by the name that clients know it by."""

    name: str
    """The backend's in the configuration."""
    ae_title: str
    backend: Any
    """An `IBackend`."""
    timeout_secs: float
    """Seconds that a query waits for the next thing it says."""
    issuer: str = ""
    """The IssuerOfPatientID that is meant where it gives none."""


@dataclass(slots=True)
class Answer:
    """What a source has answered to a query, as far as it was read. By then it is no longer asked."""

    rows: list[Match] = field(default_factory=list)
    ended: bool = False
    """Whether there are no others."""
    error: HarmonyError | None = None
    """Why there may be others that it did not give."""
    warnings: list[str] = field(default_factory=list)


async def ask(
    source: Source,
    request: Request,
    find: Find,
    *,
    count: int,
    clock: IReactorTime,
    wanted: Callable[[Match], bool] = lambda row: True,
) -> Answer:
    """Ask a source, read until there are `count` rows that are wanted, and give the rest up.

    Never raises what `errors` names. The record of the request hears of it by notes only.
    """
    answer = Answer()
    record = Record()
    reading = _Reading(source, replace(request, operation=find, record=record))
    try:
        while len(answer.rows) < count:
            row = await within(reading.following(), source, clock)
            if row is None:
                answer.ended = True
                break
            if wanted(row):
                answer.rows.append(row)
    except CancelledError:
        raise
    except HarmonyError as error:
        answer.error = error
    finally:
        reading.close()
    answer.warnings = reading.warnings
    for note in record.notes:
        request.record.note(f"{source.ae_title}: {note}")
    return answer


class _Reading:
    """A query on its way, whose end nobody waits for: a source that is silent would not hear it."""

    def __init__(self, source: Source, request: Request) -> None:
        self._source = source
        self._request = request
        self._matches: Matches | None = None
        self._closed = False

    @property
    def warnings(self) -> list[str]:
        return [] if self._matches is None else list(self._matches.warnings)

    async def following(self) -> Match | None:
        """Return the next row, None at the end."""
        if self._matches is None:
            reply: Reply = await self._source.backend.respond(self._request)
            self._matches = reply.result
            if self._closed:  # the source took no notice of being given up
                await reply.result.aclose()
                raise CancelledError
        return await following(self._matches)

    def close(self) -> None:
        self._closed = True
        if self._matches is not None:
            in_the_background(self._matches.aclose())


def within(work: Coroutine[Any, Any, T], source: Source, clock: IReactorTime) -> "Deferred[T]":
    """Fire with what `work` returns, or with `TimedOut` the moment the source's time is over.

    The work is cancelled then, and may take as long as it likes to notice.
    """
    running = Deferred.fromCoroutine(work)
    if running.called:
        return running
    outcome: Deferred[T] = Deferred(lambda _: running.cancel())
    secs = source.timeout_secs

    def expire() -> None:
        outcome.errback(TimedOut(f"{source.ae_title} did not answer within {secs:g} s (source_timeout_secs)"))
        running.cancel()

    def passed(result: T | Failure) -> None:
        if timer.active():
            timer.cancel()
        if isinstance(result, Failure):
            if not outcome.called:
                outcome.errback(result)
        elif not outcome.called:
            outcome.callback(result)

    timer = clock.callLater(secs, expire)
    running.addBoth(passed)
    return outcome


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Wait for all at the same time, and return their results in order; raises the first exception in that order."""
    results = await DeferredList([Deferred.fromCoroutine(one) for one in works], consumeErrors=True)
    found: list[T] = []
    for _, result in results:
        if isinstance(result, Failure):
            result.raiseException()
        found.append(result)
    return found


def in_the_background(work: Coroutine[Any, Any, Any]) -> None:
    """Let something end that nobody waits for; how it ends is nobody's concern."""
    Deferred.fromCoroutine(work).addErrback(lambda _: None)
