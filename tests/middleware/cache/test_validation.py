"""Whether what is cached is still so, and for whom."""

from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from harmonygw.errors import Busy, Conflict, NotFound, PeerError, RejectedError, TimedOut, TransportError
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.cache import validation as module
from harmonygw.operations import Level
from harmonygw.streams import Feed
from tests.alerted import alerts
from tests.middleware.cache.archive import (
    SERIES,
    Archive,
    House,
    Item,
    data_of,
    expected,
    image,
    items,
    series,
    settled,
    study,
    until,
)

FIRST = f"{SERIES}.1"
STALE = ("Warning", '110 - "Response is Stale"')


@ensureDeferred
async def test_a_study_is_validated_at_most_every_revalidate_secs(tmp_path: Path) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive, revalidate_secs=60) as house:
        await house.filled()
        archive.asked.clear()
        house.clock.advance(59.9)
        assert await house.ask(series()) == expected(*archive.items)
        assert archive.asked == []
        house.clock.advance(0.1)
        asked = [house.ask(series()) for _ in range(50)]
        for one in asked:
            assert await one == expected(*archive.items)
        assert archive.finds == [Level.STUDY], "once for everybody"
        assert await house.ask(image(FIRST)) == expected(archive.items[0])
        assert len(archive.asked) == 1


def another_patient(archive: Archive) -> None:
    archive.patient = "P2"


def another_date(archive: Archive) -> None:
    archive.date = "20250103"


def one_more(archive: Archive) -> None:
    archive.items.append(Item(f"{SERIES}.9"))


def one_less(archive: Archive) -> None:
    archive.items.pop()


def another_series(archive: Archive) -> None:
    archive.items[-1] = Item("1.2.4.1", series="1.2.4")


@pytest.mark.parametrize(
    "change", [another_patient, another_date, one_more, one_less, another_series], ids=lambda one: one.__name__
)
@pytest.mark.parametrize("restarts", [False, True])
@ensureDeferred
async def test_a_study_that_has_changed_is_purged_and_fetched_anew(tmp_path: Path, change: Any, restarts: bool) -> None:
    archive = Archive(items(3))
    house = House(tmp_path, archive)
    await house.cache.start()
    await house.filled()
    change(archive)
    if restarts:
        await house.cache.stop()
        house = House(tmp_path, archive)
        await house.cache.start()
    house.clock.advance(60)
    archive.sent.clear()
    there = [one for one in archive.items if one.series == SERIES]
    with alerts() as raised:
        assert await house.ask(series()) == expected(*there)
    assert [one.kind for one in raised] == ["patients_differ"] * (change is another_patient)
    assert archive.sent == [one.uid for one in there], "all of it anew"
    await house.cache.stop()


@ensureDeferred
async def test_a_study_that_the_archive_has_no_more_is_not_found_and_purged(tmp_path: Path) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive) as house:
        await house.filled()
        archive.items.clear()
        house.clock.advance(60)
        for retrieve in (series(), image(FIRST), study()):
            with pytest.raises(NotFound):
                await house.ask(retrieve)
        assert house.files == []


@ensureDeferred
async def test_a_uid_that_several_patients_share_is_a_conflict_and_purged(tmp_path: Path) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive) as house:
        await house.filled()
        house.clock.advance(60)
        rows = archive._rows

        def two(request: Request, find: Any) -> Any:
            [row] = rows(request, find)
            return [row, {**row, "00100020": {"vr": "LO", "Value": ["P2"]}}]

        archive._rows = two  # type: ignore[method-assign]
        with alerts() as raised, pytest.raises(Conflict):
            await house.ask(series())
        assert [one.kind for one in raised] == ["patients_differ"]
        assert house.files == []


@pytest.mark.parametrize("change", [one_more, one_less])
@ensureDeferred
async def test_of_an_archive_without_counts_the_lists_are_compared(tmp_path: Path, change: Any) -> None:
    archive = Archive(items(3), counts=False)
    async with House(tmp_path, archive) as house:
        await house.filled()
        assert await house.ask(series()) == expected(*archive.items)
        assert len(archive.retrieved) == 1
        archive.asked.clear()
        house.clock.advance(60)
        assert await house.ask(series()) == expected(*archive.items)
        assert (archive.finds, len(archive.retrieved)) == ([Level.STUDY, Level.IMAGE], 1)
        change(archive)
        assert len(await house.ask(series())) == 3
        house.clock.advance(60)
        assert await house.ask(series()) == expected(*archive.items)
        assert len(archive.retrieved) == 2


