"""The npm package dicomweb-client, of which OHIF's own is a copy: every retrieve method, held against pydicom."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from harmonygw.backends.storage import heart
from harmonygw.backends.storage.samples import (
    HEART_PATIENT_ID,
    HEART_SERIES_INSTANCE_UID,
    HEART_SOP_INSTANCE_UID,
    HEART_STUDY_INSTANCE_UID,
)
from tests.interop.embedded import image
from tests.interop.stow import Module, file_of
from tests.interop.viewed import PATIENCE_SECS, need_node, pictures, run, viewed

pytestmark = [pytest.mark.interop, pytest.mark.timeout(PATIENCE_SECS)]

HEART = {
    "studyInstanceUID": HEART_STUDY_INSTANCE_UID,
    "seriesInstanceUID": HEART_SERIES_INSTANCE_UID,
    "sopInstanceUID": HEART_SOP_INSTANCE_UID,
}

AS_STORED = [{"mediaType": "application/octet-stream", "transferSyntaxUID": "*"}]
"""How a viewer asks for frames."""

JPEG_2000 = pictures()["jpeg-2000"]
COLOUR = pictures()["colour"][0]

CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "studies": ("searchForStudies", {"queryParams": {"PatientID": HEART_PATIENT_ID, "includefield": "00081030"}}),
    "series": ("searchForSeries", {"studyInstanceUID": HEART_STUDY_INSTANCE_UID}),
    "instances": ("searchForInstances", {**JPEG_2000[0].uids, "queryParams": {"limit": 2, "offset": 1}}),
    "study metadata": ("retrieveStudyMetadata", HEART),
    "series metadata": ("retrieveSeriesMetadata", JPEG_2000[0].uids),
    "instance metadata": ("retrieveInstanceMetadata", HEART),
    "instance": ("retrieveInstance", HEART),
    "a series": ("retrieveSeries", JPEG_2000[0].uids),
    "a study": ("retrieveStudy", JPEG_2000[0].uids),
    "frames": ("retrieveInstanceFrames", {**HEART, "frameNumbers": [1, 30]}),
    "frames as stored": ("retrieveInstanceFrames", {**HEART, "frameNumbers": [7], "mediaTypes": AS_STORED}),
    "frames decoded": ("retrieveInstanceFrames", {**JPEG_2000[0].uids, "frameNumbers": [1]}),
    "no such frame": ("retrieveInstanceFrames", {**HEART, "frameNumbers": [31]}),
    "rendered": ("retrieveInstanceRendered", COLOUR.uids),
    "rendered png": ("retrieveInstanceRendered", {**COLOUR.uids, "mediaTypes": [{"mediaType": "image/png"}]}),
    "rendered to a viewport": (
        "retrieveInstanceRendered",
        {**COLOUR.uids, "mediaTypes": [{"mediaType": "image/png"}], "queryParams": {"viewport": "80,60"}},
    ),
    "frame rendered": (
        "retrieveInstanceFramesRendered",
        {**HEART, "frameNumbers": [3], "mediaTypes": [{"mediaType": "image/png"}]},
    ),
    "thumbnail": ("retrieveInstanceThumbnail", COLOUR.uids),
    "thumbnail of a frame": (
        "retrieveInstanceFramesThumbnail",
        {**HEART, "frameNumbers": [3], "mediaTypes": [{"mediaType": "image/jpeg"}]},
    ),
    "store": ("storeInstances", {"datasets": ["STORED", "STORED AS WELL"]}),
    "store into a study": ("storeInstances", {"datasets": ["STORED"], "studyInstanceUID": "1.2"}),
    "what was stored": ("retrieveStudyMetadata", {"studyInstanceUID": "1.2"}),
    "bulk data": ("retrieveBulkData", {"BulkDataURI": "PIXEL_DATA"}),
    "bulk data of a range": ("retrieveBulkData", {"BulkDataURI": "PIXEL_DATA", "headers": {"Range": "bytes=100-199"}}),
}
"""By name: the method, and its options."""

STORED = {
    "STORED": base64.b64encode(file_of(image(1))).decode(),
    "STORED AS WELL": base64.b64encode(file_of(image(2))).decode(),
}

CODED = {
    "jpeg": ("colour-jpeg", "image/jpeg", str(JPEGBaseline8Bit)),
    "jpeg 2000": ("jpeg-2000", "image/jp2", str(JPEG2000Lossless)),
    "jpeg-ls": ("jpeg-ls", "image/jls", str(JPEGLSLossless)),
}
"""Codings by their media types (PS3.18 Table 8.7.3-5), as far as the client knows these."""

OLD_NAMES = {
    "jpeg-ls, old": ("jpeg-ls", "image/x-jls", str(JPEGLSLossless)),
    "rle, old": ("rle", "image/x-dicom-rle", str(RLELossless)),
}
"""Names that the client still has, of the time before these were registered."""

for title, (picture, media_type, transfer_syntax_uid) in {**CODED, **OLD_NAMES}.items():
    wanted = [{"mediaType": media_type, "transferSyntaxUID": transfer_syntax_uid}]
    CALLS[title] = (
        "retrieveInstanceFrames",
        {**pictures()[picture][0].uids, "frameNumbers": [1], "mediaTypes": wanted},
    )
for title in ("jpeg-2000", "jpeg-ls", "rle", "htj2k", "colour-jpeg"):
    CALLS[f"{title} as stored"] = (
        "retrieveInstanceFrames",
        {**pictures()[title][0].uids, "frameNumbers": [1], "mediaTypes": AS_STORED},
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What each call gave."""
    need_node()
    with viewed(tmp_path_factory.mktemp("npm")) as url:
        service = f"{url}/dicom"
        metadata = {"name": "metadata", "method": "retrieveInstanceMetadata", "options": HEART}
        [instance] = run("client.mjs", [metadata], service)["metadata"]["value"]
        pixel_data = instance["7FE00010"]["BulkDataURI"]
        calls = [
            {
                "name": name,
                "method": method,
                "options": {
                    **{key: pixel_data if one == "PIXEL_DATA" else one for key, one in options.items()},
                    **({"datasets": [STORED[one] for one in options["datasets"]]} if "datasets" in options else {}),
                },
                # As OHIF makes it: the range is a header field then, and the answer one part.
                "singlepart": "bulkdata" if name == "bulk data of a range" else "",
            }
            for name, (method, options) in CALLS.items()
        ]
        yield run("client.mjs", calls, service)


