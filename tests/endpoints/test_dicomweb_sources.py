"""One archive of several, by its AE title in the path: the same service once more, with links of its own."""

from typing import Any

import pytest

from harmonygw.dicom.web.resources import TRANSACTIONS
from harmonygw.exchange import Reply, Request
from tests.endpoints.dicomweb_service import Service

SEVERAL = ("NORTH", "SOUTH WING")


@pytest.mark.parametrize("path", sorted({one.path for one in TRANSACTIONS if one.method == "GET"}))
def test_every_resource_is_there_below_every_title(path: str) -> None:
    service = Service(sources=SEVERAL)
    spelt = "/".join("1" if segment.startswith("{") else segment for segment in path.split("/"))
    for _ in range(2):
        assert service.ask(f"/dicom/aets/NORTH/{spelt}").status == 200
        assert service.origin.path == tuple(filter(None, spelt.split("/")))
        assert service.origin.base_url == "http://h/dicom/aets/NORTH"
        assert service.requests[-1].attributes == {"source": "NORTH", "sources": SEVERAL}


def test_without_a_title_all_are_meant() -> None:
    service = Service(sources=SEVERAL)
    service.ask("/dicom/studies")
    assert service.requests[-1].attributes == {"sources": SEVERAL}
    assert service.origin.base_url == "http://h/dicom"


def test_a_title_is_encoded_in_a_path_and_in_links() -> None:
    service = Service(sources=SEVERAL, public_url="https://public/web")
    service.ask("/dicom/aets/SOUTH%20WING/studies?x=1")
    assert service.origin.base_url == "https://public/web/aets/SOUTH%20WING"
    assert service.requests[-1].attributes["source"] == "SOUTH WING"
    assert service.origin.query == (("x", "1"),)


@pytest.mark.parametrize("path", ["aets/EAST/studies", "aets/north/studies", "aets", "aets/", "aets/%FF/studies"])
def test_a_title_that_there_is_not_is_no_resource_and_none_is_named(path: str) -> None:
    service = Service(sources=SEVERAL)
    got = service.ask(f"/dicom/{path}")
    assert got.status == (400 if "%" in path else 404)
    assert b"NORTH" not in got.body


def test_below_a_title_there_is_no_other_path_and_no_other_method() -> None:
    service = Service(sources=SEVERAL)
    assert service.ask("/dicom/aets/NORTH/aets/NORTH/studies").status == 404
    assert service.ask("/dicom/aets/NORTH/nothing").status == 404
    assert service.ask("/dicom/aets/NORTH/series", "PUT").status == 405


def test_one_archive_alone_is_there_by_its_title_too_and_nothing_is_to_be_chosen() -> None:
    service = Service(sources=("NORTH",))
    assert service.ask("/dicom/aets/NORTH/studies").status == 200
    assert (service.origin.path, service.origin.base_url) == (("studies",), "http://h/dicom/aets/NORTH")
    assert service.requests[-1].attributes == {}
    assert service.ask("/dicom/aets/SOUTH/studies").status == 404


def test_without_titles_there_is_no_such_path() -> None:
    assert Service().ask("/dicom/aets/NORTH/studies").status == 404


def test_a_header_field_for_every_reply_does_not_repeat_what_the_reply_has() -> None:
    async def warned(request: Request) -> Reply:
        field: Any = ("Warning", '299 harmonygw "x"')
        request.common_headers.extend([field, ("X-Other", "y")])
        return Reply(headers=(field,))

    raw = Service(respond=warned).send("/dicom/studies").transport.value()
    assert (raw.count(b"Warning:"), raw.count(b"X-Other:")) == (1, 1)
