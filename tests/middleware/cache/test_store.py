"""The cache on disk: what is readable after a restart, what damage does, what has to go, and whose folder it is."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from harmonygw.errors import ConfigurationError, TransportError
from harmonygw.files import DamagedFile
from harmonygw.middleware.cache import shelf as shelf_module
from harmonygw.middleware.cache import store as module
from tests.middleware.cache.archive import (
    SERIES,
    Archive,
    House,
    expected,
    image,
    items,
    series,
    settled,
    study,
    until,
)

FIRST = f"{SERIES}.1"


def index(house: House) -> sqlite3.Connection:
    return sqlite3.connect(house.folder / "index.sqlite3", isolation_level=None)


@ensureDeferred
async def test_what_was_cached_is_served_after_a_restart(tmp_path: Path) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive) as house:
        await house.filled()
        size = house.state["bytes"]
        assert size == sum(one.stat().st_size for one in house.files)
    async with House(tmp_path, archive) as house:
        stream = (await house.reply(series())).result
        found = [one async for one in stream]
        assert [one.sop_instance_uid for one in found] == [one.uid for one in archive.items]
        assert (found[0].source_ae_title, found[0].receiving_ae_title) == ("PACS", "GATEWAY")
        assert (found[0].leading, found[0].default_character_set) == ({"PatientID": "P1"}, ("ISO_IR 100",))
        for one, item in zip(found, archive.items, strict=True):
            assert one.file is not None
            assert await one.file.read((0, one.file.length)) == [item.data_set()]
        assert (len(archive.retrieved), house.state["bytes"]) == (1, size)


@ensureDeferred
async def test_names_of_files_tell_nothing_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    async with House(tmp_path, Archive(items(2))) as house:
        await house.filled()
        for file in house.files:
            assert len(file.name) == 64
            assert set(file.name) <= set("0123456789abcdef")
            assert file.parent.name == file.name[:2]
            assert file.stat().st_mode & 0o777 == 0o600
        assert house.folder.stat().st_mode & 0o777 == 0o700


def truncate(file: Path) -> None:
    os.truncate(file, 200)


def lengthen(file: Path) -> None:
    with file.open("ab") as output:
        output.write(b"more")


def rewrite(file: Path) -> None:
    file.write_bytes(file.read_bytes())


def flip(file: Path) -> None:
    """Change a bit as a disk does: nobody is told."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("harm", "restarts"),
    [
        (truncate, True),
        (lengthen, True),
        (rewrite, True),
        (Path.unlink, True),
        (flip, True),
        (truncate, False),
        (lengthen, False),
        (rewrite, False),
        (Path.unlink, False),
    ],
)
@ensureDeferred
async def test_a_file_that_was_harmed_is_never_served_and_fetched_again(
    tmp_path: Path, harm: Any, restarts: bool
) -> None:
    archive = Archive(items(2, size=3_000_000))
    house = House(tmp_path, archive)
    async with house:
        await house.filled()
        if not restarts:
            house.cache._shelf.disk._open.clear()
            for file in house.files:
                harm(file)
            with pytest.raises(TransportError, match="damaged"):
                await house.ask(series())
            await until(lambda: len(house.files) < 2)
    if restarts:
        for file in house.files:
            harm(file)
    async with House(tmp_path, archive) as house:
        for _ in range(3):
            try:
                found = await house.ask(series())
            except DamagedFile:
                await settled()
        assert sorted(found.items()) == sorted(expected(*archive.items).items())


@ensureDeferred
async def test_a_part_of_a_file_is_verified_when_it_is_read(tmp_path: Path) -> None:
    archive = Archive(items(1, size=5_000_000))
    house = House(tmp_path, archive)
    async with house:
        await house.filled()
    flip(house.files[0])  # in its third MiB
    async with House(tmp_path, archive) as house:
        [one] = [one async for one in (await house.reply(image(FIRST))).result]
        assert one.file is not None
        data = archive.items[0].data_set()
        assert await one.file.read((1000, 3000), (4_500_000, 10)) == [data[1000:4000], data[4_500_000:4_500_010]]
        with pytest.raises(TransportError, match="damaged"):
            await one.file.read((2_500_100, 1))
        await until(lambda: not house.files)


