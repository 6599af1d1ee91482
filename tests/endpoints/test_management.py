"""The management API: what it shows, and that it can only be read."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from harmonygw.endpoints.management import ManagementEndpoint
from harmonygw.net.http.server import HTTPSite
from harmonygw.net.http.tree import PrefixTree
from harmonygw.pipeline import EndpointContext

DESCRIPTION: dict[str, Any] = {
    "info": {"id": "gateway", "ready": True, "unauthenticated": False},
    "pipelines": {"web": {"networks": ["default"]}},
    "routes": [],
    "targets": {"pacs": {"ready": True, "since": datetime(2026, 1, 2, tzinfo=UTC)}, "a/b ü": {"ready": False}},
}


def ask(line: str) -> tuple[int, dict[str, str], bytes]:
    """Send one request to the API below `/admin`, and return status, header and content."""
    configuration: Any = SimpleNamespace()
    proceed: Any = None
    context = EndpointContext(None, proceed, configuration, None, describe=lambda: DESCRIPTION)
    tree = PrefixTree()
    tree.put("/admin", ManagementEndpoint(context).resource())
    channel = HTTPSite(tree, reactor=Clock()).buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(f"{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
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


@pytest.mark.parametrize("path", ["", "/", "/secrets", "/info/id", "/targets/ris", "/targets/pacs/ready", "/%ff"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_any_other_path_is_not_found(method: str, path: str) -> None:
    status, header, content = ask(f"{method} /admin{path}")
    assert status == 404
    assert header["content-type"] == "application/problem+json"
    assert json.loads(content)["status"] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_can_only_be_read(method: str) -> None:
    status, header, content = ask(f"{method} /admin/info")
    assert status == 405
    assert header["allow"] == "GET, HEAD"
    assert json.loads(content)["status"] == 405


@pytest.mark.parametrize(("path", "status"), [("info", 200), ("nothing", 404)])
def test_head_answers_without_content(path: str, status: int) -> None:
    found, _, content = ask(f"HEAD /admin/{path}")
    assert found == status
    assert content == b""
