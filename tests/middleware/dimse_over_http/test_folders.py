"""Retrieved files: where they lie, how long, how many, and what is left of them when something goes wrong."""

import os
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.config.system import StorageSettings
from harmonygw.errors import Busy, PeerError, TransportError
from harmonygw.middleware.dimse_over_http import folders as module
from harmonygw.middleware.dimse_over_http.folders import PREFIX, WRITE_LENGTH, Folder, Folders
from harmonygw.streams import Instance
from tests.interop.held import CT, EXPLICIT, Held
from tests.middleware.cache.archive import Ticking, until
from tests.middleware.dimse_over_http.objects import arriving, settings
from tests.net.http.wire import Source


@asynccontextmanager
async def running(folder: Path, clock: Ticking | None = None, **options: Any) -> AsyncGenerator[Folders, None]:
    folders = Folders(settings(folder, **options), clock or Ticking())
    await folders.start()
    try:
        yield folders
    finally:
        await folders.stop()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def kept(folders: Folders, *instances: Instance) -> Folder:
    folder = await folders.make()
    for instance in instances or (arriving(),):
        await folder.write(instance)
    folders.keep(folder)
    return folder


@ensureDeferred
async def test_instances_are_numbered_part_10_files_that_nobody_else_may_read(tmp_path: Path) -> None:
    async with running(tmp_path / "a" / "b") as folders:
        folder = await folders.make()
        names = [await folder.write(arriving("1.2.3.4")), await folder.write(arriving("1.2.3.5"))]
        assert names == ["000001.dcm", "000002.dcm"]
        assert sorted(one.name for one in folder.path.iterdir()) == names
        assert folder.path.is_absolute()
        assert (mode(folder.path), mode(folder.path.parent), mode(folder.path / names[0])) == (0o700, 0o700, 0o600)
        content = (folder.path / names[1]).read_bytes()
        read = pydicom.dcmread(BytesIO(content))
        assert (read.SOPInstanceUID, read.file_meta.MediaStorageSOPInstanceUID) == ("1.2.3.5", "1.2.3.5")
        assert (read.file_meta.TransferSyntaxUID, read.file_meta.SendingApplicationEntityTitle) == (EXPLICIT, "PACS")
        assert content.endswith(Held(sop="1.2.3.5").data_set())
        assert folder.size == sum(one.stat().st_size for one in folder.path.iterdir())


@ensureDeferred
async def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    source = Source()
    async with running(tmp_path) as folders:
        folder = await folders.make()
        instance = Instance(CT, "1.2", EXPLICIT, source.feed)
        writing = Deferred.fromCoroutine(folder.write(instance))
        source.feed.put((bytes(WRITE_LENGTH),), WRITE_LENGTH)
        await until(lambda: [one.name for one in folder.path.iterdir()] == ["000001.part"])
        source.feed.put((b"end",), 3)
        source.feed.end()
        assert await writing == "000001.dcm"
        assert (folder.path / "000001.dcm").read_bytes().endswith(bytes(99) + b"end")


@ensureDeferred
async def test_files_are_removed_when_they_are_too_old_and_not_before(tmp_path: Path) -> None:
    clock = Ticking()
    async with running(tmp_path, clock, max_age_secs=10.0) as folders:
        first = await kept(folders)
        clock.advance(6)
        second = await kept(folders)
        clock.advance(3.9)
        assert first.path.exists()
        clock.advance(0.1)
        await until(lambda: not first.path.exists())
        assert second.path.exists()
        assert folders.state()["answers"] == 1
        clock.advance(6)
        await until(lambda: not second.path.exists())
        assert (folders.state()["answers"], folders.state()["bytes"]) == (0, 0)
        assert clock.getDelayedCalls() == []


@ensureDeferred
async def test_what_is_under_way_is_not_too_old(tmp_path: Path) -> None:
    clock = Ticking()
    async with running(tmp_path, clock, max_age_secs=10.0) as folders:
        folder = await folders.make()
        await folder.write(arriving())
        clock.advance(100)
        assert folder.path.exists()


@ensureDeferred
async def test_stopping_removes_everything(tmp_path: Path) -> None:
    clock = Ticking()
    async with running(tmp_path, clock) as folders:
        await kept(folders)
        await (await folders.make()).write(arriving())
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
    assert clock.getDelayedCalls() == []
    with pytest.raises(Busy, match="starts or stops"):
        await folders.make()


@ensureDeferred
async def test_a_failure_to_remove_is_said_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(module.log, "failure", lambda text, failure: said.append(text))
    async with running(tmp_path) as folders:
        folder = await kept(folders)
        with monkeypatch.context() as patch:
            patch.setattr(folder, "discard", lambda: os.rmdir(folder.path))
            folders.remove(folder)
            await until(lambda: bool(said))
    assert said == ["retrieved files could not be removed"]
    assert list(tmp_path.iterdir()) == []


# What an earlier process left


