"""What the tests in `test_json_encoding.py` and beside it share."""

import io
import math
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from struct import pack
from typing import Any

import pydicom
from pydicom.data import get_charset_files, get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.filewriter import write_dataset

from harmonygw.dicom.dataset.elements import inflate
from harmonygw.dicom.dataset.json_encoding import to_json
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
        # The first value of a LUT Descriptor is unsigned whatever its VR (PS3.3 §C.11.1.1).
        if values and name in ("00281101", "00281102", "00281103", "00283002"):
            values = [values[0] & 0xFFFF, *values[1:]]
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
    """Return our JSON with those DS as numbers that are strings so that no digit is lost (§F.2.3)."""
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


def shipped(name: str) -> Path:
    """Return one of the files that pydicom brings along."""
    charset_files: list[str] = get_charset_files(name)
    return Path(charset_files[0] if charset_files else get_testdata_file(name, download=False))


def corpus_files() -> list[Path]:
    """Return the well-formed Part 10 files of the corpus, none when it is not there."""
    paths = sorted((CORPUS / "wellformed").glob("*.dcm")) if CORPUS is not None else []
    return [path for path in paths if path.read_bytes()[128:132] == b"DICM"]


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
