"""Data sets for tests: made of a few elements, or taken from the files that pydicom ships and from the corpus."""

import io
from collections.abc import Iterator
from pathlib import Path
from struct import pack

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset

from harmonygw.dicom.dataset.transfer_syntaxes import describe
from tests.corpus import CORPUS

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"

UNDEFINED = 0xFFFFFFFF
LONG_FORM = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")

SHIPPED = (
    "CT_small.dcm",
    "ExplVR_BigEnd.dcm",
    "JPEG2000.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "liver_expb_1frame.dcm",
    "nested_priv_SQ.dcm",
    "priv_SQ.dcm",
    "reportsi.dcm",
    "rtdose_1frame.dcm",
    "rtdose_expb_1frame.dcm",
    "rtplan.dcm",
    "test-SR.dcm",
    "UN_sequence.dcm",
    "waveform_ecg.dcm",
)


PYDICOM_WARNS = pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:Expected explicit VR")
"""For tests that let pydicom read files with faults of which it warns."""


def header(tag: int, vr: str, length: int, syntax: str = EXPLICIT) -> bytes:
    order = ">" if syntax == BIG_ENDIAN else "<"
    group, number = tag >> 16, tag & 0xFFFF
    if syntax == IMPLICIT or not vr:
        return pack(order + "HHL", group, number, length)
    if vr in LONG_FORM:
        return pack(order + "HH2sHL", group, number, vr.encode(), 0, length)
    return pack(order + "HH2sH", group, number, vr.encode(), length)


def element(tag: int, vr: str, value: bytes, syntax: str = EXPLICIT) -> bytes:
    return header(tag, vr, len(value), syntax) + value


def item(content: bytes, syntax: str = EXPLICIT, *, defined: bool = False) -> bytes:
    if defined:
        return header(0xFFFEE000, "", len(content), syntax) + content
    return header(0xFFFEE000, "", UNDEFINED, syntax) + content + header(0xFFFEE00D, "", 0, syntax)


def sequence(tag: int, *items: bytes, syntax: str = EXPLICIT, vr: str = "SQ", defined: bool = False) -> bytes:
    content = b"".join(items)
    if defined:
        return element(tag, vr, content, syntax)
    return header(tag, vr, UNDEFINED, syntax) + content + header(0xFFFEE0DD, "", 0, syntax)


def split(data: bytes, size: int) -> Iterator[memoryview]:
    """Yield pieces of at most `size` bytes, or all in one when it is 0."""
    view = memoryview(data)
    step = size or len(data)
    for start in range(0, len(data), step):
        yield view[start : start + step]


def files() -> list[tuple[str, str, bytes]]:
    """Return name, transfer syntax UID and data set of every well-formed file there is."""
    paths = [Path(str(get_testdata_file(name, download=False))) for name in SHIPPED]
    if CORPUS is not None:
        paths += sorted((CORPUS / "wellformed").glob("*.dcm")) + sorted((CORPUS / "charset").glob("*.dcm"))
    found = []
    for path in paths:
        raw = path.read_bytes()
        if raw[128:132] != b"DICM":
            continue
        meta = pydicom.filereader.read_file_meta_info(path)
        data_set = raw[144 + meta.FileMetaInformationGroupLength :]
        found.append((path.name, str(meta.TransferSyntaxUID), data_set))
    return found


def read(data: bytes, transfer_syntax_uid: str) -> pydicom.Dataset:
    """Let pydicom read a data set that is not deflated."""
    syntax = describe(transfer_syntax_uid)
    return read_dataset(DicomBytesIO(io.BytesIO(data).getvalue()), not syntax.explicit, syntax.little_endian)
