import pytest

from harmonygw.audit.account import Account
from harmonygw.audit.kinds import ACCESSES, QUERIES, STORES, TRANSFERS, is_access, name_of, resource_of
from harmonygw.dicom.web.resources import Kind
from tests.audit.parts import dimse, http

WITHOUT_EVENT = {Kind.CAPABILITIES, Kind.REQUEST_COMMITMENT, Kind.CHECK_COMMITMENT}


def test_every_kind_of_resource_is_an_event_of_one_kind_or_of_none() -> None:
    for kind in Kind:
        of = [kind.value in some for some in (QUERIES, TRANSFERS, STORES, ACCESSES)]
        assert of.count(True) == (kind not in WITHOUT_EVENT)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("studies/1.2", Kind.RETRIEVE), ("studies", Kind.SEARCH_STUDIES), ("viewer/page", None), ("", None)],
)
def test_what_a_path_names(path: str, kind: Kind | None) -> None:
    resource = resource_of(http(path=path))
    assert (resource.kind if resource is not None else None) is kind


def test_an_association_names_no_resource() -> None:
    assert resource_of(dimse("C-FIND")) is None


def test_what_is_passed_on_is_called_after_its_path() -> None:
    passed_on = Account(is_passed_on=True)
    assert name_of(http("Pass on", "studies/1.2", account=passed_on)) == "Retrieve"
    assert name_of(http("Pass on", "anything", account=passed_on)) == ""
    assert name_of(http("Retrieve Metadata", "studies/1.2", account=passed_on)) == "Retrieve Metadata"
    assert name_of(http("Pass on", "studies/1.2", account=Account())) == "Pass on"
    assert name_of(http("echo")) == "echo"


@pytest.mark.parametrize(
    ("query", "access"),
    [((), True), ((("contentType", "image/jpeg"),), True), ((("contenttype", " application/DICOM"),), False)],
)
def test_wado_uri_gives_an_instance_or_a_picture_of_it(query: tuple[tuple[str, str], ...], access: bool) -> None:
    assert is_access(http(Kind.WADO_URI.value, query=query)) is access


def test_metadata_are_accessed_and_instances_transferred() -> None:
    assert is_access(http(Kind.METADATA.value))
    assert not is_access(http(Kind.RETRIEVE.value))
    assert not is_access(dimse("C-GET"))
