"""The echo endpoint: it answers by itself, behind the middleware of its pipeline."""

import json

import pytest

from harmonygw.endpoints.echo import EchoEndpoint
from harmonygw.errors import Denied, NotFound
from harmonygw.exchange import AssociationOrigin, Reply, Request
from harmonygw.pipeline import Proceed, Respond, chain
from tests.endpoints.over_http import Served


async def nobody(request: Request) -> Reply:
    raise AssertionError


def served(**more: object) -> Served:
    return Served(EchoEndpoint, nobody, **more)  # type: ignore[arg-type]


def test_a_body_comes_back_whatever_the_method_and_path() -> None:
    got = served().ask("PUT", "/api/a/b", b"<a/>", "Content-Type: application/xml")
    assert (got.status, got.headers["content-type"], got.body) == (200, "application/xml", b"<a/>")
    assert got.headers["content-length"] == "4"


def test_a_request_without_a_body_is_described() -> None:
    got = served().ask("GET", "/api/a?b=c", None, "Authorization: Bearer secret")
    assert got.headers["content-type"] == "application/json"
    told = json.loads(got.body)
    assert (told["method"], told["path"], told["query"]) == ("GET", "/a", {"b": ["c"]})
    assert "secret" not in got.body.decode()


def test_head_has_the_header_of_get() -> None:
    got = served().ask("HEAD")
    assert (got.status, got.headers["content-type"], got.body) == (200, "application/json", b"")


def test_a_body_beyond_the_limit_is_refused() -> None:
    assert served(max_request_bytes=8).ask("POST", "/api", b"x" * 9).status == 413
    assert served(max_request_bytes=8).ask("POST", "/api", b"x" * 8).status == 200


def test_a_body_longer_than_what_is_held_streams_where_the_network_lets_it_in() -> None:
    got = served(max_body_size=8).ask("POST", "/api", b"x" * 900)
    assert (got.status, got.body) == (200, b"x" * 900)


def test_it_stands_behind_the_middleware_of_its_pipeline() -> None:
    def closed(respond: Respond) -> Proceed:
        async def refuse(request: Request) -> Reply:
            raise Denied("not from there")

        return chain((), refuse)

    assert served(around=closed).ask("GET").status == 403


def test_it_is_asked_over_http() -> None:
    asking = served().endpoint.respond(Request(AssociationOrigin("A", "B"), "192.0.2.1", "id"))
    with pytest.raises(NotFound, match="over HTTP"):
        asking.send(None)
