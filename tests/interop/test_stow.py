"""STOW-RS over real sockets, into the `storage` backend of the same process: what is stored, what is said of it, and
that nothing is left of what was not."""

import csv
from pathlib import Path

import orjson
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from harmonygw.dicom.dataset.part10 import file_header
from tests.corpus import CORPUS
from tests.interop.embedded import CT, EXPLICIT, IMPLICIT, encoded, image
from tests.interop.stow import BOUNDARY, MULTIPART, Archive, Module, file_of, multipart, on_disk, related

pytestmark = pytest.mark.interop


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
