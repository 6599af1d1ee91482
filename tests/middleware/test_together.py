"""The middleware of one configuration, in one gateway: what each leaves for the next, and what the client gets."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import Site

from harmonygw.exchange import HTTPOrigin, Reply
from harmonygw.service import Gateway
from tests.middleware.exchanges import arrived, bytes_of, dimse, http, logged, post
from tests.net.http.asking import ask
from tests.service import parts

PIPELINE = """
[pipelines.web]
networks = ["default"]
endpoints = ["web"]
middleware = ["hook_extra", "hook", "filter", "before", "json", "query", "rename", "after"]
backends = ["archive"]

[endpoints.web]
service = "dicomweb"
options = {{ path_prefix = "/dicom" }}

[backends.archive]
service = "telling"

[authentications.hook_basic]
method = "basic"
options = {{ username = "u", password = "p" }}

[middleware.hook_extra]
type = "metadata_transform"
options = {{ spec_path = "extra.json", transform_target = "metadata", fail_on_error = false }}

[middleware.hook]
type = "webhook"
authentication = "hook_basic"
options = {{ endpoint = "http://127.0.0.1:{port}/hook", apply = "both", redact_metadata = ["ward"] }}

[middleware.filter]
type = "path_filter"
options = {{ rules = [{{ allow = "/studies/{{*rest}}" }}, {{ deny = "/{{*rest}}" }}] }}

[middleware.before]
type = "log_dump"
options = {{ apply = "left", label = "before" }}

[middleware.query]
type = "metadata_transform"
options = {{ spec_path = "query.json" }}

[middleware.rename]
type = "transform"
options = {{ spec_path = "rename.json", apply = "both" }}

[middleware.after]
type = "log_dump"
options = {{ label = "after", pretty = false }}
"""

SPECIFICATIONS: dict[str, Any] = {
    "extra.json": [{"operation": "default", "spec": {"webhook.hook": '{"id": 7}', "ward": "4"}}],
    "query.json": [{"operation": "shift", "spec": {"query_params": {"patient": {"0": "metadata.seen_by"}}}}],
    "rename.json": [{"operation": "shift", "spec": {"data": {"backend": "data.from", "*": "data.&"}}}],
}


class Hook(Resource):
    """A receiver of webhooks."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.documents: list[Any] = []
        self.authorizations: set[str | None] = set()

    def render_POST(self, request: Any) -> bytes:
        self.documents.append(json.loads(request.content.read()))
        self.authorizations.add(request.getHeader("authorization"))
        return b""


def configured(folder: Path, port: int) -> Gateway:
    (folder / "transforms").mkdir(exist_ok=True)
    for name, specification in SPECIFICATIONS.items():
        (folder / "transforms" / name).write_text(json.dumps(specification), encoding="utf-8")
    return Gateway(parts.configuration(folder, PIPELINE.format(port=port)), reactor)


@pytest.fixture(autouse=True)
def diary() -> Iterator[None]:
    parts.diary.clear()
    yield
    parts.diary.clear()


@pytest_twisted.inlineCallbacks
def test_an_exchange_passes_all_of_them(tmp_path: Path) -> Any:
    hook = Hook()
    port = reactor.listenTCP(0, Site(hook), interface="127.0.0.1")  # type: ignore[attr-defined]
    gateway = configured(tmp_path, port.getHost().port)
    gateway.startService()
    yield gateway.when_ready()
    origin = HTTPOrigin("GET", ("studies",), query=(("patient", "17"), ("PatientID", "17")), base_url="http://h/dicom")
    with logged("harmonygw.dump") as events:
        reply: Reply = yield gateway.pipeline("web")(replace(http(), origin=origin))
    assert json.loads(bytes_of(reply.body)) == {
        "from": "archive",
        "base_url": "http://h/dicom",
        "path": ["studies"],
        "seen_by": "17",
    }
    assert [(event["dump"]["dump"], event["dump"]["side"]) for event in events] == [
        ("before", "left"),
        ("after", "left"),
        ("after", "right"),
    ]
    assert '"17"' not in events[0]["dump"]["request"]
    while len(hook.documents) < 2:
        yield deferLater(reactor, 0.01)  # type: ignore[arg-type]
    assert {document["side"] for document in hook.documents} == {"left", "right"}
    for document in hook.documents:
        assert document["extra"] == {"id": 7}
        assert document["request"]["metadata"]["ward"] == "<redacted>"
        assert document["request"]["query_params"] == {"patient": ["<redacted>"], "PatientID": ["<redacted>"]}
    assert hook.authorizations == {"Basic dTpw"}
    assert gateway.describe()["middleware"]["hook"]["delivered"] == 2
    yield gateway.stopService()
    yield port.stopListening()


@pytest_twisted.inlineCallbacks
def test_a_body_is_another_for_the_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    bodies: list[Any] = []

    async def respond(self: Any, request: Any) -> Reply:
        bodies.append((request.origin.body, request.attributes))
        return Reply(204)

    monkeypatch.setattr(parts.Telling, "respond", respond)
    gateway = configured(tmp_path, 9)
    reply = yield gateway.pipeline("web")(post(arrived(b'{"backend": 1, "a": 2}'), "studies"))
    assert reply == Reply(204)
    [(body, attributes)] = bodies
    assert bytes_of(body) == b'{"from":1,"a":2}'
    assert attributes["json"] == {"from": 1, "a": 2}


def test_a_path_that_is_filtered_out_is_404_with_a_problem(tmp_path: Path) -> None:
    answered = ask(configured(tmp_path, 9)._house.trees["default"], "/dicom/series")
    assert answered.status == 404
    assert answered.document["detail"] == "There is no such resource."


@pytest_twisted.inlineCallbacks
def test_a_receiver_that_is_away_delays_nothing(tmp_path: Path) -> Any:
    gateway = configured(tmp_path, 9)
    gateway.startService()
    yield gateway.when_ready()
    waiting: Deferred[Reply] = gateway.pipeline("web")(dimse())
    waiting.addErrback(lambda failure: failure.value)
    assert waiting.called
    yield gateway.stopService()


def test_what_is_wrong_with_a_specification_is_found_when_the_gateway_is_built(tmp_path: Path) -> None:
    configured(tmp_path, 9)
    wrong = json.dumps([{"operation": "shift", "spec": {"a": "&9"}}])
    (tmp_path / "transforms" / "rename.json").write_text(wrong, encoding="utf-8")
    with pytest.raises(Exception, match=r"middleware\.rename\.options\.spec_path: .*rename\.json: \[0\]\.spec\.a: "):
        Gateway(parts.configuration(tmp_path, PIPELINE.format(port=9)), reactor)
