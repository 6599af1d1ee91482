"""Ways in that were tried against a gateway, over its sockets: none of them shows or stores what somebody may not."""

import base64
import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from pydicom.dataset import Dataset

from harmonygw.dicom.dataset.part10 import file_header
from tests.interop.embedded import EXPLICIT, encoded, image
from tests.interop.processes import gateway

pytestmark = pytest.mark.interop

CONFIGURATION = """
[proxy]
id = "attacked"
drain_timeout_secs = 0
[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}
[pipelines.open]
networks = ["default"]
endpoints = ["open"]
middleware = ["dicomweb_bridge"]
backends = ["archive"]
[endpoints.open]
service = "dicomweb"
options = { path_prefix = "/open" }
[pipelines.confined]
networks = ["default"]
endpoints = ["confined"]
middleware = ["users", "dicomweb_bridge"]
backends = ["archive"]
[endpoints.confined]
service = "dicomweb"
options = { path_prefix = "/confined" }
[middleware.users]
type = "basic_auth"
options = { username = "ben", password = "secret" }
[authorizations.ben]
principals = ["ben"]
pipelines = ["confined"]
keys = { PatientID = ["P2"] }
[pipelines.site]
networks = ["default"]
endpoints = ["site"]
middleware = ["guard"]
backends = ["site"]
[endpoints.site]
service = "http"
options = { path_prefix = "/" }
[middleware.guard]
type = "policies"
options = { policies = ["site"] }
[policies.site]
rules = ["no_office", "no_objects"]
[rules.no_office]
type = "path"
weight = 1
options = { mode = "deny", paths = ["/office/{*path}"] }
[rules.no_objects]
type = "content_type"
weight = 1
options = { mode = "deny", content_types = ["multipart/related"] }
[backends.site]
service = "http"
options = { base_url = "http://127.0.0.1:SITE" }
[backends.archive]
service = "storage"
options = { root = "ROOT" }
"""


class Site(BaseHTTPRequestHandler):
    """Answers everything, and keeps what it was asked."""

    asked: "list[str]"

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Attacked(NamedTuple):
    """A gateway, the web server behind it, and who asks."""

    netloc: str
    asked: list[str]

    def ask(self, target: str, *fields: tuple[str, str], method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
        """Send a target as it is."""
        connection = http.client.HTTPConnection(self.netloc, timeout=20)
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in (*fields, *((("Content-Length", str(len(body))),) if body else ())):
            connection.putheader(name, value)
        connection.endheaders(body or None)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply.status, content

    def store(self, prefix: str, data_set: Dataset, behind: bytes = b"") -> int:
        """Store an object by STOW-RS, with more behind its data set; return the status."""
        content = file_header(str(data_set.SOPClassUID), str(data_set.SOPInstanceUID), EXPLICIT)
        content += encoded(data_set) + behind
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--b--\r\n"
        kind = ("Content-Type", 'multipart/related; type="application/dicom"; boundary=b')
        return self.ask(f"{prefix}/studies", kind, BEN, method="POST", body=body)[0]

    def studies(self) -> dict[str, str]:
        """Return the patient of each study that there is."""
        found = self.ask("/open/studies", ("Accept", "application/dicom+json"))[1]
        return {one["0020000D"]["Value"][0]: one["00100020"]["Value"][0] for one in json.loads(found)}


BEN = ("Authorization", "Basic " + base64.b64encode(b"ben:secret").decode())


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder: Path = tmp_path_factory.mktemp("attacked")
    Site.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    text = CONFIGURATION.replace("SITE", str(server.server_port)).replace("ROOT", str(folder / "archive"))
    try:
        with gateway(folder, text) as url:
            found = Attacked(urlsplit(url).netloc, Site.asked)
            assert found.store("/open", image(1, study="1.1", series="1.1.1", PatientID="P1")) == 200
            assert found.store("/open", image(1, study="1.2", series="1.2.1", PatientID="P2")) == 200
            yield found
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "target",
    [
        *("/office/x", "//office/x", "/office;a=1/x", "/x/..;/office/x", "/./office", "/%2e/office", "/%2561ffice/x"),
        *(
            "/office%2Fx",
            "/office%5Cx",
            "/o%66fice/x",
            "//confined/studies",
            "/confined;x/studies",
            "/CONFINED/studies",
        ),
        *("/%2563onfined/studies", "/x/../confined/studies", "/x/..%2Fconfined/studies", "/.;/confined/studies"),
        *("/%2Fconfined/studies", "//%63onfined//studies"),
    ],
)
def test_no_way_of_writing_a_path_leads_round_its_guard(attacked: Attacked, target: str) -> None:
    attacked.asked.clear()
    status, _ = attacked.ask(target)
    assert status in (400, 403, 404)
    assert attacked.asked == []
    assert attacked.ask("/elsewhere")[0] == 200
    assert attacked.asked == ["/elsewhere"]


