"""What a Search answers with, and to which level an attribute belongs (PS3.18 §10.6, PS3.4 §C.6)."""

from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from harmonygw.dicom.dataset.dictionary import is_private, tag_of, vr_of


class Level(StrEnum):
    """The Query/Retrieve Level (0008,0052), PS3.4 §C.6; in the order of the hierarchy, top first."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


UNIQUE_KEYS: Final = MappingProxyType(
    {Level.PATIENT: "00100020", Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.IMAGE: "00080018"}
)
"""The unique key of each level, PS3.4 §C.2.2.1.1."""

SPECIFIC_CHARACTER_SET: Final = "00080005"
QUERY_RETRIEVE_LEVEL: Final = "00080052"
RETRIEVE_AE_TITLE: Final = "00080054"
INSTANCE_AVAILABILITY: Final = "00080056"
TIMEZONE_OFFSET_FROM_UTC: Final = "00080201"
RETRIEVE_URL: Final = "00081190"
MODALITIES_IN_STUDY: Final = "00080061"
AVAILABLE_TRANSFER_SYNTAX_UID: Final = "00083002"

EVERY_LEVEL: Final = frozenset(
    {
        SPECIFIC_CHARACTER_SET,
        QUERY_RETRIEVE_LEVEL,
        RETRIEVE_AE_TITLE,
        INSTANCE_AVAILABILITY,
        TIMEZONE_OFFSET_FROM_UTC,
        RETRIEVE_URL,
        "00880130",  # StorageMediaFileSetID
        "00880140",  # StorageMediaFileSetUID
    }
)
"""What describes a match and not an entity, PS3.4 §C.4.1.1.3; it goes with whatever level is asked."""

_AT_EVERY_LEVEL: Final = (RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY, TIMEZONE_OFFSET_FROM_UTC)

IF_KNOWN: Final = frozenset({*_AT_EVERY_LEVEL, AVAILABLE_TRANSFER_SYNTAX_UID})
"""What a match has with a value or not at all, PS3.18 Tables 10.6.3-3 to 10.6.3-5."""


def _tags(keywords: str) -> Iterator[str]:
    for keyword in keywords.split():
        tag = tag_of(keyword)
        if tag is None:
            raise LookupError(f"{keyword} is not in the data dictionary")
        yield f"{tag:08X}"


REQUIRED: Final = MappingProxyType(
    {
        Level.STUDY: (
            *_tags(
                """
                StudyDate StudyTime AccessionNumber ModalitiesInStudy ReferringPhysicianName PatientName
                PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID NumberOfStudyRelatedSeries
                NumberOfStudyRelatedInstances
                """
            ),
            *_AT_EVERY_LEVEL,
        ),
        Level.SERIES: (
            *_tags(
                """
                Modality SeriesDescription SeriesInstanceUID SeriesNumber NumberOfSeriesRelatedInstances
                PerformedProcedureStepStartDate PerformedProcedureStepStartTime RequestAttributesSequence
                """
            ),
            *_AT_EVERY_LEVEL,
        ),
        Level.IMAGE: (
            *_tags("SOPClassUID SOPInstanceUID InstanceNumber NumberOfFrames Rows Columns BitsAllocated"),
            AVAILABLE_TRANSFER_SYNTAX_UID,
            *_AT_EVERY_LEVEL,
        ),
    }
)
"""What every match of a level has, PS3.18 Tables 10.6.3-3 to 10.6.3-5, as far as an archive can be asked.

