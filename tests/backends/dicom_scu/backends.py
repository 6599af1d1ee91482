"""A `dicom_scu` backend in front of a scripted PACS."""

from collections.abc import AsyncGenerator, Iterable
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor

from harmonygw.backends.dicom_scu import DicomSCU
from harmonygw.config.backend_options import DicomSCUOptions
from harmonygw.config.model import Backend
from harmonygw.exchange import AssociationOrigin, Reply, Request
from harmonygw.operations import Operation
from harmonygw.pipeline import Context
from harmonygw.streams import Feed, Instance, Pieces
from tests.interop.held import CT, EXPLICIT, Held
from tests.interop.pacs import PACS


def settings(
    pacs_port: int, *, use_tls: bool = False, called_ae_title: str = "PACS", timeout_secs: int = 1, **options: Any
) -> Backend:
    return Backend(
        name="pacs",
        service="dicom_scu",
        options=DicomSCUOptions(**{"move_grace_secs": 0.1, **options}),
        target="archive",
        host="127.0.0.1",
        port=pacs_port,
        base_url="",
        use_tls=use_tls,
        ca_cert_path="",
        called_ae_title=called_ae_title,
        authentication=None,
        timeout_secs=timeout_secs,
        max_retries=0,
        enabled=True,
    )


def backend(pacs_port: int, *, addresses: Iterable[int] = (), **options: Any) -> DicomSCU:
    listening = [SimpleNamespace(port=port) for port in addresses]
    configuration: Any = SimpleNamespace(endpoints={"scp": SimpleNamespace(addresses=listening)}, authentications={})
    return DicomSCU(Context(settings(pacs_port, **options), configuration, reactor))


class Running:
    """A backend and its PACS, stopped at the end."""

    def __init__(self, pacs: PACS, **options: Any) -> None:
        self.pacs = pacs
        self.backend = backend(pacs.port, **options)

    async def __aenter__(self) -> "Running":
        self.backend.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.backend.stop()
        await self.pacs.stop()

    async def ask(self, operation: Operation | None) -> tuple[Reply, Request]:
        request = Request(AssociationOrigin("VIEWER", "GATEWAY"), "127.0.0.1", "id", operation=operation)
        return await self.backend.respond(request), request

    async def result(self, operation: Operation) -> list[Any]:
        reply, _ = await self.ask(operation)
        return [one async for one in reply.result]


def to_store(uid: str = "1.2.3.4", sop_class: str = CT, error: Exception | None = None) -> Instance:
    """An instance as a client brings it, whole or broken off by `error`."""
    data: Feed[Pieces] = Feed(limit=1)
    data.put((Held(sop=uid).data_set(),))
    if error is None:
        data.end()
    else:
        data.fail(error)
    return Instance(sop_class, uid, EXPLICIT, data)


async def stream_of(*instances: Instance) -> AsyncGenerator[Instance, None]:
    for one in instances:
        yield one
