"""Options of the rule types of policies."""

from dataclasses import dataclass
from datetime import UTC
from typing import Literal

from harmonygw.config.constraints import (
    AETitle,
    CalendarDate,
    Count,
    Expression,
    HTTPMethod,
    IPBlock,
    Mode,
    Name,
    Seconds,
    TimeOfDay,
    TimeZone,
    Weekday,
    regular_expression,
)
from harmonygw.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class IPOptions:
    """Types `ip_allow` and `ip_deny`: by the client's address."""

    ip_addresses: tuple[IPBlock, ...]
    """Addresses and CIDR blocks, IPv4 and IPv6."""


@dataclass(frozen=True, slots=True)
class RateLimitOptions:
    """Type `rate_limit`: 429 for who asks too often, by client address, or by principal once
    authenticated."""

    max_requests: Count
    """Requests in a window."""
    window_seconds: Seconds
    """Seconds of a window."""


@dataclass(frozen=True, slots=True)
class PathOptions:
    """Type `path`: by the path after the endpoint's prefix."""

    paths: tuple[str, ...]
    """Paths, with `{id}` for a segment and `{*path}` for the rest; `/studies/{*path}` is `/studies` too."""
    mode: Mode
    """What a match means."""


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """Type `method`: by the HTTP method."""

    methods: tuple[HTTPMethod, ...]
    """Methods."""
    mode: Mode
    """What a match means."""


@dataclass(frozen=True, slots=True)
class ContentTypeOptions:
    """Type `content_type`: by the media type of the request's body. A request without body does not fail
    it."""

    content_types: tuple[str, ...]
    """Media types; `application/*` for all of a kind."""
    mode: Mode
    """What a match means."""


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """One condition on a header field."""

    name: Name
    """The field's name, in any case."""
    value: str
    """The value, or the regular expression."""
    match_type: Literal["exact", "prefix", "suffix", "contains", "regex"] = "exact"
    """How the field's value is compared with `value`."""

    def __post_init__(self) -> None:
        if self.match_type == "regex":
            regular_expression(self.value)


@dataclass(frozen=True, slots=True)
class HeaderOptions:
    """Type `header`: by header fields."""

    headers: tuple[HeaderMatch, ...]
    """Conditions, all of which must hold."""
    mode: Mode
    """What a match means."""


@dataclass(frozen=True, slots=True)
class ParameterMatch:
    """One condition on a query parameter."""

    name: Name
    """The parameter's name."""
    value: str | None = None
    """The value, or the regular expression; none for `exists`."""
    match_type: Literal["exact", "prefix", "suffix", "contains", "regex", "exists"] = "exact"
    """How the parameter's value is compared with `value`; `exists` for any value."""

    def __post_init__(self) -> None:
        if self.match_type == "exists":
            if self.value is not None:
                raise ConfigurationError(('"match_type" exists takes no "value"',))
        elif self.value is None:
            raise ConfigurationError((f'"match_type" {self.match_type} needs a "value"',))
        elif self.match_type == "regex":
            regular_expression(self.value)


@dataclass(frozen=True, slots=True)
class QueryParameterOptions:
    """Type `query_parameter`: by query parameters."""

    parameters: tuple[ParameterMatch, ...]
    """Conditions, all of which must hold."""
    mode: Mode
    """What a match means."""


@dataclass(frozen=True, slots=True)
class UserAgentPattern:
    """One kind of user agent."""

    pattern: Expression
    """A regular expression, plain or as `/…/i`."""
    label: str = ""
    """What people call it."""


@dataclass(frozen=True, slots=True)
class UserAgentOptions:
    """Type `user_agent`: by the User-Agent header field."""

    patterns: tuple[UserAgentPattern, ...]
    """Patterns, any one of which suffices."""
    mode: Mode
    """What a match means."""


@dataclass(frozen=True, slots=True)
class TimeBasedOptions:
    """Type `time_based`: by the time of the request."""

    allow_during_window: bool = True
    """Whether the window is when requests are allowed, or when they are denied."""
    timezone: TimeZone = UTC
    """The time zone that the other keys are meant in."""
    start_time: TimeOfDay | None = None
    """When the window opens each day; before `end_time`, or after it for a window across midnight."""
    end_time: TimeOfDay | None = None
    """When the window closes each day."""
    days_of_week: tuple[Weekday, ...] = ()
    """The days on which it opens; none for every day."""
    start_date: CalendarDate | None = None
    """The first day."""
    end_date: CalendarDate | None = None
    """The last day."""

    def __post_init__(self) -> None:
        if (self.start_time is None) != (self.end_time is None):
            lone, other = ("end", "start") if self.start_time is None else ("start", "end")
            raise ConfigurationError((f'"{lone}_time" needs "{other}_time"',))
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise ConfigurationError(('"end_date" is before "start_date"',))


@dataclass(frozen=True, slots=True)
class AETOptions:
    """Types `aet_allow` and `aet_deny`: by the calling AE title, for `dicom_scp` endpoints."""

    ae_titles: tuple[AETitle, ...]
    """Calling AE titles."""


@dataclass(frozen=True, slots=True)
class EveryRequestOptions:
    """Types `allow_all` and `deny_all`: every request. They have no options."""
