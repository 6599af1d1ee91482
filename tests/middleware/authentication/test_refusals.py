"""Failed logins in the log."""

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from harmonygw.middleware.authentication.refusals import MAX_LOGGED, PERIOD_SECS, Refusals


def test_so_many_are_logged_and_then_counted() -> None:
    clock = Clock()
    refusals = Refusals("guard", clock)
    with capturedLogs() as events:
        for _ in range(MAX_LOGGED + 3):
            refusals.log("192.0.2.1", "no")
        assert len(events) == MAX_LOGGED
        clock.advance(PERIOD_SECS - 1)
        refusals.log("192.0.2.1", "no")
        assert len(events) == MAX_LOGGED
        clock.advance(1)
        refusals.log("192.0.2.2", "no")
        refusals.log("192.0.2.3", "no")
    assert {event["log_level"] for event in events} == {LogLevel.warn}
    assert [formatEvent(event) for event in events[MAX_LOGGED:]] == [
        "guard: failed login from 192.0.2.2: no (4 before it were not logged)",
        "guard: failed login from 192.0.2.3: no",
    ]
