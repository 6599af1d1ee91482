"""Instances in files: a disk that takes no more, and files that end with their objects."""

import errno
import gc
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from harmonygw import disk as disk_module
from harmonygw import writing as module
from harmonygw.disk import Disk
from harmonygw.errors import TransportError
from harmonygw.files import InstanceFile
from harmonygw.writing import Recording, spool
from tests.instance_files import DATA, ITEM, THIRD, kept, opened, read_until_error, slow, written
from tests.middleware.cache.archive import Item, data_of, instance, settled, until

# A disk that takes no more


class Failing:
    """`os.writev` on a disk that takes so many writes and no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int, code: int = errno.ENOSPC) -> None:
        self._after = after
        self._code = code
        self._real: Callable[[int, Any], int] = os.writev
        monkeypatch.setattr(os, "writev", self)

    def __call__(self, descriptor: int, views: Any) -> int:
        if "memfd" in os.readlink(f"/proc/self/fd/{descriptor}"):
            return self._real(descriptor, views)
        if not self._after:
            raise OSError(self._code, os.strerror(self._code))
        self._after -= 1
        return self._real(descriptor, [bytes(views[0])[: max(1, len(views[0]) // 2)]])  # never all of it


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EPERM])
@pytest.mark.parametrize("after", [0, 1, 5])
@ensureDeferred
async def test_what_the_disk_does_not_take_goes_on_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, code: int
) -> None:
    Failing(monkeypatch, after, code)
    async with opened() as disk:
        source, writing = slow(tmp_path / "file", disk)
        running = Deferred.fromCoroutine(writing.run(lambda recording, layout, checks: recording.detach()))
        follower = writing.follow()
        received = b""
        for number, most in enumerate((THIRD, 2 * THIRD)):
            source.let(number)
            while len(received) < most:
                received += b"".join(await anext(follower))
        source.let(2)
        layout, checks, descriptor = await running
        assert list(tmp_path.iterdir()) == []
        assert writing.recording.failure is not None
        assert disk._volatile_bytes == checks.size
        file = InstanceFile(tmp_path / "file", checks, layout, disk, descriptor=descriptor, trusted=True)
        writing.end(file)
        received += b"".join([b"".join(pieces) async for pieces in follower])
        assert received == DATA
        assert await file.read((1000, 5)) == [DATA[1000:1005]]
        del file, descriptor, running, writing, follower
        await settled()
        await until(lambda: disk._volatile_bytes == 0)


@ensureDeferred
async def test_a_partial_write_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Failing(monkeypatch, 10_000)
    async with opened() as disk:
        file = await written(tmp_path / "file", disk, (DATA[:1000], DATA[1000:]))
        assert await file.read((0, len(DATA))) == [DATA]


@ensureDeferred
async def test_what_neither_disk_nor_memory_takes_fails_and_its_follower_never_sees_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Failing(monkeypatch, 0)
    async with opened() as disk:
        source, writing = slow(tmp_path / "file", disk)
        running = Deferred.fromCoroutine(writing.run(kept))
        follower = writing.follow()
        source.let(0)
        received = b""
        while len(received) < THIRD:
            received += b"".join(await anext(follower))
        monkeypatch.setattr(disk_module, "MAX_VOLATILE_BYTES", THIRD + 1000)
        source.let(1)
        await settled()
        monkeypatch.undo()
        source.let(2)
        with pytest.raises(OSError, match="no more memory"):
            await running
        assert received == DATA[:THIRD]
        more, error = await read_until_error(follower)
        assert more == b""
        assert isinstance(error, TransportError)
        await until(lambda: disk._volatile_bytes == 0)


@ensureDeferred
async def test_a_file_that_lost_what_was_written_before_it_moved_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    async with opened() as disk:
        source, writing = slow(path, disk)
        running = Deferred.fromCoroutine(writing.run(kept))
        source.let(0)
        await until(path.exists)
        await settled()
        os.truncate(path, 100)
        Failing(monkeypatch, 0)
        for number in (1, 2):
            source.let(number)
        with pytest.raises(OSError, match="shorter than what was written"):
            await running


def test_what_was_given_up_is_not_written_to() -> None:
    disk = Disk(reactor, threads=1, name="test")
    recording = Recording(Path("never"), b"header", disk)
    recording.discard()
    with pytest.raises(OSError, match="given up"):
        recording.write((b"more",))
    with pytest.raises(OSError, match="given up"):
        recording.detach()
    with pytest.raises(OSError, match="given up"):
        recording.finish()
    assert recording.read(0, 10) == b""


# Spooling


@ensureDeferred
async def test_a_spooled_instance_has_no_name_and_ends_with_its_object(tmp_path: Path) -> None:
    async with opened() as disk:
        gc.collect()
        descriptors = len(os.listdir("/proc/self/fd"))
        file = await spool(instance(ITEM), tmp_path / "file", disk, bulk_threshold=1024)
        assert list(tmp_path.iterdir()) == []
        assert await file.read((10, 20)) == [DATA[10:30]]
        assert await data_of(replace(instance(ITEM), data_set=file.pieces())) == DATA
        assert len(os.listdir("/proc/self/fd")) == descriptors + 1
        del file
        await settled()
        assert len(os.listdir("/proc/self/fd")) == descriptors


@ensureDeferred
async def test_a_malformed_instance_is_spooled_and_has_no_layout(tmp_path: Path) -> None:
    cut = DATA[: THIRD * 2]
    async with opened() as disk:
        for data in (cut, b"\x08\x00\x16\x00UI\xff\x00no", b"\x08"):
            item = Item("1.2.3.1", raw=data)
            file = await spool(instance(item), tmp_path / "file", disk, bulk_threshold=1024)
            assert file.layout is None
            assert await file.read((0, file.length)) == [data]


@ensureDeferred
async def test_an_empty_instance_is_spooled(tmp_path: Path) -> None:
    async with opened() as disk:
        file = await spool(instance(Item("1.2.3.1", raw=b"")), tmp_path / "file", disk, bulk_threshold=1024)
        assert (file.length, await file.read((0, 0))) == (0, [b""])
        assert [pieces async for pieces in file.pieces()] == []


@ensureDeferred
async def test_without_room_spooling_fails_and_a_spool_that_is_cancelled_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as disk:
        with monkeypatch.context() as patch:
            patch.setattr(disk_module, "MAX_VOLATILE_BYTES", 1000)
            with pytest.raises(TransportError, match="no room"):
                await spool(instance(ITEM), tmp_path / "missing" / "file", disk, bulk_threshold=1024)
        gc.collect()
        descriptors = len(os.listdir("/proc/self/fd"))
        for turns in range(6):
            running = Deferred.fromCoroutine(spool(instance(ITEM), tmp_path / str(turns), disk, bulk_threshold=1024))
            for _ in range(turns):
                await until(lambda: True)
            running.addErrback(lambda failure: failure.trap(CancelledError))
            running.cancel()
            del running
            await settled()
        await until(lambda: not list(tmp_path.iterdir()))
        gc.collect()
        await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


@ensureDeferred
async def test_a_writing_after_the_stop_of_its_disk_fails_and_leaves_nothing(tmp_path: Path) -> None:
    async with opened() as disk:
        source, writing = slow(tmp_path / "file", disk)
        running = Deferred.fromCoroutine(writing.run(kept))
        source.let(0)
        await until((tmp_path / "file").exists)
    for number in (1, 2):
        source.let(number)
    with pytest.raises(TransportError, match="not open"):
        await running
    assert list(tmp_path.iterdir()) == []


def test_the_limits_are_what_the_reasons_say() -> None:
    assert module.WRITE_LENGTH < module.WRITE_BEHIND
    assert os.sysconf("SC_IOV_MAX") > module.MAX_BUFFERS
