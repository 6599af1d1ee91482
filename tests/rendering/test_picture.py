import dataclasses
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from harmonygw.errors import BadRequest, NotAcceptable, PeerError, TooLarge
from harmonygw.rendering import picture
from harmonygw.rendering.icc_profiles import well_known
from harmonygw.rendering.icons import icon
from harmonygw.rendering.picture import MAX_ANIMATION_PIXELS, render_job
from tests.rendering.images import data_set, encoded, job, opened, pixels_of, shown

RAMP = np.arange(64, dtype="<u2").reshape(8, 8) * 4
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=-1).astype(np.uint8)


def result(*arguments: Any, **parameters: Any) -> dict[str, Any]:
    answer, _ = render_job(*job(*arguments, **parameters))
    return answer


def test_a_frame_becomes_a_file() -> None:
    assert shown(RAMP, {"WindowCenter": "128", "WindowWidth": "256"}).tolist() == RAMP.tolist()
    assert result(RAMP) == {"media_type": "image/png", "columns": 8, "rows": 8, "ignored": []}


@pytest.mark.parametrize(("media_type", "form"), [("image/jpeg", "JPEG"), ("image/png", "PNG"), ("image/gif", "GIF")])
def test_the_media_type_is_that_of_the_request(media_type: str, form: str) -> None:
    answer, file = render_job(*job(RAMP, media_type=media_type))
    assert answer["media_type"] == media_type
    assert opened(file).format == form


def test_colour_stays_colour() -> None:
    assert shown(COLOUR).tolist() == COLOUR.tolist()


def test_colour_by_plane_becomes_colour_by_pixel() -> None:
    parameters, payload = job(COLOUR, {}, {"planar_configuration": 1})
    payload[1] = np.ascontiguousarray(COLOUR.transpose(2, 0, 1)).tobytes()
    _, file = render_job(parameters, payload)
    assert np.asarray(opened(file)).tolist() == COLOUR.tolist()


def test_the_window_is_applied() -> None:
    assert shown(RAMP, window=[100, 1, "linear"]).tolist() == ((RAMP >= 100) * 255).tolist()


def test_the_viewport_is_applied() -> None:
    assert shown(RAMP, window=[128, 256, "linear"], viewport=[2, 1, 3, 4, -2, 1]).tolist() == [[144, 140]]
    answer = result(RAMP, viewport=[100, 50])
    assert (answer["columns"], answer["rows"]) == (50, 50)


def test_the_quality_is_applied() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (64, 64)).astype(np.uint8)
    low, high = (render_job(*job(noise, media_type="image/jpeg", quality=quality))[1] for quality in (1, 100))
    assert len(low) < len(high) / 4


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_is_one_to_a_hundred(quality: int) -> None:
    with pytest.raises(BadRequest, match="1 to 100"):
        render_job(*job(RAMP, quality=quality))


def test_the_profile_is_embedded_and_applied() -> None:
    _, file = render_job(*job(COLOUR, iccprofile="adobergb"))
    assert opened(file).info["icc_profile"] == well_known("adobergb")
    assert np.asarray(opened(file)).tolist() != COLOUR.tolist()
    _, plain = render_job(*job(COLOUR))
    assert "icc_profile" not in opened(plain).info


def test_annotations_are_burnt_in_after_scaling() -> None:
    black = np.zeros((8, 8), np.uint8)
    parameters = {"viewport": [200, 200], "default_character_set": ["ISO_IR 100"]}
    assert shown(black, {"PatientID": "1"}, annotation=[], **parameters).max() == 0
    drawn = shown(black, {"PatientID": "1"}, annotation=["patient"], **parameters)
    assert drawn[:40].max() > 200
    assert drawn[40:].max() == 0
    assert result(black, annotation=["patient", "dose"])["ignored"] == ["dose"]


def test_several_frames_are_an_animation_in_one_extent() -> None:
    frames = [np.full((4, 4), value, "<u2") for value in (100, 200, 300)]
    _, file = render_job(*job(frames, {"FrameTime": "40"}, media_type="image/gif"))
    image: Any = opened(file)
    grey = []
    for number in range(image.n_frames):
        image.seek(number)
        assert image.info["duration"] == 40
        grey.append(int(np.asarray(image.convert("L"))[0, 0]))
    assert grey == [0, 128, 255]


def test_an_animation_of_padding_is_background() -> None:
    frames = [np.full((4, 4), 7, "<u2"), np.full((4, 4), 7, "<u2")]
    padding = {"PixelRepresentation": 0, "PixelPaddingValue": 7}
    assert shown(frames, padding, media_type="image/gif").max() == 0


def test_an_animation_of_colour_is_possible() -> None:
    _, file = render_job(*job([COLOUR, COLOUR[::-1].copy()], media_type="image/gif"))
    assert opened(file).n_frames == 2  # type: ignore[attr-defined]


