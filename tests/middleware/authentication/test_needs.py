"""What requests need: by their operation, or by path and method."""

from typing import Any

import pytest

from harmonygw.dicom.web.resources import TRANSACTIONS, URI_TRANSACTION, Kind
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Request
from harmonygw.middleware.authentication.needs import _OF_KINDS, Need, need_of
from harmonygw.operations import (
    CheckCommitment,
    Echo,
    Find,
    FindWorklist,
    Level,
    Move,
    RequestCommitment,
    Retrieve,
    Store,
)
from harmonygw.streams import Feed

WADO = (("requestType", "WADO"), ("studyUID", "1"), ("seriesUID", "2"), ("objectUID", "3"))


def need(method: str, path: str, query: Any = (), operation: Any = None) -> Need:
    origin = HTTPOrigin(method, tuple(part for part in path.split("/") if part), query)
    return need_of(Request(origin, "192.0.2.1", "id", operation=operation))


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("studies", Need.SEARCH),
        ("series", Need.SEARCH),
        ("instances", Need.SEARCH),
        ("studies/1/series", Need.SEARCH),
        ("studies/1/series/2/instances", Need.SEARCH),
        ("studies/1/metadata", Need.SEARCH),
        ("studies/1/series/2/instances/3/metadata", Need.SEARCH),
        ("studies/1", Need.RETRIEVE),
        ("studies/1/series/2/instances/3", Need.RETRIEVE),
        ("studies/1/series/2/instances/3/frames/1,2", Need.RETRIEVE),
        ("studies/1/series/2/instances/3/bulkdata/00420011", Need.RETRIEVE),
        ("studies/1/pixeldata", Need.RETRIEVE),
        ("studies/1/rendered", Need.RETRIEVE),
        ("studies/1/thumbnail", Need.RETRIEVE),
        ("modality-scheduled-procedure-steps", Need.WORKLIST),
        ("commitment-requests/1.2", Need.STORE),
        ("", Need.NOTHING),
        ("find", Need.UNKNOWN),
        ("studies/1/nothing", Need.UNKNOWN),
        ("studies/1 2", Need.UNKNOWN),
        ("studies/1/series/2/instances/3/frames/0", Need.UNKNOWN),
        ("aets/PACS/studies", Need.UNKNOWN),
        ("studies/../series", Need.UNKNOWN),
    ],
)
def test_a_path_of_dicomweb_says_what_is_needed(path: str, wanted: Need) -> None:
    assert need("GET", path) == need("HEAD", path) == wanted
    assert need("OPTIONS", path) is (Need.UNKNOWN if wanted is Need.UNKNOWN else Need.NOTHING)


@pytest.mark.parametrize("path", ["studies", "studies/1", "commitment-requests/1"])
def test_a_post_stores(path: str) -> None:
    assert need("POST", path) is Need.STORE


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", ""),
        ("POST", "series"),
        ("POST", "studies/1/metadata"),
        ("POST", "find"),
        ("PUT", "studies/1"),
        ("DELETE", "studies/1"),
        ("PATCH", "studies"),
        ("get", "studies"),
        ("PROPFIND", "studies"),
    ],
)
def test_a_method_that_a_resource_has_not_is_not_understood(method: str, path: str) -> None:
    assert need(method, path) is Need.UNKNOWN


def test_a_retrieval_by_uri_is_told_by_its_query() -> None:
    assert need("GET", "", WADO) is Need.RETRIEVE
    assert need("GET", "", (("requesttype", "wado"), *WADO[1:])) is Need.RETRIEVE
    assert need("OPTIONS", "", WADO) is Need.RETRIEVE
    assert need("POST", "", WADO) is Need.UNKNOWN
    assert need("GET", "", (("requestType", "OTHER"),)) is Need.UNKNOWN


@pytest.mark.parametrize(
    ("operation", "wanted"),
    [
        (Echo(), Need.NOTHING),
        (Find(Level.STUDY), Need.SEARCH),
        (FindWorklist({}), Need.WORKLIST),
        (Retrieve(Level.STUDY, "1"), Need.RETRIEVE),
        (Move(Level.STUDY, "1", "A"), Need.RETRIEVE),
        (Store(Feed(limit=1)), Need.STORE),
        (RequestCommitment("1", ()), Need.STORE),
        (CheckCommitment("1"), Need.STORE),
        (object(), Need.UNKNOWN),
    ],
)
def test_an_operation_goes_before_the_path(operation: Any, wanted: Need) -> None:
    assert need("GET", "", operation=operation) is wanted
    assert need("DELETE", "find", operation=operation) is wanted


def test_an_association_without_an_operation_is_not_understood() -> None:
    assert need_of(Request(AssociationOrigin("A", "B"), "192.0.2.1", "id")) is Need.UNKNOWN


def test_every_transaction_is_thought_of() -> None:
    assert set(_OF_KINDS) == set(Kind)
    for one in (*TRANSACTIONS, URI_TRANSACTION):
        path = one.path.replace("{frames}", "1").replace("{", "").replace("}", "")
        assert need(one.method, path, WADO if one is URI_TRANSACTION else ()) is _OF_KINDS[one.kind]