def value(results: dict[str, Any], name: str) -> Any:
    assert "value" in results[name], results[name]
    return results[name]["value"]


def content(part: dict[str, Any]) -> bytes:
    return base64.b64decode(part["base64"])


def instance_of(part: dict[str, Any]) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(content(part)))


def test_instances_are_stored(results: dict[str, Any]) -> None:
    for name, uids in (("store", ["1.2.3.1", "1.2.3.2"]), ("store into a study", ["1.2.3.1"])):
        answer = value(results, name)
        module = Module(answer if isinstance(answer, str) else json.dumps(answer))
        assert (module.stored, module.failed, module.other) == (uids, {}, [])
    stored = value(results, "what was stored")
    assert sorted(one["00080018"]["Value"][0] for one in stored) == ["1.2.3.1", "1.2.3.2"]


def test_studies_are_searched(results: dict[str, Any]) -> None:
    [study] = value(results, "studies")
    assert study["0020000D"]["Value"] == [HEART_STUDY_INSTANCE_UID]
    assert study["00081030"]["Value"] == ["Echocardiography, generated"]


def test_series_are_searched(results: dict[str, Any]) -> None:
    [series] = value(results, "series")
    assert series["0020000E"]["Value"] == [HEART_SERIES_INSTANCE_UID]


def test_instances_are_searched_by_pages(results: dict[str, Any]) -> None:
    found = [one["00080018"]["Value"][0] for one in value(results, "instances")]
    assert len(set(found)) == 2
    assert set(found) < {picture.uids["sopInstanceUID"] for picture in JPEG_2000}


@pytest.mark.parametrize("name", ["study metadata", "instance metadata"])
def test_metadata_are_those_of_the_instance(results: dict[str, Any], name: str) -> None:
    [metadata] = value(results, name)
    assert metadata["00080018"]["Value"] == [HEART_SOP_INSTANCE_UID]
    assert metadata["00280008"]["Value"] == [heart.FRAMES]
    assert metadata["00100010"]["Value"][0]["Ideographic"] == "山田^太郎"
    assert "Value" not in metadata["7FE00010"]


def test_metadata_of_a_series_are_those_of_all_instances(results: dict[str, Any]) -> None:
    found = {one["00080018"]["Value"][0] for one in value(results, "series metadata")}
    assert found == {picture.uids["sopInstanceUID"] for picture in JPEG_2000}


def test_an_instance_is_whole(results: dict[str, Any]) -> None:
    instance = instance_of(value(results, "instance"))
    assert instance.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert instance.PixelData == b"".join(map(heart.frame_pixels, range(heart.FRAMES)))


