"""What a Store through the cache does to what it holds."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from harmonygw.errors import TransportError
from harmonygw.exchange import AssociationOrigin, Reply, Request
from harmonygw.middleware.cache import storing
from harmonygw.middleware.cache.storing import Results, StoredStudies
from harmonygw.operations import Store, StoreResult
from harmonygw.streams import Instance
from tests.middleware.cache.archive import (
    CT,
    SERIES,
    STUDY,
    Archive,
    House,
    Item,
    data_of,
    expected,
    image,
    instance,
    items,
    series,
    study,
    until,
)

FIRST, SECOND, THIRD = (f"{SERIES}.{number}" for number in (1, 2, 3))


async def on_their_way(found: Sequence[Item]) -> AsyncGenerator[Instance, None]:
    for one in found:
        yield instance(one)


class Storing:
    """Stores into an archive through a cache, instance by instance."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.gate: Deferred[None] | None = None
        self.down: TransportError | None = None

    def store(self, *found: Item) -> "Deferred[list[int]]":
        return Deferred.fromCoroutine(self._store(found))

    async def _store(self, found: Sequence[Item]) -> list[int]:
        request = Request(AssociationOrigin("A", "B"), "10.0.0.1", "id", operation=Store(on_their_way(found)))
        reply = await self.house.cache.intercept(request, lambda one: Deferred.fromCoroutine(self._respond(one)))
        return [result.status async for result in reply.result]

    async def _respond(self, request: Request) -> Reply:
        if self.down is not None:
            raise self.down
        assert isinstance(request.operation, Store)
        return Reply(result=self._results(request.operation))

    async def _results(self, store: Store) -> AsyncGenerator[StoreResult, None]:
        archive = self.house.archive
        async for one in store.instances:
            if self.gate is not None:
                await self.gate
            stored = Item(one.sop_instance_uid, raw=await data_of(one))
            archive.items = [item for item in archive.items if item.uid != stored.uid] + [stored]
            yield StoreResult(CT, one.sop_instance_uid, 0)


@pytest.mark.parametrize("write_behind_secs", [0.0, 1.0])
@ensureDeferred
async def test_what_was_stored_is_there_at_once_and_what_it_replaced_is_not(
    tmp_path: Path, write_behind_secs: float
) -> None:
    archive = Archive(items(2), counts=False)
    async with House(tmp_path, archive, write_behind_secs=write_behind_secs) as house:
        await house.filled()
        retrieves = len(archive.retrieved)
        new, changed = Item(THIRD), Item(FIRST, size=2000)
        assert await Storing(house).store(new, changed) == [0, 0]
        assert await house.ask(series()) == expected(Item(SECOND), new, changed)
        assert len(archive.retrieved) > retrieves


@ensureDeferred
async def test_other_studies_stay(tmp_path: Path) -> None:
    archive = Archive(items(2), counts=False)
    async with House(tmp_path, archive) as house:
        await house.filled()
        retrieves = len(archive.retrieved)
        await Storing(house).store(Item("9.9", study="9", series="9.1"))
        assert len(await house.ask(series())) == 2
        assert len(archive.retrieved) == retrieves


@ensureDeferred
async def test_who_reads_a_retrieve_that_began_before_reads_on_and_nobody_joins(tmp_path: Path) -> None:
    archive = Archive(items(3), counts=False)
    async with House(tmp_path, archive) as house:
        archive.gate(SECOND)
        reading = house.ask(study())
        await until(lambda: archive.sent == [FIRST])
        changed = Item(FIRST, size=2000)
        assert await Storing(house).store(changed) == [0]
        passed_by = house.state["passed_by"]
        after = house.ask(series())
        await until(lambda: len(archive.retrieved) == 2)
        assert house.state["passed_by"] == passed_by + 1
        archive.let(SECOND)
        assert await reading == expected(*items(3))
        assert await after == expected(Item(SECOND), Item(THIRD), changed)
        await until(lambda: not house.files)
        await house.rest()
        for _ in range(2):
            assert await house.ask(study()) == expected(Item(SECOND), Item(THIRD), changed)
            await until(lambda: not house.state["under_way"])
        assert len(archive.retrieved) == 3


