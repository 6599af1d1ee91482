"""Sample studies for a first look: a phantom, a beating heart that is a circle, and files that pydicom ships.

Everything has fixed UIDs, so that a manual can name them. The samples go into the archive the way that every
object goes, and only into an archive that is empty.
"""

from collections.abc import Iterator
from pathlib import Path
from struct import pack
from typing import Final, NamedTuple

from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import dcmread
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

from harmonygw.backends.storage import heart, phantom
from harmonygw.backends.storage.index import Index

_ROOT: Final = "2.25.332166812048013663502702772972255540432"
PHANTOM_PATIENT_ID: Final = "PID123"
PHANTOM_STUDY_INSTANCE_UID: Final = f"{_ROOT}.1"
PHANTOM_SERIES_INSTANCE_UID: Final = f"{_ROOT}.1.1"
PHANTOM_STUDY_DATE: Final = "20250614"
HEART_PATIENT_ID: Final = "PID456"
HEART_STUDY_INSTANCE_UID: Final = f"{_ROOT}.2"
HEART_SERIES_INSTANCE_UID: Final = f"{_ROOT}.2.1"
HEART_SOP_INSTANCE_UID: Final = f"{_ROOT}.2.1.1"
HEART_STUDY_DATE: Final = "20250930"

SHIPPED: Final = (
    "CT_small.dcm",
    "MR_small.dcm",
    "JPEG2000.dcm",
    "examples_rgb_color.dcm",
    "examples_ybr_color.dcm",
    "test-SR.dcm",
    "rtplan.dcm",
)
"""In pydicom's wheel: native and compressed, grey and colour, many frames, a report, Implicit VR."""


_GROUP_2_OFFSET: Final = 144
"""Bytes of preamble, prefix and group length: what (0002,0000) does not count (PS3.10 §7.1)."""


class Sample(NamedTuple):
    """One instance, encoded: the pieces are its data set."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    pieces: tuple[bytes, ...]


def phantom_sop_instance_uid(number: int) -> str:
    """Return the SOP Instance UID of the phantom's slice `number`, counted from 1 at the feet."""
    return f"{PHANTOM_SERIES_INSTANCE_UID}.{number}"


def are_wanted(index: Index) -> bool:
    """Whether an archive is empty, or holds only what was stored before the samples were interrupted."""
    return index.is_empty() or (
        index.contains(phantom_sop_instance_uid(1)) and not index.contains(HEART_SOP_INSTANCE_UID)
    )


def make() -> Iterator[Sample]:
    """Make one sample after another; the heart comes last, and says that all of them are there."""
    yield from _phantom()
    for name in SHIPPED:
        path = get_testdata_file(name, download=False)
        if path is not None:
            yield _shipped(Path(str(path)))
    yield _heart()


def _shipped(path: Path) -> Sample:
    file = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
    offset = _GROUP_2_OFFSET + file.file_meta.FileMetaInformationGroupLength
    # The file meta information of some names another instance than the data set: the data set is right.
    return Sample(
        str(file.SOPClassUID),
        str(file.SOPInstanceUID),
        str(file.file_meta.TransferSyntaxUID),
        (path.read_bytes()[offset:],),
    )


def _phantom() -> Iterator[Sample]:
    data_set = _common(PHANTOM_STUDY_DATE, "101500")
    data_set.update(_PHANTOM)
    for number in range(1, phantom.SLICES + 1):
        z = (number - 0.5) * phantom.SLICE_SPACING - phantom.HALF_LENGTH
        corner = phantom.PIXEL_SPACING * (1 - phantom.COLUMNS) / 2
        data_set.SOPInstanceUID = phantom_sop_instance_uid(number)
        data_set.InstanceNumber = number
        data_set.ImagePositionPatient = [corner, corner, z]
        data_set.SliceLocation = z
        yield _encoded(data_set, b"OW", phantom.slice_pixels(number - 1))


def _heart() -> Sample:
    data_set = _common(HEART_STUDY_DATE, "143000")
    data_set.update(_HEART)
    return _encoded(data_set, b"OB", b"".join(map(heart.frame_pixels, range(heart.FRAMES))))


