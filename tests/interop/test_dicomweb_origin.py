"""DIMSE in front of DICOMweb: DCMTK's tools ask the gateway, and the gateway a real DICOMweb server.

The servers are Orthanc's plugin, and the gateway itself in front of its own archive.
"""

import http.server
import json
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.interop.conftest import need
from tests.interop.processes import (
    DICOMWEB_PLUGIN,
    NO_DELAY,
    free_port,
    gateway,
    orthanc_dicomweb,
    running,
)

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("real_peers")]

AE_TITLE = "FRONT"

CONFIGURATION = """
[proxy]
id = "front"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[management]
enabled = true
network = "default"

[pipelines.front]
networks = ["default"]
endpoints = ["scp"]
middleware = ["dicom_to_dicomweb"]
backends = ["origin"]

[endpoints.scp]
service = "dicom_scp"
options.local_aet = "FRONT"
options.bind_addr = "127.0.0.1"
options.port = SCP_PORT
options.enable_find = true
options.enable_get = true
options.enable_move = true
options.enable_store = true
options.aet_table.RECEIVER = { ae_title = "RECEIVER", host = "127.0.0.1", port = RECEIVER_PORT }

[backends.origin]
service = "dicomweb"
options.base_url = "BASE_URL"
"""

ORIGIN = """
[proxy]
id = "origin"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[pipelines.web]
networks = ["default"]
endpoints = ["web"]
middleware = ["dicomweb_bridge"]
backends = ["archive"]

[endpoints.web]
service = "dicomweb"
options.path_prefix = "/dicom"

[backends.archive]
service = "storage"
options.root = "ROOT"
"""

STUDY, SERIES = "2.25.71", "2.25.72"


class Front(NamedTuple):
    """The gateway, and where it is."""

    port: int
    receiver_port: int
    folder: Path

    def run(self, tool: str, *arguments: object, paths: tuple[Path, ...] = (), fails: bool = False) -> str:
        """Run a tool against the gateway, and return what it says."""
        peer = ("-aec", AE_TITLE, "127.0.0.1", self.port)
        words = (tool, "-v", *arguments, *peer, *paths)
        ran = subprocess.run([*map(str, words)], env=NO_DELAY, capture_output=True, check=False, timeout=60)
        said = (ran.stdout + ran.stderr).decode("latin-1").replace("\0", "")
        assert (ran.returncode != 0) == fails, said
        return said

    def store(self, *paths: Path, fails: bool = False, proposing: str = "") -> str:
        more = [proposing] if proposing else []
        return self.run("storescu", *more, paths=paths, fails=fails)

    def find(self, level: str, *keys: str, model: str = "-S") -> str:
        asked = (f"QueryRetrieveLevel={level}", *keys)
        return self.run("findscu", model, *(part for key in asked for part in ("-k", key)))


@contextmanager
def _own_archive(folder: Path) -> Iterator[str]:
    with gateway(folder, ORIGIN.replace("ROOT", str(folder / "archive"))) as url:
        yield f"{url}/dicom"


@contextmanager
def _orthanc(folder: Path) -> Iterator[str]:
    if not DICOMWEB_PLUGIN.exists():
        pytest.skip("not installed: Orthanc's DICOMweb plugin (Debian: apt-get install orthanc-dicomweb)")
    with orthanc_dicomweb(folder) as (_, url):
        yield url


@contextmanager
def front(folder: Path, base_url: str) -> Iterator[Front]:
    """The gateway in front of a DICOMweb server."""
    port, receiver_port = free_port(), free_port()
    text = CONFIGURATION
    for name, value in (("SCP_PORT", port), ("RECEIVER_PORT", receiver_port), ("BASE_URL", base_url)):
        text = text.replace(name, str(value))
    folder.mkdir(exist_ok=True)
    with gateway(folder, text):
        yield Front(port, receiver_port, folder)


def slices(folder: Path, count: int = 4) -> list[Path]:
    """A series whose slices are larger than any one read."""
    source = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    del source[0xFFFC, 0xFFFC]
    source.StudyInstanceUID, source.SeriesInstanceUID, source.PatientID = STUDY, SERIES, "SLICES"
    source.PatientName = "Müller^Jürgen"
    source.SpecificCharacterSet = "ISO_IR 100"
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


def others() -> list[tuple[Path, str]]:
    """Objects in other transfer syntaxes, and what storescu proposes for them."""
    named = (("MR_small.dcm", ""), ("ExplVR_BigEnd.dcm", "-xb"), ("JPEG2000.dcm", "-xw"), ("rtplan.dcm", "-xi"))
    return [(Path(str(get_testdata_file(name, download=False))), proposing) for name, proposing in named]


