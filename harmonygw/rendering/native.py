"""Native frames and arrays: the one layout that every codec starts from or ends in (PS3.5 §8.1.1, PS3.3 §C.7.6.3)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.errors import PeerError
from harmonygw.rendering.limits import MAX_FRAME_BYTES, MAX_FRAME_PIXELS, MAX_SAMPLES_PER_PIXEL

Array = NDArray[Any]
"""Of (rows, columns), or of (rows, columns, samples)."""


def check(pixels: PixelDescription) -> None:
    """Refuse a description that no frame has, or whose frame would not fit.

    Raises:
        PeerError: with what is wrong.
    """
    allocated, stored = pixels.bits_allocated, pixels.bits_stored
    if allocated not in ((32, 64) if pixels.floating else (1, 8, 16, 32, 64)) or not 0 < stored <= allocated:
        raise PeerError(f"A frame cannot have {stored} of {allocated} bits in each of its samples.")
    if not 1 <= pixels.samples_per_pixel <= MAX_SAMPLES_PER_PIXEL or (allocated == 1 and pixels.samples_per_pixel > 1):
        raise PeerError(f"A frame cannot have {pixels.samples_per_pixel} samples of {allocated} bits in a pixel.")
    area = pixels.rows * pixels.columns
    if pixels.rows < 1 or pixels.columns < 1 or area > MAX_FRAME_PIXELS:
        raise PeerError(
            f"A frame of {pixels.rows} rows and {pixels.columns} columns is not decoded; the limit is "
            f"{MAX_FRAME_PIXELS} pixels (MAX_FRAME_PIXELS)."
        )
    size = area * pixels.samples_per_pixel * max(allocated // 8, 1)
    if size > MAX_FRAME_BYTES:
        raise PeerError(
            f"A frame of {size} bytes is not decoded; the limit is {MAX_FRAME_BYTES} bytes (MAX_FRAME_BYTES)."
        )


def sample_type(pixels: PixelDescription) -> np.dtype[Any]:
    """Return the type of a sample: little endian, and of 8 bits when one bit is allocated."""
    kind = "f" if pixels.floating else "i" if pixels.pixel_representation else "u"
    return np.dtype(f"<{kind}{max(pixels.bits_allocated // 8, 1)}")


def shape(pixels: PixelDescription) -> tuple[int, ...]:
    """Return the shape of a frame's array."""
    area = (pixels.rows, pixels.columns)
    return area if pixels.samples_per_pixel == 1 else (*area, pixels.samples_per_pixel)


def extend(array: Array, bits: int, pixels: PixelDescription) -> Array:
    """Make the lowest `bits` of each sample its value: the bits above become its sign, or zero (PS3.5 §8.1.1)."""
    unused = 8 * array.itemsize - bits
    if unused <= 0 or array.dtype.kind == "f":
        return array
    signed = array.view(f"{'i' if pixels.pixel_representation else 'u'}{array.itemsize}")
    return (signed << unused) >> unused


def from_native(data: bytes, pixels: PixelDescription) -> Array:
    """Return the array of a native little endian frame, which begins on a byte.

    YBR_FULL_422 comes out with a colour for each pixel, the one of two repeated (PS3.3 §C.7.6.3.1.2).

    Raises:
        PeerError: the frame is too short.
    """
    if len(data) < pixels.frame_length:
        raise PeerError(f"A frame of {pixels.frame_length} bytes has {len(data)} bytes only.")
    if pixels.bits_allocated == 1:
        packed = np.frombuffer(data, np.uint8, pixels.frame_length)
        bits = np.unpackbits(packed, count=pixels.rows * pixels.columns, bitorder="little")
        return bits.reshape(shape(pixels))
    kind = sample_type(pixels)
    samples = np.frombuffer(data, kind, pixels.frame_length // kind.itemsize)
    if pixels.photometric_interpretation == "YBR_FULL_422":
        if pixels.samples_per_pixel != 3 or pixels.columns % 2:
            raise PeerError("A frame in YBR_FULL_422 needs three samples a pixel and an even number of columns.")
        pairs = samples.reshape(-1, 4)
        array = np.empty((len(pairs), 2, 3), kind)
        array[:, :, 0] = pairs[:, :2]
        array[:, :, 1:] = pairs[:, np.newaxis, 2:]
    elif pixels.planar_configuration and pixels.samples_per_pixel > 1:
        array = samples.reshape(pixels.samples_per_pixel, -1).T
    else:
        array = samples
    return extend(array.reshape(shape(pixels)), pixels.bits_stored, pixels)


def to_native(array: Array, pixels: PixelDescription) -> bytes:
    """Return the native frame of an array: little endian, colour by pixel, samples of one bit packed."""
    if pixels.bits_allocated == 1:
        return np.packbits(array.astype(np.uint8, copy=False), bitorder="little").tobytes()
    return array.astype(sample_type(pixels), copy=False).tobytes()
