"""The whole gateway in this process with a `dicom_scp` endpoint, and what it leaves behind when it ends."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred

from harmonygw.config.loading import load
from harmonygw.service import Gateway, available
from tests.interop.aftermath import Aftermath
from tests.interop.processes import free_port

reactor: Any = _reactor

GATEWAY = """
[proxy]
id = "dimse"
drain_timeout_secs = 0

[network.default.http]
bind_address = "127.0.0.1"
bind_port = HTTP_PORT

[pipelines.dimse]
networks = ["default"]
endpoints = ["scp"]
middleware = [MIDDLEWARE]
backends = ["archive"]

[endpoints.scp]
service = "dicom_scp"

[endpoints.scp.options]
local_aet = "GATEWAY"
bind_addr = "127.0.0.1"
port = SCP_PORT
"""

EVERYTHING = """
enable_find = true
enable_get = true
enable_move = true
enable_store = true
"""

PACS_BACKEND = """
[backends.archive]
service = "dicom_scu"

[backends.archive.options]
host = "127.0.0.1"
port = {port}
aet = "{ae_title}"
local_aet = "GATEWAY"
"""


class DimseHouse:
    """A gateway that runs; `port` is its dicom_scp's."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.gateway: Gateway
        self.aftermath = Aftermath()

    @property
    def exchanges(self) -> list[dict[str, Any]]:
        return self.aftermath.exchanges

    @property
    def target(self) -> dict[str, Any]:
        """What the gateway says of its archive."""
        described: dict[str, Any] = self.gateway.describe()["targets"]["archive"]
        return described

    def of(self, operation: str) -> list[dict[str, Any]]:
        """The log lines of one kind of request."""
        return [line for line in self.exchanges if line["operation"] == operation]


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Let the reactor turn until the condition holds."""
    deadline = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < deadline, "it does not come to be"
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.005, turn.callback, None)
        await turn


@asynccontextmanager
async def dimse_house(
    folder: Path, backend: str, *, options: str = EVERYTHING, middleware: str = "", more: str = ""
) -> AsyncGenerator[DimseHouse, None]:
    """Run the gateway, and assert that no exchange, socket or delayed call is left."""
    house = DimseHouse(free_port())
    house.aftermath.begin()
    text = GATEWAY.replace("HTTP_PORT", str(free_port())).replace("SCP_PORT", str(house.port))
    main = folder / "config.toml"
    main.write_text(text.replace("MIDDLEWARE", middleware) + options + backend + more, encoding="utf-8")
    house.gateway = Gateway(
        load(main, environ={}, available=available()), reactor, audit_repository=house.aftermath.audit
    )
    house.gateway.startService()
    try:
        await until(lambda: house.gateway.ready)
        yield house
        await until(lambda: not any(one.under_way for one in house.gateway._house.doors.values()))
    finally:
        await house.gateway.stopService()
        house.aftermath.stop()
    await house.aftermath.end()
