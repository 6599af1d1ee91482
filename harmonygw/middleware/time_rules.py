"""Rules about the time of a request: windows of the clock and the calendar."""

from collections.abc import Callable
from datetime import date, datetime, timedelta

from harmonygw.config.options import TimeBasedOptions
from harmonygw.exchange import Request
from harmonygw.middleware.conditions import Condition

WallClock = Callable[[], float]
"""The time of day: seconds since 1970-01-01T00:00:00Z, as `time.time` has it."""

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
"""The names of days, in the order of `date.weekday`."""


def in_window(window: TimeBasedOptions, wall_clock: WallClock) -> Condition:
    """Match every request, over HTTP or on an association, while the window is open."""

    def matches(request: Request) -> bool:
        return is_open(window, datetime.fromtimestamp(wall_clock(), window.timezone))

    return matches


def is_open(window: TimeBasedOptions, local: datetime) -> bool:
    """Whether a window is open at `local`, a time in its time zone.

    It opens on the days that are named, from the first date to the last, both included; the day on which it opened
    counts, though it is past midnight now. It goes by what clocks on the wall show: an hour that they show twice counts
    twice, and one that they skip does not come.
    """
    opened = _opened(window, local)
    if opened is None:
        return False
    if window.days_of_week and WEEKDAYS[opened.weekday()] not in window.days_of_week:
        return False
    first, last = window.start_date or date.min, window.end_date or date.max
    return first <= opened <= last


def _opened(window: TimeBasedOptions, local: datetime) -> date | None:
    """Return the day on which a window opened that, by the time of day alone, is open at `local`."""
    today, now = local.date(), local.time()
    start, end = window.start_time, window.end_time
    if start is None or end is None:
        return today
    if start < end:
        return today if start <= now < end else None
    if now >= start:
        return today
    return today - timedelta(days=1) if now < end else None
