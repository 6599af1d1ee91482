"""A study that changes while it is being read: what was begun ends, unless what it gives is not right any more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from harmonygw.files import DamagedFile
from harmonygw.streams import InstanceStream
from tests.middleware.cache.archive import (
    SERIES,
    STUDY,
    Archive,
    House,
    Item,
    all_of,
    data_of,
    expected,
    image,
    items,
    series,
    until,
)
from tests.middleware.cache.test_validation import another_date, another_patient, one_less, one_more

REVALIDATE_SECS = 60


async def begun(house: House, retrieve: Any = None) -> tuple[InstanceStream, dict[str, bytes]]:
    """A transfer of a series, and its first instance."""
    stream: InstanceStream = (await house.reply(retrieve or series())).result
    first = await stream.__anext__()
    return stream, {first.sop_instance_uid: await data_of(first)}


@ensureDeferred
async def test_a_transfer_that_was_begun_ends_though_the_study_has_grown(tmp_path: Path) -> None:
    archive = Archive(items(5))
    was = expected(*archive.items)
    async with House(tmp_path, archive) as house:
        await house.filled()
        stream, had = await begun(house)
        one_more(archive)
        house.clock.advance(REVALIDATE_SECS)
        archive.sent.clear()
        assert await house.ask(series()) == expected(*archive.items)
        assert len(archive.sent) == 6, "all of it anew"
        assert {**had, **await all_of(stream)} == was
        del stream
        await until(lambda: not list((house.folder / "incoming").iterdir()))
        assert await house.ask(series()) == expected(*archive.items)
        assert len(archive.sent) == 6


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("loaded", [True, False])
@ensureDeferred
async def test_so_it_does_whatever_is_in_memory_and_however_it_was_told(
    tmp_path: Path, counts: bool, loaded: bool
) -> None:
    archive = Archive(items(3), counts=counts)
    was = expected(*archive.items)
    async with House(tmp_path, archive) as house:
        await house.filled()
        house.clock.advance(REVALIDATE_SECS)
        stream, had = await begun(house)
        if not loaded:
            house.cache._shelf._unload((STUDY, SERIES))
        one_more(archive)
        house.clock.advance(REVALIDATE_SECS)
        assert await house.ask(series()) == expected(*archive.items)
        assert {**had, **await all_of(stream)} == was
        del stream


@pytest.mark.parametrize("change", [another_patient, another_date, one_less], ids=lambda one: one.__name__)
@ensureDeferred
async def test_a_transfer_breaks_off_when_the_study_has_changed_otherwise(
    tmp_path: Path, change: Callable[[Archive], None]
) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive) as house:
        await house.filled()
        stream, _ = await begun(house)
        change(archive)
        house.clock.advance(REVALIDATE_SECS)
        assert await house.ask(series()) == expected(*archive.items)
        with pytest.raises(DamagedFile):
            await all_of(stream)


@ensureDeferred
async def test_what_goes_on_after_growth_breaks_off_when_the_patient_changes_then(tmp_path: Path) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive) as house:
        await house.filled()
        stream, _ = await begun(house)
        for change in (one_more, another_patient):
            change(archive)
            house.clock.advance(REVALIDATE_SECS)
            assert await house.ask(series()) == expected(*archive.items)
        with pytest.raises(DamagedFile):
            await all_of(stream)


@ensureDeferred
async def test_a_retrieve_that_another_finds_grown_ends_for_who_reads_it(tmp_path: Path) -> None:
    archive = Archive(items(4))
    was = expected(*archive.items)
    gate = archive.gate(f"{SERIES}.3")
    async with House(tmp_path, archive) as house:
        stream, had = await begun(house)
        await until(lambda: len(house.files) == 2)
        await house.rest()
        one_more(archive)
        other: Deferred[dict[str, bytes]] = house.ask(image(f"{SERIES}.1"), "somebody else")
        assert await other == {f"{SERIES}.1": archive.items[0].data_set()}
        assert not gate.called
        archive.let(f"{SERIES}.3")
        assert {**had, **await all_of(stream)} == was
        del stream
        await until(lambda: not house.state["under_way"])
        assert await house.ask(series()) == expected(*archive.items)


@ensureDeferred
async def test_a_purge_by_hand_is_a_purge(tmp_path: Path) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive) as house:
        await house.filled()
        stream, _ = await begun(house)
        assert await house.cache.purge(STUDY) == 3
        with pytest.raises(DamagedFile):
            await all_of(stream)


@ensureDeferred
async def test_what_stays_for_its_readers_is_gone_after_a_stop(tmp_path: Path) -> None:
    archive = Archive([Item(f"{SERIES}.1"), Item(f"{SERIES}.2")])
    house = House(tmp_path, archive)
    await house.cache.start()
    await house.filled()
    stream, _ = await begun(house)
    one_more(archive)
    house.clock.advance(REVALIDATE_SECS)
    await house.ask(series())
    assert len(list((house.folder / "incoming").iterdir())) == 2
    await house.cache.stop()
    assert not list((house.folder / "incoming").iterdir())
    await stream.aclose()
