"""The settings in `etc/viewers`, and what the viewers that cannot run here ask, replayed."""

import json
import runpy
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from harmonygw.backends.storage import phantom
from harmonygw.backends.storage.samples import (
    PHANTOM_PATIENT_ID,
    PHANTOM_SERIES_INSTANCE_UID,
    PHANTOM_STUDY_INSTANCE_UID,
    phantom_sop_instance_uid,
)
from harmonygw.config.loading import load
from harmonygw.endpoints.viewer import CONFIGURATION, DATA_SOURCE
from harmonygw.service import available
from tests.interop.viewed import need_node, viewed

pytestmark = pytest.mark.interop

VIEWERS = Path(__file__).parents[2] / "etc" / "viewers"

WEASIS_STUDY = (
    "includefield=00080020,00080030,00080050,00080061,00080090,00081030,"
    "00100010,00100020,00100021,00100030,00100040,0020000D,00200010"
)
WEASIS_SERIES = "includefield=0008103E,00080060,0020000E,00200011,00081190"
WEASIS_INSTANCES = "includefield=00080018,00200013,00081190"
WEASIS_DICOM = 'multipart/related;type="application/dicom";transfer-syntax=*'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a DICOMweb service with the samples."""
    with viewed(tmp_path_factory.mktemp("viewers")) as url:
        yield f"{url}/dicom"


def test_the_settings_of_an_ohif_elsewhere_are_those_that_the_gateway_makes() -> None:
    source = (VIEWERS / "ohif" / "app-config.js").read_text(encoding="utf-8")
    script = f"globalThis.window = {{}}; {source}; process.stdout.write(JSON.stringify(window.config))"
    done = subprocess.run([need_node(), "-e", script], capture_output=True, check=True)
    settings = json.loads(done.stdout)
    [found] = settings["dataSources"]
    service = "https://gateway.hospital.local/dicom"
    assert found["configuration"] == {
        **DATA_SOURCE,
        "qidoRoot": service,
        "wadoRoot": service,
        "wadoUriRoot": service,
    }
    assert {key: settings[key] for key in CONFIGURATION} == CONFIGURATION


def test_the_demonstration_has_a_viewer_when_it_is_asked_to() -> None:
    demonstration = VIEWERS.parent / "demo" / "config.toml"
    plain = load(demonstration, environ={}, available=available())
    configuration = load(demonstration, environ={"HARMONYGW_DEMO": "viewer"}, available=available())
    assert configuration.warnings == ()
    assert configuration.endpoints.keys() - plain.endpoints.keys() == {"viewer"}
    assert {route.path_prefix for route in configuration.routes["default"]} == {"/admin", "/dicom", "/viewer"}


def test_weasis_gets_a_node_with_every_attribute_that_it_reads() -> None:
    root = ElementTree.parse(VIEWERS / "weasis" / "dicomWebNodes.xml").getroot()
    [node] = root
    assert (root.tag, node.tag) == ("nodes", "node")
    assert node.attrib == {
        "description": "harmonygw",
        "type": "WEB",
        "usageType": "BOTH",
        "tsuid": "NONE",
        "webtype": "DICOMWEB",
        "url": "http://127.0.0.1:8081/dicom",
        "headers": "",
    }


def test_slicer_has_the_service_first_among_its_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:8081/dicom"
    kept: dict[str, Any] = {"DICOMwebBrowser/ServerURLHistory": ["http://other/rs", url]}
    opened: list[str] = []
    qt, slicer = ModuleType("qt"), ModuleType("slicer")
    settings = SimpleNamespace(value=lambda key, default: kept.get(key, default), setValue=kept.__setitem__)
    qt.QSettings = lambda: settings  # type: ignore[attr-defined]
    slicer.util = SimpleNamespace(selectModule=opened.append)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "qt", qt)
    monkeypatch.setitem(sys.modules, "slicer", slicer)
    runpy.run_path(str(VIEWERS / "slicer" / "connect.py"))
    assert kept["DICOMwebBrowser/ServerURL"] == url
    assert kept["DICOMwebBrowser/ServerURLHistory"] == [url, "http://other/rs"]
    assert opened == ["DICOMwebBrowser"]


def test_weasis_finds_a_patients_images_and_downloads_them(service: str) -> None:
    [study] = _asked(f"{service}/studies?00100020={PHANTOM_PATIENT_ID}&{WEASIS_STUDY}")
    assert study["0020000D"]["Value"] == [PHANTOM_STUDY_INSTANCE_UID]
    assert study["00081030"]["Value"] == ["CT chest and upper abdomen, generated"]
    series = f"{service}/studies/{PHANTOM_STUDY_INSTANCE_UID}/series"
    [one] = _asked(f"{series}?{WEASIS_SERIES}")
    assert one["0020000E"]["Value"] == [PHANTOM_SERIES_INSTANCE_UID]
    instances = f"{series}/{PHANTOM_SERIES_INSTANCE_UID}/instances"
    middle = _asked(f"{instances}?includefield=00080018&limit=1&offset={phantom.SLICES // 2}")
    assert len(middle) == 1
    found = _asked(f"{instances}?{WEASIS_INSTANCES}")
    assert {row["00080018"]["Value"][0] for row in found} == {
        phantom_sop_instance_uid(number) for number in range(1, phantom.SLICES + 1)
    }
    [retrieve_url] = found[0]["00081190"]["Value"]
    assert retrieve_url.startswith(f"{instances}/")
    status, media_type, content = _get(retrieve_url, WEASIS_DICOM)
    assert (status, media_type.partition(";")[0]) == (200, "multipart/related")
    assert b"Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n" in content
    assert b"DICM" in content


def test_weasis_gets_its_thumbnail_of_a_series(service: str) -> None:
    series = f"{service}/studies/{PHANTOM_STUDY_INSTANCE_UID}/series/{PHANTOM_SERIES_INSTANCE_UID}"
    status, media_type, content = _get(f"{series}/thumbnail?viewport=128%2C128", "image/jpeg")
    assert (status, media_type, content[:3]) == (200, "image/jpeg", b"\xff\xd8\xff")


def test_weasis_finds_an_instance_wherever_it_is(service: str) -> None:
    uid = phantom_sop_instance_uid(7)
    more = ",0008103E,00080060,0020000E,00200011,00200013,00081190"
    [row] = _asked(f"{service}/instances?00080018={uid}&{WEASIS_STUDY}{more}")
    assert row["00080018"]["Value"] == [uid]
    assert row["0020000D"]["Value"] == [PHANTOM_STUDY_INSTANCE_UID]


def test_slicer_pages_until_nothing_comes_and_downloads_a_series(service: str) -> None:
    """As its extension does it: with the client of Python, instance by instance."""
    client = DICOMwebClient(service)
    studies: list[Any] = []
    while subset := client.search_for_studies(offset=len(studies)):
        assert subset[0] not in studies
        studies.extend(subset)
    assert PHANTOM_STUDY_INSTANCE_UID in [study["0020000D"]["Value"][0] for study in studies]
    [series] = map(Dataset.from_json, client.search_for_series(PHANTOM_STUDY_INSTANCE_UID))
    assert series.NumberOfSeriesRelatedInstances == phantom.SLICES
    uids = (PHANTOM_STUDY_INSTANCE_UID, PHANTOM_SERIES_INSTANCE_UID)
    assert len(client.search_for_instances(*uids)) == phantom.SLICES
    instance = client.retrieve_instance(*uids, phantom_sop_instance_uid(1))
    assert instance.PixelData == phantom.slice_pixels(0)


def _get(url: str, accept: str) -> tuple[int, str, bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=30) as response:
        return response.status, response.headers["Content-Type"], response.read()


def _asked(url: str) -> list[dict[str, Any]]:
    status, media_type, content = _get(url, "application/dicom+json")
    assert (status, media_type) == (200, "application/dicom+json")
    document: list[dict[str, Any]] = json.loads(content)
    return document
