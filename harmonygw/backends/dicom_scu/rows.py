"""Reading what a row of a C-FIND says, and asking for it (PS3.18 §F.2)."""

from harmonygw.dicom.web.attributes import vr_of_tag
from harmonygw.operations import DataSet
from harmonygw.streams import Match


def asked(*tags: str) -> DataSet:
    """Return return keys for these tags."""
    return {tag: {"vr": vr_of_tag(tag)} for tag in tags}


def uids(tag: str, *values: str) -> DataSet:
    """Return a matching key of VR UI."""
    return {tag: {"vr": "UI", "Value": list(values)}}


def texts(row: Match, tag: str) -> tuple[str, ...]:
    """Return the values of an attribute that are text and not empty."""
    return tuple(value for value in row.get(tag, {}).get("Value", ()) if isinstance(value, str) and value)


def text(row: Match, tag: str) -> str:
    """Return the first of them, or nothing."""
    return next(iter(texts(row, tag)), "")


def number(row: Match, tag: str) -> int | None:
    """Return the first value as a number, or None when there is none or it is no number."""
    for value in row.get(tag, {}).get("Value", ()):
        try:
            return int(value)
        except (TypeError, ValueError):
            return None
    return None
