"""Icons for what has no picture, or none that may be shown: drawn here, with nothing of the object in them.

A thumbnail must not identify the patient (PS3.18 §10.4.3.3.4), so that an image with Burned In Annotation gets one.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from harmonygw.errors import BadRequest
from harmonygw.rendering import geometry, image_files

Picture = NDArray[np.uint8]

DEFAULT_SIDE: Final = 128
"""Pixels of the longest side of a thumbnail where the request has no viewport. Default 128: what lists show."""

_GRID: Final = 64
_OVERSAMPLING: Final = 4
_PAPER, _INK, _SHADE = 56, 200, 112
"""Shades of the background, of lines and of areas."""

Polygon = tuple[tuple[float, float], ...]

_FRAME: Final = ((14, 16), (50, 16), (50, 48), (14, 48), (14, 16))
_LINES: Final[dict[str, tuple[Polygon, ...]]] = {
    "image": (_FRAME,),
    "document": (
        ((20, 12), (38, 12), (46, 20), (46, 52), (20, 52), (20, 12)),
        *(((26, y), (40, y)) for y in (26, 33, 40, 46)),
    ),
    "waveform": (((8, 36), (20, 36), (24, 30), (28, 42), (33, 12), (38, 54), (42, 36), (56, 36)),),
    "video": (_FRAME,),
    "other": (((32, 12), (50, 22), (50, 42), (32, 52), (14, 42), (14, 22), (32, 12)),),
}
_AREAS: Final[dict[str, tuple[Polygon, ...]]] = {
    "image": (((16, 46), (26, 30), (33, 39), (39, 33), (48, 46)), ((38, 20), (43, 20), (43, 25), (38, 25))),
    "video": (((27, 24), (41, 32), (27, 40)),),
}
KINDS: Final = tuple(_LINES)
"""The kinds of icons."""


def icon(kind: str) -> Picture:
    """Draw the icon of a kind, `DEFAULT_SIDE` pixels wide and high, in shades of grey."""
    scale = DEFAULT_SIDE * _OVERSAMPLING / _GRID
    image = Image.new("L", (DEFAULT_SIDE * _OVERSAMPLING,) * 2, _PAPER)
    draw = ImageDraw.Draw(image)
    for area in _AREAS.get(kind, ()):
        draw.polygon([(x * scale, y * scale) for x, y in area], fill=_SHADE)
    for points in _LINES[kind]:
        draw.line([(x * scale, y * scale) for x, y in points], fill=_INK, width=round(scale * 2), joint="curve")
    return np.asarray(image.reduce(_OVERSAMPLING))


def icon_job(parameters: dict[str, Any], payload: Sequence[bytes]) -> tuple[dict[str, Any], bytes]:
    """Make the JPEG of an icon: of `kind`, one of `KINDS`, scaled to `viewport` when it is not None.

    `payload` is not looked at. Raises `BadRequest` for a kind that there is not, or an impossible viewport.
    """
    kind = parameters["kind"]
    if kind not in _LINES:
        raise BadRequest(f"there is no icon of the kind {kind!r}; there are {', '.join(KINDS)}")
    viewport = parameters.get("viewport")
    picture = icon(kind)
    if viewport is not None:
        picture = geometry.requested(viewport).apply(picture)
    rows, columns = picture.shape
    file = image_files.encode([picture], image_files.JPEG)
    return {"media_type": image_files.JPEG, "columns": columns, "rows": rows, "ignored": []}, file
