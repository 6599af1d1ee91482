"""A `dicom_scp` endpoint in front of a DICOMweb server: what a DIMSE peer sees of it, on a real socket."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlencode

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from harmonygw.config.endpoint_options import AETableEntry, DicomSCPOptions
from harmonygw.config.model import Endpoint, ListeningAddress
from harmonygw.endpoints.dicom_scp import DicomSCPEndpoint
from harmonygw.errors import TransportError
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicom_to_dicomweb import DicomToDICOMweb
from harmonygw.pipeline import EndpointContext, chain
from harmonygw.streams import Body, Feed, Pieces

reactor: Any = _reactor
AE_TITLE = "FRONTED"


class HTTPServer:
    """The backend, as small as it can be: one request each, streaming both ways."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.asked: list[str] = []
        self._pool = HTTPConnectionPool(reactor, persistent=False)

    async def respond(self, request: Request) -> Reply:
        origin = request.origin
        assert isinstance(origin, HTTPOrigin)
        url = "/".join((self.base_url, *(quote(segment, safe="") for segment in origin.path)))
        if origin.query:
            url += "?" + urlencode(origin.query)
        self.asked.append(f"{origin.method} {url.removeprefix(self.base_url)}")
        headers = Headers({name: [value] for name, value in origin.headers.items()})
        body = _Producer(origin.body) if origin.body is not None else None
        response = await Agent(reactor, pool=self._pool).request(
            origin.method.encode(), url.encode("ascii"), headers, body
        )
        received = _Received()
        response.deliverBody(received)
        fields = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, values in response.headers.getAllRawHeaders()
            for value in values
        ]
        return Reply(response.code, tuple(fields), Body(received.feed))


class _Received(Protocol):
    def __init__(self) -> None:
        self.feed: Feed[Pieces] = Feed(limit=65536, flow=self, on_abort=self._abort)

    def dataReceived(self, data: bytes) -> None:
        self.feed.put((data,), len(data))

    def connectionLost(self, reason: Failure = Failure(ResponseDone())) -> None:
        if reason.check(ResponseDone):
            self.feed.end()
        else:
            self.feed.fail(TransportError(f"the response broke off: {reason.value!r}"))

    def pause(self) -> None:
        self.transport.pauseProducing()  # type: ignore[union-attr]

    def resume(self) -> None:
        self.transport.resumeProducing()  # type: ignore[union-attr]

    def _abort(self, reason: BaseException) -> None:
        self.transport.loseConnection()  # type: ignore[union-attr]


@implementer(IBodyProducer)
class _Producer:
    length = UNKNOWN_LENGTH

    def __init__(self, body: Body) -> None:
        self._body = body
        self._room: Deferred[None] | None = None

    def startProducing(self, consumer: Any) -> "Deferred[None]":
        self._running = Deferred.fromCoroutine(self._run(consumer))
        return self._running

    async def _run(self, consumer: Any) -> None:
        async for pieces in self._body:
            consumer.write(b"".join(pieces))
            if self._room is not None:
                await self._room

    def pauseProducing(self) -> None:
        self._room = self._room or Deferred()

    def resumeProducing(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        self._running.addErrback(lambda _: None)
        self._running.cancel()


@asynccontextmanager
async def fronted(
    base_url: str, *, destinations: dict[str, int] | None = None, backend: Any = None, **options: Any
) -> AsyncGenerator[tuple[int, Any], None]:
    """The endpoint with everything enabled; gives its port, and its backend."""
    settings = DicomSCPOptions(
        local_aet=AE_TITLE,
        enable_find=True,
        enable_move=True,
        enable_get=True,
        enable_store=True,
        aet_table={name: AETableEntry("127.0.0.1", port) for name, port in (destinations or {}).items()},
        **options,
    )
    backend = backend or HTTPServer(base_url)
    bridge = DicomToDICOMweb(SimpleNamespace())  # type: ignore[arg-type]
    endpoint = DicomSCPEndpoint(
        EndpointContext(
            Endpoint("scp", "dicom_scp", settings, None, None, (ListeningAddress("127.0.0.1", 0),)),
            chain([bridge], backend.respond),
            SimpleNamespace(),  # type: ignore[arg-type]
            reactor,
            backend=backend,
        )
    )
    endpoint.start()
    try:
        yield endpoint.addresses[0].port, backend
    finally:
        await endpoint.stop()
