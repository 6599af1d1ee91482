import math

import numpy as np
import pytest

from harmonygw.errors import BadRequest
from harmonygw.rendering.windows import LINEAR, LINEAR_EXACT, SIGMOID, Window, requested, spanning


def applied(window: Window, *values: float) -> list[float]:
    return window.apply(np.array(values)).tolist()


def test_linear_is_that_of_the_standard() -> None:
    # PS3.3 §C.11.2.1.2.1, note: centre 2048 and width 4096 keep a 12-bit range as it is.
    assert applied(Window(2048, 4096), 0, 4095, 2047.5, -1, 5000) == [0, 1, 0.5, 0, 1]
    assert applied(Window(2048, 1), 2047, 2047.5, 2048) == [0, 0, 1]
    assert applied(Window(0, 100), -50, 49) == [0, 1]


def test_linear_exact_is_that_of_the_standard() -> None:
    assert applied(Window(50, 100, LINEAR_EXACT), 0, 50, 100, -1, 101) == [0, 0.5, 1, 0, 1]
    assert applied(Window(0.5, 0.5, LINEAR_EXACT), 0.25, 0.75) == [0, 1]


def test_sigmoid_is_that_of_the_standard() -> None:
    low, middle, high = applied(Window(50, 100, SIGMOID), 0, 50, 100)
    assert middle == 0.5
    assert low == pytest.approx(1 / (1 + math.exp(2)))
    assert low + high == pytest.approx(1)
    assert applied(Window(0, 0.001, SIGMOID), -1e9, 1e9) == pytest.approx([0, 1])


@pytest.mark.parametrize(
    ("function", "width", "usable"),
    [
        (LINEAR, 1, True),
        (LINEAR, 0.99, False),
        (LINEAR_EXACT, 0.01, True),
        (LINEAR_EXACT, 0, False),
        (SIGMOID, 0, False),
    ],
)
def test_the_least_width_depends_on_the_function(function: str, width: float, usable: bool) -> None:
    assert Window(0, width, function).usable is usable


def test_a_request_has_centre_width_and_function() -> None:
    assert requested([40, 400, "linear-exact"]) == Window(40.0, 400.0, LINEAR_EXACT)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ([1, 2, "cubic"], "function 'cubic'; allowed are linear, linear-exact, sigmoid"),
        ([1, 0.5, "linear"], "1 or more"),
        ([1, 0, "sigmoid"], "greater than 0"),
        ([math.nan, 5, "sigmoid"], "greater than 0"),
        ([1, math.inf, "linear"], "1 or more"),
    ],
)
def test_a_request_that_is_no_window_is_bad(window: list[object], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        requested(window)


def test_what_is_spanned_goes_from_black_to_white() -> None:
    assert applied(spanning(-10, 30), -10, 10, 30) == [0, 0.5, 1]


def test_a_uniform_frame_is_black() -> None:
    assert applied(spanning(5, 5), 5) == [0]
