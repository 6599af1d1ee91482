"""One audit message as PS3.15 §A.5.1 has it, and its XML.

Whatever a name, an AE title or a URI holds: what XML cannot hold, and what could end a line or an attribute, is
replaced by U+FFFD or escaped, and every text has a limit. So a message is always valid, and always a single line.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Final
from xml.sax.saxutils import quoteattr

from harmonygw.dicom.audit.codes import Code

MAX_TEXT: Final = 256
"""Characters of an identifier, a name or a description. Default 256: a LO has 64, a PN 3 times 64."""

MAX_UID: Final = 64
"""Characters of a UID (PS3.5 §9.1)."""

MAX_VALUE: Final = 16_384
"""Bytes of a query or of a detail, before they are base 64. Default 16 KiB: an identifier has some hundred bytes, and
a message with one fits a UDP datagram."""

CUT: Final = "…"
"""What ends a text that was longer."""

_PLAIN: Final = re.compile(r"[ !#-%'-;=?-~]*").fullmatch
"""What nearly every text is: ASCII, and nothing in it that XML has another use for."""

_UNFIT: Final = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Control characters, line and paragraph separators, lone surrogates and noncharacters (XML 1.0 §2.2)."""

_ENTITIES: Final = {'"': "&quot;"}


class Outcome(Enum):
    """EventOutcomeIndicator (PS3.15 Table A.5.2-1)."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"
    """The action may be tried again: it was refused, or given up by who asked."""
    SERIOUS_FAILURE = "8"
    """The action was terminated."""
    MAJOR_FAILURE = "12"
    """The action was made unavailable."""


class Action(Enum):
    """EventActionCode (PS3.15 Table A.5.2-1)."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class AccessPoint(Enum):
    """NetworkAccessPointTypeCode (PS3.15 §A.5.1)."""

    MACHINE_NAME = "1"
    IP_ADDRESS = "2"
    URI = "5"


@dataclass(frozen=True, slots=True)
class EventIdentification:
    """What happened, when, and how it ended."""

    event_id: Code
    action: Action
    when: datetime
    """With a time zone."""
    outcome: Outcome = Outcome.SUCCESS
    event_types: tuple[Code, ...] = ()
    description: str = ""
    """EventOutcomeDescription: why it did not succeed."""


@dataclass(frozen=True, slots=True)
class ActiveParticipant:
    """A person or a process that took part."""

    user_id: str
    is_requestor: bool = False
    """Of one participant of a message at most (PS3.15 Table A.5.2-1)."""
    roles: tuple[Code, ...] = ()
    alternative_user_id: str = ""
    user_name: str = ""
    access_point: str = ""
    access_point_type: AccessPoint = AccessPoint.IP_ADDRESS
    """Counts with an `access_point`."""


@dataclass(frozen=True, slots=True)
class AuditSourceIdentification:
    """Who tells."""

    source_id: str
    enterprise_site_id: str = ""
    source_types: tuple[str, ...] = ("4",)
    """AuditSourceTypeCode (PS3.15 §A.5.1.2.1): 4 is an application server process."""


@dataclass(frozen=True, slots=True)
class SOPClass:
    """How many instances there are of a SOP class; of none that is named, when the UID is empty."""

    uid: str
    number_of_instances: int


@dataclass(frozen=True, slots=True)
class ObjectDescription:
    """ParticipantObjectDescription: what a study, or another object, contains."""

    accession_numbers: tuple[str, ...] = ()
    sop_classes: tuple[SOPClass, ...] = ()
    contains_studies: tuple[str, ...] = ()
    """Study Instance UIDs, of an object that is not a study."""


@dataclass(frozen=True, slots=True)
class ParticipantObjectIdentification:
    """What it happened to. An object has a name or a query; without either its name is empty."""

    id_type: Code
    object_id: str
    object_type: str
    """ParticipantObjectTypeCode: 1 a person, 2 a system object."""
    role: str = ""
    """ParticipantObjectTypeCodeRole (PS3.15 §A.5.1.2.2)."""
    name: str = ""
    query: bytes | None = None
    details: tuple[tuple[str, bytes], ...] = ()
    """ParticipantObjectDetail: types and values."""
    description: ObjectDescription | None = None


@dataclass(frozen=True, slots=True)
class AuditMessage:
    """The whole of it: one participant at least."""

    event: EventIdentification
    participants: tuple[ActiveParticipant, ...]
    source: AuditSourceIdentification
    objects: tuple[ParticipantObjectIdentification, ...] = ()


def fit(text: str, limit: int = MAX_TEXT) -> str:
    """Return a text of `limit` characters at most, without what XML cannot hold, and without line ends."""
    if len(text) > limit:
        text = text[: limit - len(CUT)] + CUT
    return _UNFIT.sub("\ufffd", text)


