"""RLE Lossless (PS3.5 Annex G): a header of sixteen offsets, and one PackBits segment for each byte of a pixel."""

import struct
from typing import Final

import numpy as np
from imagecodecs import PackbitsError, packbits_decode, packbits_encode

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.errors import PeerError
from harmonygw.rendering.native import Array, extend, sample_type, shape

MAX_SEGMENTS: Final = 15
"""Segments that a header has room for (PS3.5 §G.4)."""

_HEADER: Final = struct.Struct("<16L")
_LONGEST_RUN: Final = 128
"""Bytes that one code of PackBits makes; some encoders let the last one of a segment make too many."""


def decode(data: bytes, pixels: PixelDescription) -> Array:
    """Decode one frame; it is colour by plane in the codestream, whatever its planar configuration says (§G.2).

    Raises:
        PeerError: it has not the segments of such pixels, or one of them has not their number of bytes.
    """
    kind = sample_type(pixels)
    segments = pixels.samples_per_pixel * kind.itemsize
    if len(data) < _HEADER.size:
        raise PeerError("A frame is too short for RLE Lossless.")
    count, *offsets = _HEADER.unpack_from(data)
    if count != segments or segments > MAX_SEGMENTS:
        raise PeerError(f"A frame in RLE Lossless has {count} segments; its pixels need {segments}.")
    area = pixels.rows * pixels.columns
    planes = np.empty((pixels.samples_per_pixel, kind.itemsize, area), np.uint8)
    ends = [*offsets[1:count], len(data)]
    for index, (start, end) in enumerate(zip(offsets, ends, strict=False)):
        sample, byte = divmod(index, kind.itemsize)
        # The most significant byte comes first (§G.2), in an array it is the last.
        planes[sample, kind.itemsize - 1 - byte] = _unpack(data[start:end], area)
    samples = np.ascontiguousarray(planes.transpose(2, 0, 1)).view(kind)
    return extend(samples.reshape(shape(pixels)), pixels.bits_stored, pixels)


def encode(array: Array, pixels: PixelDescription) -> bytes:
    """Encode one frame; no run crosses the end of a row (§G.3.1), and each segment has an even length."""
    kind = sample_type(pixels)
    octets = array.astype(kind, copy=False).reshape(pixels.rows, pixels.columns, -1, 1).view(np.uint8)
    segments = []
    for sample in range(pixels.samples_per_pixel):
        for byte in reversed(range(kind.itemsize)):
            plane = np.frombuffer(octets[:, :, sample, byte].tobytes(), np.uint8)
            segment = bytes(packbits_encode(plane.reshape(pixels.rows, pixels.columns), axis=-1))
            segments.append(segment + b"\0" * (len(segment) % 2))
    offsets, position = [], _HEADER.size
    for segment in segments:
        offsets.append(position)
        position += len(segment)
    header = _HEADER.pack(len(segments), *offsets, *(0,) * (MAX_SEGMENTS - len(segments)))
    return header + b"".join(segments)


def _unpack(segment: bytes, size: int) -> Array:
    room = bytearray(size + _LONGEST_RUN)
    try:
        made = len(packbits_decode(segment, out=room))
    except PackbitsError as error:
        raise PeerError("A segment of a frame in RLE Lossless is corrupt.", log_detail=str(error)) from error
    if made < size:
        raise PeerError(f"A segment of a frame in RLE Lossless has {made} bytes; its pixels need {size}.")
    return np.frombuffer(room, np.uint8, size)
