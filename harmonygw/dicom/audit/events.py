"""The events of PS3.15 §A.5.3 that a gateway has, each as its message: one function a table of the standard."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from harmonygw.dicom.audit import codes
from harmonygw.dicom.audit.codes import Code
from harmonygw.dicom.audit.message import (
    Action,
    ActiveParticipant,
    AuditMessage,
    AuditSourceIdentification,
    EventIdentification,
    ObjectDescription,
    Outcome,
    ParticipantObjectIdentification,
    SOPClass,
)

PERSON: Final = "1"
SYSTEM_OBJECT: Final = "2"
"""ParticipantObjectTypeCode (PS3.15 Table A.5.2-1)."""

PATIENT: Final = "1"
REPORT: Final = "3"
SECURITY_RESOURCE: Final = "13"
"""ParticipantObjectTypeCodeRole (PS3.15 §A.5.1.2.2)."""

NONE: Final = "<none>"
"""The Patient ID of an object that has none, and of a study whose patient nobody named: the field is mandatory, and
must not look like anybody's."""

MAX_CLASSES: Final = 16
"""SOP classes that are listed of a study; the instances of all others are counted together. Default 16: a study of one
examination has two or three."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the messages of one event have in common."""

    when: datetime
    source: AuditSourceIdentification
    outcome: Outcome = Outcome.SUCCESS
    description: str = ""
    """Why it did not succeed."""


@dataclass(frozen=True, slots=True)
class AuditedPatient:
    """Whose it is."""

    patient_id: str = ""
    name: str = ""
    """A PN as DICOM writes it."""
    issuer: str = ""
    """Issuer of Patient ID (0010,0021)."""


@dataclass(frozen=True, slots=True)
class AuditedStudy:
    """A study, and what of it took part."""

    study_instance_uid: str
    sop_classes: tuple[SOPClass, ...] = ()
    """Empty when it is not known."""
    accession_number: str = ""
    details: tuple[tuple[str, bytes], ...] = ()


def application_started(circumstances: Circumstances, application: ActiveParticipant) -> AuditMessage:
    """Return the Application Activity of a start (PS3.15 §A.5.3.1)."""
    return _application_activity(circumstances, application, codes.APPLICATION_START)


def application_stopped(circumstances: Circumstances, application: ActiveParticipant) -> AuditMessage:
    """Return the Application Activity of a stop (PS3.15 §A.5.3.1)."""
    return _application_activity(circumstances, application, codes.APPLICATION_STOP)


def begin_transferring(
    circumstances: Circumstances,
    sender: ActiveParticipant,
    receiver: ActiveParticipant,
    others: Sequence[ActiveParticipant],
    studies: Iterable[AuditedStudy],
    patient: AuditedPatient,
) -> AuditMessage:
    """Return Begin Transferring DICOM Instances, of one patient (PS3.15 §A.5.3.3)."""
    return AuditMessage(
        _event(circumstances, codes.BEGIN_TRANSFERRING, Action.EXECUTE),
        _ends(sender, receiver, others),
        circumstances.source,
        (*map(_study, studies), _patient(patient)),
    )


def instances_accessed(
    circumstances: Circumstances,
    action: Action,
    participants: Sequence[ActiveParticipant],
    studies: Iterable[AuditedStudy],
    patient: AuditedPatient,
) -> AuditMessage:
    """Return DICOM Instances Accessed, of one patient; there are one or two participants (PS3.15 §A.5.3.6)."""
    return AuditMessage(
        _event(circumstances, codes.INSTANCES_ACCESSED, action),
        tuple(participants),
        circumstances.source,
        (*map(_study, studies), _patient(patient)),
    )


def instances_transferred(
    circumstances: Circumstances,
    sender: ActiveParticipant,
    receiver: ActiveParticipant,
    others: Sequence[ActiveParticipant],
    studies: Iterable[AuditedStudy],
    patient: AuditedPatient,
) -> AuditMessage:
    """Return DICOM Instances Transferred, of one patient (PS3.15 §A.5.3.7).

    The action is Read: whether the receiver held the instances before is not known to who passes them on.
    """
    return AuditMessage(
        _event(circumstances, codes.INSTANCES_TRANSFERRED, Action.READ),
        _ends(sender, receiver, others),
        circumstances.source,
        (*map(_study, studies), _patient(patient)),
    )


def query(
    circumstances: Circumstances,
    asker: ActiveParticipant,
    answerer: ActiveParticipant,
    others: Sequence[ActiveParticipant],
    *,
    sop_class_uid: str,
    transfer_syntax_uid: str,
    identifier: bytes,
    details: Iterable[tuple[str, bytes]] = (),
) -> AuditMessage:
    """Return the Query of an encoded identifier (PS3.15 §A.5.3.10)."""
    queried = ParticipantObjectIdentification(
        codes.SOP_CLASS_UID,
        sop_class_uid,
        SYSTEM_OBJECT,
        REPORT,
        query=identifier,
        details=(("TransferSyntax", transfer_syntax_uid.encode()), *details),
    )
    return _query(circumstances, asker, answerer, others, queried)


