import struct

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.errors import PeerError
from harmonygw.rendering.rle import decode, encode
from tests.rendering.frames import frames_of, object_of, pixels_of, sample_image

BYTES = PixelDescription(2, 3, 8, 8, 7)
WORDS = PixelDescription(1, 2, 16, 16, 15)


def rle(*segments: bytes) -> bytes:
    offsets = [64 + sum(map(len, segments[:index])) for index in range(len(segments))]
    return struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


def test_literal_and_replicate_runs() -> None:
    # 257 - 253 = 4 times 7; then 1 + 1 = 2 literal bytes.
    assert decode(rle(b"\xfd\x07\x01\x08\x09"), BYTES).tolist() == [[7, 7, 7], [7, 8, 9]]


def test_the_most_significant_byte_comes_first() -> None:
    assert decode(rle(b"\x01\x01\x02", b"\x01\x03\x04"), WORDS).tolist() == [[0x0103, 0x0204]]


def test_the_code_that_means_nothing_is_skipped_and_padding_too() -> None:
    assert decode(rle(b"\x80\x05abcdef\x00"), BYTES).tobytes() == b"abcdef"


def test_a_last_run_that_is_too_long_is_cut() -> None:
    assert decode(rle(b"\x81\x07"), BYTES).tobytes() == b"\7" * 6


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (bytes(63), "too short"),
        (rle(b"\x05abcdef", b"\x05abcdef"), "has 2 segments; its pixels need 1"),
        (rle(b"\x04abcde"), "has 5 bytes; its pixels need 6"),
        (rle(b""), "has 0 bytes; its pixels need 6"),
        (rle(b"\x05ab"), "is corrupt"),
        (rle(b"\x05abcdef" + b"\x81\x07" * 9), "is corrupt"),
    ],
)
def test_what_does_not_make_these_pixels_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(PeerError, match=complaint):
        decode(data, BYTES)


def test_more_segments_than_a_header_has_are_refused() -> None:
    pixels = PixelDescription(1, 1, 64, 64, 63, samples_per_pixel=2)
    with pytest.raises(PeerError, match="need 16"):
        decode(struct.pack("<16L", 16, *[64] * 15), pixels)


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_rle_2frame.dcm",
        "SC_rgb_rle_16bit_2frame.dcm",
        "SC_rgb_rle_32bit_2frame.dcm",
        "rtdose_rle.dcm",
        "MR_small_RLE.dcm",
    ],
)
def test_it_decodes_as_pydicom_does(name: str) -> None:
    path = get_testdata_file(name, download=False)
    for index, frame in enumerate(frames_of(path)):
        expected = pixel_array(path, index=index, raw=True)
        array = decode(frame, pixels_of(path))
        assert array.dtype == expected.dtype
        assert (array == expected).all()


@pytest.mark.parametrize(
    "pixels",
    [
        PixelDescription(9, 130, 8, 8, 7),
        PixelDescription(9, 7, 16, 12, 11, pixel_representation=1),
        PixelDescription(300, 5, 16, 16, 15),
        PixelDescription(9, 130, 8, 8, 7, 3, photometric_interpretation="RGB"),
        PixelDescription(3, 5, 32, 32, 31, 3, photometric_interpretation="RGB"),
    ],
)
def test_what_is_encoded_decodes_to_the_same_here_and_in_pydicom(pixels: PixelDescription) -> None:
    image = sample_image(pixels)
    encoded = encode(image, pixels)
    assert len(encoded) % 2 == 0
    assert (decode(encoded, pixels) == image).all()
    theirs = pixel_array(object_of(encoded, "1.2.840.10008.1.2.5", pixels), raw=True)
    assert (theirs == image).all()


def test_no_run_crosses_the_end_of_a_row() -> None:
    pixels = PixelDescription(3, 4, 8, 8, 7)
    assert encode(np.zeros((3, 4), np.uint8), pixels) == rle(b"\xfd\0" * 3)
