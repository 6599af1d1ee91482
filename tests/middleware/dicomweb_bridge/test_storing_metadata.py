"""Metadata and bulk data joined: what refers to what, and in which transfer syntax."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from pytest_twisted import ensureDeferred

from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.patient import Patient
from harmonygw.operations import StoreResult
from harmonygw.streams import Instance
from tests.interop.embedded import EXPLICIT, encoded, image
from tests.interop.stow import BOUNDARY, Module, related
from tests.middleware.dicomweb_bridge.stores import Archive, bridge

JSON = f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}'
METADATA = {"Content-Type": "application/dicom+json"}
JPEG = "1.2.840.10008.1.2.4."
BASELINE = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x02\x00\x02\x01\x01\x11\x00"
LOSSLESS = b"\xff\xd8\xff\xc3\x00\x0b\x08\x00\x02\x00\x02\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\x00\x06\x00\x00"


class Noting(Archive):
    """Remembers the transfer syntaxes."""

    syntaxes: list[str]
    leading: Mapping[str, str]

    async def result(self, instance: Instance) -> StoreResult:
        self.leading = instance.leading
        self.syntaxes = [*getattr(self, "syntaxes", []), instance.transfer_syntax_uid]
        return await super().result(instance)


def model(number: int = 1, uri: str = "b", **more: Any) -> dict[str, Any]:
    made = to_json(encoded(image(number)), EXPLICIT, bulk_threshold=10**9)
    made["7FE00010"] = {"vr": "OW", "BulkDataURI": uri}
    return {**made, **more}


async def stored(
    tmp_path: Path, models: Any, *bulk: tuple[bytes, dict[str, str]]
) -> tuple[int, Module, Noting, list[str]]:
    archive = Noting()
    async with bridge(tmp_path, archive) as one:
        status, module = await one.module(related((orjson.dumps(models), METADATA), *bulk), JSON)
        assert one.request is not None
        return status, module, archive, one.request.record.notes


def part(content: bytes, content_type: str | None, location: str = "b", **fields: str) -> tuple[bytes, dict[str, str]]:
    typed = {} if content_type is None else {"Content-Type": content_type}
    return content, {**typed, "Content-Location": location, **{name.replace("_", "-"): v for name, v in fields.items()}}


@ensureDeferred
async def test_its_leading_attributes_are_as_in_the_object_that_is_written(tmp_path: Path) -> None:
    of_a_patient = model(**{"00100020": {"vr": "LO", "Value": ["Łódź-1"]}, "00100021": {"vr": "LO", "Value": ["Süd"]}})
    _, _, archive, _ = await stored(tmp_path, [of_a_patient], part(b"\0" * 8, "application/octet-stream"))
    assert Patient.of_instance(archive.leading, ("ISO_IR 6",)) == Patient("Łódź-1", "Süd")
    assert archive.leading["SOPInstanceUID"] == "1.2.3.1"


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("https://x/1", "https://x/1"),
        ("b", "b"),
        ("b", "https://pacs.example/dicomweb/b"),
        ("/b/1", "https://pacs.example/b/1"),
        ("urn:uuid:1", "urn:uuid:1"),
        ("http://[x/1", "http://[x/1"),
    ],
)
@ensureDeferred
async def test_a_value_is_the_part_with_its_location(tmp_path: Path, uri: str, location: str) -> None:
    status, module, archive, _ = await stored(tmp_path, [model(uri=uri)], part(b"pixels", "a/octet-stream", "no"))
    assert (status, module.other, list(module.failed)) == (409, [0xC000], ["1.2.3.1"])
    octets = "application/octet-stream"
    status, module, archive, _ = await stored(tmp_path, [model(uri=uri)], part(b"pixels", octets, location))
    assert (status, archive.syntaxes) == (200, [EXPLICIT])
    assert archive.taken["1.2.3.1"].endswith(b"\x06\0\0\0pixels")


@ensureDeferred
async def test_a_value_may_be_named_by_content_id(tmp_path: Path) -> None:
    octets = {"Content-Type": "application/octet-stream", "Content-ID": "<p@x>"}
    status, _, archive, _ = await stored(tmp_path, [model(uri="cid:p@x")], (b"pixels", octets))
    assert (status, archive.taken["1.2.3.1"][-6:]) == (200, b"pixels")


@ensureDeferred
async def test_two_instances_may_have_one_value(tmp_path: Path) -> None:
    status, _module, archive, _ = await stored(
        tmp_path, [model(1), model(2)], part(b"pixels", "application/octet-stream")
    )
    assert (status, [data[-6:] for data in archive.taken.values()]) == (200, [b"pixels"] * 2)


@pytest.mark.parametrize(
    ("content", "content_type", "more", "syntax"),
    [
        (b"", "application/octet-stream", {}, EXPLICIT),
        (b"x", f"application/octet-stream; transfer-syntax={JPEG}90", {}, f"{JPEG}90"),
        (BASELINE, "image/jpeg", {}, f"{JPEG}50"),
        (LOSSLESS, "image/jpeg", {}, f"{JPEG}57"),
        (b"no jpeg", "image/jpeg", {}, f"{JPEG}70"),
        (BASELINE, "image/jpeg", {"00083002": {"vr": "UI", "Value": [f"{JPEG}51"]}}, f"{JPEG}51"),
        (BASELINE, f"image/jpeg; transfer-syntax={JPEG}70", {}, f"{JPEG}70"),
        (b"x", "image/jp2", {"00280008": {"vr": "IS", "Value": [1]}}, f"{JPEG}90"),
        (b"x", "video/mp4", {"00280008": {"vr": "IS", "Value": ["300"]}}, f"{JPEG}102"),
    ],
)
@ensureDeferred
async def test_pixels_have_the_transfer_syntax_of_their_part(
    tmp_path: Path, content: bytes, content_type: str, more: dict[str, Any], syntax: str
) -> None:
    status, _module, archive, notes = await stored(tmp_path, [model(**more)], part(content, content_type))
    assert (status, archive.syntaxes) == (200, [syntax]), notes
    assert b"1.2.840.10008.1.2.4" not in archive.taken["1.2.3.1"]


@pytest.mark.parametrize(
    ("models", "bulk", "what"),
    [
        ([model()], [part(b"x", "image/png")], "pixel data cannot be image/png"),
        ([model()], [part(b"x", "image/jls"), part(b"x", "image/jp2")], "different transfer syntaxes"),
        ([model()], [part(b"x", "image/jls")] * 2, "NumberOfFrames is 1, and 2 frames came"),
        ([model()], [part(b"x", "image/jls", "b/frames/2")], "of 1 frames one has number 2"),
        ([model()], [part(b"x", "application/octet-stream")] * 2, "2 parts of the request are this value"),
        ([{**model(), "0020000E": {"vr": "UI"}}], [], "SeriesInstanceUID is missing"),
        ([{**model(), "00080018": {"vr": "UI", "Value": ["../etc"]}}], [], "SOPInstanceUID is not a UID: it takes"),
        ([{**model(), "00080018": {"vr": "UI", "Value": [True]}}], [], "SOPInstanceUID is missing"),
        ([{**model(), "00080018": {"vr": "UI", "Value": [1.5]}}], [], "SOPInstanceUID is missing"),
        ([[]], [], "a data set is an object"),
    ],
)
@ensureDeferred
async def test_what_cannot_be_joined_is_refused_with_its_reason(
    tmp_path: Path, models: Any, bulk: list[tuple[bytes, dict[str, str]]], what: str
) -> None:
    status, module, _, notes = await stored(tmp_path, models, *bulk)
    assert (status, [*module.failed.values(), *module.other][0]) == (409, 0xC000)
    assert any(what in note for note in notes), notes


@ensureDeferred
async def test_one_object_need_not_stand_in_an_array(tmp_path: Path) -> None:
    status, module, _, _ = await stored(tmp_path, model(), part(b"pixels", "application/octet-stream"))
    assert (status, module.stored) == (200, ["1.2.3.1"])


@ensureDeferred
async def test_tags_may_be_in_lower_case(tmp_path: Path) -> None:
    lower = {tag.lower(): attribute for tag, attribute in model().items()}
    status, module, archive, _ = await stored(tmp_path, [lower], part(b"x", "image/jls"))
    assert (status, module.stored, archive.syntaxes) == (200, ["1.2.3.1"], [f"{JPEG}80"])


@ensureDeferred
async def test_no_value_of_a_patient_gets_into_the_log(tmp_path: Path) -> None:
    bad = {**model(), "00100010": {"vr": "PN", "Value": ["Doe\\Jane"]}}
    _, module, _, notes = await stored(tmp_path, [bad], part(b"x", "application/octet-stream"))
    assert (list(module.failed), any("Doe" in note for note in notes)) == (["1.2.3.1"], False)
    assert any("(0010,0010) PN" in note for note in notes)


@ensureDeferred
async def test_bulk_data_may_come_first(tmp_path: Path) -> None:
    async with bridge(tmp_path) as one:
        body = related(part(b"pixels", "application/octet-stream"), (orjson.dumps([model()]), METADATA))
        status, module = await one.module(body, JSON)
    assert (status, module.stored) == (200, ["1.2.3.1"])


@ensureDeferred
async def test_a_part_that_is_not_as_long_as_it_says_is_no_value(tmp_path: Path) -> None:
    status, module, _, notes = await stored(
        tmp_path, [model()], part(b"pixels", "application/octet-stream", Content_Length="5")
    )
    assert (status, module.failed, module.other) == (409, {"1.2.3.1": 0xC000}, [0xC000])
    assert any("Content-Length says 5" in note for note in notes)
