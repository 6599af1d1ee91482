from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harmonygw.rendering.grayscale import BACKGROUND, Extent, GreyFrame
from harmonygw.rendering.windows import LINEAR, LINEAR_EXACT, Window
from tests.rendering.images import attributes_of, data_set, pixels_of

IDENTITY = Window(127.5, 255, LINEAR_EXACT)


def frame(
    values: list[float] | NDArray[Any],
    kind: str = "<u2",
    window: Window | None = None,
    fields: dict[str, Any] | None = None,
    number: int = 1,
    **attributes: Any,
) -> GreyFrame:
    array = np.array([values], kind)
    return GreyFrame(array, pixels_of(array, **(fields or {})), attributes_of(number, **attributes), window)


def shades(*arguments: Any, **attributes: Any) -> list[int]:
    made = frame(*arguments, **attributes)
    result: list[int] = made.shades(made.extent)[0].tolist()
    return result


def words(*values: int) -> bytes:
    return np.array(values, "<u2").tobytes()


def test_without_a_window_the_extent_goes_from_black_to_white() -> None:
    assert frame([100, 300, 200]).extent == Extent(100, 300)
    assert shades([100, 300, 200]) == [0, 255, 128]


def test_the_extent_of_several_frames_can_be_shown() -> None:
    assert frame([100, 300]).shades(Extent(0, 510))[0].tolist() == [50, 150]


def test_a_frame_of_padding_has_no_extent_and_is_background() -> None:
    made = frame([7, 7], PixelRepresentation=0, PixelPaddingValue=7)
    assert made.extent is None
    assert made.shades(made.extent)[0].tolist() == [BACKGROUND, BACKGROUND]


def test_the_requests_window_comes_before_the_objects() -> None:
    given = {"WindowCenter": "1000", "WindowWidth": "10"}
    assert shades([0, 100, 255], window=IDENTITY, **given) == [0, 100, 255]
    assert shades([0, 995, 1010], **given) == [0, 0, 255]


def test_the_first_of_several_windows_is_taken() -> None:
    assert shades([0, 1, 2], WindowCenter=["1", "500"], WindowWidth=["3", "100"]) == [64, 191, 255]


@pytest.mark.parametrize(
    ("function", "expected"),
    [("LINEAR", [85, 170, 255]), ("LINEAR_EXACT", [64, 128, 191]), ("SIGMOID", [69, 128, 186])],
)
def test_the_function_is_the_objects(function: str, expected: list[int]) -> None:
    assert shades([0, 1, 2], WindowCenter="1", WindowWidth="4", VOILUTFunction=function) == expected


@pytest.mark.parametrize("width", ["0.5", "0", "-4"])
def test_a_window_that_is_none_is_passed_over(width: str) -> None:
    assert shades([0, 50, 100], WindowCenter="1", WindowWidth=width) == [0, 128, 255]
    assert shades([0, 50, 100], WindowCenter="1") == [0, 128, 255]


def test_a_voi_lut_comes_before_a_window() -> None:
    lut = data_set(LUTDescriptor=[3, 10, 16], LUTData=words(65535, 32768, 0))
    assert shades([0, 10, 11, 12, 99], VOILUTSequence=[lut], WindowCenter="1", WindowWidth="3") == [255, 255, 128, 0, 0]


def test_a_voi_lut_for_negative_values_has_a_signed_first_value() -> None:
    lut = data_set(LUTDescriptor=[3, 65535, 8], LUTData=words(10, 20, 255))
    assert shades([-2, -1, 0, 1], "<i2", VOILUTSequence=[lut]) == [10, 10, 20, 255]
    assert shades([0, 1, 2], RescaleSlope="1", RescaleIntercept="-1", VOILUTSequence=[lut]) == [10, 20, 255]


def test_rescale_comes_before_the_window() -> None:
    rescale = {"RescaleSlope": "2", "RescaleIntercept": "-100"}
    assert shades([50, 100, 177], window=IDENTITY, **rescale) == [0, 100, 254]


def test_a_slope_of_zero_is_one() -> None:
    assert shades([1, 2], window=IDENTITY, RescaleSlope="0", RescaleIntercept="5") == [6, 7]


def test_a_modality_lut_comes_before_the_window() -> None:
    lut = data_set(LUTDescriptor=[2, 5, 16], LUTData=words(30, 60), ModalityLUTType="US")
    assert shades([0, 5, 6, 7], window=IDENTITY, ModalityLUTSequence=[lut]) == [30, 30, 60, 60]


def test_a_modality_lut_for_signed_pixels_has_a_signed_first_value() -> None:
    lut = data_set(LUTDescriptor=[2, 65534, 16], LUTData=words(30, 60), ModalityLUTType="US")
    assert shades([-2, -1, 0], "<i2", window=IDENTITY, ModalityLUTSequence=[lut]) == [30, 60, 60]


