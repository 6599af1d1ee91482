import subprocess
import sys
from dataclasses import replace

import pytest

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.dicom.dataset.transcoding import decoded_pixels
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_BIG_ENDIAN
from harmonygw.rendering.transfer_syntaxes import DECODABLE, ENCODABLE

NATIVE = "1.2.840.10008.1.2.1"
RLE = "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
JPEG_XL = "1.2.840.10008.1.2.4.111"


@pytest.mark.parametrize(
    ("transfer_syntax", "stored", "decoded"),
    [
        (NATIVE, "MONOCHROME1", "MONOCHROME1"),
        (NATIVE, "RGB", "RGB"),
        (NATIVE, "YBR_FULL", "YBR_FULL"),
        (NATIVE, "YBR_FULL_422", "YBR_FULL"),
        (RLE, "YBR_FULL", "YBR_FULL"),
        (RLE, "PALETTE COLOR", "PALETTE COLOR"),
        (JPEG, "MONOCHROME2", "MONOCHROME2"),
        (JPEG, "YBR_FULL", "RGB"),
        (JPEG, "YBR_FULL_422", "RGB"),
        (JPEG, "RGB", "RGB"),
        (JPEG_LOSSLESS, "YBR_FULL", "YBR_FULL"),
        (JPEG_LS, "YBR_FULL", "YBR_FULL"),
        (JPEG_2000, "YBR_ICT", "RGB"),
        (JPEG_2000, "YBR_RCT", "RGB"),
        (JPEG_2000, "YBR_FULL", "YBR_FULL"),
        (JPEG_XL, "YBR_FULL_422", "RGB"),
        (JPEG_XL, "XYB", "RGB"),
    ],
)
def test_the_colour_space_after_decoding(transfer_syntax: str, stored: str, decoded: str) -> None:
    pixels = PixelDescription(2, 2, 8, 8, 7, 3, planar_configuration=1, photometric_interpretation=stored)
    expected = replace(pixels, planar_configuration=0, photometric_interpretation=decoded)
    assert decoded_pixels(transfer_syntax, pixels) == expected


def test_what_is_made_here_can_be_read_here() -> None:
    assert ENCODABLE < DECODABLE
    assert EXPLICIT_VR_BIG_ENDIAN not in DECODABLE


def test_the_gateways_process_loads_no_codec() -> None:
    program = (
        "import sys; import harmonygw.rendering.workers, harmonygw.rendering.transfer_syntaxes;"
        "print('imagecodecs' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"
