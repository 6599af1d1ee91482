"""Images for the tests of rendering: parameters and payload of a job, out of arrays and attributes."""

import dataclasses
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.rendering.frame_attributes import FrameAttributes, read_attributes
from harmonygw.rendering.picture import render_job

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"

Job = tuple[dict[str, Any], list[bytes]]


def data_set(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def encoded(content: Dataset, syntax: str = EXPLICIT) -> bytes:
    file = DicomBytesIO()
    file.is_implicit_VR = syntax == IMPLICIT
    file.is_little_endian = syntax != BIG_ENDIAN
    write_dataset(file, content)
    return file.getvalue()


def attributes_of(frame: int = 1, syntax: str = EXPLICIT, **attributes: Any) -> FrameAttributes:
    """Return what is read of a data set that has been written."""
    read = read_attributes(encoded(data_set(**attributes), syntax), syntax)
    return FrameAttributes(read, frame, transfer_syntax_uid=syntax)


def pixels_of(array: NDArray[Any], **fields: Any) -> PixelDescription:
    bits = 8 * array.dtype.itemsize
    description = PixelDescription(
        rows=array.shape[0],
        columns=array.shape[1],
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
        samples_per_pixel=array.shape[2] if array.ndim == 3 else 1,
        pixel_representation=int(array.dtype.kind == "i"),
        photometric_interpretation="RGB" if array.ndim == 3 else "MONOCHROME2",
        floating=array.dtype.kind == "f",
    )
    return dataclasses.replace(description, **fields)


def job(
    frames: NDArray[Any] | Sequence[NDArray[Any]],
    attributes: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    /,
    **parameters: Any,
) -> Job:
    """Return a job for native frames: a PNG of them, unless `parameters` say something else."""
    arrays = [frames] if isinstance(frames, np.ndarray) else list(frames)
    pixels = pixels_of(arrays[0], **(fields or {}))
    asked = {
        "transfer_syntax": EXPLICIT,
        "pixels": dataclasses.asdict(pixels),
        "frames": list(range(1, len(arrays) + 1)),
        "media_type": "image/png",
        **parameters,
    }
    return asked, [encoded(data_set(**(attributes or {}))), *(array.tobytes() for array in arrays)]


def opened(file: bytes) -> Image.Image:
    image = Image.open(BytesIO(file))
    image.load()
    return image


def shown(*arguments: Any, **parameters: Any) -> NDArray[Any]:
    """Render a job and return the pixels of its file."""
    _, file = render_job(*job(*arguments, **parameters))
    return np.asarray(opened(file))
