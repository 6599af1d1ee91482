"""Instances on their way, and a bridge with a backend that a test scripts."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
from twisted.internet.defer import Deferred

from harmonygw.config.options import DicomSCUOptions
from harmonygw.config.system import StorageSettings, StorageSettingsOptions
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dimse_over_http import DIMSEOverHTTP
from harmonygw.middleware.dimse_over_http.folders import PREFIX
from harmonygw.operations import Operation
from harmonygw.pipeline import Context
from harmonygw.streams import Body, Feed, Instance, Match, Pieces
from tests.interop.held import CT, EXPLICIT, Held
from tests.middleware.cache.archive import Ticking

LOCAL_AE_TITLE = "HGW"
"""Of the backend."""


def arriving(sop: str = "1.2.3.4", *, error: Exception | None = None, size: int = 1000, **more: Any) -> Instance:
    """An instance whose data set is all there, or breaks off."""
    data: Feed[Pieces] = Feed(limit=1)
    data.put((Held(sop=sop, size=size).data_set(),))
    if error is None:
        data.end()
    else:
        data.fail(error)
    return Instance(CT, sop, EXPLICIT, data, **{"source_ae_title": "PACS", "receiving_ae_title": "HGW", **more})


async def stream(*instances: Instance | Exception) -> AsyncGenerator[Instance, None]:
    for one in instances:
        if isinstance(one, Exception):
            raise one
        yield one


class Found:
    """Matches that are all there, then an error if there is one."""

    def __init__(self, *matches: Match, error: Exception | None = None, warnings: tuple[str, ...] = ()) -> None:
        self.warnings = list(warnings)
        self.closed = False
        self.read = 0
        self._matches = list(matches)
        self._error = error

    def __aiter__(self) -> "Found":
        return self

    async def __anext__(self) -> Match:
        if self._matches:
            self.read += 1
            return self._matches.pop(0)
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


def settings(folder: Path, **options: Any) -> StorageSettings:
    return StorageSettings("filesystem", StorageSettingsOptions(path=str(folder), **options))


Answer = Callable[[Operation], Awaitable[Any]]


class Bridge:
    """A bridge whose backend's result is what `answer` returns for each operation."""

    def __init__(self, folder: Path, answer: Answer, **options: Any) -> None:
        self.clock = Ticking()
        ours = SimpleNamespace(options=DicomSCUOptions(local_aet=LOCAL_AE_TITLE))
        backends = {"pacs": ours, "echo": SimpleNamespace(options=None)}
        configuration: Any = SimpleNamespace(storage=settings(folder, **options), backends=backends)
        self.middleware = DIMSEOverHTTP(Context(None, configuration, self.clock))
        self.operations: list[Any] = []
        self.request: Request
        self._answer = answer

    async def __aenter__(self) -> "Bridge":
        await self.middleware.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.middleware.stop()

    def _proceed(self, request: Request) -> "Deferred[Reply]":
        assert request.operation is not None
        self.operations.append(request.operation)

        async def reply() -> Reply:
            return Reply(result=await self._answer(request.operation))  # type: ignore[arg-type]

        return Deferred.fromCoroutine(reply())

    async def send(self, path: str, body: Body | None, *, method: str = "POST", **more: Any) -> Reply:
        headers = more.pop("headers", {})
        segments = tuple(one for one in path.split("/") if one)
        self.request = Request(HTTPOrigin(method, segments, (), headers, "", body), "192.0.2.1", "id-1", **more)
        return await self.middleware.intercept(self.request, self._proceed)

    async def ask(self, path: str, document: Any = None, **more: Any) -> Any:
        """Post a document; return the answer's."""
        reply = await self.send(path, Body.of(orjson.dumps(document or {})), **more)
        assert (reply.status, dict(reply.headers)["Content-Type"]) == (200, "application/json")
        return orjson.loads(await content(reply))


def left(folder: Path) -> list[str]:
    """The answers' folders and their files below `folder`, while a thread may be removing them."""
    walked = list(os.walk(folder))
    return sorted(name for _, folders, files in walked for name in (*folders, *files) if not name.startswith(PREFIX))


async def content(reply: Reply) -> bytes:
    assert reply.body is not None
    return b"".join([piece async for pieces in reply.body for piece in pieces])
