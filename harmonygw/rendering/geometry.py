"""The viewport: what part of a picture is shown, and how large (PS3.18 §8.3.5.1.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harmonygw.errors import BadRequest

MAX_VIEWPORT: Final = 8192
"""Width and height of a viewport in pixels. Default 8192: twice the screens that are sold, and 200 MiB in colour."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Viewport:
    """Where a picture is to fit in, and the region of it that is taken; all in pixels."""

    width: int
    height: int
    left: float = 0
    top: float = 0
    region_width: float | None = None
    """None for all that is right of `left`."""
    region_height: float | None = None
    """None for all that is below `top`."""
    flipped_horizontally: bool = False
    flipped_vertically: bool = False
    enlarging: bool = True
    """Whether a picture that is smaller than the viewport is enlarged, as the standard demands."""

    def apply(self, picture: Picture) -> Picture:
        """Crop, scale and flip `picture`, which is (rows, columns) or (rows, columns, 3).

        The ratio of width and height is kept; pixels are square. Where the region reaches beyond the picture, it ends
        at its edge. Raises `BadRequest` when nothing of the picture is inside of the region.
        """
        rows, columns = picture.shape[:2]
        right = columns if self.region_width is None else min(self.left + self.region_width, columns)
        bottom = rows if self.region_height is None else min(self.top + self.region_height, rows)
        across, down = right - self.left, bottom - self.top
        if across <= 0 or down <= 0:
            raise BadRequest(f"the region of viewport has nothing of the picture, which is {columns} by {rows} pixels")
        scale = min(self.width / across, self.height / down)
        if not self.enlarging:
            scale = min(scale, 1.0)
        size = max(1, round(across * scale)), max(1, round(down * scale))
        box = (self.left, self.top, right, bottom)
        scaled = _resample(picture, size, box)
        if self.flipped_horizontally:
            scaled = scaled[:, ::-1]
        if self.flipped_vertically:
            scaled = scaled[::-1]
        return np.ascontiguousarray(scaled)


def requested(viewport: Sequence[float | None]) -> Viewport:
    """Make a viewport of the request's two to six values, None for those left out.

    Raises `BadRequest` when they are no viewport, or a larger one than `MAX_VIEWPORT`.
    """
    width, height, left, top, across, down = [*viewport, None, None, None, None][:6]
    if not (width and height and 1 <= width <= MAX_VIEWPORT and 1 <= height <= MAX_VIEWPORT):
        raise BadRequest(f"viewport is {width} by {height} pixels; each must be 1 to {MAX_VIEWPORT} (MAX_VIEWPORT)")
    for value in (left, top, across, down):
        if value is not None and not np.isfinite(value):
            raise BadRequest("viewport has a region that is no finite number of pixels")
    if across == 0 or down == 0:
        raise BadRequest("viewport has a region without extent")
    return Viewport(
        int(width),
        int(height),
        # The standard takes the absolute values of all four, and their signs as flips of the last two.
        abs(left or 0),
        abs(top or 0),
        None if across is None else abs(across),
        None if down is None else abs(down),
        flipped_horizontally=across is not None and across < 0,
        flipped_vertically=down is not None and down < 0,
    )


def _resample(picture: Picture, size: tuple[int, int], box: tuple[float, float, float, float]) -> Picture:
    """Scale what is inside of `box`, edges in pixels, to `size`, width and height.

    Pillow's bilinear filter is as wide as the pixels that become one: it averages where it reduces.
    """
    left, top, right, bottom = box
    if size == (int(right - left), int(bottom - top)) and all(float(edge).is_integer() for edge in box):
        return picture[int(top) : int(bottom), int(left) : int(right)]
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, box=box))
