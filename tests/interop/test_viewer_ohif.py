"""OHIF, served by the gateway and drawn by a headless Chromium: what somebody who looks at images sees of an archive.

One browser does it all, step by step; each test looks at one step. Screenshots lie in pytest's temporary folder.
"""

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from harmonygw.backends.storage import heart, phantom
from harmonygw.backends.storage.samples import HEART_STUDY_INSTANCE_UID
from tests.interop.viewed import PATIENCE_SECS, Picture, need_node, pictures, run, viewed

pytestmark = [pytest.mark.interop, pytest.mark.timeout(PATIENCE_SECS + 60)]

POINTS = [(20, 20), (60, 60), (90, 30), (110, 100), (130, 50), (10, 115)]
"""Columns and rows that are looked at in the generated pictures."""

PHANTOM_POINTS = [(256, 200), (150, 256), (256, 330), (380, 300), (256, 120)]
HEART_POINTS = [(100, 100), (120, 60), (60, 150), (128, 40)]

TOLERANCE = 6
"""Grey levels by which the screen may differ from what lies around the point: it is drawn between pixels."""

JSON_TYPE = "application/dicom+json"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What came of each step."""
    need_node("chromium", "npm")
    folder = tmp_path_factory.mktemp("ohif")
    steps: list[dict[str, Any]] = [
        {"name": "list", "do": "list"},
        {"name": "phantom", "do": "choose", "row": "Torso", "points": PHANTOM_POINTS},
        {"name": "phantom-scrolled", "do": "scroll", "points": PHANTOM_POINTS},
        {"name": "heart", "do": "open", "study": HEART_STUDY_INSTANCE_UID, "points": HEART_POINTS},
        {"name": "heart-played", "do": "play"},
    ]
    for name, series in pictures().items():
        study = series[0].uids["studyInstanceUID"]
        inside = [point for point in POINTS if point[0] < series[0].data_set.Columns]
        steps.append({"name": name, "do": "open", "study": study, "points": inside})
    steps.insert(-3, {"name": "jpeg-2000-scrolled", "do": "scroll", "points": [(20, 20), (64, 84)]})
    with viewed(folder, ohif=True) as url:
        yield run("ohif.mjs", steps, str(shutil.which("chromium")), url, str(folder))


def value(results: dict[str, Any], step: str) -> Any:
    """What a step saw, when nothing went wrong in it."""
    result = results[step]
    assert result["complaints"] == []
    assert result["error"] is None
    return result["value"]


def is_drawn(drawn: list[int], expected: Any, column: int, row: int) -> bool:
    """Whether a colour on the screen lies among those of the pixels around a point, each of three channels."""
    around = expected[row - 1 : row + 2, column - 1 : column + 2].reshape(9, -1)
    low, high = around.min(0) - TOLERANCE, around.max(0) + TOLERANCE
    return drawn[3] == 255 and bool(np.all((low <= drawn[:3]) & (drawn[:3] <= high)))


def windowed(values: Any, centre: float, width: float) -> Any:
    """Grey levels by the linear function of PS3.3 C.11.2.1.2."""
    return np.clip(((values - (centre - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)


def test_the_study_list_has_every_study(results: dict[str, Any]) -> None:
    rows = "\n".join(value(results, "list"))
    for name in ("Yamada, Tarou", "Phantom, Torso", *(f"Picture, {n}" for n in range(1, 8))):
        assert name in rows


def test_ohif_asks_what_the_contract_says(results: dict[str, Any]) -> None:
    asked = [one for one in results["list"]["requests"] if one["url"].startswith("/dicom")]
    [studies] = asked
    assert studies["headers"]["accept"] == JSON_TYPE
    assert studies["url"].startswith("/dicom/studies?")
    assert "fuzzymatching=true" in studies["url"]
    frames = [one for one in results["phantom"]["requests"] if "/frames/" in one["url"]]
    assert {one["headers"]["accept"] for one in frames} == {
        "multipart/related; type=application/octet-stream; transfer-syntax=*"
    }


def test_nothing_comes_from_elsewhere(results: dict[str, Any]) -> None:
    asked = [one["url"] for result in results.values() for one in result["requests"]]
    assert any(url.startswith("/viewer/") for url in asked)
    assert [url for url in asked if not url.startswith(("/viewer", "/dicom/", "blob:", "data:"))] == []


@pytest.mark.parametrize(("step", "index"), [("phantom", 119), ("phantom-scrolled", 0)])
def test_a_ct_slice_is_shown_in_its_window(results: dict[str, Any], step: str, index: int) -> None:
    """OHIF shows the slice at the head first."""
    seen = value(results, step)
    stored = np.frombuffer(phantom.slice_pixels(index), "<u2").reshape(phantom.ROWS, phantom.COLUMNS)
    hounsfield = stored.astype(int) + phantom.RESCALE_INTERCEPT
    expected = windowed(hounsfield, 40, 400)[..., None].repeat(3, 2)
    for (column, row), point in zip(PHANTOM_POINTS, seen["points"], strict=True):
        assert point["stored"] == [hounsfield[row, column]]
        assert is_drawn(point["drawn"], expected, column, row), (column, row, point)
    assert len({tuple(point["drawn"]) for point in seen["points"]}) > 1


def test_a_ct_series_is_scrolled_from_end_to_end(results: dict[str, Any]) -> None:
    seen = value(results, "phantom-scrolled")
    assert seen["passed"] == list(range(phantom.SLICES))


def test_a_frame_of_the_ultrasound_is_shown(results: dict[str, Any]) -> None:
    seen = value(results, "heart")
    assert (seen["index"], seen["count"]) == (0, heart.FRAMES)
    stored = np.frombuffer(heart.frame_pixels(0), np.uint8).reshape(heart.ROWS, heart.COLUMNS).astype(int)
    expected = windowed(stored, 128, 256)[..., None].repeat(3, 2)
    for (column, row), point in zip(HEART_POINTS, seen["points"], strict=True):
        assert point["stored"] == [stored[row, column]]
        assert is_drawn(point["drawn"], expected, column, row), (column, row, point)


def test_the_ultrasound_plays_all_its_frames(results: dict[str, Any]) -> None:
    assert value(results, "heart-played") == list(range(heart.FRAMES))


@pytest.mark.parametrize("name", ["colour", "colour-jpeg", "colour-jpeg-2000"])
def test_a_colour_picture_has_its_colours(results: dict[str, Any], name: str) -> None:
    [picture] = pictures()[name]
    _is_shown(value(results, name), picture, picture.pixels.astype(int))


@pytest.mark.parametrize("name", ["jpeg-2000", "jpeg-ls", "rle", "htj2k"])
def test_a_compressed_picture_has_its_greys(results: dict[str, Any], name: str) -> None:
    seen = value(results, name)
    picture = pictures()[name][seen["count"] - 1 - seen["index"]]
    _is_shown(seen, picture, windowed(picture.pixels.astype(int), 2048, 4096)[..., None].repeat(3, 2))


def test_a_jpeg_2000_series_is_scrolled_from_end_to_end(results: dict[str, Any]) -> None:
    seen = value(results, "jpeg-2000-scrolled")
    assert seen["passed"] == [0, 1, 2, 3, 4]
    assert [point["stored"] for point in seen["points"]] == [[240], [928]]


def _is_shown(seen: dict[str, Any], picture: Picture, expected: Any) -> None:
    columns = picture.data_set.Columns
    points = [point for point in POINTS if point[0] < columns]
    for (column, row), point in zip(points, seen["points"], strict=True):
        wanted = np.atleast_1d(picture.pixels[row, column]).astype(int)
        # Colour is handed out with an alpha channel or without; a lossy decoder may differ by rounding.
        stored = np.array(point["stored"][: len(wanted)])
        assert abs(stored - wanted).max() <= (3 if picture.data_set.get("LossyImageCompression") == "01" else 0)
        assert is_drawn(point["drawn"], expected, column, row), (column, row, point)
