"""An instance that a test writes to a file."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from twisted.internet import reactor

from harmonygw.dicom.dataset.layout import Layout
from harmonygw.disk import Disk
from harmonygw.files import Checks, InstanceFile
from harmonygw.streams import Pieces
from harmonygw.writing import Recording, Writing
from tests.middleware.cache.archive import Item, instance

ITEM = Item("1.2.3.1", size=3_000_000)
DATA = ITEM.data_set()


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
    writing = Writing(instance(item, *pieces), path, disk, bulk_threshold=1024)
    layout, checks, _ = await writing.run(kept)
    return InstanceFile(path, checks, layout, disk, trusted=trusted)
