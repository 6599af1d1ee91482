import math
from collections.abc import Sequence

import numpy as np
import pytest

from harmonygw.errors import BadRequest
from harmonygw.rendering.geometry import MAX_VIEWPORT, Viewport, requested

RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def test_the_picture_fits_into_the_viewport_and_keeps_its_ratio() -> None:
    assert Viewport(60, 400).apply(RAMP).shape == (40, 60)
    assert Viewport(600, 40).apply(RAMP).shape == (40, 60)
    assert Viewport(3, 3).apply(RAMP).shape == (2, 3)
    assert Viewport(30, 30).apply(np.zeros((4, 6, 3), np.uint8)).shape == (20, 30, 3)


def test_no_side_becomes_less_than_a_pixel() -> None:
    assert Viewport(10, 10).apply(np.zeros((1, 1000), np.uint8)).shape == (1, 10)


def test_a_small_picture_is_enlarged_unless_that_is_not_wanted() -> None:
    assert Viewport(12, 12).apply(RAMP).shape == (8, 12)
    assert Viewport(12, 12, enlarging=False).apply(RAMP).tolist() == RAMP.tolist()
    assert Viewport(3, 12, enlarging=False).apply(RAMP).shape == (2, 3)


def test_a_region_is_cut_out_as_it_is_when_it_needs_no_scaling() -> None:
    assert requested([3, 2, 1, 2, 3, 2]).apply(RAMP).tolist() == RAMP[2:4, 1:4].tolist()


def test_what_is_left_out_reaches_from_the_origin_to_the_edge() -> None:
    assert requested([4, 4, 2]).apply(RAMP).tolist() == RAMP[:, 2:].tolist()
    assert requested([6, 4, None, None, None, None]).apply(RAMP).tolist() == RAMP.tolist()
    assert requested([6, 1, None, 3]).apply(RAMP).tolist() == RAMP[3:].tolist()


def test_a_region_ends_at_the_edge_of_the_picture() -> None:
    assert requested([2, 4, 4, 0, 100, 100]).apply(RAMP).tolist() == RAMP[:, 4:].tolist()


def test_negative_extents_flip() -> None:
    assert requested([6, 4, 0, 0, -6, 4]).apply(RAMP).tolist() == RAMP[:, ::-1].tolist()
    assert requested([6, 4, 0, 0, 6, -4]).apply(RAMP).tolist() == RAMP[::-1].tolist()
    assert requested([2, 1, 1, 0, -2, -1]).apply(RAMP).tolist() == [[20, 10]]


def test_the_origin_is_an_absolute_value() -> None:
    assert requested([4, 4, -2, -0.0]).apply(RAMP).tolist() == RAMP[:, 2:].tolist()


def test_reduction_averages() -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 200
    reduced = Viewport(8, 8).apply(checks.astype(np.uint8))
    assert reduced.min() >= 98
    assert reduced.max() <= 102


def test_a_fraction_of_a_pixel_is_cut() -> None:
    edges = np.array([[0, 0, 200, 200]], np.uint8)
    assert requested([1, 1, 1.5, 0, 1, 1]).apply(edges).tolist() == [[100]]


def test_enlargement_is_smooth() -> None:
    assert Viewport(4, 2).apply(np.array([[0, 200]], np.uint8)).tolist() == [[0, 50, 150, 200]] * 2


@pytest.mark.parametrize("region", [[6, 4, 6], [6, 4, None, 4], [6, 4, 100, 0, 5, 5]])
def test_a_region_outside_of_the_picture_is_a_bad_request(region: Sequence[float | None]) -> None:
    with pytest.raises(BadRequest, match="6 by 4 pixels"):
        requested(region).apply(RAMP)


def test_the_largest_viewport_has_max_viewport_pixels_a_side() -> None:
    assert requested([MAX_VIEWPORT, MAX_VIEWPORT]) == Viewport(MAX_VIEWPORT, MAX_VIEWPORT)
    for size in ([MAX_VIEWPORT + 1, 1], [1, MAX_VIEWPORT + 1], [0, 1], [1, 0], [None, 5], [-1, 5]):
        with pytest.raises(BadRequest, match="MAX_VIEWPORT"):
            requested(size)


def test_a_region_must_be_numbers_with_an_extent() -> None:
    for region in ([5, 5, math.nan], [5, 5, 0, 0, math.inf]):
        with pytest.raises(BadRequest, match="finite"):
            requested(region)
    for region in ([5, 5, 0, 0, 0], [5, 5, 0, 0, 5, 0]):
        with pytest.raises(BadRequest, match="without extent"):
            requested(region)