def _encoded(data_set: Dataset, vr: bytes, pixels: bytes) -> Sample:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    pixel_data = pack("<HH2s2xI", 0x7FE0, 0x0010, vr, len(pixels))
    return Sample(
        str(data_set.SOPClassUID),
        str(data_set.SOPInstanceUID),
        str(ExplicitVRLittleEndian),
        (buffer.getvalue(), pixel_data, pixels),
    )


def _common(date: str, time: str) -> Dataset:
    data_set = Dataset()
    for event in ("InstanceCreation", "Study", "Series", "Acquisition", "Content"):
        setattr(data_set, f"{event}Date", date)
        setattr(data_set, f"{event}Time", time)
    data_set.TimezoneOffsetFromUTC = "+0000"
    data_set.Manufacturer = "harmonygw"
    data_set.ManufacturerModelName = "Sample studies"
    data_set.InstitutionName = "No Hospital"
    data_set.ReferringPhysicianName = "Nobody^Nora"
    data_set.SeriesNumber = 1
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.PixelRepresentation = 0
    data_set.BurnedInAnnotation = "NO"
    data_set.LossyImageCompression = "00"
    return data_set


def _attributes(**values: object) -> Dataset:
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return data_set


_PHANTOM: Final = _attributes(
    SpecificCharacterSet="ISO_IR 100",
    ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
    SOPClassUID=CTImageStorage,
    AccessionNumber="ACC123",
    Modality="CT",
    StudyDescription="CT chest and upper abdomen, generated",
    SeriesDescription="Axial 2.5 mm",
    PatientName="Phantom^Torso",
    PatientID=PHANTOM_PATIENT_ID,
    IssuerOfPatientID="HARMONYGW",
    PatientBirthDate="19700101",
    PatientSex="O",
    PatientAge="055Y",
    PatientPosition="HFS",
    BodyPartExamined="CHEST",
    ContrastBolusAgent="None, but drawn as if there were",
    SliceThickness=phantom.SLICE_SPACING,
    SpacingBetweenSlices=phantom.SLICE_SPACING,
    KVP=120,
    DataCollectionDiameter=500,
    ReconstructionDiameter=400,
    GantryDetectorTilt=0,
    ExposureTime=500,
    XRayTubeCurrent=200,
    ConvolutionKernel="ELLIPSE",
    ProtocolName="Phantom",
    StudyInstanceUID=PHANTOM_STUDY_INSTANCE_UID,
    SeriesInstanceUID=PHANTOM_SERIES_INSTANCE_UID,
    StudyID="1",
    AcquisitionNumber=1,
    ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
    FrameOfReferenceUID=f"{_ROOT}.1.0",
    PositionReferenceIndicator="",
    Rows=phantom.ROWS,
    Columns=phantom.COLUMNS,
    PixelSpacing=[phantom.PIXEL_SPACING, phantom.PIXEL_SPACING],
    BitsAllocated=16,
    BitsStored=12,
    HighBit=11,
    WindowCenter=[40, -500],
    WindowWidth=[400, 1500],
    WindowCenterWidthExplanation=["SOFT TISSUE", "LUNG"],
    RescaleIntercept=phantom.RESCALE_INTERCEPT,
    RescaleSlope=1,
    RescaleType="HU",
)
_HEART: Final = _attributes(
    SpecificCharacterSet=["", "ISO 2022 IR 87"],
    ImageType=["ORIGINAL", "PRIMARY"],
    SOPClassUID=UltrasoundMultiFrameImageStorage,
    SOPInstanceUID=HEART_SOP_INSTANCE_UID,
    AccessionNumber="ACC456",
    Modality="US",
    StudyDescription="Echocardiography, generated",
    SeriesDescription="One beat",
    PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
    PatientID=HEART_PATIENT_ID,
    IssuerOfPatientID="HARMONYGW",
    PatientBirthDate="19640923",
    PatientSex="M",
    FrameTime=heart.FRAME_TIME,
    StudyInstanceUID=HEART_STUDY_INSTANCE_UID,
    SeriesInstanceUID=HEART_SERIES_INSTANCE_UID,
    StudyID="2",
    InstanceNumber=1,
    PatientOrientation="",
    NumberOfFrames=heart.FRAMES,
    FrameIncrementPointer=0x00181063,
    Rows=heart.ROWS,
    Columns=heart.COLUMNS,
    BitsAllocated=8,
    BitsStored=8,
    HighBit=7,
)
