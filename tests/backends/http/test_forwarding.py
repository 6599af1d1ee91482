"""What is passed on, and what stays behind."""

import pytest

from harmonygw.backends.http.forwarding import check_status, incoming, outgoing, relocated, urls_of
from harmonygw.errors import BadRequest, MethodNotAllowed, RejectedError
from harmonygw.exchange import HTTPOrigin
from harmonygw.net.http.client.client import Outgoing
from harmonygw.net.http.client.passing import PSEUDONYM
from harmonygw.net.http.client.urls import BaseURL
from tests.backends.http.served import request

BASE = BaseURL.of("https://pacs:8443/dicom-web")
OURS = "http://gateway:8081/dicom"
THEIRS = urls_of(BASE, "virtual", OURS)


def sent(method: str = "GET", *, set_fields: tuple[tuple[str, str], ...] = (), **more: object) -> Outgoing:
    pass_credentials = bool(more.pop("pass_credentials", True))
    asked = request(method, "studies", **more)  # type: ignore[arg-type]
    assert isinstance(asked.origin, HTTPOrigin)
    return outgoing(asked, asked.origin, BASE, set_fields, pass_credentials=pass_credentials)


def test_a_request_names_the_server_and_says_who_asks() -> None:
    out = sent(base_url=OURS, peer="2001:db8::1")
    assert (out.url, out.target) == ("https://pacs:8443/dicom-web/studies", b"/dicom-web/studies")
    assert out.fields == (
        (b"Host", b"pacs:8443"),
        (b"Via", f"1.1 {PSEUDONYM}".encode()),
        (b"Forwarded", b'for="[2001:db8::1]";host="gateway:8081";proto=http'),
        (b"X-Forwarded-For", b"2001:db8::1"),
        (b"X-Forwarded-Host", b"gateway:8081"),
        (b"X-Forwarded-Proto", b"http"),
    )


def test_a_request_that_no_browser_sent_says_what_is_known() -> None:
    assert sent(base_url="").fields[2:] == ((b"Forwarded", b"for=192.0.2.1"), (b"X-Forwarded-For", b"192.0.2.1"))
    assert sent(base_url="", peer="").fields[2:] == ()


def test_credentials_of_a_client_are_dropped_when_told_so() -> None:
    headers = {"authorization": "Bearer x", "cookie": "a=1", "accept": "x/y"}
    for passed in (True, False):
        names = {name for name, _ in sent(headers=headers, pass_credentials=passed).fields}
        assert (b"authorization" in names, b"cookie" in names, b"accept" in names) == (passed, passed, True)


def test_fields_that_are_set_come_in_the_place_of_the_clients() -> None:
    out = sent(headers={"accept": "x/y", "x-a": "1"}, set_fields=(("Accept", "z"), ("Host", "virtual")))
    assert [pair for pair in out.fields if pair[0].lower() in (b"accept", b"host", b"x-a")] == [
        (b"x-a", b"1"),
        (b"Accept", b"z"),
        (b"Host", b"virtual"),
    ]


def test_what_a_server_takes_for_a_field_that_is_ours_stays_behind_too() -> None:
    """To a CGI `_` and `-` are one: a client could say where it is, or bring what only we may."""
    headers = {
        "x_forwarded_for": "10.0.0.1",
        "x-real_ip": "10.0.0.1",
        "x_key": "1",
        "x_other": "2",
        "content_type": "3",
    }
    out = sent(headers=headers, set_fields=(("X-Key", "secret"),), pass_credentials=False)
    assert {name for name, _ in out.fields if b"_" in name} == {b"x_other", b"content_type"}
    assert dict(out.fields)[b"X-Key"] == b"secret"


def test_no_field_has_the_server_do_another_method() -> None:
    """Rules about methods have seen the one of the request."""
    headers = {"x-http-method-override": "DELETE", "x-http-method": "DELETE", "X_Method-Override": "DELETE", "x-a": "1"}
    names = {name.lower() for name, _ in sent("POST", headers=headers).fields}
    assert b"x-a" in names
    assert not [name for name in names if b"method" in name]


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_of_other_proxies_are_refused(method: str) -> None:
    with pytest.raises(MethodNotAllowed):
        sent(method)


def test_latin_1_passes_and_what_no_header_has_is_refused() -> None:
    assert (b"x-a", b"\xfc") in sent(headers={"x-a": "ü"}).fields
    with pytest.raises(BadRequest, match="x-a"):
        sent(headers={"x-a": "漢"})


def test_utf_8_comes_back_as_it_is_and_latin_1_as_the_same_characters() -> None:
    fields = ((b"A", "ü".encode()), (b"B", b"\xfc"))
    assert incoming(fields, THEIRS, OURS, pass_credentials=True)[:2] == (("A", "ü"), ("B", "ü"))


def test_challenges_and_cookies_stay_here_when_they_are_for_us() -> None:
    fields = ((b"Set-Cookie", b"a=1"), (b"WWW-Authenticate", b"Basic"), (b"X", b"y"))
    assert incoming(fields, THEIRS, OURS, pass_credentials=False) == (("X", "y"), ("Via", f"1.1 {PSEUDONYM}"))


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("https://pacs:8443/dicom-web", OURS),
        ("https://pacs:8443/dicom-web/studies/1?x#y", OURS + "/studies/1?x#y"),
        ("http://gateway:8081/dicom-web/studies", OURS + "/studies"),
        ("https://virtual/dicom-web/studies", OURS + "/studies"),
        ("/dicom-web/studies", "/dicom/studies"),
        ("https://pacs:8443/other", "https://pacs:8443/other"),
        ("https://pacs:8443/dicom-webs", "https://pacs:8443/dicom-webs"),
        ("http://pacs:8443/dicom-web", "http://pacs:8443/dicom-web"),
        ("studies/1", "studies/1"),
        ("", ""),
    ],
)
def test_a_url_of_the_server_becomes_ours(url: str, ours: str) -> None:
    assert relocated(url, THEIRS, OURS) == ours


@pytest.mark.parametrize(
    ("url", "ours"),
    [("/a", "/dicom/a"), ("//evil/a", "//evil/a"), ("a", "a"), ("", ""), ("?x", "?x"), ("http://pacs/a", OURS + "/a")],
)
def test_a_url_of_a_server_at_the_root_becomes_ours(url: str, ours: str) -> None:
    assert relocated(url, ("http://pacs",), OURS) == ours


def test_locations_stay_where_nobody_has_a_url_of_us() -> None:
    fields = ((b"Location", b"https://pacs:8443/dicom-web/x"),)
    assert incoming(fields, THEIRS, "", pass_credentials=True)[0] == ("Location", "https://pacs:8443/dicom-web/x")


@pytest.mark.parametrize(
    ("status", "own", "refused"), [(200, True, False), (401, False, False), (401, True, True), (407, False, True)]
)
def test_what_the_server_demands_of_us_is_no_clients_business(status: int, own: bool, refused: bool) -> None:
    if refused:
        with pytest.raises(RejectedError, match="credentials"):
            check_status(status, own_credentials=own)
    else:
        check_status(status, own_credentials=own)


def test_a_server_has_its_own_url_and_those_that_it_is_told() -> None:
    assert THEIRS == (
        "https://pacs:8443/dicom-web",
        "https://virtual/dicom-web",
        "http://gateway:8081/dicom-web",
    )
    assert urls_of(BASE, "", "") == ("https://pacs:8443/dicom-web",)
