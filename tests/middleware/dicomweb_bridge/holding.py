"""An archive that holds instances, as a cache has them or as they stream; and a bridge whose jobs are done at once."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from email.parser import BytesParser
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
from pydicom.data import get_testdata_file
from pydicom.filereader import read_file_meta_info
from twisted.internet.defer import Deferred, maybeDeferred, succeed

from harmonygw.dicom.dataset.inline import BULK_THRESHOLD
from harmonygw.dicom.dataset.layout import Layout, LayoutScan
from harmonygw.disk import Disk
from harmonygw.errors import PeerError
from harmonygw.exchange import Reply
from harmonygw.files import DamagedFile
from harmonygw.operations import Retrieve
from harmonygw.rendering.jobs import JOBS
from harmonygw.rendering.worker import find
from harmonygw.streams import Instance, Pieces
from tests.dicom.dataset.encoded import BIG_ENDIAN, EXPLICIT, UNDEFINED, element, header
from tests.middleware.dicomweb_bridge.archive import (
    Archive,
    Gateway,
    Sent,
    body_of,
    headers_of,
    image,
    series,
    study,
)

SERIES = "studies/1.2/series/1.2.3"
INSTANCE = f"{SERIES}/instances/1.2.3.4"
CT = "1.2.840.10008.5.1.4.1.1.2"
PIECE = 4096

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
MPEG4 = "1.2.840.10008.1.2.4.102"
MPEG2 = "1.2.840.10008.1.2.4.100"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"


class MemoryFile:
    """A file of a cache."""

    def __init__(self, syntax: str, data: bytes, *, bulk_threshold: int = BULK_THRESHOLD) -> None:
        self.data = data
        self.damaged = False
        self.reads: list[tuple[int, int]] = []
        self.layout: Layout | None = None
        scan = LayoutScan(syntax, bulk_threshold=bulk_threshold)
        try:
            scan.feed([data])
            self.layout = scan.finish()
        except PeerError:
            self.layout = None

    @property
    def length(self) -> int:
        return len(self.data)

    @property
    def digest(self) -> str:
        return sha256(self.data).hexdigest()[:32]

    async def read(self, *ranges: tuple[int, int]) -> list[bytes]:
        self._check()
        self.reads += ranges
        return [self.data[start : start + length] for start, length in ranges]

    async def views(self, *ranges: tuple[int, int]) -> Pieces:
        return await self.read(*ranges)

    async def pieces(self, offset: int = 0, length: int | None = None) -> AsyncGenerator[Pieces, None]:
        end = len(self.data) if length is None else offset + length
        while offset < end:
            self._check()
            size = min(PIECE, end - offset)
            self.reads.append((offset, size))
            yield (self.data[offset : offset + size],)
            offset += size

    def _check(self) -> None:
        if self.damaged:
            raise DamagedFile("a cached object is damaged")


@dataclass
class Held:
    """An instance of an archive. `file` is there when a cache has it; else it streams."""

    syntax: str
    data: bytes
    uid: str = "1.2.3.4"
    series: str = "1.2.3"
    cached: bool = True
    bulk_threshold: int = BULK_THRESHOLD
    sop_class: str = CT
    others: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.file = MemoryFile(self.syntax, self.data, bulk_threshold=self.bulk_threshold)

    def instance(self) -> Instance:
        streaming = Sent(*([self.data[at : at + PIECE]] for at in range(0, len(self.data), PIECE)))
        return Instance(
            self.sop_class,
            self.uid,
            self.syntax,
            self.file.pieces() if self.cached else streaming,
            study_instance_uid="1.2",
            series_instance_uid=self.series,
            source_ae_title="PACS",
            receiving_ae_title="GATEWAY",
            file=self.file if self.cached else None,
            **self.others,
        )


class Holding(Archive):
    """An archive, and what it holds; an exception among that is what it fails with."""

    def __init__(self, *held: Held | Exception, **others: Any) -> None:
        by_series: dict[str, list[Held]] = {}
        for one in held:
            if isinstance(one, Held):
                by_series.setdefault(one.series, []).append(one)
        rows = [
            series(uid, *(image(one.uid, InstanceNumber=number) for number, one in enumerate(some, 1)))
            for uid, some in by_series.items()
        ]
        super().__init__(study("1.2", *rows), **others)
        self.held = held
        self.streams: list[Sent] = []

    def stream_of(self, retrieve: Retrieve) -> Any:
        uids, series_uid = retrieve.sop_instance_uids, retrieve.series_instance_uid
        some = [
            one if isinstance(one, Exception) else one.instance()
            for one in self.held
            if isinstance(one, Exception)
            or ((not uids or one.uid in uids) and (not series_uid or one.series == series_uid))
        ]
        self.streams.append(Sent(*some))
        return self.streams[-1]


class InProcess:
    """Does the jobs of worker processes in this one; those that are `held` wait until they are let go."""

    def __init__(self, reactor: Any, limits: Any) -> None:
        self.done: list[tuple[str, dict[str, Any], int]] = []
        """Name, parameters, and number of pieces of the payload."""
        self.held: list[Deferred[None]] | None = None
        self.cancelled = 0
        self.failure: Exception | None = None

    async def run(
        self, job: str, parameters: Mapping[str, Any], payload: Sequence[bytes], *, client: str = ""
    ) -> tuple[dict[str, Any], bytes]:
        known = orjson.loads(orjson.dumps(parameters))
        self.done.append((job, known, len(payload)))
        if self.failure is not None and job != "icon":
            raise self.failure
        if self.held is not None:
            waiting: Deferred[None] = Deferred(self._cancel)
            self.held.append(waiting)
            await waiting
        result, made = find(JOBS[job])(known, list(payload))
        return orjson.loads(orjson.dumps(result)), made

    def _cancel(self, _: Any) -> None:
        self.cancelled += 1

    @property
    def jobs(self) -> list[str]:
        return [job for job, _, _ in self.done]


class AtOnce(Disk):
    """A disk that does its work at once."""

    def start(self) -> None:
        self._running = True

    def stop(self) -> "Deferred[None]":
        self._running = False
        return succeed(None)

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> "Deferred[Any]":
        assert self._running
        return maybeDeferred(function, *args, **kwargs)


class PixelGateway(Gateway):
    """A bridge in front of such an archive."""

    def __init__(self, *held: Held | Exception, folder: Path | None = None, **options: Any) -> None:
        bridge = "harmonygw.middleware.dicomweb_bridge"
        with patch(f"{bridge}.bridge.Workers", InProcess), patch(f"{bridge}.access.Disk", AtOnce):
            super().__init__(Holding(*held), **({"spool_path": str(folder)} if folder else {}), **options)
        self.workers: InProcess = self.bridge._workers  # type: ignore[assignment]
        self.disk = self.bridge._access._disk
        if folder is None:
            self.disk.start()
        else:
            self.bridge._access.start()

    @property
    def holding(self) -> Holding:
        assert isinstance(self.archive, Holding)
        return self.archive

    def begin(self, target: str, accept: str | None = None) -> "Deferred[Reply]":
        """An exchange that waits for something."""
        return Deferred.fromCoroutine(self.exchange(target, accept, method="GET", client="10.0.0.1", headers={}))


def next_of(reply: Reply) -> "Deferred[Pieces]":
    """The next pieces of a body, waited for."""
    assert reply.body is not None
    coming: Coroutine[Any, Any, Pieces] = reply.body.__anext__()
    return Deferred.fromCoroutine(coming)


def bundled(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def held_file(name: str, **others: Any) -> Held:
    """A file that pydicom ships."""
    path = bundled(name)
    meta = read_file_meta_info(path)
    data = path.read_bytes()[144 + meta.FileMetaInformationGroupLength :]
    return Held(str(meta.TransferSyntaxUID), data, **others)


def pixel_module(
    rows: int,
    columns: int,
    *,
    frames: int = 1,
    bits: int = 8,
    samples: int = 1,
    photometric: str = "MONOCHROME2",
    syntax: str = EXPLICIT,
) -> bytes:
    """The elements that describe pixels."""

    def us(tag: int, value: int) -> bytes:
        return element(tag, "US", value.to_bytes(2, "big" if syntax == BIG_ENDIAN else "little"), syntax)

    def text(tag: int, vr: str, value: str) -> bytes:
        return element(tag, vr, value.encode() + b" " * (len(value) % 2), syntax)

    return b"".join(
        (
            us(0x00280002, samples),
            text(0x00280004, "CS", photometric),
            us(0x00280006, 0) if samples > 1 else b"",
            text(0x00280008, "IS", str(frames)) if frames > 1 else b"",
            us(0x00280010, rows),
            us(0x00280011, columns),
            us(0x00280100, bits),
            us(0x00280101, bits),
            us(0x00280102, bits - 1),
            us(0x00280103, 0),
        )
    )


def native(value: bytes, rows: int, columns: int, *, vr: str = "OW", syntax: str = EXPLICIT, **others: Any) -> bytes:
    """A data set with native pixel data."""
    described = pixel_module(rows, columns, syntax=syntax, **others)
    return described + element(0x7FE00010, vr, value + b"\0" * (len(value) % 2), syntax)


def encapsulated(fragments: Sequence[bytes], rows: int, columns: int, *, table: bytes = b"", **others: Any) -> bytes:
    """A data set with encapsulated pixel data."""
    items = [header(0xFFFEE000, "", len(one)) + one for one in (table, *fragments)]
    return b"".join(
        (
            pixel_module(rows, columns, **others),
            header(0x7FE00010, "OB", UNDEFINED),
            *items,
            header(0xFFFEE0DD, "", 0),
        )
    )


def parts_of(reply: Reply) -> list[tuple[dict[str, str], bytes]]:
    """The header fields and the bytes of each part, cut at the boundary; all but the last end without a line end."""
    content_type = headers_of_all(reply)["Content-Type"]
    boundary = content_type.partition("boundary=")[2].encode()
    before, *found, after = (b"\r\n" + body_of(reply)).split(b"\r\n--" + boundary)
    assert (before, after) == (b"", b"--\r\n")
    received = []
    for part in found:
        lines, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        received.append((dict(BytesParser().parsebytes(lines + b"\r\n\r\n").items()), content))
    return received


def headers_of_all(reply: Reply) -> Mapping[str, str]:
    """The header fields but Warning, of which there may be several."""
    return {name: value for name, value in reply.headers if name != "Warning"}


__all__ = ["body_of", "headers_of"]