@ensureDeferred
async def test_a_retrieve_that_goes_on_for_nobody_ends(tmp_path: Path) -> None:
    archive = Archive(items(3), counts=False)
    async with House(tmp_path, archive) as house:
        archive.gate(SECOND)
        archive.gate(THIRD)
        async for _ in (await house.reply(image(FIRST))).result:
            pass
        await until(lambda: archive.open and archive.sent == [FIRST])
        assert house.state["under_way"] == 1
        await Storing(house).store(Item(FIRST, size=2000))
        await until(lambda: not archive.open)
        await until(lambda: not house.files)
        assert archive.cancelled >= 1


@ensureDeferred
async def test_what_is_cached_while_a_store_is_under_way_is_forgotten_at_its_end(tmp_path: Path) -> None:
    archive = Archive(items(1), counts=False)
    async with House(tmp_path, archive) as house:
        storing = Storing(house)
        storing.gate = Deferred()
        stored = storing.store(Item(SECOND))
        await house.rest()
        await house.filled()
        assert len(house.files) == 1
        storing.gate.callback(None)
        await stored
        assert house.files == []
        assert len(await house.ask(series())) == 2


@ensureDeferred
async def test_a_store_that_fails_leaves_what_it_did_not_touch(tmp_path: Path) -> None:
    archive = Archive(items(1), counts=False)
    async with House(tmp_path, archive) as house:
        await house.filled()
        storing = Storing(house)
        storing.down = TransportError("refused")
        with pytest.raises(TransportError):
            await storing.store(Item(SECOND))
        assert len(house.files) == 1


@ensureDeferred
async def test_a_cache_that_is_closed_lets_a_store_pass(tmp_path: Path) -> None:
    house = House(tmp_path, Archive([]))
    async with house:
        pass
    assert await Storing(house).store(Item(FIRST)) == [0]


# The stream by itself


class Forgetting:
    def __init__(self) -> None:
        self.studies: list[str] = []

    async def __call__(self, study: str) -> None:
        self.studies.append(study)


@ensureDeferred
async def test_each_study_is_forgotten_before_its_first_instance_and_at_the_end() -> None:
    forget = Forgetting()
    found = [Item(f"{number}.1", study=study) for number, study in enumerate("1121")]
    studies = StoredStudies(on_their_way(found), forget)
    assert [one.study_instance_uid async for one in studies] == list("1121")
    assert forget.studies == ["1", "2"]
    await studies.end()
    await studies.end()
    assert forget.studies == ["1", "2", "1", "2"]


@ensureDeferred
async def test_no_more_studies_wait_for_the_end_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "MAX_STUDIES", 2)
    forget = Forgetting()
    studies = StoredStudies(on_their_way([Item(study, study=study) for study in "abc"]), forget)
    async for _ in studies:
        pass
    assert forget.studies == ["a", "b", "a", "c"]
    await studies.end()
    assert forget.studies[4:] == ["b", "c"]


@ensureDeferred
async def test_giving_the_results_up_gives_the_store_up_and_forgets() -> None:
    forget = Forgetting()
    studies = StoredStudies(on_their_way([Item(FIRST)]), forget)

    async def answers() -> AsyncGenerator[StoreResult, None]:
        async for one in studies:
            yield StoreResult(CT, one.sop_instance_uid, 0)

    made = answers()
    results = Results(made, studies)
    async for _ in results:
        break
    await results.aclose()
    assert forget.studies == [STUDY, STUDY]
    with pytest.raises(StopAsyncIteration):
        await made.__anext__()
    await studies.aclose()
    assert [one async for one in studies] == []
