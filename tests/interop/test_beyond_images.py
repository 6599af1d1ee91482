"""Worklist and storage commitment over HTTP, from real providers: DCMTK's wlmscpfs and Orthanc."""

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.interop.conftest import need
from tests.interop.processes import free_port, gateway, orthanc, running, send_files

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("real_peers")]

CONFIGURATION = """
[proxy]
id = "beyond"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb_endpoint"]
middleware = ["dicomweb_bridge"]
backends = ["provider"]

[backends.provider]
service = "dicom_scu"
connection.host = "127.0.0.1"
connection.port = DICOM_PORT
options = { aet = "AET", local_aet = "HARMONYGW"OPTIONS }
"""
CT = "1.2.840.10008.5.1.4.1.1.2"
STEPS = (("Doe^Jane", "P1", "CT", "20270102", "S1"), ("Müller^Jörg", "P2", "MR", "20270103", "S2"))


def ask(url: str, payload: Any = None, accept: str = "application/dicom+json") -> tuple[int, dict[str, str], bytes]:
    headers = {"Accept": accept, "Content-Type": "application/dicom+json"}
    data = None if payload is None else json.dumps(payload).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


# Modality worklist


def write_step(folder: Path, name: str, patient: str, modality: str, date: str, step_id: str) -> None:
    step = Dataset()
    step.ScheduledStationAETitle = "SCANNER"
    step.ScheduledProcedureStepStartDate = date
    step.ScheduledProcedureStepStartTime = "0900"
    step.Modality = modality
    step.ScheduledProcedureStepID = step_id
    step.ScheduledProcedureStepDescription = "Head"
    worklist = Dataset()
    worklist.SpecificCharacterSet = "ISO_IR 100"
    worklist.PatientName, worklist.PatientID, worklist.AccessionNumber = name, patient, f"A{patient}"
    worklist.PatientBirthDate, worklist.PatientSex = "19800101", "O"
    worklist.StudyInstanceUID = generate_uid()
    worklist.RequestedProcedureID, worklist.RequestedProcedureDescription = "R1", "Head"
    worklist.ScheduledProcedureStepSequence = [step]
    worklist.file_meta = FileMetaDataset()
    worklist.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    worklist.file_meta.MediaStorageSOPClassUID = "1.2.276.0.7230010.3.1.0.1"
    worklist.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    worklist.save_as(folder / f"{patient}.wl", enforce_file_format=True)


@pytest.fixture(scope="module")
def worklist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need("wlmscpfs")
    folder = tmp_path_factory.mktemp("worklist")
    (folder / "RIS").mkdir()
    (folder / "RIS" / "lockfile").touch()
    for one in STEPS:
        write_step(folder / "RIS", *one)
    port = free_port()
    program = str(shutil.which("wlmscpfs"))
    configuration = CONFIGURATION.replace("AET", "RIS", 1).replace("DICOM_PORT", str(port)).replace("OPTIONS", "")
    with (
        running([program, "-csk", "-dfp", str(folder), "-dfr", str(port)], port, log=folder / "wlmscpfs.log"),
        gateway(folder, configuration) as url,
    ):
        yield f"{url}/dicom/modality-scheduled-procedure-steps"


def patients(url: str) -> list[str]:
    status, _, body = ask(url)
    assert status == 200, body
    return sorted(match["00100020"]["Value"][0] for match in json.loads(body))


def test_a_worklist_is_searched_by_keys_of_the_step_and_of_the_patient(worklist: str) -> None:
    assert patients(worklist) == ["P1", "P2"]
    assert patients(f"{worklist}?ScheduledProcedureStepSequence.Modality=MR") == ["P2"]
    assert patients(f"{worklist}?00400100.00400002=20270101-20270102") == ["P1"]
    assert patients(f"{worklist}?PatientName=Doe*") == ["P1"]
    assert patients(f"{worklist}?PatientID=P3") == []


