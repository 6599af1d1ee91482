"""Where the audit trail stands in the house."""

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from harmonygw.config.audit import Audit
from harmonygw.dicom.audit.message import AuditSourceIdentification
from harmonygw.errors import ConfigurationError
from harmonygw.service import Gateway
from harmonygw.service.auditing import trail_of
from tests.audit.parts import Kept
from tests.dicom.audit.schema import event_of, objects_of, users_of
from tests.net.http.asking import ask
from tests.service.conftest import Build, Configure
from tests.service.parts import web
from tests.service.test_gateway_management import MANAGEMENT, OPERATOR

CACHED = """
[pipelines.web]
networks = ["default"]
endpoints = ["web"]
middleware = {middleware}
backends = ["archive"]

[endpoints.web]
service = "dicomweb"

[backends.archive]
service = "dicom_scu"

[backends.archive.options]
host = "127.0.0.1"
aet = "PACS"
local_aet = "GATEWAY"

[middleware.bridge]
type = "dicomweb_bridge"

[middleware.store]
type = "cache"
options = {{ path = "cache" }}
"""


TITLED = """
[pipelines.modalities]
networks = ["default"]
endpoints = ["scp"]
backends = ["archive"]

[endpoints.scp]
service = "dicom_scp"
options = { local_aet = "NEW", port = 11112 }
"""

FIND = b'{"query_level": "STUDY", "identifiers": {"00100020": "P1"}}'


def settings(**changes: Any) -> Any:
    given = {"enabled": True, "source_id": "gateway", "enterprise_site_id": "hospital", **changes}
    return SimpleNamespace(
        audit=Audit(transport="file", path="audit.log", fail_closed=True, **given),
        endpoints={"scp": SimpleNamespace(options=SimpleNamespace(local_aet="A"))},
        backends={"pacs": SimpleNamespace(options=SimpleNamespace(local_aet="B")), "web": SimpleNamespace(options={})},
    )


def test_the_table_says_where_it_goes_and_who_tells() -> None:
    trail = trail_of(settings(), MemoryReactorClock())
    assert trail is not None
    assert trail._telling.source == AuditSourceIdentification("gateway", "hospital")
    assert trail._telling.ae_titles == ("A", "B")
    state = trail.state()
    assert (state["collector"], state["fail_closed"], state["waiting"]) == ("file audit.log", True, 0)


def test_without_the_table_or_when_it_is_not_enabled_there_is_none(build: Build) -> None:
    assert trail_of(settings(enabled=False), "reactor") is None
    assert build(web()).describe()["audit"] is None


def test_what_is_wrong_with_it_is_told_with_everything_else(configure: Configure, memory: MemoryReactorClock) -> None:
    audit = '[audit]\nenabled = true\nhost = "collector"\nca_path = "missing.pem"'
    with pytest.raises(ConfigurationError) as caught:
        Gateway(configure(web("refused"), audit), memory)
    assert [one.partition(":")[0] for one in caught.value.problems] == ["audit", "backends.archive.options"]
    assert "missing.pem" in caught.value.problems[0]
    with pytest.raises(ConfigurationError, match=r"^audit: missing\.pem"):
        Gateway(configure(web(), audit), memory)


@pytest.fixture
def audited(configure: Configure, memory: MemoryReactorClock) -> Any:
    def built(*texts: str) -> tuple[Gateway, Kept]:
        delivery = Kept()
        return Gateway(configure(*texts), memory, audit_repository=delivery), delivery

    return built


def test_it_starts_first_and_so_stops_last(audited: Any) -> None:
    gateway, delivery = audited(web())
    assert "audit" not in dict(gateway._house.parts()), "it outlives every house"
    gateway.startService()
    assert delivery.diary == ["start"]
    stopped: Deferred[None] = gateway.stopService()
    assert stopped.called
    assert delivery.diary == ["start", "stop"]
    assert [event_of(one)[0] for one in delivery.messages] == ["110100", "110100"]


def test_what_endpoints_are_asked_is_told(audited: Any) -> None:
    gateway, delivery = audited(web())
    answered = ask(gateway.resource("default"), "/dicom/studies/1.2/metadata")
    assert answered.status == 200
    [message] = delivery.messages
    assert (event_of(message), objects_of(message, "110180")) == (("110103", "R", "0"), ["1.2"])
    assert users_of(message) == ["192.0.2.1", "gateway"]
    assert gateway.describe()["audit"]["messages"] == 1


def test_nothing_is_asked_of_a_backend_while_nothing_can_be_recorded(audited: Any) -> None:
    gateway, delivery = audited(web())
    gateway._trail._fail_closed = True
    delivery.accepting = False
    answered = ask(gateway.resource("default"), "/dicom/studies")
    assert (answered.status, answered.header["retry-after"]) == (503, "30")
    assert "audit trail" in answered.document["detail"]


def test_what_makes_operations_of_plain_http_stands_in_front_of_it(audited: Any) -> None:
    text = CACHED.format(middleware="[]").replace(
        'service = "dicomweb"', 'service = "http"\noptions = { path_prefix = "/x" }'
    )
    gateway, delivery = audited(text)
    delivery.accepting, gateway._trail._fail_closed = False, True
    kind = "Content-Type: application/json"
    answered = ask(gateway.resource("default"), "/x/find", kind, method="POST", body=FIND)
    assert answered.status == 503
    assert (answered.document["operation"], "audit trail" in answered.document["detail"]) == ("C-FIND", True)


def test_the_removal_of_cached_copies_is_told(audited: Any) -> None:
    gateway, delivery = audited(web(), MANAGEMENT)
    base, path = gateway.configuration.management.base_path, "middleware/store/studies/1.2"
    assert ask(gateway.resource("default"), f"{base}/{path}", OPERATOR, method="DELETE").status == 404
    [login, message] = delivery.messages
    assert event_of(login)[0] == "110114"
    assert (event_of(message), objects_of(message, "110180")) == (("110103", "D", "4"), ["1.2"])
    assert ask(gateway.resource("default"), f"{base}/audit", OPERATOR).document["messages"] == 2


def test_it_goes_on_over_a_reload_and_tells_by_the_new_titles(configure: Configure, memory: MemoryReactorClock) -> None:
    """What of `[audit]` itself has changed waits for the next start, and is named: nothing is to be lost meanwhile."""
    repository = Kept()
    gateway = Gateway(configure(web()), memory, audit_repository=repository)
    gateway.startService()
    trail: Any = gateway._trail
    moved = web().replace("[backends.archive]", '[audit]\nsource_id = "new"\n\n[backends.archive]')
    done: list[Any] = []
    gateway.reload(configure(moved, TITLED)).addCallback(done.append)
    assert done[0]["needs_restart"] == ["audit"]
    assert gateway._trail is trail
    assert trail._telling.ae_titles == ("NEW",)
    assert repository.diary == ["start"]
    assert ask(gateway._house.root("default"), "/dicom/studies/1.2/metadata").status == 200
    assert event_of(repository.messages[-1])[0] == "110103"
