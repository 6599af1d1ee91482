from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import ImageCms

from harmonygw.errors import BadRequest
from harmonygw.rendering import icc_profiles
from harmonygw.rendering.icc_profiles import MAX_PROFILE_BYTES, Colourist, well_known
from tests.rendering.images import attributes_of, data_set

RED = np.array([[[255, 0, 0]]], np.uint8)
GREY = np.array([[0, 128, 255]], np.uint8)


def colourist(value: str | None, **attributes: Any) -> Colourist:
    return Colourist(value, attributes_of(**attributes))


@pytest.mark.parametrize("value", [None, "no"])
def test_without_the_parameter_there_is_no_profile_and_colours_stay(value: str | None) -> None:
    made = colourist(value, ICCProfile=well_known("adobergb"))
    assert made.profile == b""
    assert made.colour(RED) is RED


def test_yes_is_the_objects_own_profile_or_else_srgb() -> None:
    own = well_known("adobergb")
    assert colourist("yes", ICCProfile=own).profile == own
    assert colourist("yes", OpticalPathSequence=[data_set(ICCProfile=own)]).profile == own
    assert colourist("yes").profile == well_known("srgb")
    assert colourist("yes", ICCProfile=own).colour(RED) is RED


def test_colours_are_converted_to_the_profile_asked_for() -> None:
    # sRGB's red is a duller one in the wider spaces.
    assert colourist("srgb").colour(RED).tolist() == [[[255, 0, 0]]]
    red, green, blue = colourist("adobergb").colour(RED)[0, 0].tolist()
    assert (red, green, blue) == (219, 0, 0)
    assert colourist("rommrgb").colour(RED)[0, 0].tolist() == pytest.approx([179, 70, 26], abs=2)
    assert colourist("srgb", ICCProfile=well_known("adobergb")).colour(RED)[0, 0].tolist() == [255, 0, 0]


def test_white_stays_white() -> None:
    white = np.full((1, 1, 3), 255, np.uint8)
    for value in ("srgb", "adobergb", "rommrgb"):
        assert colourist(value).colour(white)[0, 0].tolist() == pytest.approx([255, 255, 255], abs=1)


def test_grey_becomes_rgb_when_a_profile_is_asked_for() -> None:
    assert colourist("yes").colour(GREY).tolist() == [[[0, 0, 0], [128, 128, 128], [255, 255, 255]]]
    assert colourist(None).colour(GREY) is GREY


@pytest.mark.parametrize("name", ["srgb", "adobergb", "rommrgb"])
def test_well_known_profiles_are_profiles_and_always_the_same(name: str) -> None:
    first = well_known(name)
    icc_profiles.well_known.cache_clear()
    assert well_known(name) == first
    assert first[24:36] == b"\x07\xd0\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00"
    assert ImageCms.ImageCmsProfile(BytesIO(first)).profile.xcolor_space.strip() == "RGB"


def test_profiles_that_are_of_no_use_are_as_if_they_were_not_there() -> None:
    own = well_known("adobergb")
    for useless in (b"nonsense", own[:16] + b"GRAY" + own[20:], own[:132] + b"\xff" * 500):
        assert colourist("yes", ICCProfile=useless).profile == well_known("srgb")


def test_a_profile_of_max_profile_bytes_is_taken_and_a_longer_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    own = well_known("adobergb")
    assert len(own) < MAX_PROFILE_BYTES
    monkeypatch.setattr(icc_profiles, "MAX_PROFILE_BYTES", len(own))
    assert colourist("yes", ICCProfile=own).profile == own
    monkeypatch.setattr(icc_profiles, "MAX_PROFILE_BYTES", len(own) - 1)
    assert colourist("yes", ICCProfile=own).profile == well_known("srgb")


def test_another_value_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="'cmyk'; allowed are no, yes, srgb, adobergb, rommrgb"):
        colourist("cmyk")