@pytest.mark.parametrize("name", ["a series", "a study"])
def test_instances_come_decoded_by_default(results: dict[str, Any], name: str) -> None:
    instances = {one.InstanceNumber: one for one in map(instance_of, value(results, name))}
    assert sorted(instances) == [1, 2, 3, 4, 5]
    for number, instance in instances.items():
        assert instance.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert instance.PixelData == JPEG_2000[number - 1].pixels.tobytes()


def test_frames_come_in_the_order_asked_for(results: dict[str, Any]) -> None:
    assert [content(one) for one in value(results, "frames")] == [heart.frame_pixels(0), heart.frame_pixels(29)]
    [seventh] = value(results, "frames as stored")
    assert content(seventh) == heart.frame_pixels(6)
    assert seventh["type"] == "application/octet-stream"
    assert seventh["transferSyntax"] == str(ExplicitVRLittleEndian)


def test_a_frame_that_there_is_not_is_not_found(results: dict[str, Any]) -> None:
    assert results["no such frame"]["status"] == 404


def test_a_compressed_frame_comes_decoded_by_default(results: dict[str, Any]) -> None:
    [frame] = value(results, "frames decoded")
    assert content(frame) == JPEG_2000[0].pixels.tobytes()


@pytest.mark.parametrize("name", [*CODED, *OLD_NAMES])
def test_a_frame_comes_in_the_coding_asked_for(results: dict[str, Any], name: str) -> None:
    title, media_type, transfer_syntax_uid = {**CODED, **OLD_NAMES}[name]
    [frame] = value(results, name)
    assert content(frame).rstrip(b"\0") == _stored(title).rstrip(b"\0")
    assert frame["transferSyntax"] == transfer_syntax_uid
    if name in CODED:
        assert frame["type"] == media_type


@pytest.mark.parametrize(
    ("title", "transfer_syntax_uid"),
    [
        ("jpeg-2000", str(JPEG2000Lossless)),
        ("jpeg-ls", str(JPEGLSLossless)),
        ("rle", str(RLELossless)),
        ("htj2k", str(HTJ2KLossless)),
        ("colour-jpeg", str(JPEGBaseline8Bit)),
    ],
)
def test_a_frame_as_stored_says_how_it_is_coded(results: dict[str, Any], title: str, transfer_syntax_uid: str) -> None:
    [frame] = value(results, f"{title} as stored")
    assert content(frame).rstrip(b"\0") == _stored(title).rstrip(b"\0")
    assert (frame["type"], frame["transferSyntax"]) == ("application/octet-stream", transfer_syntax_uid)


def test_a_colour_picture_is_rendered(results: dict[str, Any]) -> None:
    drawn = imagecodecs.jpeg8_decode(_single(results, "rendered"))
    assert abs(drawn.astype(int) - COLOUR.pixels).mean() < 5
    assert np.array_equal(imagecodecs.png_decode(_single(results, "rendered png"))[..., :3], COLOUR.pixels)


def test_a_rendering_fits_its_viewport(results: dict[str, Any]) -> None:
    assert imagecodecs.png_decode(_single(results, "rendered to a viewport")).shape[:2] == (60, 80)


def test_a_frame_is_rendered(results: dict[str, Any]) -> None:
    drawn = imagecodecs.png_decode(_single(results, "frame rendered"))
    stored = np.frombuffer(heart.frame_pixels(2), np.uint8).reshape(heart.ROWS, heart.COLUMNS)
    assert drawn.shape[:2] == stored.shape
    assert abs(drawn.reshape(heart.ROWS, heart.COLUMNS, -1)[..., 0].astype(int) - stored).max() <= 2


@pytest.mark.parametrize("name", ["thumbnail", "thumbnail of a frame"])
def test_a_thumbnail_is_a_small_jpeg(results: dict[str, Any], name: str) -> None:
    assert max(imagecodecs.jpeg8_decode(_single(results, name)).shape[:2]) <= 256


def test_bulk_data_are_the_element_and_a_range_is_a_part_of_it(results: dict[str, Any]) -> None:
    whole = b"".join(map(heart.frame_pixels, range(heart.FRAMES)))
    assert b"".join(map(content, value(results, "bulk data"))) == whole
    assert _single(results, "bulk data of a range") == whole[100:200]


def _stored(title: str) -> bytes:
    """The one frame of a picture as it is stored."""
    data_set = pictures()[title][0].data_set
    return pydicom.encaps.get_frame(data_set.PixelData, 0, number_of_frames=1)


def _single(results: dict[str, Any], name: str) -> bytes:
    """What came as one body; the client puts that into a list or does not, by the method."""
    found = value(results, name)
    return content(found[0] if isinstance(found, list) else found)
