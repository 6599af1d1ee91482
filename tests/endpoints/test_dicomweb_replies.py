"""Replies in the form that a client asks for: compressed, not sent again, readable from a page of another origin."""

import gzip
import zlib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from harmonygw import errors
from harmonygw.config.options import CORSOptions
from harmonygw.exchange import Reply, Request
from harmonygw.middleware.cors import CORS
from harmonygw.net.http.conditional import entity_tag
from harmonygw.pipeline import Context, chain
from harmonygw.streams import Body
from tests.endpoints.dicomweb_service import Respond, Service, answered
from tests.endpoints.test_dicomweb import failures, lines, raising  # noqa: F401 - fixtures
from tests.net.http.wire import Source

MEDIA_TYPE = "application/dicom+json"
SHORT = b"[]"
LONG = b"[" + b",".join(b'{"00080018":{"vr":"UI","Value":["1.2.%d"]}}' % one for one in range(100)) + b"]"
GZIP = "Accept-Encoding: gzip, deflate, br"
VIEWER = "https://viewer.example.org"


def replying(body: bytes, *fields: tuple[str, str], status: int = 200) -> Respond:
    async def respond(request: Request) -> Reply:
        return Reply(status, (("Content-Type", MEDIA_TYPE), *fields), Body.of(body))

    return respond


def streaming(source: Source, *fields: tuple[str, str], media_type: str = MEDIA_TYPE) -> Respond:
    async def respond(request: Request) -> Reply:
        return Reply(200, (("Content-Type", media_type), *fields), source.body)

    return respond


# gzip


