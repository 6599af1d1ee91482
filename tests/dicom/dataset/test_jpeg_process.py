import pytest

from harmonygw.dicom.dataset.jpeg_process import jpeg_transfer_syntax

SOI = b"\xff\xd8"
APP0 = b"\xff\xe0\x00\x07JFIF\x00"


def frame(marker: int) -> bytes:
    return bytes((0xFF, marker)) + b"\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00"


def scan(predictor: int) -> bytes:
    return b"\xff\xda\x00\x08\x01\x01\x00" + bytes((predictor, 0, 0))


@pytest.mark.parametrize(
    ("codestream", "number"),
    [
        (SOI + APP0 + frame(0xC0) + scan(0), "50"),
        (SOI + frame(0xC1) + scan(0), "51"),
        (SOI + b"\xff" + APP0 + frame(0xC3) + scan(1), "70"),
        (SOI + frame(0xC3) + scan(6), "57"),
    ],
)
def test_the_process_tells_the_transfer_syntax(codestream: bytes, number: str) -> None:
    assert jpeg_transfer_syntax(codestream) == f"1.2.840.10008.1.2.4.{number}"


@pytest.mark.parametrize(
    "codestream",
    [b"", b"PNG", SOI, SOI + APP0, SOI + frame(0xC2) + scan(0), SOI + b"\xff\x01" + b"xxxx", SOI + frame(0xC3)],
)
def test_what_does_not_tell_is_nothing(codestream: bytes) -> None:
    assert jpeg_transfer_syntax(codestream) == ""
