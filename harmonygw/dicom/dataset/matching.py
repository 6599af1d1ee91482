"""Attribute matching (PS3.4 §C.2.2.2) on data sets in the DICOM JSON model (PS3.18 F.2).

A `Matcher` is made of the matching keys once and applied to many candidates. Every kind of matching of the
standard is here, combined date-time matching aside: a date and a time are matched each for itself. In doubt a
candidate matches, because a study that is hidden does more harm than one too many:

- a value of less precision than the key matches when it may be meant, and the other way round (`10` is any
  time from 10:00:00 to the last microsecond before 11:00:00);
- person names match whatever their letter case, and a key of one component group matches any group of the
  name;
- leading and trailing spaces do not count, and legacy dates and times (`1997.11.21`, `10:20:30`) are read.

A key matches when any of its values matches any value of the candidate: that is list of UID matching
(§C.2.2.2.2) and multiple value matching (§C.2.2.2.8).
"""

import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

DataSet = Mapping[str, Any]
"""Upper-case hexadecimal tag to element: `{"00080060": {"vr": "CS", "Value": ["CT"]}}`."""

Element = Mapping[str, Any]
"""`{"vr": …, "Value": […]}`."""

EMPTY_VALUE: Final = '""'
"""The value of a key that matches attributes without value: empty value matching, PS3.4 §C.2.2.2.7."""

DEFINITE_VRS: Final = frozenset({"CS", "DA", "UI"})
"""The VRs by which a match can be told to be wrong without knowing how an archive compares text."""

_WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""PS3.4 §C.2.2.2.4."""
_NUMBER_VRS: Final = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_NEVER_MATCHED_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})

_NOT_KEYS: Final = frozenset({"00080005", "00080052", "00080053", "00080201"})
"""What an identifier holds besides keys: character set, level, view, time zone."""

_Test = Callable[[Any], bool]
"""Whether one value of a candidate matches one value of a key."""


class Matcher:
    """Matching keys, made ready: wildcards are compiled and ranges parsed once."""

    def __init__(self, keys: DataSet) -> None:
        self._keys = [(tag, _Key(key)) for tag, key in keys.items() if tag not in _NOT_KEYS and not _universal(key)]

    def matches(self, candidate: DataSet) -> bool:
        """Tell whether every key matches."""
        return all(key.matches(candidate.get(tag)) for tag, key in self._keys)

    def definite_mismatches(self, candidate: DataSet) -> tuple[str, ...]:
        """Return the tags of keys of `DEFINITE_VRS` which the candidate has with values that do not match.

        An attribute that the candidate lacks, or has without value, is no mismatch; nor is a date that cannot
        be read.
        """
        return tuple(tag for tag, key in self._keys if key.definitely_differs(candidate.get(tag)))


def matches(keys: DataSet, candidate: DataSet) -> bool:
    """Tell whether `candidate` matches every key; for many candidates make a `Matcher`."""
    return Matcher(keys).matches(candidate)


def matches_element(key_element: Element, candidate_element: Element | None) -> bool:
    """Tell whether one element of a candidate, None when it lacks it, matches its key."""
    return _universal(key_element) or _Key(key_element).matches(candidate_element)


def definite_mismatch(keys: DataSet, candidate: DataSet) -> tuple[str, ...]:
    """Return what `Matcher.definite_mismatches` returns."""
    return Matcher(keys).definite_mismatches(candidate)


def _values(element: Element | None) -> list[Any]:
    """Return the values that are not empty."""
    if element is None:
        return []
    return [value for value in element.get("Value", ()) if value is not None and value != ""]


def _universal(key: Element) -> bool:
    """Tell whether a key matches everything, an attribute that is missing included (PS3.4 §C.2.2.2.3)."""
    vr, values = key.get("vr", ""), _values(key)
    if not values or vr in _NEVER_MATCHED_VRS:
        return True
    if vr == "SQ":
        return any(all(map(_universal, item.values())) for item in values)
    if vr == "PN":
        return any(not any(text.strip("*^") for text in _groups(value).values()) for value in values)
    return any(not str(value).strip(" *") for value in values)


class _Key:
    """One key that is not universal."""

    def __init__(self, element: Element) -> None:
        vr = element.get("vr", "")
        values = _values(element)
        asked_for = [value for value in values if not _empty_value(vr, value)]
        self._tests = [_test(vr, value) for value in asked_for]
        self._empty_matches = len(asked_for) < len(values)
        self._dates = vr == "DA"
        self._definite = vr in DEFINITE_VRS
        if vr == "DA":
            self._definite = all(_bounds("DA", str(value)) is not None for value in asked_for)

    def matches(self, element: Element | None) -> bool:
        """Tell whether any value matches."""
        values = _values(element)
        if not values:
            return self._empty_matches
        return any(test(value) for value in values for test in self._tests)

    def definitely_differs(self, element: Element | None) -> bool:
        """Tell whether there are values, none of them matches, and no doubt about it."""
        values = _values(element)
        if not self._definite or not values:
            return False
        if self._dates and any(_span("DA", str(value)) is None for value in values):
            return False
        return not self.matches(element)


def _empty_value(vr: str, value: Any) -> bool:
    return _groups(value) == {"Alphabetic": EMPTY_VALUE} if vr == "PN" else bool(value == EMPTY_VALUE)


def _test(vr: str, key: Any) -> _Test:
    """Return the test for one value of a key."""
    if vr == "SQ":
        return Matcher(key).matches
    if vr == "PN":
        return _person_name(key)
    if vr in _NUMBER_VRS:
        return _number(key)
    text = str(key).strip("\0 ")
    if vr in _SPAN_VRS:
        return _range(vr, text)
    if vr == "AT":
        return lambda value: str(value).strip().upper() == text.upper()
    pattern = _wildcards(text) if vr in _WILDCARD_VRS else None
    if pattern is None:
        return lambda value: str(value).strip("\0 ") == text
    return lambda value: pattern.match(str(value).strip("\0 ")) is not None


# Wildcards


def _wildcards(text: str) -> re.Pattern[str] | None:
    """Return the pattern of a value with `*` or `?`, or None when it has neither (PS3.4 §C.2.2.2.4).

    What stands between two asterisks is taken where it first occurs and never tried again elsewhere, which is
    enough for a match to be found, and keeps a key from anywhere from costing more than its length.
    """
    if "*" not in text and "?" not in text:
        return None
    first, *rest = ("".join("." if one == "?" else re.escape(one) for one in run) for run in text.split("*"))
    if not rest:
        return re.compile(rf"{first}\Z", re.DOTALL)
    middle = "".join(f"(?>.*?{run})" for run in rest[:-1] if run)
    return re.compile(rf"{first}{middle}.*{rest[-1]}\Z", re.DOTALL)


# Person names

_GROUP_NAMES: Final = ("Alphabetic", "Ideographic", "Phonetic")
_EMPTY_COMPONENTS: Final = "^^^^"
"""What a name may end in that has none of the components behind the family name."""


def _groups(value: Any) -> dict[str, str]:
    """Return the component groups that are not empty, folded, without empty components at their end."""
    named = zip(_GROUP_NAMES, str(value).split("="), strict=False)
    groups = value if isinstance(value, Mapping) else dict(named)
    folded = {}
    for name, text in groups.items():
        components = [component.strip() for component in str(text).casefold().split("^")]
        if any(components):
            folded[name] = "^".join(components).rstrip("^")
    return folded


def _person_name(key: Any) -> _Test:
    tests = {name: _folded_text(text) for name, text in _groups(key).items()}
    if len(tests) == 1:
        (test,) = tests.values()
        return lambda value: any(map(test, _groups(value).values()))

    def matches_every_group_of_both(value: Any) -> bool:
        groups = _groups(value)
        shared = tests.keys() & groups.keys()
        return bool(shared) and all(tests[name](groups[name]) for name in shared)

    return matches_every_group_of_both


def _folded_text(text: str) -> Callable[[str], bool]:
    pattern = _wildcards(text)
    if pattern is None:
        return lambda group: group == text
    return lambda group: bool(pattern.match(group) or pattern.match(group + _EMPTY_COMPONENTS))


# Numbers


def _number(key: Any) -> _Test:
    number, text = _decimal(key), str(key).strip()

    def equal(value: Any) -> bool:
        other = _decimal(value) if number is not None else None
        return str(value).strip() == text if other is None else other == number

    return equal


def _decimal(value: Any) -> Decimal | None:
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


# Dates and times


class _Span(NamedTuple):
    """The time that a value may mean: its first and last microsecond, as YYYYMMDDHHMMSSFFFFFF."""

    first: str
    last: str
    offset: int | None = None
    """Minutes east of UTC; None where a value does not say."""


_SPAN_VRS: Final = frozenset({"DA", "DT", "TM"})
_PATTERNS: Final = {
    "DA": re.compile(r"(\d{4})(?:\.?(\d\d)(?:\.?(\d\d))?)?", re.ASCII),
    "TM": re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?)?", re.ASCII),
    "DT": re.compile(
        r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?)?)?)?"
        r"(?P<offset>[+-]\d{4})?",
        re.ASCII,
    ),
}
_FIRST: Final = "00000101000000000000"
_LAST: Final = "99991231235960999999"
_TIME: Final = len("YYYYMMDD")
"""Where the time begins in the digits of a span."""
_LARGEST_OFFSET: Final = 14 * 60
"""Minutes. No time zone is further from UTC; what looks like more is a year."""


def _span(vr: str, text: str) -> _Span | None:
    """Return what a single value may mean, or None when it is neither date nor time."""
    match = _PATTERNS[vr].fullmatch(text.strip())
    if match is None:
        return None
    groups = match.groupdict()
    zone = groups.get("offset")
    offset = None
    if zone is not None:
        offset = int(zone[0] + "1") * (60 * int(zone[1:3]) + int(zone[3:]))
        if abs(offset) > _LARGEST_OFFSET:
            return None
    digits = "".join(part or "" for part in match.groups()[: 7 if vr == "DT" else None])
    if vr == "TM":
        digits = _FIRST[:_TIME] + digits
    return _Span(digits + _FIRST[len(digits) :], digits + _LAST[len(digits) :], offset)


def _bounds(vr: str, key: str) -> tuple[_Span | None, _Span | None] | None:
    """Return both ends of a single value or a range, None for an open end; None when it is neither.

    A hyphen may also begin an offset from UTC, so each is tried as the one between the ends.
    """
    single = _span(vr, key)
    if single is not None:
        return single, single
    for position in (at for at, one in enumerate(key) if one == "-"):
        before, after = key[:position].strip(), key[position + 1 :].strip()
        first, last = _span(vr, before), _span(vr, after)
        if (first or not before) and (last or not after) and (first or last):
            return first, last
    return None


def _range(vr: str, key: str) -> _Test:
    """Return the test for a single value or a range, open or not (PS3.4 §C.2.2.2.1, §C.2.2.2.5)."""
    bounds = _bounds(vr, key)
    if bounds is None:
        return lambda value: str(value).strip() == key
    first, last = bounds

    def overlaps(value: Any) -> bool:
        candidate = _span(vr, str(value))
        if candidate is None:
            return False
        after_first = first is None or _begins_before_end(first, candidate)
        return after_first and (last is None or _begins_before_end(candidate, last))

    return overlaps


def _begins_before_end(one: _Span, other: _Span) -> bool:
    """Tell whether `one` may begin before `other` ends; unless both have offsets, as they stand."""
    if one.offset is None or other.offset is None or one.offset == other.offset:
        return one.first <= other.last
    first, last = _utc(one.first, one.offset), _utc(other.last, other.offset)
    return first is None or last is None or first <= last


def _utc(digits: str, offset: int) -> datetime | None:
    """Return the moment in UTC, or None when there is none such."""
    try:
        day = min(int(digits[6:8]), monthrange(int(digits[:4]), int(digits[4:6]))[1])
        second = min(digits[12:14], "59")
        moment = datetime.strptime(f"{digits[:6]}{day:02}{digits[8:12]}{second}{digits[14:]}", "%Y%m%d%H%M%S%f")
        return moment - timedelta(minutes=offset)
    except (ValueError, OverflowError):
        return None
