"""Colour frames as RGB of eight bits: palettes, YBR, RGB (PS3.3 §C.7.6.3.1.2)."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.errors import NotAcceptable
from harmonygw.rendering.frame_attributes import FrameAttributes
from harmonygw.rendering.lookup_tables import palette_of

Colours = NDArray[np.uint8]

MONOCHROME: Final = frozenset({"MONOCHROME1", "MONOCHROME2"})
YBR: Final = frozenset({"YBR_FULL", "YBR_FULL_422"})

_RED_OF_CR: Final = 1.402
_GREEN_OF_CB: Final = 0.114 * 1.772 / 0.587
_GREEN_OF_CR: Final = 0.299 * 1.402 / 0.587
_BLUE_OF_CB: Final = 1.772
"""What the chrominances add, of the luminance's weights 0.2990, 0.5870 and 0.1140 (ITU-R BT.601)."""

_FRACTION_BITS: Final = 16


def to_rgb(array: NDArray[Any], pixels: PixelDescription, attributes: FrameAttributes) -> Colours:
    """Return a frame as (rows, columns, 3), red, green and blue from 0 to 255.

    `array` is (rows, columns) for a palette, else (rows, columns, 3); chrominances have been upsampled. Raises
    `NotAcceptable` for the colour spaces that are retired, or are none.
    """
    name = pixels.photometric_interpretation
    if pixels.floating:
        raise NotAcceptable(f"floating point samples in {name} cannot be rendered")
    if name == "PALETTE COLOR" and array.ndim == 2:
        return _through_palette(array, pixels, attributes)
    samples = _eight_bits(array, pixels)
    if samples.ndim != 3 or samples.shape[2] != 3:
        raise NotAcceptable(f"images of {pixels.samples_per_pixel} samples a pixel in {name} cannot be rendered")
    if name == "RGB":
        return samples
    if name in YBR:
        return _from_ybr(samples)
    raise NotAcceptable(f"images with the Photometric Interpretation {name!r} cannot be rendered")


def _eight_bits(array: NDArray[Any], pixels: PixelDescription) -> Colours:
    """Bring samples to eight bits; shallow ones are stretched to 255."""
    if pixels.bits_stored == 8 and array.dtype == np.uint8:
        return array
    bits = min(pixels.bits_stored, 8 * array.dtype.itemsize)
    cells = array.view(array.dtype.str.replace("i", "u")) & ((1 << bits) - 1)
    if bits >= 8:
        return (cells >> (bits - 8)).astype(np.uint8)
    return (cells.astype(np.uint16) * 255 // ((1 << bits) - 1)).astype(np.uint8)


def _through_palette(array: NDArray[Any], pixels: PixelDescription, attributes: FrameAttributes) -> Colours:
    bits = min(pixels.bits_stored, 16)
    signed = bool(pixels.pixel_representation)
    values = np.arange(1 << bits).astype(np.float64)
    if signed:
        values[1 << (bits - 1) :] -= 1 << bits
    channels = [
        (table.apply(values) >> (table.bits - 8)).astype(np.uint8) for table in palette_of(attributes, signed=signed)
    ]
    cells = array.view(array.dtype.str.replace("i", "u")) & ((1 << bits) - 1)
    rgb: Colours = np.stack(channels, axis=-1)[cells]
    return rgb


def _from_ybr(samples: Colours) -> Colours:
    """Convert with tables in fixed point, for a frame has more pixels than a sample has values."""
    one = 1 << _FRACTION_BITS

    def term(weight: float, chrominance: Colours) -> NDArray[np.int32]:
        table = np.rint((np.arange(256) - 128) * weight * one).astype(np.int32)
        return np.take(table, chrominance)

    cb, cr = samples[..., 1], samples[..., 2]
    y = (samples[..., 0].astype(np.int32) << _FRACTION_BITS) + one // 2
    rgb = np.empty_like(samples)
    sums = (
        y + term(_RED_OF_CR, cr),
        y - term(_GREEN_OF_CB, cb) - term(_GREEN_OF_CR, cr),
        y + term(_BLUE_OF_CB, cb),
    )
    for channel, total in enumerate(sums):
        rgb[..., channel] = np.clip(total >> _FRACTION_BITS, 0, 255)
    return rgb
