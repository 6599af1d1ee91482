"""The management API of a whole gateway: whom it asks for credentials, and what it does for whom."""

from typing import Any

from twisted.internet.testing import MemoryReactorClock

from harmonygw.service import Gateway
from tests.net.http.asking import ask
from tests.service.conftest import Configure
from tests.service.parts import web

MANAGEMENT = """
[management]
enabled = true
network = "default"
authentication = "operator"

[authentications.operator]
method = "basic"
options = { username = "operator", password = "let me" }
"""
OPERATOR = "Authorization: Basic b3BlcmF0b3I6bGV0IG1l"
JSON = "Content-Type: application/json"


def test_the_management_api_reloads_for_whom_it_knows(configure: Configure, memory: MemoryReactorClock) -> None:
    texts = [web(), MANAGEMENT]
    gateway = Gateway(configure(*texts), memory, reread=lambda: configure(*texts))
    gateway.startService()

    def reload(*fields: str) -> Any:
        return ask(gateway._house.root("default"), "/admin/reload", *fields, method="POST")

    assert reload(JSON).status == 401
    assert ask(gateway._house.root("default"), "/admin/info").status == 401
    texts[0] = web(prefix="/other")
    answered = reload(JSON, OPERATOR)
    assert (answered.status, answered.document["changed"]["endpoints"]["changed"]) == (200, ["web"])
    texts[0] = web("refused")
    answered = reload(JSON, OPERATOR)
    assert (answered.status, answered.document["errors"]) == (422, ["backends.archive.options: wrong"])


def test_an_endpoint_that_is_called_management_has_its_own_guard(
    configure: Configure, memory: MemoryReactorClock
) -> None:
    other = '[authentications.other]\nmethod = "bearer"\noptions = { token = "abc" }'
    named = web(pipeline="management").replace('service = "dicomweb"', 'service = "dicomweb"\nauthentication = "other"')
    root = Gateway(configure(named, MANAGEMENT, other), memory)._house.root("default")
    assert ask(root, "/admin/info", OPERATOR).status == 200
    assert ask(root, "/admin/info", "Authorization: Bearer abc").status == 401
    assert ask(root, "/dicom/studies", "Authorization: Bearer abc").status == 200
    assert ask(root, "/dicom/studies", OPERATOR).status == 401


def test_without_authentication_it_tells_and_does_nothing(configure: Configure, memory: MemoryReactorClock) -> None:
    texts = [web(), MANAGEMENT.replace('authentication = "operator"', "")]
    gateway = Gateway(configure(*texts), memory, reread=lambda: configure(*texts))
    gateway.startService()
    root = gateway._house.root("default")
    assert ask(root, "/admin/info").status == 200
    assert ask(root, "/admin/reload", JSON, method="POST").status == 403
