"""Instances on their way to a file: written, followed, and gone when they break off."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.errors import PeerError, TransportError
from harmonygw.files import InstanceFile
from tests.instance_files import DATA, ITEM, THIRD, kept, opened, read_until_error, slow, written
from tests.middleware.cache.archive import EXPLICIT, data_of, instance, settled


@pytest.mark.parametrize(
    "pieces",
    [
        ((DATA,),),
        ((DATA[:100],), (DATA[100:101], memoryview(DATA)[101:])),
        tuple((DATA[at : at + 50_000],) for at in range(0, len(DATA), 50_000)),
        (tuple(DATA[at : at + 1000] for at in range(0, len(DATA), 1000)),),
    ],
    ids=["at once", "in three", "in many", "in many buffers"],
)
@ensureDeferred
async def test_what_came_is_a_part_10_file_and_is_read_by_parts(tmp_path: Path, pieces: Any) -> None:
    path = tmp_path / "file"
    async with opened() as disk:
        file = await written(path, disk, *pieces)
        header = file_header(ITEM.sop_class, ITEM.uid, EXPLICIT, source_ae_title="GATEWAY", sending_ae_title="PACS")
        assert path.read_bytes() == header + DATA
        assert file.length == len(DATA)
        assert await file.read() == []
        for ranges in (((0, len(DATA)),), ((5, 0), (1_048_000, 2000), (len(DATA) - 1, 1)), ((0, 1),)):
            for _ in range(2):
                assert await file.read(*ranges) == [DATA[start : start + length] for start, length in ranges]
        assert await data_of(replace(instance(ITEM), data_set=file.pieces())) == DATA
        assert b"".join([b"".join(one) async for one in file.pieces(1000, 600_000)]) == DATA[1000:601_000]
        assert file.layout is not None
        assert b"1.2.3.1" in file.layout.metadata


@ensureDeferred
async def test_the_digest_tells_contents_apart(tmp_path: Path) -> None:
    other = DATA[:-1] + bytes([DATA[-1] ^ 1])
    async with opened() as disk:
        same = [(await written(tmp_path / str(n), disk, *pieces)).digest for n, pieces in enumerate((((DATA,),),) * 2)]
        parts = (await written(tmp_path / "parts", disk, (DATA[:7],), (DATA[7:],))).digest
        another = (await written(tmp_path / "other", disk, (other,))).digest
    assert same == [parts, parts]
    assert another != parts
    assert len(parts) == 32


@ensureDeferred
async def test_a_follower_reads_what_has_come_before_more_comes(tmp_path: Path) -> None:
    async with opened() as disk:
        source, writing = slow(tmp_path / "file", disk)
        running = Deferred.fromCoroutine(writing.run(kept))
        follower = writing.follow()
        received = b""
        for number, most in enumerate((THIRD, 2 * THIRD)):
            source.let(number)
            while len(received) < most:
                received += b"".join(await anext(follower))
            assert received == DATA[:most]
        source.let(2)
        layout, checks, _ = await running
        writing.end(InstanceFile(tmp_path / "file", checks, layout, disk))
        received += b"".join([b"".join(pieces) async for pieces in follower])
        assert received == DATA


@ensureDeferred
async def test_a_follower_that_reads_nothing_stops_nobody(tmp_path: Path) -> None:
    async with opened() as disk:
        source, writing = slow(tmp_path / "file", disk)
        running = Deferred.fromCoroutine(writing.run(kept))
        idle, late = writing.follow(), writing.follow()
        source.let(0)
        await anext(idle)
        for number in (1, 2):
            source.let(number)
        layout, checks, _ = await running
        writing.end(InstanceFile(tmp_path / "file", checks, layout, disk))
        assert b"".join([b"".join(pieces) async for pieces in late]) == DATA
        await idle.aclose()


@pytest.mark.parametrize(
    ("error", "kind"), [(PeerError("cut short"), PeerError), (ZeroDivisionError("a mistake"), TransportError)]
)
@ensureDeferred
async def test_a_follower_of_what_breaks_off_gets_an_error_of_its_own(
    tmp_path: Path, error: Exception, kind: type[Exception]
) -> None:
    async with opened() as disk:
        source, writing = slow(tmp_path / "file", disk)
        running = Deferred.fromCoroutine(writing.run(kept))
        followers = [writing.follow() for _ in range(2)]
        source.let(0)
        for one in followers:
            assert await anext(one)
        source.error = error
        source.let(1)
        with pytest.raises(type(error)):
            await running
        caught = []
        for one in followers:
            received, failed = await read_until_error(one)
            assert received in DATA[:THIRD]
            assert type(failed) is kind
            caught.append(failed)
        assert caught[0] is not caught[1]
        assert source.closed
    assert list(tmp_path.iterdir()) == []


@ensureDeferred
async def test_a_follower_that_waits_may_go(tmp_path: Path) -> None:
    async with opened() as disk:
        source, writing = slow(tmp_path / "file", disk)
        running = Deferred.fromCoroutine(writing.run(kept))

        async def follow() -> bytes:
            return b"".join([b"".join(pieces) async for pieces in writing.follow()])

        first, second = Deferred.fromCoroutine(follow()), Deferred.fromCoroutine(follow())
        first.addErrback(lambda failure: failure.trap(CancelledError))
        source.let(0)
        await settled()
        first.cancel()
        for number in (1, 2):
            source.let(number)
        layout, checks, _ = await running
        writing.end(InstanceFile(tmp_path / "file", checks, layout, disk))
        assert await second == DATA


@pytest.mark.parametrize("thirds", [0, 1, 2])
@ensureDeferred
async def test_a_writing_that_is_cancelled_leaves_nothing(tmp_path: Path, thirds: int) -> None:
    async with opened() as disk:
        source, writing = slow(tmp_path / "file", disk)
        running = Deferred.fromCoroutine(writing.run(kept))
        follower = writing.follow()
        for number in range(thirds):
            source.let(number)
            await anext(follower)
        running.addErrback(lambda failure: failure.trap(CancelledError))
        running.cancel()
        assert source.closed, "within the turn"
        with pytest.raises(TransportError):
            async for _ in follower:
                pass
    assert list(tmp_path.iterdir()) == []
