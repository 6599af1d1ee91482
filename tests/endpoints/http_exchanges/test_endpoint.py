"""The exchanges of an endpoint that takes every path: how they begin, end, drain and are broken off.

What becomes of replies and of the line in the log is tested through the DICOMweb endpoint, in `test_dicomweb*.py`.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from harmonygw.endpoints.http_exchanges import EndpointOverHTTP
from harmonygw.endpoints.http_exchanges.arrival import Arrival
from harmonygw.endpoints.http_exchanges.problems import Settled
from harmonygw.errors import Conflict
from harmonygw.exchange import Reply, Request
from harmonygw.streams import Body
from tests.endpoints.over_http import Served


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """The lines that exchanges have written to the log."""
    found: list[dict[str, Any]] = []

    def observe(event: dict[str, Any]) -> None:
        if "exchange" in event:
            found.append(event["exchange"])

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


class Choosy(EndpointOverHTTP):
    """Settles some paths by itself."""

    def settled(self, arrival: Arrival) -> Settled:
        return {("mine",): Reply(201, (), Body.of(b"here")), ("no",): Conflict("not this")}.get(arrival.origin.path)


def test_every_path_is_an_exchange_with_its_line(lines: list[dict[str, Any]]) -> None:
    service = Served(EndpointOverHTTP)
    assert service.ask("POST", "/api/a/b", b"abc").body == b"3"
    [line] = lines
    assert (line["method"], line["path"], line["status"], line["outcome"]) == ("POST", "/a/b", 200, "complete")
    assert line["correlation_id"] == service.requests[0].correlation_id


def test_what_the_endpoint_settles_is_answered_and_logged(lines: list[dict[str, Any]]) -> None:
    service = Served(Choosy)
    assert service.ask("GET", "/api/mine").body == b"here"
    assert service.ask("GET", "/api/no").problem["status"] == 409
    assert service.ask("GET", "/api/other").body == b"0"
    assert len(service.requests) == 1, "the backend is asked for the last alone"
    assert [line["outcome"] for line in lines] == ["complete", "refused", "complete"]


@pytest.mark.parametrize("head", ["GET /api/%ff HTTP/1.1\r\nHost: h", "GET /api HTTP/1.0"])
def test_what_makes_no_sense_is_refused(head: str) -> None:
    service = Served(Choosy)
    assert service.raw(head).problem["status"] == 400
    assert service.requests == []


def test_a_public_url_is_that_of_the_links() -> None:
    service = Served(EndpointOverHTTP, options={"public_url": "https://pacs.example/x"})
    service.raw("GET /api/a HTTP/1.0")
    origin: Any = service.requests[0].origin
    assert origin.base_url == "https://pacs.example/x"


def test_it_drains_when_what_is_under_way_has_ended() -> None:
    held: Deferred[None] = Deferred()

    async def slow(request: Request) -> Reply:
        await held
        return Reply(body=Body.of(b"late"))

    service = Served(EndpointOverHTTP, slow)
    assert service.endpoint.drain().called
    service.begin("GET")
    assert service.endpoint.under_way == 1
    drained = service.endpoint.drain()
    assert not drained.called
    held.callback(None)
    assert drained.called
    assert service.endpoint.under_way == 0


def test_stopping_breaks_off_what_is_under_way(lines: list[dict[str, Any]]) -> None:
    held: Deferred[None] = Deferred()

    async def slow(request: Request) -> Reply:
        await held
        return Reply()

    service = Served(EndpointOverHTTP, slow)
    transport = service.begin("GET")
    service.endpoint.stop()
    assert (transport.value(), service.endpoint.under_way) == (b"", 0)
    assert lines[0]["outcome"] == "aborted"
