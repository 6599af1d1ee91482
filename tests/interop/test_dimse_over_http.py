"""DIMSE services over plain HTTP in front of a real PACS: what people type, and what comes of it."""

import json
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pydicom
import pytest
from pydicom.data import get_testdata_file

from tests.interop.processes import free_port, gateway, orthanc, running, send_files
from tests.interop.test_real_pacs import series_of_slices

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("real_peers")]

CONFIGURATION = """
[proxy]
id = "dimse-over-http"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[storage]
options.path = "STORAGE"

[pipelines.dimse]
networks = ["default"]
endpoints = ["api"]
backends = ["pacs"]

[endpoints.api]
service = "http"
options = { path_prefix = "/dimse" }

[backends.pacs]
service = "dicom_scu"
target_ref = "archive"
options = { aet = "ORTHANC", local_aet = "HARMONYGW", incoming_store_port = MOVE_PORT }

[targets.archive]
connection.host = "127.0.0.1"
connection.port = DICOM_PORT
connection.protocol = "dicom"

[pipelines.basic_echo]
networks = ["default"]
endpoints = ["basic_echo"]
backends = ["echo_backend"]

[endpoints.basic_echo]
service = "echo"
options = { path_prefix = "/echo" }

[backends.echo_backend]
service = "echo"

[pipelines.http_echo]
networks = ["default"]
endpoints = ["http_echo"]
backends = ["echo_backend"]

[endpoints.http_echo]
service = "http"
options = { path_prefix = "/http-echo", method = "POST" }
"""


class Peers(NamedTuple):
    url: str
    storage: Path
    received: Path

    def kept(self) -> int:
        """How many instances the gateway keeps; a folder may go while they are counted."""
        names = [name for _, _, files in os.walk(self.storage) for name in files]
        return sum(name.endswith(".dcm") for name in names)


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    folder = tmp_path_factory.mktemp("peers")
    received = folder / "received"
    received.mkdir()
    move_port, other_port = free_port(), free_port()
    ports = {"HARMONYGW": move_port, "OTHER": other_port, "NOBODY": free_port()}
    destinations = {title: [title, "127.0.0.1", port] for title, port in ports.items()}
    other = ["storescp", "-aet", "OTHER", "-od", str(received), str(other_port)]
    with (
        orthanc(folder, DicomModalities=destinations) as dicom_port,
        running(other, other_port, log=folder / "storescp.log"),
    ):
        send_files([*series_of_slices(folder, 3), shipped("MR_small.dcm")], dicom_port, "ORTHANC")
        configuration = (
            CONFIGURATION.replace("STORAGE", str(folder / "kept"))
            .replace("MOVE_PORT", str(move_port))
            .replace("DICOM_PORT", str(dicom_port))
        )
        with gateway(folder, configuration) as url:
            yield Peers(url, folder / "kept", received)


def shipped(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def send(
    url: str, body: bytes | None = None, content_type: str = "application/json", method: str = "POST"
) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, body, {"Content-Type": content_type}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def post(url: str, document: Any) -> tuple[int, Any]:
    status, _, content = send(url, json.dumps(document).encode())
    return status, json.loads(content)


def test_echo(peers: Peers) -> None:
    assert post(f"{peers.url}/dimse/echo", {}) == (200, {"operation": "C-ECHO", "success": True})
    assert post(f"{peers.url}/dimse", {"operation": "C-ECHO"})[1]["success"] is True
    status, headers, _ = send(f"{peers.url}/dimse/echo", method="GET")
    assert (status, headers["Allow"]) == (405, "OPTIONS, POST")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"operation": "C-FIND", "level": "STUDY", "query": {"PatientID": "*"}}),
        ("/find", {"query_level": "STUDY"}),
        ("/find", {}),
    ],
)
def test_every_study_is_found(peers: Peers, path: str, body: Any) -> None:
    status, told = post(f"{peers.url}/dimse{path}", body)
    assert (status, told["operation"], told["success"]) == (200, "C-FIND", True)
    assert told["count"] == len(told["matches"]) >= 2
    assert all(match["0020000D"]["vr"] == "UI" and "00080020" in match for match in told["matches"])


@pytest.mark.parametrize(
    "body",
    [
        {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "00100020": {"vr": "LO", "Value": ["SLICES"]}},
        {"identifier": {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "00100020": {"vr": "LO", "Value": ["SLICES"]}}},
        {"operation": "C-FIND", "level": "STUDY", "query": {"PatientID": "SLI*"}},
        {"query_level": "STUDY", "patient_id": "SLICES"},
        {"study_instance_uid": "2.25.71"},
    ],
)
def test_each_form_of_a_query_finds_the_study(peers: Peers, body: Any) -> None:
    status, told = post(f"{peers.url}/dimse/find", body)
    assert status == 200
    [match] = told["matches"]
    assert match["0020000D"] == {"vr": "UI", "Value": ["2.25.71"]}


def test_the_level_goes_down_with_the_unique_keys(peers: Peers) -> None:
    _, told = post(f"{peers.url}/dimse/find", {"study_instance_uid": "2.25.71", "series_instance_uid": "2.25.72"})
    [match] = told["matches"]
    assert match["00080060"]["Value"] == ["CT"]
    body = {"level": "IMAGE", "query": {"StudyInstanceUID": "2.25.71", "SeriesInstanceUID": "2.25.72"}, "limit": 2}
    _, told = post(f"{peers.url}/dimse/find", body)
    assert told["count"] == 2


