"""Each example of `etc/examples` does what its README says: its three commands are run as they are written there."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from tests.interop.conftest import need
from tests.interop.examples import EXAMPLES, NAMES, Example, commands
from tests.interop.processes import START_SECS

pytestmark = pytest.mark.interop

CT_STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
IMAGE = dcmread(EXAMPLES / "image.dcm")

Started = Callable[[str], Example]


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Started]:
    """Start an example by its name."""
    need("curl")
    running = []

    def started(name: str) -> Example:
        one = Example(tmp_path, name)
        running.append(one.started())
        running[-1].__enter__()
        return one

    yield started
    for each in running:
        each.__exit__(None, None, None)


@pytest.mark.parametrize("name", NAMES)
def test_a_readme_has_three_commands_of_which_the_first_starts_it(name: str) -> None:
    start, _, _ = commands(name)
    assert start == f".venv/bin/twistd -n --pidfile= harmonygw -c etc/examples/{name}/config.toml"


def documents(text: str) -> list[Any]:
    """Return the JSON documents of a text, one behind the other."""
    found = []
    while text:
        document, end = json.JSONDecoder().raw_decode(text)
        found.append(document)
        text = text[end:].lstrip()
    return found


# HTTP


def test_basic_echo(example: Started) -> None:
    echo = example("basic-echo")
    assert json.loads(echo.use()) == {"message": "hello"}
    told = json.loads(echo.see())
    assert (told["method"], told["path"], told["query"]) == ("GET", "/any/path", {"q": ["1"]})
    assert told["headers"]["authorization"] == "[redacted]"
    url = f"http://127.0.0.1:{echo.ports[8121]}/echo"
    statuses = echo.run(f'for i in $(seq 60); do curl -o /dev/null -w "%{{http_code}} " {url}; done').split()
    assert statuses == ["200"] * 58 + ["429"] * 2


def test_http_http(example: Started) -> None:
    proxy = example("http-http")
    told = json.loads(proxy.use())
    assert (told["path"], told["query"]) == ("/orders/17", {"verbose": ["1"]})
    assert told["base_url"] == f"http://127.0.0.1:{proxy.ports[8222]}"
    assert told["headers"]["via"].startswith("1.1 harmonygw")
    assert told["headers"]["x-forwarded-host"] == f"127.0.0.1:{proxy.ports[8122]}"
    assert proxy.see().startswith("HTTP/1.1 403 ")


def test_http_with_middleware(example: Started) -> None:
    api = example("http-with-middleware")
    assert json.loads(api.use()) == {"name": "Doe^Jane", "id": "12345", "via": "harmonygw"}
    refused = api.see()
    assert refused.startswith("HTTP/1.1 401 ")
    assert 'WWW-Authenticate: Basic realm="' in refused


def test_http_file_upload(example: Started) -> None:
    upload = example("http-file-upload")
    text = (upload.root / "LICENSE").read_text()
    answer = json.loads(upload.use())
    assert (answer["status"], answer["path"], answer["size"]) == ("stored", "files/LICENSE", len(text))
    assert answer["url"] == f"http://127.0.0.1:{upload.ports[8124]}/upload/LICENSE"
    assert upload.see() == text
    files = upload.root / "var/examples/http-file-upload/files"
    assert (files / "LICENSE").read_text() == text
    another = json.loads(upload.use())["path"]
    assert another != "files/LICENSE"
    assert (files.parent / another).read_text() == text
    url = f"http://127.0.0.1:{upload.ports[8124]}/upload"
    assert json.loads(upload.run(f"curl {url} -F 'file=@LICENSE;filename=../../form.txt'"))["success"] is True
    [form] = files.rglob("*form.txt")
    assert form.read_text() == text
    assert upload.run(f"curl -i -X DELETE {url}/LICENSE").startswith("HTTP/1.1 403 ")


def test_transform(example: Started) -> None:
    transform = example("transform")
    assert json.loads(transform.use()) == {
        "resourceType": "Patient",
        "identifier": [{"system": "urn:oid:2.16.840.1.113883.19.5", "value": "12345"}],
        "name": [{"use": "official", "family": "Doe", "given": ["Jane", "Ada"]}],
        "birthDate": "1980-02-29",
        "gender": "female",
    }
    refused = transform.see()
    assert refused.startswith("HTTP/1.1 400 ")
    assert "The body is no JSON" in refused
    post = f"curl http://127.0.0.1:{transform.ports[8125]}/transform"
    partial = json.dumps({"PatientID": "1", "PatientSex": "X"})
    assert json.loads(transform.run(f"{post} -H 'Content-Type: application/json' -d '{partial}'")) == {
        "resourceType": "Patient",
        "identifier": [{"system": "urn:oid:2.16.840.1.113883.19.5", "value": "1"}],
        "name": [{"use": "official"}],
        "gender": "unknown",
    }
    assert "403" in transform.run(f"{post} -i -H 'Content-Type: text/plain' -d x")
    assert "403" in transform.run(f"{post} -i")


def test_webhook(example: Started) -> None:
    webhook = example("webhook")
    order = {"order": {"code": "CT-HEAD", "comment": "claustrophobic"}, "PatientName": "Doe^Jane"}
    assert json.loads(webhook.use()) == order
    until(lambda: len(list((webhook.root / "var/examples/webhook").glob("*.json"))) == 2)
    told = webhook.see()
    request, reply = sorted(documents(told), key=lambda one: one["side"])
    assert (request["side"], reply["side"], reply["outcome"]) == ("left", "right", "complete")
    assert request["extra"] == reply["extra"] == {"source": "examples", "kind": "order"}
    assert request["correlation_id"] == reply["correlation_id"]
    hidden = {"order": {"code": "CT-HEAD", "comment": "<redacted>"}, "PatientName": "<redacted>"}
    assert request["request"]["content"]["body"] == reply["response"]["content"]["body"] == hidden
    header = request["request"]["headers"]
    assert (header["authorization"], header["x-ward"]) == ("<redacted>", "<redacted>")
    assert request["request"]["metadata"]["secret"] == "<redacted>"
    for secret in ("Doe", "claustrophobic", "Bearer", "nobody sees this"):
        assert secret not in told
    stranger = f"curl -i http://127.0.0.1:{webhook.ports[8226]}/hook -d x"
    assert webhook.run(stranger).startswith("HTTP/1.1 401 ")
    assert "Starting factory _HTTP" not in webhook.log


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# DICOM


def test_dicomweb(example: Started) -> None:
    web = example("dicomweb")
    [study] = json.loads(web.use())
    assert study["0020000D"]["Value"] == [CT_STUDY]
    assert study["00100010"]["Value"] == [{"Alphabetic": "CompressedSamples^CT1"}]
    [instance] = json.loads(web.see())
    assert (instance["00280010"]["Value"], instance["00280011"]["Value"]) == ([128], [128])
    url = f"http://127.0.0.1:{web.ports[8127]}/dicomweb"
    assert web.run(f"curl -i {url}/instances").startswith("HTTP/1.1 403 ")
    assert web.run(f"curl -i {url}/studies -H 'Content-Type: application/dicom' -d x").startswith("HTTP/1.1 403 ")


def test_dicom_backend(example: Started) -> None:
    backend = example("dicom-backend")
    found = json.loads(backend.use())
    assert (found["operation"], found["count"], found["success"]) == ("C-FIND", 1, True)
    assert found["matches"][0]["0020000D"]["Value"] == [CT_STUDY]
    moved = json.loads(backend.see())
    assert (moved["operation"], moved["file_count"], moved["success"]) == ("C-MOVE", 1, True)
    [instance] = moved["instances"]
    file = dcmread(Path(moved["folder_path"], instance["file"]))
    assert (file.SOPInstanceUID, file.PatientID) == (instance["sop_instance_uid"], "1CT1")


@pytest.mark.usefixtures("real_peers")
class TestWithDCMTK:
    def test_dicom_scp(self, example: Started) -> None:
        front = example("dicom-scp")
        assert (found := front.use()).count("Find Response") == 1
        assert f"[{CT_STUDY}]" in found
        assert "Received Final Move Response (Success)" in front.see()
        [received] = (front.root / "var/examples/dicom-scp").glob("CT.*")
        assert dcmread(received).StudyInstanceUID == CT_STUDY
        stranger = front.commands[1].replace("-aet WORKSTATION", "-aet STRANGER")
        assert "Calling AE Title Not Recognized" in front.run(stranger, fails=True)

    def test_cstore_filesystem(self, example: Started) -> None:
        receiver = example("cstore-filesystem")
        assert "Received Store Response (Success)" in receiver.use()
        [path] = receiver.see().split()
        assert path.endswith(f"/EXAMPLE1/{IMAGE.StudyInstanceUID}/{IMAGE.SOPInstanceUID}.dcm")
        assert dcmread(receiver.root / path) == IMAGE
        stranger = receiver.commands[1].replace("-aet MODALITY", "-aet STRANGER")
        assert "Calling AE Title Not Recognized" in receiver.run(stranger, fails=True)
        compressed = Path(str(get_testdata_file("JPEG2000.dcm", download=False)))
        receiver.run(receiver.commands[1].replace("etc/examples/image.dcm", f"-R -xw {compressed}"))
        [kept] = (receiver.root / "var/examples/cstore-filesystem/8NM1").rglob("*.dcm")
        assert dcmread(kept) == dcmread(compressed)

    def test_dicom_to_dicomweb(self, example: Started) -> None:
        bridge = example("dicom_to_dicomweb")
        assert "Received Store Response (Success)" in bridge.use()
        assert (found := bridge.see()).count("Find Response") == 1
        assert "[Example^Image ]" in found
        assert f"[{IMAGE.StudyInstanceUID}]" in found
