"""What is rendered here against what DCMTK renders of the same objects with the same window.

DCMTK truncates where we round, which is 1 of 255; and it rounds to integers after a Rescale Slope, which may be
another.
"""

import dataclasses
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.rendering.frame_attributes import KEYWORDS
from harmonygw.rendering.picture import render_job
from tests.corpus import CORPUS
from tests.interop.conftest import need
from tests.rendering.images import EXPLICIT, IMPLICIT, data_set, encoded, opened

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::UserWarning")]

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
DECODED_BY_DCMTK = frozenset(
    ("", ".1", ".1.99", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".5"),
)
# Its data set is in Implicit VR, which its transfer syntax does not say.
NOT_READ_BY_DCMTK = "SC_rgb_jpeg.dcm"
JPEG_LS = frozenset((".4.80", ".4.81"))
VOI = ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence")
FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
GREY_TOLERANCE, RESCALED_TOLERANCE, COLOUR_TOLERANCE = 1, 2, 2
SECONDS = 60


class Mode(NamedTuple):
    """A way to render: DCMTK's options, and the request and the attributes that ask the same of us."""

    options: tuple[str, ...]
    window: tuple[float, float, str] | None = None
    voi: bool = False


LINEAR = Mode(("+Ww", "40", "400"), (40, 400, "linear"))
SIGMOID = Mode(("+Wfs", "+Ww", "40", "400"), (40, 400, "sigmoid"))
MIN_MAX = Mode(("+Wm",))
STORED_WINDOW = Mode(("+Wi", "1"), voi=True)
STORED_LUT = Mode(("+Wl", "1"), voi=True)
AS_IT_IS = Mode(())


def syntax(stored: Dataset) -> str:
    return str(stored.file_meta.TransferSyntaxUID).removeprefix("1.2.840.10008.1.2")


def is_comparable(path: Path) -> bool:
    """Whether it is an object whose first frame both can render."""
    if path.name.endswith(NOT_READ_BY_DCMTK):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stored = pydicom.dcmread(path)
            uid = UID(stored.file_meta.TransferSyntaxUID)
            whole = uid.is_encapsulated or len(stored.PixelData) >= get_expected_length(stored)
            return bool("Rows" in stored and whole and syntax(stored) in DECODED_BY_DCMTK)
        except (AttributeError, TypeError, ValueError, InvalidDicomError):
            return False


def objects() -> list[Any]:
    folders = [BUNDLED, *([CORPUS / "wellformed"] if CORPUS else [])]
    by_name = {path.name.split("__")[-1]: path for folder in folders for path in sorted(folder.rglob("*.dcm"))}
    return [pytest.param(path, id=name) for name, path in sorted(by_name.items()) if is_comparable(path)]


def ours(stored: Dataset, mode: Mode) -> NDArray[Any]:
    pixels = PixelDescription(
        rows=stored.Rows,
        columns=stored.Columns,
        bits_allocated=stored.BitsAllocated,
        bits_stored=stored.BitsStored,
        high_bit=stored.HighBit,
        samples_per_pixel=stored.SamplesPerPixel,
        pixel_representation=stored.PixelRepresentation,
        planar_configuration=stored.get("PlanarConfiguration") or 0,
        photometric_interpretation=stored.PhotometricInterpretation,
    )
    if UID(stored.file_meta.TransferSyntaxUID).is_encapsulated:
        frame = next(generate_frames(stored.PixelData, number_of_frames=int(stored.get("NumberOfFrames") or 1)))
    else:
        frame = stored.PixelData[: pixels.frame_length]
    left_out = ["PixelPaddingValue", "PixelPaddingRangeLimit", "SegmentationType", *([] if mode.voi else VOI)]
    # DCMTK reads the rescaling of functional groups, but not their windows.
    for groups in (group for name in FUNCTIONAL_GROUPS for group in stored.get(name) or ()):
        groups.pop("FrameVOILUTSequence", None)
    head = data_set(**{name: stored[name].value for name in KEYWORDS if name in stored and name not in left_out})
    parameters = {
        "transfer_syntax": str(stored.file_meta.TransferSyntaxUID),
        "pixels": dataclasses.asdict(pixels),
        "frames": [1],
        "media_type": "image/png",
        "window": mode.window,
    }
    implicit = stored.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    _, file = render_job(parameters, [encoded(head, IMPLICIT if implicit else EXPLICIT), frame])
    return np.asarray(opened(file)).astype(int)


