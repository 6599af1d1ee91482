"""The echo backend: what came through the pipeline comes back."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.backends.echo import EchoBackend
from harmonygw.errors import NotAcceptable
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Reply, Request
from harmonygw.operations import Echo, Find, Level, Operation
from harmonygw.pipeline import Context
from harmonygw.streams import Body

ASSOCIATION = AssociationOrigin("MODALITY", "GATEWAY")


def backend() -> EchoBackend:
    configuration: Any = SimpleNamespace(proxy=SimpleNamespace(content_limits=SimpleNamespace(max_body_size=100)))
    return EchoBackend(Context(SimpleNamespace(name="mirror"), configuration, None))


async def ask(origin: Any, operation: Operation | None = None) -> tuple[Reply, Request]:
    request = Request(origin, "192.0.2.1", "id-1", operation=operation)
    return await backend().respond(request), request


@ensureDeferred
async def test_a_body_comes_back() -> None:
    reply, request = await ask(HTTPOrigin("PUT", (), headers={"content-type": "text/plain"}, body=Body.of(b"abc")))
    assert reply.body is not None
    assert reply.body.whole == (b"abc",)
    assert (request.record.target, request.record.operation) == ("mirror", "echo")


@ensureDeferred
async def test_a_request_without_one_is_described() -> None:
    reply, _ = await ask(HTTPOrigin("GET", ("a",)))
    assert reply.body is not None
    assert reply.body.whole is not None
    assert json.loads(b"".join(reply.body.whole))["path"] == "/a"


@ensureDeferred
async def test_c_echo_succeeds() -> None:
    assert (await ask(ASSOCIATION, Echo()))[0] == Reply()


@pytest.mark.parametrize("origin", [ASSOCIATION, HTTPOrigin("POST", ())])
@ensureDeferred
async def test_it_has_no_objects(origin: Any) -> None:
    with pytest.raises(NotAcceptable, match="C-ECHO alone"):
        await ask(origin, Find(Level.STUDY))


def test_it_is_there_from_the_beginning_to_the_end() -> None:
    one = backend()
    one.start()
    assert one.state() == {"target": "echo", "ready": True}
    one.stop()
