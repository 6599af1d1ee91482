"""The values of a Search's keys: text of a query parameter to values in the DICOM JSON model (PS3.18 §F.2).

Every value is checked against its VR (PS3.5 Table 6.2-1), with what matching adds to it (PS3.4 §C.2.2.2), before an
archive sees it. What is malformed is refused by its name, and nothing that the client meant as a restriction turns into
universal matching.
"""

import math
import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from harmonygw.dicom.dataset.matching import EMPTY_VALUE
from harmonygw.dicom.web.resources import check_uid
from harmonygw.errors import BadRequest

MAX_TEXT_LENGTH: Final = 10240
"""Characters of a key whose VR sets no limit (UC, UR, UT): that of LT, PS3.5 Table 6.2-1."""

_WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""VRs with Wild Card Matching, PS3.4 §C.2.2.2.4."""

_MULTIPLE_VALUE_VRS: Final = frozenset({"AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC"})
"""VRs with Multiple Value Matching, PS3.4 §C.2.2.2.8."""

_ONE_VALUE_VRS: Final = frozenset({"LT", "ST", "UR", "UT"})
"""VRs in which a backslash is a character like any other, PS3.5 §6.2."""


def key_values(name: str, vr: str, texts: Sequence[str], *, several: bool, empty_allowed: bool) -> list[Any]:
    """Return the values of the key that the client calls `name`; none for universal matching.

    `texts` are what the parameter was given, once or more often; each may hold a list. `several` says whether the
    attribute can be matched by more than one value, as a UID always can; `empty_allowed` whether `""` asks for an
    attribute without value (PS3.4 §C.2.2.2.7), which it does by itself only. Raises BadRequest, naming the key.
    """
    parts = list(dict.fromkeys(part for text in texts if text for part in _split(vr, text)))
    wild = vr in _WILDCARD_VRS and any("*" in part or "?" in part for part in parts)
    if len(parts) > 1 and vr != "UI":
        if not (several and vr in _MULTIPLE_VALUE_VRS):
            raise BadRequest(f"{name} has several values; only one can be matched.")
        if wild:
            raise BadRequest(f"{name} has several values; none of them can have wildcards.")
        if empty_allowed and EMPTY_VALUE in parts:
            raise BadRequest(f"{name} has several values; none of them can be the empty one.")
    if wild and not parts[0].strip("*"):
        return []
    return [_value(name, vr, part, empty_allowed=empty_allowed) for part in parts]


def _split(vr: str, text: str) -> list[str]:
    if vr in _ONE_VALUE_VRS:
        return [text.strip(" ")]
    if vr in ("UI", "CS"):
        text = text.replace(",", "\\")
    return [part.strip(" ") for part in text.split("\\")]


def _value(name: str, vr: str, text: str, *, empty_allowed: bool) -> Any:
    if _UNFIT.search(text):
        raise BadRequest(f"{name} has a control character, or one that is not UTF-8.")
    if not text:
        raise BadRequest(f"{name} has an empty value in a list, or one of blanks.")
    if empty_allowed and text == EMPTY_VALUE and vr in _TEXTS:
        return {"Alphabetic": text} if vr == "PN" else text
    if vr == "UI":
        return check_uid(text, name)
    if vr == "PN":
        return _person_name(name, text)
    if vr in _INTEGERS:
        return _integer(name, vr, text)
    if vr in ("FL", "FD"):
        return _real(name, text)
    if vr not in _TEXTS:
        raise BadRequest(f"{name} has VR {vr}, which cannot be matched.")
    kind = _TEXTS[vr]
    if (
        len(text.replace("*", "") if vr in _WILDCARD_VRS else text) > kind.length
        or (kind.pattern and not kind.pattern.fullmatch(text))
        or (kind.check and not kind.check(text))
    ):
        raise BadRequest(f"{name} is not a {vr}: {kind.expected}.")
    return text.upper() if vr == "AT" else text


def _person_name(name: str, text: str) -> dict[str, str]:
    groups = text.split("=")
    if len(groups) > 3 or not any(groups) or any(len(group.replace("*", "")) > 64 for group in groups):
        raise BadRequest(f"{name} is not a PN: at most three component groups of at most 64 characters.")
    return {form: group for form, group in zip(_FORMS, groups, strict=False) if group}


def _integer(name: str, vr: str, text: str) -> int:
    least, most = _INTEGERS[vr]
    if not re.fullmatch("[+-]?[0-9]{1,20}", text) or not least <= int(text) <= most:
        raise BadRequest(f"{name} is not a {vr}: a whole number from {least} to {most}.")
    return int(text)


def _real(name: str, text: str) -> float:
    if not re.fullmatch(_DECIMAL, text) or not math.isfinite(float(text)):
        raise BadRequest(f"{name} is not a number.")
    return float(text)


_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
"""Control characters, and what decoding leaves of bytes that are not UTF-8."""

_FORMS: Final = ("Alphabetic", "Ideographic", "Phonetic")
"""The component groups of a PN, PS3.18 §F.2.2."""

_INTEGERS: Final = {
    "US": (0, 2**16 - 1),
    "SS": (-(2**15), 2**15 - 1),
    "UL": (0, 2**32 - 1),
    "SL": (-(2**31), 2**31 - 1),
    "UV": (0, 2**64 - 1),
    "SV": (-(2**63), 2**63 - 1),
}

_DECIMAL = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_DATE = "[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3])([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?"
_DATE_TIME = f"([0-9]{{4}}(0[1-9]|1[0-2])?|{_DATE}({_TIME})?)([+-](0[0-9]|1[0-4])[0-5][0-9])?"


def _range(value: str) -> re.Pattern[str]:
    """Return the pattern of Single Value and Range Matching, PS3.4 §C.2.2.2.5: `A`, `A-B`, `A-`, `-B`."""
    return re.compile(f"{value}(-({value})?)?|-{value}")


def _dates_exist(text: str) -> bool:
    for day in re.findall(r"(?<![0-9.])[0-9]{8}", text):
        try:
            date(int(day[:4]), int(day[4:6]), int(day[6:]))
        except ValueError:
            return False
    return True


class _Text(NamedTuple):
    length: int
    expected: str
    pattern: re.Pattern[str] | None = None
    check: Callable[[str], bool] | None = None


_TEXTS: Final = {
    "AE": _Text(16, "at most 16 ASCII characters", re.compile("[ -~]+")),
    "AS": _Text(4, "three digits and one of D, W, M, Y", re.compile("[0-9]{3}[DWMY]")),
    "AT": _Text(8, "eight hexadecimal digits", re.compile("[0-9A-Fa-f]{8}")),
    "CS": _Text(16, "at most 16 upper-case letters, digits, blanks or underscores", re.compile("[A-Z0-9 _*?]+")),
    "DA": _Text(17, "YYYYMMDD, or a range of two with a hyphen", _range(_DATE), _dates_exist),
    "DS": _Text(16, "a decimal number of at most 16 characters", re.compile(_DECIMAL)),
    "DT": _Text(53, "YYYYMMDDHHMMSS.FFFFFF&ZZXX, cut short or a range of two", _range(f"({_DATE_TIME})"), _dates_exist),
    "IS": _Text(
        12,
        "a whole number from -2147483648 to 2147483647",
        re.compile("[+-]?[0-9]+"),
        lambda text: -(2**31) <= int(text) < 2**31,
    ),
    "LO": _Text(64, "at most 64 characters"),
    "LT": _Text(10240, "at most 10240 characters"),
    "PN": _Text(64 * 3 + 2, "at most three component groups of at most 64 characters"),
    "SH": _Text(16, "at most 16 characters"),
    "ST": _Text(1024, "at most 1024 characters"),
    "TM": _Text(27, "HHMMSS.FFFFFF, cut short or a range of two with a hyphen", _range(_TIME)),
    "UC": _Text(MAX_TEXT_LENGTH, f"at most {MAX_TEXT_LENGTH} characters"),
    "UR": _Text(MAX_TEXT_LENGTH, f"at most {MAX_TEXT_LENGTH} characters"),
    "UT": _Text(MAX_TEXT_LENGTH, f"at most {MAX_TEXT_LENGTH} characters"),
}
"""What a key of each text VR looks like, PS3.5 Table 6.2-1, with what matching adds (PS3.4 §C.2.2.2)."""
