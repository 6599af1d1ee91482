"""The jobs that take a frame from one transfer syntax to another.

The parameters are `transfer_syntax`, the UID in which the frame is stored; `pixels`, the fields of its
PixelDescription; and `target`, the UID that is wanted. The result's `pixels` describe what came out.
"""

from dataclasses import asdict
from typing import Any

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.dicom.dataset.transcoding import decoded_pixels
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from harmonygw.rendering.codecs import decode, encode, to_native


def decode_job(parameters: dict[str, Any], payload: list[bytes]) -> tuple[dict[str, Any], bytes]:
    """Make the native frame, Explicit VR Little Endian, of a stored one."""
    transfer_syntax, pixels = parameters["transfer_syntax"], PixelDescription(**parameters["pixels"])
    array = decode(payload[0], transfer_syntax, pixels)
    result = decoded_pixels(transfer_syntax, pixels)
    return {"pixels": asdict(result)}, to_native(array, result)


def encode_job(parameters: dict[str, Any], payload: list[bytes]) -> tuple[dict[str, Any], bytes]:
    """Encode a native frame without loss; there is no `transfer_syntax`."""
    return transcode_job({**parameters, "transfer_syntax": EXPLICIT_VR_LITTLE_ENDIAN}, payload)


def transcode_job(parameters: dict[str, Any], payload: list[bytes]) -> tuple[dict[str, Any], bytes]:
    """Decode a stored frame, and encode it without loss."""
    transfer_syntax, pixels = parameters["transfer_syntax"], PixelDescription(**parameters["pixels"])
    array = decode(payload[0], transfer_syntax, pixels)
    result = decoded_pixels(transfer_syntax, pixels)
    return {"pixels": asdict(result)}, encode(array, parameters["target"], result)
