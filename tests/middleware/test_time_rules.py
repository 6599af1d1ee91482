"""Windows of time: their edges, midnight, the calendar, and the two days a year on which clocks are set."""

from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from harmonygw.config.options import TimeBasedOptions
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Request
from harmonygw.middleware.time_rules import in_window

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
HTTP = Request(HTTPOrigin("GET", ()), "192.0.2.1", "c")
ASSOCIATION = Request(AssociationOrigin("CT1", "GATEWAY"), "192.0.2.1", "c")
WORKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")


def is_open(utc: str, **window: Any) -> bool | None:
    """Whether a window is open at a moment, given in UTC."""
    moment = datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp()
    answers = {in_window(TimeBasedOptions(**window), lambda: moment)(request) for request in (HTTP, ASSOCIATION)}
    assert len(answers) == 1
    return answers.pop()


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("06:59:59.999999", False),
        ("07:00:00", True),
        ("17:59:59.999999", True),
        ("18:00:00", False),
        ("00:00:00", False),
    ],
)
def test_the_start_is_in_the_window_and_the_end_is_not(now: str, expected: bool) -> None:
    assert is_open(f"2026-03-02T{now}", start_time=time(7), end_time=time(18)) is expected


def test_a_window_without_limits_is_always_open() -> None:
    assert is_open("2026-03-02T00:00:00") is True
    assert is_open("1970-01-01T00:00:00") is True


def test_midnight_ends_a_day() -> None:
    evening = {"start_time": time(18), "end_time": time(0), "days_of_week": ("sunday",)}
    assert is_open("2026-03-01T18:00:00", **evening) is True
    assert is_open("2026-03-01T23:59:59", **evening) is True
    assert is_open("2026-03-02T00:00:00", **evening) is False
    assert is_open("2026-03-01T00:00:00", **evening) is False


@pytest.mark.parametrize(
    ("utc", "expected"),
    [
        ("2026-03-02T21:59:59", False),  # Monday
        ("2026-03-02T22:00:00", True),
        ("2026-03-02T23:59:59", True),
        ("2026-03-03T00:00:00", True),
        ("2026-03-03T05:59:59", True),
        ("2026-03-03T06:00:00", False),
    ],
)
def test_a_window_may_pass_midnight(utc: str, expected: bool) -> None:
    assert is_open(utc, start_time=time(22), end_time=time(6)) is expected


@pytest.mark.parametrize(
    ("utc", "expected"),
    [
        ("2026-03-06T22:00:00", True),  # Friday
        ("2026-03-07T05:59:59", True),  # Saturday, in Friday's window
        ("2026-03-07T22:00:00", False),
        ("2026-03-08T05:00:00", False),  # Sunday, in Saturday's window
        ("2026-03-08T22:00:00", False),
        ("2026-03-09T05:00:00", False),  # Monday, in Sunday's window
        ("2026-03-09T22:00:00", True),
    ],
)
def test_past_midnight_the_day_on_which_the_window_opened_counts(utc: str, expected: bool) -> None:
    assert is_open(utc, start_time=time(22), end_time=time(6), days_of_week=WORKDAYS) is expected


@pytest.mark.parametrize("day", range(7))
def test_a_day_of_the_week_is_that_day_only(day: int) -> None:
    names = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    for name in names:
        expected = name == names[day]
        assert is_open(f"2026-03-{2 + day:02}T12:00:00", days_of_week=(name,)) is expected


@pytest.mark.parametrize(
    ("utc", "expected"),
    [
        ("2026-02-28T23:59:59", False),
        ("2026-03-01T00:00:00", True),
        ("2026-03-31T23:59:59", True),
        ("2026-04-01T00:00:00", False),
    ],
)
def test_the_first_and_the_last_day_are_in_it(utc: str, expected: bool) -> None:
    assert is_open(utc, start_date=date(2026, 3, 1), end_date=date(2026, 3, 31)) is expected


def test_one_date_may_be_missing() -> None:
    assert is_open("2026-03-01T00:00:00", start_date=date(2026, 3, 1)) is True
    assert is_open("2026-02-28T00:00:00", start_date=date(2026, 3, 1)) is False
    assert is_open("2026-03-01T00:00:00", end_date=date(2026, 3, 1)) is True
    assert is_open("2026-03-02T00:00:00", end_date=date(2026, 3, 1)) is False


def test_dates_too_are_those_on_which_the_window_opened() -> None:
    night = {"start_time": time(22), "end_time": time(6), "start_date": date(2026, 3, 1), "end_date": date(2026, 3, 1)}
    assert is_open("2026-03-01T05:00:00", **night) is False
    assert is_open("2026-03-01T22:00:00", **night) is True
    assert is_open("2026-03-02T05:00:00", **night) is True
    assert is_open("2026-03-02T22:00:00", **night) is False


def test_the_day_is_that_of_the_time_zone() -> None:
    assert is_open("2026-03-02T04:59:59", days_of_week=("monday",), timezone=NEW_YORK) is False
    assert is_open("2026-03-02T05:00:00", days_of_week=("monday",), timezone=NEW_YORK) is True


@pytest.mark.parametrize(
    ("utc", "expected"),
    [
        ("2026-03-28T07:59:59", False),  # 08:59:59, winter
        ("2026-03-28T08:00:00", True),
        ("2026-03-29T06:59:59", False),  # 08:59:59, summer
        ("2026-03-29T07:00:00", True),
        ("2026-10-24T07:00:00", True),  # 09:00, summer
        ("2026-10-25T07:00:00", False),  # 08:00, winter
        ("2026-10-25T08:00:00", True),
    ],
)
def test_nine_is_nine_on_both_sides_of_a_change_of_the_clock(utc: str, expected: bool) -> None:
    assert is_open(utc, start_time=time(9), end_time=time(17), timezone=BERLIN) is expected


@pytest.mark.parametrize(
    ("utc", "expected"),
    [
        ("2026-10-24T23:59:59", False),  # 01:59:59
        ("2026-10-25T00:00:00", True),  # 02:00, summer
        ("2026-10-25T00:59:59", True),
        ("2026-10-25T01:00:00", True),  # 02:00, winter
        ("2026-10-25T01:59:59", True),
        ("2026-10-25T02:00:00", False),
    ],
)
def test_an_hour_that_comes_twice_counts_twice(utc: str, expected: bool) -> None:
    assert is_open(utc, start_time=time(2), end_time=time(3), timezone=BERLIN) is expected


@pytest.mark.parametrize("utc", ["2026-03-29T00:59:59", "2026-03-29T01:00:00", "2026-03-29T01:30:00"])
def test_an_hour_that_is_left_out_does_not_come(utc: str) -> None:
    assert is_open(utc, start_time=time(2), end_time=time(3), timezone=BERLIN) is False


def test_a_window_that_opens_in_the_hour_that_is_left_out_opens_after_it() -> None:
    window = {"start_time": time(2, 30), "end_time": time(4), "timezone": BERLIN}
    assert is_open("2026-03-29T00:59:59", **window) is False
    assert is_open("2026-03-29T01:00:00", **window) is True


def test_a_night_in_which_the_clock_is_set_belongs_to_its_evening() -> None:
    night = {"start_time": time(22), "end_time": time(6), "days_of_week": ("saturday",), "timezone": BERLIN}
    assert is_open("2026-03-29T03:59:59", **night) is True
    assert is_open("2026-03-29T04:00:00", **night) is False
    assert is_open("2026-10-25T04:59:59", **night) is True
    assert is_open("2026-10-25T05:00:00", **night) is False
