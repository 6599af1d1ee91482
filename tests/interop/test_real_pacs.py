"""The whole gateway in front of real PACS, asked by real clients: every search and retrieve method that is due.

The originals are what pydicom reads from the files that were stored; what comes back is compared element by element.
"""

import io
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.corpus import CORPUS
from tests.interop.processes import NO_DELAY, dcmqrscp, free_port, gateway, orthanc, send_files

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("real_peers")]

SHIPPED = ("CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm", "test-SR.dcm", "rtplan.dcm", "ExplVR_BigEnd.dcm")

CONFIGURATION = """
[proxy]
id = "interop"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb_endpoint"]
middleware = ["dicomweb_processor"]
backends = ["pacs"]

[backends.pacs]
service = "dicom_scu"
target_ref = "archive"
options = { aet = "AET", local_aet = "HARMONYGW"OPTIONS }

[targets.archive]
connection.host = "127.0.0.1"
connection.port = DICOM_PORT
connection.protocol = "dicom"
"""


class Peer(NamedTuple):
    """A gateway in front of one PACS."""

    ae_title: str
    url: str
    dicom_port: int

    @property
    def client(self) -> DICOMwebClient:
        return DICOMwebClient(f"{self.url}/dicom")


def originals() -> list[Path]:
    return [Path(str(get_testdata_file(name, download=False))) for name in SHIPPED]


def series_of_slices(folder: Path, count: int = 12) -> list[Path]:
    """A series whose slices are larger than any one PDU."""
    source = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    del source[0xFFFC, 0xFFFC]
    source.StudyInstanceUID, source.SeriesInstanceUID, source.PatientID = "2.25.71", "2.25.72", "SLICES"
    source.Rows = source.Columns = 256
    paths = []
    for number in range(1, count + 1):
        source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = f"2.25.73.{number}"
        source.InstanceNumber = number
        source.PixelData = bytes([number]) * (256 * 256 * 2)
        path = folder / f"slice{number}.dcm"
        source.save_as(path)
        paths.append(path)
    return paths


@pytest.fixture(scope="module", params=["orthanc", "dcmqrscp", "dcmqrscp by C-MOVE"])
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    folder = tmp_path_factory.mktemp("peer")
    move_port = free_port()
    started = orthanc(folder) if request.param == "orthanc" else dcmqrscp(folder, move_port)
    ae_title = "ORTHANC" if request.param == "orthanc" else "QRSCP"
    options = ""
    if request.param.endswith("C-MOVE"):
        options = f', dimse_retrieve_mode = "move", incoming_store_port = {move_port}'
    with started as dicom_port:
        send_files([*originals(), *series_of_slices(folder)], dicom_port, ae_title)
        configuration = (
            CONFIGURATION.replace("AET", ae_title, 1).replace("OPTIONS", options).replace("DICOM_PORT", str(dicom_port))
        )
        with gateway(folder, configuration) as url:
            yield Peer(ae_title, url, dicom_port)


