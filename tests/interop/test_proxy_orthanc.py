"""Orthanc's DICOMweb service behind the gateway: what comes through us is what it sends, but for the URLs."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.data import get_testdata_file

from tests.interop.processes import free_port, gateway, running, send_files

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

pytestmark = [
    pytest.mark.interop,
    pytest.mark.usefixtures("real_peers"),
    pytest.mark.skipif(not PLUGIN.exists(), reason="not installed: orthanc-dicomweb"),
]

FILES = ("CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm")

CONFIGURATION = """
[proxy]
id = "interop"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb"]
backends = ["orthanc"]

[endpoints.dicomweb]
service = "dicomweb"
options = { public_url = "http://127.0.0.1:{port}/dicom" }

[backends.orthanc]
service = "dicomweb"
target_ref = "orthanc"
authentication = "ours"

[targets.orthanc.connection]
host = "127.0.0.1"
port = ORTHANC
base_path = "dicom-web"

[authentications.ours]
method = "basic"
options = { username = "gateway", password = "secret" }
"""


class Both(NamedTuple):
    """The service through us, and straight."""

    ours: str
    theirs: str

    @property
    def through(self) -> DICOMwebClient:
        return DICOMwebClient(self.ours)

    @property
    def straight(self) -> DICOMwebClient:
        return DICOMwebClient(self.theirs, headers={"Authorization": "Basic Z2F0ZXdheTpzZWNyZXQ="})


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("orthanc-dicomweb")
    port, http_port = free_port(), free_port()
    settings = {
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "HttpPort": http_port,
        "DicomPort": port,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"gateway": "secret"},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(settings))
    with running(["Orthanc", str(configuration)], http_port, log=folder / "orthanc.log"):
        send_files([Path(str(get_testdata_file(name, download=False))) for name in FILES], port, "ORTHANC")
        text = CONFIGURATION.replace("ORTHANC", str(http_port))
        with gateway(folder, text) as url:
            yield Both(f"{url}/dicom", f"http://127.0.0.1:{http_port}/dicom-web")


def common(value: object) -> object:
    """Without what tells the two apart; the client library says no port in Host, and Orthanc believes it."""
    return json.loads(re.sub(r"http://127\.0\.0\.1(:[0-9]+)?/dicom(-web)?/", "URL/", json.dumps(value)))


def test_a_search_is_theirs_with_our_urls(both: Both) -> None:
    found = both.through.search_for_studies()
    assert len(found) == len(FILES)
    assert common(found) == common(both.straight.search_for_studies())
    assert all(one["00081190"]["Value"][0].startswith(both.ours + "/studies/") for one in found)


def test_a_study_is_the_same_bytes(both: Both) -> None:
    for study in both.straight.search_for_studies():
        uid = study["0020000D"]["Value"][0]
        [ours], [theirs] = both.through.retrieve_study(uid), both.straight.retrieve_study(uid)
        assert ours == theirs


def test_metadata_name_bulk_data_that_comes_from_us(both: Both) -> None:
    [study] = both.through.search_for_studies(search_filters={"ModalitiesInStudy": "CT"})
    uid = study["0020000D"]["Value"][0]
    [instance] = both.through.retrieve_study_metadata(uid)
    [straight] = both.straight.retrieve_study_metadata(uid)
    assert common(instance) == common(straight)
    assert "dicom-web" not in json.dumps(instance)
    uri = instance["7FE00010"]["BulkDataURI"]
    assert uri.startswith(both.ours + "/studies/")
    asked = urllib.request.Request(uri, headers={"Accept": 'multipart/related; type="application/octet-stream"'})
    with urllib.request.urlopen(asked) as answer:
        assert len(answer.read()) > 128 * 128 * 2


def test_frames_and_renderings_are_the_same_bytes(both: Both) -> None:
    [study] = both.straight.search_for_instances(search_filters={"Modality": "MR"})
    uids = [study[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")]
    octets = (("application/octet-stream", "1.2.840.10008.1.2.1"),)
    [ours] = both.through.retrieve_instance_frames(*uids, [1], media_types=octets)
    [theirs] = both.straight.retrieve_instance_frames(*uids, [1], media_types=octets)
    assert ours == theirs
    path = "/studies/{}/series/{}/instances/{}/rendered".format(*uids)
    with urllib.request.urlopen(both.ours + path) as response:
        assert response.headers["Content-Type"] == "image/jpeg"
        assert response.read(2) == b"\xff\xd8"


def test_what_is_not_there_is_404(both: Both) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{both.ours}/studies/1.2.3/metadata")
    with refused.value as answer:
        assert answer.code == 404


def test_what_our_password_is_nobody_is_told(both: Both) -> None:
    with urllib.request.urlopen(f"{both.ours}/studies") as response:
        assert "secret" not in str(response.headers)
        assert response.headers["Via"].startswith("1.1 harmonygw-")
