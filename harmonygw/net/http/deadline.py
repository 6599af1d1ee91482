"""A deadline that is put off often and met seldom, as that of a connection: its timer is moved when it fires."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """Calls a function once its time is up; there is one deadline at a time.

    A deadline that is put off or given up leaves the timer alone, which looks again when it fires: a connection that
    is busy then costs one timer a minute, and not three for each request.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._expired: Callable[[], None] | None = None
        self._due = 0.0

    @property
    def running(self) -> bool:
        """Whether there is a deadline."""
        return self._expired is not None

    def start(self, seconds: float, expired: Callable[[], None]) -> None:
        """Call `expired` in `seconds`, in the place of what was to be called before."""
        self._due = self._clock.seconds() + seconds
        self._expired = expired
        if self._timer is not None and self._timer.getTime() > self._due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._clock.callLater(seconds, self._look)

    def stop(self) -> None:
        """Call nothing; may be called when there is no deadline."""
        self._expired = None

    def close(self) -> None:
        """Call nothing, and leave no timer behind."""
        self._expired = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._expired is None:
            return
        left = self._due - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._look)
            return
        expired, self._expired = self._expired, None
        expired()
