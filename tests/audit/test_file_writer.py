"""The file that takes messages: lines that are whole, and a file that may be moved away."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from harmonygw.audit import file_writer as module
from harmonygw.audit.file_writer import FileWriter
from harmonygw.disk import Disk
from harmonygw.errors import TransportError


@pytest_twisted.async_yield_fixture
async def disk() -> AsyncIterator[Disk]:
    disk = Disk(reactor, threads=1, name="test")
    disk.start()
    yield disk
    await disk.stop()


def never(error: object) -> None:
    raise AssertionError(error)


@ensureDeferred
async def test_each_message_is_a_line_in_a_file_for_its_user_alone(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "deep" / "audit.log"
    writer = FileWriter(str(path), disk)
    assert writer.name == f"file {path}"
    await writer.open(never)
    assert (path.read_bytes(), path.stat().st_mode & 0o777, writer.taken()) == (b"", 0o600, 0)
    assert await writer.send([b"<85>1 a", b"<85>1 b"]) == []
    assert await writer.send([b"<85>1 c"]) == []
    assert (path.read_bytes(), writer.taken()) == (b"<85>1 a\n<85>1 b\n<85>1 c\n", 3)
    assert await writer.close()
    writer.abort()
    await writer.open(never)
    assert writer.taken() == 0


@ensureDeferred
async def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "audit.log"
    writer = FileWriter(str(path), disk)
    await writer.open(never)
    await writer.send([b"old"])
    path.rename(tmp_path / "audit.log.1")
    await writer.send([b"new"])
    assert (path.read_bytes(), (tmp_path / "audit.log.1").read_bytes()) == (b"new\n", b"old\n")


@ensureDeferred
async def test_half_a_line_is_taken_back(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.log"
    writer = FileWriter(str(path), disk)
    await writer.open(never)
    await writer.send([b"whole"])
    write = os.write

    def half(number: int, data: bytes) -> int:
        return write(number, data[: max(1, len(data) // 2)])  # a byte wakes the reactor up

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", half)
        with pytest.raises(TransportError) as refused:
            await writer.send([b"a message", b"another"])
    assert (refused.value.detail, refused.value.log_detail) == ("the file cannot be written", "the disk is full")
    assert (path.read_bytes(), writer.taken()) == (b"whole\n", 1)
    await writer.send([b"a message", b"another"])
    assert path.read_bytes() == b"whole\na message\nanother\n"


@ensureDeferred
async def test_a_folder_that_cannot_be_is_a_collector_that_is_away(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "file").write_bytes(b"")
    writer = FileWriter(str(tmp_path / "file" / "audit.log"), disk)
    with pytest.raises(TransportError, match="the file cannot be written"):
        await writer.open(never)
