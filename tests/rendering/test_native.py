from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.errors import PeerError
from harmonygw.rendering.limits import MAX_FRAME_PIXELS
from harmonygw.rendering.native import check, extend, from_native, sample_type, shape, to_native

GREY = PixelDescription(2, 3, 16, 12, 11)
RGB = PixelDescription(1, 3, 8, 8, 7, 3, photometric_interpretation="RGB")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"rows": 0}, "0 rows"),
        ({"columns": 0}, "0 columns"),
        ({"bits_allocated": 12}, "12 of 12 bits"),
        ({"bits_allocated": 8}, "12 of 8 bits"),
        ({"bits_stored": 0}, "0 of 16 bits"),
        ({"floating": True}, "12 of 16 bits"),
        ({"samples_per_pixel": 0}, "0 samples"),
        ({"samples_per_pixel": 5}, "5 samples"),
        ({"bits_allocated": 1, "bits_stored": 1, "samples_per_pixel": 3}, "3 samples of 1 bits"),
        ({"rows": 8192, "columns": 16385}, "MAX_FRAME_PIXELS"),
        ({"rows": 8192, "columns": 16384, "bits_allocated": 64}, "MAX_FRAME_BYTES"),
    ],
)
def test_a_description_that_no_frame_has_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PeerError, match=complaint):
        check(replace(GREY, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rows": 8192, "columns": MAX_FRAME_PIXELS // 8192},
        {"rows": 8192, "columns": 16384, "bits_allocated": 32},
        {"samples_per_pixel": 4},
        {"bits_allocated": 1, "bits_stored": 1},
        {"bits_allocated": 64, "bits_stored": 64, "floating": True},
    ],
)
def test_a_description_at_a_limit_is_taken(changes: dict[str, Any]) -> None:
    check(replace(GREY, **changes))


@pytest.mark.parametrize(
    ("allocated", "signed", "floating", "expected"),
    [
        (1, 0, False, "|u1"),
        (8, 0, False, "|u1"),
        (8, 1, False, "|i1"),
        (16, 0, False, "<u2"),
        (16, 1, False, "<i2"),
        (32, 1, False, "<i4"),
        (64, 0, False, "<u8"),
        (32, 0, True, "<f4"),
        (64, 0, True, "<f8"),
    ],
)
def test_the_type_of_a_sample(allocated: int, signed: int, floating: bool, expected: str) -> None:
    pixels = replace(GREY, bits_allocated=allocated, pixel_representation=signed, floating=floating)
    assert sample_type(pixels).str == expected


def test_the_shape_has_samples_where_there_are_some() -> None:
    assert shape(GREY) == (2, 3)
    assert shape(RGB) == (1, 3, 3)


@pytest.mark.parametrize(("signed", "expected"), [(0, [0x0FFF, 0x0800, 0x07FF]), (1, [-1, -2048, 2047])])
def test_bits_above_those_stored_become_sign_or_zero(signed: int, expected: list[int]) -> None:
    stored = np.array([[0x0FFF, 0xF800, 0x17FF]], np.uint16)
    array = extend(stored, 12, replace(GREY, pixel_representation=signed))
    assert array.tolist() == [expected]


def test_a_native_frame_is_little_endian() -> None:
    array = from_native(bytes((1, 0, 2, 0, 0, 1, 0xFF, 0x0F, 0, 0, 0, 0)), GREY)
    assert array.tolist() == [[1, 2, 256], [4095, 0, 0]]
    assert array.dtype == np.uint16


def test_native_frames_of_floats_are_left_alone() -> None:
    pixels = replace(GREY, bits_allocated=32, bits_stored=32, floating=True)
    values = np.array([[1.5, -0.0, 3e38], [0, 1, 2]], "<f4")
    assert from_native(values.tobytes(), pixels).tobytes() == values.tobytes()
    assert extend(values, 16, pixels) is values


def test_colour_by_pixel_and_colour_by_plane_are_one_array() -> None:
    by_pixel = bytes((1, 2, 3, 4, 5, 6, 7, 8, 9))
    by_plane = bytes((1, 4, 7, 2, 5, 8, 3, 6, 9))
    expected = [[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]
    assert from_native(by_pixel, RGB).tolist() == expected
    assert from_native(by_plane, replace(RGB, planar_configuration=1)).tolist() == expected
    assert from_native(by_pixel, replace(RGB, samples_per_pixel=1, columns=9, planar_configuration=1)).shape == (1, 9)


def test_ybr_full_422_has_a_colour_for_two_pixels() -> None:
    pixels = replace(RGB, columns=4, photometric_interpretation="YBR_FULL_422")
    array = from_native(bytes((1, 2, 30, 40, 3, 4, 50, 60)), pixels)
    assert array.tolist() == [[[1, 30, 40], [2, 30, 40], [3, 50, 60], [4, 50, 60]]]


@pytest.mark.parametrize("changes", [{"columns": 3}, {"samples_per_pixel": 1}])
def test_ybr_full_422_needs_pairs_of_colours(changes: dict[str, int]) -> None:
    pixels = replace(RGB, columns=4, photometric_interpretation="YBR_FULL_422")
    with pytest.raises(PeerError, match="even number of columns"):
        from_native(bytes(8), replace(pixels, **changes))


def test_the_first_bit_is_the_least_significant() -> None:
    pixels = PixelDescription(2, 5, 1, 1, 0)
    array = from_native(bytes((0b00100001, 0b10)), pixels)
    assert array.tolist() == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 1]]
    assert to_native(array, pixels) == bytes((0b00100001, 0b10))


def test_a_short_frame_is_refused_and_padding_is_not() -> None:
    with pytest.raises(PeerError, match="12 bytes has 11 bytes only"):
        from_native(bytes(11), GREY)
    assert from_native(bytes(13), GREY).shape == (2, 3)


def test_an_array_becomes_the_frame_it_was() -> None:
    data = bytes((1, 0, 2, 0, 0, 1, 0xFF, 0x0F, 0, 0, 0, 0))
    assert to_native(from_native(data, GREY), GREY) == data
    by_plane = from_native(bytes((1, 4, 7, 2, 5, 8, 3, 6, 9)), replace(RGB, planar_configuration=1))
    assert to_native(by_plane, RGB) == bytes((1, 2, 3, 4, 5, 6, 7, 8, 9))
    assert to_native(np.array([[1, 2]], ">u2"), replace(GREY, rows=1, columns=2)) == b"\1\0\2\0"