@pytest.mark.parametrize("garbage", [b"no database at all" * 1000, b"", b"SQLite format 3\0" + bytes(5000)], ids=len)
@ensureDeferred
async def test_an_index_that_is_none_is_thrown_away_with_all_files(tmp_path: Path, garbage: bytes) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive) as house:
        await house.filled()
    (house.folder / "index.sqlite3").write_bytes(garbage)
    async with House(tmp_path, archive) as house:
        assert (house.files, house.state["bytes"]) == ([], 0)
        assert await house.ask(series()) == expected(*archive.items)
        await until(lambda: not house.state["under_way"])
        assert len(house.files) == 2


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE instance SET layout = x'00' WHERE id = 1",
        "UPDATE instance SET leading = '{' WHERE id = 1",
        "UPDATE instance SET character_set = 7, leading = '{}' WHERE id = 1",
        "UPDATE instance SET blocks = x'' WHERE id = 1",
    ],
)
@ensureDeferred
async def test_a_row_that_was_harmed_is_dropped_and_its_instance_fetched_again(tmp_path: Path, change: str) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive) as house:
        await house.filled()
    with index(house) as connection:
        connection.execute(change)
    connection.close()
    async with House(tmp_path, archive) as house:
        for _ in range(2):
            try:
                found = await house.ask(series())
            except TransportError:
                await settled()
        assert sorted(found.items()) == sorted(expected(*archive.items).items())


@ensureDeferred
async def test_files_without_a_row_and_what_was_half_written_are_removed_at_the_start(tmp_path: Path) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive) as house:
        await house.filled()
    orphan = house.files[0].with_name("f" * 64)
    orphan.write_bytes(b"of a process that was killed")
    (house.folder / "incoming" / "1.part").write_bytes(b"half of an instance")
    async with House(tmp_path, archive) as house:
        assert not orphan.exists()
        assert not list((house.folder / "incoming").iterdir())
        assert await house.ask(series()) == expected(*archive.items)
        assert len(archive.retrieved) == 1


@ensureDeferred
async def test_what_another_archive_held_is_thrown_away(tmp_path: Path) -> None:
    async with House(tmp_path, Archive(items(2))) as house:
        await house.filled()
    archive = Archive([])
    async with House(tmp_path, archive, aet="OTHER") as house:
        assert house.files == []
        assert house.state["bytes"] == 0


@ensureDeferred
async def test_what_another_version_wrote_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with House(tmp_path, Archive(items(2))) as house:
        await house.filled()
    monkeypatch.setattr(module, "SCHEMA_VERSION", module.SCHEMA_VERSION + 1)
    async with House(tmp_path, Archive([])) as house:
        assert house.files == []


@ensureDeferred
async def test_a_folder_is_of_one_process_and_free_again_when_that_stops(tmp_path: Path) -> None:
    async with House(tmp_path, Archive(items(1))):
        second = House(tmp_path, Archive([]))
        with pytest.raises(ConfigurationError, match="in use by another process"):
            await second.cache.start()
        await second.cache.stop()
    async with House(tmp_path, Archive(items(1))):
        pass


@ensureDeferred
async def test_a_start_that_is_cancelled_leaves_the_folder_free(tmp_path: Path) -> None:
    house = House(tmp_path, Archive([]))
    starting = Deferred.fromCoroutine(house.cache.start())
    starting.addErrback(lambda _: None)
    starting.cancel()
    await house.cache.stop()
    async with House(tmp_path, Archive([])):
        pass


@ensureDeferred
async def test_a_folder_that_cannot_be_used_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    house = House(tmp_path, Archive([]))
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await house.cache.start()
    await house.cache.stop()


def others(count: int) -> list[str]:
    return [f"1.2.{number}" for number in range(10, 10 + count)]


async def fill(house: House, *uids: str) -> None:
    for uid in uids:
        await house.filled(series(uid))


@ensureDeferred
async def test_the_series_that_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    uids = others(4)
    archive = Archive([one for uid in uids for one in items(2, series=uid)])
    async with House(tmp_path, archive) as house:
        await fill(house, uids[0])
        size = house.state["bytes"]
    async with House(tmp_path, archive, max_bytes=3 * size + 100) as house:
        await fill(house, *uids[1:3])
        assert house.state["bytes"] == pytest.approx(3 * size, abs=100)
        await house.ask(series(uids[0]))  # used just now, which the index does not know yet
        await fill(house, uids[3])
        assert house.state["evicted_series"] == 1
        assert house.state["bytes"] == sum(one.stat().st_size for one in house.files) <= 3 * size + 100
        retrieved = len(archive.retrieved)
        for uid in (uids[0], uids[2], uids[3]):
            assert len(await house.ask(series(uid))) == 2
        assert len(archive.retrieved) == retrieved
        assert len(await house.ask(series(uids[1]))) == 2
        assert len(archive.retrieved) == retrieved + 1


