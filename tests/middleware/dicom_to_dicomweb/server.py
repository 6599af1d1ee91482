"""A DICOMweb server in memory, behind the middleware: it answers as the test says, and keeps what it was asked."""

from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar

import orjson
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Reply, Request
from harmonygw.middleware.dicom_to_dicomweb import DicomToDICOMweb
from harmonygw.operations import Operation
from harmonygw.streams import Body, Instance, Pieces
from tests.dicom.dataset.encoded import EXPLICIT, element

T = TypeVar("T")

CT = "1.2.840.10008.5.1.4.1.1.2"
BOUNDARY = "b1"
MULTIPART = (("Content-Type", f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'),)
JSON = (("Content-Type", "application/dicom+json"),)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that waits for nothing, or raise what it raises."""
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)
    [result] = found
    if isinstance(result, Failure):
        result.raiseException()
    return result  # type: ignore[no-any-return]


async def gathered(stream: Any) -> list[Any]:
    return [one async for one in stream]


class Source:
    """A body that brings these pieces, one a read, and then ends, or fails; it remembers being given up."""

    def __init__(self, *pieces: bytes | Exception, each: int = 1) -> None:
        self._pieces = list(pieces)
        self._each = each
        self.given_up = False

    def __aiter__(self) -> "Source":
        return self

    async def __anext__(self) -> Pieces:
        if self.given_up or not self._pieces:
            raise StopAsyncIteration
        read, self._pieces = self._pieces[: self._each], self._pieces[self._each :]
        if isinstance(read[0], Exception):
            raise read[0]
        return [piece for piece in read if isinstance(piece, bytes)]

    async def aclose(self) -> None:
        self.given_up = True

    @property
    def left(self) -> int:
        """Pieces that nobody has read."""
        return len(self._pieces)


@dataclass
class Server:
    """Answers each request by the next of `answers`: a Reply, an exception, or what makes one of the request."""

    answers: list[Any] = field(default_factory=list)
    asked: list[HTTPOrigin] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    """The bodies of requests, as far as they came."""
    reads: bool = True
    """Whether it reads the body of a request before it answers."""

    def proceed(self, request: Request) -> "Deferred[Reply]":
        return Deferred.fromCoroutine(self._respond(request))

    async def _respond(self, request: Request) -> Reply:
        assert request.operation is None
        origin = request.origin
        assert isinstance(origin, HTTPOrigin)
        self.asked.append(origin)
        if origin.body is not None and self.reads:
            received = bytearray()
            self.sent.append(b"")
            try:
                async for pieces in origin.body:
                    received += b"".join(pieces)
            finally:
                self.sent[-1] = bytes(received)
        answer = self.answers.pop(0)
        if callable(answer):
            answer = answer(origin)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Reply)
        return answer

    @property
    def lines(self) -> list[str]:
        """The requests, as they are easiest to read."""
        return [line(one) for one in self.asked]


def line(origin: HTTPOrigin) -> str:
    query = "&".join(f"{name}={value}" for name, value in origin.query)
    return f"{origin.method} /{'/'.join(origin.path)}" + (f"?{query}" if query else "")


def request(operation: Operation | None) -> Request:
    return Request(AssociationOrigin("SCU", "GATEWAY"), "192.0.2.1", "c", operation=operation)


def ask(server: Server, operation: Operation | None, asked: Request | None = None) -> Any:
    """Put an operation through the middleware, and return the result."""
    middleware = DicomToDICOMweb(SimpleNamespace())  # type: ignore[arg-type]
    return run(middleware.intercept(asked or request(operation), server.proceed)).result


def reply(*pieces: bytes | Exception, status: int = 200, headers: Iterable[tuple[str, str]] = JSON) -> Reply:
    return Reply(status, tuple(headers), Body(Source(*pieces)))


def json_reply(document: Any, *, status: int = 200, headers: Iterable[tuple[str, str]] = JSON) -> Reply:
    return reply(orjson.dumps(document), status=status, headers=headers)


def rows(*matches: Any, **more: Any) -> Reply:
    """A page of matches."""
    return json_reply(list(matches), **more)


def row(study: str = "1.2", series: str = "", instance: str = "", **elements: Any) -> dict[str, Any]:
    """A match; `elements` are values by `T` and their tag."""
    uids = {"0020000D": study, "0020000E": series, "00080018": instance}
    match = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items() if uid}
    for name, value in elements.items():
        vr = "LO" if isinstance(value, str) else "IS"
        match[name.removeprefix("T")] = {"vr": vr, "Value": [value]}
    return match


def of_study(*, patient: str = "P1", count: int | None = None, study: str = "1.2") -> Reply:
    """What the server says of a study before it is retrieved."""
    return rows(row(study, T00100020=patient, **({} if count is None else {"T00201208": count})))


def data_set(
    instance: str = "1.2.3.4",
    *,
    study: str = "1.2",
    series: str = "1.2.3",
    patient: str = "P1",
    syntax: str = EXPLICIT,
    sop_class: str = CT,
    pixels: bytes = bytes(range(64)),
) -> bytes:
    values = (
        (0x00080016, "UI", sop_class),
        (0x00080018, "UI", instance),
        (0x00100020, "LO", patient),
        (0x0020000D, "UI", study),
        (0x0020000E, "UI", series),
    )
    leading = b"".join(element(tag, vr, _padded(vr, value), syntax) for tag, vr, value in values if value)
    return leading + element(0x7FE00010, "OW", pixels, syntax)


def _padded(vr: str, value: str) -> bytes:
    return value.encode() + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)


def part10(instance: str = "1.2.3.4", *, syntax: str = EXPLICIT, **more: Any) -> bytes:
    sop_class = more.get("sop_class") or CT
    return file_header(sop_class, instance or "1.2.3.4", syntax) + data_set(instance, syntax=syntax, **more)


def multipart(
    *files: bytes, fields: Sequence[str] = ("Content-Type: application/dicom",), closed: bool = True
) -> bytes:
    header = "".join(f"{one}\r\n" for one in fields)
    parts = [f"--{BOUNDARY}\r\n{header}\r\n".encode() + file + b"\r\n" for file in files]
    return b"".join(parts) + (f"--{BOUNDARY}--\r\n".encode() if closed else b"")


def instances(*files: bytes, status: int = 200, size: int = 0, **more: Any) -> Reply:
    """A response of these files; `size` is that of the pieces in which it comes."""
    body = multipart(*files, **more)
    size = size or len(body)
    cut = [body[at : at + size] for at in range(0, len(body), size)]
    return reply(*cut, status=status, headers=MULTIPART)


def on_its_way(data: bytes, *pieces: bytes | Exception, syntax: str = EXPLICIT, uid: str = "1.2.3.4") -> Instance:
    """An instance that is to be stored."""
    return Instance(CT, uid, syntax, Source(*((data,) if data else ()), *pieces), "1.2", "1.2.3")


async def stream_of(*some: Instance | Exception) -> Any:
    for one in some:
        if isinstance(one, Exception):
            raise one
        yield one
