"""Every file that pydicom ships or the corpus has, and its frames as pydicom cuts them."""

from functools import lru_cache
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.filereader import read_file_meta_info

from tests.corpus import CORPUS

RLE = "1.2.840.10008.1.2.5"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
MPEG2 = "1.2.840.10008.1.2.4.100"

CUT_SHORT = ("MR_truncated.dcm", "rtplan_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm")

WITH_AN_ITEM_TOO_MANY = "JPEG2000-embedded-sequence-delimiter.dcm"
"""Its only fragment holds what looks like the end, where pydicom stops."""


@lru_cache(1)
def pixel_files() -> list[tuple[str, str, bytes, Path]]:
    """Return name, transfer syntax UID, data set and path of every Part 10 file that is whole."""
    paths = sorted(Path(str(get_testdata_file("CT_small.dcm", download=False))).parent.glob("*.dcm"))
    if CORPUS is not None:
        paths += sorted(CORPUS.glob("*/*.dcm"))
    found = []
    for path in paths:
        raw = path.read_bytes()
        if raw[128:132] != b"DICM" or path.name.endswith(CUT_SHORT):
            continue
        meta = read_file_meta_info(path)
        if "TransferSyntaxUID" in meta and "FileMetaInformationGroupLength" in meta:
            data_set = raw[144 + meta.FileMetaInformationGroupLength :]
            found.append((path.name, str(meta.TransferSyntaxUID), data_set, path))
    return found


def frames_by_pydicom(path: Path) -> list[bytes] | None:
    """Return the stored frames, None when there are none or pydicom cannot cut them."""
    data_set = pydicom.dcmread(path, force=True)
    for keyword in ("FloatPixelData", "DoubleFloatPixelData"):
        if keyword in data_set:
            length = len(data_set[keyword].value) // int(data_set.get("NumberOfFrames") or 1)
            return [data_set[keyword].value[at : at + length] for at in range(0, len(data_set[keyword].value), length)]
    if "PixelData" not in data_set:
        return None
    count = int(data_set.get("NumberOfFrames") or 1)
    if data_set["PixelData"].is_undefined_length:
        extended = None
        if "ExtendedOffsetTable" in data_set:
            extended = data_set.ExtendedOffsetTable, data_set.ExtendedOffsetTableLengths
        return list(generate_frames(data_set.PixelData, number_of_frames=count, extended_offsets=extended))
    samples = 2 if data_set.PhotometricInterpretation == "YBR_FULL_422" else data_set.SamplesPerPixel
    bits = data_set.Rows * data_set.Columns * samples * data_set.BitsAllocated
    if bits % 8:
        stream = "".join(f"{byte:08b}"[::-1] for byte in data_set.PixelData)
        found = [stream[number * bits : (number + 1) * bits] for number in range(count)]
        return [bytes(int(one[at : at + 8][::-1], 2) for at in range(0, bits, 8)) for one in found]
    return [data_set.PixelData[at : at + bits // 8] for at in range(0, count * bits // 8, bits // 8)]
