"""The codes of audit messages: PS3.16 Annex D (DCM) by the Context Groups that PS3.15 §A.5 names, and RFC 3881's."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value (`CodedValueType`, PS3.15 §A.5.1)."""

    value: str
    system: str
    meaning: str


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def _own(value: str, meaning: str) -> Code:
    return Code(value, "99HARMONYGW", meaning)


# EventID: CID 400

APPLICATION_ACTIVITY: Final = _dcm("110100", "Application Activity")
BEGIN_TRANSFERRING: Final = _dcm("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED: Final = _dcm("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED: Final = _dcm("110104", "DICOM Instances Transferred")
QUERY: Final = _dcm("110112", "Query")
SECURITY_ALERT: Final = _dcm("110113", "Security Alert")
USER_AUTHENTICATION: Final = _dcm("110114", "User Authentication")

# EventTypeCode: CID 401, and CID 403 of a Security Alert

APPLICATION_START: Final = _dcm("110120", "Application Start")
APPLICATION_STOP: Final = _dcm("110121", "Application Stop")
LOGIN: Final = _dcm("110122", "Login")
NODE_AUTHENTICATION: Final = _dcm("110126", "Node Authentication")
RESTRICTED_FUNCTION: Final = _dcm("110132", "Use of Restricted Function")
AUDIT_RECORDING_STARTED: Final = _dcm("110134", "Audit Recording Started")

HOSTILE_BYTES: Final = _own("hostile_bytes", "Protocol Violation")
UNSOLICITED_OBJECT: Final = _own("unsolicited_object", "Unsolicited SOP Instance")
PATIENTS_DIFFER: Final = _own("patients_differ", "Study Instance UID of Different Patients")
RATE_LIMITED: Final = _own("rate_limited", "Too Many Requests")
OTHER_ALERT: Final = _own("alert", "Security Alert")
"""Ours: CID 403 is extensible, and has none for these."""

# RoleIDCode: CID 402

APPLICATION: Final = _dcm("110150", "Application")
DESTINATION_ROLE: Final = _dcm("110152", "Destination Role ID")
SOURCE_ROLE: Final = _dcm("110153", "Source Role ID")

# ParticipantObjectIDTypeCode: CID 404, and PS3.15 §A.5.1.2.4

STUDY_INSTANCE_UID: Final = _dcm("110180", "Study Instance UID")
SOP_CLASS_UID: Final = _dcm("110181", "SOP Class UID")
NODE_ID: Final = _dcm("110182", "Node ID")
PATIENT_NUMBER: Final = Code("2", "RFC-3881", "Patient Number")
URI: Final = Code("12", "RFC-3881", "URI")
