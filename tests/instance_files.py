"""An instance that a test writes to a file, at once or in thirds."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from harmonygw.dicom.dataset.inline import BULK_THRESHOLD
from harmonygw.dicom.dataset.layout import Layout
from harmonygw.disk import Disk
from harmonygw.errors import HarmonyError
from harmonygw.files import Checks, InstanceFile
from harmonygw.streams import Pieces
from harmonygw.writing import Recording, Writing
from tests.middleware.cache.archive import Item, instance

ITEM = Item("1.2.3.1", size=3_000_000)
DATA = ITEM.data_set()
THIRD = len(DATA) // 3


@asynccontextmanager
async def opened() -> AsyncIterator[Disk]:
    disk = Disk(reactor, threads=4, name="test")
    disk.start()
    try:
        yield disk
    finally:
        await disk.stop()


def kept(recording: Recording, layout: Layout | None, checks: Checks) -> None:
    recording.detach()


async def written(path: Path, disk: Disk, *pieces: Pieces, item: Item = ITEM, trusted: bool = False) -> InstanceFile:
    """A file with an instance in it."""
    writing = Writing(instance(item, *pieces), path, disk, bulk_threshold=BULK_THRESHOLD)
    layout, checks, _ = await writing.run(kept)
    return InstanceFile(path, checks, layout, disk, trusted=trusted)


class Slow:
    """A data set that comes piece by piece, as a test says."""

    def __init__(self, *pieces: bytes) -> None:
        self.gates: list[Deferred[None]] = [Deferred() for _ in pieces]
        self._pieces = pieces
        self.error: Exception | None = None
        self.closed = False

    async def __call__(self) -> AsyncGenerator[Pieces, None]:
        try:
            for gate, piece in zip(self.gates, self._pieces, strict=True):
                await gate
                if self.error is not None:
                    raise self.error
                yield (piece,)
        finally:
            self.closed = True

    def let(self, number: int) -> None:
        self.gates[number].callback(None)


async def read_until_error(stream: AsyncGenerator[Pieces, None]) -> tuple[bytes, Exception]:
    """What still came, and why no more."""
    received = b""
    try:
        async for pieces in stream:
            received += b"".join(pieces)
    except HarmonyError as error:
        return received, error
    raise AssertionError("it ended as if it were whole")


def slow(path: Path, disk: Disk) -> tuple[Slow, Writing]:
    """An instance that comes in thirds."""
    source = Slow(DATA[:THIRD], DATA[THIRD : 2 * THIRD], DATA[2 * THIRD :])
    one = replace(instance(ITEM), data_set=source())
    return source, Writing(one, path, disk, bulk_threshold=BULK_THRESHOLD)