@ensureDeferred
async def test_max_bytes_is_reached_and_never_passed(tmp_path: Path) -> None:
    uids = others(3)
    archive = Archive([one for uid in uids for one in items(1, series=uid)])
    async with House(tmp_path, archive) as house:
        await fill(house, uids[0])
        size = house.state["bytes"]
    for most, kept in ((2 * size, 2), (2 * size - 1, 1), (size, 1), (size - 1, 0)):
        async with House(tmp_path / str(most), archive, max_bytes=most) as house:
            for uid in uids:
                assert len(await house.ask(series(uid))) == 1
                await until(lambda house=house: not house.state["under_way"])
                assert sum(one.stat().st_size for one in house.files) <= most
            assert len(house.files) == kept


@ensureDeferred
async def test_what_is_larger_than_the_cache_does_not_empty_it(tmp_path: Path) -> None:
    archive = Archive([*items(2, series="1.2.10"), *items(1, series="1.2.11", size=100_000)])
    async with House(tmp_path, archive, max_bytes=50_000) as house:
        await fill(house, "1.2.10")
        assert await house.ask(series("1.2.11")) == expected(archive.items[2])
        assert len(house.files) == 2
        assert house.state["failures"] == 0


@ensureDeferred
async def test_a_series_that_is_read_does_not_make_room(tmp_path: Path) -> None:
    archive = Archive([one for uid in others(2) for one in items(3, series=uid)])
    async with House(tmp_path, archive) as house:
        await fill(house, "1.2.10")
        size = house.state["bytes"]
    async with House(tmp_path, archive, max_bytes=size) as house:
        stream = (await house.reply(series("1.2.10"))).result
        first = await anext(stream)
        assert await house.ask(series("1.2.11")) == expected(*archive.items[3:])
        assert first.sop_instance_uid == archive.items[0].uid
        assert [one.sop_instance_uid async for one in stream] == [one.uid for one in archive.items[1:3]]
        await until(lambda: not house.state["under_way"])
        assert await house.ask(series("1.2.11")) == expected(*archive.items[3:])
        await until(lambda: not house.state["under_way"])
        assert house.state["evicted_series"] == 1


@pytest.mark.parametrize("restarts", [True, False])
@ensureDeferred
async def test_what_is_older_than_max_age_secs_is_fetched_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: bool
) -> None:
    now = [1_800_000_000.0]
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    archive = Archive(items(2))
    house = House(tmp_path, archive, max_age_secs=100, revalidate_secs=1000)
    await house.cache.start()
    await house.filled()
    for age, retrieved in ((99, 1), (2, 2)):
        now[0] += age
        house.clock.advance(age)
        if restarts:
            await house.cache.stop()
            house = House(tmp_path, archive, max_age_secs=100, revalidate_secs=1000)
            await house.cache.start()
        await house.filled()
        assert len(archive.retrieved) == retrieved
        assert len(house.files) == 2
    await house.cache.stop()


@ensureDeferred
async def test_use_is_written_down_after_a_while_and_when_the_gateway_stops(tmp_path: Path) -> None:
    archive = Archive(items(1))

    def used() -> float:
        with index(house) as connection:
            found: float = connection.execute("SELECT used FROM series").fetchone()[0]
        connection.close()
        return found

    async with House(tmp_path, archive) as house:
        await house.filled()
        filled = used()
        await house.ask(series())
        house.clock.advance(shelf_module.TOUCH_SECS)
        await until(lambda: used() > filled)
        first = used()
        await house.ask(series())
        house.clock.advance(shelf_module.TOUCH_SECS - 0.1)
        await settled()
        assert used() == first
        house.clock.advance(0.2)
        await until(lambda: used() > first)
        second = used()
        await house.ask(series())
    assert used() > second


@ensureDeferred
async def test_a_study_is_purged_by_hand(tmp_path: Path) -> None:
    archive = Archive([*items(2), *items(1, series="1.2.4")])
    async with House(tmp_path, archive) as house:
        await house.filled(study())
        assert await house.cache.purge("1.2") == 3
        assert (house.files, house.state["bytes"]) == ([], 0)
        assert await house.cache.purge("1.2") == 0
        assert await house.ask(study()) == expected(*archive.items)


@ensureDeferred
async def test_a_purge_breaks_off_what_is_under_way_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    archive = Archive(items(3))
    archive.gate(archive.items[2].uid)
    async with House(tmp_path, archive) as house:
        asked = house.ask(series())
        await until(lambda: len(house.files) == 2)
        await house.cache.purge("1.2")
        with pytest.raises(TransportError):
            await asked
        assert house.files == []
