"""A disk that fails: everybody is served, it is said once, and the cache comes back."""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher

from harmonygw import disk
from harmonygw.errors import TransportError
from harmonygw.middleware.cache import shelf as module
from harmonygw.middleware.cache.store import Store
from tests.middleware.cache.archive import Archive, House, expected, image, items, series, settled, study, until


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """What is logged as an error."""
    logged: list[str] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            logged.append(str(event.get("log_format")))

    globalLogPublisher.addObserver(observe)
    yield logged
    globalLogPublisher.removeObserver(observe)


class Failing:
    """Makes a function of `os` fail for what lies in a folder, or altogether."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        self.on = True
        self.after = 0
        self._code = code
        self._real: Callable[..., int] = os.writev
        monkeypatch.setattr(os, "writev", self)

    def __call__(self, descriptor: int, views: Any) -> int:
        if self.on and "memfd" not in os.readlink(f"/proc/self/fd/{descriptor}"):
            if self.after <= 0:
                raise OSError(self._code, os.strerror(self._code))
            self.after -= 1
        return self._real(descriptor, views)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS], ids=str)
@pytest.mark.parametrize("after", [0, 3])
@ensureDeferred
async def test_a_disk_that_takes_no_more_is_done_without_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[str], code: int, after: int
) -> None:
    archive = Archive(items(3, size=700_000))
    async with House(tmp_path, archive) as house:
        failing = Failing(monkeypatch, code)
        failing.after = after
        asked = [house.ask(one) for one in (series(), image(archive.items[1].uid), study())]
        assert sorted((await asked[0]).items()) == sorted(expected(*archive.items).items())
        assert await asked[1] == expected(archive.items[1])
        assert sorted((await asked[2]).items()) == sorted(expected(*archive.items).items())
        assert house.state["open"] is False
        passed_by = house.state["passed_by"]
        assert await house.ask(series()) == expected(*archive.items)
        assert house.state["passed_by"] == passed_by + 1
        assert len(errors) == 1
        await until(lambda: not house.state["under_way"])
        await until(lambda house=house: house.cache._shelf.disk._volatile_bytes == 0)
        failing.on = False
        house.clock.advance(module.RETRY_SECS - 0.1)
        assert house.state["open"] is False
        house.clock.advance(0.1)
        assert house.state["open"] is True
        assert sorted((await house.ask(series())).items()) == sorted(expected(*archive.items).items())
        await until(lambda: not house.state["under_way"])
        assert len(house.files) == 3
        assert len(errors) == 1


@ensureDeferred
async def test_a_disk_that_still_fails_is_said_again_after_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[str]
) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive) as house:
        Failing(monkeypatch, errno.ENOSPC)
        for count in (1, 2):
            assert await house.ask(series()) == expected(*archive.items)
            assert len(errors) == count
            house.clock.advance(module.RETRY_SECS)


@ensureDeferred
async def test_memory_for_what_the_disk_does_not_take_ends_at_its_limit_and_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(items(1, size=100_000))
    async with House(tmp_path, archive) as house:
        await house.filled()
        size = house.files[0].stat().st_size
    Failing(monkeypatch, errno.ENOSPC)
    monkeypatch.setattr(disk, "MAX_VOLATILE_BYTES", size)
    async with House(tmp_path / "fits", archive) as house:
        assert await house.ask(series()) == expected(*archive.items)
        await until(lambda: not house.state["under_way"])
        await until(lambda house=house: house.cache._shelf.disk._volatile_bytes == 0)
    monkeypatch.setattr(disk, "MAX_VOLATILE_BYTES", size - 1)
    async with House(tmp_path / "not", archive) as house:
        with pytest.raises(TransportError):
            await house.ask(series())
        await until(lambda: not house.state["under_way"])
        await settled()
        await until(lambda house=house: house.cache._shelf.disk._volatile_bytes == 0)


@pytest.mark.parametrize("folder", ["incoming", "objects"])
@ensureDeferred
async def test_a_folder_that_was_taken_away_is_done_without(tmp_path: Path, folder: str) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive) as house:
        (house.folder / folder).rmdir()
        assert await house.ask(series()) == expected(*archive.items)
        await until(lambda: not house.state["under_way"])
        assert house.state["open"] is False
        (house.folder / folder).mkdir()
        house.clock.advance(module.RETRY_SECS)
        await house.ask(series())
        await until(lambda: not house.state["under_way"])
        assert len(house.files) == 3


@pytest.mark.parametrize("what", ["load", "said", "complete", "note_said", "used", "_put"])
@pytest.mark.parametrize("error", [sqlite3.OperationalError("database or disk is full"), OSError(errno.EIO, "bad")])
@ensureDeferred
async def test_an_index_that_fails_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[str], what: str, error: Exception
) -> None:
    archive = Archive(items(3))

    def fail(*_: object) -> None:
        raise error

    async with House(tmp_path, archive) as house:
        monkeypatch.setattr(Store, what, fail)
        for retrieve in (image(archive.items[1].uid), series(), study()):
            found = await house.ask(retrieve)
            assert found.items() <= expected(*archive.items).items()
            assert len(found) == (1 if retrieve.sop_instance_uids else 3)
        house.clock.advance(module.TOUCH_SECS)
        await until(lambda: not house.state["under_way"])
        assert len(errors) <= 1
        monkeypatch.undo()
        house.clock.advance(module.RETRY_SECS)
        assert sorted((await house.ask(series())).items()) == sorted(expected(*archive.items).items())


@ensureDeferred
async def test_no_more_series_stay_in_memory_than_the_limits_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = [f"1.2.{number}" for number in range(10, 16)]
    archive = Archive([one for uid in uids for one in items(2, series=uid)])
    async with House(tmp_path, archive) as house:
        monkeypatch.setattr(module, "MAX_LOADED_SERIES", 3)
        for uid in uids:
            await house.filled(series(uid))
        assert house.state["loaded_series"] == 3
        monkeypatch.setattr(module, "MAX_LOADED_INSTANCES", 4)
        for uid in uids:
            assert len(await house.ask(series(uid))) == 2
        assert house.state["loaded_series"] == 2
        assert len(archive.retrieved) == 6


@ensureDeferred
async def test_nothing_is_touched_after_the_stop(tmp_path: Path) -> None:
    archive = Archive(items(1))
    house = House(tmp_path, archive)
    async with house:
        await house.filled()
    assert house.state["open"] is False
    assert await house.ask(series()) == expected(*archive.items), "the archive is asked"
    with pytest.raises(TransportError, match="closed"):
        await house.cache.purge("1.2")
    with pytest.raises(TransportError, match="closed"):
        house.cache._shelf.new_writing(None)  # type: ignore[arg-type]
    assert house.clock.getDelayedCalls() == []