def test_no_second_content_type_hides_the_first(attacked: Attacked) -> None:
    attacked.asked.clear()
    kinds = [("Content-Type", "text/plain;a=b"), ("Content-Type", "multipart/related")]
    for fields in (kinds, kinds[::-1], kinds[1:]):
        assert attacked.ask("/upload", *fields, method="POST", body=b"x")[0] == 403
    assert attacked.asked == []
    assert attacked.ask("/upload", kinds[0], method="POST", body=b"x")[0] == 200


@pytest.mark.parametrize(
    ("tag", "vr", "value"), [(b"\x10\0\x20\0", b"LO", b"P1"), (b"\x20\0\x0d\0", b"UI", b"1.1\0")], ids=["ID", "study"]
)
def test_what_is_said_twice_stores_nothing_for_another_patient(
    attacked: Attacked, tag: bytes, vr: bytes, value: bytes
) -> None:
    before = attacked.studies()
    second = tag + vr + len(value).to_bytes(2, "little") + value
    mine = image(5, study="1.5", series="1.5.1", PatientID="P2")
    assert attacked.store("/confined", mine, second) == 409
    assert attacked.studies() == before == {"1.1": "P1", "1.2": "P2"}


@pytest.mark.parametrize(
    "data_set",
    [
        image(6, study="1.1", series="1.1.1", PatientID="P2"),
        image(6, study="1.6", series="1.6.1", PatientID="P1"),
        image(6, study="1.6", series="1.6.1", PatientID="p2"),
        image(6, study="1.6", series="1.6.1", PatientID=["P2", "P1"]),
        image(6, study="1.6", series="1.6.1", PatientID="P2", SOPInstanceUID="1.1.1.1"),
    ],
    ids=["his study", "his ID", "another case", "two IDs", "his instance"],
)
def test_nothing_is_stored_into_what_is_another_patients(attacked: Attacked, data_set: Dataset) -> None:
    before = attacked.studies()
    assert attacked.store("/confined", data_set) == 409
    assert attacked.studies() == before


@pytest.mark.parametrize(
    "path",
    [
        *(
            "studies/1.1",
            "studies/1.1/metadata",
            "studies/1.1/rendered",
            "studies/1.1/thumbnail",
            "studies/1.1/pixeldata",
        ),
        *("studies/1.1/series/1.1.1/instances/1.1.1.1/frames/1", "studies/1.2/series/1.1.1/instances/1.1.1.1"),
        "studies/1.1/series/1.1.1/instances/1.1.1.1/bulkdata/7FE00010",
        "?requestType=WADO&studyUID=1.1&seriesUID=1.1.1&objectUID=1.1.1.1",
        "?requestType=WADO&studyUID=1.2&seriesUID=1.1.1&objectUID=1.1.1.1",
    ],
)
def test_what_is_another_patients_is_not_there(attacked: Attacked, path: str) -> None:
    for fields in ((), (("If-None-Match", "*"),), (("Range", "bytes=0-1"),)):
        for method in ("GET", "HEAD"):
            status, content = attacked.ask(f"/confined/{path}", BEN, ("Accept", "*/*"), *fields, method=method)
            assert status == 404
            assert b"P1" not in content
