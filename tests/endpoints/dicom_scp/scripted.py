"""A `dicom_scp` endpoint in memory: a pipeline that does what the test says, and a peer that asks."""

from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock

from harmonygw.config.endpoint_options import DicomSCPOptions
from harmonygw.config.model import Endpoint, ListeningAddress
from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.upperlayer.negotiation import AssociateAC, ProposedContext
from harmonygw.endpoints.dicom_scp import DicomSCPEndpoint
from harmonygw.exchange import Reply, Request
from harmonygw.net.association.destination import MoveDestination
from harmonygw.net.ports import Ports
from harmonygw.operations import Operation
from harmonygw.pipeline import EndpointContext, IMiddleware, chain
from harmonygw.streams import Feed, Instance, Pieces
from tests.net.association.scripted_peer import ScriptedPeer

AE_TITLE = "ARCHIVE"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
VERIFICATION = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"

Answer = Callable[[Operation], Any]


class Pipeline:
    """Answers each operation by `answer`: a result, an exception, or a Deferred of either; remembers what was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Answer = lambda operation: None
        self.headers: tuple[tuple[str, str], ...] = ()

    def __call__(self, request: Request) -> "Deferred[Reply]":
        self.requests.append(request)
        answer = self.answer(request.operation)  # type: ignore[arg-type]
        if isinstance(answer, Exception):
            raise answer
        answered = answer if isinstance(answer, Deferred) else succeed(answer)
        return answered.addCallback(lambda result: Reply(headers=self.headers, result=result))

    @property
    def operations(self) -> list[Any]:
        return [request.operation for request in self.requests]


class Script:
    """The endpoint, its pipeline, and the peers that connect to it."""

    def __init__(
        self,
        *,
        backend: Any = None,
        destinations: Iterable[MoveDestination] = (),
        commitments: Iterable[Any] = (),
        addresses: tuple[ListeningAddress, ...] = (ListeningAddress("127.0.0.1", 11112),),
        middleware: Sequence[IMiddleware] = (),
        ports: Ports | None = None,
        **options: Any,
    ) -> None:
        self.clock = MemoryReactorClock()
        self.pipeline = Pipeline()
        everything = dict.fromkeys(("enable_find", "enable_get", "enable_move", "enable_store"), True)
        settings = DicomSCPOptions(**{"local_aet": AE_TITLE, **everything, **options})
        self.endpoint = DicomSCPEndpoint(
            EndpointContext(
                Endpoint("scp", "dicom_scp", settings, None, None, addresses),
                self.pipeline,
                SimpleNamespace(),  # type: ignore[arg-type]
                self.clock,
                backend=backend,
                destinations=lambda: destinations,
                commitments=lambda: commitments,
                ports=ports,
                around=lambda respond: chain(middleware, respond),
            )
        )
        self.endpoint.start()

    def connect(self, host: str = "10.0.0.7") -> ScriptedPeer:
        factory = self.clock.tcpServers[0][1]
        protocol = factory.buildProtocol(IPv4Address("TCP", host, 1234))
        return ScriptedPeer(protocol, self.clock)

    def associate(self, *contexts: ProposedContext, **more: Any) -> ScriptedPeer:
        peer = self.connect()
        assert isinstance(peer.associate(*contexts, **more), AssociateAC)
        return peer

    def asking(self, sop_class_uid: str, syntax: str = EXPLICIT) -> ScriptedPeer:
        """A peer with one context, of ID 1."""
        return self.associate(ProposedContext(1, sop_class_uid, (syntax,)))

    def getting(self, *storage: tuple[str, str], sop_class_uid: str = GET) -> ScriptedPeer:
        """A peer with a GET on context 1, and storage classes and syntaxes as an SCP on 3, 5 and so on."""
        return self.associate(
            ProposedContext(1, sop_class_uid, (EXPLICIT,)),
            *(
                ProposedContext(2 * index + 3, uid, (syntax,), scu_role=False, scp_role=True)
                for index, (uid, syntax) in enumerate(storage)
            ),
        )


def key(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def identifier(level: str = "STUDY", syntax: str = EXPLICIT, **keys: dict[str, Any]) -> bytes:
    """The bytes of an identifier; keyword arguments are tags after an underscore."""
    return from_json(
        {"00080052": key("CS", level), **{tag.lstrip("_"): value for tag, value in keys.items()}},
        syntax,
        character_set=(),
    )


def stream(*items: Any) -> Feed[Any]:
    """A stream that has these items, and has ended."""
    feed: Feed[Any] = Feed(limit=1000)
    for item in items:
        feed.put(item)
    feed.end()
    return feed


def instance(
    number: int = 1, *pieces: bytes, sop_class_uid: str = CT, syntax: str = EXPLICIT, error: Exception | None = None
) -> Instance:
    """An instance 1.2.3.`number` that has these pieces; with `error`, it breaks after them."""
    data_set: Feed[Pieces] = Feed(limit=1000)
    for piece in pieces or (b"\x08\x00\x18\x00UI\x04\x001.2\x00",):
        data_set.put((piece,))
    if error is None:
        data_set.end()
        return Instance(sop_class_uid, f"1.2.3.{number}", syntax, data_set)
    return Instance(sop_class_uid, f"1.2.3.{number}", syntax, Breaking(list(pieces), error))


class Breaking:
    """A data set that breaks after some pieces."""

    def __init__(self, pieces: list[bytes], error: Exception) -> None:
        self._pieces = pieces
        self._error = error

    def __aiter__(self) -> "Breaking":
        return self

    async def __anext__(self) -> Pieces:
        if self._pieces:
            return (self._pieces.pop(0),)
        raise self._error

    async def aclose(self) -> None:
        self._pieces.clear()
