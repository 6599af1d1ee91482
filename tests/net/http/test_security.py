"""What every answer carries, of whatever part of the gateway, and what of it an answer may say otherwise."""

import json
from ipaddress import ip_network

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource

from harmonygw.net.http.forwarded import Forwarded
from harmonygw.net.http.limits import MAX_TARGET_BYTES, HTTPLimits
from harmonygw.net.http.security import anonymous, secure
from harmonygw.net.http.server import HTTPSite
from harmonygw.net.http.tree import PrefixTree, Text, ToHTTPS
from tests.net.http.asking import Told, ask
from tests.net.http.wire import GET, Wire

ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
DATA = "default-src 'none'; frame-ancestors 'none'"


def secured(status: int = 200, **fields: str) -> dict[str, str]:
    headers = Headers({name.replace("_", "-").encode(): [value.encode()] for name, value in fields.items()})
    secure(headers, status)
    return {name.decode().lower(): values[0].decode() for name, values in headers.getAllRawHeaders()}


def header_of(sent: bytes) -> dict[str, str]:
    lines = sent.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def test_data_is_never_a_page_and_never_in_a_shared_cache() -> None:
    assert secured(content_type="application/dicom+json") == {
        "content-type": "application/dicom+json",
        **ALWAYS,
        "content-security-policy": DATA,
        "cache-control": "private, no-cache",
    }


def test_what_a_client_has_kept_stays_as_it_was_said_with_it() -> None:
    assert secured(304, etag='"x"', cache_control="private, no-cache") == {
        "etag": '"x"',
        "cache-control": "private, no-cache",
    }


def test_errors_are_not_kept() -> None:
    assert secured(400)["cache-control"] == "no-store"
    assert secured(399)["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    "media_type",
    [
        "text/html",
        "text/html; charset=utf-8",
        "TEXT/HTML",
        "application/pdf",
        "image/jpeg",
        "image/svg+xml",
        "video/mp4",
    ],
)
def test_what_is_looked_at_runs_no_script(media_type: str) -> None:
    policy = secured(content_type=media_type)["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'self'" in policy
    assert "script-src" not in policy


def test_a_report_is_in_a_sandbox_and_has_its_style() -> None:
    policy = secured(content_type="text/html; charset=utf-8")["content-security-policy"]
    assert policy.endswith("; sandbox")
    assert "style-src 'unsafe-inline'" in policy


@pytest.mark.parametrize("media_type", ["", "text/plain", "multipart/related; type=image/jpeg", "imagery/x", ";"])
def test_what_is_not_looked_at_is_data(media_type: str) -> None:
    assert secured(content_type=media_type)["content-security-policy"] == DATA


def test_what_an_answer_says_itself_is_left_as_it_is() -> None:
    said = {
        "x-content-type-options": "sniff",
        "referrer-policy": "origin",
        "cross-origin-resource-policy": "cross-origin",
        "content-security-policy": "default-src 'self'",
        "cache-control": "no-store",
        "server": "Their/1.0",
    }
    assert secured(**{name.replace("-", "_"): value for name, value in said.items()}) == said


def test_which_software_this_is_is_not_said() -> None:
    for server, kept in (("TwistedWeb/26.10.0", False), ("nginx", True)):
        headers = Headers({b"server": [server.encode()]})
        anonymous(headers)
        assert headers.hasHeader(b"server") is kept


def test_browsers_are_told_to_keep_to_tls_over_tls_alone() -> None:
    for scheme, told in (("https", "max-age=31536000"), ("http", None)):
        site = HTTPSite(Forwarded(Told(), [ip_network("192.0.2.1")]), hsts_max_age_secs=31536000, reactor=Clock())
        channel = site.buildProtocol(None)
        transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 50000))
        channel.makeConnection(transport)
        channel.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: " + scheme.encode() + b"\r\n\r\n")
        assert header_of(transport.value()).get("strict-transport-security") == told


