"""Leading attributes of files of other makers: what pydicom reads in them."""

from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.multival import MultiValue

from harmonygw.dicom.dataset.part10 import read_file_meta
from harmonygw.errors import PeerError
from tests.corpus import CORPUS
from tests.dicom.dataset.scanned import VALUES, scan

SHIPPED = [
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",
    "JPEG2000.dcm",
    "rtplan.dcm",
    "reportsi.dcm",
    "liver_1frame.dcm",
]
MISLABELLED = Path(get_testdata_file("SC_rgb_jpeg.dcm", download=False))
FILES = [Path(get_testdata_file(name, download=False)) for name in SHIPPED]
FILES += sorted(CORPUS.glob("wellformed/*")) if CORPUS is not None else []
FILES += sorted(CORPUS.glob("charset/*")) if CORPUS is not None else []
FILES = [
    path for path in FILES if path.read_bytes()[128:132] == b"DICM" and not path.name.endswith(f"__{MISLABELLED.name}")
]


def test_implicit_vr_under_an_explicit_transfer_syntax_is_refused() -> None:
    data = MISLABELLED.read_bytes()
    meta = read_file_meta(data)
    assert meta is not None
    with pytest.raises(PeerError, match=r"\(0008,0008\) at byte 0 .* no VR"):
        scan(meta.transfer_syntax_uid, data[meta.data_set_offset :])


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_a_file_is_scanned_as_pydicom_reads_it(path: Path) -> None:
    beginning = path.read_bytes()[: 1 << 18]
    meta = read_file_meta(beginning)
    assert meta is not None
    raw = pydicom.dcmread(path, stop_before_pixels=True)
    name = raw.get_item("PatientName")  # its bytes, which nobody has decoded yet
    expected = {keyword: raw.get(keyword) for keyword in VALUES if keyword in raw}
    if name is not None:
        expected["PatientName"] = (name.value or b"").strip(b"\0 ").decode("latin-1")
    data = beginning[meta.data_set_offset :]
    for size in (1, 7, 1 << 16):
        result = scan(meta.transfer_syntax_uid, data, size)
        assert not result.truncated
        assert result.values == {keyword: as_text(value) for keyword, value in expected.items()}


def as_text(value: object) -> str:
    """Return a value of pydicom as it stands in the data set."""
    return "\\".join(value) if isinstance(value, MultiValue) else str(value or "")