def test_functional_groups_say_it_frame_by_frame() -> None:
    def groups(slope: str, width: str) -> Any:
        return data_set(
            PixelValueTransformationSequence=[data_set(RescaleSlope=slope, RescaleIntercept="0")],
            FrameVOILUTSequence=[data_set(WindowCenter="0", WindowWidth=width)],
        )

    enhanced = {"PerFrameFunctionalGroupsSequence": [groups("1", "256"), groups("2", "256")]}
    assert shades([0, 10], **enhanced) == [128, 138]
    assert shades([0, 10], number=2, **enhanced) == [128, 148]


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", None, False),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", False),
    ],
)
def test_inversion_happens_once(photometric: str, shape: str | None, inverted: bool) -> None:
    attributes = {} if shape is None else {"PresentationLUTShape": shape}
    shown = shades([0, 100, 255], window=IDENTITY, fields={"photometric_interpretation": photometric}, **attributes)
    assert shown == ([255, 155, 0] if inverted else [0, 100, 255])


def test_padding_is_outside_of_the_extent_and_black() -> None:
    assert shades([0, 100, 200], PixelRepresentation=0, PixelPaddingValue=0) == [0, 0, 255]
    inverted = {"photometric_interpretation": "MONOCHROME1"}
    assert shades([0, 100, 200], fields=inverted, PixelRepresentation=0, PixelPaddingValue=0) == [0, 255, 0]


def test_padding_may_be_a_range_in_either_order() -> None:
    for value, limit in ((10, 20), (20, 10)):
        attributes = {"PixelRepresentation": 0, "PixelPaddingValue": value, "PixelPaddingRangeLimit": limit}
        assert shades([9, 10, 15, 20, 21], window=IDENTITY, **attributes) == [9, 0, 0, 0, 21]


def test_padding_of_signed_pixels_is_signed() -> None:
    attributes = {"PixelRepresentation": 1, "PixelPaddingValue": -2000}
    assert shades([-2000, 0, 10], "<i2", **attributes) == [0, 0, 255]


def test_bits_above_the_stored_ones_are_not_looked_at() -> None:
    fields = {"bits_stored": 12, "high_bit": 11}
    assert shades([0xF064, 0x0064], window=IDENTITY, fields=fields) == [100, 100]


def test_stored_values_are_sign_extended() -> None:
    fields = {"bits_stored": 12, "high_bit": 11, "pixel_representation": 1}
    assert shades([0x0FFF, 0x0800, 0x07FF], window=None, fields=fields) == [127, 0, 255]


def test_frames_of_eight_bits_are_shown_as_they_are() -> None:
    assert frame([10, 20], "u1").extent is None
    assert shades([10, 20], "u1") == [10, 20]
    assert shades([0, 1, 0], "u1", fields={"bits_allocated": 1, "bits_stored": 1, "high_bit": 0}) == [0, 255, 0]
    assert shades([-128, 127], "i1") == [0, 255]


def test_labels_of_eight_bits_are_stretched() -> None:
    assert shades([0, 2, 4], "u1", SegmentationType="LABELMAP") == [0, 128, 255]


@pytest.mark.parametrize(("kind", "values"), [("<u4", [0, 2**31, 2**32 - 1]), ("<i4", [-(2**31), 0, 2**31 - 1])])
def test_thirty_two_bits_are_shown(kind: str, values: list[float]) -> None:
    assert shades(values, kind) == [0, 128, 255]


def test_padding_of_thirty_two_bits_is_background() -> None:
    assert shades([5, 10, 20], "<u4", PixelRepresentation=0, PixelPaddingValue=5) == [0, 0, 255]


@pytest.mark.parametrize(("kind", "name"), [("<f4", "FloatPixelPadding"), ("<f8", "DoubleFloatPixelPadding")])
def test_floating_point_is_shown(kind: str, name: str) -> None:
    assert shades([-0.5, 0.0, 0.5, np.nan], kind) == [0, 128, 255, 0]
    padded = {f"{name}Value": 100.0, f"{name}RangeLimit": 200.0}
    assert shades([0.0, 1.0, 100.0, 150.0], kind, **padded) == [0, 255, 0, 0]


def test_floating_point_through_a_voi_lut_is_shown() -> None:
    lut = data_set(LUTDescriptor=[2, 0, 8], LUTData=words(10, 200))
    assert shades([0.2, 0.8, np.nan], "<f4", VOILUTSequence=[lut]) == [10, 200, 10]


def test_a_modality_lut_is_not_for_floating_point() -> None:
    lut = data_set(LUTDescriptor=[2, 0, 16], LUTData=words(30, 60), ModalityLUTType="US")
    assert shades([1.0, 2.0], "<f4", window=Window(1.5, 1, LINEAR_EXACT), ModalityLUTSequence=[lut]) == [0, 255]


def test_a_window_of_width_one_is_a_threshold() -> None:
    assert shades([99, 100, 101], window=Window(100, 1, LINEAR)) == [0, 255, 255]