@pytest.fixture(scope="module", params=["our own", "orthanc"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The gateway in front of a server into which the objects were stored through it."""
    folder = tmp_path_factory.mktemp("origin")
    with ExitStack() as stack:
        base_url = stack.enter_context((_orthanc if request.param == "orthanc" else _own_archive)(folder))
        one = stack.enter_context(front(folder / "front", base_url))
        said = one.store(*slices(folder))
        assert said.count("Received Store Response (Success)") == 4, said
        for path, proposing in others():
            one.store(path, proposing=proposing)
        yield one


def test_the_gateway_is_there(filled: Front) -> None:
    assert "Received Echo Response (Success)" in filled.run("echoscu")


@pytest.mark.parametrize(
    ("model", "level", "keys", "found", "count"),
    [
        ("-P", "PATIENT", ["PatientName=M*", "PatientID=SLICES"], ["[SLICES]"], 1),
        ("-S", "STUDY", ["StudyInstanceUID=2.25.71", "NumberOfStudyRelatedInstances"], ["[2.25.71]", "[4]"], 1),
        ("-S", "STUDY", ["PatientID=SLI?ES", "ModalitiesInStudy=CT"], ["[SLICES]", "[CT]"], 1),
        ("-S", "STUDY", ["StudyInstanceUID=2.25.71\\1.2.3", "PatientID"], ["[SLICES]"], 1),
        ("-S", "STUDY", ["StudyDate=19000101-20991231", "StudyInstanceUID"], ["[2.25.71]"], 5),
        ("-S", "STUDY", ["PatientID=NOBODY", "StudyInstanceUID"], [], 0),
        ("-S", "SERIES", ["StudyInstanceUID=2.25.71", "SeriesInstanceUID", "Modality"], ["[2.25.72]", "[CT]"], 1),
        (
            "-S",
            "IMAGE",
            ["StudyInstanceUID=2.25.71", "SeriesInstanceUID=2.25.72", "SOPInstanceUID"],
            ["[2.25.73.3]"],
            4,
        ),
        ("-S", "IMAGE", ["StudyInstanceUID=2.25.71", "SeriesInstanceUID=2.25.72", "InstanceNumber=2"], ["[2 ]"], 1),
    ],
)
def test_findscu_finds_at_every_level(
    filled: Front, model: str, level: str, keys: list[str], found: list[str], count: int
) -> None:
    said = filled.find(level, *keys, model=model)
    for value in found:
        assert value in said or f"{value[:-1]} ]" in said, said
    assert said.count("Find Response: ") == count, said


def test_matches_come_in_the_character_set_of_who_asks(filled: Front) -> None:
    keys = ("PatientName", "StudyInstanceUID=2.25.71")
    assert "[Müller^Jürgen]" in filled.find("STUDY", "SpecificCharacterSet=ISO_IR 100", *keys).replace(" ]", "]")
    said = filled.find("STUDY", *keys)
    assert "[Müller^Jürgen]" in said.encode("latin-1").decode("utf-8").replace(" ]", "]")


def read_back(folder: Path) -> dict[str, Dataset]:
    return {one.SOPInstanceUID: one for one in map(pydicom.dcmread, folder.iterdir())}


def assert_same(got: dict[str, Dataset], folder: Path) -> None:
    sent = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, slices(folder))}
    assert got.keys() == sent.keys()
    for uid, one in got.items():
        assert one == sent[uid]


@pytest.mark.parametrize(
    "keys",
    [
        ["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}"],
        ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={STUDY}", f"SeriesInstanceUID={SERIES}"],
    ],
)
def test_getscu_gets_what_was_stored(filled: Front, tmp_path: Path, keys: list[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    said = filled.run("getscu", "-S", "+B", "-od", out, *(part for key in keys for part in ("-k", key)))
    assert "Number of Completed Suboperations : 4" in said, said
    assert "Number of Failed Suboperations    : 0" in said, said
    assert_same(read_back(out), tmp_path)


def test_getscu_gets_instances_by_their_uids(filled: Front, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    keys = (f"StudyInstanceUID={STUDY}", f"SeriesInstanceUID={SERIES}", "SOPInstanceUID=2.25.73.2\\2.25.73.4")
    named = ("QueryRetrieveLevel=IMAGE", *keys)
    said = filled.run("getscu", "-S", "-od", out, *(part for key in named for part in ("-k", key)))
    assert "Number of Completed Suboperations : 2" in said, said
    assert set(read_back(out)) == {"2.25.73.2", "2.25.73.4"}


def test_what_is_compressed_is_got_in_the_syntax_that_was_negotiated_or_not_at_all(
    filled: Front, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    study = pydicom.dcmread(others()[2][0]).StudyInstanceUID
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
    if "orthanc" in request.node.name:
        # Orthanc decodes no JPEG 2000: it sends what it holds, and getscu has not proposed that.
        said = filled.run("getscu", "-S", "-od", out, *keys)
        assert "Number of Failed Suboperations    : 1" in said, said
        return
    filled.run("getscu", "-S", "-od", out, *keys)
    [one] = read_back(out).values()
    assert one.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_movescu_moves_what_was_stored_as_it_is_held(filled: Front, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    receiver = ["storescp", "+xa", "-aet", "RECEIVER", "-od", str(out), str(filled.receiver_port)]
    with running(receiver, filled.receiver_port, log=tmp_path / "storescp.log"):
        for path, count in ((slices(tmp_path)[0], 4), (others()[2][0], 1)):
            study = pydicom.dcmread(path).StudyInstanceUID
            keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
            said = filled.run("movescu", "-S", "-aem", "RECEIVER", *keys)
            assert "Received Final Move Response (Success)" in said, said
            assert said.count("(Pending)") == count, said
    got = read_back(out)
    compressed = got.pop(pydicom.dcmread(others()[2][0]).SOPInstanceUID)
    original = pydicom.dcmread(others()[2][0])
    assert compressed.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    assert compressed.PixelData == original.PixelData
    assert_same(got, tmp_path)


def test_what_is_not_there_is_no_failure(filled: Front, tmp_path: Path) -> None:
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3.4")
    said = filled.run("getscu", "-S", "-od", tmp_path, *keys)
    assert "Number of Completed Suboperations : 0" in said, said


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    need("findscu", "storescu")
    with front(tmp_path / "front", f"http://127.0.0.1:{free_port()}/dicom-web") as one:
        said = one.find("STUDY", "StudyInstanceUID")
        assert "Received Final Find Response (Failed: UnableToProcess)" in said, said
        said = one.store(slices(tmp_path, 1)[0], fails=True)
        assert "Received Store Response (Refused: OutOfResources)" in said, said


def test_a_service_at_another_path_is_no_empty_archive(tmp_path: Path) -> None:
    with _own_archive(tmp_path) as url, front(tmp_path / "front", f"{url}/elsewhere") as one:
        with urllib.request.urlopen(f"{url}/studies", timeout=10) as response:
            assert json.loads(response.read()) == []
        assert "Received Final Find Response (Failed" in one.find("STUDY", "StudyInstanceUID")


# A server that lies, or breaks off


class Lying(http.server.BaseHTTPRequestHandler):
    """Says that it has one instance of a study, and sends what the test says."""

    protocol_version = "HTTP/1.0"
    sends = b""

    def do_GET(self) -> None:
        retrieve = "application/dicom+json" not in self.headers["Accept"]
        study = {"0020000D": {"vr": "UI", "Value": [STUDY]}, "00100020": {"vr": "LO", "Value": ["SLICES"]}}
        self.send_response(200)
        media_type = (
            'multipart/related; type="application/dicom"; boundary=b1' if retrieve else "application/dicom+json"
        )
        self.send_header("Content-Type", media_type)
        self.end_headers()
        self.wfile.write(self.sends if retrieve else json.dumps([study]).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def lying(sends: bytes) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("One", (Lying,), {"sends": sends}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def part_of(path: Path) -> bytes:
    return b"--b1\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n"


@pytest.mark.parametrize(
    ("what", "arrive"),
    [("whole", 2), ("no closing delimiter", 1), ("half an instance", 1), ("another study", 1), ("a page", 0)],
)
def test_a_study_that_does_not_come_as_it_should_is_a_failure(tmp_path: Path, what: str, arrive: int) -> None:
    first, second = map(part_of, slices(tmp_path, 2))
    sends = {
        "whole": first + second + b"--b1--\r\n",
        "no closing delimiter": first + second,
        "half an instance": (first + second)[:-50_000],
        "another study": first + part_of(others()[0][0]) + b"--b1--\r\n",
        "a page": b"<html>Please sign in</html>",
    }[what]
    out = tmp_path / "out"
    out.mkdir()
    with lying(sends) as url, front(tmp_path / "front", url) as one:
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}")
        peer = ("-aec", AE_TITLE, "127.0.0.1", str(one.port))
        command = ["getscu", "-v", "-S", "-od", str(out), *keys, *peer]
        ran = subprocess.run(command, env=NO_DELAY, capture_output=True, check=False, timeout=60)
        said = (ran.stdout + ran.stderr).decode("latin-1")
    assert ("Received C-GET Response (Success)" in said) == (what == "whole"), said
    assert said.count("Sending C-STORE Response (Success)") == arrive, said