def test_a_step_has_what_the_scanner_and_the_technologist_need(worklist: str) -> None:
    status, headers, body = ask(f"{worklist}?PatientID=P2")
    assert (status, headers["Content-Type"]) == (200, "application/dicom+json")
    [match] = json.loads(body)
    assert match["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg"}]}
    [step] = match["00400100"]["Value"]
    assert step["00400001"] == {"vr": "AE", "Value": ["SCANNER"]}
    assert step["00400009"] == {"vr": "SH", "Value": ["S2"]}
    assert match["00321060"] == {"vr": "LO", "Value": ["Head"]}
    assert match["0020000D"]["Value"][0]


def test_pages_of_a_worklist_do_not_overlap(worklist: str) -> None:
    assert sorted(patients(f"{worklist}?limit=1") + patients(f"{worklist}?limit=1&offset=1")) == ["P1", "P2"]
    assert patients(f"{worklist}?limit=1&offset=2") == []


def test_who_keeps_no_images_answers_a_search_for_studies_with_a_clear_error(worklist: str) -> None:
    status, _, body = ask(worklist.replace("modality-scheduled-procedure-steps", "studies"))
    assert status == 502, body
    assert "1.2.840.10008.5.1.4.1.2.2.1" in json.loads(body)["detail"]


# Storage commitment


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("archive")
    port = free_port()
    modalities = {"gateway": {"AET": "HARMONYGW", "Host": "127.0.0.1", "Port": port}}
    with orthanc(folder, DicomModalities=modalities) as dicom_port:
        send_files([Path(str(get_testdata_file("CT_small.dcm", download=False)))], dicom_port, "ORTHANC")
        options = f", incoming_store_port = {port}, commitment_wait_secs = 1"
        configuration = (
            CONFIGURATION.replace("AET", "ORTHANC", 1)
            .replace("OPTIONS", options)
            .replace("DICOM_PORT", str(dicom_port))
        )
        with gateway(folder, configuration) as url:
            yield f"{url}/dicom"


def reference(instance: str) -> dict[str, Any]:
    return {"00081150": {"vr": "UI", "Value": [CT]}, "00081155": {"vr": "UI", "Value": [instance]}}


def test_an_archive_commits_to_what_it_has_and_says_what_it_lacks(archive: str) -> None:
    _, _, body = ask(f"{archive}/instances?includefield=SOPInstanceUID")
    stored = json.loads(body)[0]["00080018"]["Value"][0]
    url = f"{archive}/commitment-requests/{generate_uid()}"
    status, headers, body = ask(url, {"00081199": {"vr": "SQ", "Value": [reference(stored), reference("1.2.3")]}})
    deadline = time.monotonic() + 30
    while status == 202 and time.monotonic() < deadline:
        assert headers["Retry-After"]
        assert body == b""
        time.sleep(0.1)
        status, headers, body = ask(url)
    assert (status, headers["Content-Type"]) == (200, "application/dicom+json"), body
    result = json.loads(body)
    assert result["00081199"]["Value"] == [reference(stored)]
    [failed] = result["00081198"]["Value"]
    assert failed == {**reference("1.2.3"), "00081197": {"vr": "US", "Value": [0x0112]}}
    assert ask(url, {"00081199": {"vr": "SQ", "Value": [reference(stored)]}})[0] == 409


def test_a_transaction_that_nobody_began_is_not_found(archive: str) -> None:
    assert ask(f"{archive}/commitment-requests/{generate_uid()}")[0] == 404


def test_a_provider_without_storage_commitment_is_a_clear_error(worklist: str) -> None:
    root = worklist.rpartition("/")[0]
    status, _, body = ask(
        f"{root}/commitment-requests/2.25.1", {"00081199": {"vr": "SQ", "Value": [reference("1.2.3")]}}
    )
    assert status == 502, body
    assert "the association was rejected permanently" in json.loads(body)["detail"]
