"""Frames as arrays: decoding, and encoding without loss; in a worker process, as codecs crash, hang and hold the GIL.

A decoded array has the type of the data set's samples, whatever container a codestream is decoded into, and the values
that the data set means: the bits above Bits Stored, or above a codestream's precision, are its sign or zero.
"""

import zlib
from typing import Any, Final

import numpy as np
from imagecodecs import (
    jpeg2k_decode,
    jpeg2k_encode,
    jpeg8_decode,
    jpegls_decode,
    jpegls_encode,
    jpegxl_decode,
)

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.errors import NotAcceptable, PeerError
from harmonygw.rendering import native, rle
from harmonygw.rendering.codestreams import (
    JPEG_LS_PROCESS,
    LOSSLESS_PROCESS,
    Codestream,
    read_jpeg,
    read_jpeg_2000,
)
from harmonygw.rendering.native import Array, to_native
from harmonygw.rendering.transfer_syntaxes import (
    DECODABLE,
    DEFLATED_IMAGE_FRAME,
    JPEG,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_LOSSLESS,
    JPEG_LS,
    JPEG_LS_LOSSLESS,
    NATIVE,
    RLE_LOSSLESS,
)

__all__ = ["decode", "encode", "to_native"]

_FAILURES: Final = (RuntimeError, ValueError)
"""What imagecodecs raises of a codestream; its errors are RuntimeErrors, and ValueErrors where it checks for itself."""

_MAX_JPEG_LS_GROWTH: Final = 4096
"""Bytes by which JPEG-LS of a small frame of noise may be longer than its pixels, with its headers."""


def decode(data: bytes, transfer_syntax_uid: str, pixels: PixelDescription) -> Array:
    """Decode one stored frame to an array of (rows, columns), or of (rows, columns, samples).

    `decoded_pixels` says what colour space the result has.

    Raises:
        PeerError: the frame is corrupt, is not what `pixels` says, or exceeds a limit.
        NotAcceptable: nothing here decodes this transfer syntax.
    """
    if transfer_syntax_uid not in DECODABLE:
        raise NotAcceptable(f"Frames in transfer syntax {transfer_syntax_uid} cannot be decoded.")
    native.check(pixels)
    if transfer_syntax_uid in NATIVE:
        return native.from_native(data, pixels)
    if transfer_syntax_uid == DEFLATED_IMAGE_FRAME:
        return native.from_native(_inflate(data, pixels.frame_length), pixels)
    if pixels.floating or pixels.bits_allocated == 1:
        raise PeerError("A frame of floating point or one bit samples cannot be in this transfer syntax.")
    if transfer_syntax_uid == RLE_LOSSLESS:
        return rle.decode(data, pixels)
    if transfer_syntax_uid in JPEG | JPEG_LOSSLESS:
        return _decode_jpeg(data, pixels)
    if transfer_syntax_uid in JPEG_LS:
        return _decode_jpeg_ls(data, pixels)
    if transfer_syntax_uid in JPEG_2000:
        return _decode_jpeg_2000(data, pixels)
    return _decode_jpeg_xl(data, pixels)


def encode(array: Array, transfer_syntax_uid: str, pixels: PixelDescription) -> bytes:
    """Encode an array without loss and without a colour transform; the result has an even length (PS3.5 §A.4).

    Args:
        array: as `decode` makes it.
        transfer_syntax_uid: one of `ENCODABLE`.
        pixels: describes the array, see `decoded_pixels`.

    Raises:
        NotAcceptable: the transfer syntax is not made here, or has no such pixels.
    """
    if pixels.floating or pixels.bits_allocated not in (8, 16, 32):
        raise NotAcceptable("Frames of such samples are only to be had without compression.")
    if transfer_syntax_uid == RLE_LOSSLESS:
        if pixels.samples_per_pixel * pixels.bits_allocated // 8 > rle.MAX_SEGMENTS:
            raise NotAcceptable("Frames of such samples are only to be had without compression.")
        return rle.encode(array, pixels)
    if pixels.bits_allocated == 32:
        raise NotAcceptable("Samples of 32 bits are only to be had without compression, or in RLE Lossless.")
    array = np.ascontiguousarray(array, native.sample_type(pixels))
    if transfer_syntax_uid == JPEG_LS_LOSSLESS:
        encoded = _encode_jpeg_ls(array)
    elif transfer_syntax_uid == JPEG_2000_LOSSLESS:
        encoded = bytes(
            jpeg2k_encode(
                array,
                level=0,
                codecformat="j2k",
                bitspersample=pixels.bits_stored,
                reversible=True,
                mct=False,
                numthreads=1,
            )
        )
    else:
        raise NotAcceptable(f"Frames cannot be encoded in transfer syntax {transfer_syntax_uid}.")
    return encoded + b"\0" * (len(encoded) % 2)


