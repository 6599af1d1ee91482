"""STOW-RS over real sockets, into the `storage` backend of the same process: what is stored, what is said of it, and
that nothing is left of what was not."""

import csv
import gc
import resource
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.part10 import file_header, read_file_meta
from harmonygw.dicom.dataset.xml_encoding import to_xml
from tests.corpus import CORPUS
from tests.interop.embedded import CT, EXPLICIT, IMPLICIT, encoded, image
from tests.interop.stow import BOUNDARY, JSON, MULTIPART, XML, Archive, Module, file_of, multipart, related, wait

pytestmark = pytest.mark.interop


def on_disk(archive: Archive) -> dict[str, tuple[str, bytes]]:
    """SOP Instance UID to transfer syntax and data set of everything that the archive keeps."""
    found = {}
    for path in archive.root.rglob("*"):
        data = path.read_bytes() if path.is_file() and path.suffix == ".dcm" else b""
        meta = read_file_meta(data) if data else None
        if meta is not None:
            found[meta.sop_instance_uid] = (meta.transfer_syntax_uid, data[meta.data_set_offset :])
    return found


# DICOM files


@pytest.mark.parametrize("chunks", [0, 1000, 100_000])
@ensureDeferred
async def test_files_are_stored_and_said_to_be_byte_for_byte(tmp_path: Path, chunks: int) -> None:
    images = [image(number, PixelData=bytes(40_000)) for number in (1, 2, 3)]
    async with Archive(tmp_path) as archive:
        status, headers, content = await archive.post(multipart(*map(file_of, images)), MULTIPART, chunks=chunks)
        assert (status, headers["content-type"]) == (200, "application/dicom+json")
        module = Module(content)
        assert module.stored == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
        assert module.retrieve_url == "http://gateway/dicom/studies/1.2"
        assert module.urls[0] == "http://gateway/dicom/studies/1.2/series/1.2.3/instances/1.2.3.1"
        assert sorted(module.document) == ["00081190", "00081199"]
        assert on_disk(archive) == {str(one.SOPInstanceUID): (EXPLICIT, encoded(one)) for one in images}
        (exchange,) = archive.exchanges
        assert (exchange["operation"], exchange["instances"], exchange["status"]) == ("Store Instances", 3, 200)


@ensureDeferred
async def test_one_file_may_come_by_itself(tmp_path: Path) -> None:
    async with Archive(tmp_path) as archive:
        status, _, content = await archive.post(file_of(image()), "application/dicom", path="/studies/1.2")
        assert (status, Module(content).stored) == (200, ["1.2.3.1"])
        status, _, content = await archive.post(file_of(image())[:-5], "application/dicom", path="/studies/1.2")
        assert (status, Module(content).failed) == (409, {"1.2.3.1": 0xC000})
        status, _, content = await archive.post(b"%PDF", "application/dicom", chunks=1)
        assert (status, Module(content).other) == (409, [0xC000])


@ensureDeferred
async def test_a_bad_part_has_its_reason_and_the_others_are_stored(tmp_path: Path) -> None:
    another = image(2, study="1.3", series="1.3.1")
    other_meta = file_header("1.2.840.10008.5.1.4.1.1.4", "1.2.3.3", EXPLICIT) + encoded(image(3))
    no_study = image(4)
    del no_study.StudyInstanceUID
    parts = [
        file_of(image(1)),
        file_of(another),
        other_meta,
        file_of(no_study),
        file_of(image(5))[:-3],
        b"",
        b"no DICOM file" * 20,
        file_of(image(6)),
    ]
    body = related(
        *((part, {"Content-Type": "application/dicom"}) for part in parts),
        (b"hello", {"Content-Type": "text/plain"}),
        (file_of(image(7)), {"Content-Type": "application/dicom", "Content-Length": "10"}),
        (file_of(image(8)), {}),
    )
    async with Archive(tmp_path) as archive:
        status, _, content = await archive.post(body, MULTIPART, path="/studies/1.2")
        module = Module(content)
        assert status == 202
        assert module.stored == ["1.2.3.1", "1.2.3.6", "1.2.3.8"]
        assert module.failed == {
            "1.3.1.2": 0xA901,
            "1.2.3.3": 0xA900,
            "1.2.3.4": 0xA900,
            "1.2.3.5": 0xC000,
            "1.2.3.7": 0xC000,
        }
        assert module.other == [0xC000, 0xC000, 0xC000]
        assert sorted(on_disk(archive)) == module.stored
        assert any("another study" in note for note in archive.exchanges[0]["notes"])


@ensureDeferred
async def test_the_data_set_says_which_instance_it_is(tmp_path: Path) -> None:
    async with Archive(tmp_path) as archive:
        renamed = file_header(CT, "9.9", EXPLICIT) + encoded(image())
        status, _, content = await archive.post(multipart(renamed), MULTIPART)
        assert (status, Module(content).stored, list(on_disk(archive))) == (200, ["1.2.3.1"], ["1.2.3.1"])
        assert "another SOP instance" in archive.exchanges[0]["notes"][0]