@ensureDeferred
async def test_of_an_archive_without_counts_a_part_is_served_only_while_it_is_listed(tmp_path: Path) -> None:
    archive = Archive(items(3), counts=False)
    async with House(tmp_path, archive, scope="instance") as house:
        await house.filled(image(FIRST))
        one_more(archive)
        house.clock.advance(60)
        assert await house.ask(image(FIRST)) == expected(archive.items[0])
        assert len(archive.retrieved) == 1
        del archive.items[0]
        house.clock.advance(60)
        with pytest.raises(NotFound):
            await house.ask(image(FIRST))


@ensureDeferred
async def test_a_list_without_an_end_is_not_read_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    for count, retrieves in ((3, 1), (5, 2)):
        archive = Archive(items(count), counts=False)
        async with House(tmp_path / str(count), archive) as house:
            await house.filled()
            house.clock.advance(61)
            assert await house.ask(series()) == expected(*archive.items)
            assert len(archive.retrieved) == retrieves


@pytest.mark.parametrize("error", [TransportError("away"), TimedOut("silent"), Busy("full"), PeerError("nonsense")])
@ensureDeferred
async def test_stale_data_is_served_when_that_is_configured_and_marked(tmp_path: Path, error: Any) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive, serve_stale=True) as house:
        await house.filled()
        assert (await house.reply(series())).headers == ()
        archive.down = error
        house.clock.advance(60)
        for retrieve, there in ((series(), archive.items), (image(FIRST), archive.items[:1])):
            reply = await house.reply(retrieve)
            assert reply.headers == (STALE,)
            assert {one.sop_instance_uid: await data_of(one) async for one in reply.result} == expected(*there)
        with pytest.raises(type(error)):
            await house.ask(image("1.2.3.99"))
        with pytest.raises(type(error)):
            await house.ask(study())


@ensureDeferred
async def test_stale_data_is_not_served_unless_that_is_configured(tmp_path: Path) -> None:
    archive = Archive(items(2), down=None)
    async with House(tmp_path, archive) as house:
        await house.filled()
        archive.down = TransportError("away")
        house.clock.advance(60)
        for retrieve in (series(), image(FIRST), study()):
            with pytest.raises(TransportError, match="away"):
                await house.ask(retrieve)
        archive.down = None
        assert await house.ask(series()) == expected(*archive.items)
        assert len(archive.retrieved) == 1, "nothing was purged"


@ensureDeferred
async def test_stale_data_is_not_served_when_the_archive_says_no(tmp_path: Path) -> None:
    archive = Archive(items(2), down=None)
    async with House(tmp_path, archive, serve_stale=True) as house:
        await house.filled()
        archive.down = RejectedError("refused", status=0xA900)
        house.clock.advance(60)
        with pytest.raises(RejectedError):
            await house.ask(series())


@ensureDeferred
async def test_a_study_of_which_a_part_would_be_stale_is_broken_off(tmp_path: Path) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive, serve_stale=True) as house:
        await house.filled()
        house.clock.advance(60)
        real = archive.proceed

        def study_level_fails(request: Request) -> "Deferred[Reply]":
            if getattr(request.operation, "level", None) is Level.STUDY:
                raise TransportError("away")
            return real(request)

        archive.proceed = study_level_fails  # type: ignore[method-assign]
        with pytest.raises(TransportError, match="rest of the study"):
            await house.ask(study())


@ensureDeferred
async def test_a_principal_gets_from_the_cache_what_his_own_query_finds(tmp_path: Path) -> None:
    archive = Archive(items(2), refuses={"mallory"})
    async with House(tmp_path, archive) as house:
        assert await house.ask(series(), "alice") == expected(*archive.items)
        archive.asked.clear()
        assert await house.ask(series(), "bob") == expected(*archive.items)
        assert await house.ask(series(), "alice") == expected(*archive.items)
        assert [(one.principal, one.operation.level) for one in archive.asked] == [  # type: ignore[union-attr]
            ("bob", Level.STUDY)
        ]
        for retrieve in (series(), image(FIRST), study()):
            with pytest.raises(NotFound):
                await house.ask(retrieve, "mallory")


@pytest.mark.parametrize("retrieve", [series(), image(FIRST), study()], ids=["series", "image", "study"])
@ensureDeferred
async def test_a_principal_joins_a_retrieve_of_what_his_own_query_finds(tmp_path: Path, retrieve: Any) -> None:
    archive = Archive(items(2), refuses={"mallory"})
    archive.gate(FIRST)
    async with House(tmp_path, archive) as house:
        alice = house.ask(study() if retrieve.level is Level.STUDY else series(), "alice")
        await until(lambda: archive.open)
        archive.asked.clear()
        bob = house.ask(retrieve, "bob")
        with pytest.raises(NotFound):
            await house.ask(retrieve, "mallory")
        await settled()
        assert {one.principal for one in archive.asked} == {"bob", "mallory"}
        assert len(archive.retrieved) == 1
        archive.let(FIRST)
        assert (await bob).items() <= expected(*archive.items).items()
        assert await alice == expected(*archive.items)


