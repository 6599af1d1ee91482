"""The three ways of docs/embedding.rst, with the code that stands there."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import pytest_twisted
import treq
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.web.client import HTTPConnectionPool
from twisted.web.resource import Resource
from twisted.web.server import Site

from harmonygw.errors import ConfigurationError, NotFound
from harmonygw.exchange import HTTPOrigin, Request
from harmonygw.net.http.server import HTTPSite
from harmonygw.service import Gateway
from tests.net.http.asking import ask
from tests.service.parts import web, written

DOCUMENT = Path(__file__).parents[1] / "docs" / "embedding.rst"
BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", re.MULTILINE)


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """What the blocks of the document define, run one after another."""
    blocks = BLOCK.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(dedent(block), str(DOCUMENT), "exec"), names)
    return names


@pytest.fixture
def path(tmp_path: Path) -> Path:
    bridged = web("empty").replace("backends =", 'middleware = ["dicomweb_bridge"]\nbackends =')
    return written(tmp_path, bridged)


@pytest.fixture
def get() -> Iterator[Callable[[str], "Deferred[Any]"]]:
    pool = HTTPConnectionPool(reactor, persistent=False)
    yield lambda url: treq.get(url, pool=pool)
    pytest_twisted.blockon(pool.closeCachedConnections())


@asynccontextmanager
async def running(service: Any) -> AsyncIterator[None]:
    before = set(reactor.getDelayedCalls())
    service.startService()
    try:
        yield
    finally:
        await service.stopService()
    assert set(reactor.getDelayedCalls()) <= before


@pytest_twisted.ensureDeferred
async def test_the_whole_gateway_runs_beside_other_services(
    shown: dict[str, Any], path: Path, get: Callable[[str], "Deferred[Any]"]
) -> None:
    everything, gateway = shown["imaging"](reactor, path)
    async with running(everything):
        await gateway.when_ready()
        port = gateway.address("default").port
        response = await get(f"http://127.0.0.1:{port}/dicom/studies")
        assert (response.code, await response.json()) == (200, [])


def test_nothing_global_is_touched(shown: dict[str, Any], path: Path) -> None:
    memory = MemoryReactorClock()
    clock, observers = memory.seconds, list(globalLogPublisher._observers)
    everything, gateway = shown["imaging"](memory, path)
    application = Application("yours")
    everything.setServiceParent(application)
    assert application.getComponent(ILogObserver, None) is None
    assert (memory.seconds, list(globalLogPublisher._observers)) == (clock, observers)
    assert type(gateway) is Gateway
    assert memory.getDelayedCalls() == []


def test_what_is_wrong_is_said_by_an_exception(shown: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        shown["imaging"](MemoryReactorClock(), tmp_path / "absent.toml")


@pytest_twisted.ensureDeferred
async def test_a_resource_is_mounted_deeper_and_links_say_so(
    shown: dict[str, Any], path: Path, get: Callable[[str], "Deferred[Any]"]
) -> None:
    gateway, port = shown["serve"](reactor, path, 0)
    try:
        await gateway.when_ready()
        base_url = f"http://127.0.0.1:{port.getHost().port}/imaging"
        response = await get(f"{base_url}/dicom")
        assert (response.code, (await response.json())["base"]) == (200, f"{base_url}/dicom")
        response = await get(f"{base_url}/readyz")
        assert (response.code, (await response.json())["ready"]) == (200, True)
        assert gateway.address("default").port == 0
    finally:
        await port.stopListening()
        await gateway.stopService()


def test_a_mounted_resource_knows_where_it_is(shown: dict[str, Any], tmp_path: Path) -> None:
    memory = MemoryReactorClock()
    gateway, site = shown["mounted"](memory, written(tmp_path, web()))
    assert isinstance(site, HTTPSite)
    told = ask(site.resource, "/imaging/dicom/studies/1").document
    assert (told["base_url"], told["path"]) == ("http://h/imaging/dicom", ["studies", "1"])
    assert ask(site.resource, "/imaging").status == 404
    gateway.startService()
    assert memory.tcpServers == []


@pytest_twisted.ensureDeferred
async def test_a_plain_site_does_as_well(
    shown: dict[str, Any], path: Path, get: Callable[[str], "Deferred[Any]"]
) -> None:
    gateway, _ = shown["mounted"](reactor, path)
    root, deeper = Resource(), Resource()
    root.putChild(b"a b", deeper)
    deeper.putChild(b"c", gateway.resource("default"))
    port = reactor.listenTCP(0, Site(root), interface="127.0.0.1")
    async with running(gateway):
        await gateway.when_ready()
        base_url = f"http://127.0.0.1:{port.getHost().port}/a%20b/c/dicom"
        response = await get(base_url)
        assert (response.code, (await response.json())["base"]) == (200, base_url)
        response = await get(f"{base_url}/studies/1.2/metadata")
        assert response.headers.getRawHeaders("content-type") == ["application/problem+json"]
        assert (response.code, (await response.json())["status"]) == (404, 404)
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_pipeline_is_asked_without_http(shown: dict[str, Any], path: Path) -> None:
    _, gateway = shown["imaging"](reactor, path)
    async with running(gateway):
        await gateway.when_ready()
        status, media_type, body = await shown["studies_of"](gateway, "NOBODY")
        assert (status, media_type, json.loads(body)) == (200, "application/dicom+json", [])


@pytest_twisted.ensureDeferred
async def test_what_goes_wrong_in_a_pipeline_is_raised(shown: dict[str, Any], path: Path) -> None:
    _, gateway = shown["imaging"](reactor, path)
    request = Request(HTTPOrigin("GET", ("studies", "1.2", "rendered")), "127.0.0.1", "c")
    async with running(gateway):
        await gateway.when_ready()
        with pytest.raises(NotFound):
            await gateway.pipeline("web")(request)