@ensureDeferred
async def test_instances_of_several_studies_have_no_study_to_be_retrieved(tmp_path: Path) -> None:
    async with Archive(tmp_path) as archive:
        files = (file_of(image(1)), file_of(image(2, study="1.3", series="1.3.1")))
        status, _, content = await archive.post(multipart(*files), MULTIPART)
        assert (status, Module(content).retrieve_url) == (200, None)


@ensureDeferred
async def test_the_report_may_be_xml(tmp_path: Path) -> None:
    async with Archive(tmp_path) as archive:
        status, headers, content = await archive.post(
            multipart(file_of(image()), b""), MULTIPART, "Accept: application/dicom+xml"
        )
        assert (status, headers["content-type"]) == (202, "application/dicom+xml")
        assert b'<Item number="1"><DicomAttribute tag="00081150"' in content


@ensureDeferred
async def test_no_limit_of_what_is_held_whole_is_one_for_what_streams(tmp_path: Path) -> None:
    async with Archive(tmp_path) as archive:
        large = image(PixelData=bytes(11_000_000))  # proxy.content_limits.max_body_size is 10 MiB
        status, _, _ = await archive.post(multipart(file_of(large)), MULTIPART)
        assert (status, len(on_disk(archive)["1.2.3.1"][1])) == (200, len(encoded(large)))


# What is no Store


@pytest.mark.parametrize(
    ("body", "content_type", "fields", "status"),
    [
        (b"x", "image/png", (), 415),
        (b"x", "multipart/related; type=application/dicom", (), 415),
        (b"x", MULTIPART, ("Content-Encoding: gzip",), 415),
        (b"x", MULTIPART, ("Accept: image/png",), 406),
        (b"", MULTIPART, (), 400),
        (b"x", MULTIPART, (), 400),
        (multipart(), MULTIPART, (), 400),
        (b"--" + BOUNDARY.encode() + b"\nA: b", MULTIPART, (), 400),
        (multipart(file_of(image()))[:-10], MULTIPART, (), 400),
        (b"[]", "application/dicom+json", (), 400),
        (b"{", "application/dicom+json", (), 400),
        (b"<a/>", "application/dicom+xml", (), 400),
    ],
)
@ensureDeferred
async def test_what_is_no_store_is_a_problem_document(
    tmp_path: Path, body: bytes, content_type: str, fields: tuple[str, ...], status: int
) -> None:
    async with Archive(tmp_path) as archive:
        got, headers, content = await archive.post(body, content_type, *fields)
        assert (got, headers["content-type"]) == (status, "application/problem+json"), content
        assert on_disk(archive) == {}


@pytest.mark.parametrize("cut", [1, 5, 30, 60, 4000])
@ensureDeferred
async def test_without_its_closing_delimiter_the_last_part_is_not_stored(tmp_path: Path, cut: int) -> None:
    body = multipart(*(file_of(image(number, PixelData=bytes(5000))) for number in (1, 2)))
    async with Archive(tmp_path) as archive:
        status, _, content = await archive.post(body.removesuffix(b"--\r\n")[:-cut], MULTIPART)
        module = Module(content)
        assert (status, module.stored, module.failed) == (202, ["1.2.3.1"], {"1.2.3.2": 0xC000})
        assert list(on_disk(archive)) == ["1.2.3.1"]


# What breaks off


def head(body_bytes: int, *fields: str, content_type: str = MULTIPART) -> bytes:
    lines = ("POST /dicom/studies HTTP/1.1", "Host: gateway", f"Content-Type: {content_type}")
    return "\r\n".join((*lines, f"Content-Length: {body_bytes}", *fields, "", "")).encode()


@ensureDeferred
async def test_a_client_that_goes_away_leaves_nothing_unfinished(tmp_path: Path) -> None:
    body = multipart(*(file_of(image(number, PixelData=bytes(500_000))) for number in (1, 2)))
    async with Archive(tmp_path) as archive:
        client = await archive.connect()
        client.transport.write(head(len(body)) + body[:700_000])
        await archive.until(lambda: on_disk(archive))
        client.transport.abortConnection()
        await archive.until(lambda: archive.exchanges)
        assert archive.exchanges[0]["outcome"] == "client_gone"
        await archive.until(lambda: not archive.unfinished())
        assert list(on_disk(archive)) == ["1.2.3.1"]
        await archive.audited(
            "Begin 0", "Transferred 0", "Transferred 4", users=("127.0.0.1", "storing", "archive"), instances=1
        )


