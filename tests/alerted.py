"""Alerts that were raised, in their order."""

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import LogEvent, globalLogPublisher

from harmonygw.alerts import Alert


@contextmanager
def alerts() -> Iterator[list[Alert]]:
    """Collect the alerts that are raised meanwhile."""
    raised: list[Alert] = []

    def observe(event: LogEvent) -> None:
        if isinstance(alert := event.get("alert"), Alert):
            raised.append(alert)

    globalLogPublisher.addObserver(observe)
    try:
        yield raised
    finally:
        globalLogPublisher.removeObserver(observe)