@ensureDeferred
async def test_whoever_began_a_validation_may_go_and_the_others_are_served(tmp_path: Path) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive) as house:
        await house.filled()
        house.clock.advance(60)
        archive.answers[Level.STUDY] = Deferred()
        asked = [house.ask(series()) for _ in range(3)]
        await settled()
        asked[0].addErrback(lambda failure: failure.trap(CancelledError))
        asked[0].cancel()
        archive.answers.pop(Level.STUDY).callback(None)
        for one in asked[1:]:
            assert await one == expected(*archive.items)


@ensureDeferred
async def test_no_more_answers_are_remembered_than_the_limit_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 2)
    archive = Archive(items(1))
    async with House(tmp_path, archive) as house:
        for who in ("a", "b", "c"):
            await house.ask(series(), who)
            await until(lambda: not house.state["under_way"])
        archive.asked.clear()
        for who in ("b", "c", "a", "c", "b"):
            await house.ask(series(), who)
        assert [one.principal for one in archive.asked] == ["a", "b"]


@ensureDeferred
async def test_what_is_purged_while_it_is_fetched_does_not_count_as_whole(tmp_path: Path) -> None:
    archive = Archive([*items(3), *items(3, series="1.2.4")])
    async with House(tmp_path, archive) as house:
        await house.filled()
        archive.patient = "P2"
        house.clock.advance(60)
        archive.answers[Level.STUDY] = Deferred()
        archive.gate("1.2.4.2")
        assert await house.ask(image("1.2.4.1", of="1.2.4")) == expected(archive.items[3])
        assert len(house.files) == 4
        archive.answers.pop(Level.STUDY).callback(None)
        await until(lambda: house.files == [])
        archive.let("1.2.4.2")
        await until(lambda: not house.state["under_way"])
        assert len(await house.ask(series("1.2.4"))) == 3
        assert len(await house.ask(series())) == 3


@ensureDeferred
async def test_rows_of_other_studies_say_nothing(tmp_path: Path) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive) as house:
        await house.filled()
        house.clock.advance(60)
        rows = archive._rows

        def more(request: Request, find: Any) -> Any:
            [row] = rows(request, find)
            return [{**row, "0020000D": {"vr": "UI", "Value": ["1.9"]}, "00100020": {"vr": "LO"}}, row]

        archive._rows = more  # type: ignore[method-assign]
        assert await house.ask(series()) == expected(*archive.items)
        assert len(archive.retrieved) == 1


class Blank:
    """A shelf with nothing on it."""

    async def said(self, study_instance_uid: str) -> None:
        return None

    async def note_said(self, study_instance_uid: str, said: str) -> None:
        """Keep nothing."""


@pytest.mark.parametrize(("later", "asked"), [(59.9, 1), (60.1, 2)])
@ensureDeferred
async def test_an_answer_tells_nothing_of_what_came_after_its_question(later: float, asked: int) -> None:
    """Who joins a question that was asked before `revalidate_secs` asks again: another patient may be there since."""
    clock = Clock()
    shelf: Any = Blank()
    validation = module.Validation(shelf, revalidate_secs=60, clock=clock)
    request = Request(HTTPOrigin("GET", ()), "192.0.2.1", "")
    finds: list[Deferred[Reply]] = []

    def proceed(_: Request) -> "Deferred[Reply]":
        finds.append(Deferred())
        return finds[-1]

    def answered() -> Reply:
        matches: Feed[Any] = Feed(limit=10)
        matches.put({"0020000D": {"vr": "UI", "Value": ["1.2"]}})
        matches.end()
        return Reply(result=matches)

    ended: list[str] = []
    first = Deferred.fromCoroutine(validation.validate(request, proceed, "1.2"))
    clock.advance(later)
    second = Deferred.fromCoroutine(validation.validate(request, proceed, "1.2"))
    for name, one in (("first", first), ("second", second)):
        one.addCallback(lambda _, name=name: ended.append(name))
    finds[0].callback(answered())
    assert len(finds) == asked
    assert ended == ["first", "second"][: 3 - asked]
    for find in finds[1:]:
        find.callback(answered())
    await second
    assert validation.is_valid(request, "1.2")
