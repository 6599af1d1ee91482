"""Pictures as files of the rendered media types: JPEG, PNG, GIF (PS3.18 §8.7.4). No metadata goes into them."""

from collections.abc import Sequence
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harmonygw.errors import BadRequest, NotAcceptable
from harmonygw.rendering.frame_attributes import FrameAttributes, numbers_of

Picture = NDArray[np.uint8]

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
GIF: Final = "image/gif"

DEFAULT_QUALITY: Final = 90
"""JPEG quality of 1 to 100 where the request has none, on the scale of libjpeg. Default 90: no artefacts to be seen."""

PNG_COMPRESSION: Final = 1
"""Level of deflate, 0 to 9. Default 1: a tenth larger than at 6, in a third of the time."""

GIF_COLOURS: Final = 256
"""Colours of one frame of a GIF: as many as the format has."""

DEFAULT_FRAME_TIME: Final = 100.0
"""Milliseconds that a frame is shown where the object does not say. Default 100: ten frames a second."""

SHORTEST_FRAME_TIME: Final = 20.0
"""Milliseconds that a frame is shown at least. Default 20: viewers show shorter ones for 100."""

LONGEST_FRAME_TIME: Final = 10_000.0
"""Milliseconds that a frame is shown at most. Default 10 s; GIF ends at 655 s."""

_CENTISECOND: Final = 10


def encode(
    pictures: Sequence[Picture],
    media_type: str,
    *,
    quality: int | None = None,
    icc_profile: bytes = b"",
    frame_times: Sequence[float] = (),
) -> bytes:
    """Return the file of one picture, or of several when it is a GIF.

    Pictures are (rows, columns) or (rows, columns, 3), all of one size. `quality` is 1 to 100 and of no effect on what
    is lossless. `frame_times` are in milliseconds, for a GIF of several pictures. Raises `NotAcceptable` for other
    media types, and for several pictures in a file of one; `BadRequest` for an ICC profile in a GIF, which has no place
    for it (§8.3.5.1.5).
    """
    if media_type not in (JPEG, PNG, GIF):
        raise NotAcceptable(f"images are not rendered as {media_type}")
    if len(pictures) != 1 and media_type != GIF:
        raise NotAcceptable(f"{media_type} holds one frame; {len(pictures)} are asked for")
    file = BytesIO()
    if media_type == JPEG:
        # Without subsampling, for thin coloured lines on black are what ultrasound images are full of.
        Image.fromarray(pictures[0]).save(
            file, "JPEG", quality=quality or DEFAULT_QUALITY, subsampling="4:4:4", icc_profile=icc_profile
        )
    elif media_type == PNG:
        Image.fromarray(pictures[0]).save(file, "PNG", compress_level=PNG_COMPRESSION, icc_profile=icc_profile)
    elif icc_profile:
        raise BadRequest("iccprofile is not possible with image/gif, which has no place for a profile")
    else:
        first, *others = (_few_colours(picture) for picture in pictures)
        animation = {"save_all": True, "append_images": others, "loop": 0, "duration": _durations(frame_times)}
        first.save(file, "GIF", **(animation if others else {}))
    return file.getvalue()


def frame_times(attributes: FrameAttributes, frames: Sequence[int]) -> list[float]:
    """Return how long each of `frames`, numbered from 1, is to be shown, in milliseconds (PS3.3 §C.7.6.5)."""
    data_set = attributes.data_set
    for keyword in ("RecommendedDisplayFrameRate", "CineRate"):
        rate = attributes.number(data_set, keyword)
        if rate is not None and rate > 0:
            return [_within(1000 / rate)] * len(frames)
    # Each value of the vector is the time since the frame before, so the next one's is how long a frame is shown.
    increments = numbers_of(data_set, "FrameTimeVector")
    frame_time = attributes.number(data_set, "FrameTime") or DEFAULT_FRAME_TIME
    return [_within(increments[frame] if 0 < frame < len(increments) else frame_time) for frame in frames]


def _within(milliseconds: float) -> float:
    return min(max(milliseconds, SHORTEST_FRAME_TIME), LONGEST_FRAME_TIME)


def _durations(times: Sequence[float]) -> list[int]:
    """Round to the hundredths of a second that GIF has, without letting the errors add up."""
    durations, elapsed, shown = [], 0.0, 0
    for time in times:
        elapsed += time
        duration = max(round((elapsed - shown) / _CENTISECOND), 1) * _CENTISECOND
        durations.append(duration)
        shown += duration
    return durations


def _few_colours(picture: Picture) -> Image.Image:
    if picture.ndim == 3 and np.array_equal(picture[..., :2], picture[..., 1:]):
        # Grey in three channels, as ultrasound often is: 256 shades are all there are.
        picture = np.ascontiguousarray(picture[..., 0])
    image = Image.fromarray(picture)
    return image if picture.ndim == 2 else image.quantize(GIF_COLOURS, Image.Quantize.MEDIANCUT)