def dcmtks(path: Path, stored: Dataset, mode: Mode, folder: Path) -> NDArray[Any]:
    program = "dcml2pnm" if syntax(stored) in JPEG_LS else "dcmj2pnm"
    picture = folder / "picture.pnm"
    command = [program, "-O", "-q", *mode.options, "+op", str(path), str(picture)]
    subprocess.run(command, check=True, timeout=SECONDS)
    return np.asarray(Image.open(picture)).astype(int)


def modes(stored: Dataset) -> Iterator[Mode]:
    if not stored.PhotometricInterpretation.startswith("MONOCHROME"):
        yield AS_IT_IS
        return
    yield LINEAR
    yield SIGMOID
    if stored.BitsStored == 8:
        yield AS_IT_IS
    elif stored.BitsStored > 8:
        yield MIN_MAX
    if "WindowCenter" in stored:
        yield STORED_WINDOW
    if "VOILUTSequence" in stored:
        yield STORED_LUT


def tolerance(stored: Dataset) -> int:
    if not stored.PhotometricInterpretation.startswith("MONOCHROME"):
        return COLOUR_TOLERANCE
    return GREY_TOLERANCE if float(stored.get("RescaleSlope") or 1).is_integer() else RESCALED_TOLERANCE


@pytest.fixture(scope="module")
def renderers() -> None:
    need("dcm2pnm", "dcmj2pnm", "dcml2pnm")


@pytest.mark.parametrize("path", objects())
@pytest.mark.usefixtures("renderers")
def test_an_object_looks_as_dcmtk_shows_it(path: Path, tmp_path: Path) -> None:
    stored = pydicom.dcmread(path)
    for mode in modes(stored):
        theirs, mine = dcmtks(path, stored, mode, tmp_path), ours(stored, mode)
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).max() <= tolerance(stored), mode


def synthetic(folder: Path, **attributes: Any) -> tuple[Path, Dataset]:
    """Write a 16 by 16 image of all values of 8 bits, or of every sixteenth of 12."""
    made = data_set(
        SOPClassUID=SecondaryCaptureImageStorage,
        SOPInstanceUID="1.2.3",
        Rows=16,
        Columns=16,
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelData=(np.arange(256) * 16).astype("<u2").tobytes(),
    )
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / "synthetic.dcm"
    made.save_as(path, enforce_file_format=True)
    return path, pydicom.dcmread(path)


def words(values: NDArray[Any]) -> bytes:
    return values.astype("<u2").tobytes()


def lut(descriptor: list[int], values: NDArray[Any]) -> list[Dataset]:
    return [data_set(LUTDescriptor=descriptor, LUTData=words(values), ModalityLUTType="US")]


def palette(descriptor: list[int], values: NDArray[Any]) -> dict[str, Any]:
    made: dict[str, Any] = {**EIGHT_BITS, "PhotometricInterpretation": "PALETTE COLOR"}
    for number, name in enumerate(("Red", "Green", "Blue")):
        made[f"{name}PaletteColorLookupTableDescriptor"] = descriptor
        made[f"{name}PaletteColorLookupTableData"] = np.roll(values, number * 10).tobytes()
    return made


RAMP = np.arange(256)
NOISE = np.random.default_rng(1).integers(0, 256, (16, 16, 3)).astype(np.uint8)
EIGHT_BITS = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": RAMP.astype(np.uint8).tobytes()}
COLOUR = {**EIGHT_BITS, "SamplesPerPixel": 3, "PlanarConfiguration": 0, "PixelData": NOISE.tobytes()}
SIXTEEN = {"BitsStored": 16, "HighBit": 15}
WIDE = {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}


