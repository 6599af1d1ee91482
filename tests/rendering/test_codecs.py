import zlib
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.errors import NotAcceptable, PeerError
from harmonygw.rendering.codecs import decode, encode
from harmonygw.rendering.native import sample_type
from tests.rendering.frames import frames_of, pixels_of, sample_image, transfer_syntax_of

NATIVE = "1.2.840.10008.1.2.1"
DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"
RLE = "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
HTJ2K = "1.2.840.10008.1.2.4.201"
JPEG_XL = "1.2.840.10008.1.2.4.110"

GREY = PixelDescription(40, 30, 16, 12, 11)
GREY_8 = PixelDescription(40, 30, 8, 8, 7)
COLOUR = PixelDescription(40, 30, 8, 8, 7, 3, photometric_interpretation="RGB")

PIXELS = {
    "8 bits": GREY_8,
    "8 bits signed": replace(GREY_8, pixel_representation=1),
    "7 of 8 bits": replace(GREY_8, bits_stored=7, high_bit=6),
    "12 of 16 bits": GREY,
    "12 of 16 bits signed": replace(GREY, pixel_representation=1),
    "16 bits": replace(GREY, bits_stored=16, high_bit=15),
    "16 bits signed": replace(GREY, bits_stored=16, high_bit=15, pixel_representation=1),
    "RGB": COLOUR,
    "RGB of 16 bits": replace(COLOUR, bits_allocated=16, bits_stored=16, high_bit=15),
    "YBR_FULL": replace(COLOUR, photometric_interpretation="YBR_FULL"),
    "one pixel": replace(GREY, rows=1, columns=1),
    "one row": replace(GREY, rows=3, columns=3001),
}


def jpeg_2000(image: Any, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(image, level=0, codecformat="j2k", bitspersample=bits, mct=False))


# Beside pydicom


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_implicit.dcm",
        "rtdose.dcm",
        "SC_rgb_small_odd.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "examples_palette.dcm",
        "examples_overlay.dcm",
        "MR_small_RLE.dcm",
        "SC_rgb_rle_16bit.dcm",
        "JPEG2000.dcm",
        "693_J2KI.dcm",
        "MR_small_jp2klossless.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "SC_rgb_gdcm_KY.dcm",
        "examples_jpeg2k.dcm",
    ],
)
def test_frames_are_those_that_pydicom_sees(name: str) -> None:
    path = get_testdata_file(name, download=False)
    for index, frame in enumerate(frames_of(path)):
        expected = pixel_array(path, index=index, raw=True)
        array = decode(frame, transfer_syntax_of(path), pixels_of(path))
        assert array.dtype == expected.dtype
        assert (array == expected).all()


def test_frames_of_one_bit_are_those_that_pydicom_sees() -> None:
    path = get_testdata_file("liver_1frame.dcm", download=False)
    assert (decode(frames_of(path)[0], NATIVE, pixels_of(path)) == pixel_array(path)).all()


@pytest.mark.filterwarnings("ignore:The .0028,0004. 'Photometric Interpretation'")
@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_jpeg_dcmd.dcm",
        "SC_rgb_jpeg_app14_dcmd.dcm",
        "SC_rgb_jpeg_lossy_gdcm.dcm",
        "SC_rgb_small_odd_jpeg.dcm",
        "SC_rgb_dcmtk_+eb+cr.dcm",
        "SC_rgb_dcmtk_+eb+cy+n1.dcm",
        "SC_rgb_dcmtk_+eb+cy+s2.dcm",
        "SC_rgb_dcmtk_+eb+cy+s4.dcm",
        "SC_jpeg_no_color_transform.dcm",
        "SC_jpeg_no_color_transform_2.dcm",
        "examples_ybr_color.dcm",
    ],
)
def test_a_jpeg_in_colour_is_rgb_as_pydicom_makes_it(name: str) -> None:
    path = get_testdata_file(name, download=False)
    array = decode(frames_of(path)[0], transfer_syntax_of(path), pixels_of(path))
    expected = pixel_array(path, index=0)
    assert np.abs(array.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("space", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_a_jfif_marker_overrules_the_data_set(space: str) -> None:
    row, column = np.mgrid[:40, :30]
    image = np.stack([6 * row, 8 * column, 255 - 6 * row], axis=-1).astype(np.uint8)
    frame = bytes(imagecodecs.jpeg8_encode(image, level=95))
    assert b"JFIF" in frame
    array = decode(frame, JPEG, replace(COLOUR, photometric_interpretation=space))
    assert np.abs(array.astype(int) - image.astype(int)).max() <= 12


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_jls_lossy_sample.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_jls_lossy_line.dcm", "SC_rgb_rle.dcm"),
    ],
)
def test_codecs_that_pydicom_lacks_give_what_was_encoded(name: str, original: str) -> None:
    path = get_testdata_file(name, download=False)
    array = decode(frames_of(path)[0], transfer_syntax_of(path), pixels_of(path))
    expected = pixel_array(get_testdata_file(original, download=False))
    assert array.dtype == expected.dtype
    assert np.abs(array.astype(int) - expected.astype(int)).max() <= (10 if "lossy" in name else 0)


