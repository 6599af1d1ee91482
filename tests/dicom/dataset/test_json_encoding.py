"""DICOM JSON out of bytes: what pydicom makes of the same bytes, but for the differences that are listed here."""

import io
import math
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack
from typing import Any

import orjson
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.filewriter import write_dataset

from harmonygw.dicom.dataset.elements import MAX_NESTING_DEPTH, inflate
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.errors import PeerError
from tests.corpus import CORPUS

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
ENCODINGS = [IMPLICIT, EXPLICIT, BIG_ENDIAN]

WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
ITEM = bytes.fromhex("FEFF00E0")
ENDLESS = bytes.fromhex("FFFFFFFF")
ITEM_END = bytes.fromhex("FEFF0DE0 00000000")
SEQUENCE_END = bytes.fromhex("FEFFDDE0 00000000")

FILES = [
    *("CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"),
    *("693_J2KI.dcm", "ExplVR_BigEnd.dcm", "JPEG2000.dcm", "JPGExtended.dcm", "UN_sequence.dcm"),
    *("examples_overlay.dcm", "examples_palette.dcm", "examples_ybr_color.dcm", "image_dfl.dcm"),
    *("empty_charset_LEI.dcm", "nested_priv_SQ.dcm", "priv_SQ.dcm", "reportsi.dcm", "rtdose.dcm", "rtplan.dcm"),
    *("rtdose_expb.dcm", "test-SR.dcm", "waveform_ecg.dcm", "SC_rgb_small_odd_big_endian.dcm"),
    *("chrArab.dcm", "chrFren.dcm", "chrFrenMulti.dcm", "chrGerm.dcm", "chrGreek.dcm", "chrH31.dcm"),
    *("chrH32.dcm", "chrHbrw.dcm", "chrI2.dcm", "chrJapMulti.dcm", "chrJapMultiExplicitIR6.dcm"),
    *("chrKoreanMulti.dcm", "chrRuss.dcm", "chrSQEncoding.dcm", "chrSQEncoding1.dcm", "chrX1.dcm", "chrX2.dcm"),
]


def as_here(attributes: dict[str, Any], *, big_endian: bool = False) -> dict[str, Any]:
    """Return pydicom's JSON with every difference that is meant; whatever else differs is a fault."""
    result = {}
    for name, attribute in attributes.items():
        vr = str(attribute["vr"])
        values = attribute.get("Value")
        inline = attribute.get("InlineBinary")
        # Group lengths are left out (PS3.18 §F.2.2), whatever VR pydicom finds for them.
        if name.endswith("0000"):
            continue
        # Encapsulated pixel data has no place in JSON but at its URI.
        if name == "7FE00010" and inline and b64decode(inline[:8]).startswith(ITEM):
            continue
        # JSON does not tell the transfer syntax: binary values are Little Endian.
        if inline and big_endian and vr in WORDS:
            data = b64decode(inline)
            step = WORDS[vr]
            words = (data[at : at + step][::-1] for at in range(0, len(data), step))
            inline = b64encode(b"".join(words)).decode()
        if values is not None:
            values = list(_values(vr, values, big_endian=big_endian))
        # An attribute without values has no array (§F.2.5).
        content = {"InlineBinary": inline} if inline else {"Value": values} if values else {}
        result[name] = {"vr": vr, **content}
    return result


def _values(vr: str, values: list[Any], *, big_endian: bool) -> Iterator[Any]:
    for value in values:
        if vr == "SQ":
            yield as_here(value, big_endian=big_endian)
        elif vr == "PN":
            # Empty component groups are left out (§F.2.2).
            yield {name: group for name, group in value.items() if group} or None
        elif vr in ("UC", "LT", "ST", "UT", "UR"):
            yield value or None
        elif isinstance(value, str):
            # Spaces are padding on both sides and in each value (PS3.5 §6.2); the empty value is null (§F.2.5).
            yield value.strip(" \0") or None
        elif isinstance(value, float) and not math.isfinite(value):
            # JSON has no such numbers.
            yield "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        else:
            yield value


