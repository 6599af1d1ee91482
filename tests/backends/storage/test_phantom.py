from array import array

import pytest

from harmonygw.backends.storage import heart, phantom


def hounsfield(number: int) -> "array[int]":
    pixels = array("H")
    pixels.frombytes(phantom.slice_pixels(number))
    return array("i", [value + phantom.RESCALE_INTERCEPT for value in pixels])


def mean_around(picture: "array[int]", x: float, y: float) -> float:
    """The mean of 5 by 5 pixels at a place in millimetres from the middle."""
    column = round(phantom.COLUMNS / 2 + x / phantom.PIXEL_SPACING)
    row = round(phantom.ROWS / 2 + y / phantom.PIXEL_SPACING)
    values = [picture[r * phantom.COLUMNS + c] for r in range(row - 2, row + 3) for c in range(column - 2, column + 3)]
    return sum(values) / len(values)


def test_a_slice_is_512_by_512_of_16_bits_and_12_are_enough() -> None:
    pixels = array("H")
    pixels.frombytes(phantom.slice_pixels(60))

    assert len(pixels) == 512 * 512
    assert max(pixels) < 4096


def test_the_same_slice_is_always_the_same_and_no_two_are() -> None:
    assert phantom.slice_pixels(60) == phantom.slice_pixels(60)
    assert phantom.slice_pixels(60) != phantom.slice_pixels(61)


@pytest.mark.parametrize(
    ("number", "x", "y", "lowest", "highest"),
    [
        (100, -76, 0, -1000, -600),  # right lung
        (100, 76, 30, -1000, -600),  # left lung
        (100, 0, 54, 200, 1200),  # vertebral body
        (68, 14, 73, 200, 1200),  # left pedicle
        (24, -100, -10, 80, 140),  # liver
        (64, 22, 36, 130, 200),  # aorta
        (60, 0, -105, -140, -60),  # subcutaneous fat
        (60, 0, 75, 10, 60),  # spinal cord
        (60, -190, -150, -1024, -950),  # air
    ],
)
def test_tissues_are_where_anatomy_has_them(number: int, x: float, y: float, lowest: int, highest: int) -> None:
    assert lowest < mean_around(hounsfield(number), x, y) < highest


def test_a_big_endian_machine_makes_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = phantom.slice_pixels(0)
    monkeypatch.setattr("sys.byteorder", "big")

    assert phantom.slice_pixels(0) == b"".join(
        expected[i + 1 : i + 2] + expected[i : i + 1] for i in range(0, len(expected), 2)
    )


def dark(frame: bytes) -> int:
    """Dark pixels of the chamber: those of the middle column."""
    return sum(frame[row * heart.COLUMNS + heart.COLUMNS // 2] < 60 for row in range(60, 210))


def test_the_chamber_contracts_and_widens_once() -> None:
    sizes = [dark(heart.frame_pixels(number)) for number in range(heart.FRAMES)]
    smallest = sizes.index(min(sizes))

    assert len(heart.frame_pixels(0)) == heart.ROWS * heart.COLUMNS
    assert abs(smallest - heart.FRAMES // 2) <= 2
    assert min(sizes) < 0.8 * max(sizes)


def test_outside_the_fan_it_is_black() -> None:
    frame = heart.frame_pixels(0)

    assert frame[:8] == bytes(8)
    assert frame[-8:] == bytes(8)
