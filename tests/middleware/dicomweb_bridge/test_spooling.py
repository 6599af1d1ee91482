from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults

from harmonygw.disk import Disk
from harmonygw.errors import TransportError
from harmonygw.middleware.dicomweb_bridge import spooling
from harmonygw.middleware.dicomweb_bridge.spooling import MEMORY_BYTES, Spool

reactor: Any = _reactor
DATA = bytes(range(256)) * 4096


@asynccontextmanager
async def disk() -> AsyncIterator[Disk]:
    one = Disk(reactor, threads=2, name="test-spool")
    one.start()
    try:
        yield one
    finally:
        await one.stop()


async def content(spool: Spool, *where: int) -> bytes:
    return b"".join([bytes(piece) async for pieces in spool.pieces(*where) for piece in pieces])


@ensureDeferred
async def test_what_is_little_waits_in_memory(tmp_path: Path) -> None:
    async with disk() as one:
        spool = Spool(one, tmp_path / "nowhere")
        for start in range(0, MEMORY_BYTES, 1000):
            spool.add(DATA[start : min(start + 1000, MEMORY_BYTES)])
            await spool.settle()
        assert spool.size == MEMORY_BYTES
        assert await content(spool) == DATA[:MEMORY_BYTES]


@ensureDeferred
async def test_what_is_more_waits_in_a_file_without_a_name(tmp_path: Path) -> None:
    async with disk() as one:
        spool = Spool(one, tmp_path)
        for start in range(0, len(DATA), 10_007):
            spool.add(memoryview(DATA)[start : start + 10_007])
            await spool.settle()
        assert list(tmp_path.iterdir()) == []
        assert await content(spool) == DATA
        assert await content(spool) == DATA


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 0), (0, 1), (5, 10), (0, 400_000), (399_990, 20), (400_000, 5), (400_001, 5), (409_999, 1), (3, 409_990)],
)
@ensureDeferred
async def test_a_range_is_read_wherever_it_lies(tmp_path: Path, offset: int, length: int) -> None:
    async with disk() as one:
        spool = Spool(one, tmp_path)
        spool.add(DATA[:400_000])
        await spool.settle()
        for start in range(400_000, 410_000, 100):
            spool.add(DATA[start : start + 100])
        assert await content(spool, offset, length) == DATA[offset : offset + length]


@ensureDeferred
async def test_several_may_add_at_a_time(tmp_path: Path) -> None:
    async with disk() as one:
        spool = Spool(one, tmp_path)
        settling = []
        for start in range(0, len(DATA), MEMORY_BYTES // 2):
            spool.add(DATA[start : start + MEMORY_BYTES // 2])
            settling.append(Deferred.fromCoroutine(spool.settle()))
        await gatherResults(settling)
        assert await content(spool) == DATA


@ensureDeferred
async def test_a_disk_that_takes_nothing_or_gives_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disk() as one:
        spool = Spool(one, tmp_path / "nowhere")
        spool.add(DATA)
        with pytest.raises(TransportError, match="no room for the request"):
            await spool.settle()
        spool = Spool(one, tmp_path)
        spool.add(DATA)
        await spool.settle()

        def broken(*_: object) -> bytes:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(spooling, "_read", broken)
            with pytest.raises(TransportError, match="cannot be read"):
                await content(spool)
            patch.setattr(spooling, "_read", lambda *_: b"")
            with pytest.raises(TransportError, match="shorter than what was written"):
                await content(spool)
        spool.close()
        with pytest.raises(TransportError, match="given up"):
            await content(spool)
