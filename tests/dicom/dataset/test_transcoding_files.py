from pathlib import Path as FilePath

import pydicom
import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.pixels import get_decoder

from harmonygw.dicom.dataset.conversion import Conversion
from harmonygw.dicom.dataset.transcoding import StoredFrame
from harmonygw.dicom.dataset.transfer_syntaxes import LOSSLESS, LOSSY, NATIVE
from harmonygw.errors import NotAcceptable, PeerError
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, read
from tests.dicom.dataset.pixel_files import (
    JPEG_2000,
    JPEG_LS,
    RLE,
    WITH_AN_ITEM_TOO_MANY,
    frames_by_pydicom,
    pixel_files,
)
from tests.dicom.dataset.transcoded import transcode

FILES = [
    (name, uid, data, path)
    for name, uid, data, path in pixel_files()
    if not name.endswith((WITH_AN_ITEM_TOO_MANY, "badVR.dcm"))
]
ENCAPSULATED = [pytest.param(uid, data, path, id=name) for name, uid, data, path in FILES if uid in LOSSLESS | LOSSY]
NATIVE_ONES = [pytest.param(uid, data, path, id=name) for name, uid, data, path in FILES if uid in NATIVE]
RLE_ONES = [pytest.param(data, path, id=name) for name, uid, data, path in FILES if uid == RLE]
PYDICOM_WARNS = pytest.mark.filterwarnings("ignore::UserWarning")
MOST_PIECES = 2000

NOT_DESCRIBED = ("UN_sequence.dcm", "no_meta_group_length.dcm")


def shown(data_set: pydicom.Dataset) -> dict[str, str]:
    """Return all elements but the group lengths and those that re-encoding may change."""
    changing = ("PixelData", "PlanarConfiguration", "PhotometricInterpretation", "ExtendedOffset")
    return {
        str(found.tag): f"{found.VR} {found.value!r}"
        for found in data_set
        if found.tag.element and not found.keyword.startswith(changing)
    }


def written(data_set: pydicom.Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    return buffer.getvalue()


@PYDICOM_WARNS
@pytest.mark.parametrize(("uid", "data", "path"), ENCAPSULATED)
def test_the_frames_of_every_encapsulated_file_are_re_encoded(uid: str, data: bytes, path: FilePath) -> None:
    if path.name.endswith(NOT_DESCRIBED):
        return
    target = JPEG_2000 if uid == JPEG_LS else JPEG_LS
    result, frames = transcode(data, uid, target)
    expected = frames_by_pydicom(path) or []
    assert [frame.data for frame in frames] == expected
    assert [frame.number for frame in frames] == list(range(1, len(expected) + 1))
    before, after = read(data, uid), read(result, target)
    assert shown(after) == shown(before)
    assert list(pydicom.encaps.generate_frames(after.PixelData, number_of_frames=len(expected))) == expected
    for size in (1, 7, 4096):
        assert transcode(data, uid, target, size=max(size, len(data) // MOST_PIECES)) == (result, frames)


@PYDICOM_WARNS
@pytest.mark.parametrize(("data", "path"), RLE_ONES)
def test_rle_is_decoded_to_what_pydicom_makes_of_it(data: bytes, path: FilePath) -> None:
    expected = pydicom.dcmread(path)

    def decode(frame: StoredFrame) -> bytes:
        [decoded] = [
            array.tobytes()
            for number, (array, _) in enumerate(get_decoder(pydicom.uid.UID(RLE)).iter_array(expected), 1)
            if number == frame.number
        ]
        return decoded

    result, _frames = transcode(data, RLE, EXPLICIT, decode)
    for size in (1, 7, 4096):
        assert transcode(data, RLE, EXPLICIT, decode, max(size, len(data) // MOST_PIECES))[0] == result
    expected.decompress(generate_instance_uid=False)
    assert read(result, EXPLICIT).to_json_dict() == read(written(expected), EXPLICIT).to_json_dict()


@PYDICOM_WARNS
@pytest.mark.parametrize(("uid", "data", "path"), NATIVE_ONES)
def test_native_files_are_encoded_and_come_back(uid: str, data: bytes, path: FilePath) -> None:
    plain = data if uid == EXPLICIT else b"".join(Conversion(uid, EXPLICIT).feed([data]))
    before = read(plain, EXPLICIT)
    if (
        before.get("PhotometricInterpretation") == "YBR_FULL_422"
        or "FloatPixelData" in before
        or "DoubleFloatPixelData" in before
    ):
        with pytest.raises(NotAcceptable):
            transcode(data, uid, JPEG_LS)
        return
    if "PixelData" in before and "Rows" not in before:
        with pytest.raises(PeerError, match="Rows is missing"):
            transcode(data, uid, JPEG_LS)
        return
    if "PixelData" in before and len(before.PixelData) < before.Rows * before.Columns * before.BitsAllocated // 8:
        with pytest.raises(PeerError, match="is not whole"):
            transcode(data, uid, JPEG_LS)
        return
    result, frames = transcode(data, uid, JPEG_LS)
    for size in (1, 7, 4096):
        assert transcode(data, uid, JPEG_LS, size=max(size, len(data) // MOST_PIECES)) == (result, frames)
    assert shown(read(result, JPEG_LS)) == shown(before)
    if uid != BIG_ENDIAN:
        assert [frame.data for frame in frames] == (
            (frames_by_pydicom(path) if uid != DEFLATED else None) or [f.data for f in frames]
        )
    back, _ = transcode(result, JPEG_LS, EXPLICIT, lambda frame: frame.data[: frame.pixels.frame_length])
    after = read(back, EXPLICIT)
    assert shown(after) == shown(before)
    if "PixelData" in before:
        length = before.Rows * before.Columns * before.SamplesPerPixel * int(before.get("NumberOfFrames") or 1)
        length = (length * before.BitsAllocated + 7) // 8
        assert after.PixelData[:length] == before.PixelData[:length]
        assert len(after.PixelData) == length + length % 2
