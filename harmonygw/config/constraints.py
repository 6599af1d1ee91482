"""What a key's value must be, said in its type: ranges, aliases, and conversions from text.

A field is declared as `port: Port = 104`; `Port` is an `Annotated` type that `binding` checks and that the
reference prints. A conversion raises `ConfigurationError` with one sentence; `binding` adds file, line and
key path.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, time, tzinfo
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from harmonygw.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Between:
    """A number from `low` to `high`, both included."""

    low: float
    high: float = float("inf")

    def __str__(self) -> str:
        if self.high == float("inf"):
            return f"{self.low:g} or more"
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name under which the key may be given."""

    name: str


@dataclass(frozen=True, slots=True)
class Converted:
    """Text that `function` checks and turns into the value; `noun` names it in the reference."""

    function: Callable[[str], Any]
    noun: str


MAX_SECONDS = 86400.0
"""A day: no time-out of a gateway is meant to be longer, and a larger number is milliseconds by mistake."""

MAX_AE_TITLE_LENGTH = 16
"""Characters of an AE title (PS3.5 Table 6.2-1)."""

_SENTENCE = "{!r} is not {}"


def _refuse(text: str, wanted: str) -> ConfigurationError:
    return ConfigurationError((_SENTENCE.format(text, wanted),))


def ae_title(text: str) -> str:
    """Return an AE title without its padding; 1 to 16 characters of ISO_IR 6, no backslash, no control
    character."""
    title = text.strip(" ")
    if not 0 < len(title) <= MAX_AE_TITLE_LENGTH or not all(" " <= char <= "~" and char != "\\" for char in title):
        raise _refuse(text, "an AE title: 1 to 16 printable ASCII characters without backslash (PS3.5 §6.2)")
    return title


def path_prefix(text: str) -> str:
    """Return a path prefix with a leading and without a final slash; the root is the empty text."""
    segments = text.strip("/").split("/")
    if segments == [""]:
        return ""
    if not all(re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+", part) and part not in {".", ".."} for part in segments):
        raise _refuse(text, "a path prefix such as '/dicom'")
    return "/" + "/".join(segments)


def http_url(text: str) -> str:
    """Return an absolute http or https URL without query, fragment and final slash."""
    try:
        parts = urlsplit(text)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment or re.search(r"[\x00-\x20]", text):
        raise _refuse(text, "an absolute http or https URL without query")
    return text.rstrip("/")


def http_address(text: str) -> str:
    """Return an absolute http or https URL unchanged; a query is allowed."""
    http_url(text.partition("?")[0])
    return text


def is_loopback(address: str) -> bool:
    """Return whether an address to listen on is reached from this machine only."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def ip_block(text: str) -> IPv4Network | IPv6Network:
    """Return an address or a CIDR block as a network; bits set behind the prefix length are dropped."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise _refuse(text, "an IP address or a CIDR block") from None


def regular_expression(text: str) -> re.Pattern[str]:
    """Return a compiled expression; `/…/flags` (flags i, m, s, x) is taken apart, anything else is taken
    whole."""
    delimited = re.fullmatch(r"/(.*)/([imsx]*)", text, re.DOTALL)
    pattern, flags = delimited.groups() if delimited else (text, "")
    try:
        return re.compile(pattern, sum(re.RegexFlag[flag.upper()] for flag in set(flags)))
    except (re.error, OverflowError, RecursionError) as error:
        raise _refuse(text, f"a regular expression: {error}") from None


def clock_time(text: str) -> time:
    """Return the time of day that `HH:MM` or `HH:MM:SS` names."""
    try:
        if re.fullmatch(r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?", text):
            return time.fromisoformat(text)
    except ValueError:
        pass
    raise _refuse(text, "a time of day as HH:MM")


def calendar_date(text: str) -> date:
    """Return the date that `YYYY-MM-DD` names."""
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise _refuse(text, "a date as YYYY-MM-DD")


def time_zone(text: str) -> tzinfo:
    """Return an IANA time zone; UTC needs no time zone database."""
    if text == "UTC":
        return UTC
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _refuse(text, "a time zone of this system's database, such as 'Europe/Berlin'") from None


def dotted_path(text: str) -> str:
    """Return the place of a third party's class, `package.module:Name`, or the empty text for built in."""
    if text and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", text):
        raise _refuse(text, "a class as 'package.module:Name'")
    return text


def http_method(text: str) -> str:
    """Return an HTTP method in upper case."""
    if not re.fullmatch(r"[A-Za-z]+", text):
        raise _refuse(text, "an HTTP method")
    return text.upper()


def origin(text: str) -> str:
    """Return a web origin, `scheme://host[:port]`, in which `*.` may stand for every name below; or `*` for any."""
    if text != "*" and not re.fullmatch(r"https?://(\*\.)?[^/\s?#@*]+", text):
        raise _refuse(text, "an origin such as 'https://viewer.example.org', or '*'")
    return text


def field_name(text: str) -> str:
    """Return the name of an HTTP header field (RFC 9110 §5.1)."""
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", text):
        raise _refuse(text, "the name of a header field")
    return text


def filled(text: str) -> str:
    """Return text that is not empty."""
    if not text.strip():
        raise ConfigurationError(("must not be empty",))
    return text


Name = Annotated[str, Converted(filled, "text")]
Port = Annotated[int, Between(1, 65535)]
ListeningPort = Annotated[int, Between(0, 65535)]
Seconds = Annotated[float, Between(0.001, MAX_SECONDS)]
WholeSeconds = Annotated[int, Between(0, MAX_SECONDS)]
Leeway = Annotated[float, Between(0, MAX_SECONDS)]
TimeoutSeconds = Annotated[float, Between(1, 300)]
Retries = Annotated[int, Between(0, 10)]
Count = Annotated[int, Between(1)]
CountOrNone = Annotated[int, Between(0)]
IdentifierBytes = Annotated[int, Between(16384, 16_777_216)]
MaxPDU = Annotated[int, Between(16384, 131072)]
AETitle = Annotated[str, Converted(ae_title, "AE title")]
PathPrefix = Annotated[str, Converted(path_prefix, "path prefix")]
BaseURL = Annotated[str, Converted(http_url, "URL")]
Address = Annotated[str, Converted(http_address, "URL")]
IPBlock = Annotated[IPv4Network | IPv6Network, Converted(ip_block, "IP address or CIDR block")]
Expression = Annotated[re.Pattern[str], Converted(regular_expression, "regular expression")]
TimeOfDay = Annotated[time, Converted(clock_time, "HH:MM")]
CalendarDate = Annotated[date, Converted(calendar_date, "YYYY-MM-DD")]
TimeZone = Annotated[tzinfo, Converted(time_zone, "IANA time zone")]
DottedPath = Annotated[str, Converted(dotted_path, "package.module:Name")]
HTTPMethod = Annotated[str, Converted(http_method, "HTTP method")]
FieldName = Annotated[str, Converted(field_name, "header field name")]
Origin = Annotated[str, Converted(origin, "origin")]
LogLevel = Literal["trace", "debug", "info", "warn", "error"]
TransportProtocol = Literal["http", "https", "dicom", "dicoms"]

TLSProfile = Literal["bcp195", "strict"]
Side = Literal["left", "right", "both"]
Mode = Literal["allow", "deny"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