@pytest.mark.parametrize(
    ("mode", "attributes"),
    [
        pytest.param(MIN_MAX, {"PhotometricInterpretation": "MONOCHROME1"}, id="monochrome 1"),
        pytest.param(MIN_MAX, {"PresentationLUTShape": "INVERSE"}, id="inverse"),
        pytest.param(
            MIN_MAX,
            {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
            id="monochrome 1, inverse",
        ),
        pytest.param(
            MIN_MAX,
            {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"},
            id="monochrome 1, identity",
        ),
        pytest.param(MIN_MAX, {"PixelRepresentation": 1, "RescaleSlope": "2", "RescaleIntercept": "-9"}, id="signed"),
        pytest.param(MIN_MAX, {"HighBit": 15, "PixelData": words(RAMP << 8)}, id="high bit"),
        pytest.param(MIN_MAX, {**WIDE, "PixelData": (RAMP * 16_000_000).astype("<u4").tobytes()}, id="32 bits"),
        pytest.param(Mode(("+Ww", "1000", "1"), (1000, 1, "linear")), {}, id="width 1"),
        pytest.param(Mode(("+Ww", "1000.5", "2"), (1000.5, 2, "linear")), {}, id="width 2"),
        pytest.param(STORED_LUT, {"VOILUTSequence": lut([256, 1000, 8], RAMP[::-1])}, id="VOI LUT of 8 bits"),
        pytest.param(
            STORED_LUT, {"VOILUTSequence": lut([4096, 0, 16], np.arange(4096) ** 2 // 256)}, id="VOI LUT of 16 bits"
        ),
        pytest.param(
            STORED_LUT,
            {
                "VOILUTSequence": lut([2000, 64536, 12], np.arange(2000) * 2),
                "RescaleSlope": "1",
                "RescaleIntercept": "-1024",
            },
            id="VOI LUT from below zero",
        ),
        pytest.param(MIN_MAX, {"ModalityLUTSequence": lut([4096, 0, 12], 4095 - np.arange(4096))}, id="modality LUT"),
        pytest.param(
            STORED_LUT,
            {**SIXTEEN, "VOILUTSequence": lut([0, 0, 16], 65535 - np.arange(65536)), "PixelData": words(RAMP * 257)},
            id="VOI LUT of 65536 entries",
        ),
        pytest.param(AS_IT_IS, palette([256, 0, 16], (RAMP * 257).astype("<u2")), id="palette of 16 bits"),
        pytest.param(AS_IT_IS, palette([256, 0, 8], RAMP.astype(np.uint8)), id="palette of 8 bits"),
        pytest.param(AS_IT_IS, palette([200, 20, 8], RAMP[:200].astype(np.uint8)), id="palette that begins at 20"),
        pytest.param(AS_IT_IS, {**COLOUR, "PhotometricInterpretation": "RGB"}, id="RGB"),
        pytest.param(
            AS_IT_IS, {**COLOUR, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 1}, id="RGB by plane"
        ),
        pytest.param(AS_IT_IS, {**COLOUR, "PhotometricInterpretation": "YBR_FULL"}, id="YBR_FULL"),
        pytest.param(
            AS_IT_IS,
            {**COLOUR, "PhotometricInterpretation": "YBR_FULL_422", "PixelData": NOISE[..., :2].tobytes()},
            id="YBR_FULL_422",
        ),
    ],
)
@pytest.mark.usefixtures("renderers")
def test_what_the_standard_allows_looks_as_dcmtk_shows_it(
    mode: Mode, attributes: dict[str, Any], tmp_path: Path
) -> None:
    path, stored = synthetic(tmp_path, **attributes)
    theirs, mine = dcmtks(path, stored, mode, tmp_path), ours(stored, mode)
    assert mine.shape == theirs.shape
    assert len(np.unique(mine)) > 1
    assert np.abs(mine - theirs).max() <= tolerance(stored)
