"""The http endpoint: any method and path, and how long a body may be."""

import pytest

from harmonygw.endpoints.http import HTTPEndpoint
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.streams import Body
from tests.endpoints.over_http import Served


def served(method: str | None = None, **more: object) -> Served:
    return Served(HTTPEndpoint, options={"method": method}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize(("path", "segments"), [("", ()), ("/", ()), ("/a//b%2Fc/", ("a", "b/c"))])
def test_any_method_and_path_reach_the_pipeline(method: str, path: str, segments: tuple[str, ...]) -> None:
    service = served()
    assert service.ask(method, f"/api{path}?x=1", b"abc").body == b"3"
    [request] = service.requests
    assert isinstance(request.origin, HTTPOrigin)
    assert (request.origin.method, request.origin.path, request.origin.query) == (method, segments, (("x", "1"),))
    assert request.origin.base_url == "http://h/api"


def test_a_path_that_is_not_utf_8_is_a_bad_request() -> None:
    service = served()
    assert service.ask("GET", "/api/%ff").problem["status"] == 400
    assert service.requests == []


def test_one_method_may_be_all_there_is() -> None:
    service = served("POST")
    assert service.ask("POST", "/api", b"abc").status == 200
    refused = service.ask("GET")
    assert (refused.problem["status"], refused.headers["allow"]) == (405, "OPTIONS, POST")
    asked = service.ask("OPTIONS")
    assert (asked.status, asked.headers["allow"]) == (204, "OPTIONS, POST")
    assert len(service.requests) == 1


def test_get_alone_has_head_with_it() -> None:
    service = served("GET")
    assert service.ask("HEAD").status == 200
    assert service.ask("POST", "/api", b"").headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("size", "status"), [(8, 200), (9, 413)])
def test_a_body_has_a_limit(size: int, status: int, plain: bool) -> None:
    service = served(max_request_bytes=8, plain=plain)
    assert service.ask("POST", "/api", b"x" * size).status == status


@pytest.mark.parametrize(("size", "status"), [(8, 200), (9, 413)])
def test_so_has_one_whose_length_shows_at_its_end(size: int, status: int) -> None:
    service = served(max_request_bytes=8)
    chunks = f"{size:x}\r\n{'x' * size}\r\n0\r\n\r\n"
    assert service.ask("POST", "/api", None, "Transfer-Encoding: chunked", content=chunks.encode()).status == status


def test_without_a_limit_it_may_be_as_long_as_it_likes() -> None:
    assert served().ask("POST", "/api", b"x" * 1000).body == b"1000"


@pytest.mark.parametrize(
    ("makes_operations", "content_type", "status"),
    [
        (True, "application/dicom", 200),
        (True, "Application/DICOM; transfer-syntax=1.2", 200),
        (True, "application/json", 413),
        (False, "application/dicom", 413),
    ],
)
def test_an_object_that_is_stored_streams_whatever_its_length(
    makes_operations: bool, content_type: str, status: int
) -> None:
    service = served(max_request_bytes=8, makes_operations=makes_operations)
    assert service.ask("POST", "/api/store", b"x" * 9, f"Content-Type: {content_type}").status == status


def test_a_reply_streams() -> None:
    async def pieces(request: Request) -> Reply:
        return Reply(201, (("X-A", "b"),), Body.of(b"ab", b"c"))

    got = served(respond=pieces).ask("GET")
    assert (got.status, got.headers["x-a"], got.body) == (201, "b", b"abc")


def test_reading_is_what_the_limit_stops() -> None:
    """A pipeline that does not read a body answers as it likes."""

    async def ignore(request: Request) -> Reply:
        return Reply(body=Body.of(b"fine"))

    assert served(max_request_bytes=8, respond=ignore).ask("POST", "/api", b"x" * 9).body == b"fine"
