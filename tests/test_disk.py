"""Threads for what blocks, memory that is counted, and files that end with whoever holds them last."""

import os
from pathlib import Path
from threading import get_ident

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from harmonygw import disk as module
from harmonygw.disk import Descriptor, Disk, Memory
from harmonygw.errors import TransportError


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def opened(path: Path) -> Descriptor:
    return Descriptor(os.open(path, os.O_RDONLY))


@pytest.fixture
def disk() -> Disk:
    return Disk(reactor, threads=2, name="test")


@ensureDeferred
async def test_work_is_done_in_a_thread_between_start_and_stop(disk: Disk) -> None:
    with pytest.raises(TransportError, match="not open"):
        await disk.run(get_ident)
    disk.start()
    assert await disk.run(get_ident) != get_ident()
    await disk.stop()
    with pytest.raises(TransportError, match="not open"):
        await disk.run(get_ident)


@ensureDeferred
async def test_the_stop_waits_for_what_was_begun(disk: Disk) -> None:
    disk.start()
    done: list[int] = []
    for number in range(20):
        disk.run(done.append, number)
    await disk.stop()
    assert sorted(done) == list(range(20))


@ensureDeferred
async def test_what_tidies_up_runs_whether_the_disk_is_open_or_not(disk: Disk) -> None:
    threads: list[int] = []
    disk.start()
    await disk.tidy(lambda: threads.append(get_ident()))
    await disk.stop()
    await disk.tidy(lambda: threads.append(get_ident()))
    assert threads[0] != get_ident()
    assert threads[1] == get_ident()


def test_a_file_is_closed_with_the_last_reference_or_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    first = opened(path)
    second, number = first, first.number
    del first
    assert is_open(number)
    del second
    assert not is_open(number)
    third = opened(path)
    number = third.number
    third.close()
    assert not is_open(number)
    other = os.open(path, os.O_RDONLY)
    assert other == number, "the number is another's now"
    third.close()
    del third
    assert is_open(other)
    os.close(other)


def test_memory_is_counted_up_to_its_limit_and_given_back(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VOLATILE_BYTES", 100)
    first, second = (Memory(os.memfd_create("test"), disk) for _ in range(2))
    first.grow(50)
    first.grow(20)
    assert not disk.is_short_of_memory
    second.grow(1)
    assert disk.is_short_of_memory
    second.grow(50)
    with pytest.raises(OSError, match="MAX_VOLATILE_BYTES=100"):
        second.grow(51)
    first.close()
    second.grow(100)
    del second
    assert not disk.is_short_of_memory
    first.grow(100)


@ensureDeferred
async def test_files_that_were_read_lately_are_kept_open(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OPEN_FILES", 2)
    path = tmp_path / "file"
    path.write_bytes(b"")
    disk.keep_open("a", opened(path))
    assert disk.opened("a") is None, "not before the start"
    disk.start()
    for owner in ("a", "b"):
        disk.keep_open(owner, opened(path))
    assert disk.opened("a") is not None
    disk.keep_open("c", opened(path))
    assert disk.opened("b") is None, "the one that was read longest ago"
    assert disk.opened("a") is not None
    disk.close("a")
    disk.close("a")
    assert disk.opened("a") is None
    kept = disk.opened("c")
    assert kept is not None
    number = kept.number
    del kept
    await disk.stop()
    assert not is_open(number)
