"""The test suite that the npm package dicomweb-client brings, which begins by storing into an empty archive."""

import shutil
from pathlib import Path

import pytest

from tests.interop.processes import free_port, gateway
from tests.interop.viewed import CONFIGURATION, PATIENCE_SECS, need_node, run

pytestmark = [pytest.mark.interop, pytest.mark.timeout(PATIENCE_SECS)]

BASE_PATH = "/dcm4chee-arc/aets/DCM4CHEE/rs"
"""Where the suite expects the service, and so a path that has `/aets/` in it."""

EMPTY = CONFIGURATION.replace(", samples = true", "").replace(
    'service = "dicomweb"', f'service = "dicomweb"\noptions = {{ path_prefix = "{BASE_PATH}" }}'
)


def test_all_of_it_passes(tmp_path: Path) -> None:
    need_node("chromium")
    port = free_port()
    text = EMPTY.replace("DICOM_PORT", str(port)).replace("FOLDER", str(tmp_path / "archive"))
    with gateway(tmp_path, text) as url:
        results = run("suite.mjs", {"executablePath": shutil.which("chromium")}, f"{url}{BASE_PATH}")
    assert [one for one in results if one["status"] != "passed"] == []
    assert len(results) >= 9
