"""STOW-RS of metadata and bulk data, which become instances in the `storage` backend of the same process."""

from pathlib import Path

import orjson
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pytest_twisted import ensureDeferred

from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.dicom.dataset.xml_encoding import to_xml
from tests.interop.embedded import CT, EXPLICIT, image
from tests.interop.stow import JSON, XML, Archive, Module, model, on_disk, related

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("form", ["json", "xml"])
@ensureDeferred
async def test_metadata_and_bulk_data_become_instances(tmp_path: Path, form: str) -> None:
    pixels = [bytes([number]) * 300_001 for number in (1, 2)]
    models = []
    for number in (1, 2):
        one = model(image(number, PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100"))
        one["7FE00010"] = {"vr": "OW", "BulkDataURI": f"bulk/{number}"}
        models.append(one)
    if form == "json":
        metadata = [(orjson.dumps(models), {"Content-Type": "application/dicom+json"})]
    else:
        metadata = [(to_xml(one), {"Content-Type": "application/dicom+xml"}) for one in models]
    bulk = [
        (pixels[1], {"Content-Type": "application/octet-stream", "Content-Location": "bulk/2"}),
        (pixels[0], {"Content-Location": "/dicom/studies/bulk/1", "Content-Type": "application/octet-stream"}),
    ]
    async with Archive(tmp_path) as archive:
        content_type = JSON if form == "json" else XML
        status, _, content = await archive.post(related(*metadata, *bulk), content_type, path="/studies/1.2")
        assert (status, Module(content).stored) == (200, ["1.2.3.1", "1.2.3.2"])
        stored = on_disk(archive)
        for number in (1, 2):
            syntax, data = stored[f"1.2.3.{number}"]
            got = dcmread(DicomBytesIO(file_header(CT, "1.2", syntax) + data))
            assert (syntax, got.SpecificCharacterSet, str(got.PatientName)) == (EXPLICIT, "ISO_IR 192", "Müller^Jörg")
            assert got.PixelData == pixels[number - 1] + b"\0"
            assert (got.Rows, got.StudyDate) == (2, "20250102")


@ensureDeferred
async def test_metadata_may_come_by_itself_and_bad_ones_have_their_reasons(tmp_path: Path) -> None:
    good, of_another, unresolved, nameless, bad = (model(image(number)) for number in range(1, 6))
    of_another["0020000D"]["Value"] = ["1.9"]
    unresolved["7FE00010"] = {"vr": "OW", "BulkDataURI": "http://169.254.169.254/secrets"}
    del nameless["00080018"]
    bad["00280010"] = {"vr": "US", "Value": ["many"]}
    body = orjson.dumps([good, of_another, unresolved, nameless, bad, 7])
    async with Archive(tmp_path) as archive:
        status, _, content = await archive.post(body, "application/dicom+json", path="/studies/1.2")
        module = Module(content)
        assert (status, module.stored) == (202, ["1.2.3.1"])
        assert module.failed == {"1.2.3.2": 0xA901, "1.2.3.3": 0xC000, "1.2.3.5": 0xC000}
        assert module.other == [0xC000, 0xC000]
        status, _, content = await archive.post(to_xml(good), "application/dicom+xml")
        assert (status, Module(content).stored) == (200, ["1.2.3.1"])


@pytest.mark.parametrize("named", ["same location", "frames", "one"])
@ensureDeferred
async def test_compressed_frames_become_fragments(tmp_path: Path, named: str) -> None:
    frames = [b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x02\x00\x02\x01\x01\x11\x00" + bytes([n]) * n for n in (2, 3)]
    several = model(image(NumberOfFrames=2))
    several["7FE00010"] = {"vr": "OB", "BulkDataURI": "p"}
    locations = ["p", "p"] if named == "same location" else ["p/frames/1", "p/frames/2"]
    if named == "frames":
        frames.reverse()
        locations.reverse()
    parts = [
        (frame, {"Content-Type": "image/jpeg", "Content-Location": location})
        for frame, location in zip(frames, locations, strict=True)
    ]
    body = related(
        (orjson.dumps([several]), {"Content-Type": "application/dicom+json"}), *parts[: 1 if named == "one" else 2]
    )
    async with Archive(tmp_path) as archive:
        status, _, content = await archive.post(body, JSON)
        if named == "one":
            assert (status, Module(content).failed) == (409, {"1.2.3.1": 0xC000})
            return
        assert status == 200
        syntax, data = on_disk(archive)["1.2.3.1"]
        assert syntax == "1.2.840.10008.1.2.4.50"
        got = dcmread(DicomBytesIO(file_header(CT, "1.2", syntax) + data))
        assert got["PixelData"].VR == "OB"
        fragments = b"".join(
            b"\xfe\xff\x00\xe0" + (len(one) + len(one) % 2).to_bytes(4, "little") + one + b"\0" * (len(one) % 2)
            for one in (b"", *sorted(frames, key=len))
        )
        assert bytes(got.PixelData).startswith(fragments)


@ensureDeferred
async def test_bulk_data_that_nothing_refers_to_is_said_not_to_be_stored(tmp_path: Path) -> None:
    body = related(
        (orjson.dumps([model(image())]), {"Content-Type": "application/dicom+json"}),
        (b"lost", {"Content-Type": "application/octet-stream", "Content-Location": "x"}),
    )
    async with Archive(tmp_path) as archive:
        status, _, content = await archive.post(body, JSON)
        assert (status, Module(content).stored, Module(content).other) == (202, ["1.2.3.1"], [0xC000])