def test_json_of_a_kilobyte_comes_in_gzip_to_who_takes_it(lines: list[dict[str, Any]]) -> None:  # noqa: F811
    got = Service(replying(LONG)).ask("/dicom/studies", "GET", GZIP)
    assert (got.headers["content-encoding"], got.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert "content-length" not in got.headers
    assert gzip.decompress(got.body) == LONG
    assert lines[0]["bytes"] == len(got.body) < len(LONG) / 4


@pytest.mark.parametrize("field", ["Accept-Encoding: gzip;q=0", "Accept-Encoding: br", "X-Other: gzip"])
def test_who_takes_no_gzip_gets_the_bytes(field: str) -> None:
    got = Service(replying(LONG)).ask("/dicom/studies", "GET", field)
    assert got.body == LONG
    assert (got.headers["content-length"], got.headers["vary"]) == (str(len(LONG)), "Accept-Encoding")
    assert "content-encoding" not in got.headers


def test_a_short_answer_and_one_of_pixels_are_left_alone() -> None:
    got = Service(replying(SHORT)).ask("/dicom/studies", "GET", GZIP)
    assert (got.body, got.headers["content-length"]) == (SHORT, "2")
    assert "vary" not in got.headers
    source = Source()
    parts = streaming(source, media_type="multipart/related; type=application/dicom")
    sent = Service(parts).send("/dicom/studies/1", "GET", GZIP)
    source.feed.put((LONG,), 1)
    source.feed.end()
    assert answered(sent.transport.value()).body == LONG


def test_a_problem_is_compressed_like_any_json() -> None:
    got = Service(raising(errors.BadRequest("why " * 500))).ask("/dicom/studies", "GET", GZIP)
    assert (got.status, got.headers["content-encoding"]) == (400, "gzip")
    assert replace(got, body=gzip.decompress(got.body)).problem["detail"] == "why " * 500


def test_metadata_reaches_the_client_as_it_comes_and_has_no_end_when_it_breaks_off() -> None:
    source = Source()
    sent = Service(streaming(source)).send("/dicom/studies/1/metadata", "GET", GZIP)
    inflate = zlib.decompressobj(31)
    position = 0

    def arrived() -> bytes:
        nonlocal position
        body = answered(sent.transport.value()).body
        part, position = body[position:], len(body)
        return inflate.decompress(part)

    source.feed.put((b"[{}",), 3)
    assert arrived() == b"[{}"
    source.feed.put((b",{}",), 3)
    assert arrived() == b",{}"
    source.feed.fail(errors.PeerError("the association is gone"))
    assert arrived() == b""
    assert not inflate.eof
    assert sent.transport.disconnected
    assert not sent.transport.value().endswith(b"0\r\n\r\n")


def test_a_client_that_goes_away_gives_the_plain_body_up() -> None:
    source = Source()
    service = Service(streaming(source))
    sent = service.send("/dicom/studies/1/metadata", "GET", GZIP)
    source.feed.put((b"[{}",), 3)
    service.endpoint.stop()
    assert source.aborted
    assert sent.transport.disconnected


def test_head_has_the_header_of_get() -> None:
    for body in (SHORT, LONG):
        for fields in ((), (GZIP,)):
            service = Service(replying(body))
            get, head = (service.ask("/dicom/studies", method, *fields) for method in ("GET", "HEAD"))
            assert head.body == b""
            headers = {name: value for name, value in get.headers.items() if name != "transfer-encoding"}
            assert {name: value for name, value in head.headers.items() if name != "transfer-encoding"} == headers


# Conditional requests


def test_a_search_has_a_tag_and_is_not_sent_again(lines: list[dict[str, Any]]) -> None:  # noqa: F811
    service = Service(replying(SHORT, ("Warning", '299 harmonygw "less"')))
    got = service.ask("/dicom/studies")
    tag = entity_tag(MEDIA_TYPE, [SHORT])
    assert (got.headers["etag"], got.headers["cache-control"]) == (tag, "private, no-cache")
    for method in ("GET", "HEAD"):
        again = service.ask("/dicom/studies", method, f'If-None-Match: "other", {tag}')
        assert (again.status, again.body) == (304, b"")
        assert (again.headers["etag"], again.headers["cache-control"]) == (tag, "private, no-cache")
        assert again.headers["warning"] == '299 harmonygw "less"'
        assert "content-type" not in again.headers
        assert "content-length" not in again.headers
        assert "transfer-encoding" not in again.headers
    assert [(line["outcome"], line["status"], line["bytes"]) for line in lines] == [
        ("complete", 200, 2),
        ("not_modified", 304, 0),
        ("not_modified", 304, 0),
    ]


def test_what_has_changed_is_sent() -> None:
    got = Service(replying(b"[{}]")).ask("/dicom/studies", "GET", f"If-None-Match: {entity_tag(MEDIA_TYPE, [SHORT])}")
    assert (got.status, got.body) == (200, b"[{}]")


def test_the_tag_of_what_is_compressed_is_weak_and_gives_304_too() -> None:
    service = Service(replying(LONG))
    tag = service.ask("/dicom/studies", "GET", GZIP).headers["etag"]
    assert tag == f"W/{entity_tag(MEDIA_TYPE, [LONG])}"
    again = service.ask("/dicom/studies", "GET", GZIP, f"If-None-Match: {tag}")
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert again.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in again.headers
    assert service.ask("/dicom/studies", "GET", f"If-None-Match: {tag}").status == 304


@pytest.mark.parametrize("field", [GZIP, "X: y"])
def test_a_body_that_the_client_has_is_given_up_unread(field: str) -> None:
    source = Source()
    service = Service(streaming(source, ("ETag", '"a"'), ("Content-Location", "http://h/x")))
    got = service.ask("/dicom/studies/1/metadata", "GET", 'If-None-Match: W/"a"', field)
    assert (got.status, got.body, got.headers["content-location"]) == (304, b"", "http://h/x")
    assert source.aborted
    assert source.body.size == 0


def test_what_is_neither_get_nor_head_knows_no_if_none_match() -> None:
    service = Service(replying(SHORT, ("ETag", '"a"')))
    got = service.ask("/dicom", "OPTIONS", "If-None-Match: *")
    assert (got.status, got.body) == (200, SHORT)
    assert "etag" not in Service(replying(SHORT)).ask("/dicom", "OPTIONS").headers


def test_an_error_is_never_not_modified() -> None:
    assert Service(raising(errors.NotFound("why"))).ask("/dicom/studies", "GET", "If-None-Match: *").status == 404


def test_a_part_is_sent_as_it_is(lines: list[dict[str, Any]]) -> None:  # noqa: F811
    part = replying(LONG, ("Content-Range", f"bytes 0-{len(LONG) - 1}/9999"), ("ETag", '"a"'), status=206)
    got = Service(part).ask("/dicom/studies/1", "GET", GZIP, "Range: bytes=0-")
    assert (got.status, got.body, got.headers["etag"]) == (206, LONG, '"a"')
    assert "content-encoding" not in got.headers
    assert [(line["outcome"], line["status"]) for line in lines] == [("complete", 206)]


# Pages of other origins


class Shared(Service):
    """A service whose pipeline begins with CORS."""

    def __post_init__(self) -> None:
        super().__post_init__()
        configuration: Any = SimpleNamespace()
        step = CORS(Context(SimpleNamespace(name="c", options=CORSOptions((VIEWER,))), configuration, self.clock))
        self.endpoint._proceed = chain([step], self.endpoint._proceed)


ORIGIN = f"Origin: {VIEWER}"


def test_a_page_of_an_allowed_origin_may_read_the_answer() -> None:
    got = Shared(replying(LONG)).ask("/dicom/studies", "GET", ORIGIN, GZIP)
    assert got.headers["access-control-allow-origin"] == VIEWER
    assert "ETag" in got.headers["access-control-expose-headers"]
    assert got.headers["vary"] == "Origin, Accept-Encoding"


@pytest.mark.parametrize("path", ["studies", "studies/1/metadata", "studies/1/rendered", "nothing", ""])
def test_a_preflight_is_answered_on_every_path(path: str, lines: list[dict[str, Any]]) -> None:  # noqa: F811
    service = Shared()
    got = service.ask(f"/dicom/{path}", "OPTIONS", ORIGIN, "Access-Control-Request-Method: GET")
    assert (got.status, got.body) == (204, b"")
    assert got.headers["access-control-allow-origin"] == VIEWER
    assert "Authorization" in got.headers["access-control-allow-headers"]
    assert got.headers["vary"] == "Origin"
    assert service.requests == []
    assert [(line["operation"], line["status"]) for line in lines] == [("CORS preflight", 204)]


def test_a_preflight_of_another_origin_is_refused_in_the_log_s_words(lines: list[dict[str, Any]]) -> None:  # noqa: F811
    got = Shared().ask("/dicom/studies", "OPTIONS", "Origin: https://x.net", "Access-Control-Request-Method: GET")
    assert got.status == 403
    assert "access-control-allow-origin" not in got.headers
    assert got.headers["vary"] == "Origin"
    assert lines[0]["reason"].endswith("(https://x.net is not among allowed_origins)")


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        ("/dicom/nothing", "GET", 404),
        ("/dicom/studies", "DELETE", 405),
        ("/dicom/studies/%FF", "GET", 400),
        ("/dicom/studies/1", "OPTIONS", 204),
    ],
)
def test_what_no_route_takes_may_be_read_too(target: str, method: str, status: int) -> None:
    service = Shared()
    got = service.ask(target, method, ORIGIN)
    assert (got.status, got.headers["access-control-allow-origin"]) == (status, VIEWER)
    assert service.requests == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(errors.Busy("why"), 503), (errors.Denied("why"), 403), (errors.RejectedError("why"), 502)],
)
def test_an_error_may_be_read_too(error: errors.HarmonyError, status: int) -> None:
    got = Shared(raising(error)).ask("/dicom/studies", "GET", ORIGIN)
    assert (got.status, got.headers["access-control-allow-origin"]) == (status, VIEWER)


def test_what_nobody_foresaw_may_be_read_too(failures: list[str]) -> None:  # noqa: F811
    got = Shared(raising(ZeroDivisionError())).ask("/dicom/studies", "GET", ORIGIN)
    assert (got.status, got.headers["access-control-allow-origin"]) == (500, VIEWER)
    failures.clear()


def test_an_error_in_place_of_the_first_byte_and_a_304_may_be_read_too() -> None:
    source = Source()
    source.feed.fail(errors.NotFound("nothing there"))
    got = Shared(streaming(source)).ask("/dicom/studies/1/metadata", "GET", ORIGIN, GZIP)
    assert (got.status, got.headers["access-control-allow-origin"]) == (404, VIEWER)
    got = Shared(replying(SHORT)).ask(
        "/dicom/studies", "GET", ORIGIN, f"If-None-Match: {entity_tag(MEDIA_TYPE, [SHORT])}"
    )
    assert (got.status, got.headers["access-control-allow-origin"]) == (304, VIEWER)