def test_frames_have_their_own_functional_groups() -> None:
    groups = [
        data_set(FrameVOILUTSequence=[data_set(WindowCenter=centre, WindowWidth="1")]) for centre in ("100", "200")
    ]
    attributes = {"PerFrameFunctionalGroupsSequence": groups}
    assert shown(RAMP, attributes, frames=[1]).tolist() == ((RAMP >= 100) * 255).tolist()
    assert shown(RAMP, attributes, frames=[2]).tolist() == ((RAMP >= 200) * 255).tolist()


def test_an_animation_has_max_animation_pixels_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_ANIMATION_PIXELS == 134_217_728
    monkeypatch.setattr(picture, "MAX_ANIMATION_PIXELS", 128)
    assert result([RAMP, RAMP], media_type="image/gif")["rows"] == 8
    with pytest.raises(TooLarge, match="MAX_ANIMATION_PIXELS"):
        render_job(*job([RAMP, RAMP, RAMP], media_type="image/gif"))
    assert result([RAMP, RAMP, RAMP], media_type="image/gif", viewport=[4, 4])["rows"] == 4
    monkeypatch.setattr(picture, "MAX_ANIMATION_PIXELS", 1)
    assert result(RAMP)["rows"] == 8


@pytest.mark.parametrize("frames", [[], [1, 2]])
def test_every_frame_has_a_number(frames: list[int]) -> None:
    with pytest.raises(BadRequest, match="of 1"):
        render_job(*job(RAMP, frames=frames))


def test_a_thumbnail_is_a_small_jpeg_whatever_was_asked() -> None:
    large = np.zeros((300, 600), np.uint8)
    answer, file = render_job(*job(large, thumbnail=True, annotation=["patient"], media_type="image/gif"))
    assert answer == {"media_type": "image/jpeg", "columns": 128, "rows": 64, "ignored": []}
    assert (opened(file).format, opened(file).size) == ("JPEG", (128, 64))


def test_a_thumbnail_is_enlarged_on_demand_only() -> None:
    assert result(RAMP, thumbnail=True)["columns"] == 8
    assert result(RAMP, thumbnail=True, viewport=[64, 64])["columns"] == 64


def test_a_thumbnail_of_colour_is_one_of_colour() -> None:
    red = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    assert shown(red, thumbnail=True)[4, 4].tolist() == pytest.approx([254, 0, 0], abs=2)


def test_a_thumbnail_shows_nothing_of_an_image_with_burned_in_annotation() -> None:
    _, file = render_job(*job(RAMP, {"BurnedInAnnotation": "YES"}, thumbnail=True, viewport=[128, 128]))
    assert np.abs(np.asarray(opened(file)).astype(int) - icon("image")).max() < 16
    assert result(RAMP, {"BurnedInAnnotation": "NO"}, thumbnail=True)["columns"] == 8


def test_old_objects_may_keep_their_bits_at_the_top() -> None:
    stored = (RAMP << 4) + 15
    fields = {"bits_stored": 12, "high_bit": 15}
    assert shown(stored, {}, fields, window=[128, 256, "linear"]).tolist() == RAMP.tolist()


@pytest.mark.parametrize(("bits_stored", "high_bit"), [(0, 15), (-1, 15), (17, 17), (12, 99)])
def test_bits_that_no_frame_has_are_an_error_of_the_peer_or_ignored(bits_stored: int, high_bit: int) -> None:
    parameters = job(RAMP, {}, {"bits_stored": bits_stored, "high_bit": high_bit}, window=[128, 256, "linear"])
    if bits_stored == 12:
        assert np.asarray(opened(render_job(*parameters)[1])).tolist() == RAMP.tolist()
    else:
        with pytest.raises(PeerError):
            render_job(*parameters)


def test_floating_point_has_no_unused_bits() -> None:
    assert shown(np.array([[0.0, 0.5, 1.0]], "<f4"), {}, {"bits_stored": 16}).tolist() == [[0, 128, 255]]


def test_a_frame_that_is_too_short_is_an_error_of_the_peer() -> None:
    parameters, payload = job(RAMP)
    with pytest.raises(PeerError):
        render_job(parameters, [payload[0], payload[1][:-1]])


def test_another_media_type_is_not_acceptable() -> None:
    with pytest.raises(NotAcceptable, match="image/bmp"):
        render_job(*job(RAMP, media_type="image/bmp"))


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_encoded_frames_are_decoded(name: str) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    stored = dcmread(path)
    head = encoded(
        data_set(WindowCenter=stored.get("WindowCenter", "40"), WindowWidth=stored.get("WindowWidth", "400"))
    )
    pixels = pixels_of(
        np.zeros((stored.Rows, stored.Columns), np.uint16),
        bits_stored=stored.BitsStored,
        high_bit=stored.HighBit,
        pixel_representation=stored.PixelRepresentation,
    )
    parameters = {
        "transfer_syntax": str(stored.file_meta.TransferSyntaxUID),
        "pixels": dataclasses.asdict(pixels),
        "frames": [1],
        "media_type": "image/png",
    }
    answer, file = render_job(parameters, [head, next(generate_frames(stored.PixelData, number_of_frames=1))])
    assert (answer["rows"], answer["columns"]) == (stored.Rows, stored.Columns)
    assert len(np.unique(np.asarray(opened(file)))) > 20
