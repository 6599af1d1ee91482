"""Generated objects for the real archives, written once a run as Part 10 files."""

from collections.abc import Iterator
from os import SEEK_END
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, SecondaryCaptureImageStorage

from bench.synthetic import FRAME_SIZE, MULTI_FRAME_WORD_SC, pixels

ROOT = "1.2.826.0.1.3680043.10.1425"
CT_STUDY = f"{ROOT}.1"
CT_INSTANCES = 500
MULTI_FRAME_STUDY = f"{ROOT}.2"
MULTI_FRAMES = 400
"""Frames of 512 KiB: 200 MB in one instance."""
LARGE_MULTI_FRAME_STUDY = f"{ROOT}.5"
LARGE_MULTI_FRAMES = 2000
"""Frames of 512 KiB: 1 GB in one instance."""
SMALL_STUDY = f"{ROOT}.6"
JPEG_2000_STUDY = f"{ROOT}.4"
JPEG_2000_SIDE = 2048
"""Rows and columns of its one image."""
CATALOGUE = 2000
"""Studies of one small instance each."""


def ct_study(folder: Path) -> Iterator[Path]:
    """Write a study of 500 CT images of 512 by 512, 250 MB."""
    values = pixels(FRAME_SIZE)
    for index in range(CT_INSTANCES):
        image = _image(CTImageStorage, CT_STUDY, index, modality="CT", patient_id="CT500")
        image.SliceLocation = str(index)
        image.ImagePositionPatient = ["0", "0", str(index)]
        image.PixelSpacing = ["0.7", "0.7"]
        image.RescaleIntercept, image.RescaleSlope = "-1024", "1"
        _add_pixels(image, 512, 512, values)
        yield _write(image, folder / f"ct{index:04}.dcm")


def multi_frame(folder: Path) -> Iterator[Path]:
    """Write one instance of 200 MB."""
    image = _image(MULTI_FRAME_WORD_SC, MULTI_FRAME_STUDY, 0, modality="OT", patient_id="MULTIFRAME")
    image.NumberOfFrames = str(MULTI_FRAMES)
    _add_pixels(image, 512, 512, pixels(FRAME_SIZE) * MULTI_FRAMES)
    yield _write(image, folder / "multi-frame.dcm")


def large_multi_frame(folder: Path) -> Iterator[Path]:
    """Write one instance of 1 GB, a frame at a time: its pixels stand at its end."""
    image = _image(MULTI_FRAME_WORD_SC, LARGE_MULTI_FRAME_STUDY, 0, modality="OT", patient_id="LARGE")
    image.NumberOfFrames = str(LARGE_MULTI_FRAMES)
    frame = pixels(FRAME_SIZE)
    _add_pixels(image, 512, 512, frame)
    path = _write(image, folder / "large-multi-frame.dcm")
    with path.open("r+b") as file:
        file.seek(-FRAME_SIZE - 4, SEEK_END)
        file.write((FRAME_SIZE * LARGE_MULTI_FRAMES).to_bytes(4, "little"))
        file.seek(0, SEEK_END)
        for _ in range(LARGE_MULTI_FRAMES - 1):
            file.write(frame)
    yield path


def one_small(folder: Path) -> Iterator[Path]:
    """Write one CT image of a few pixels."""
    image = _image(CTImageStorage, SMALL_STUDY, 0, modality="CT", patient_id="SMALL")
    _add_pixels(image, 2, 2, bytes(8))
    yield _write(image, folder / "small.dcm")


def large_jpeg_2000(folder: Path) -> Iterator[Path]:
    """Write one large image in JPEG 2000: noise over a gradient, which takes a decoder some time."""
    side = JPEG_2000_SIDE
    noise = np.random.default_rng(1).integers(0, 256, (side, side), dtype=np.uint16)
    values = noise + np.arange(side, dtype=np.uint16)
    image = _image(CTImageStorage, JPEG_2000_STUDY, 0, modality="CT", patient_id="JPEG2000")
    _add_pixels(image, side, side, b"")
    encoded = imagecodecs.jpeg2k_encode(values, level=0, codecformat="J2K", reversible=True)
    image.PixelData = encapsulate([bytes(encoded)])
    image["PixelData"].VR = "OB"
    yield _write(image, folder / "jpeg-2000.dcm", JPEG2000Lossless)


def catalogue(folder: Path) -> Iterator[Path]:
    """Write 2,000 studies with a pixel or so each."""
    for number in range(CATALOGUE):
        uid = f"{ROOT}.3.{number + 1}"
        image = _image(SecondaryCaptureImageStorage, uid, 0, modality="OT", patient_id=f"P{number:05}")
        image.AccessionNumber = f"ACC{number:06}"
        image.StudyDescription = f"Study number {number}"
        _add_pixels(image, 2, 2, bytes(8))
        yield _write(image, folder / f"study{number:04}.dcm")


def _image(sop_class: str, study: str, index: int, *, modality: str, patient_id: str) -> Dataset:
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 100"
    image.SOPClassUID = sop_class
    image.SOPInstanceUID = f"{study}.1.{index + 1}"
    image.StudyDate, image.StudyTime = "20240131", "120000"
    image.AccessionNumber = "1"
    image.Modality = modality
    image.ReferringPhysicianName = "Referring^Physician"
    image.PatientName, image.PatientID = f"Bench^{patient_id}", patient_id
    image.PatientBirthDate, image.PatientSex = "19700101", "O"
    image.StudyInstanceUID, image.SeriesInstanceUID = study, f"{study}.1"
    image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", "1", str(index + 1)
    return image


def _add_pixels(image: Dataset, rows: int, columns: int, values: bytes) -> None:
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = rows, columns
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.PixelData = values
    image["PixelData"].VR = "OW"


def _write(image: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.save_as(path, enforce_file_format=True)
    return path
