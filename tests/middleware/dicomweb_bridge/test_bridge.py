from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from harmonygw.dicom.web.resources import SEARCHES
from harmonygw.errors import BadRequest, NotAcceptable, NotFound
from harmonygw.exchange import AssociationOrigin, Reply, Request
from harmonygw.files import DamagedFile
from harmonygw.middleware.dicomweb_bridge import access, bridge
from harmonygw.middleware.dicomweb_bridge.bridge import PIXELS_EXTRA
from harmonygw.operations import Echo, Retrieve
from harmonygw.pipeline import IMiddleware
from harmonygw.rendering.limits import WorkerLimits
from tests.dicom.dataset.encoded import EXPLICIT, element
from tests.middleware.dicomweb_bridge.archive import (
    BASE_URL,
    Archive,
    Gateway,
    Sent,
    body_of,
    headers_of,
    result_of,
    study,
)
from tests.middleware.dicomweb_bridge.holding import INSTANCE, AtOnce, Held, PixelGateway, native


def test_the_bridge_is_a_middleware() -> None:
    verifyObject(IMiddleware, Gateway(Archive()).bridge)


def test_an_operation_that_began_on_an_association_passes() -> None:
    request = Request(AssociationOrigin("MODALITY", "GATEWAY"), "10.0.0.1", "id", operation=Echo())
    passed: list[Request] = []

    def proceed(operation: Request) -> "Deferred[Reply]":
        passed.append(operation)
        return succeed(Reply(status=299))

    reply = result_of(Gateway(Archive()).bridge.intercept(request, proceed))
    assert reply.status == 299
    assert passed == [request]


def test_the_record_names_the_transaction() -> None:
    gateway = Gateway(Archive(study("1")))
    gateway.search("studies")
    assert gateway.request is not None
    assert gateway.request.record.operation in {kind.value for kind in SEARCHES}
    assert gateway.archive.asked[0].level == "STUDY"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [(None, "application/json"), ("application/vnd.sun.wadl+xml", "application/vnd.sun.wadl+xml")],
)
def test_the_prefix_describes_the_service(accept: str | None, media_type: str) -> None:
    reply = Gateway(Archive()).reply("", accept)
    assert headers_of(reply) == {"Content-Type": media_type}
    described = body_of(reply)
    if accept is None:
        assert orjson.loads(described)["base"] == BASE_URL
    else:
        assert described.startswith(b"<?xml")


def test_a_description_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(NotAcceptable):
        Gateway(Archive()).reply("", "text/html")


def test_a_path_that_is_none_and_a_uid_that_is_none_are_refused() -> None:
    with pytest.raises(NotFound):
        Gateway(Archive()).reply("patients")
    with pytest.raises(BadRequest, match="StudyInstanceUID"):
        Gateway(Archive()).reply("studies/1 2/series")


# What the bridge has to start and to stop


class Workers:
    """Stands for worker processes."""

    def __init__(self, reactor: object, limits: WorkerLimits) -> None:
        self.limits = limits
        self.running: list[bool] = []

    def start(self) -> None:
        self.running.append(True)

    def stop(self) -> "Deferred[None]":
        self.running.append(False)
        return succeed(None)

    def state(self) -> dict[str, int]:
        return {"processes": 3}


@pytest.mark.parametrize("missing", [None, *PIXELS_EXTRA])
def test_workers_run_from_start_to_stop_also_without_codecs_which_they_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str | None
) -> None:
    monkeypatch.setattr(bridge, "Workers", Workers)
    monkeypatch.setattr(bridge, "find_spec", lambda name: None if name == missing else name)
    monkeypatch.setattr(access, "Disk", AtOnce)
    gateway = Gateway(
        Archive(),
        spool_path=str(tmp_path),
        rendering_processes=3,
        rendering_timeout_secs=7.0,
        rendering_memory_bytes=10**9,
    )
    workers: Any = gateway.bridge._workers
    limits = workers.limits
    assert (limits.processes, limits.job_timeout_secs, limits.memory_limit_bytes) == (3, 7.0, 10**9)
    with capturedLogs() as events:
        gateway.bridge.start()
    assert (workers.running, len(list(tmp_path.iterdir()))) == ([True], 1)
    assert ["pixels extra is missing" in event["log_format"] for event in events] == [True] * (missing is not None)
    assert gateway.bridge.state() == {"rendering": {"processes": 3}}
    result_of(gateway.bridge.stop())
    assert (workers.running, list(tmp_path.iterdir())) == ([True, False], [])


# A file of the cache that is not what was written


@pytest.mark.parametrize(
    ("target", "accept"),
    [
        ("frames/1", None),
        ("pixeldata", "application/octet-stream"),
        ("bulkdata/7FE00010", "application/octet-stream"),
        ("bulkdata/00091010", None),
        ("rendered", None),
        ("thumbnail", None),
    ],
)
@pytest.mark.parametrize("damaged", [1, 2])
def test_what_is_damaged_is_asked_for_again_once(target: str, accept: str | None, damaged: int) -> None:
    data = element(0x00091010, "OB", bytes(2000)) + native(bytes(64), 8, 8)
    asking = PixelGateway(Held(EXPLICIT, data))
    asked: list[Retrieve] = []

    def stream_of(retrieve: Retrieve) -> Sent:
        asked.append(retrieve)
        held = Held(EXPLICIT, data)
        held.file.damaged = len(asked) <= damaged
        return Sent(held.instance())

    asking.holding.stream_of = stream_of  # type: ignore[method-assign]
    if damaged == 1:
        assert asking.reply(f"{INSTANCE}/{target}", accept).status == 200
    else:
        with pytest.raises(DamagedFile):
            asking.reply(f"{INSTANCE}/{target}", accept)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("target", "accept"),
    [
        ("frames/1", None),
        ("frames/1", "image/dicom-rle"),
        ("pixeldata", None),
        ("pixeldata", "application/octet-stream"),
        ("bulkdata/7FE00010", None),
        ("rendered", None),
        ("thumbnail", None),
    ],
)
def test_what_a_cache_says_of_its_files_reaches_the_client(target: str, accept: str | None) -> None:
    asking = PixelGateway(Held(EXPLICIT, native(bytes(64), 8, 8)))
    stale = ("Warning", '110 - "Response is Stale"')

    async def proceed(request: Request) -> Reply:
        return replace(await asking.archive.proceed(request), headers=(stale,))

    reply = asking.reply(f"{INSTANCE}/{target}", accept)
    assert stale not in reply.headers
    assert asking.request is not None
    through = asking.bridge.intercept(asking.request, lambda request: Deferred.fromCoroutine(proceed(request)))
    assert stale in result_of(through).headers
