"""Rules about what only an HTTP request has: header fields, query parameters, the user agent.

Who repeats a field or a parameter must not get round a rule: for a deny rule any one of the values that matches is a
match, for an allow rule every one must be. For a deny rule a field's value is looked at in all the ways in which
whoever serves the request may read it: as it was sent, joined with the others (RFC 9110 §5.3), and each element of it
when it is a list.

An association has none of this: as with paths, no rule matches it, so an allow rule refuses it, and a deny rule says
nothing about it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from harmonygw.config.constraints import regular_expression
from harmonygw.config.options import HeaderMatch, ParameterMatch
from harmonygw.dicom.web.query import tags_of
from harmonygw.exchange import HTTPOrigin, Request
from harmonygw.middleware.conditions import Condition, all_of, any_of

MAX_MATCHED_CHARACTERS: Final = 512
"""Characters of a value that a regular expression looks at; what is longer cannot be told. Browsers' User-Agents stay
below. The time that Python's expressions take may grow with a power of the length, one more for each repetition: at
this length `a.*a.*b` takes hundredths of a second, `a+a+a+b` seconds; one that repeats what repeats, `(a+)+b`, may take
for ever at any length. The manual says which not to write."""

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Control characters but the tab. `$` matches before a last line break and `.` does not match one, which the author of
an expression for values of one line does not expect."""

Comparison = Callable[[str], bool | None]
"""Whether a value is what is looked for; None when that cannot be told."""


def by_headers(headers: Iterable[HeaderMatch], *, denies: bool) -> Condition:
    """Match an HTTP request of whose header fields all that is listed holds; of no list, none does.

    A field that is not there matches nothing.
    """
    wanted = [(one.name.lower(), _comparison(one.match_type, one.value)) for one in headers]

    def matches(request: Request) -> bool | None:
        origin = request.origin
        if not isinstance(origin, HTTPOrigin):
            return False
        return all_of(_holds(compare, _field_values(origin, name, denies), denies) for name, compare in wanted)

    return matches


def by_query_parameters(parameters: Iterable[ParameterMatch], *, denies: bool) -> Condition:
    """Match an HTTP request of whose query parameters all that is listed holds; of no list, none does.

    A parameter that is not given matches nothing; one that is given without a value has the value "". An attribute of
    DICOM is the same parameter by its keyword and by its tag.
    """
    wanted = [(tags_of(one.name) or one.name, _comparison(one.match_type, one.value or "")) for one in parameters]

    def matches(request: Request) -> bool | None:
        origin = request.origin
        if not isinstance(origin, HTTPOrigin):
            return False
        given = [(tags_of(key) or key, value) for key, value in origin.query]
        return all_of(
            _holds(compare, [value for key, value in given if key == name], denies) for name, compare in wanted
        )

    return matches


def by_user_agent(patterns: Iterable[re.Pattern[str]], *, denies: bool) -> Condition:
    """Match an HTTP request whose User-Agent any one of the patterns finds; one without User-Agent cannot be told."""
    expressions = [_expression(pattern) for pattern in patterns]

    def matches(request: Request) -> bool | None:
        origin = request.origin
        if not isinstance(origin, HTTPOrigin):
            return False
        if not origin.headers.get("user-agent", "").strip():
            return None
        values = _field_values(origin, "user-agent", denies)
        return _holds(lambda value: any_of(finds(value) for finds in expressions), values, denies)

    return matches


def _holds(compare: Comparison, values: Sequence[str], denies: bool) -> bool | None:
    """Whether one of the values matches, for a deny rule, or every one, and one at least, for an allow rule."""
    answers = (compare(value) for value in values)
    if denies:
        # What cannot be told denies as well as a match: no time is spent on the rest, of which there may be much.
        return next((answer for answer in answers if answer is not False), False)
    return all_of(answers)


def _field_values(origin: HTTPOrigin, name: str, denies: bool) -> list[str]:
    """Return the values of a field, each in every way that it can be read: as ISO 8859-1, and as UTF-8.

    Those of a field that has `_` for `-` count too, since to a CGI it is the same (RFC 3875 §4.1.18); not alone, for an
    allow rule. For a deny rule they are also what the field's lines are together, first, and each element of that.
    """
    alike = [one for one in origin.headers if one == name or ("_" in one and one.replace("_", "-") == name)]
    values = [line for one in alike if denies or name in alike for line in origin.field_lines(one)]
    if denies and values:
        joined = ", ".join(values)
        values = [joined, *values, *joined.split(",")]
    readings = [reading for value in values for reading in (value, _as_utf_8(value))]
    return list(dict.fromkeys(reading.strip(" \t") for reading in readings))


def _as_utf_8(value: str) -> str:
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _comparison(match_type: str, value: str) -> Comparison:
    if match_type == "regex":
        return _expression(regular_expression(value))
    comparisons: dict[str, Comparison] = {
        "exact": lambda text: text == value,
        "prefix": lambda text: text.startswith(value),
        "suffix": lambda text: text.endswith(value),
        "contains": lambda text: value in text,
        "exists": lambda text: True,
    }
    return comparisons[match_type]


def _expression(pattern: re.Pattern[str]) -> Comparison:
    """Return whether a pattern is found anywhere in a text; what is too long or has control characters cannot be
    told."""

    def finds(text: str) -> bool | None:
        if len(text) > MAX_MATCHED_CHARACTERS or _CONTROLS.search(text):
            return None
        return pattern.search(text) is not None

    return finds
