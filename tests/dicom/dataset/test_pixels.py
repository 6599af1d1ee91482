from typing import Any

import pytest

from harmonygw.dicom.dataset.pixels import (
    DOUBLE_FLOAT_PIXEL_DATA,
    FLOAT_PIXEL_DATA,
    PixelDescription,
    described,
)
from harmonygw.errors import PeerError

NAMES = {
    "samples": "00280002",
    "interpretation": "00280004",
    "planar": "00280006",
    "frames": "00280008",
    "rows": "00280010",
    "columns": "00280011",
    "allocated": "00280100",
    "stored": "00280101",
    "high": "00280102",
    "sign": "00280103",
}


def attributes(**values: Any) -> dict[str, Any]:
    values = {"rows": 3, "columns": 5, "allocated": 16} | values
    return {
        NAMES[name]: {"vr": "US", "Value": [value]} if value != "" else {"vr": "US"} for name, value in values.items()
    }


def test_the_attributes_describe_the_pixels() -> None:
    pixels = described(
        attributes(samples=3, interpretation="YBR_FULL", planar=1, frames=7, allocated=16, stored=12, high=11, sign=1)
    )
    assert pixels == PixelDescription(3, 5, 16, 12, 11, 3, 1, 1, "YBR_FULL", 7)
    assert (pixels.frame_bits, pixels.frame_length) == (720, 90)


def test_what_may_be_missing_has_its_usual_value() -> None:
    assert described(attributes()) == PixelDescription(3, 5, 16, 16, 15, 1, 0, 0, "MONOCHROME2", 1)
    assert described(attributes(frames="", samples="")) == described(attributes())
    assert described(attributes(samples=3)).photometric_interpretation == "RGB"
    assert described(attributes(interpretation=7)).photometric_interpretation == "MONOCHROME2"


@pytest.mark.parametrize(("interpretation", "samples"), [("RGB", 3), ("YBR_ICT", 3), ("PALETTE COLOR", 1)])
def test_samples_follow_the_photometric_interpretation(interpretation: str, samples: int) -> None:
    assert described(attributes(interpretation=interpretation)).samples_per_pixel == samples


def test_no_frames_are_one() -> None:
    assert described(attributes(frames=0)).number_of_frames == 1


def test_what_is_as_large_as_its_vr_holds_is_taken() -> None:
    largest = described(attributes(rows=2**16 - 1, columns=2**16 - 1, frames=2**31 - 1))
    assert (largest.rows, largest.columns, largest.number_of_frames) == (2**16 - 1, 2**16 - 1, 2**31 - 1)


@pytest.mark.parametrize(("stored", "expected"), [(0, 16), (1, 1), (16, 16), (17, 16)])
def test_bits_stored_that_cannot_be_are_all(stored: int, expected: int) -> None:
    assert described(attributes(stored=stored)).bits_stored == expected


@pytest.mark.parametrize(("tag", "bits"), [(FLOAT_PIXEL_DATA, 32), (DOUBLE_FLOAT_PIXEL_DATA, 64)])
def test_floating_point_pixels_have_the_bits_of_their_element(tag: str, bits: int) -> None:
    pixels = described(attributes(allocated=1), tag)
    assert (pixels.bits_allocated, pixels.floating) == (bits, True)


@pytest.mark.parametrize("allocated", [1, 8, 16, 24, 32, 40, 64])
def test_bits_allocated_are_1_or_whole_bytes(allocated: int) -> None:
    assert described(attributes(allocated=allocated)).frame_length == (15 * allocated + 7) // 8


def test_subsampled_pixels_have_two_samples() -> None:
    assert described(attributes(samples=3, interpretation="YBR_FULL_422", allocated=8)).frame_length == 30


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": ""}, "Rows is missing"),
        ({"rows": 0}, "Rows is missing"),
        ({"rows": 2**16}, "Rows is 65536"),
        ({"columns": 2**16}, "Columns is 65536"),
        ({"frames": 2**31}, "Number of Frames is 2147483648"),
        ({"columns": ""}, "Columns is missing"),
        ({"columns": -3}, "Columns is -3"),
        ({"allocated": ""}, "Bits Allocated is missing"),
        ({"allocated": 12}, "Bits Allocated is 12"),
        ({"allocated": 72}, "Bits Allocated is 72"),
        ({"samples": 5}, "Samples per Pixel is 5"),
        ({"samples": 0}, "Samples per Pixel is missing"),
        ({"frames": -1}, "Number of Frames is -1"),
        ({"frames": "1A"}, "Number of Frames is no number"),
        ({"rows": {"00280010": {"vr": "US"}}}, "Rows is no number"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(PeerError, match=f"the pixels of the instance are not described: {message}"):
        described(attributes(**values))


def test_four_samples_are_the_most() -> None:
    assert described(attributes(samples=4)).samples_per_pixel == 4
