"""A request in the words of a pipeline; the rest of it is tested through the DICOMweb endpoint."""

from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from OpenSSL.crypto import X509
from twisted.web.server import Request as TwistedRequest
from twisted.web.test.requesthelper import DummyChannel

from harmonygw.endpoints.http_exchanges.arrival import Arrival, fault_of
from tests.certificates import identity


def request_of(path: bytes = b"/a", query: bytes = b"") -> Any:
    return SimpleNamespace(uri=path + b"?" + query, postpath=[path.strip(b"/")])


@pytest.mark.parametrize(
    ("request_", "host", "public_url", "fault"),
    [
        (request_of(), "h", None, ""),
        (request_of(query=b"a=%C3%BC"), "h", None, ""),
        (request_of(query=b"a=%FF"), "h", None, "UTF-8"),
        (request_of(query=b"a=\xff"), "h", None, "UTF-8"),
        (request_of(path=b"/\xff"), "h", None, "UTF-8"),
        (request_of(), "", None, "Host"),
        (request_of(), "", "https://a/b", ""),
    ],
)
def test_what_cannot_be_understood_is_said(request_: Any, host: str, public_url: str | None, fault: str) -> None:
    said = fault_of(request_, host, public_url)
    assert fault in said
    assert bool(said) == bool(fault)


def test_fields_that_are_sent_several_times_are_joined_and_known_one_by_one() -> None:
    request: Any = TwistedRequest(DummyChannel())
    request.method, request.uri, request.prepath, request.postpath = b"GET", b"/a", [], [b"a"]
    request.content = BytesIO()
    request.requestHeaders.setRawHeaders(b"X-Site", [b"north", b"south, east"])
    request.requestHeaders.setRawHeaders(b"Accept", [b"text/html, */*"])
    origin = Arrival.of(request, "h", None).origin
    assert origin.headers["x-site"] == "north, south, east"
    assert origin.headers["accept"] == "text/html, */*"
    assert origin.repeated == {"x-site": ("north", "south, east")}


def test_who_has_shown_a_certificate_is_its_subject() -> None:
    request: Any = TwistedRequest(DummyChannel())
    request.method, request.uri, request.prepath, request.postpath = b"GET", b"/a", [], [b"a"]
    request.content = BytesIO()
    assert Arrival.of(request, "h", None).request.principal is None
    certificate = X509.from_cryptography(identity("viewer").chain[0])
    request.transport = SimpleNamespace(getPeerCertificate=lambda: certificate)
    assert Arrival.of(request, "h", None).request.principal == "CN=viewer"
