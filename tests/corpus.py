"""The optional folder of DICOM files that some tests use when it is there."""

import os
from pathlib import Path

_FOLDER = Path(os.environ.get("HARMONYGW_CORPUS", Path(__file__).resolve().parents[2] / "shared" / "corpus"))

CORPUS: Path | None = _FOLDER if _FOLDER.is_dir() else None