@pytest.mark.parametrize("json", [False, True])
@ensureDeferred
async def test_a_body_that_stalls_is_408_and_nothing_is_left(tmp_path: Path, json: bool) -> None:
    body = multipart(*(file_of(image(number, PixelData=bytes(500_000))) for number in (1, 2)))
    content_type = MULTIPART
    if json:
        body = related((b"[]", {"Content-Type": "application/dicom+json"}), (bytes(900_000), {"Content-Type": "a/b"}))
        content_type = JSON
    async with Archive(tmp_path, limits="body_timeout_secs = 0.4") as archive:
        client = await archive.connect()
        client.transport.write(head(len(body), content_type=content_type) + body[:700_000])
        if json:
            await archive.until(archive.open_files)
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        detail = reply.problem["detail"]
        assert "body_timeout_secs" in detail
        assert ("1 instance had been stored by then" in detail) is not json
        assert len(on_disk(archive)) == (0 if json else 1)
        await archive.audited(*(["Accessed 4"] if json else ["Begin 0", "Transferred 0", "Transferred 4"]))


@pytest.mark.parametrize("chunked", [False, True])
@ensureDeferred
async def test_a_body_over_the_limit_is_413_and_the_client_gets_to_see_it(tmp_path: Path, chunked: bool) -> None:
    body = multipart(*(file_of(image(number, PixelData=bytes(500_000))) for number in (1, 2, 3)))
    async with Archive(tmp_path, limits="max_request_bytes = 800000") as archive:
        client = await archive.connect()
        if chunked:
            client.transport.write(head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
            client.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        else:
            client.transport.write(head(len(body)) + body)
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"], reply.whole) == (413, "close", True)
        assert "800000 bytes" in reply.problem["detail"]
        assert ("1 instance had been stored by then" in reply.problem["detail"]) is chunked
        assert list(on_disk(archive)) == (["1.2.3.1"] if chunked else [])
        await archive.audited(*(["Begin 0", "Transferred 0", "Transferred 4"] if chunked else ["Accessed 4"]))


@ensureDeferred
async def test_a_refusal_in_the_middle_of_a_body_is_seen(tmp_path: Path) -> None:
    async with Archive(tmp_path) as archive:
        client = await archive.connect()
        client.transport.write(head(5_000_000, content_type="image/png") + bytes(600_000))
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"], reply.whole) == (415, "close", True)


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        ("store_metadata_bytes", [(b" " * 2000, "application/dicom+json")]),
        ("store_bulk_bytes", [(b"[]", "application/dicom+json"), (bytes(2000), "application/octet-stream")]),
    ],
)
@ensureDeferred
async def test_what_has_to_wait_has_limits(tmp_path: Path, option: str, parts: list[tuple[bytes, str]]) -> None:
    body = related(*((content, {"Content-Type": media_type}) for content, media_type in parts))
    async with Archive(tmp_path, options=f"{option} = 1999") as archive:
        status, _, content = await archive.post(body, JSON)
        assert (status, option in orjson.loads(content)["detail"]) == (413, True)
    (tmp_path / "again").mkdir()
    async with Archive(tmp_path / "again", options=f"{option} = 2000") as archive:
        status, _, content = await archive.post(body, JSON)
        assert status in (400, 409)


@ensureDeferred
async def test_a_client_that_waits_is_invited_once_its_header_is_right(tmp_path: Path) -> None:
    body = multipart(file_of(image()))
    async with Archive(tmp_path) as archive:
        client = await archive.connect()
        client.transport.write(head(len(body), "Expect: 100-continue", "Connection: close"))
        await client.bytes_received(20)
        assert bytes(client.received) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.received.clear()
        client.transport.write(body)
        assert (await client.reply()).status == 200
        client = await archive.connect()
        client.transport.write(head(len(body), "Expect: 100-continue", content_type="image/png"))
        assert (await client.reply()).status == 415


@ensureDeferred
async def test_the_connection_serves_the_next_request_too(tmp_path: Path) -> None:
    body = multipart(file_of(image())) + b"an epilogue"
    async with Archive(tmp_path) as archive:
        client = await archive.connect()
        client.transport.write(head(len(body)) + body)
        client.transport.write(head(len(body), "Connection: close") + body)
        await client.ended
        assert bytes(client.received).count(b"HTTP/1.1 200 OK") == 2


# Metadata and bulk data


def model(data_set: Dataset) -> dict[str, Any]:
    return to_json(encoded(data_set), EXPLICIT, bulk_threshold=10**9)


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


# Real clients and real objects


