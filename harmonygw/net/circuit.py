"""The health of one target: after consecutive failures it is left alone, until a sign of life brings it back."""

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from harmonygw.errors import Busy, HarmonyError, NotAcceptable, RejectedError

FAILURES_TO_OPEN = 3
"""Consecutive failed connections after which the circuit opens: one may be a hiccup, three are an outage."""

FIRST_BACKOFF = 5.0
"""Seconds until the first Echo after the circuit has opened; each failed Echo doubles it."""

LONGEST_BACKOFF = 60.0
"""Seconds between Echos at most: a PACS that came back is noticed within a minute."""


class Circuit:
    """Closed while the target answers; open, and refusing at once, while it does not.

    What it answers does not matter: a target that rejects an association is there. `echo` asks for a sign of life: a
    C-ECHO of a PACS, a connection of a web server.
    """

    def __init__(self, clock: IReactorTime, echo: Callable[[], Awaitable[object]]) -> None:
        self._clock = clock
        self._echo = echo
        self._failures = 0
        self._backoff = FIRST_BACKOFF
        self._timer: IDelayedCall | None = None
        self._probe: Deferred[None] | None = None
        self._open = False
        self._stopped = False
        self.last_failure = ""
        """What went wrong last, for the state of the target; empty when nothing did since the last success."""

    @property
    def is_open(self) -> bool:
        """Whether requests are refused without asking the target."""
        return self._open

    def check(self) -> None:
        """Raise `Busy` while the circuit is open."""
        if self._open:
            raise self.refusal()

    def refusal(self) -> Busy:
        """Return what a request is told while the circuit is open; `retry_after` is when the next Echo is due."""
        due = self._timer.getTime() - self._clock.seconds() if self._timer is not None else 0.0
        return Busy(
            f"the target does not answer ({self.last_failure}); it is asked again shortly",
            retry_after=max(1, round(due)),
        )

    def succeeded(self) -> None:
        """Take note that the target answered."""
        self._failures = 0
        self._backoff = FIRST_BACKOFF
        self._open = False
        self.last_failure = ""
        self._cancel_timer()

    def failed(self, error: HarmonyError) -> None:
        """Take note that it did not."""
        self._failures += 1
        self.last_failure = error.detail
        if self._failures >= FAILURES_TO_OPEN and not self._open and not self._stopped:
            self._open = True
            self._schedule()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True
        self._cancel_timer()
        if self._probe is not None:
            self._probe.cancel()

    def _schedule(self) -> None:
        self._timer = self._clock.callLater(self._backoff, self._ask)
        self._backoff = min(self._backoff * 2, LONGEST_BACKOFF)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ask(self) -> None:
        self._timer = None
        self._probe = Deferred.fromCoroutine(self._ask_once())

    async def _ask_once(self) -> None:
        try:
            await self._echo()
        except CancelledError:
            return
        except (RejectedError, NotAcceptable):
            self.succeeded()
        except Busy:
            return  # a limit of ours says nothing of the target
        except HarmonyError as error:
            self.last_failure = error.detail
        else:
            self.succeeded()
        finally:
            if self._open and self._timer is None and not self._stopped:
                self._schedule()
