"""The examples of `etc/examples` with real peers in the place of their stand-ins: Orthanc, and an HTTP server."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.data import get_testdata_file

from tests.interop.conftest import need
from tests.interop.examples import EXAMPLES, STAND_IN, Example
from tests.interop.processes import DICOMWEB_PLUGIN, orthanc, orthanc_dicomweb, send_files
from tests.interop.test_examples import documents, until

pytestmark = pytest.mark.interop

FILES = [Path(str(get_testdata_file(name, download=False))) for name in ("CT_small.dcm", "MR_small.dcm")]
CT = dcmread(FILES[0])
MR = dcmread(FILES[1])
IMAGE = dcmread(EXAMPLES / "image.dcm")


# HTTP


class Asked(NamedTuple):
    """What came to the server."""

    method: str
    path: str
    headers: Message
    body: bytes


@contextmanager
def server() -> Iterator[tuple[int, list[Asked]]]:
    """A server that answers JSON with the same JSON; gives its port, and what came to it."""
    came: list[Asked] = []

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            came.append(Asked(self.command, self.path, self.headers, body))
            body = body or b'{"status": "up"}'
            self.send_response(200)
            self.send_header("Content-Type", self.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield listening.server_port, came
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def test_http_http_in_front_of_a_server(tmp_path: Path) -> None:
    need("curl")
    proxy = Example(tmp_path, "http-http")
    with server() as (port, came):
        proxy.in_front_of(port, 8222)
        with proxy.started():
            assert json.loads(proxy.use()) == {"status": "up"}
            assert proxy.see().startswith("HTTP/1.1 403 ")
            url = f"http://127.0.0.1:{proxy.ports[8122]}"
            large = bytes(range(256)) * 20_000
            for method in ("POST", "PUT", "DELETE"):
                reply = requests.request(
                    method, f"{url}/orders/17", data=large, headers={"Content-Type": "image/x"}, timeout=30
                )
                assert (reply.status_code, reply.headers["Content-Type"], reply.content) == (200, "image/x", large)
            for path in ("/admin", "/internal/x", "/%61dmin/x", "//admin/x"):
                assert requests.get(f"{url}{path}", timeout=30).status_code == 403
            assert requests.patch(f"{url}/orders", timeout=30).status_code == 403
    assert [(one.method, one.path) for one in came] == [
        ("GET", "/orders/17?verbose=1"),
        ("POST", "/orders/17"),
        ("PUT", "/orders/17"),
        ("DELETE", "/orders/17"),
    ]
    assert came[1].body == large
    assert came[0].headers["X-Forwarded-Host"] == url.removeprefix("http://")


def test_http_with_middleware_in_front_of_a_server(tmp_path: Path) -> None:
    need("curl")
    api = Example(tmp_path, "http-with-middleware")
    with server() as (port, came):
        api.in_front_of(port, 8223)
        with api.started():
            assert json.loads(api.use()) == {"name": "Doe^Jane", "id": "12345", "via": "harmonygw"}
            assert api.see().startswith("HTTP/1.1 401 ")
            url = f"http://127.0.0.1:{api.ports[8123]}"
            known: dict[str, Any] = {"auth": ("tester", "for tests only"), "timeout": 30}
            assert requests.post(f"{url}/api/x", json={"name": "N", "extra": 1}, **known).json() == {
                "name": "N",
                "via": "harmonygw",
                "server": {"rest": {"extra": 1}},
            }
            assert requests.get(f"{url}/health", **known).json() == {"server": {"status": "up"}}
            assert requests.get(f"{url}/other", **known).status_code == 404
            assert requests.post(f"{url}/api/internal/x", json={}, **known).status_code == 404
            assert requests.delete(f"{url}/api/x", **known).status_code == 403
            assert (
                requests.post(f"{url}/api/x", "x", headers={"Content-Type": "text/plain"}, **known).status_code == 403
            )
            broken = requests.post(f"{url}/api/x", "{", headers={"Content-Type": "application/json"}, **known)
            assert broken.status_code == 400
            wrong = requests.get(f"{url}/health", auth=("tester", "wrong"), timeout=30)
            assert (wrong.status_code, "WWW-Authenticate" in wrong.headers) == (401, True)
    assert [(one.method, one.path) for one in came] == [
        ("POST", "/api/people"),
        ("POST", "/api/x"),
        ("GET", "/health"),
    ]
    assert json.loads(came[0].body) == {"person": {"displayName": "Doe^Jane", "number": "12345"}, "source": "harmonygw"}
    assert all("Authorization" not in one.headers for one in came)


def test_webhook_with_a_receiver(tmp_path: Path) -> None:
    need("curl")
    webhook = Example(tmp_path, "webhook")
    with server() as (port, came):
        (webhook.folder / STAND_IN).unlink()
        webhook.edit("pipelines/webhook.toml", f":{webhook.ports[8226]}/hook", f":{port}/events?from=gateway")
        with webhook.started():
            webhook.use()
            until(lambda: len(came) == 2)
    credentials = base64.b64encode(b"gateway:for tests only").decode()
    for one in came:
        assert (one.method, one.path) == ("POST", "/events?from=gateway")
        assert (one.headers["Authorization"], one.headers["Content-Type"]) == (
            f"Basic {credentials}",
            "application/json",
        )
        [told] = documents(one.body.decode())
        assert told["extra"] == {"source": "examples", "kind": "order"}
        assert told["request"]["metadata"]["secret"] == "<redacted>"
    assert sorted(json.loads(one.body)["side"] for one in came) == ["left", "right"]


# DICOM


@contextmanager
def orthanc_that_knows_us(folder: Path, port: int = 104) -> Iterator[int]:
    """An Orthanc as the READMEs want it: it lets in whom it knows. Gives its DICOM port."""
    known = {"gateway": ["HARMONYGW", "127.0.0.1", port]}
    with orthanc(folder, DicomModalities=known, DicomAlwaysAllowGet=False, DicomAlwaysAllowFind=False) as dicom_port:
        send_files(FILES, dicom_port, "ORTHANC")
        yield dicom_port


def in_front_of_orthanc(example: Example, port: int, stand_in: int) -> None:
    """Do what a README says of Orthanc."""
    example.in_front_of(port, stand_in)
    [pipeline] = (example.folder / "pipelines").glob("*.toml")
    example.edit(f"pipelines/{pipeline.name}", 'aet = "ARCHIVE"', 'aet = "ORTHANC"')


@pytest.mark.usefixtures("real_peers")
class TestOrthanc:
    def test_dicomweb(self, tmp_path: Path) -> None:
        need("curl")
        web = Example(tmp_path, "dicomweb")
        with orthanc_that_knows_us(tmp_path) as port:
            in_front_of_orthanc(web, port, 11227)
            with web.started():
                [study] = json.loads(web.use())
                assert study["0020000D"]["Value"] == [CT.StudyInstanceUID]
                [instance] = json.loads(web.see())
                assert instance["00080018"]["Value"] == [CT.SOPInstanceUID]
                client = DICOMwebClient(f"http://127.0.0.1:{web.ports[8127]}/dicomweb")
                found = client.search_for_studies(fields=["PatientID"])
                assert sorted(one["00100020"]["Value"][0] for one in found) == ["1CT1", "4MR1"]
                [series] = client.search_for_series(MR.StudyInstanceUID)
                assert series["00080060"]["Value"] == ["MR"]
                [retrieved] = client.retrieve_study(MR.StudyInstanceUID)
                assert (retrieved.SOPInstanceUID, retrieved.PixelData) == (MR.SOPInstanceUID, MR.PixelData)
                with pytest.raises(requests.HTTPError, match="403"):
                    client.store_instances([IMAGE])

    def test_dicom_backend(self, tmp_path: Path) -> None:
        need("curl")
        backend = Example(tmp_path, "dicom-backend")
        with orthanc_that_knows_us(tmp_path, backend.ports[11328]) as port:
            in_front_of_orthanc(backend, port, 11228)
            with backend.started():
                [match] = json.loads(backend.use())["matches"]
                assert (match["00100020"]["Value"], match["0020000D"]["Value"]) == (["1CT1"], [CT.StudyInstanceUID])
                url = f"http://127.0.0.1:{backend.ports[8128]}/pacs"
                got = requests.post(f"{url}/get", json={"study_instance_uid": CT.StudyInstanceUID}, timeout=30).json()
                asked = {
                    "operation": "C-MOVE",
                    "destination": "HARMONYGW",
                    "query": {"StudyInstanceUID": MR.StudyInstanceUID},
                }
                ours = requests.post(f"{url}/anything", json=asked, timeout=30).json()
                for document, original in ((json.loads(backend.see()), CT), (got, CT), (ours, MR)):
                    [instance] = document["instances"]
                    file = dcmread(Path(document["folder_path"], instance["file"]))
                    assert (file.SOPInstanceUID, file.PixelData) == (original.SOPInstanceUID, original.PixelData)
                echo = requests.post(f"{url}/echo", timeout=30).json()
                assert echo == {"operation": "C-ECHO", "success": True}
                data = (EXAMPLES / "image.dcm").read_bytes()
                stored = requests.post(
                    f"{url}/store", data, headers={"Content-Type": "application/dicom"}, timeout=30
                ).json()
                assert (stored["success"], stored["sop_instance_uid"]) == (True, IMAGE.SOPInstanceUID)

    def test_dicom_scp(self, tmp_path: Path) -> None:
        front = Example(tmp_path, "dicom-scp")
        with orthanc_that_knows_us(tmp_path) as port:
            in_front_of_orthanc(front, port, 11229)
            (tmp_path / "got").mkdir()
            with front.started():
                assert f"[{CT.StudyInstanceUID}]" in (found := front.use())
                assert "[CompressedSamples^CT1 ]" in found
                assert "Received Final Move Response (Success)" in front.see()
                us = f"-aet WORKSTATION -aec HARMONYGW 127.0.0.1 {front.ports[11129]}"
                front.run(f"echoscu {us}")
                front.run(
                    f"getscu -S {us} -od got -k QueryRetrieveLevel=STUDY -k StudyInstanceUID={MR.StudyInstanceUID}"
                )
                patients = front.run(f"findscu -P {us} -k QueryRetrieveLevel=PATIENT -k PatientID= -k PatientName=*MR1")
                assert (patients.count("Find Response"), "[4MR1]" in patients) == (1, True)
                front.run(f"storescu {us} {FILES[0]}", fails=True)
        for folder, original in (("var/examples/dicom-scp", CT), ("got", MR)):
            [path] = (tmp_path / folder).glob("*R.*" if original is MR else "CT.*")
            file = dcmread(path)
            assert (file.SOPInstanceUID, file.PixelData) == (original.SOPInstanceUID, original.PixelData)

    def test_dicom_scp_without_an_aet_table_has_the_archive_send(self, tmp_path: Path) -> None:
        front = Example(tmp_path, "dicom-scp")
        workstation = ["WORKSTATION", "127.0.0.1", front.ports[11329]]
        with orthanc(tmp_path, DicomAlwaysAllowMove=True, DicomModalities={"known": workstation}) as port:
            send_files(FILES, port, "ORTHANC")
            in_front_of_orthanc(front, port, 11229)
            pipeline = "pipelines/dicom-scp.toml"
            front.edit(pipeline, "require_known_aet = true", "")
            front.edit(pipeline, "aet_table.WORKSTATION =", "# aet_table.WORKSTATION =")
            with front.started():
                assert "Received Final Move Response (Success)" in front.see()
                unknown = front.commands[2].replace("-aem WORKSTATION", "-aem NOBODY")
                assert "Failed: UnableToProcess" in front.run(unknown, fails=True)
        [path] = (tmp_path / "var/examples/dicom-scp").glob("CT.*")
        assert dcmread(path).SOPInstanceUID == CT.SOPInstanceUID

    @pytest.mark.skipif(not DICOMWEB_PLUGIN.exists(), reason="not installed: orthanc-dicomweb")
    def test_dicom_to_dicomweb(self, tmp_path: Path) -> None:
        bridge = Example(tmp_path, "dicom_to_dicomweb")
        with orthanc_dicomweb(tmp_path) as (port, url):
            send_files(FILES, port, "ORTHANC")
            bridge.in_front_of(int(url.split(":")[2].split("/")[0]), 8231)
            (tmp_path / "got").mkdir()
            (tmp_path / "moved").mkdir()
            with bridge.started():
                assert "Received Store Response (Success)" in bridge.use()
                assert f"[{IMAGE.StudyInstanceUID}]" in bridge.see()
                us = f"-aet WORKSTATION -aec BRIDGE 127.0.0.1 {bridge.ports[11131]}"
                wanted = "-k QueryRetrieveLevel=STUDY -k StudyInstanceUID="
                bridge.run(f"getscu -S {us} -od got {wanted}{CT.StudyInstanceUID}")
                to = f"-aem WORKSTATION +P {bridge.ports[11331]} -od moved"
                bridge.run(f"movescu -S {us} {to} {wanted}{IMAGE.StudyInstanceUID}")
            [instance] = requests.get(f"{url}/studies/{IMAGE.StudyInstanceUID}/instances", timeout=30).json()
            assert instance["00080018"]["Value"] == [IMAGE.SOPInstanceUID]
        for folder, original in (("got", CT), ("moved", IMAGE)):
            [path] = (tmp_path / folder).iterdir()
            file = dcmread(path)
            assert (file.SOPInstanceUID, file.PixelData) == (original.SOPInstanceUID, original.PixelData)