@ensureDeferred
async def test_what_a_process_that_is_gone_has_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}abandoned"
    (left / "000001").mkdir(parents=True)
    (left / "000001" / "000001.dcm").write_bytes(b"DICM")
    (tmp_path / "harmonygw.log").write_text("a line")
    async with running(tmp_path):
        assert not left.exists()
        assert (tmp_path / "harmonygw.log").exists()


@ensureDeferred
async def test_what_another_process_has_is_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as first:
        folder = await kept(first)
        async with running(tmp_path) as second:
            assert folder.path.exists()
            other = await kept(second)
        assert folder.path.exists()
        assert not other.path.exists()


@ensureDeferred
async def test_a_link_or_a_file_of_such_a_name_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    below = tmp_path / "below"
    below.mkdir()
    (below / f"{PREFIX}link").symlink_to(precious)
    (below / f"{PREFIX}file").write_text("x")
    async with running(below):
        assert precious.exists()
        assert (below / f"{PREFIX}file").exists()


@ensureDeferred
async def test_a_folder_that_another_process_took_for_abandoned_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[int] = []

    def flock(descriptor: int, operation: int) -> None:
        locked.append(descriptor)
        if len(locked) == 1:
            raise BlockingIOError  # the other one has it
        if len(locked) == 2:
            os.rmdir(os.readlink(f"/proc/self/fd/{descriptor}"))  # the other one has removed it

    monkeypatch.setattr(module.fcntl, "flock", flock)
    async with running(tmp_path) as folders:
        assert len(locked) == 3
        assert (await kept(folders)).path.exists()


# Limits, and disks


@ensureDeferred
async def test_no_more_bytes_than_may_be(tmp_path: Path) -> None:
    size = len(Held().data_set())
    async with running(tmp_path, max_bytes=2 * size + 1000) as folders:
        first = await kept(folders)
        await kept(folders)
        third = await folders.make()
        with pytest.raises(Busy, match=r"storage\.options\.max_bytes"):
            await third.write(arriving())
        folders.remove(third)
        folders.remove(first)
        await kept(folders)


@ensureDeferred
async def test_no_more_answers_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FOLDERS", 2)
    async with running(tmp_path) as folders:
        await kept(folders)
        under_way = await folders.make()
        with pytest.raises(Busy, match="MAX_FOLDERS"):
            await folders.make()
        folders.remove(under_way)
        await folders.make()


@ensureDeferred
async def test_a_disk_that_takes_no_more_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    async with running(tmp_path) as folders:
        folder = await folders.make()
        with monkeypatch.context() as patch:
            patch.setattr(module._File, "write", full)
            with pytest.raises(TransportError, match="no room on the gateway's disk") as caught:
                await folder.write(arriving())
        assert str(tmp_path) not in caught.value.detail


@ensureDeferred
async def test_a_folder_that_cannot_be_made_is_said_and_takes_no_place(tmp_path: Path) -> None:
    async with running(tmp_path) as folders:
        first = await folders.make()
        first.path.with_name("000002").mkdir()
        with pytest.raises(TransportError, match="cannot be written"):
            await folders.make()
        await folders.make()


@ensureDeferred
async def test_a_folder_that_was_given_up_takes_no_more(tmp_path: Path) -> None:
    source = Source()
    async with running(tmp_path) as folders:
        folder = await folders.make()
        writing = Deferred.fromCoroutine(folder.write(Instance(CT, "1.2", EXPLICIT, source.feed)))
        folders.remove(folder)
        await until(lambda: not folder.path.exists())
        source.feed.put((b"x",), 1)
        source.feed.end()
        with pytest.raises(TransportError):
            await writing
        assert not folder.path.exists()


@pytest.mark.parametrize("error", [TransportError("gone"), CancelledError()])
@ensureDeferred
async def test_what_breaks_an_instance_off_is_raised(tmp_path: Path, error: Exception) -> None:
    async with running(tmp_path) as folders:
        folder = await folders.make()
        with pytest.raises(type(error)):
            await folder.write(arriving(error=error))
        assert not list(folder.path.glob("*.dcm"))


@ensureDeferred
async def test_a_uid_that_cannot_be_written_is_the_archives_fault(tmp_path: Path) -> None:
    async with running(tmp_path) as folders:
        folder = await folders.make()
        with pytest.raises(PeerError, match="cannot be written"):
            await folder.write(arriving("../../etc"))


@ensureDeferred
async def test_a_parent_that_cannot_be_is_raised_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    folders = Folders(settings(tmp_path / "file" / "below"), Ticking())
    with pytest.raises(OSError, match="Not a directory"):
        await folders.start()
    await folders.stop()


@ensureDeferred
async def test_memory_is_a_file_system_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY", tmp_path)
    folders = Folders(StorageSettings("memory"), Ticking())
    await folders.start()
    assert (await kept(folders)).path.is_relative_to(tmp_path)
    await folders.stop()
    monkeypatch.setattr(module, "MEMORY", tmp_path / "missing")
    folders = Folders(StorageSettings("memory"), Ticking())
    with pytest.raises(FileNotFoundError):
        await folders.start()
    await folders.stop()