def with_numbers(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return our JSON with those DS as numbers that are strings because a number would lose digits (§F.2.3)."""
    result = {}
    for name, attribute in attributes.items():
        values = attribute.get("Value")
        if attribute["vr"] == "SQ" and values:
            attribute = {**attribute, "Value": [with_numbers(item) for item in values]}
        elif attribute["vr"] == "DS" and values:
            attribute = {**attribute, "Value": [float(value) if isinstance(value, str) else value for value in values]}
        result[name] = attribute
    return result


def encoded(data_set: Dataset, transfer_syntax_uid: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax_uid == IMPLICIT
    buffer.is_little_endian = transfer_syntax_uid != BIG_ENDIAN
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def by_pydicom(data: bytes, transfer_syntax_uid: str) -> dict[str, Any]:
    little_endian = transfer_syntax_uid != BIG_ENDIAN
    read = read_dataset(io.BytesIO(data), transfer_syntax_uid == IMPLICIT, little_endian)
    return as_here(read.to_json_dict(), big_endian=not little_endian)


def split(path: Path) -> tuple[Dataset, bytes, str]:
    """Return pydicom's reading of a file, and the data set's bytes with their transfer syntax."""
    file = io.BytesIO(path.read_bytes())
    read_preamble(file, True)
    meta = _read_file_meta_info(file)
    uid = str(meta.TransferSyntaxUID)
    data = file.read()
    return pydicom.dcmread(path), inflate(data) if uid == DEFLATED else data, uid


def corpus_files() -> list[Path]:
    return sorted((CORPUS / "wellformed").glob("*.dcm")) if CORPUS is not None else []


@pytest.fixture
def quiet_pydicom() -> Iterator[None]:
    mode = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.IGNORE
    yield
    config.settings.reading_validation_mode = mode


def short(name: str, vr: bytes, value: bytes) -> bytes:
    tag = int(name, 16)
    return pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long(name: str, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    tag = int(name, 16)
    return pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, vr, len(value) if length is None else length) + value


def implicit(name: str, value: bytes, length: int | None = None) -> bytes:
    tag = int(name, 16)
    return pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def endless_sequence(name: str, items: bytes, vr: bytes = b"SQ") -> bytes:
    return long(name, vr, ITEM + ENDLESS + items + ITEM_END + SEQUENCE_END, 0xFFFFFFFF)


def one(name: str, vr: bytes, value: bytes) -> dict[str, Any]:
    """Return what one explicit element becomes."""
    make = long if vr.decode() in {"OB", "OD", "OF", "OL", "OV", "OW", "SV", "UC", "UN", "UR", "UT", "UV"} else short
    attribute: dict[str, Any] = to_json(make(name, vr, value), EXPLICIT)[name]
    return attribute


# Against pydicom


def every_vr() -> Dataset:
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "", "M"]
    data_set.StudyDate = "20240229"
    data_set.StudyTime = "101112.123"
    data_set.AcquisitionDateTime = "20240229101112+0100"
    data_set.AccessionNumber = "É 12"
    data_set.RetrieveAETitle = ["ARCHIVE", "ARCHIVE2"]
    data_set.RetrieveURL = "https://pacs.example/studies"
    data_set.SOPInstanceUID = "1.2.3"
    data_set.StudyDescription = "Thorax  à  droite"
    data_set.ReferringPhysicianName = ["Müller^Hans=山田^太郎=やまだ", "", "Doe^Jane"]
    data_set.PatientName = "=山田"
    data_set.PatientAge = "042Y"
    data_set.OtherPatientIDs = ["A", "", "C"]
    data_set.PatientWeight = "70.5"
    data_set.ImagePositionPatient = ["1", "-2.50", "1e-3"]
    data_set.SeriesNumber = "+7"
    data_set.NumberOfStudyRelatedInstances = ["1", "-2"]
    data_set.AdditionalPatientHistory = "  leading\r\nand \\ more"
    data_set.DerivationDescription = "derived"
    data_set.LongCodeValue = "  code"
    data_set.TextValue = "text"
    data_set.FrameIncrementPointer = [0x00181063, 0x0018106A]
    data_set.Rows = 512
    data_set.OverlayOrigin = None
    data_set.TagAngleSecondAxis = -3
    data_set.SmallestImagePixelValue = 5
    data_set.PixelRepresentation = 0
    data_set.RegionLocationMinX0 = 4_000_000_000
    data_set.ReferencePixelX0 = -2_000_000_000
    data_set.TableOfParameterValues = [0.1, 2.5]
    data_set.DoubleFloatRealWorldValueFirstValueMapped = math.pi
    data_set.add_new(0x00080055, "AE", "STATION")
    data_set.add_new(0x00081300, "SV", -(2**62))
    data_set.add_new(0x0008040C, "UV", 2**63)
    data_set.add_new(0x00720069, "OB", b"\1\2")
    data_set.add_new(0x00720073, "OD", pack("<2d", 1, 2))
    data_set.add_new(0x00720067, "OF", pack("<f", 3))
    data_set.add_new(0x00720075, "OL", pack("<L", 4))
    data_set.add_new(0x00720081, "OV", pack("<Q", 5))
    data_set.add_new(0x00720069 + 0, "OB", b"\1\2")
    data_set.add_new(0x00720065, "OW", b"\1\2\3\4")
    data_set.add_new(0x00720063, "UN", b"\1\2")
    item = Dataset()
    item.CodeValue = "é"
    inner = Dataset()
    inner.PatientName = "Ä^B"
    item.ReferencedSeriesSequence = [inner, Dataset()]
    data_set.ReferencedStudySequence = [item]
    data_set.ReferencedPatientSequence = []
    return data_set


@pytest.mark.parametrize("uid", ENCODINGS)
@pytest.mark.usefixtures("quiet_pydicom")
def test_every_vr_is_what_pydicom_makes_of_it(uid: str) -> None:
    data = encoded(every_vr(), uid)
    assert to_json(data, uid) == by_pydicom(data, uid)


def test_every_vr_of_the_standard_is_among_them() -> None:
    present = {attribute["vr"] for attribute in to_json(encoded(every_vr(), EXPLICIT), EXPLICIT).values()}
    assert present == set(pydicom.valuerep.STANDARD_VR)


@pytest.mark.parametrize("uid", ENCODINGS)
@pytest.mark.usefixtures("quiet_pydicom")
def test_private_attributes_are_what_pydicom_makes_of_them(uid: str) -> None:
    data_set = Dataset()
    block = data_set.private_block(0x0019, "GEMS_ACQU_01", create=True)
    block.add_new(0x11, "SS", -5)
    block.add_new(0x02, "SL", 7)
    unknown = data_set.private_block(0x0019, "NOBODY KNOWS", create=True)
    unknown.add_new(0x11, "UN", b"\1\2")
    unknown.add_new(0x12, "LO", "text")
    data = encoded(data_set, uid)
    assert to_json(data, uid) == by_pydicom(data, uid)
    assert to_json(data, uid)["00191011"] == {"vr": "SS", "Value": [-5]}


@pytest.mark.parametrize("uid", ENCODINGS)
@pytest.mark.parametrize("pixel_representation", [0, 1])
@pytest.mark.usefixtures("quiet_pydicom")
def test_ambiguous_vrs_are_what_pydicom_makes_of_them(uid: str, pixel_representation: int) -> None:
    vr = "SS" if pixel_representation else "US"
    data_set, item = Dataset(), Dataset()
    item.LUTDescriptor = [1 if pixel_representation else 2, 0, 16]
    item.LUTData = 9 if pixel_representation else b"\1\2\3\4"
    item["LUTDescriptor"].VR = "US"
    item["LUTData"].VR = "US" if pixel_representation else "OW"
    data_set.ModalityLUTSequence = [item]
    data_set.PixelRepresentation = pixel_representation
    data_set.add_new(0x00280106, vr, 3)
    data_set.add_new(0x00281101, vr, [-5 if pixel_representation else 5, 0, 16])
    data_set.add_new(0x60003000, "OW", b"\1\2")
    data_set.add_new(0x7FE00010, "OW", b"\1\2")
    data = encoded(data_set, uid)
    assert to_json(data, uid) == by_pydicom(data, uid)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.usefixtures("quiet_pydicom")
@pytest.mark.filterwarnings("ignore")
def test_pydicom_s_files_are_what_pydicom_makes_of_them(name: str) -> None:
    path = get_testdata_file(name, download=False)
    data_set, data, uid = split(Path(path))
    expected = as_here(data_set.to_json_dict(), big_endian=uid == BIG_ENDIAN)
    actual = to_json(data, uid)
    assert with_numbers(actual) == expected
    assert list(actual) == sorted(actual)
    assert orjson.loads(orjson.dumps(actual)) == actual


@pytest.mark.parametrize("path", corpus_files(), ids=lambda path: path.name)
@pytest.mark.usefixtures("quiet_pydicom")
@pytest.mark.filterwarnings("ignore")
def test_the_corpus_is_what_pydicom_makes_of_it(path: Path) -> None:
    if not path.read_bytes().startswith(b"DICM", 128):
        return
    data_set, data, uid = split(path)
    actual = to_json(data, uid)
    assert with_numbers(actual) == as_here(data_set.to_json_dict(), big_endian=uid == BIG_ENDIAN)
