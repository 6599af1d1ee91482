"""Write-behind: what has landed is served from memory, and its file comes when its time does."""

from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from harmonygw.files import DamagedFile, HeldFile
from harmonygw.middleware.cache import behind, store
from tests.middleware.cache.archive import (
    SERIES,
    STUDY,
    Archive,
    House,
    expected,
    image,
    items,
    series,
    settled,
    until,
)

HELD = {"write_behind_secs": 1.0, "memory_bytes": 1_000_000}


@ensureDeferred
async def test_what_has_landed_is_served_before_it_is_written_and_the_same_after(tmp_path: Path) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive, **HELD) as house:
        assert await house.ask(series()) == expected(*archive.items)
        assert house.files == []
        assert house.state["held_bytes"] == sum(len(one.data_set()) for one in archive.items)
        assert await house.ask(series()) == expected(*archive.items)
        house.clock.advance(1.0)
        await until(lambda: not house.state["held_bytes"])
        assert len(house.files) == 3
        assert await house.ask(series()) == expected(*archive.items)
        assert len(archive.retrieved) == 1


@ensureDeferred
async def test_who_has_an_instance_from_memory_reads_on_when_it_is_written(tmp_path: Path) -> None:
    archive = Archive(items(1))
    [item] = archive.items
    async with House(tmp_path, archive, **HELD) as house:
        stream = (await house.reply(image(item.uid))).result
        instance = await anext(stream)
        await stream.aclose()
        file = instance.file
        assert isinstance(file, HeldFile)
        digest = file.digest
        assert await file.read((0, 10), (5, 20)) == [item.data_set()[:10], item.data_set()[5:25]]
        house.clock.advance(1.0)
        await until(lambda: not house.state["held_bytes"])
        assert await file.read((0, 10), (5, 20)) == [item.data_set()[:10], item.data_set()[5:25]]
        assert b"".join([bytes(one) async for some in file.pieces(3, 40) for one in some]) == item.data_set()[3:43]
        assert file.digest == digest


@ensureDeferred
async def test_what_is_held_is_written_when_the_cache_is_closed_and_there_after_a_restart(tmp_path: Path) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive, **HELD) as house:
        await house.ask(series())
    async with House(tmp_path, archive, **HELD) as house:
        assert len(house.files) == 3
        assert await house.ask(series()) == expected(*archive.items)
        assert len(archive.retrieved) == 1, "the series is known to be complete"


@ensureDeferred
async def test_no_more_is_held_than_memory_bytes(tmp_path: Path) -> None:
    archive = Archive(items(10))
    size = len(archive.items[0].data_set())
    async with House(tmp_path, archive, write_behind_secs=1.0, memory_bytes=3 * size) as house:
        assert await house.ask(series()) == expected(*archive.items)
        assert house.state["held_bytes"] < 3 * size
        assert len(house.files) >= 7


@ensureDeferred
async def test_what_is_longer_than_may_be_held_is_written_while_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(items(1, size=5000))
    monkeypatch.setattr(behind, "MAX_HELD_LENGTH", len(archive.items[0].data_set()) - 1)
    async with House(tmp_path, archive, **HELD) as house:
        assert await house.ask(series()) == expected(*archive.items)
        assert len(house.files) == 1
        assert house.state["held_bytes"] == 0


@ensureDeferred
async def test_what_just_fits_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(items(1, size=5000))
    monkeypatch.setattr(behind, "MAX_HELD_LENGTH", len(archive.items[0].data_set()))
    async with House(tmp_path, archive, **HELD) as house:
        await house.ask(series())
        assert house.files == []


@ensureDeferred
async def test_a_follower_is_given_what_comes_before_it_is_whole(tmp_path: Path) -> None:
    archive = Archive(items(1))
    [item] = archive.items
    archive.halfway[item.uid] = Deferred()
    async with House(tmp_path, archive, **HELD) as house:
        stream = (await house.reply(series())).result
        instance = await anext(stream)
        begun = b"".join(map(bytes, await anext(instance.data_set)))
        assert begun
        assert item.data_set().startswith(begun)
        assert begun != item.data_set()
        archive.halfway[item.uid].callback(None)
        rest = b"".join([bytes(one) async for some in instance.data_set for one in some])
        assert begun + rest == item.data_set()
        await stream.aclose()


@ensureDeferred
async def test_a_purge_forgets_what_is_held(tmp_path: Path) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive, **HELD) as house:
        await house.ask(series())
        assert await house.cache.purge(STUDY) == 3
        assert house.state["held_bytes"] == 0
        house.clock.advance(2.0)
        await settled()
        assert house.files == []
        assert await house.ask(series()) == expected(*archive.items)
        assert len(archive.retrieved) == 2


@ensureDeferred
async def test_a_disk_that_does_not_take_it_costs_nobody_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive, **HELD) as house:
        await house.ask(series())

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(store.Store, "_put", fail)
        house.clock.advance(1.0)
        await until(lambda: not house.state["held_bytes"])
        assert house.state["failures"]
        assert await house.ask(series()) == expected(*archive.items), "from the archive"
        monkeypatch.undo()
        house.clock.advance(100.0)
        assert await house.ask(series()) == expected(*archive.items)


@ensureDeferred
async def test_a_series_that_is_held_is_there_however_it_is_loaded(tmp_path: Path) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive, **HELD) as house:
        await house.ask(series())
        house.cache._shelf._unload((STUDY, SERIES))
        assert await house.ask(image(archive.items[1].uid)) == expected(archive.items[1])
        assert len(archive.retrieved) == 1


@ensureDeferred
async def test_views_of_what_is_held_are_those_of_its_file(tmp_path: Path) -> None:
    archive = Archive(items(1))
    [item] = archive.items
    async with House(tmp_path, archive, **HELD) as house:
        stream = (await house.reply(image(item.uid))).result
        file = (await anext(stream)).file
        await stream.aclose()
        assert isinstance(file, HeldFile)
        before = await file.views((0, 10), (5, 20))
        house.clock.advance(1.0)
        await until(lambda: not house.state["held_bytes"])
        after = await file.views((0, 10), (5, 20))
        for views in (before, after):
            assert b"".join(views) == item.data_set()[:10] + item.data_set()[5:25]


@ensureDeferred
async def test_a_range_beyond_what_is_held_is_damage(tmp_path: Path) -> None:
    archive = Archive(items(1))
    [item] = archive.items
    async with House(tmp_path, archive, **HELD) as house:
        stream = (await house.reply(image(item.uid))).result
        file = (await anext(stream)).file
        await stream.aclose()
        assert file is not None
        end = len(item.data_set())
        assert await file.read((end - 1, 1)) == [item.data_set()[-1:]]
        with pytest.raises(DamagedFile):
            await file.read((end - 1, 2))
