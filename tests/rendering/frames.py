"""Frames for tests of codecs: those of pydicom's files, and made ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.rendering.native import sample_type, shape


def pixels_of(path: Any) -> PixelDescription:
    """Describe a file's pixels."""
    dataset = dcmread(path)
    return PixelDescription(
        dataset.Rows,
        dataset.Columns,
        dataset.BitsAllocated,
        dataset.BitsStored,
        dataset.HighBit,
        dataset.SamplesPerPixel,
        dataset.PixelRepresentation,
        dataset.get("PlanarConfiguration", 0),
        dataset.PhotometricInterpretation,
        int(dataset.get("NumberOfFrames", 1)),
    )


def transfer_syntax_of(path: Any) -> str:
    """Return a file's transfer syntax UID."""
    return str(dcmread(path).file_meta.TransferSyntaxUID)


def frames_of(path: Any) -> list[bytes]:
    """Return a file's frames as they are stored; of whole bytes."""
    dataset, pixels = dcmread(path), pixels_of(path)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return list(generate_frames(dataset.PixelData, number_of_frames=pixels.number_of_frames))
    length = pixels.frame_length
    return [dataset.PixelData[index * length :][:length] for index in range(pixels.number_of_frames)]


def sample_image(pixels: PixelDescription) -> NDArray[Any]:
    """Make an image with every extreme in it, noise, and areas of one value."""
    low = -(1 << (pixels.bits_stored - 1)) if pixels.pixel_representation else 0
    high = low + (1 << pixels.bits_stored) - 1
    noise = np.random.default_rng(1).integers(low, high, shape(pixels), np.int64, endpoint=True)
    noise[: pixels.rows // 3] = low
    noise[-1] = high
    noise[0, 0], noise[0, -1] = high, low
    return noise.astype(sample_type(pixels))


def object_of(frame: bytes, transfer_syntax_uid: str, pixels: PixelDescription) -> Dataset:
    """Make a Secondary Capture image of one encapsulated frame."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax_uid
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3.4"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    dataset.Modality, dataset.ConversionType = "OT", "WSD"
    dataset.Rows, dataset.Columns = pixels.rows, pixels.columns
    dataset.BitsAllocated, dataset.BitsStored = pixels.bits_allocated, pixels.bits_stored
    dataset.HighBit, dataset.PixelRepresentation = pixels.high_bit, pixels.pixel_representation
    dataset.SamplesPerPixel = pixels.samples_per_pixel
    dataset.PhotometricInterpretation = pixels.photometric_interpretation
    if pixels.samples_per_pixel > 1:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    return dataset