def test_jpeg_extended_of_12_bits_is_decoded() -> None:
    path = get_testdata_file("JPGExtended.dcm", download=False)
    array = decode(frames_of(path)[0], JPEG_EXTENDED, pixels_of(path))
    assert (array.dtype, array.shape) == (np.uint16, (1024, 256))
    assert 255 < array.max() < 4096


# Values


@pytest.mark.parametrize("transfer_syntax", [RLE, JPEG_LS, JPEG_2000])
@pytest.mark.parametrize("pixels", PIXELS.values(), ids=PIXELS)
def test_what_is_encoded_has_an_even_length_and_decodes_to_the_same(
    pixels: PixelDescription, transfer_syntax: str
) -> None:
    image = sample_image(pixels)
    encoded = encode(image, transfer_syntax, pixels)
    assert len(encoded) % 2 == 0
    decoded = decode(encoded, transfer_syntax, pixels)
    assert decoded.dtype == image.dtype
    assert (decoded == image).all()


def test_jpeg_ls_has_no_header_that_names_a_colour_space() -> None:
    pixels = PIXELS["YBR_FULL"]
    encoded = encode(sample_image(pixels), JPEG_LS, pixels)
    assert b"SPIFF" not in encoded
    assert encoded.startswith(b"\xff\xd8\xff\xf7")


@pytest.mark.parametrize("signed_codestream", [False, True])
@pytest.mark.parametrize("signed", [0, 1])
def test_a_jpeg_2000_has_the_sign_that_the_data_set_gives_it(signed: int, signed_codestream: bool) -> None:
    pixels = replace(GREY, pixel_representation=signed)
    image = sample_image(pixels)
    kind = np.int16 if signed_codestream else np.uint16
    # The same twelve bits, read with or without a sign.
    stored = (image.astype(np.int16) << 4).view(kind) >> 4
    assert (decode(jpeg_2000(stored, 12), JPEG_2000, pixels) == image).all()


@pytest.mark.parametrize(("signed", "expected"), [(0, [4095, 2048]), (1, [-1, -2048])])
def test_a_jpeg_ls_of_twelve_bits_has_the_sign_that_the_data_set_gives_it(signed: int, expected: list[int]) -> None:
    # Two samples of twelve bits, encoded by DCMTK.
    frame = bytes.fromhex("ffd8fff7000b0c0001000201011100ffda000801010000000040000000001ffdffd9")
    pixels = PixelDescription(1, 2, 16, 12, 11, pixel_representation=signed)
    assert decode(frame, JPEG_LS, pixels).tolist() == [expected]


def test_samples_of_eight_bits_fit_a_container_of_sixteen() -> None:
    image = sample_image(GREY_8)
    pixels = replace(GREY_8, bits_allocated=16)
    array = decode(encode(image, JPEG_2000, GREY_8), JPEG_2000, pixels)
    assert array.dtype == np.uint16
    assert (array == image).all()


@pytest.mark.parametrize("pixels", [GREY, replace(GREY, pixel_representation=1), COLOUR])
def test_htj2k(pixels: PixelDescription) -> None:
    image = sample_image(pixels)
    frame = bytes(imagecodecs.htj2k_encode(image, reversible=True))
    array = decode(frame, HTJ2K, pixels)
    assert array.dtype == image.dtype
    assert (array == image).all()


@pytest.mark.parametrize("pixels", [GREY, GREY_8, COLOUR])
def test_jpeg_xl(pixels: PixelDescription) -> None:
    image = sample_image(pixels)
    frame = bytes(imagecodecs.jpegxl_encode(image, lossless=True, bitspersample=pixels.bits_stored))
    assert (decode(frame, JPEG_XL, pixels) == image).all()


@pytest.mark.parametrize("selection", [1, 4, 7])
def test_jpeg_lossless_in_grey(selection: int) -> None:
    image = sample_image(GREY)
    frame = bytes(imagecodecs.jpeg8_encode(image, bitspersample=12, lossless=True, predictor=selection))
    assert (decode(frame, JPEG_LOSSLESS, GREY) == image).all()


def test_jpeg_lossless_keeps_its_colour_space() -> None:
    pixels = PIXELS["YBR_FULL"]
    image = sample_image(pixels)
    options = {"colorspace": "RGB", "outcolorspace": "RGB"}
    frame = bytes(imagecodecs.jpeg8_encode(image, lossless=True, predictor=1, **options))
    assert (decode(frame, JPEG_LOSSLESS, pixels) == image).all()


def test_native_frames_in_a_fragment_and_deflated() -> None:
    image = sample_image(GREY)
    assert (decode(image.tobytes(), "1.2.840.10008.1.2.1.98", GREY) == image).all()
    deflater = zlib.compressobj(wbits=-15)
    deflated = deflater.compress(image.tobytes()) + deflater.flush()
    assert (decode(deflated + b"\0" * (len(deflated) % 2), DEFLATED_FRAME, GREY) == image).all()


# What is refused