def uri_query(
    circumstances: Circumstances,
    asker: ActiveParticipant,
    answerer: ActiveParticipant,
    others: Sequence[ActiveParticipant],
    *,
    path: str,
    parameters: bytes,
) -> AuditMessage:
    """Return the Query of a URI, where there is no identifier (PS3.15 §A.5.3.10, note 2)."""
    queried = ParticipantObjectIdentification(codes.URI, path, SYSTEM_OBJECT, REPORT, query=parameters)
    return _query(circumstances, asker, answerer, others, queried)


def security_alert(
    circumstances: Circumstances,
    kind: Code,
    reporter: ActiveParticipant,
    performers: Sequence[ActiveParticipant],
    *,
    subject: str,
    description: str,
) -> AuditMessage:
    """Return a Security Alert about a node, by its address or name (PS3.15 §A.5.3.11)."""
    return AuditMessage(
        _event(circumstances, codes.SECURITY_ALERT, Action.EXECUTE, kind),
        (replace(reporter, is_requestor=False), *(replace(one, is_requestor=False) for one in performers)),
        circumstances.source,
        (
            ParticipantObjectIdentification(
                codes.NODE_ID,
                subject,
                SYSTEM_OBJECT,
                SECURITY_RESOURCE,
                details=(("Alert Description", description.encode("utf-8", "replace")),),
            ),
        ),
    )


def login(circumstances: Circumstances, user: ActiveParticipant, node: ActiveParticipant) -> AuditMessage:
    """Return the User Authentication of an attempt to log in, which the outcome tells of (PS3.15 §A.5.3.12)."""
    return AuditMessage(
        _event(circumstances, codes.USER_AUTHENTICATION, Action.EXECUTE, codes.LOGIN),
        (replace(user, is_requestor=True), replace(node, is_requestor=False)),
        circumstances.source,
    )


def _application_activity(circumstances: Circumstances, application: ActiveParticipant, kind: Code) -> AuditMessage:
    return AuditMessage(
        _event(circumstances, codes.APPLICATION_ACTIVITY, Action.EXECUTE, kind),
        (replace(application, is_requestor=False, roles=(codes.APPLICATION,)),),
        circumstances.source,
    )


def _query(
    circumstances: Circumstances,
    asker: ActiveParticipant,
    answerer: ActiveParticipant,
    others: Sequence[ActiveParticipant],
    queried: ParticipantObjectIdentification,
) -> AuditMessage:
    return AuditMessage(
        _event(circumstances, codes.QUERY, Action.EXECUTE),
        _ends(asker, answerer, others),
        circumstances.source,
        (queried,),
    )


def _event(circumstances: Circumstances, event_id: Code, action: Action, *kinds: Code) -> EventIdentification:
    return EventIdentification(
        event_id, action, circumstances.when, circumstances.outcome, kinds, circumstances.description
    )


def _ends(
    sender: ActiveParticipant, receiver: ActiveParticipant, others: Sequence[ActiveParticipant]
) -> tuple[ActiveParticipant, ...]:
    return (
        replace(sender, roles=(codes.SOURCE_ROLE,)),
        replace(receiver, roles=(codes.DESTINATION_ROLE,)),
        *others,
    )


def _study(study: AuditedStudy) -> ParticipantObjectIdentification:
    classes = study.sop_classes
    if len(classes) > MAX_CLASSES:
        rest = sum(one.number_of_instances for one in classes[MAX_CLASSES - 1 :])
        classes = (*classes[: MAX_CLASSES - 1], SOPClass("", rest))
    # An Accession must not stand without a SOPClass (PS3.15 Table A.5.2-1).
    accession_numbers = (study.accession_number,) if study.accession_number and classes else ()
    return ParticipantObjectIdentification(
        codes.STUDY_INSTANCE_UID,
        study.study_instance_uid or NONE,
        SYSTEM_OBJECT,
        REPORT,
        details=study.details,
        description=ObjectDescription(accession_numbers, classes) if classes else None,
    )


def _patient(patient: AuditedPatient) -> ParticipantObjectIdentification:
    issuer = patient.issuer.encode("utf-8", "replace")
    return ParticipantObjectIdentification(
        codes.PATIENT_NUMBER,
        patient.patient_id or NONE,
        PERSON,
        PATIENT,
        name=patient.name,
        details=(("Issuer of Patient ID", issuer),) if issuer else (),
    )
