"""Options of the rule types of policies."""

from dataclasses import dataclass
from datetime import UTC
from typing import Literal

from harmonygw.config.constraints import (
    AETitle,
    CalendarDate,
    Count,
    Expression,
    FieldName,
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

    name: FieldName
    """The field's name, in any case."""
    value: str
    """The value, in which upper and lower case differ; or the regular expression, plain or as `/…/i`, which may match
    anywhere in the field's value unless it says `^` and `$`."""
    match_type: Literal["exact", "prefix", "suffix", "contains", "regex"] = "exact"
    """How the field's value is compared with `value`."""

    def __post_init__(self) -> None:
        if self.match_type == "regex":
            regular_expression(self.value)


@dataclass(frozen=True, slots=True)
class HeaderOptions:
    """Type `header`: by header fields. Of a field that is sent several times, one value that matches denies, and every
    one must match to be allowed. A field that is not sent matches nothing, and an association has none. A regular
    expression looks at values of at most 512 characters: a longer one counts against the request, and so does one with
    control characters. All requests wait while one is looked at: do not write an expression with more than two
    repetitions of the same characters in a row, nor one that repeats what repeats, such as `(a+)+b`."""

    headers: tuple[HeaderMatch, ...]
    """Conditions, all of which must hold; without any, no request matches. For a deny rule, the elements of a list that
    is separated by commas are values too."""
    mode: Mode
    """What a match means."""


@dataclass(frozen=True, slots=True)
class ParameterMatch:
    """One condition on a query parameter."""

    name: Name
    """The parameter's name, in which upper and lower case differ. An attribute of DICOM has two, its keyword and its
    tag: a rule about one does not see the other."""
    value: str | None = None
    """The value, in which upper and lower case differ; or the regular expression, plain or as `/…/i`; none for
    `exists`."""
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
    """Type `query_parameter`: by query parameters, decoded. Of a parameter that is given several times, one value that
    matches denies, and every one must match to be allowed. A parameter that is not given matches nothing, and an
    association has none. Regular expressions are as with `header`."""

    parameters: tuple[ParameterMatch, ...]
    """Conditions, all of which must hold; without any, no request matches."""
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
    """Type `user_agent`: by the User-Agent header field. An HTTP request without one counts against itself: an allow
    rule does not match it, a deny rule does. An association has none: an allow rule refuses it, a deny rule says
    nothing. Regular expressions are as with `header`."""

    patterns: tuple[UserAgentPattern, ...]
    """Patterns, any one of which suffices."""
    mode: Mode
    """What a match means."""


@dataclass(frozen=True, slots=True)
class TimeBasedOptions:
    """Type `time_based`: by the time of the request, over HTTP and on associations alike. It is that of the host's
    clock, as clocks on the wall show it in `timezone`: an hour that they show twice, when summer time ends, counts
    twice, and one that they leave out does not come."""

    allow_during_window: bool = True
    """Whether requests are allowed in the window, and only there, or denied in it."""
    timezone: TimeZone = UTC
    """The time zone that the other keys are meant in."""
    start_time: TimeOfDay | None = None
    """When the window opens each day; before `end_time`, or after it for a window across midnight. Without the two, it
    is the whole day."""
    end_time: TimeOfDay | None = None
    """When the window closes each day; this moment is not in it any more. "00:00" for the end of the day."""
    days_of_week: tuple[Weekday, ...] = ()
    """The days on which it opens; none for every day. A window across midnight belongs to the day on which it
    opened."""
    start_date: CalendarDate | None = None
    """The first day on which it opens."""
    end_date: CalendarDate | None = None
    """The last day on which it opens."""

    def __post_init__(self) -> None:
        if (self.start_time is None) != (self.end_time is None):
            lone, other = ("end", "start") if self.start_time is None else ("start", "end")
            raise ConfigurationError((f'"{lone}_time" needs "{other}_time"',))
        if self.start_time is not None and self.start_time == self.end_time:
            raise ConfigurationError(('"end_time" is "start_time" too; leave both out for the whole day',))
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise ConfigurationError(('"end_date" is before "start_date"',))


@dataclass(frozen=True, slots=True)
class AETOptions:
    """Types `aet_allow` and `aet_deny`: by the calling AE title, for `dicom_scp` endpoints. An HTTP request has none:
    an allow rule refuses it, a deny rule says nothing. Who calls chooses the title: it is a name, not a proof."""

    ae_titles: tuple[AETitle, ...]
    """Calling AE titles, in which upper and lower case differ; spaces around them do not count."""


@dataclass(frozen=True, slots=True)
class EveryRequestOptions:
    """Types `allow_all` and `deny_all`: every request. They have no options."""