@ensureDeferred
async def test_the_python_client_stores_and_retrieves(tmp_path: Path) -> None:
    from dicomweb_client.api import DICOMwebClient
    from dicomweb_client.session_utils import create_session

    data_sets = [dcmread(str(get_testdata_file(name, download=False))) for name in ("CT_small.dcm", "MR_small_RLE.dcm")]
    async with Archive(tmp_path) as archive:
        session = create_session()
        client = DICOMwebClient(archive.url, session)
        response = await deferToThread(client.store_instances, data_sets)
        assert [item.ReferencedSOPInstanceUID for item in response.ReferencedSOPSequence] == [
            one.SOPInstanceUID for one in data_sets
        ]
        ct = data_sets[0]
        response = await deferToThread(client.store_instances, [ct], ct.StudyInstanceUID)
        assert response.RetrieveURL.endswith(f"/dicom/studies/{ct.StudyInstanceUID}")
        back = await deferToThread(
            client.retrieve_instance, ct.StudyInstanceUID, ct.SeriesInstanceUID, ct.SOPInstanceUID
        )
        assert back.PixelData == ct.PixelData
        session.close()


@pytest.mark.skipif(CORPUS is None, reason="the corpus is not here")
@ensureDeferred
async def test_every_object_of_the_corpus_is_stored_as_it_is_or_refused(tmp_path: Path) -> None:
    assert CORPUS is not None
    with (CORPUS / "INVENTORY.csv").open(encoding="utf-8") as inventory:
        rows = {row["path"]: row for row in csv.DictReader(inventory) if row["path"].endswith(".dcm")}
    files = {path: (CORPUS / path).read_bytes() for path in rows}
    reasons: dict[str, Module] = {}
    async with Archive(tmp_path) as archive:
        for path, data in files.items():
            other = image(PatientComments=path)
            status, _, content = await archive.post(multipart(data, file_of(other)), MULTIPART, chunks=50_000)
            module = reasons[path] = Module(content)
            assert module.stored[-1] == "1.2.3.1", path
            assert status == (200 if len(module.stored) == 2 else 202), path
            kept = on_disk(archive)
            assert kept.pop("1.2.3.1")[1] == encoded(other)
            if len(module.stored) == 2:
                syntax, stored = kept[module.stored[0]]
                assert data.endswith(stored)
                assert syntax.encode() in data[:1000]
            else:
                assert len([*module.failed, *module.other]) == 1
        refused = {path for path, module in reasons.items() if len(module.stored) == 1}
        # A file with neither preamble nor meta information, and one whose data set is not in its transfer syntax.
        assert {path for path in refused if not path.startswith("malformed")} == {
            "wellformed/pydicom__rtstruct.dcm",
            "wellformed/pydicom__SC_rgb_jpeg.dcm",
        }
        assert "malformed/pydicom__MR_truncated.dcm" in refused


@ensureDeferred
async def test_a_hundred_thousand_parts_do_not_grow_memory(tmp_path: Path) -> None:
    part = b"--%b\r\nContent-Type: application/dicom\r\n\r\nx\r\n" % BOUNDARY.encode()
    count = 100_000
    async with Archive(tmp_path) as archive:
        client = await archive.connect()
        client.transport.write(head(len(part) * count + len(BOUNDARY) + 4, "Connection: close"))
        gc.collect()
        before, most, spooled = resident(), 0, False
        for _ in range(count // 1000):
            client.transport.write(part * 1000)
            while client.transport.dataBuffer or client.transport._tempDataBuffer:
                await wait(0)  # what the client holds itself is not the gateway's
            most = max(most, resident() - before)
        client.transport.write(f"--{BOUNDARY}--".encode())
        while not client.received:
            await wait(0)
            most, spooled = max(most, resident() - before), spooled or bool(archive.open_files())
        assert spooled
        reply = await client.reply()
        assert (reply.status, reply.content.count(b'"Value":[49152]')) == (409, count)
        assert most < 16 * 1024 * 1024


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


# The cache


@ensureDeferred
async def test_what_is_stored_into_a_cached_study_is_seen_at_once(tmp_path: Path) -> None:
    async with Archive(tmp_path, cache=True) as archive:
        await archive.post(multipart(file_of(image(1)), file_of(image(2))), MULTIPART)
        status, content = await archive.get("/studies/1.2/metadata")
        assert (status, len(orjson.loads(content))) == (200, 2)
        await archive.post(multipart(file_of(image(3)), file_of(image(1, PatientComments="new"))), MULTIPART)
        status, content = await archive.get("/studies/1.2/metadata")
        instances = {one["00080018"]["Value"][0]: one for one in orjson.loads(content)}
        assert sorted(instances) == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
        assert instances["1.2.3.1"]["00104000"]["Value"] == ["new"]


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@ensureDeferred
async def test_a_file_without_preamble_is_stored(tmp_path: Path, syntax: str) -> None:
    async with Archive(tmp_path) as archive:
        status, _, _ = await archive.post(multipart(file_of(image(), syntax)[132:]), MULTIPART)
        assert (status, on_disk(archive)["1.2.3.1"]) == (200, (syntax, encoded(image(), syntax)))
