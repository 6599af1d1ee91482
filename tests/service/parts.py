"""Third parties' backends, middleware and endpoints, configurations that name them, and what is asked of them."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.web.resource import IResource
from zope.interface import implementer

from harmonygw.config.loading import load
from harmonygw.config.model import Configuration
from harmonygw.errors import ConfigurationError, NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.net.http.tree import Text
from harmonygw.operations import Find
from harmonygw.pipeline import Context, EndpointContext, IBackend, IMiddleware, Proceed
from harmonygw.service import available
from harmonygw.streams import Body, Feed, Match, Pieces

diary: list[str] = []
"""What parts have done; each test begins with an empty one."""


@implementer(IBackend)
class Telling:
    """Answers with what it was asked."""

    def __init__(self, context: Context) -> None:
        diary.append(f"{context.name} is built")
        self.name = context.name
        self.options: Mapping[str, Any] = context.options
        self.reactor = context.reactor

    def start(self) -> "Deferred[None] | None":
        diary.append(f"{self.name} starts")
        return None

    def stop(self) -> "Deferred[None] | None":
        diary.append(f"{self.name} stops")
        return None

    def state(self) -> dict[str, object]:
        return {"target": self.name, "ready": True}

    async def respond(self, request: Request) -> Reply:
        assert isinstance(request.origin, HTTPOrigin)
        told = {"backend": self.name, "base_url": request.origin.base_url, "path": request.origin.path}
        told["seen_by"] = request.attributes.get("seen_by", "")
        return Reply(headers=(("Content-Type", "application/json"),), body=Body.of(orjson.dumps(told)))


class Held(Telling):
    """Answers when it is let go."""

    held: "Deferred[None]"

    async def respond(self, request: Request) -> Reply:
        diary.append(f"{self.name} is asked")
        type(self).held = Deferred()
        try:
            await self.held
        except CancelledError:
            diary.append(f"{self.name} is cancelled")
            raise
        return await super().respond(request)


class Late(Telling):
    """Has started when it is let go."""

    starting: "Deferred[None]"

    def start(self) -> "Deferred[None]":
        super().start()
        type(self).starting = Deferred()
        return self.starting


class Unstartable(Telling):
    """Cannot start."""

    def start(self) -> None:
        raise ConfigurationError((f"backends.{self.name}: its disk is gone",))


class Crashing(Telling):
    """Has a mistake in what starts it."""

    def start(self) -> None:
        raise ZeroDivisionError


class Endless(Telling):
    """Never says that it has stopped."""

    def stop(self) -> "Deferred[None]":
        super().stop()
        return Deferred()


class Misbuilt(Telling):
    """Has a mistake in what builds it."""

    def __init__(self, context: Context) -> None:
        raise LookupError("no such thing")


class Refused(Telling):
    """Does not like its options."""

    def __init__(self, context: Context) -> None:
        raise ConfigurationError((f"backends.{context.name}.options: wrong",))


class Slow(Telling):
    """Answers in two pieces, some tenths of a second apart."""

    async def respond(self, request: Request) -> Reply:
        return Reply(body=Body(self.pieces()))

    async def pieces(self) -> AsyncGenerator[Pieces, None]:
        yield (b"first",)
        await deferLater(self.reactor, 0.3)
        yield (b"last",)


class Failing(Telling):
    """Cannot start, which shows after a while."""

    async def start(self) -> None:  # type: ignore[override]
        await deferLater(self.reactor, 0.05)
        raise ConfigurationError((f"backends.{self.name}: its disk is gone",))


class Found(Feed[Match]):
    """Matches that are all there."""

    def __init__(self, *matches: Match) -> None:
        super().__init__(limit=len(matches) + 1)
        self.warnings: list[str] = []
        for match in matches:
            self.put(match)
        self.end()


class Empty(Telling):
    """An archive of operations that holds nothing."""

    async def respond(self, request: Request) -> Reply:
        if isinstance(request.operation, Find):
            return Reply(result=Found())
        raise NotFound("there is nothing")


@implementer(IMiddleware)
class Signing:
    """Puts its name on the request, and on the reply."""

    def __init__(self, context: Context) -> None:
        self.name = context.name

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        seen = str(request.attributes.get("seen_by", "")) + self.name
        reply = await proceed(replace(request, attributes={"seen_by": seen}))
        return replace(reply, headers=(*reply.headers, ("X-Signed", self.name)))


class Door:
    """An endpoint that is not HTTP."""

    def __init__(self, context: EndpointContext) -> None:
        self.name = context.settings.name
        self.context = context

    def listen(self) -> None:
        if "taken" in self.name:
            raise ConfigurationError((f"endpoints.{self.name}: cannot listen",))
        diary.append(f"{self.name} listens")

    def start(self) -> None:
        diary.append(f"{self.name} starts")

    async def drain(self) -> None:
        diary.append(f"{self.name} drains")

    async def stop(self) -> None:
        diary.append(f"{self.name} stops")


class Page:
    """An endpoint that is HTTP, and has nothing to drain."""

    def __init__(self, context: EndpointContext) -> None:
        self.context = context

    def resource(self) -> IResource:
        told = {"write_timeout": self.context.write_timeout}
        return Text(lambda: (200, "application/json", orjson.dumps(told)))


SERVICES = "\n".join(
    f'[services.{name.lower()}]\nmodule = "tests.service.parts:{name}"'
    for name in (
        "Telling",
        "Held",
        "Late",
        "Unstartable",
        "Crashing",
        "Endless",
        "Misbuilt",
        "Refused",
        "Slow",
        "Failing",
        "Empty",
        "Door",
        "Page",
    )
)

MAIN = f"""
[proxy]
id = "gateway"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = 0

[middleware_types.signing]
module = "tests.service.parts:Signing"

{SERVICES}
"""


def configuration(folder: Path, *texts: str, main: str = MAIN) -> Configuration:
    """Return the configuration of a main file and more that follows."""
    return load(written(folder, *texts, main=main), environ={}, available=available())


def written(folder: Path, *texts: str, main: str = MAIN) -> Path:
    """Write a configuration, and return the path of its main file."""
    path = folder / "config.toml"
    path.write_text("\n".join((main, *texts)), encoding="utf-8")
    return path


def web(service: str = "telling", pipeline: str = "web", prefix: str = "/dicom") -> str:
    """Return a pipeline from a `dicomweb` endpoint to a backend of its own."""
    backend = "archive" if pipeline == "web" else f"{pipeline}_archive"
    return f"""
[pipelines.{pipeline}]
networks = ["default"]
endpoints = ["{pipeline}"]
backends = ["{backend}"]

[endpoints.{pipeline}]
service = "dicomweb"
options = {{ path_prefix = "{prefix}" }}

[backends.{backend}]
service = "{service}"
"""


BRIDGED = """
[pipelines.web]
networks = ["default"]
endpoints = ["web"]
middleware = {middleware}
backends = ["archive"]

[endpoints.web]
service = "dicomweb"

[backends.archive]
service = "storage"
options = {{ root = "archive" }}

[middleware.bridge]
type = "dicomweb_bridge"

[middleware.mine]
type = "signing"
"""
"""A pipeline to a backend of operations, with what may be its `middleware`."""

REQUEST = Request(HTTPOrigin("GET", ("studies",)), "192.0.2.1", "c")


def result(deferred: "Deferred[Any]") -> Any:
    """Return what a Deferred has by now, a result or a failure."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    return found[0]
