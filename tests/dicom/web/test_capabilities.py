from xml.etree import ElementTree

import orjson

from harmonygw.dicom.web.capabilities import _ANSWERS, as_json, as_wadl
from harmonygw.dicom.web.query import _PARAMETERS
from harmonygw.dicom.web.resources import SERVED, TRANSACTIONS, Kind

BASE = "https://h/dicom"
WADL = "{http://wadl.dev.java.net/2009/02}"


def expected() -> list[tuple[str, str]]:
    return [(one.method, f"/{one.path}") for one in TRANSACTIONS if one.kind in SERVED]


def test_every_kind_that_is_served_is_described() -> None:
    assert set(_ANSWERS) == SERVED


def test_every_parameter_of_a_search_is_described() -> None:
    names = {name for name, _ in _ANSWERS[Kind.SEARCH_STUDIES].parameters}
    assert names == {"{attribute}", *_PARAMETERS} - {"charset"}  # a JSON answer has none


def test_the_json_description_lists_what_is_served_and_nothing_else() -> None:
    document = orjson.loads(as_json(BASE))
    assert document["base"] == BASE
    assert [(one["method"], one["path"]) for one in document["transactions"]] == expected()
    by_path = {one["path"]: one for one in document["transactions"]}
    assert by_path["/studies"]["mediaTypes"] == ["application/dicom+json", "application/json"]
    assert "fuzzymatching" in by_path["/studies/{study}/series"]["query"]
    assert by_path["/studies/{study}"]["mediaTypes"] == ['multipart/related; type="application/dicom"']
    instance = by_path["/studies/{study}/series/{series}/instances/{instance}"]
    assert instance["mediaTypes"] == ['multipart/related; type="application/dicom"', "application/dicom"]
    assert instance["reference"] == "PS3.18 §10.4"


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
    assert sorted(found) == sorted(pair for pair in expected() if pair[1] != "/")


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
    assert media == ["application/dicom+json", "application/json"]
