"""Which attributes the index keeps at which level, and how they answer a query.

All of them in the DICOM JSON model (PS3.18 F.2), which is UTF-8 whatever the object's character set was. The
tables hold the keys of PS3.4 §C.6.1.1 and §C.6.2.1, those that PS3.18 §10.6.3 requires in a response, and
what viewers and worklists ask for beyond them. An attribute that stands in no table is an optional key that
is not supported: as a matching key it is ignored, and it is returned without a value (PS3.4 §C.2.2.1.3).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydicom.datadict import tag_for_keyword

from harmonygw.operations import DataSet, Level
from harmonygw.streams import Match


def tag_of(keyword: str) -> str:
    """Return the tag of a keyword as DICOM JSON writes it; `ValueError` for what is no keyword."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no keyword of PS3.6")
    return f"{tag:08X}"


def _tags(keywords: str) -> frozenset[str]:
    return frozenset(map(tag_of, keywords.split()))


PATIENT: Final = _tags("""
    PatientName PatientID IssuerOfPatientID IssuerOfPatientIDQualifiersSequence TypeOfPatientID
    PatientBirthDate PatientBirthTime PatientSex OtherPatientIDsSequence OtherPatientNames EthnicGroup
    PatientComments
""")
STUDY: Final = _tags("""
    StudyInstanceUID StudyDate StudyTime AccessionNumber IssuerOfAccessionNumberSequence StudyID
    StudyDescription ReferringPhysicianName ReferringPhysicianIdentificationSequence PhysiciansOfRecord
    NameOfPhysiciansReadingStudy ProcedureCodeSequence ReferencedStudySequence
    AdmittingDiagnosesDescription PatientAge PatientSize PatientWeight Occupation AdditionalPatientHistory
    TimezoneOffsetFromUTC
""")
SERIES: Final = _tags("""
    SeriesInstanceUID Modality SeriesNumber SeriesDescription SeriesDescriptionCodeSequence SeriesDate
    SeriesTime Laterality BodyPartExamined PatientPosition ProtocolName PerformingPhysicianName
    OperatorsName Manufacturer ManufacturerModelName DeviceSerialNumber StationName InstitutionName
    InstitutionalDepartmentName FrameOfReferenceUID RequestAttributesSequence PerformedProcedureStepID
    PerformedProcedureStepDescription PerformedProcedureStepStartDate PerformedProcedureStepStartTime
    ReferencedPerformedProcedureStepSequence
""")
IMAGE: Final = _tags("""
    SOPClassUID SOPInstanceUID InstanceNumber ImageType ImageComments InstanceCreationDate
    InstanceCreationTime ContentDate ContentTime AcquisitionDate AcquisitionTime AcquisitionDateTime
    AcquisitionNumber Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation BitsAllocated
    BitsStored ImagePositionPatient ImageOrientationPatient SliceLocation SliceThickness PixelSpacing
    LossyImageCompression ContentLabel ContentDescription ConceptNameCodeSequence ContentTemplateSequence
    CompletionFlag VerificationFlag DocumentTitle MIMETypeOfEncapsulatedDocument RTPlanLabel
    StructureSetLabel PresentationCreationDate PresentationCreationTime
""")

SPECIFIC_CHARACTER_SET: Final = tag_of("SpecificCharacterSet")
INSTANCE_AVAILABILITY: Final = tag_of("InstanceAvailability")
MODALITIES_IN_STUDY: Final = tag_of("ModalitiesInStudy")
SOP_CLASSES_IN_STUDY: Final = tag_of("SOPClassesInStudy")
PATIENT_STUDIES: Final = tag_of("NumberOfPatientRelatedStudies")
PATIENT_SERIES: Final = tag_of("NumberOfPatientRelatedSeries")
PATIENT_INSTANCES: Final = tag_of("NumberOfPatientRelatedInstances")
STUDY_SERIES: Final = tag_of("NumberOfStudyRelatedSeries")
STUDY_INSTANCES: Final = tag_of("NumberOfStudyRelatedInstances")
SERIES_INSTANCES: Final = tag_of("NumberOfSeriesRelatedInstances")
AVAILABLE_TRANSFER_SYNTAX: Final = tag_of("AvailableTransferSyntaxUID")

SYNTHESISED: Final[Mapping[Level, frozenset[str]]] = {
    Level.PATIENT: frozenset({PATIENT_STUDIES, PATIENT_SERIES, PATIENT_INSTANCES}),
    Level.STUDY: frozenset({MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY, STUDY_SERIES, STUDY_INSTANCES}),
    Level.SERIES: frozenset({SERIES_INSTANCES}),
    Level.IMAGE: frozenset({AVAILABLE_TRANSFER_SYNTAX}),
}
"""What no object carries, and the index counts."""

NOT_OURS: Final = _tags("SpecificCharacterSet QueryRetrieveLevel QueryRetrieveView RetrieveAETitle RetrieveURL")
"""What belongs to the exchange and not to the objects: never matched, and the endpoint's to return."""

LEVELS: Final = tuple(Level)


def down_to(level: Level) -> tuple[Level, ...]:
    """Return the levels from the patient's to `level`."""
    return LEVELS[: LEVELS.index(level) + 1]


def _supported(level: Level) -> frozenset[str]:
    tables = {Level.PATIENT: PATIENT, Level.STUDY: STUDY, Level.SERIES: SERIES, Level.IMAGE: IMAGE}
    upper = down_to(level)
    return frozenset().union({INSTANCE_AVAILABILITY}, *(tables[one] | SYNTHESISED[one] for one in upper))


SUPPORTED: Final = {level: _supported(level) for level in LEVELS}
"""The keys that can match at each level."""


def part_of(data_set: DataSet, tags: Iterable[str]) -> dict[str, Any]:
    """Return the elements of `data_set` that are among `tags`."""
    return {tag: data_set[tag] for tag in tags if tag in data_set}


def text_of(data_set: DataSet, tag: str) -> str:
    """Return the first value of an attribute as text, `""` when there is none."""
    element = data_set.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    if not isinstance(values, list) or not values or values[0] is None:
        return ""
    value = values[0]
    if isinstance(value, Mapping):
        return next((str(value[group]) for group in ("Alphabetic", "Ideographic", "Phonetic") if group in value), "")
    return str(value)


def number_of(data_set: DataSet, tag: str, default: int) -> int:
    """Return the first value of an IS as a number, or `default` when there is none below it."""
    try:
        number = int(float(text_of(data_set, tag)))
    except (ValueError, OverflowError):
        return default
    return number if abs(number) < default else default


def merged(stored: DataSet, arrived: DataSet) -> dict[str, Any]:
    """Return what two objects of one study or series say of it: the newer value, unless it is empty."""
    return {
        **stored,
        **{tag: element for tag, element in arrived.items() if "Value" in element or tag not in stored},
    }


def answer(asked: DataSet, candidate: DataSet) -> Match:
    """Return the attributes asked for, those that it lacks without a value (PS3.4 §C.4.1.1.3.2)."""
    return {
        tag: _element(key, candidate[tag]) if tag in candidate else {"vr": key.get("vr", "UN")}
        for tag, key in sorted(asked.items())
        if tag not in NOT_OURS
    }


def _element(key: Mapping[str, Any], element: Mapping[str, Any]) -> Mapping[str, Any]:
    """Reduce the items of a sequence to the attributes asked for, when any are named."""
    wanted = next((item for item in key.get("Value") or () if isinstance(item, Mapping)), None)
    if element.get("vr") != "SQ" or not wanted or "Value" not in element:
        return element
    return {"vr": "SQ", "Value": [answer(wanted, item) for item in element["Value"]]}
