"""References to SOP instances, as sequences of a data set have them (PS3.3 Table 10-11)."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

REFERENCED_SOP_CLASS_UID: Final = "00081150"
REFERENCED_SOP_INSTANCE_UID: Final = "00081155"
FAILURE_REASON: Final = "00081197"
FAILED_SOP_SEQUENCE: Final = "00081198"
REFERENCED_SOP_SEQUENCE: Final = "00081199"


class Reference(NamedTuple):
    """One SOP instance; its study and series where they are told."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str = ""
    series_instance_uid: str = ""


def item(reference: Reference, failure_reason: int | None = None) -> dict[str, Any]:
    """Return the item that refers to an instance, in the DICOM JSON model; with a reason where it failed."""
    made: dict[str, Any] = {
        REFERENCED_SOP_CLASS_UID: {"vr": "UI", "Value": [reference.sop_class_uid]},
        REFERENCED_SOP_INSTANCE_UID: {"vr": "UI", "Value": [reference.sop_instance_uid]},
    }
    if failure_reason is not None:
        made[FAILURE_REASON] = {"vr": "US", "Value": [failure_reason]}
    return made


def items(data_set: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    """Return the items of a sequence, none where it is missing or is not a sequence."""
    element = data_set.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return [one for one in values if isinstance(one, Mapping)] if isinstance(values, list) else []


def text(data_set: Mapping[str, Any], tag: str) -> str:
    """Return the one value of an attribute, if that is text, else an empty string."""
    element = data_set.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values[0] if isinstance(values, list) and len(values) == 1 and isinstance(values[0], str) else ""
