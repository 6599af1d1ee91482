"""The gateway as a viewer meets it: the demonstration with OHIF, and pictures of every coding beside its samples."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE

from tests.interop.processes import free_port, gateway

VIEWER = Path(__file__).parent / "viewer"
OHIF = Path(__file__).parents[2] / "var" / "viewer"
EXPLICIT = "1.2.840.10008.1.2.1"

PATIENCE_SECS = 300
"""What a script may take: SwiftShader draws on the processor."""

CONFIGURATION = """
[proxy]
id = "viewed"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[pipelines.gateway]
networks = ["default"]
endpoints = ["web"]
middleware = ["bridge"]
backends = ["pacs"]

[endpoints.web]
service = "dicomweb"

[middleware.bridge]
type = "dicomweb_bridge"

[backends.pacs]
service = "dicom_scu"
options = { host = "127.0.0.1", port = DICOM_PORT, aet = "PACS", local_aet = "HARMONYGW" }

[pipelines.pacs]
networks = ["default"]
endpoints = ["scp"]
backends = ["archive"]

[endpoints.scp]
service = "dicom_scp"

[endpoints.scp.options]
local_aet = "PACS"
bind_addr = "127.0.0.1"
port = DICOM_PORT
enable_find = true
enable_get = true
enable_store = true

[backends.archive]
service = "storage"
options = { root = "FOLDER", samples = true }
"""

WITH_OHIF = """
[pipelines.viewer]
networks = ["default"]
endpoints = ["viewer"]

[endpoints.viewer]
service = "viewer"
options = { root = "OHIF" }
"""


class Picture(NamedTuple):
    """An image that is stored, and what its frames are once decoded."""

    data_set: Dataset
    transfer_syntax_uid: str
    pixels: Any
    """Rows, columns, and samples if there are several."""

    @property
    def uids(self) -> dict[str, str]:
        """The identifiers of the instance, as JavaScript's client calls them."""
        return {
            "studyInstanceUID": str(self.data_set.StudyInstanceUID),
            "seriesInstanceUID": str(self.data_set.SeriesInstanceUID),
            "sopInstanceUID": str(self.data_set.SOPInstanceUID),
        }


