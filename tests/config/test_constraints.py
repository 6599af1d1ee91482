"""Conversions from text."""

import re
from collections.abc import Callable
from datetime import UTC, date, time
from ipaddress import ip_network
from zoneinfo import ZoneInfo

import pytest

from harmonygw.config import constraints
from harmonygw.errors import ConfigurationError


@pytest.mark.parametrize(
    ("function", "text", "value"),
    [
        (constraints.ae_title, " PACS ", "PACS"),
        (constraints.ae_title, "A" * 16, "A" * 16),
        (constraints.path_prefix, "dicom", "/dicom"),
        (constraints.path_prefix, "/a/b/", "/a/b"),
        (constraints.path_prefix, "/", ""),
        (constraints.path_prefix, "", ""),
        (constraints.http_url, "https://x:8443/a/", "https://x:8443/a"),
        (constraints.http_address, "http://x/?a=1", "http://x/?a=1"),
        (constraints.ip_block, "10.1.2.3/8", ip_network("10.0.0.0/8")),
        (constraints.ip_block, "::1", ip_network("::1/128")),
        (constraints.clock_time, "07:05", time(7, 5)),
        (constraints.clock_time, "07:05:09", time(7, 5, 9)),
        (constraints.calendar_date, "2026-02-28", date(2026, 2, 28)),
        (constraints.time_zone, "UTC", UTC),
        (constraints.time_zone, "Europe/Berlin", ZoneInfo("Europe/Berlin")),
        (constraints.dotted_path, "", ""),
        (constraints.dotted_path, "hospital.rules:Mine", "hospital.rules:Mine"),
        (constraints.http_method, "get", "GET"),
        (constraints.origin, "*", "*"),
        (constraints.origin, "https://viewer.example.org:8443", "https://viewer.example.org:8443"),
        (constraints.origin, "https://*.example.org", "https://*.example.org"),
        (constraints.field_name, "X-Requested-With", "X-Requested-With"),
        (constraints.filled, " a", " a"),
    ],
)
def test_right_text_becomes_its_value(function: Callable[[str], object], text: str, value: object) -> None:
    assert function(text) == value


@pytest.mark.parametrize(
    ("function", "text", "sentence"),
    [
        (constraints.ae_title, "", "'' is not an AE title"),
        (constraints.ae_title, "A" * 17, "is not an AE title"),
        (constraints.ae_title, "A\\B", "is not an AE title"),
        (constraints.ae_title, "A\nB", "is not an AE title"),
        (constraints.ae_title, "PÄCS", "is not an AE title"),
        (constraints.path_prefix, "/a//b", "is not a path prefix"),
        (constraints.path_prefix, "/a/../b", "is not a path prefix"),
        (constraints.path_prefix, "/a?b", "is not a path prefix"),
        (constraints.http_url, "ftp://x", "is not an absolute http or https URL"),
        (constraints.http_url, "http://", "is not an absolute http or https URL"),
        (constraints.http_url, "http://x:99999", "is not an absolute http or https URL"),
        (constraints.http_url, "http://x/?a", "is not an absolute http or https URL"),
        (constraints.http_url, "http://x/ a", "is not an absolute http or https URL"),
        (constraints.ip_block, "10.0.0.0/33", "is not an IP address or a CIDR block"),
        (constraints.regular_expression, "(", "is not a regular expression: "),
        (constraints.regular_expression, "a{99999999999999}", "is not a regular expression: "),
        (constraints.regular_expression, "(" * 20000 + ")" * 20000, "is not a regular expression: "),
        (constraints.clock_time, "7:05", "is not a time of day as HH:MM"),
        (constraints.clock_time, "24:00", "is not a time of day as HH:MM"),
        (constraints.calendar_date, "2026-02-30", "is not a date as YYYY-MM-DD"),
        (constraints.calendar_date, "20260228", "is not a date as YYYY-MM-DD"),
        (constraints.time_zone, "Mars/Olympus", "is not a time zone"),
        (constraints.time_zone, "../etc/passwd", "is not a time zone"),
        (constraints.dotted_path, "hospital.rules", "is not a class as 'package.module:Name'"),
        (constraints.http_method, "G T", "is not an HTTP method"),
        (constraints.origin, "https://x/path", "is not an origin"),
        (constraints.origin, "https://*", "is not an origin"),
        (constraints.origin, "https://viewer.*.org", "is not an origin"),
        (constraints.origin, "null", "is not an origin"),
        (constraints.field_name, "", "is not the name of a header field"),
        (constraints.field_name, "A, B", "is not the name of a header field"),
        (constraints.filled, " ", "must not be empty"),
    ],
)
def test_wrong_text_is_refused_with_a_sentence(function: Callable[[str], object], text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        function(text)
    assert sentence in caught.value.detail


def test_a_delimited_expression_has_its_flags() -> None:
    assert constraints.regular_expression("/bot|spider/i") == re.compile("bot|spider", re.IGNORECASE)
    assert constraints.regular_expression("^curl/") == re.compile("^curl/")


@pytest.mark.parametrize(
    ("range_", "written"),
    [
        (constraints.Between(1, 300), "1 to 300"),
        (constraints.Between(0.001, 86400.0), "0.001 to 86400"),
        (constraints.Between(1), "1 or more"),
    ],
)
def test_a_range_says_what_it_is(range_: constraints.Between, written: str) -> None:
    assert str(range_) == written


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("gateway", False)],
)
def test_which_addresses_are_loopback(address: str, loopback: bool) -> None:
    assert constraints.is_loopback(address) == loopback
