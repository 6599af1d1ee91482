"""Frames, pixel data, bulk data, renderings and archives of real PACS, with a cache and without, held against pydicom.

The originals are the files that pydicom ships and, when it is there, the corpus. Each is stored in its own transfer
syntax, where the PACS takes it.
"""

import io
import subprocess
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import orjson
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import AE

from harmonygw.dicom.dataset.transfer_syntaxes import LOSSY
from harmonygw.rendering.transfer_syntaxes import DECODABLE
from tests.corpus import CORPUS
from tests.dicom.dataset.pixel_files import frames_by_pydicom
from tests.interop.processes import dcmqrscp, free_port, gateway, orthanc
from tests.interop.test_real_pacs import differences, get, parts

pytestmark = [
    pytest.mark.interop,
    pytest.mark.usefixtures("real_peers"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # pydicom on what some of these files are
    pytest.mark.timeout(300),
]

CONFIGURATION = """
[proxy]
id = "interop"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[pipelines.plain]
networks = ["default"]
endpoints = ["plain"]
middleware = ["bridge"]
backends = ["pacs"]

[pipelines.cached]
networks = ["default"]
endpoints = ["cached"]
middleware = ["bridge", "cache"]
backends = ["pacs"]

[endpoints.plain]
service = "dicomweb"
options = { path_prefix = "/plain" }

[endpoints.cached]
service = "dicomweb"
options = { path_prefix = "/cached" }

[middleware.bridge]
type = "dicomweb_bridge"
options = { rendering_processes = 1 }

[middleware.cache]
type = "cache"
options = { path = "FOLDER" }

[backends.pacs]
service = "dicom_scu"
target_ref = "archive"
options = { aet = "AET", local_aet = "HARMONYGW", lossy_contexts = "with_others" }

[targets.archive]
connection = { host = "127.0.0.1", port = DICOM_PORT, protocol = "dicom" }
"""

CORNERSTONE = "multipart/related; type=application/octet-stream; transfer-syntax=*"
WITHOUT_CACHE = 25
"""Files, at least, that are retrieved without a cache, each several times; with one all of them are."""

CT = "CT_small.dcm"

CONTRADICTORY = "TOSHIBA_J2K_SIZ1_PixRep0.dcm"
"""Its codestream has signed samples and its data set unsigned ones, which everybody reads in his own way."""


class Original(NamedTuple):
    """A file that the PACS has."""

    path: Path
    data_set: Dataset

    @property
    def syntax(self) -> str:
        return str(self.data_set.file_meta.TransferSyntaxUID)

    @property
    def uids(self) -> tuple[str, str, str]:
        one = self.data_set
        return one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID

    @property
    def resource(self) -> str:
        return "studies/{}/series/{}/instances/{}".format(*self.uids)

    @property
    def frames(self) -> list[bytes]:
        """As they are stored; none when there are none, or when they are not whole."""
        one = self.data_set
        try:
            found = frames_by_pydicom(self.path) or []
            bits = one.Rows * one.Columns * one.BitsAllocated * int(one.get("NumberOfFrames") or 1) if found else 0
        except ValueError:
            return []
        whole = UID(self.syntax).is_encapsulated or "PixelData" not in one or len(one.PixelData) * 8 >= bits
        return found if whole else []

    @property
    def pixels(self) -> "list[bytes] | None":
        """Each frame decoded; None when pydicom cannot do that."""
        one = self.data_set
        if not self.frames or one.BitsAllocated == 1 or one.PhotometricInterpretation == "YBR_FULL_422":
            return None
        try:
            array = numpy.asarray(one.pixel_array)
        except (RuntimeError, ValueError, AttributeError, KeyError, NotImplementedError):
            return None
        if int(one.get("NumberOfFrames") or 1) == 1:
            array = array[numpy.newaxis]
        return [frame.astype(frame.dtype.newbyteorder("<")).tobytes() for frame in array]


class Peer(NamedTuple):
    """A gateway in front of a PACS, by one of its two prefixes."""

    url: str
    name: str
    prefix: str
    originals: list[Original]

    @property
    def client(self) -> DICOMwebClient:
        return DICOMwebClient(f"{self.url}/{self.prefix}")

    @property
    def with_pixels(self) -> list[Original]:
        return [one for one in self.originals if one.frames]

    def get(self, target: str, accept: str = "*/*") -> tuple[int, dict[str, str], bytes]:
        return get(f"{self.url}/{self.prefix}/{target}", accept)


def files() -> list[Path]:
    shipped = Path(str(get_testdata_file("CT_small.dcm", download=False))).parent
    paths = sorted(shipped.glob("*.dcm"))
    return paths if CORPUS is None else [*paths, *sorted((CORPUS / "wellformed").glob("*.dcm"))]


def originals() -> list[Original]:
    found: dict[str, Original] = {}
    for path in files():
        data_set = pydicom.dcmread(path, force=True)
        told = data_set.file_meta.get("TransferSyntaxUID")
        if told and data_set.get("SOPInstanceUID") and data_set.get("StudyInstanceUID"):
            found.setdefault(data_set.SOPInstanceUID, Original(path, data_set))
    return list(found.values())


def store(some: list[Original], port: int, ae_title: str) -> list[Original]:
    """Store each in its own transfer syntax; return those that were taken."""
    taken = []
    for syntax in dict.fromkeys(one.syntax for one in some):
        of_this = [one for one in some if one.syntax == syntax]
        ae = AE("SENDER")
        ae.dimse_timeout = ae.acse_timeout = 5  # for what a PACS drops without a word
        for sop_class in {one.data_set.SOPClassUID for one in of_this}:
            ae.add_requested_context(sop_class, [syntax])
        association = ae.associate("127.0.0.1", port, ae_title=ae_title)
        for one in of_this:
            try:
                if association.is_established and association.send_c_store(str(one.path)).get("Status") == 0:
                    taken.append(one)
            except (ValueError, AttributeError):
                continue  # no context was accepted, or pynetdicom does not read it
        if association.is_established:
            association.release()
    return sorted(taken, key=lambda one: one.path.name != CT)


@pytest.fixture(scope="module", params=["orthanc", "dcmqrscp"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    folder = tmp_path_factory.mktemp("peer")
    name = request.param
    ae_title = "ORTHANC" if name == "orthanc" else "QRSCP"
    with orthanc(folder) if name == "orthanc" else dcmqrscp(folder, free_port()) as port:
        taken = store(originals(), port, ae_title)
        configuration = CONFIGURATION.replace("AET", ae_title, 1).replace("DICOM_PORT", str(port))
        with gateway(folder, configuration.replace("FOLDER", str(folder / "cache"))) as url:
            yield Peer(url, name, "", taken)


@pytest.fixture(params=["plain", "cached"])
def peer(request: pytest.FixtureRequest, served: Peer) -> Peer:
    step = 1 if request.param == "cached" else max(len(served.originals) // WITHOUT_CACHE, 1)
    return served._replace(prefix=request.param, originals=served.originals[::step])


def test_the_files_are_of_many_kinds(served: Peer) -> None:
    syntaxes = {one.syntax for one in served.originals}
    assert len(served.originals) >= (30 if served.name == "orthanc" else 10), len(served.originals)
    assert len(syntaxes) >= (8 if served.name == "orthanc" else 3), syntaxes


def test_frames_come_as_they_are_stored(peer: Peer) -> None:
    for one in peer.with_pixels:
        stored = one.frames
        for number in {1, len(stored)}:
            status, headers, body = peer.get(f"{one.resource}/frames/{number}", CORNERSTONE)
            assert status == 200, (one.path.name, body)
            ((part, content),) = parts(headers["Content-Type"], body)
            syntax = UID(part["Content-Type"].removeprefix("application/octet-stream; transfer-syntax="))
            assert syntax == ("1.2.840.10008.1.2.1" if not UID(one.syntax).is_encapsulated else one.syntax)
            if UID(one.syntax).is_little_endian:
                assert content == stored[number - 1], one.path.name
        assert peer.get(f"{one.resource}/frames/{len(stored) + 1}", CORNERSTONE)[0] == 404


def test_frames_come_decoded_as_pydicom_decodes_them(peer: Peer) -> None:
    compared = 0
    for one in peer.with_pixels:
        pixels = one.pixels
        if (
            one.path.name.endswith(CONTRADICTORY)
            or pixels is None
            or one.syntax not in DECODABLE | {"1.2.840.10008.1.2.2"}
        ):
            continue
        numbers = [len(pixels), 1]
        received = peer.client.retrieve_instance_frames(*one.uids, frame_numbers=numbers)
        for number, content in zip(numbers, received, strict=True):
            compared += 1
            expected = pixels[number - 1]
            if one.data_set.get("PlanarConfiguration") == 1 and not UID(one.syntax).is_encapsulated:
                assert sorted(content) == sorted(expected), one.path.name  # native frames keep their planes
            else:
                assert near(one, content, expected), one.path.name
    assert compared > 5


def near(one: Original, content: bytes, expected: bytes) -> bool:
    """Whether pixels are the same; decoders of lossy JPEG round each in its own way."""
    if content == expected:
        return True
    if not UID(one.syntax).is_compressed or one.syntax != "1.2.840.10008.1.2.4.50" or len(content) != len(expected):
        return False
    difference = numpy.frombuffer(content, "u1").astype(int) - numpy.frombuffer(expected, "u1")
    return bool(numpy.abs(difference).max() <= 2)


def test_objects_come_back_element_by_element(peer: Peer) -> None:
    for one in peer.originals:
        received = peer.client.retrieve_instance(*one.uids)
        kept = differences(without_pixels(one.data_set), received)
        assert [line for line in kept if "UN" not in line] == [], one.path.name
        syntax = received.file_meta.TransferSyntaxUID
        if UID(one.syntax).is_encapsulated:
            assert syntax in (one.syntax, "1.2.840.10008.1.2.1")
            if syntax == one.syntax and one.frames:
                assert received.PixelData == one.data_set.PixelData, one.path.name
        elif one.pixels is not None and "PixelData" in one.data_set:
            assert syntax == (one.syntax if UID(one.syntax).is_deflated else "1.2.840.10008.1.2.1")
            assert numpy.array_equal(received.pixel_array, one.data_set.pixel_array), one.path.name


def test_objects_are_decoded_for_who_names_no_transfer_syntax(peer: Peer) -> None:
    decoded = kept = 0
    for one in peer.with_pixels:
        if one.syntax not in DECODABLE or not UID(one.syntax).is_encapsulated or one.path.name.endswith(CONTRADICTORY):
            continue
        status, headers, body = peer.get(one.resource, 'multipart/related; type="application/dicom"')
        assert status == 200, (one.path.name, body)
        ((part, content),) = parts(headers["Content-Type"], body)
        received = pydicom.dcmread(io.BytesIO(content))
        syntax = received.file_meta.TransferSyntaxUID
        assert part["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"
        if syntax == one.syntax:
            assert syntax in LOSSY, one.path.name
            assert received.PixelData == one.data_set.PixelData, one.path.name
            kept += 1
        else:
            assert syntax == "1.2.840.10008.1.2.1", one.path.name
            pixels = one.pixels
            if pixels is not None and one.syntax not in LOSSY:
                assert numpy.array_equal(received.pixel_array, one.data_set.pixel_array), one.path.name
            decoded += 1
    assert decoded
    assert kept or peer.name == "dcmqrscp"  # which takes few compressed files


def without_pixels(data_set: Dataset) -> Dataset:
    """Without the elements that a decoder changes."""
    changed = ("PixelData", "PhotometricInterpretation", "PlanarConfiguration", "ExtendedOffsetTable")
    copied = Dataset()
    for element in data_set:
        if element.keyword not in changed:
            copied.add(element)
    return copied


def references(attributes: dict[str, Any], data_set: Dataset) -> Iterator[tuple[str, Any]]:
    """Each BulkDataURI of metadata, and the element that it stands for."""
    for tag, attribute in attributes.items():
        if "BulkDataURI" in attribute:
            yield attribute["BulkDataURI"], data_set[tag]
        elif attribute["vr"] == "SQ" and tag in data_set and data_set[tag].VR == "SQ":
            for item, original in zip(attribute.get("Value", ()), data_set[tag].value, strict=True):
                yield from references(item, original)


def test_every_reference_of_the_metadata_leads_to_its_value(peer: Peer) -> None:
    followed = 0
    for one in peer.originals:
        status, _, body = peer.get(f"{one.resource}/metadata", "application/dicom+json")
        assert status == 200, one.path.name
        (attributes,) = orjson.loads(body)
        for uri, element in references(attributes, one.data_set):
            if element.tag == 0x7FE00010 and UID(one.syntax).is_encapsulated:
                continue
            received = peer.client.retrieve_bulkdata(uri)
            followed += 1
            expected = element.value
            if isinstance(expected, bytes) and UID(one.syntax).is_little_endian:
                assert len(received) == 1, one.path.name
                assert received[0] == expected + b"\0" * (len(expected) % 2), (one.path.name, element.tag)
    assert followed > 10


def test_pixel_data_comes_whole(peer: Peer) -> None:
    for one in peer.with_pixels:
        stored = one.frames
        status, headers, body = peer.get(f"{one.resource}/pixeldata", CORNERSTONE)
        assert status == 200, (one.path.name, body)
        received = [content for _, content in parts(headers["Content-Type"], body)]
        if UID(one.syntax).is_encapsulated:
            assert received == stored, one.path.name
        elif UID(one.syntax).is_little_endian and one.data_set.BitsAllocated > 1:
            assert received[0].removesuffix(b"\0") == b"".join(stored).removesuffix(b"\0"), one.path.name


def test_pictures_can_be_looked_at(peer: Peer) -> None:
    client = peer.client
    for one in peer.originals:
        status, headers, body = peer.get(f"{one.resource}/thumbnail", CORNERSTONE)
        assert (status, headers["Content-Type"]) == (200, "image/jpeg"), (one.path.name, body)
        assert max(Image.open(io.BytesIO(body)).size) <= 128
        if one.pixels is None or one.syntax not in DECODABLE:
            continue
        rendered = Image.open(io.BytesIO(client.retrieve_instance_rendered(*one.uids, media_types=("image/png",))))
        assert rendered.size == (one.data_set.Columns, one.data_set.Rows), one.path.name
        frame = client.retrieve_instance_frames_rendered(*one.uids, frame_numbers=[1], media_types=("image/jpeg",))
        assert Image.open(io.BytesIO(frame)).size == rendered.size


def test_a_series_has_a_thumbnail_and_pictures(peer: Peer) -> None:
    one = peer.originals[0]
    for level in one.resource.rsplit("/series", 1)[0], one.resource.rsplit("/instances", 1)[0]:
        status, headers, body = peer.get(f"{level}/thumbnail", CORNERSTONE)
        assert (status, headers["Content-Type"]) == (200, "image/jpeg"), body
        assert Image.open(io.BytesIO(body)).size == (128, 128)
    status, headers, body = peer.get(f"{one.resource.rsplit('/instances', 1)[0]}/rendered", "*/*")
    assert status == 200
    assert "image/jpeg" in {part["Content-Type"] for part, _ in parts(headers["Content-Type"], body)}


def test_a_study_comes_as_an_archive(peer: Peer) -> None:
    one = peer.originals[0]
    status, _, body = peer.get(f"studies/{one.uids[0]}", "application/zip; transfer-syntax=*")
    assert status == 200
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        read = [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    assert one.uids[2] in {instance.SOPInstanceUID for instance in read}
    for instance in read:
        if instance.SOPInstanceUID == one.uids[2]:
            assert differences(one.data_set, instance) == []


def test_the_uri_service_gives_a_picture_and_a_file(peer: Peer) -> None:
    one = peer.originals[0]
    query = "?requestType=WADO&studyUID={}&seriesUID={}&objectUID={}".format(*one.uids)
    status, headers, body = peer.get(f"{query}&rows=64")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg"), body
    assert Image.open(io.BytesIO(body)).size == (64, 64)
    status, headers, body = peer.get(f"{query}&contentType=application/dicom&transferSyntax=1.2.840.10008.1.2.4.90")
    assert (status, headers["Content-Type"]) == (200, "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90")
    received = pydicom.dcmread(io.BytesIO(body))
    assert numpy.array_equal(received.pixel_array, one.data_set.pixel_array)


def test_curl_gets_ranges_and_nothing_that_it_has(peer: Peer, tmp_path: Path) -> None:
    one = peer.originals[0]
    url = f"{peer.url}/{peer.prefix}/{one.resource}/bulkdata/7FE00010"
    target = tmp_path / "out"
    curl = ["curl", "-sf", "-D", str(tmp_path / "headers"), "-o", str(target), "-H", "Accept: application/octet-stream"]
    subprocess.run([*curl, "-r", "100-199", url], check=True)
    assert target.read_bytes() == one.data_set.PixelData[100:200]
    headers = (tmp_path / "headers").read_text().lower()
    assert "206" in headers.splitlines()[0]
    assert f"content-range: bytes 100-199/{len(one.data_set.PixelData)}" in headers
    tag = next(line.partition(": ")[2] for line in headers.splitlines() if line.startswith("etag"))
    request = urllib.request.Request(url, headers={"Accept": "application/octet-stream", "If-None-Match": tag})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == 304
    caught.value.close()


def test_implicit_files_were_among_them(served: Peer) -> None:
    assert any(one.syntax == ImplicitVRLittleEndian for one in served.originals)
