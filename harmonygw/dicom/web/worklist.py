"""The search for Modality Scheduled Procedure Steps: what each has, and what is asked for it (PS3.18 §14.4).

The keys are those of the Modality Worklist Information Model (PS3.4 Table K.6-1), where the attributes of the step
itself are nested in one item of the Scheduled Procedure Step Sequence (0040,0100).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from harmonygw.dicom.dataset.dictionary import tag_of, vr_of

SCHEDULED_PROCEDURE_STEP_SEQUENCE: Final = "00400100"

_STEP: Final = """
    ScheduledStationAETitle ScheduledProcedureStepStartDate ScheduledProcedureStepStartTime Modality
    ScheduledPerformingPhysicianName ScheduledProcedureStepDescription ScheduledStationName
    ScheduledProcedureStepLocation ScheduledProtocolCodeSequence PreMedication ScheduledProcedureStepID
    RequestedContrastAgent
"""
_REST: Final = """
    RequestedProcedureID RequestedProcedureDescription RequestedProcedureCodeSequence StudyInstanceUID
    ReferencedStudySequence RequestedProcedurePriority PatientTransportArrangements
    AccessionNumber RequestingPhysician ReferringPhysicianName
    AdmissionID CurrentPatientLocation ReferencedPatientSequence
    PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex PatientWeight
    ConfidentialityConstraintOnPatientDataDescription PatientState PregnancyStatus MedicalAlerts Allergies SpecialNeeds
"""


def _empty(keywords: str) -> Mapping[str, Mapping[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for keyword in keywords.split():
        tag = tag_of(keyword)
        if tag is None:
            raise LookupError(f"{keyword} is not in the data dictionary")
        found[f"{tag:08X}"] = {"vr": vr_of(tag)}
    return MappingProxyType(found)


RETURNED_OF_STEP: Final = _empty(_STEP)
"""Attributes of the step that every match has: Return Key Types 1, 1C, 2 and 2C of PS3.4 Table K.6-1."""
RETURNED: Final = _empty(_REST)
"""Those of the requested procedure, the imaging service request, the visit and the patient likewise, and the issuer of
the Patient ID, without which that names nobody for certain."""


def identifier_keys(keys: Mapping[str, Any], return_keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identifier of a worklist C-FIND: the keys of a Search, and whatever each match has to have."""
    asked = {**RETURNED, **return_keys, **keys}
    step = asked.get(SCHEDULED_PROCEDURE_STEP_SEQUENCE, {}).get("Value") or [{}]
    asked[SCHEDULED_PROCEDURE_STEP_SEQUENCE] = {"vr": "SQ", "Value": [{**RETURNED_OF_STEP, **step[0]}]}
    return asked