def frame_in(transfer_syntax: str, image: Any, pixels: PixelDescription) -> bytes:
    if transfer_syntax in (JPEG, JPEG_EXTENDED):
        return bytes(imagecodecs.jpeg8_encode(image, level=90))
    if transfer_syntax == JPEG_LOSSLESS:
        return bytes(imagecodecs.jpeg8_encode(image, lossless=True, predictor=1))
    if transfer_syntax == JPEG_XL:
        return bytes(imagecodecs.jpegxl_encode(image, lossless=True))
    return encode(image, transfer_syntax, pixels)


ENCAPSULATED = (RLE, JPEG, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, JPEG_XL)


@pytest.mark.parametrize("changes", [{"rows": 41}, {"columns": 31}, {"rows": 30, "columns": 41}])
@pytest.mark.parametrize("transfer_syntax", ENCAPSULATED)
def test_a_frame_of_another_size_is_refused(transfer_syntax: str, changes: dict[str, int]) -> None:
    frame = frame_in(transfer_syntax, sample_image(GREY_8), GREY_8)
    with pytest.raises(PeerError):
        decode(frame, transfer_syntax, replace(GREY_8, **changes))


@pytest.mark.parametrize("transfer_syntax", ENCAPSULATED)
def test_a_frame_of_other_samples_is_refused(transfer_syntax: str) -> None:
    frame = frame_in(transfer_syntax, sample_image(GREY_8), GREY_8)
    with pytest.raises(PeerError):
        decode(frame, transfer_syntax, COLOUR)


@pytest.mark.parametrize("transfer_syntax", [*ENCAPSULATED, NATIVE])
def test_half_a_frame_is_refused(transfer_syntax: str) -> None:
    image = sample_image(GREY_8)
    frame = image.tobytes() if transfer_syntax == NATIVE else frame_in(transfer_syntax, image, GREY_8)
    with pytest.raises(PeerError):
        decode(frame[: len(frame) // 2], transfer_syntax, GREY_8)


@pytest.mark.parametrize("transfer_syntax", [*ENCAPSULATED, DEFLATED_FRAME])
def test_a_frame_of_something_else_is_refused(transfer_syntax: str) -> None:
    with pytest.raises(PeerError):
        decode(b"\xff\xd8 this is a picture of nothing \xff\xd9" * 9, transfer_syntax, GREY_8)


def test_more_bits_than_are_allocated_are_refused() -> None:
    with pytest.raises(PeerError, match="samples of 12 bits; its data set allocates 8"):
        decode(jpeg_2000(sample_image(GREY), 12), JPEG_2000, GREY_8)


def test_jpeg_and_jpeg_ls_are_not_taken_for_one_another() -> None:
    image = sample_image(GREY_8)
    with pytest.raises(PeerError, match="JPEG-LS, which its transfer syntax does not say"):
        decode(frame_in(JPEG_LS, image, GREY_8), JPEG, GREY_8)
    with pytest.raises(PeerError, match="not the JPEG-LS"):
        decode(frame_in(JPEG, image, GREY_8), JPEG_LS, GREY_8)


@pytest.mark.parametrize(
    "pixels",
    [
        replace(GREY, bits_allocated=32, bits_stored=32, floating=True),
        replace(GREY, bits_allocated=1, bits_stored=1),
    ],
)
def test_floats_and_bits_are_in_no_codestream(pixels: PixelDescription) -> None:
    with pytest.raises(PeerError, match="cannot be in this transfer syntax"):
        decode(b"", JPEG_2000, pixels)
    with pytest.raises(NotAcceptable, match="without compression"):
        encode(np.zeros((40, 30), sample_type(pixels)), JPEG_2000, pixels)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(PeerError, match="MAX_FRAME_PIXELS"):
        decode(b"", JPEG_2000, replace(GREY, rows=65535, columns=65535))
    zeros = zlib.compressobj(9, wbits=-15)
    bomb = zeros.compress(bytes(64 << 20)) + zeros.flush()
    assert not decode(bomb, DEFLATED_FRAME, GREY).any()


@pytest.mark.parametrize("transfer_syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.2", "1.2.3"])
def test_a_transfer_syntax_that_is_not_known_here_is_refused(transfer_syntax: str) -> None:
    with pytest.raises(NotAcceptable, match="cannot be decoded"):
        decode(b"", transfer_syntax, GREY)
    with pytest.raises(NotAcceptable, match="cannot be encoded"):
        encode(sample_image(GREY), transfer_syntax, GREY)


def test_samples_of_32_bits_are_encoded_in_rle_alone() -> None:
    pixels = replace(GREY, bits_allocated=32, bits_stored=32)
    image = sample_image(pixels)
    assert (decode(encode(image, RLE, pixels), RLE, pixels) == image).all()
    for transfer_syntax in (JPEG_LS, JPEG_2000):
        with pytest.raises(NotAcceptable, match="RLE"):
            encode(image, transfer_syntax, pixels)
    with pytest.raises(NotAcceptable, match="without compression"):
        encode(image, RLE, replace(pixels, samples_per_pixel=4))
