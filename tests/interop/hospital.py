"""The whole gateway in front of several scripted PACS, in this process."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import LogEvent

from harmonygw.config.loading import load
from harmonygw.service import Gateway, available
from tests.interop.aftermath import Aftermath, Audited
from tests.interop.house import Client, Reply
from tests.interop.pacs import PACS
from tests.interop.processes import free_port

reactor: Any = _reactor

OPTIONS = {
    "connect_timeout_secs": 5.0,
    "association_timeout_secs": 5.0,
    "silence_timeout_secs": 5.0,
    "cancel_grace_secs": 0.3,
    "queue_timeout_secs": 5.0,
}

CONFIGURATION = """
[proxy]
id = "several"
drain_timeout_secs = 0

[network.default.http]
bind_address = "127.0.0.1"
bind_port = HTTP_PORT

[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb"ENDPOINTS]
middleware = MIDDLEWARE
backends = BACKENDS
options = OPTIONS

[endpoints.dicomweb]
service = "dicomweb"
options = { path_prefix = "/dicom" }

[endpoints.scp]
service = "dicom_scp"
options = { local_aet = "HARMONYGW", port = SCP_PORT, bind_addr = "127.0.0.1", enable_find = true, enable_get = true }

[middleware.bridge]
type = "dicomweb_bridge"

[middleware.cache]
type = "cache"
options = { path = "CACHE", revalidate_secs = 0.001 }
"""

BACKEND = """
[backends.{name}]
service = "dicom_scu"
timeout_secs = 5
max_retries = 0
options = {{ aet = "{title}", host = "127.0.0.1", port = {port}, {options} }}
"""


class Hospital:
    """A running gateway, and the PACS behind it by their AE titles.

    Leaving it asserts that nothing was logged as a failure, and that no socket and no delayed call is left.
    """

    def __init__(
        self,
        folder: Path,
        pacs: Mapping[str, PACS],
        *,
        middleware: tuple[str, ...] = ("bridge",),
        scp: bool = False,
        **options: Any,
    ) -> None:
        self.pacs = pacs
        self.aftermath = Aftermath(lambda: {name for one in pacs.values() for name in one.identifiers()})
        self.port = free_port()
        self.scp_port = free_port()
        options = {"strategy": "federate", **options}
        written = ", ".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
        text = CONFIGURATION
        for word, value in {
            "HTTP_PORT": str(self.port),
            "SCP_PORT": str(self.scp_port),
            "ENDPOINTS": ', "scp"' if scp else "",
            "MIDDLEWARE": json.dumps(middleware),
            "BACKENDS": json.dumps([title.lower() for title in pacs]),
            "OPTIONS": "{ " + written + " }",
            "CACHE": str(folder / "cache"),
        }.items():
            text = text.replace(word, value)
        own = ", ".join(f"{key} = {json.dumps(value)}" for key, value in OPTIONS.items())
        for title, one in pacs.items():
            text += BACKEND.format(name=title.lower(), title=title, port=one.port, options=own)
        self._main = folder / "config.toml"
        self._main.write_text(text, encoding="utf-8")
        self.gateway: Gateway

    async def __aenter__(self) -> "Hospital":
        self.aftermath.begin(one._listening for one in self.pacs.values())
        self.gateway = Gateway(
            load(self._main, environ={}, available=available()), reactor, audit_repository=self.aftermath.audit
        )
        self.gateway.startService()
        await self.gateway.when_ready()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.gateway.stopService()
        for one in self.pacs.values():
            if kind is None:
                await one.quiet()
            await one.stop()
        self.aftermath.stop()
        if kind is None:
            await self.aftermath.end()

    @property
    def audited(self) -> Audited:
        """Assert what the audit trail tells: see `Aftermath.audited`."""
        return self.aftermath.audited

    @property
    def exchanges(self) -> list[dict[str, Any]]:
        return self.aftermath.exchanges

    @property
    def alerts(self) -> list[LogEvent]:
        return self.aftermath.alerts

    async def ask(self, path: str, accept: str = "*/*", method: str = "GET") -> Reply:
        """Ask, and wait for the end."""
        client = await self.connect()
        client.request(f"/dicom/{path}", accept, method)
        return await client.reply()

    async def connect(self) -> Client:
        client = Client()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        await endpoint.connect(Factory.forProtocol(lambda: client))
        return client

    async def search(self, path: str) -> list[dict[str, Any]]:
        reply = await self.ask(path)
        assert reply.status == 200, reply.raw
        rows: list[dict[str, Any]] = json.loads(reply.content)
        return rows