@pytest.mark.parametrize(
    ("fields", "policy"),
    [
        ({}, "same-origin"),
        ({"access_control_allow_origin": "*"}, "cross-origin"),
        ({"access_control_allow_origin": "https://viewer.example.org", "vary": "Origin"}, "cross-origin"),
        ({"vary": "Accept, origin"}, "same-site"),
        ({"vary": "Accept-Encoding, X-Origin"}, "same-origin"),
    ],
)
def test_whose_pages_show_it_follows_from_whose_may_read_it(fields: dict[str, str], policy: str) -> None:
    assert secured(**fields)["cross-origin-resource-policy"] == policy


# Every part of the gateway that answers


class Failing(Resource):
    isLeaf = True

    def render(self, request: object) -> bytes:
        raise RuntimeError("/srv/secret of 10.1.2.3")


def root() -> PrefixTree:
    tree = PrefixTree()
    tree.put("/told", Told())
    tree.put("/failing", Failing())
    tree.put("/text", Text(lambda: (200, "text/plain", b"well")))
    return tree


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        ("/told", "GET", 200),
        ("/told", "HEAD", 200),
        ("/text", "GET", 200),
        ("/text", "POST", 405),
        ("/nothing", "GET", 404),
        ("/failing", "GET", 500),
        ("/failing", "HEAD", 500),
        ("*", "OPTIONS", 200),
    ],
)
def test_whoever_answers_says_it(target: str, method: str, status: int) -> None:
    answer = ask(root(), target, method=method)
    assert answer.status == status
    assert ALWAYS.items() <= answer.header.items()
    assert answer.header["content-security-policy"] == DATA
    assert answer.header["cache-control"] in ("no-store", "private, no-cache")
    assert "server" not in answer.header
    if status >= 400 and method != "HEAD":
        assert len(answer.document["correlation_id"]) == 32


def test_a_redirection_says_it_too() -> None:
    answer = ask(ToHTTPS(Told()), "/told")
    assert answer.status == 301
    assert ALWAYS.items() <= answer.header.items()


REFUSED = {
    "malformed": (b"nonsense\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "folded": (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
    "long target": (b"GET /" + b"x" * MAX_TARGET_BYTES + b" HTTP/1.1\r\n", 414),
    "expects": (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
    "long header": (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, 431),
    "long name": (b"GET / HTTP/1.1\r\n" + b"x" * 1000 + b": 1\r\n", 431),
    "silent": (b"", 408),
}


@pytest.mark.parametrize(("read", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_before_it_is_a_request_says_it_and_an_id_that_is_in_the_log(read: bytes, status: int) -> None:
    logged: list[str] = []

    def observe(event: dict[str, object]) -> None:
        logged.append(str(event.get("correlation_id") or getattr(event.get("alert"), "correlation_id", "")))

    globalLogPublisher.addObserver(observe)
    try:
        wire = Wire()
        wire.receive(*[read] if read else [])
        wire.clock.advance(20 if status == 408 else 0)
    finally:
        globalLogPublisher.removeObserver(observe)
    header, body = header_of(wire.sent), wire.sent.partition(b"\r\n\r\n")[2]
    document = json.loads(body)
    assert wire.status == document["status"] == status
    assert header["content-type"] == "application/problem+json"
    assert header["cache-control"] == "no-store"
    assert {**ALWAYS, "content-security-policy": DATA, "connection": "close"}.items() <= header.items()
    assert document.keys() == {"type", "title", "status", "detail", "correlation_id"}
    assert document["correlation_id"] in logged


def test_who_finds_no_place_is_told_no_limit() -> None:
    wire = Wire(limits=HTTPLimits(max_connections=1))
    transport, _ = wire.connect()
    header = header_of(transport.value())
    document = json.loads(transport.value().partition(b"\r\n\r\n")[2])
    assert (document["status"], document["detail"]) == (503, "there are too many connections")
    assert header["retry-after"] == "1"
    assert ALWAYS.items() <= header.items()


def test_a_web_servers_own_header_is_left_alone() -> None:
    wire = Wire()

    async def answer(request: object) -> object:
        request.is_anothers = True  # type: ignore[attr-defined]
        return await wire.reply(request, b"<script>theirs</script>")  # type: ignore[arg-type]

    wire.app.answer = answer
    wire.receive(GET)
    assert header_of(wire.sent).keys() == {"date", "content-length"}
