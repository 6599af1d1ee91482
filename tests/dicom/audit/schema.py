"""The standard's schema of audit messages (PS3.15 §A.5.1), and messages held against it."""

from pathlib import Path
from typing import Any

from lxml import etree

_SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("dicom_audit_message.rng")))


def validated(message: bytes) -> Any:
    """Return the root element of a message; fails when it is not valid."""
    root = etree.fromstring(message)
    assert _SCHEMA.validate(root), (_SCHEMA.error_log, message)
    return root


def event_of(root: Any) -> tuple[str, str, str]:
    """Return the code of the event, the action and the outcome."""
    event = root.find("EventIdentification")
    return event.find("EventID").get("csd-code"), event.get("EventActionCode"), event.get("EventOutcomeIndicator")


def objects_of(root: Any, code: str) -> list[str]:
    """Return the identifiers of the objects of a type, by the code of that."""
    found = root.iterfind("ParticipantObjectIdentification")
    return [
        one.get("ParticipantObjectID")
        for one in found
        if one.find("ParticipantObjectIDTypeCode").get("csd-code") == code
    ]


def users_of(root: Any) -> list[str]:
    """Return the UserID of each participant."""
    return [one.get("UserID") for one in root.iterfind("ActiveParticipant")]
