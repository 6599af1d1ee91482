from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harmonygw.errors import NotAcceptable
from harmonygw.rendering.colour import to_rgb
from tests.rendering.images import attributes_of, pixels_of

NAMES = ("Red", "Green", "Blue")


def rgb(array: NDArray[Any], photometric: str, fields: dict[str, Any] | None = None, **attributes: Any) -> Any:
    pixels = pixels_of(array, photometric_interpretation=photometric, **(fields or {}))
    return to_rgb(array, pixels, attributes_of(**attributes)).tolist()


def palette(first: int, bits: int, *tables: list[int]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, table in zip(NAMES, tables, strict=True):
        content[f"{name}PaletteColorLookupTableDescriptor"] = [len(table), first, bits]
        content[f"{name}PaletteColorLookupTableData"] = np.array(table, "<u2").tobytes()
    return content


def test_rgb_of_eight_bits_is_as_it_is() -> None:
    array = np.array([[[1, 2, 3], [254, 255, 0]]], np.uint8)
    assert rgb(array, "RGB") == array.tolist()


@pytest.mark.parametrize(
    ("kind", "bits", "stored", "expected"),
    [("<u2", 16, 0x1234, 0x12), ("<u2", 12, 0xF123, 0x12), ("<u4", 32, 0x12345678, 0x12), ("u1", 4, 0x0F, 255)],
)
def test_other_depths_become_eight_bits(kind: str, bits: int, stored: int, expected: int) -> None:
    array = np.full((1, 1, 3), stored, kind)
    assert rgb(array, "RGB", {"bits_stored": bits}) == [[[expected] * 3]]


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize(
    ("ybr", "expected"),
    [
        ([0, 128, 128], [0, 0, 0]),
        ([255, 128, 128], [255, 255, 255]),
        ([77, 128, 128], [77, 77, 77]),
        ([76, 85, 255], [254, 0, 0]),
        ([150, 44, 21], [0, 255, 1]),
        ([29, 255, 107], [0, 0, 254]),
    ],
)
def test_ybr_becomes_rgb(photometric: str, ybr: list[int], expected: list[int]) -> None:
    assert rgb(np.array([[ybr]], np.uint8), photometric) == [[expected]]


def test_ybr_is_within_a_half_of_the_formula() -> None:
    ybr = np.random.default_rng(1).integers(0, 256, (50, 50, 3)).astype(np.uint8)
    y, cb, cr = (ybr[..., channel].astype(float) - (128 if channel else 0) for channel in range(3))
    exact = np.stack([y + 1.402 * cr, y - 0.344136286 * cb - 0.714136286 * cr, y + 1.772 * cb], axis=-1).clip(0, 255)
    assert np.abs(exact - np.array(rgb(ybr, "YBR_FULL"))).max() < 0.501


def test_a_palette_gives_colours() -> None:
    attributes = palette(0, 16, [0x1000, 0xFF00], [0, 0x8000], [0xFFFF, 0])
    array = np.array([[0, 1, 2]], np.uint8)
    assert rgb(array, "PALETTE COLOR", **attributes) == [[[16, 0, 255], [255, 128, 0], [255, 128, 0]]]


def test_a_palette_of_eight_bits_gives_colours() -> None:
    attributes = palette(10, 8, [1, 2], [3, 4], [5, 6])
    assert rgb(np.array([[0, 10, 11]], np.uint8), "PALETTE COLOR", **attributes) == [[[1, 3, 5], [1, 3, 5], [2, 4, 6]]]


def test_a_palette_of_signed_pixels_begins_below_zero() -> None:
    attributes = palette(65535, 8, [1, 2, 3], [1, 2, 3], [1, 2, 3])
    array = np.array([[-2, -1, 0, 1, 2]], "<i2")
    shown = rgb(array, "PALETTE COLOR", PixelRepresentation=0, **attributes)
    assert [colour[0] for colour in shown[0]] == [1, 1, 2, 3, 3]


def test_bits_above_an_index_are_not_looked_at() -> None:
    attributes = palette(0, 8, [1, 2], [1, 2], [1, 2])
    array = np.array([[0xF1]], np.uint8)
    assert rgb(array, "PALETTE COLOR", {"bits_stored": 4}, **attributes) == [[[2, 2, 2]]]


@pytest.mark.parametrize("photometric", ["ARGB", "CMYK", "HSV", "YBR_PARTIAL_420", "NONSENSE"])
def test_other_colour_spaces_are_not_acceptable(photometric: str) -> None:
    samples = 4 if photometric in ("ARGB", "CMYK") else 3
    with pytest.raises(NotAcceptable, match=photometric):
        rgb(np.zeros((1, 1, samples), np.uint8), photometric)


@pytest.mark.parametrize("photometric", ["PALETTE COLOR", "RGB"])
def test_colours_are_no_floating_point(photometric: str) -> None:
    with pytest.raises(NotAcceptable, match=f"floating point samples in {photometric}"):
        rgb(np.zeros((1, 1), "<f4"), photometric)


def test_a_palette_is_for_one_sample_a_pixel() -> None:
    with pytest.raises(NotAcceptable, match="PALETTE COLOR"):
        rgb(np.zeros((1, 1, 3), np.uint8), "PALETTE COLOR")


def test_a_colour_image_of_one_sample_is_not_acceptable() -> None:
    with pytest.raises(NotAcceptable, match="1 samples a pixel in RGB"):
        rgb(np.zeros((1, 1), np.uint8), "RGB")
