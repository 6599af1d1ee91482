import numpy as np
import pytest

from harmonygw.errors import BadRequest
from harmonygw.rendering.icons import DEFAULT_SIDE, KINDS, icon, icon_job
from tests.rendering.images import opened


def test_every_kind_looks_different() -> None:
    pictures = {icon(kind).tobytes() for kind in KINDS}
    assert KINDS == ("image", "document", "waveform", "video", "other")
    assert len(pictures) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_icon_is_light_lines_on_a_dark_background(kind: str) -> None:
    picture = icon(kind)
    assert picture.shape == (DEFAULT_SIDE, DEFAULT_SIDE)
    assert picture[0, 0] == np.bincount(picture.ravel()).argmax() == 56
    assert picture.max() == 200


def test_a_job_makes_a_jpeg() -> None:
    result, file = icon_job({"kind": "document"}, [])
    assert result == {"media_type": "image/jpeg", "columns": 128, "rows": 128, "ignored": []}
    image = opened(file)
    assert (image.format, image.mode, image.size) == ("JPEG", "L", (128, 128))


def test_an_icon_fits_into_the_viewport() -> None:
    result, file = icon_job({"kind": "video", "viewport": [40, 300]}, [])
    assert (result["columns"], result["rows"]) == opened(file).size == (40, 40)


def test_another_kind_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="'patient'; there are image, document"):
        icon_job({"kind": "patient"}, [])
