"""The management API: what it shows, and what can be done by it, by whom."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from harmonygw.endpoints.management import ManagementEndpoint
from harmonygw.errors import ConfigurationError, Denied, NotFound, TransportError
from harmonygw.exchange import Reply, Request
from harmonygw.net.http.server import HTTPSite
from harmonygw.net.http.tree import PrefixTree
from harmonygw.pipeline import EndpointContext, Proceed, Respond, chain

DESCRIPTION: dict[str, Any] = {
    "info": {"id": "gateway", "ready": True, "unauthenticated": False},
    "pipelines": {"web": {"networks": ["default"]}},
    "routes": [],
    "middleware": {"cache": {"bytes": 7}},
    "targets": {"pacs": {"ready": True, "since": datetime(2026, 1, 2, tzinfo=UTC)}, "a/b ü": {"ready": False}},
}


def known(respond: Respond) -> Proceed:
    """A pipeline that knows who asks."""
    return chain((), lambda request: respond(replace(request, principal="operator")))


def tree(**others: Any) -> PrefixTree:
    """A site with the API below `/admin`, for somebody who is known unless `around` says otherwise."""
    others.setdefault("around", known)
    configuration: Any = SimpleNamespace()
    proceed: Any = None
    context = EndpointContext(None, proceed, configuration, Clock(), describe=lambda: DESCRIPTION, **others)
    site = PrefixTree()
    site.put("/admin", ManagementEndpoint(context).resource())
    return site


def begin(line: str, *fields: str, **others: Any) -> tuple[Any, StringTransport]:
    """Send one request to the API below `/admin`; return the channel, and what is answered."""
    header = "".join(f"{field}\r\n" for field in fields)
    channel = HTTPSite(tree(**others), reactor=Clock()).buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(f"{line} HTTP/1.1\r\nHost: a\r\n{header}Connection: close\r\n\r\n".encode())
    return channel, transport


def ask(line: str, *fields: str, **others: Any) -> tuple[int, dict[str, str], bytes]:
    """Send one request to the API below `/admin`, and return status, header and content."""
    return answer(begin(line, *fields, **others)[1])


def answer(transport: StringTransport) -> tuple[int, dict[str, str], bytes]:
    head, _, content = transport.value().partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    header = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    return int(status.split()[1]), header, content


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("info", DESCRIPTION["info"]),
        ("info/", DESCRIPTION["info"]),
        ("pipelines", DESCRIPTION["pipelines"]),
        ("routes", []),
        ("middleware", DESCRIPTION["middleware"]),
        ("middleware/cache", {"bytes": 7}),
        ("targets/pacs", {"ready": True, "since": "2026-01-02T00:00:00+00:00"}),
        ("targets/a%2Fb%20%C3%BC", {"ready": False}),
    ],
)
def test_each_part_of_the_description_has_a_path(path: str, document: Any) -> None:
    status, header, content = ask(f"GET /admin/{path}")
    assert status == 200
    assert header["content-type"] == "application/json"
    assert header["cache-control"] == "no-store"
    assert json.loads(content) == document


def test_targets_are_listed_by_their_names() -> None:
    _, _, content = ask("GET /admin/targets")
    assert list(json.loads(content)) == ["pacs", "a/b ü"]


@pytest.mark.parametrize("path", ["", "/", "/secrets", "/info/id", "/targets/ris", "/targets/pacs/ready"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_any_other_path_is_not_found(method: str, path: str) -> None:
    status, header, content = ask(f"{method} /admin{path}")
    assert status == 404
    assert header["content-type"] == "application/problem+json"
    assert json.loads(content)["status"] == 404


def test_a_path_that_is_not_utf_8_is_a_bad_request() -> None:
    assert ask("GET /admin/%ff")[0] == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_can_only_be_read(method: str) -> None:
    status, header, content = ask(f"{method} /admin/info")
    assert status == 405
    assert header["allow"] == "GET, HEAD, OPTIONS"
    assert json.loads(content)["status"] == 405


def test_options_says_so_too() -> None:
    status, header, _ = ask("OPTIONS /admin/info")
    assert (status, header["allow"]) == (204, "GET, HEAD, OPTIONS")


def test_it_stands_behind_the_middleware_of_its_pipeline() -> None:
    def closed(respond: Respond) -> Proceed:
        async def refuse(request: Request) -> Reply:
            raise Denied("not from there")

        return chain((), refuse)

    assert ask("GET /admin/info", around=closed)[0] == 403
    assert ask("DELETE /admin/middleware/cache/studies/1.2", purge=purge, around=closed)[0] == 403


@pytest.mark.parametrize(("path", "status"), [("info", 200), ("nothing", 404)])
def test_head_answers_without_content(path: str, status: int) -> None:
    found, _, content = ask(f"HEAD /admin/{path}")
    assert found == status
    assert content == b""


async def purge(middleware: str, study: str) -> int:
    if middleware != "cache":
        raise NotFound("There is no middleware of this name that keeps studies.")
    return 12 if study == "1.2" else 0


@pytest.mark.parametrize(("study", "removed"), [("1.2", 12), ("1.3", 0)])
def test_a_study_is_purged_by_delete(study: str, removed: int) -> None:
    status, header, content = ask(f"DELETE /admin/middleware/cache/studies/{study}", purge=purge)
    assert (status, header["content-type"]) == (200, "application/json")
    assert header["cache-control"] == "no-store"
    assert json.loads(content) == {"removed_instances": removed}


@pytest.mark.parametrize(
    ("path", "status"),
    [("other/studies/1.2", 404), ("cache/studies/..", 400), ("cache/studies/1.2%00", 400), ("cache/series/1.2", 404)],
)
def test_what_cannot_be_purged_is_refused(path: str, status: int) -> None:
    found, header, content = ask(f"DELETE /admin/middleware/{path.replace('..', '%2E%2E')}", purge=purge)
    assert (found, header["content-type"]) == (status, "application/problem+json")
    assert json.loads(content)["status"] == status


def test_nothing_is_purged_where_nobody_keeps_anything() -> None:
    assert ask("DELETE /admin/middleware/cache/studies/1.2")[0] == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_study_of_a_middleware_can_only_be_deleted(method: str) -> None:
    status, header, _ = ask(f"{method} /admin/middleware/cache/studies/1.2", purge=purge)
    assert (status, header["allow"]) == (405, "DELETE, OPTIONS")


@pytest.mark.parametrize(
    ("error", "status"), [(TransportError("the cache is closed"), 502), (ZeroDivisionError("a mistake"), 500)]
)
def test_a_purge_that_fails_says_so(error: Exception, status: int) -> None:
    async def fail(*_: str) -> int:
        raise error

    found, _, content = ask("DELETE /admin/middleware/cache/studies/1.2", purge=fail)
    assert found == status
    assert "a mistake" not in json.loads(content)["detail"]


def test_a_client_that_goes_before_the_study_is_purged_is_not_answered() -> None:
    purging: Deferred[int] = Deferred()

    async def slow(*_: str) -> int:
        return await purging

    channel, transport = begin("DELETE /admin/middleware/cache/studies/1.2", purge=slow)
    assert transport.value() == b""
    channel.connectionLost(Failure(ConnectionDone()))
    assert purging.called, "cancelled"
    assert transport.value() == b""


# What only somebody known may have done


JSON = "Content-Type: application/json"
CHANGES = {
    "changed": {"pipelines": {"added": ["b"], "removed": [], "changed": []}},
    "warnings": [],
    "needs_restart": [],
}


async def reload() -> dict[str, Any]:
    return CHANGES


async def never() -> dict[str, Any]:
    raise AssertionError("it was done")


def anybody(respond: Respond) -> Proceed:
    return chain((), respond)


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
def test_a_reload_tells_what_has_changed(kind: str) -> None:
    status, header, content = ask("POST /admin/reload", f"Content-Type: {kind}", reload=reload)
    assert (status, header["cache-control"], json.loads(content)) == (200, "no-store", CHANGES)


def test_what_is_wrong_with_the_configuration_is_told_whole() -> None:
    problems = ("config.toml:3: pipelines.a: wrong", "more.toml:9: backends.b: wrong too")

    async def wrong() -> dict[str, Any]:
        raise ConfigurationError(problems)

    status, header, content = ask("POST /admin/reload", JSON, reload=wrong)
    document = json.loads(content)
    assert (status, header["content-type"]) == (422, "application/problem+json")
    assert document["errors"] == list(problems)
    assert document["detail"] == "The configuration is wrong; nothing has changed."


def test_a_reload_that_fails_for_another_reason_tells_nothing_of_it() -> None:
    async def crash() -> dict[str, Any]:
        raise ZeroDivisionError("a mistake")

    status, _, content = ask("POST /admin/reload", JSON, reload=crash)
    assert (status, "errors" in json.loads(content)) == (500, False)
    assert b"mistake" not in content


def test_nothing_is_done_for_whom_nobody_knows() -> None:
    async def purge_never(*_: str) -> int:
        raise AssertionError("it was done")

    assert ask("POST /admin/reload", JSON, reload=never, around=anybody)[0] == 403
    deleted = "DELETE /admin/middleware/cache/studies/1.2"
    assert ask(deleted, purge=purge_never, around=anybody)[0] == 403
    assert ask("GET /admin/info", around=anybody)[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "anything"])
def test_nothing_is_done_for_the_page_of_another_site(site: str) -> None:
    assert ask("POST /admin/reload", JSON, f"Sec-Fetch-Site: {site}", reload=never)[0] == 403


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_a_page_of_our_own_may(site: str) -> None:
    assert ask("POST /admin/reload", JSON, f"Sec-Fetch-Site: {site}", reload=reload)[0] == 200


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "text/plain; application/json"]
)
def test_what_any_page_can_send_unasked_is_of_the_wrong_type(kind: str) -> None:
    fields = (f"Content-Type: {kind}",) if kind else ()
    assert ask("POST /admin/reload", *fields, reload=never)[0] == 415


def test_a_reload_is_asked_for_by_post_alone() -> None:
    status, header, _ = ask("GET /admin/reload", reload=never)
    assert (status, header["allow"]) == (405, "OPTIONS, POST")


def test_where_nobody_knows_whence_the_configuration_came_there_is_no_reload() -> None:
    assert ask("POST /admin/reload", JSON)[0] == 404