def need_node(*more: str) -> str:
    """Skip the test, or fail it, unless node, these programs and the packages of `viewer/` are there; return node."""
    missing = [program for program in ("node", *more) if shutil.which(program) is None]
    if not (VIEWER / "node_modules").is_dir():
        missing.append("the packages of tests/interop/viewer")
    if "chromium" in more and not (OHIF / "index.html").is_file():
        missing.append("OHIF in var/viewer")
    if missing:
        sentence = f"not installed: {', '.join(missing)} (sh tests/interop/install_peers.sh)"
        if os.environ.get("HARMONYGW_REQUIRE_INTEROP"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    return str(shutil.which("node"))


def run(script: str, given: Any, *arguments: str) -> Any:
    """Run a script of `viewer/` with JSON on its input; return the JSON that it prints."""
    done = subprocess.run(
        [need_node(), str(VIEWER / script), *arguments],
        input=json.dumps(given).encode(),
        capture_output=True,
        timeout=PATIENCE_SECS,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@contextmanager
def viewed(folder: Path, *, ohif: bool = False) -> Iterator[str]:
    """A gateway in front of an archive with samples and `pictures()`, with OHIF or without; gives its root URL."""
    port = free_port()
    text = CONFIGURATION + (WITH_OHIF.replace("OHIF", str(OHIF)) if ohif else "")
    text = text.replace("DICOM_PORT", str(port)).replace("FOLDER", str(folder / "archive"))
    with gateway(folder, text) as url:
        store(port, pictures())
        yield url


def store(port: int, some: dict[str, list[Picture]]) -> None:
    """Store them as they are, each in its own transfer syntax."""
    for picture in (one for series in some.values() for one in series):
        data_set = picture.data_set
        ae = AE("STORER")
        ae.add_requested_context(data_set.SOPClassUID, picture.transfer_syntax_uid)
        association = ae.associate("127.0.0.1", port, ae_title="PACS")
        assert association.is_established
        assert association.send_c_store(data_set).Status == 0
        association.release()


def pictures() -> dict[str, list[Picture]]:
    """Series of pictures by what is to be seen in them, each a study of its own."""
    colour = colours()
    from_jpeg = imagecodecs.jpeg8_decode(imagecodecs.jpeg8_encode(colour, level=95, subsampling="422"))
    jpeg_2000 = partial(imagecodecs.jpeg2k_encode, level=0, codecformat="j2k", reversible=True)
    return {
        "colour": [_colour("1", EXPLICIT, "RGB", colour, colour.tobytes())],
        "colour-jpeg": [
            _colour(
                "2",
                JPEGBaseline8Bit,
                "YBR_FULL_422",
                from_jpeg,
                imagecodecs.jpeg8_encode(colour, level=95, subsampling="422"),
            )
        ],
        "colour-jpeg-2000": [_colour("3", JPEG2000Lossless, "YBR_RCT", colour, jpeg_2000(colour, mct=True))],
        "jpeg-2000": [_grey("4", n, JPEG2000Lossless, jpeg_2000) for n in range(1, 6)],
        "jpeg-ls": [_grey("5", 1, JPEGLSLossless, imagecodecs.jpegls_encode)],
        "rle": [_grey("6", 1, RLELossless, None)],
        "htj2k": [_grey("7", 1, HTJ2KLossless, partial(imagecodecs.htj2k_encode, reversible=True))],
    }


def colours() -> Any:
    """160 columns of four blocks, red, green, blue and yellow, darker towards the lower end of the 120 rows."""
    picture = np.zeros((120, 160, 3), np.uint8)
    for block, colour in enumerate([(240, 20, 20), (20, 220, 20), (20, 20, 230), (230, 220, 10)]):
        picture[:, 40 * block : 40 * block + 40] = colour
    darker = np.linspace(1, 0.4, 120)[:, None, None]
    return (picture * darker).astype(np.uint8)


def greys(number: int) -> Any:
    """128 columns and rows of 12 bits: a slope, and a bright square that moves down with the number."""
    rows, columns = np.mgrid[0:128, 0:128]
    picture = (rows * 8 + columns * 4).astype(np.uint16)
    picture[16 * number : 16 * number + 12, 60:72] = 4000
    return picture


def _grey(root: str, number: int, transfer_syntax_uid: str, encode: Any) -> Picture:
    pixels = greys(number)
    data_set = _common(root, number, MRImageStorage, "MR", pixels)
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 16, 12, 11
    data_set.WindowCenter, data_set.WindowWidth = 2048, 4096
    data_set.PixelSpacing, data_set.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
    data_set.ImagePositionPatient = [0, 0, number]
    data_set.FrameOfReferenceUID = f"{data_set.StudyInstanceUID}.9"
    if encode is None:
        data_set.PixelData = pixels.tobytes()
        _describe(data_set, EXPLICIT)
        data_set.compress(RLELossless, generate_instance_uid=False)
    else:
        _encapsulate(data_set, transfer_syntax_uid, encode(pixels))
    return Picture(data_set, transfer_syntax_uid, pixels)


def _colour(root: str, transfer_syntax_uid: str, interpretation: str, pixels: Any, encoded: bytes) -> Picture:
    data_set = _common(root, 1, SecondaryCaptureImageStorage, "OT", pixels)
    data_set.PhotometricInterpretation = interpretation
    data_set.SamplesPerPixel, data_set.PlanarConfiguration = 3, 0
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 8, 8, 7
    if transfer_syntax_uid == EXPLICIT:
        data_set.PixelData = encoded
        data_set["PixelData"].VR = "OB"
        _describe(data_set, transfer_syntax_uid)
    else:
        _encapsulate(data_set, transfer_syntax_uid, encoded)
    if transfer_syntax_uid == JPEGBaseline8Bit:
        data_set.LossyImageCompression = "01"
    return Picture(data_set, transfer_syntax_uid, pixels)


def _common(root: str, number: int, sop_class_uid: str, modality: str, pixels: Any) -> Dataset:
    data_set = Dataset()
    study = f"2.25.4711.{root}"
    for keyword, value in {
        "SOPClassUID": sop_class_uid,
        "SOPInstanceUID": f"{study}.1.{number}",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": f"{study}.1",
        "StudyDate": f"202601{int(root):02d}",
        "StudyTime": "101112",
        "AccessionNumber": f"P{root}",
        "ReferringPhysicianName": "",
        "StudyID": root,
        "Modality": modality,
        "PatientName": f"Picture^{root}",
        "PatientID": f"PICTURE{root}",
        "PatientBirthDate": "",
        "PatientSex": "",
        "SeriesNumber": 1,
        "InstanceNumber": number,
        "BurnedInAnnotation": "NO",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PixelRepresentation": 0,
    }.items():
        setattr(data_set, keyword, value)
    return data_set


def _encapsulate(data_set: Dataset, transfer_syntax_uid: str, encoded: bytes) -> None:
    data_set.PixelData = encapsulate([encoded])
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    _describe(data_set, transfer_syntax_uid)


def _describe(data_set: Dataset, transfer_syntax_uid: str) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax_uid
    data_set.file_meta = meta