def write(message: AuditMessage) -> bytes:
    """Return a message as UTF-8, in one line, with an XML declaration."""
    return "".join(("<?xml version='1.0' encoding='UTF-8'?>", *_message(message))).encode()


def _message(message: AuditMessage) -> Iterator[str]:
    yield "<AuditMessage>"
    yield from _event(message.event)
    for participant in message.participants:
        yield from _participant(participant)
    yield from _source(message.source)
    for one in message.objects:
        yield from _object(one)
    yield "</AuditMessage>"


def _event(event: EventIdentification) -> Iterator[str]:
    when = event.when.astimezone(UTC).isoformat(timespec="milliseconds")
    yield _tag(
        "EventIdentification",
        ("EventActionCode", event.action.value),
        ("EventDateTime", when),
        ("EventOutcomeIndicator", event.outcome.value),
    )
    yield _code("EventID", event.event_id)
    yield from (_code("EventTypeCode", one) for one in event.event_types)
    if event.description:
        yield _element("EventOutcomeDescription", event.description)
    yield "</EventIdentification>"


def _participant(one: ActiveParticipant) -> Iterator[str]:
    access_point: tuple[tuple[str, str], ...] = ()
    if one.access_point:
        access_point = (
            ("NetworkAccessPointID", one.access_point),
            ("NetworkAccessPointTypeCode", one.access_point_type.value),
        )
    yield _tag(
        "ActiveParticipant",
        ("UserID", one.user_id),
        *_unless_empty("AlternativeUserID", one.alternative_user_id),
        *_unless_empty("UserName", one.user_name),
        ("UserIsRequestor", "true" if one.is_requestor else "false"),
        *access_point,
    )
    yield from (_code("RoleIDCode", role) for role in one.roles)
    yield "</ActiveParticipant>"


def _source(source: AuditSourceIdentification) -> Iterator[str]:
    yield _tag(
        "AuditSourceIdentification",
        *_unless_empty("AuditEnterpriseSiteID", source.enterprise_site_id),
        ("AuditSourceID", source.source_id),
    )
    yield from (_tag("AuditSourceTypeCode", ("csd-code", one), empty=True) for one in source.source_types)
    yield "</AuditSourceIdentification>"


def _object(one: ParticipantObjectIdentification) -> Iterator[str]:
    yield _tag(
        "ParticipantObjectIdentification",
        ("ParticipantObjectID", one.object_id),
        ("ParticipantObjectTypeCode", one.object_type),
        *_unless_empty("ParticipantObjectTypeCodeRole", one.role),
    )
    yield _code("ParticipantObjectIDTypeCode", one.id_type)
    if one.query is None:
        yield _element("ParticipantObjectName", one.name)
    else:
        yield f"<ParticipantObjectQuery>{_base64(one.query)}</ParticipantObjectQuery>"
    for kind, value in one.details:
        yield f"<ParticipantObjectDetail type={_quoted(kind)} value={_quoted_base64(value)}/>"
    if one.description is not None:
        yield from _description(one.description)
    yield "</ParticipantObjectIdentification>"


def _description(one: ObjectDescription) -> Iterator[str]:
    yield "<ParticipantObjectDescription>"
    yield from (_tag("Accession", ("Number", number), empty=True) for number in one.accession_numbers)
    for sop_class in one.sop_classes:
        uid = _unless_empty("UID", fit(sop_class.uid, MAX_UID))
        yield _tag("SOPClass", *uid, ("NumberOfInstances", str(sop_class.number_of_instances)), empty=True)
    if one.contains_studies:
        yield "<ParticipantObjectContainsStudy>"
        yield from (_tag("StudyIDs", ("UID", fit(uid, MAX_UID)), empty=True) for uid in one.contains_studies)
        yield "</ParticipantObjectContainsStudy>"
    yield "</ParticipantObjectDescription>"


@lru_cache(maxsize=64)
def _code(name: str, code: Code) -> str:
    return _tag(
        name,
        ("csd-code", code.value),
        ("codeSystemName", code.system),
        ("originalText", code.meaning),
        empty=True,
    )


def _element(name: str, text: str) -> str:
    escaped = fit(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<{name}>{escaped}</{name}>"


def _tag(name: str, *attributes: tuple[str, str], empty: bool = False) -> str:
    written = "".join(f" {attribute}={_quoted(value)}" for attribute, value in attributes)
    return f"<{name}{written}{'/' if empty else ''}>"


def _unless_empty(name: str, value: str) -> Iterable[tuple[str, str]]:
    return ((name, value),) if value else ()


def _quoted(value: str) -> str:
    if len(value) <= MAX_TEXT and _PLAIN(value):
        return f'"{value}"'
    return quoteattr(fit(value), _ENTITIES)


def _quoted_base64(value: bytes) -> str:
    return f'"{_base64(value)}"'


def _base64(value: bytes) -> str:
    return b64encode(value[:MAX_VALUE]).decode("ascii")