@pytest.mark.parametrize("word", ["get", "move"])
def test_a_study_comes_as_files_that_pydicom_reads(peers: Peers, word: str) -> None:
    status, told = post(f"{peers.url}/dimse/{word}", {"study_instance_uid": "2.25.71", "patient_id": "SLICES"})
    assert (status, told["operation"], told["success"]) == (200, f"C-{word.upper()}", True)
    folder = Path(told["folder_path"])
    assert folder.is_relative_to(peers.storage)
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert told["file_count"] == len(told["instances"]) == len(list(folder.iterdir())) == 3
    for instance in told["instances"]:
        read = pydicom.dcmread(folder / instance["file"])
        assert read.SOPInstanceUID == read.file_meta.MediaStorageSOPInstanceUID == instance["sop_instance_uid"]
        assert (read.SOPClassUID, read.file_meta.TransferSyntaxUID) == (
            instance["sop_class_uid"],
            instance["transfer_syntax_uid"],
        )
        assert bytes(read.PixelData) == bytes([read.InstanceNumber]) * (256 * 256 * 2)


def test_one_instance_comes_by_its_keys(peers: Peers) -> None:
    body = {
        "operation": "C-GET",
        "query": {"StudyInstanceUID": "2.25.71", "SeriesInstanceUID": "2.25.72", "SOPInstanceUID": "2.25.73.2"},
    }
    status, told = post(f"{peers.url}/dimse", body)
    assert (status, [one["sop_instance_uid"] for one in told["instances"]]) == (200, ["2.25.73.2"])


def test_all_of_a_patient_comes(peers: Peers) -> None:
    status, told = post(f"{peers.url}/dimse/get", {"level": "PATIENT", "patient_id": "SLICES"})
    assert (status, told["file_count"]) == (200, 3)


def test_the_study_of_another_patient_does_not_come(peers: Peers) -> None:
    status, told = post(f"{peers.url}/dimse/get", {"study_instance_uid": "2.25.71", "patient_id": "4MR1"})
    assert (status, told["success"]) == (404, False)
    before = peers.kept()
    assert post(f"{peers.url}/dimse/get", {"study_instance_uid": "2.25.9999"})[0] == 404
    assert peers.kept() == before


def test_a_move_elsewhere_is_counted(peers: Peers) -> None:
    status, told = post(f"{peers.url}/dimse/move", {"study_instance_uid": "2.25.71", "destination": "OTHER"})
    assert (status, told["success"], told["completed"]) == (200, True, 3)
    assert len(list(peers.received.iterdir())) == 3


@pytest.mark.parametrize("destination", ["NOBODY", "UNHEARD_OF"])
def test_a_move_that_fails_is_told_with_its_status(peers: Peers, destination: str) -> None:
    status, told = post(f"{peers.url}/dimse/move", {"study_instance_uid": "2.25.71", "destination": destination})
    assert (status, told["success"], told["operation"]) == (502, False, "C-MOVE")
    assert len(told["dimse_status"]) == 5


def test_a_file_is_stored_and_found(peers: Peers) -> None:
    content = shipped("CT_small.dcm").read_bytes()
    uid = pydicom.dcmread(shipped("CT_small.dcm")).SOPInstanceUID
    status, _, told = send(f"{peers.url}/dimse/store", content, "application/dicom")
    document = json.loads(told)
    assert (status, document["success"], document["sop_instance_uid"]) == (200, True, uid)
    assert post(f"{peers.url}/dimse/find", {"query_level": "STUDY", "patient_id": "1CT1"})[1]["count"] == 1
    status, _, told = send(f"{peers.url}/dimse/store", b"not a file", "application/dicom")
    assert (status, json.loads(told)["success"]) == (400, False)
    assert send(f"{peers.url}/dimse/store", content, "image/jpeg")[0] == 415


def test_what_is_larger_than_what_may_be_held_whole_is_stored_all_the_same(peers: Peers, tmp_path: Path) -> None:
    large = pydicom.dcmread(shipped("CT_small.dcm"))
    large.Rows = large.Columns = 2600
    large.PixelData = bytes(2600 * 2600 * 2)
    large.SOPInstanceUID = large.file_meta.MediaStorageSOPInstanceUID = "2.25.77"
    large.save_as(tmp_path / "large.dcm")
    status, _, told = send(f"{peers.url}/dimse/store", (tmp_path / "large.dcm").read_bytes(), "application/dicom")
    assert (status, json.loads(told)["success"]) == (200, True)


def test_the_echo_endpoint_and_the_echo_backend_answer_alike(peers: Peers) -> None:
    for path in ("/echo", "/http-echo"):
        status, headers, content = send(f"{peers.url}{path}/any/where", b"<a/>", "application/xml")
        assert (status, headers["Content-Type"], content) == (200, "application/xml", b"<a/>")
    _, headers, content = send(f"{peers.url}/echo/a?b=1&b=2", method="GET")
    assert headers["Content-Type"] == "application/json"
    told = json.loads(content)
    assert (told["method"], told["path"], told["query"]) == ("GET", "/a", {"b": ["1", "2"]})
    status, headers, _ = send(f"{peers.url}/http-echo", method="GET")
    assert (status, headers["Allow"]) == (405, "OPTIONS, POST")
