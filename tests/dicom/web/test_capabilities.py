from xml.etree import ElementTree

import orjson
import pytest

from harmonygw.dicom.web.capabilities import _ANSWERS, as_json, as_wadl
from harmonygw.dicom.web.query import _PARAMETERS
from harmonygw.dicom.web.rendering_parameters import _WITHOUT_EFFECT, parse_rendering, parse_thumbnail, parse_uri
from harmonygw.dicom.web.resources import SERVED, TRANSACTIONS, URI_TRANSACTION, Kind, parse
from harmonygw.errors import BadRequest

BASE = "https://h/dicom"
WADL = "{http://wadl.dev.java.net/2009/02}"


def expected() -> list[tuple[str, str]]:
    return [(one.method, f"/{one.path}") for one in (*TRANSACTIONS, URI_TRANSACTION) if one.kind in SERVED]


def test_every_kind_that_is_served_is_described() -> None:
    assert set(_ANSWERS) == SERVED


def test_every_parameter_of_a_search_is_described() -> None:
    names = {name for name, _ in _ANSWERS[Kind.SEARCH_STUDIES].parameters}
    assert names == {"{attribute}", *_PARAMETERS} - {"charset"}  # a JSON answer has none


def test_the_json_description_lists_what_is_served_and_nothing_else() -> None:
    document = orjson.loads(as_json(BASE))
    assert document["base"] == BASE
    assert [(one["method"], one["path"]) for one in document["transactions"]] == expected()
    by_path = {one["path"]: one for one in document["transactions"] if one["method"] == "GET"}
    xml = 'multipart/related; type="application/dicom+xml"'
    assert by_path["/studies"]["mediaTypes"] == ["application/dicom+json", "application/json", xml]
    assert "fuzzymatching" in by_path["/studies/{study}/series"]["query"]
    assert by_path["/studies/{study}"]["mediaTypes"] == [
        'multipart/related; type="application/dicom"',
        "application/zip",
    ]
    instance = by_path["/studies/{study}/series/{series}/instances/{instance}"]
    assert instance["mediaTypes"] == [
        'multipart/related; type="application/dicom"',
        "application/dicom",
        "application/zip",
    ]
    assert instance["reference"] == "PS3.18 §10.4"
    (uri,) = (one for one in document["transactions"] if one["name"] == Kind.WADO_URI.value)
    assert (uri["path"], uri["reference"], uri["mediaTypes"][0]) == ("/", "PS3.18 §9", "image/jpeg")


def test_a_store_says_what_it_takes_too() -> None:
    stores = [one for one in orjson.loads(as_json(BASE))["transactions"] if one["method"] == "POST"]
    assert [one["path"] for one in stores] == ["/studies", "/studies/{study}"]
    for one in stores:
        assert one["name"] == "Store Instances"
        assert one["mediaTypes"] == ["application/dicom+json", "application/json", "application/dicom+xml"]
        assert one["requestMediaTypes"][0] == 'multipart/related; type="application/dicom"'
        assert "application/dicom" in one["requestMediaTypes"]
    wadl = as_wadl(BASE).decode()
    request = wadl[wadl.index('name="POST"') :].partition("</request>")[0]
    assert '<representation mediaType="application/dicom+xml"' in request


def test_what_one_part_can_answer_is_told_from_what_it_cannot() -> None:
    transactions = orjson.loads(as_json(BASE))["transactions"]
    by_path = {one["path"]: one["mediaTypes"] for one in transactions if one["method"] == "GET"}
    instance = "/studies/{study}/series/{series}/instances/{instance}"
    for ending, one_part in (
        ("metadata", "application/dicom+xml"),
        ("rendered", "image/jpeg"),
        ("pixeldata", "application/octet-stream"),
    ):
        assert one_part in by_path[f"{instance}/{ending}"]
        for above in ("/studies/{study}", "/studies/{study}/series/{series}"):
            offers = by_path[f"{above}/{ending}"]
            assert one_part not in offers
            assert f'multipart/related; type="{one_part}"' in offers
    assert by_path[f"{instance}/bulkdata"] == ['multipart/related; type="application/octet-stream"']
    assert by_path[f"{instance}/bulkdata/{{bulk_path}}"] == [
        *by_path[f"{instance}/bulkdata"],
        "application/octet-stream",
    ]
    assert "image/jphc" in by_path[f"{instance}/frames/{{frames}}"]
    assert "video/mp4" in by_path[f"{instance}/pixeldata"]
    assert by_path["/studies/{study}/thumbnail"] == ["image/jpeg"]


def test_every_parameter_of_a_rendering_that_is_described_is_read_and_the_other_way_about() -> None:
    def names(kind: Kind) -> list[str]:
        return [name for name, _ in _ANSWERS[kind].parameters if name != "accept"]

    for kind, read in ((Kind.RENDERED, parse_rendering), (Kind.THUMBNAIL, parse_thumbnail)):
        for name in names(kind):
            with pytest.raises(BadRequest, match=f"^{name} "):
                read([(name, "ü")])
    uids = ["requestType", "studyUID", "seriesUID", "objectUID"]
    query = [(name, "WADO" if name == "requestType" else "1.2") for name in uids]
    assert parse((), query=query).instance == "1.2"
    assert names(Kind.WADO_URI)[:5] == [*uids, "contentType"]
    for name in names(Kind.WADO_URI)[5:]:
        assert name not in _WITHOUT_EFFECT
        with pytest.raises(BadRequest, match=name):
            parse_uri([*query, (name, "ü")])


def test_the_wadl_description_nests_resources_as_their_paths_do() -> None:
    root = ElementTree.fromstring(as_wadl(BASE))
    assert root.tag == f"{WADL}application"
    (resources,) = root
    assert resources.get("base") == BASE
    found: list[tuple[str, str]] = []

    def walk(element: ElementTree.Element, path: str) -> None:
        found.extend((str(method.get("name")), path) for method in element.findall(f"{WADL}method"))
        for child in element.findall(f"{WADL}resource"):
            walk(child, f"{path}/{child.get('path')}")

    walk(resources, "")
    described = [pair for pair in expected() if pair[1] != "/"]
    assert sorted(found) == sorted([*described, ("GET", "/")])  # the URI service, but not the description itself


def test_wadl_methods_have_unique_ids_parameters_and_representations() -> None:
    root = ElementTree.fromstring(as_wadl(BASE))
    methods = list(root.iter(f"{WADL}method"))
    identifiers = [method.get("id") for method in methods]
    assert len(set(identifiers)) == len(identifiers)
    assert "SearchForStudies_Studies" in identifiers
    assert Kind.CAPABILITIES.value not in identifiers
    (series,) = (one for one in root.iter(f"{WADL}resource") if one.get("path") == "{series}")
    parameter = series.find(f"{WADL}param")
    assert parameter is not None
    assert (parameter.get("name"), parameter.get("style")) == ("series", "template")
    studies = methods[identifiers.index("SearchForStudies_Studies")]
    queries = [one.get("name") for one in studies.iter(f"{WADL}param") if one.get("style") == "query"]
    assert {"includefield", "limit", "offset"} <= set(queries)
    media = [one.get("mediaType") for one in studies.iter(f"{WADL}representation")]
    assert media == ["application/dicom+json", "application/json", 'multipart/related; type="application/dicom+xml"']
    assert "RetrievebyURI_" in identifiers
    uri = methods[identifiers.index("RetrievebyURI_")]
    queries = [one.get("name") for one in uri.iter(f"{WADL}param") if one.get("style") == "query"]
    assert queries[:4] == ["requestType", "studyUID", "seriesUID", "objectUID"]
