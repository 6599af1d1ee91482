"""The content tree of a structured report, out of the DICOM JSON model of its data set (PS3.3 §C.17.3)."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydicom.config import IGNORE
from pydicom.uid import UID

from harmonygw.dicom.dataset.dictionary import tag_of
from harmonygw.errors import NotAcceptable, TooLarge

MAX_CONTENT_ITEMS: Final = 20_000
"""Content items of a report that are shown. Default 20,000: a mammography CAD report has some thousands."""

CONTAINER: Final = "CONTAINER"

Attributes = dict[str, Any]

_DATE: Final = re.compile(r"(\d{4})(\d\d)(\d\d)")
_TIME: Final = re.compile(r"(\d\d)(\d\d)(?:(\d\d)(\.\d+)?)?")
_DATE_TIME: Final = re.compile(r"(\d{8})(\d{4,6}(?:\.\d+)?)?([+-]\d{4})?")


@dataclass(frozen=True, slots=True)
class ContentItem:
    """One item: its name, its value as text, and what is below it."""

    value_type: str
    """The defined term, such as `NUM`; empty for a reference to another item of the tree."""
    name: str
    """The meaning of its concept name, empty when it has none."""
    value: str
    """What it says; empty for a container."""
    children: tuple["ContentItem", ...] = ()


def content_tree(data_set: Attributes) -> ContentItem:
    """Return the root of the tree of a data set in the DICOM JSON model.

    Raises `NotAcceptable` when it has none, and `TooLarge` beyond `MAX_CONTENT_ITEMS`. Its depth is bounded by what
    reads data sets (`MAX_NESTING_DEPTH`).
    """
    if not text(data_set, "ValueType"):
        raise NotAcceptable("the object is no structured report")
    return _item(data_set, iter(range(MAX_CONTENT_ITEMS)))


def text(attributes: Attributes, keyword: str) -> str:
    """Return the values of an attribute as text, as it is for a person to read; empty when it has none."""
    attribute = attributes.get(f"{tag_of(keyword):08X}", {})
    form = _FORMS.get(attribute.get("vr", ""), str)
    return ", ".join(form(value) for value in attribute.get("Value", ()) if value is not None)


def items(attributes: Attributes, keyword: str) -> list[Attributes]:
    """Return the items of a sequence, none when it is absent or none."""
    attribute = attributes.get(f"{tag_of(keyword):08X}", {})
    return attribute.get("Value", []) if attribute.get("vr") == "SQ" else []


def meaning(attributes: Attributes, keyword: str) -> str:
    """Return what the first code of a sequence means: its meaning, or the code itself; empty when there is none."""
    for code in items(attributes, keyword)[:1]:
        return text(code, "CodeMeaning") or " ".join(filter(None, _code(code)))
    return ""


def _code(code: Attributes) -> tuple[str, str]:
    value = text(code, "CodeValue") or text(code, "LongCodeValue") or text(code, "URNCodeValue")
    return value, text(code, "CodingSchemeDesignator")


def _item(attributes: Attributes, count: Iterator[int]) -> ContentItem:
    if next(count, None) is None:
        raise TooLarge(f"the report has more than MAX_CONTENT_ITEMS ({MAX_CONTENT_ITEMS}) content items")
    value_type = text(attributes, "ValueType")
    referenced = text(attributes, "ReferencedContentItemIdentifier")
    if referenced and not value_type:
        position = referenced.replace(", ", ".")
        return ContentItem("", text(attributes, "RelationshipType").lower(), f"see item {position}")
    value = _VALUES[value_type](attributes) if value_type in _VALUES else ""
    children = tuple(_item(child, count) for child in items(attributes, "ContentSequence"))
    return ContentItem(value_type, meaning(attributes, "ConceptNameCodeSequence"), value, children)


def _measurement(attributes: Attributes) -> str:
    for measured in items(attributes, "MeasuredValueSequence")[:1]:
        units = items(measured, "MeasurementUnitsCodeSequence")
        code, scheme = _code(units[0]) if units else ("", "")
        # UCUM codes are how units are written; its unit of numbers without one is 1.
        unit = meaning(measured, "MeasurementUnitsCodeSequence")
        if scheme == "UCUM":
            unit = "" if code == "1" else code
        return f"{text(measured, 'NumericValue')} {unit}".strip()
    return meaning(attributes, "NumericValueQualifierCodeSequence")


def _coded(attributes: Attributes) -> str:
    return meaning(attributes, "ConceptCodeSequence")


def _reference(attributes: Attributes) -> str:
    references = []
    for reference in items(attributes, "ReferencedSOPSequence"):
        sop_class = text(reference, "ReferencedSOPClassUID")
        frames = text(reference, "ReferencedFrameNumber")
        shown = f"{UID(sop_class, IGNORE).name} {text(reference, 'ReferencedSOPInstanceUID')}"
        references.append(shown + (f", frame {frames}" if frames else ""))
    return "; ".join(references)


def _coordinates(attributes: Attributes) -> str:
    dimensions = 3 if text(attributes, "ValueType") == "SCOORD3D" else 2
    numbers = len(attributes.get("00700022", {}).get("Value", ()))
    return f"{text(attributes, 'GraphicType')}, points: {numbers // dimensions}"


def _valued(keyword: str) -> Callable[[Attributes], str]:
    return lambda attributes: text(attributes, keyword)


_VALUES: Final[dict[str, Callable[[Attributes], str]]] = {
    "TEXT": _valued("TextValue"),
    "NUM": _measurement,
    "CODE": _coded,
    "DATETIME": _valued("DateTime"),
    "DATE": _valued("Date"),
    "TIME": _valued("Time"),
    "PNAME": _valued("PersonName"),
    "UIDREF": _valued("UID"),
    "COMPOSITE": _reference,
    "IMAGE": _reference,
    "WAVEFORM": _reference,
    "SCOORD": _coordinates,
    "SCOORD3D": _coordinates,
    "TCOORD": _valued("TemporalRangeType"),
}
"""What the items say, by value type (PS3.3 Table C.17.3-7)."""


def _person_name(value: Attributes) -> str:
    groups = (value.get(group, "").replace("^", " ").split() for group in ("Alphabetic", "Ideographic"))
    return " = ".join(" ".join(words) for words in groups if words)


def _date(value: str) -> str:
    matched = _DATE.fullmatch(value)
    return "-".join(matched.groups()) if matched else value


def _time(value: str) -> str:
    matched = _TIME.fullmatch(value)
    if matched is None:
        return value
    hours, minutes, seconds, fraction = matched.groups()
    return ":".join(filter(None, (hours, minutes, seconds))) + (fraction or "")


def _date_time(value: str) -> str:
    matched = _DATE_TIME.fullmatch(value)
    if matched is None:
        return value
    day, time, offset = matched.groups()
    return " ".join(filter(None, (_date(day), time and _time(time), offset)))


_FORMS: Final[dict[str, Callable[[Any], str]]] = {
    "PN": _person_name,
    "DA": _date,
    "TM": _time,
    "DT": _date_time,
}
