"""What lands: who wants it, and what becomes of it where there is no room."""

from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from harmonygw import disk
from harmonygw.middleware.cache import fetch as module
from harmonygw.middleware.cache.landings import Wanted
from tests.middleware.cache.archive import (
    SERIES,
    Archive,
    House,
    all_of,
    expected,
    image,
    instance,
    items,
    series,
    settled,
    until,
)

FIRST, SECOND, THIRD = (f"{SERIES}.{number}" for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Wanted(), True),
        (Wanted((FIRST,)), True),
        (Wanted((SECOND,)), False),
        (Wanted((FIRST,), series_instance_uid="9", but=(FIRST,)), True),
        (Wanted(series_instance_uid=SERIES), True),
        (Wanted(series_instance_uid="9"), False),
        (Wanted(series_instance_uid=SERIES, but=(FIRST,)), False),
        (Wanted(but=(FIRST,)), False),
        (Wanted(but=(SECOND,)), True),
    ],
)
def test_names_come_before_the_series_and_before_what_he_has(wanted: Wanted, taken: bool) -> None:
    assert wanted.takes(instance(items(1)[0])) is taken


@ensureDeferred
async def test_what_finds_no_room_is_let_go_once_everybody_has_it_and_slows_the_retrieve_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_UNKEPT", 3)
    archive = Archive(items(20))
    size = len(archive.items[0].data_set()) + 1000
    async with House(tmp_path, archive, max_bytes=2 * size) as house:
        stream = (await house.reply(series())).result
        await until(lambda: len(archive.sent) >= 6)
        for _ in range(5):
            await settled()
        assert 6 <= len(archive.sent) <= 8, "two kept, three held, and what was on its way when those landed"
        assert await all_of(stream) == expected(*archive.items)
        assert house.state["bytes"] <= 2 * size
        await until(lambda: not house.state["under_way"])
        assert sum(one.stat().st_size for one in house.files) == house.state["bytes"]
        found = await house.ask(series())
        assert found == expected(*archive.items)


@ensureDeferred
async def test_what_finds_no_room_is_not_fetched_for_nobody(tmp_path: Path) -> None:
    archive = Archive(items(20))
    size = len(archive.items[0].data_set()) + 1000
    async with House(tmp_path, archive, max_bytes=2 * size) as house:
        assert await house.ask(image(THIRD)) == expected(archive.items[2])
        await until(lambda: not house.state["under_way"])
        assert len(archive.sent) < 5


@ensureDeferred
async def test_whoever_comes_late_to_what_was_let_go_begins_anew(tmp_path: Path) -> None:
    archive = Archive(items(6))
    archive.gate(f"{SERIES}.6")
    async with House(tmp_path, archive, max_bytes=10) as house:
        first = house.ask(series())
        await until(lambda: len(archive.sent) == 5)
        await settled()
        late = house.ask(series())
        await until(lambda: len(archive.sent) > 9)
        archive.let(f"{SERIES}.6")
        assert await first == expected(*archive.items)
        assert await late == expected(*archive.items)


@ensureDeferred
async def test_memory_is_waited_for_while_somebody_is_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "MAX_VOLATILE_BYTES", 80_000)
    archive = Archive(items(20, size=10_000))
    async with House(tmp_path, archive) as house:
        incoming = house.folder / "incoming"
        incoming.rmdir()
        assert await house.ask(series()) == expected(*archive.items), "the first of them opens no file"
        assert house.state["failures"] > 0
        await until(lambda house=house: house.cache._shelf.disk._volatile_bytes == 0)
        incoming.mkdir()