RetrieveURL and SpecificCharacterSet are not among them: the one is made here, the other comes by itself.
"""

_LEVELS: Final = MappingProxyType(
    {
        # PS3.3 C.7.1.1, C.7.1.3; PS3.4 Tables C.6-1 and C.3-1
        **dict.fromkeys(
            _tags(
                """
                PatientName PatientID IssuerOfPatientID TypeOfPatientID
                IssuerOfPatientIDQualifiersSequence SourcePatientGroupIdentificationSequence
                GroupOfPatientsIdentificationSequence PatientBirthDate PatientBirthTime
                PatientBirthDateInAlternativeCalendar PatientDeathDateInAlternativeCalendar
                PatientAlternativeCalendar PatientSex QualityControlSubject StrainDescription
                StrainNomenclature StrainStockSequence StrainAdditionalInformation StrainCodeSequence
                GeneticModificationsSequence OtherPatientIDs OtherPatientIDsSequence OtherPatientNames
                ReferencedPatientPhotoSequence ReferencedPatientSequence EthnicGroup
                PatientSpeciesDescription PatientSpeciesCodeSequence PatientBreedDescription
                PatientBreedCodeSequence BreedRegistrationSequence ResponsiblePerson ResponsiblePersonRole
                ResponsibleOrganization PatientComments PatientIdentityRemoved DeidentificationMethod
                DeidentificationMethodCodeSequence ClinicalTrialSponsorName ClinicalTrialProtocolID
                ClinicalTrialProtocolName ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID
                ClinicalTrialSubjectReadingID ClinicalTrialProtocolEthicsCommitteeName
                ClinicalTrialProtocolEthicsCommitteeApprovalNumber NumberOfPatientRelatedStudies
                NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances
                """
            ),
            Level.PATIENT,
        ),
        # PS3.3 C.7.2.1, C.7.2.2, C.7.2.3; PS3.4 Tables C.6-2, C.6-5 and C.3-1
        **dict.fromkeys(
            _tags(
                """
                StudyInstanceUID StudyDate StudyTime StudyID StudyDescription AccessionNumber
                IssuerOfAccessionNumberSequence ReferringPhysicianName
                ReferringPhysicianIdentificationSequence ConsultingPhysicianName
                ConsultingPhysicianIdentificationSequence PhysiciansOfRecord
                PhysiciansOfRecordIdentificationSequence NameOfPhysiciansReadingStudy
                PhysiciansReadingStudyIdentificationSequence RequestingService RequestingServiceCodeSequence
                ReferencedStudySequence ProcedureCodeSequence ReasonForPerformedProcedureCodeSequence
                OtherStudyNumbers ModalitiesInStudy SOPClassesInStudy AnatomicRegionsInStudyCodeSequence
                NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances AdmittingDiagnosesDescription
                AdmittingDiagnosesCodeSequence PatientAge PatientSize PatientWeight PatientSizeCodeSequence
                PatientBodyMassIndex MeasuredAPDimension MeasuredLateralDimension MedicalAlerts Allergies
                SmokingStatus PregnancyStatus LastMenstrualDate PatientState Occupation
                AdditionalPatientHistory PatientSexNeutered AdmissionID IssuerOfAdmissionIDSequence
                ReasonForVisit ReasonForVisitCodeSequence ServiceEpisodeID IssuerOfServiceEpisodeIDSequence
                ServiceEpisodeDescription ClinicalTrialTimePointID ClinicalTrialTimePointDescription
                LongitudinalTemporalOffsetFromEvent LongitudinalTemporalEventType
                ConsentForClinicalTrialUseSequence
                """
            ),
            Level.STUDY,
        ),
        # PS3.3 C.7.3.1, C.7.3.2, C.7.4.1, C.7.5.1; PS3.4 Tables C.6-3 and C.3-1
        **dict.fromkeys(
            _tags(
                """
                SeriesInstanceUID Modality SeriesNumber SeriesDate SeriesTime SeriesDescription
                SeriesDescriptionCodeSequence Laterality BodyPartExamined ProtocolName PatientPosition
                PerformingPhysicianName PerformingPhysicianIdentificationSequence OperatorsName
                OperatorIdentificationSequence ReferencedPerformedProcedureStepSequence
                RelatedSeriesSequence SmallestPixelValueInSeries LargestPixelValueInSeries
                RequestAttributesSequence PerformedProcedureStepID PerformedProcedureStepStartDate
                PerformedProcedureStepStartTime PerformedProcedureStepEndDate PerformedProcedureStepEndTime
                PerformedProcedureStepDescription PerformedProtocolCodeSequence
                CommentsOnThePerformedProcedureStep AnatomicalOrientationType TreatmentSessionUID
                NumberOfSeriesRelatedInstances ClinicalTrialCoordinatingCenterName ClinicalTrialSeriesID
                ClinicalTrialSeriesDescription FrameOfReferenceUID PositionReferenceIndicator Manufacturer
                ManufacturerModelName ManufacturerDeviceClassUID InstitutionName InstitutionAddress
                InstitutionalDepartmentName InstitutionalDepartmentTypeCodeSequence StationName
                DeviceSerialNumber SoftwareVersions GantryID DeviceUID UDISequence SpatialResolution
                DateOfManufacture DateOfInstallation DateOfLastCalibration TimeOfLastCalibration
                """
            ),
            Level.SERIES,
        ),
    }
)


def level_of(tag: str) -> Level | None:
    """Return the level to which the attribute with this tag, in upper-case hexadecimal, belongs.

    The levels are those of the Patient Root model: in the Study Root model what is said to belong to PATIENT
    belongs to STUDY (PS3.4 §C.6.2.1.2). None stands for whatever level is asked: `EVERY_LEVEL`, and private
    attributes, of which nobody can know. An attribute that no table claims belongs to IMAGE; one inside a
    sequence belongs where its outermost sequence does.
    """
    if tag in EVERY_LEVEL or is_private(int(tag, 16)):
        return None
    return _LEVELS.get(tag, Level.IMAGE)


def attributes_of(level: Level) -> tuple[str, ...]:
    """Return what `includefield=all` asks of a level (STUDY, SERIES or IMAGE), PS3.18 §8.3.4.3.

    At STUDY the patient's attributes are included. At IMAGE they are the required ones: what an archive keeps of an
    image beyond them cannot be listed.
    """
    levels = (Level.PATIENT, Level.STUDY) if level is Level.STUDY else (level,)
    return (*REQUIRED[level], *(tag for tag, one in _LEVELS.items() if one in levels))


@lru_cache(maxsize=1024)
def vr_of_tag(tag: str) -> str:
    """Return the VR of a standard attribute by its tag in hexadecimal, the first where there are several."""
    return vr_of(int(tag, 16)).split(" or ")[0]
