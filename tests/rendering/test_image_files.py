from typing import Any

import numpy as np
import pytest

from harmonygw.errors import BadRequest, NotAcceptable
from harmonygw.rendering.icc_profiles import well_known
from harmonygw.rendering.image_files import (
    DEFAULT_FRAME_TIME,
    GIF,
    JPEG,
    LONGEST_FRAME_TIME,
    PNG,
    SHORTEST_FRAME_TIME,
    encode,
    frame_times,
)
from tests.rendering.images import attributes_of, opened

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOUR = np.stack([GREY, GREY[::-1], GREY.T], axis=-1)


def times(frames: list[int], **attributes: Any) -> list[float]:
    return frame_times(attributes_of(**attributes), frames)


@pytest.mark.parametrize("picture", [GREY, COLOUR], ids=["grey", "colour"])
def test_png_keeps_every_pixel(picture: Any) -> None:
    image = opened(encode([picture], PNG))
    assert image.format == "PNG"
    assert np.array_equal(np.asarray(image), picture)


def test_jpeg_of_grey_has_one_component_and_of_colour_three_without_subsampling() -> None:
    grey, colour = encode([GREY], JPEG), encode([COLOUR], JPEG)
    # SOF0: length, precision, rows, columns, components; then of each: number, sampling factors, table.
    assert grey[grey.index(b"\xff\xc0") :][4:13] == b"\x08\x00\x10\x00\x10\x01\x01\x11\x00"
    assert colour[colour.index(b"\xff\xc0") :][4:12] == b"\x08\x00\x10\x00\x10\x03\x01\x11"
    assert np.abs(np.asarray(opened(grey)).astype(int) - GREY).max() < 8


def test_quality_is_that_of_the_request() -> None:
    noise = np.random.default_rng(2).integers(0, 256, (64, 64)).astype(np.uint8)
    sizes = [len(encode([noise], JPEG, quality=quality)) for quality in (1, 50, None, 100)]
    assert sizes == sorted(sizes)
    assert encode([noise], JPEG) == encode([noise], JPEG, quality=90)
    assert encode([noise], PNG, quality=1) == encode([noise], PNG)


def test_files_hold_nothing_but_the_picture() -> None:
    jpeg = encode([GREY], JPEG)
    assert jpeg[:4] == b"\xff\xd8\xff\xe0"
    assert b"\xff\xe1" not in jpeg
    assert b"\xff\xfe" not in jpeg
    assert opened(encode([GREY], PNG)).info == {}
    assert b"\x21\xfe" not in encode([GREY], GIF)


@pytest.mark.parametrize("media_type", [JPEG, PNG])
def test_a_profile_goes_into_the_file(media_type: str) -> None:
    profile = well_known("srgb")
    assert opened(encode([COLOUR], media_type, icc_profile=profile)).info["icc_profile"] == profile


def test_a_gif_has_no_place_for_a_profile() -> None:
    with pytest.raises(BadRequest, match="no place for a profile"):
        encode([COLOUR], GIF, icc_profile=well_known("srgb"))


def test_a_gif_of_one_frame_stands_still() -> None:
    image = opened(encode([GREY], GIF))
    assert getattr(image, "n_frames", 1) == 1
    assert np.array_equal(np.asarray(image.convert("L")), GREY)


def test_a_gif_of_several_frames_moves_without_end() -> None:
    frames = [GREY, GREY[::-1].copy(), GREY.T.copy()]
    image: Any = opened(encode(frames, GIF, frame_times=[40, 40, 500]))
    assert image.n_frames == 3
    assert image.info["loop"] == 0
    durations = []
    for number, frame in enumerate(frames):
        image.seek(number)
        durations.append(image.info["duration"])
        assert np.array_equal(np.asarray(image.convert("L")), frame)
    assert durations == [40, 40, 500]


def test_a_gif_of_colour_comes_near_with_256_of_them() -> None:
    frames = [COLOUR, COLOUR[::-1].copy()]
    image: Any = opened(encode(frames, GIF, frame_times=[100, 100]))
    image.seek(1)
    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - frames[1]).mean() < 4


def test_a_gif_of_grey_in_three_channels_keeps_every_shade() -> None:
    grey = np.repeat(GREY[..., np.newaxis], 3, axis=2)
    assert np.array_equal(np.asarray(opened(encode([grey], GIF)).convert("RGB")), grey)


def test_rounding_to_hundredths_of_a_second_does_not_add_up() -> None:
    frames = [np.full((2, 2), value, np.uint8) for value in range(30)]
    image: Any = opened(encode(frames, GIF, frame_times=[1000 / 30] * 30))
    total = 0
    for number in range(image.n_frames):
        image.seek(number)
        total += image.info["duration"]
    assert (image.n_frames, total) == (30, 1000)


def test_still_media_types_hold_one_frame() -> None:
    with pytest.raises(NotAcceptable, match="2 are asked for"):
        encode([GREY, GREY], JPEG)


def test_other_media_types_are_not_acceptable() -> None:
    with pytest.raises(NotAcceptable, match="image/webp"):
        encode([GREY], "image/webp")


def test_the_frame_rate_is_the_recommended_one_before_the_acquired() -> None:
    both = {"RecommendedDisplayFrameRate": 20, "CineRate": "10", "FrameTime": "500"}
    assert times([1, 2], **both) == [50, 50]
    assert times([1], CineRate="10", FrameTime="500") == [100]
    assert times([1], CineRate="0", FrameTime="500") == [500]
    assert times([1, 2]) == [DEFAULT_FRAME_TIME] * 2


def test_a_vector_has_the_time_since_the_frame_before() -> None:
    assert times([1, 2, 3], FrameTimeVector=["0", "50", "70"]) == [50, 70, DEFAULT_FRAME_TIME]
    assert times([3], FrameTimeVector=["0", "50", "70"], FrameTime="30") == [30]


def test_frame_times_are_bounded() -> None:
    assert times([1], FrameTime="19.9") == [SHORTEST_FRAME_TIME]
    assert times([1], FrameTime="20.5") == [20.5]
    assert times([1], FrameTime="9999") == [9999]
    assert times([1], FrameTime="10001") == [LONGEST_FRAME_TIME]
