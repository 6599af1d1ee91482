"""Frames that were encoded here, decoded by DCMTK; and frames that are decoded here as DCMTK decodes them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array
from pytest_twisted import ensureDeferred

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.rendering.codecs import decode, encode
from tests.interop.conftest import Tool, need
from tests.rendering.frames import frames_of, object_of, pixels_of, sample_image, transfer_syntax_of

DECODERS = {"1.2.840.10008.1.2.5": "dcmdrle", "1.2.840.10008.1.2.4.80": "dcmdjpls"}
GREY = PixelDescription(40, 30, 16, 12, 11)
PIXELS = {
    "8 bits": PixelDescription(40, 30, 8, 8, 7),
    "12 of 16 bits": GREY,
    "12 of 16 bits signed": replace(GREY, pixel_representation=1),
    "16 bits": replace(GREY, bits_stored=16, high_bit=15),
    "16 bits signed": replace(GREY, bits_stored=16, high_bit=15, pixel_representation=1),
    "RGB": PixelDescription(40, 31, 8, 8, 7, 3, photometric_interpretation="RGB"),
}


@ensureDeferred
@pytest.mark.interop
@pytest.mark.parametrize("transfer_syntax", DECODERS)
@pytest.mark.parametrize("pixels", PIXELS.values(), ids=PIXELS)
async def test_dcmtk_decodes_what_is_encoded_here(
    pixels: PixelDescription, transfer_syntax: str, dcmtk: Tool, tmp_path: Path
) -> None:
    decoder = DECODERS[transfer_syntax]
    need(decoder)
    image = sample_image(pixels)
    dataset = object_of(encode(image, transfer_syntax, pixels), transfer_syntax, pixels)
    dataset.save_as(tmp_path / "encoded.dcm", enforce_file_format=True)
    code, said = await dcmtk(decoder, tmp_path / "encoded.dcm", tmp_path / "decoded.dcm")
    assert code == 0, said
    assert (pixel_array(tmp_path / "decoded.dcm", raw=True) == image).all()


@ensureDeferred
@pytest.mark.interop
@pytest.mark.parametrize(
    "name", ["JPGExtended.dcm", "JPEG-lossy.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm"]
)
async def test_jpeg_is_decoded_as_dcmtk_does(name: str, dcmtk: Tool, tmp_path: Path) -> None:
    need("dcmdjpeg")
    path = get_testdata_file(name, download=False)
    code, said = await dcmtk("dcmdjpeg", path, tmp_path / "decoded.dcm")
    assert code == 0, said
    theirs = dcmread(tmp_path / "decoded.dcm").pixel_array
    ours = decode(frames_of(path)[0], transfer_syntax_of(path), pixels_of(path))
    # Two decoders of the discrete cosine transform may round differently.
    assert np.abs(theirs.astype(int) - ours.astype(int)).max() <= 2