def _inflate(data: bytes, size: int) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size)
    except zlib.error as error:
        raise PeerError("A deflated frame is corrupt.", log_detail=str(error)) from error


def _decode_jpeg(data: bytes, pixels: PixelDescription) -> Array:
    header = read_jpeg(data)
    _compare(header, pixels)
    if header.process == JPEG_LS_PROCESS:
        raise PeerError("A frame is JPEG-LS, which its transfer syntax does not say.")
    options: dict[str, Any] = {}
    if header.samples == 3:
        declared = pixels.photometric_interpretation.startswith("YBR_")
        transformed = declared if header.transformed is None else header.transformed
        # What is encoded without loss keeps its colour space (PS3.5 §8.2.1).
        undo = transformed and header.process != LOSSLESS_PROCESS
        options = {"colorspace": "YCBCR" if undo else "RGB", "outcolorspace": "RGB"}
    return _conform(_attempt("JPEG", jpeg8_decode, data, pixels, **options), pixels.bits_stored, pixels)


def _decode_jpeg_ls(data: bytes, pixels: PixelDescription) -> Array:
    header = read_jpeg(data)
    _compare(header, pixels)
    if header.process != JPEG_LS_PROCESS:
        raise PeerError("A frame is not the JPEG-LS that its transfer syntax says it is.")
    # A codestream of JPEG-LS knows no sign.
    return _conform(_attempt("JPEG-LS", jpegls_decode, data, pixels), header.precision, pixels)


def _decode_jpeg_2000(data: bytes, pixels: PixelDescription) -> Array:
    header = read_jpeg_2000(data)
    _compare(header, pixels)
    # OpenJPEG decodes HTJ2K as well; OpenJPH is faster, but it overflows in lossy colour and takes half a frame.
    array = _attempt("JPEG 2000", jpeg2k_decode, data, pixels, numthreads=1)
    return _conform(array, header.precision, pixels)


def _decode_jpeg_xl(data: bytes, pixels: PixelDescription) -> Array:
    # A size of its own would be found out before a pixel is decoded.
    out = np.empty(native.shape(pixels), np.uint8 if pixels.bits_stored <= 8 else np.uint16)
    _attempt("JPEG XL", jpegxl_decode, data, pixels, numthreads=1, out=out)
    return _conform(out, pixels.bits_stored, pixels)


def _compare(header: Codestream, pixels: PixelDescription) -> None:
    found = (header.rows, header.columns, header.samples)
    if found != (pixels.rows, pixels.columns, pixels.samples_per_pixel):
        raise PeerError(
            f"A frame has {header.rows} rows, {header.columns} columns and {header.samples} samples a pixel; its data "
            f"set says {pixels.rows}, {pixels.columns} and {pixels.samples_per_pixel}."
        )
    if header.precision > pixels.bits_allocated:
        raise PeerError(
            f"A frame has samples of {header.precision} bits; its data set allocates {pixels.bits_allocated}."
        )


def _attempt(name: str, decoder: Any, data: bytes, pixels: PixelDescription, **options: Any) -> Array:
    try:
        array: Array = decoder(data, **options).reshape(native.shape(pixels))
    except _FAILURES as error:
        raise PeerError(f"A frame could not be decoded as {name}.", log_detail=str(error)) from error
    return array


def _conform(array: Array, precision: int, pixels: PixelDescription) -> Array:
    extended = native.extend(np.ascontiguousarray(array), precision, pixels)
    kind = native.sample_type(pixels)
    if extended.itemsize == kind.itemsize:
        return extended.view(kind)
    return extended.astype(kind)


def _encode_jpeg_ls(array: Array) -> bytes:
    unsigned = array.view(f"u{array.itemsize}")
    room = bytearray(2 * array.nbytes + _MAX_JPEG_LS_GROWTH)
    encoded = bytes(jpegls_encode(unsigned, level=0, out=room))
    position = 2
    while encoded[position : position + 2] == b"\xff\xe8":
        # A SPIFF header, which says RGB of every colour space.
        position += 2 + int.from_bytes(encoded[position + 2 : position + 4], "big")
    return encoded[:2] + encoded[position:]
