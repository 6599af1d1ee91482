"""Two Orthancs as one archive: the same and clashing identifiers, a study in two parts, one killed."""

import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.data import get_testdata_file
from requests.exceptions import HTTPError

from tests.interop.processes import gateway, orthanc, send_files

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("real_peers")]

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
backends = ["north", "south"]

[pipelines.web.options]
strategy = "federate"
ae_titles = { north = "NORTH", south = "SOUTH" }
remember_secs = 0

[backends.north]
service = "dicom_scu"
max_retries = 0
options = { host = "127.0.0.1", port = NORTH_PORT, aet = "ORTHANC", local_aet = "HARMONYGW" }

[backends.south]
service = "dicom_scu"
max_retries = 0
options = { host = "127.0.0.1", port = SOUTH_PORT, aet = "ORTHANC", local_aet = "HARMONYGW" }
"""


class Both(NamedTuple):
    """A gateway in front of both, and what ends the one in the south."""

    url: str
    kill_south: Any

    @property
    def client(self) -> DICOMwebClient:
        return DICOMwebClient(self.url)


def image(folder: Path, sop: str, study: str, series: str, **attributes: Any) -> Path:
    source = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    source.StudyInstanceUID, source.SeriesInstanceUID = study, series
    source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = sop
    for keyword, value in attributes.items():
        setattr(source, keyword, value)
    path = folder / f"{len(list(folder.iterdir()))}.dcm"
    source.save_as(path)
    return path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("both")
    files = folder / "files"
    files.mkdir()
    copy = image(files, "2.25.10.1", "2.25.1", "2.25.10", PatientID="COPY", PatientName="Same^Sam")
    north = [
        copy,
        image(files, "2.25.20.1", "2.25.2", "2.25.20", PatientID="PARTS", Modality="CT"),
        image(files, "2.25.20.2", "2.25.2", "2.25.20", PatientID="PARTS", Modality="CT"),
        image(files, "2.25.30.1", "2.25.3", "2.25.30", PatientID="ANN", PatientName="Apple^Ann"),
    ]
    south = [
        copy,
        image(files, "2.25.20.2", "2.25.2", "2.25.20", PatientID="PARTS", Modality="CT"),
        image(files, "2.25.20.3", "2.25.2", "2.25.20", PatientID="PARTS", Modality="CT"),
        image(files, "2.25.21.1", "2.25.2", "2.25.21", PatientID="PARTS", Modality="MR"),
        image(files, "2.25.30.1", "2.25.3", "2.25.30", PatientID="BOB", PatientName="Birch^Bob"),
        image(files, "2.25.40.1", "2.25.4", "2.25.40", PatientID="SOUTHERNER"),
    ]
    with ExitStack() as stack:
        ending = ExitStack()
        ports = {}
        for name, files_of, owner in (("NORTH", north, stack), ("SOUTH", south, ending)):
            (folder / name).mkdir()
            ports[name] = owner.enter_context(orthanc(folder / name))
            send_files(files_of, ports[name], "ORTHANC")
        stack.callback(ending.close)
        text = CONFIGURATION
        for name, port in ports.items():
            text = text.replace(f"{name}_PORT", str(port))
        url = stack.enter_context(gateway(folder, text))
        yield Both(f"{url}/dicom", ending.close)


def get(url: str) -> tuple[int, dict[str, str], Any]:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status, dict(response.headers), json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.load(error)


def first(row: dict[str, Any], tag: str) -> Any:
    return row.get(tag, {}).get("Value", [None])[0]


def test_a_search_is_merged_by_uid(both: Both) -> None:
    rows = both.client.search_for_studies()
    found = sorted((first(row, "0020000D"), first(row, "00100020"), first(row, "00080054")) for row in rows)
    assert found == [
        ("2.25.1", "COPY", "NORTH"),
        ("2.25.2", "PARTS", "NORTH"),
        ("2.25.3", "ANN", "NORTH"),
        ("2.25.3", "BOB", "SOUTH"),
        ("2.25.4", "SOUTHERNER", "SOUTH"),
    ]
    names = {first(row, "00100020"): first(row, "00100010")["Alphabetic"] for row in rows}
    assert (names["ANN"], names["BOB"], names["COPY"]) == ("Apple^Ann", "Birch^Bob", "Same^Sam")
    [parts] = [row for row in rows if first(row, "0020000D") == "2.25.2"]
    assert parts["00080061"]["Value"] == ["CT", "MR"]
    assert (first(parts, "00201206"), first(parts, "00201208")) == (2, 4)
    [copy] = [row for row in rows if first(row, "0020000D") == "2.25.1"]
    assert (first(copy, "00201206"), first(copy, "00201208")) == (1, 1)


def test_a_study_in_two_parts_is_retrieved_whole(both: Both) -> None:
    got = [str(one.SOPInstanceUID) for one in both.client.retrieve_study("2.25.2")]
    assert sorted(got) == ["2.25.20.1", "2.25.20.2", "2.25.20.3", "2.25.21.1"]
    metadata = both.client.retrieve_series_metadata("2.25.2", "2.25.20")
    assert sorted(first(row, "00080018") for row in metadata) == ["2.25.20.1", "2.25.20.2", "2.25.20.3"]
    frames = both.client.retrieve_instance_frames("2.25.2", "2.25.20", "2.25.20.3", [1])
    assert len(frames[0]) == 128 * 128 * 2


def test_a_contested_study_is_retrieved_by_its_source_alone(both: Both) -> None:
    with pytest.raises(HTTPError, match="409"):
        both.client.retrieve_study("2.25.3")
    with pytest.raises(HTTPError, match="409"):
        both.client.retrieve_study_metadata("2.25.3")
    for title, patient in (("NORTH", "ANN"), ("SOUTH", "BOB")):
        alone = DICOMwebClient(f"{both.url}/aets/{title}")
        assert [str(one.PatientID) for one in alone.retrieve_study("2.25.3")] == [patient]
        [row] = alone.search_for_studies(search_filters={"StudyInstanceUID": "2.25.3"})
        assert first(row, "00100020") == patient
    rows = both.client.search_for_series(search_filters={"PatientID": "ANN"}, fields=["PatientName"])
    assert [(first(row, "00100020"), first(row, "00080054")) for row in rows] == [("ANN", "NORTH")]
    below = first(rows[0], "00081190").partition("/dicom/")[2]  # this client states a Host without its port
    assert below == "aets/NORTH/studies/2.25.3/series/2.25.30"
    _, _, [metadata] = get(f"{both.url}/{below}/metadata")
    assert first(metadata, "00100020") == "ANN"


def test_each_is_a_service_of_its_own_and_described(both: Both) -> None:
    status, _, described = get(f"{both.url}/")
    assert (status, described["sources"]) == (
        200,
        [{"aeTitle": title, "base": f"{both.url}/aets/{title}"} for title in ("NORTH", "SOUTH")],
    )
    status, _, described = get(f"{both.url}/aets/NORTH/")
    assert (status, described["base"], "sources" in described) == (200, f"{both.url}/aets/NORTH", False)
    assert get(f"{both.url}/aets/EAST/studies")[0] == 404
    [instance] = DICOMwebClient(f"{both.url}/aets/SOUTH").retrieve_series("2.25.4", "2.25.40")
    with io.BytesIO() as written:
        instance.save_as(written)
    status, _, rows = get(f"{both.url}/aets/SOUTH/studies/2.25.2/series")
    assert len(rows) == 2
    assert first(rows[0], "00081190").startswith(f"{both.url}/aets/SOUTH/studies/2.25.2/series/")


def test_with_one_killed_the_others_answer_and_what_it_alone_has_is_an_error(both: Both) -> None:
    both.kill_south()
    status, headers, rows = get(f"{both.url}/studies")
    assert status == 200
    assert headers["Warning"] == '299 harmonygw "SOUTH did not answer; what it holds is missing here."'
    assert {first(row, "0020000D") for row in rows} == {"2.25.1", "2.25.2", "2.25.3"}
    assert len(both.client.retrieve_study("2.25.1")) == 1
    with pytest.raises(HTTPError, match="502"):
        both.client.retrieve_study("2.25.4")
