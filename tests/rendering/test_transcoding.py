from dataclasses import asdict, replace

import pytest

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.errors import NotAcceptable
from harmonygw.rendering.codecs import decode, encode, to_native
from harmonygw.rendering.transcoding import decode_job, encode_job, transcode_job
from tests.rendering.frames import sample_image

RLE = "1.2.840.10008.1.2.5"
JPEG_LS = "1.2.840.10008.1.2.4.80"
NATIVE = "1.2.840.10008.1.2.1"
COLOUR = PixelDescription(5, 6, 8, 8, 7, 3, planar_configuration=1, photometric_interpretation="RGB")
BY_PIXEL = replace(COLOUR, planar_configuration=0)


def test_decoding_makes_a_native_frame_and_says_how_it_is_laid_out() -> None:
    image = sample_image(COLOUR)
    parameters = {"transfer_syntax": RLE, "pixels": asdict(COLOUR)}
    result, data = decode_job(parameters, [encode(image, RLE, COLOUR)])
    assert result == {"pixels": asdict(BY_PIXEL)}
    assert data == image.tobytes()


def test_transcoding_keeps_the_pixels() -> None:
    image = sample_image(COLOUR)
    parameters = {"transfer_syntax": RLE, "pixels": asdict(COLOUR), "target": JPEG_LS}
    result, data = transcode_job(parameters, [encode(image, RLE, COLOUR)])
    assert result == {"pixels": asdict(BY_PIXEL)}
    assert (decode(data, JPEG_LS, BY_PIXEL) == image).all()


def test_encoding_starts_from_a_native_frame() -> None:
    image = sample_image(BY_PIXEL)
    _, data = encode_job({"pixels": asdict(BY_PIXEL), "target": JPEG_LS}, [to_native(image, BY_PIXEL)])
    assert (decode(data, JPEG_LS, BY_PIXEL) == image).all()


def test_what_is_not_made_here_is_refused() -> None:
    parameters = {"transfer_syntax": NATIVE, "pixels": asdict(COLOUR), "target": "1.2.840.10008.1.2.4.50"}
    with pytest.raises(NotAcceptable, match=r"1\.2\.840\.10008\.1\.2\.4\.50"):
        transcode_job(parameters, [bytes(COLOUR.frame_length)])