def get(url: str, accept: str = "application/dicom+json") -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def parts(content_type: str, body: bytes) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a multipart body: their headers as sent, and their bytes."""
    boundary = content_type.partition("boundary=")[2].encode()
    before, *found, after = (b"\r\n" + body).split(b"\r\n--" + boundary)
    assert (before, after) == (b"", b"--\r\n")
    received = []
    for part in found:
        header, _, content = part.partition(b"\r\n\r\n")
        lines = [line.decode().split(": ", 1) for line in header.split(b"\r\n")[1:]]
        received.append((dict(lines), content))
    return received


def pixels(data_set: Dataset) -> bytes:
    """The pixels, whatever their byte order and padding; the bytes as they are where pydicom makes no array of them."""
    try:
        return bytes(data_set.pixel_array.tobytes())
    except (ValueError, AttributeError):
        return bytes(data_set.PixelData)


def differences(original: Dataset, received: Dataset) -> list[str]:
    """What differs, element by element; group lengths and padding of the data set are no content."""
    found = []
    for element in original:
        if element.tag.element == 0 or element.tag == 0xFFFCFFFC:
            continue
        if element.tag not in received:
            found.append(f"{element.tag} is missing")
        elif element.VR == "SQ" and received[element.tag].VR == "SQ":
            items = zip(element.value, received[element.tag].value, strict=True)
            found += [f"{element.tag}: {one}" for pair in items for one in differences(*pair)]
        elif element.value != received[element.tag].value and element.tag != 0x7FE00010:
            found.append(f"{element.tag}: {element.value!r} became {received[element.tag].value!r}")
    if "PixelData" in original and pixels(original) != pixels(received):
        found.append("the pixels differ")
    return found


def test_every_study_comes_back_as_pydicom_reads_it(peer: Peer) -> None:
    for path in originals():
        original = pydicom.dcmread(path)
        (received,) = [
            one
            for one in peer.client.retrieve_study(original.StudyInstanceUID)
            if one.SOPInstanceUID == original.SOPInstanceUID
        ]
        assert differences(original, received) == [], path.name
        assert received.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_a_part_is_a_part_10_file_that_says_where_it_comes_from(peer: Peer) -> None:
    status, headers, body = get(
        f"{peer.url}/dicom/studies/2.25.71", 'multipart/related; type="application/dicom"; transfer-syntax=*'
    )
    received = parts(headers["Content-Type"], body)
    assert status == 200
    assert len(received) == 12
    for part_headers, content in received:
        instance = pydicom.dcmread(io.BytesIO(content))
        assert part_headers == {
            "Content-Type": "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
            "Content-Location": f"{peer.url}/dicom/studies/2.25.71/series/2.25.72/instances/{instance.SOPInstanceUID}",
        }
        assert instance.file_meta.MediaStorageSOPInstanceUID == instance.SOPInstanceUID
        assert instance.file_meta.SourceApplicationEntityTitle == "HARMONYGW"
        assert instance.file_meta.SendingApplicationEntityTitle == peer.ae_title
        assert instance.PixelData == bytes([instance.InstanceNumber]) * (256 * 256 * 2)


def test_search_methods_of_a_real_client(peer: Peer) -> None:
    client = peer.client
    (study,) = client.search_for_studies(search_filters={"PatientID": "SLICES"})
    assert study["0020000D"]["Value"] == ["2.25.71"]
    assert study["00080061"]["Value"] == ["CT"]
    assert study["00201206"]["Value"] == [1]
    assert study["00201208"]["Value"] == [12]
    assert study["00081190"]["Value"][0].endswith("/dicom/studies/2.25.71")
    (series,) = client.search_for_series("2.25.71")
    assert series["0020000E"]["Value"] == ["2.25.72"]
    assert series["00201209"]["Value"] == [12]
    instances = client.search_for_instances("2.25.71", "2.25.72")
    assert sorted(one["00200013"]["Value"][0] for one in instances) == list(range(1, 13))
    assert len(client.search_for_instances("2.25.71")) == 12
    (of_all,) = client.search_for_series(search_filters={"SeriesInstanceUID": "2.25.72"})
    assert of_all["00100020"]["Value"] == ["SLICES"]


def test_paging_until_empty_sees_every_match_once(peer: Peer) -> None:
    instances = peer.client.search_for_instances("2.25.71", "2.25.72", limit=5, get_remaining=True)
    assert len({one["00080018"]["Value"][0] for one in instances}) == len(instances) == 12


def test_a_modality_that_the_pacs_may_ignore_is_checked(peer: Peer) -> None:
    found = peer.client.search_for_studies(search_filters={"ModalitiesInStudy": "RTPLAN"})
    assert [one["00080061"]["Value"] for one in found] == [["RTPLAN"]]


def test_series_and_instance_and_metadata_methods_of_a_real_client(peer: Peer) -> None:
    client = peer.client
    assert len(client.retrieve_series("2.25.71", "2.25.72")) == 12
    one = client.retrieve_instance("2.25.71", "2.25.72", "2.25.73.3")
    assert (one.SOPInstanceUID, one.InstanceNumber) == ("2.25.73.3", 3)
    metadata = client.retrieve_instance_metadata("2.25.71", "2.25.72", "2.25.73.3")
    assert metadata["00200013"]["Value"] == [3]
    assert metadata["7FE00010"]["BulkDataURI"].startswith("http://127.0.0.1")
    assert len(client.retrieve_series_metadata("2.25.71", "2.25.72")) == 12
    assert len(client.retrieve_study_metadata("2.25.71")) == 12


def test_metadata_says_what_pydicom_says(peer: Peer) -> None:
    original = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    metadata = peer.client.retrieve_instance_metadata(
        original.StudyInstanceUID, original.SeriesInstanceUID, original.SOPInstanceUID
    )
    expected = original.to_json_dict(bulk_data_element_handler=lambda element: "uri", bulk_data_threshold=1024)
    for tag, element in expected.items():
        if tag in ("7FE00010", "FFFCFFFC") or element["vr"] == "UN" or tag.endswith("0000"):
            continue
        assert metadata[tag].get("Value") == element.get("Value"), tag


def test_one_instance_alone_by_curl(peer: Peer, tmp_path: Path) -> None:
    target = tmp_path / "one.dcm"
    url = f"{peer.url}/dicom/studies/2.25.71/series/2.25.72/instances/2.25.73.7"
    command = ["curl", "-sf", "-H", "Accept: application/dicom; transfer-syntax=*", "-o", str(target), url]
    subprocess.run(command, check=True)
    assert pydicom.dcmread(target).InstanceNumber == 7


def test_what_is_not_there_is_404_and_nonsense_400(peer: Peer) -> None:
    assert get(f"{peer.url}/dicom/studies/2.25.404", "*/*")[0] == 404
    assert get(f"{peer.url}/dicom/studies/2.25.71/series/2.25.404", "*/*")[0] == 404
    assert get(f"{peer.url}/dicom/studies?PatientIdentifier=x")[0] == 400
    assert get(f"{peer.url}/dicom/studies?StudyDate=yesterday")[0] == 400
    assert get(f"{peer.url}/dicom/studies?PatientID=nobody")[::2] == (200, b"[]")


def test_urls_are_absolute_and_lead_back_here(peer: Peer) -> None:
    # Python's dicomweb-client leaves the port out of its Host header; curl and browsers do not.
    _, _, body = get(f"{peer.url}/dicom/studies?PatientID=SLICES")
    assert json.loads(body)[0]["00081190"] == {"vr": "UR", "Value": [f"{peer.url}/dicom/studies/2.25.71"]}
    _, _, body = get(f"{peer.url}/dicom/studies/2.25.71/series/2.25.72/instances/2.25.73.1/metadata")
    instance = f"{peer.url}/dicom/studies/2.25.71/series/2.25.72/instances/2.25.73.1"
    assert json.loads(body)[0]["7FE00010"] == {"vr": "OW", "BulkDataURI": f"{instance}/bulkdata/7FE00010"}


def test_ohif_s_headers_get_json(peer: Peer) -> None:
    accept = (
        "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*; transfer-syntax=*"
    )
    status, headers, body = get(f"{peer.url}/dicom/studies?fuzzymatching=&limit=101&offset=0", accept)
    assert (status, headers["Content-Type"]) == (200, "application/dicom+json")
    assert body.startswith(b"[{")


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom on what some of these files are
@pytest.mark.skipif(CORPUS is None, reason="the corpus is not here")
def test_the_corpus_comes_back_as_pydicom_reads_it(tmp_path: Path) -> None:
    assert CORPUS is not None
    files = {}
    for path in sorted((CORPUS / "wellformed").glob("*.dcm")):
        original = pydicom.dcmread(path, force=True)
        syntax = getattr(original.file_meta, "TransferSyntaxUID", None)
        if syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian) and "StudyInstanceUID" in original:
            files[original.SOPInstanceUID] = path
    with orthanc(tmp_path) as dicom_port:
        stored = {}
        for uid, path in files.items():
            try:
                send_files([path], dicom_port, "ORTHANC")
            except AssertionError:
                continue  # storescu knows no presentation context for some newer SOP classes
            stored[uid] = path
        configuration = (
            CONFIGURATION.replace("AET", "ORTHANC", 1).replace("OPTIONS", "").replace("DICOM_PORT", str(dicom_port))
        )
        with gateway(tmp_path, configuration) as url:
            client = DICOMwebClient(f"{url}/dicom")
            received: dict[str, Any] = {}
            for study in client.search_for_studies():
                for instance in client.retrieve_study(study["0020000D"]["Value"][0]):
                    received[instance.SOPInstanceUID] = instance
    assert len(stored) > 20
    assert set(received) == set(stored)
    for uid, path in stored.items():
        original = pydicom.dcmread(path, force=True)
        found = [one for one in differences(original, received[uid]) if "UN" not in one]
        assert found == [], path.name


def test_getscu_and_the_gateway_bring_the_same(peer: Peer, tmp_path: Path) -> None:
    command = ["getscu", "-S", "-aec", peer.ae_title, "127.0.0.1", str(peer.dicom_port), "-od", str(tmp_path)]
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=2.25.71"]
    subprocess.run([*command, *keys], check=True, env=NO_DELAY, capture_output=True)
    by_getscu = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, tmp_path.iterdir())}
    by_gateway = {str(one.SOPInstanceUID): one for one in peer.client.retrieve_study("2.25.71")}
    assert by_getscu == by_gateway
