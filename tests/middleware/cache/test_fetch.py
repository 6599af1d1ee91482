"""One retrieve for everybody: who joins it, what comes first, who may go, and what fails."""

from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogEvent, globalLogPublisher

from harmonygw.errors import Incomplete, NotFound, PeerError, RejectedError, TransportError
from harmonygw.middleware.cache import fetch as module
from harmonygw.operations import Level
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
    study,
    turn,
    until,
)

FIRST, SECOND, THIRD = (f"{SERIES}.{number}" for number in (1, 2, 3))


async def failure_of(asked: "Deferred[Any]", kind: type[Exception]) -> Any:
    with pytest.raises(kind) as caught:
        await asked
    return caught.value


def cancelled(asked: "Deferred[Any]") -> None:
    """Go away."""
    asked.addErrback(lambda failure: failure.trap(CancelledError))
    asked.cancel()


@ensureDeferred
async def test_a_hundred_requests_for_one_instance_are_one_retrieve_of_its_series(tmp_path: Path) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive) as house:
        asked = [house.ask(image(SECOND)) for _ in range(100)]
        for one in asked:
            assert await one == expected(archive.items[1])
        await until(lambda: not house.state["under_way"])
        assert [one.sop_instance_uids for one in archive.retrieved] == [(SECOND,), (FIRST, THIRD)]
        assert sorted(archive.sent) == [FIRST, SECOND, THIRD], "each came once"
        assert (house.state["retrieves"], house.state["joined"]) == (1, 99)
        assert await house.ask(series()) == expected(archive.items[1], archive.items[0], archive.items[2])
        assert len(archive.retrieved) == 2, "the rest was here"


@pytest.mark.parametrize("retrieve", [series(), study(), series(random_access=True)], ids=["series", "study", "whole"])
@ensureDeferred
async def test_a_hundred_requests_for_all_of_it_are_one_retrieve(tmp_path: Path, retrieve: Any) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive) as house:
        asked = [house.ask(retrieve) for _ in range(100)]
        for one in asked:
            assert await one == expected(*archive.items)
        assert len(archive.retrieved) == 1


@ensureDeferred
async def test_an_instance_that_is_waited_for_is_fetched_alone_while_the_rest_is_listed(tmp_path: Path) -> None:
    archive = Archive(items(3))
    archive.answers[Level.IMAGE] = Deferred()
    async with House(tmp_path, archive) as house:
        assert await house.ask(image(THIRD)) == expected(archive.items[2])
        archive.answers[Level.IMAGE].callback(None)
        await until(lambda: not house.state["under_way"])
        assert [one.sop_instance_uids for one in archive.retrieved] == [(THIRD,), (FIRST, SECOND)]


@ensureDeferred
async def test_lists_begin_with_what_is_waited_for_and_are_short_while_somebody_waits(tmp_path: Path) -> None:
    archive = Archive(items(300))
    uids = [one.uid for one in archive.items]
    archive.gate(uids[10])
    async with House(tmp_path, archive) as house:
        whole = house.ask(series())
        await until(lambda: len(archive.sent) == 10)
        waiting = [house.ask(image(uid)) for uid in (uids[250], uids[200])]
        await house.rest()
        archive.let(uids[10])
        for one in waiting:
            await one
        assert len(await whole) == 300
        lists = [one.sop_instance_uids for one in archive.retrieved]
        assert [len(one) for one in lists] == [32, 32, 128, 108]  # the first before everything is listed
        assert lists[0] == tuple(uids[:32])
        assert {*lists[1][:2]} == {uids[250], uids[200]}
        assert lists[1][2:] == tuple(uids[32:62])
        assert lists[2][0] == uids[62]
        assert sorted(uid for one in lists for uid in one) == sorted(uids), "each is asked for once"


@ensureDeferred
async def test_more_who_wait_than_a_list_holds_are_asked_for_in_several(tmp_path: Path) -> None:
    archive = Archive(items(200))
    uids = [one.uid for one in archive.items]
    archive.gate(uids[0])
    async with House(tmp_path, archive, prefetch=False) as house:
        asked = [house.ask(image(uid)) for uid in uids[:150]]
        await house.rest()
        archive.let(uids[0])
        for one in asked:
            await one
        lists = [one.sop_instance_uids for one in archive.retrieved]
        assert lists == [(uids[0],), tuple(uids[1:129]), tuple(uids[129:150])]
        await house.rest()
        assert house.state["under_way"] == 0


@ensureDeferred
async def test_waiting_requests_are_released_as_their_own_instance_lands(tmp_path: Path) -> None:
    archive = Archive(items(3))
    archive.gate(THIRD)
    async with House(tmp_path, archive) as house:
        whole = house.ask(series(random_access=True))
        await until(lambda: archive.retrieved)
        assert await house.ask(image(SECOND)) == expected(archive.items[1])
        assert not whole.called
        archive.let(THIRD)
        assert await whole == expected(*archive.items)


@ensureDeferred
async def test_whoever_began_it_may_go_and_the_others_finish(tmp_path: Path) -> None:
    archive = Archive(items(2))
    archive.gate(FIRST)
    async with House(tmp_path, archive) as house:
        starter, other = house.ask(series()), house.ask(image(SECOND))
        await until(lambda: archive.retrieved)
        cancelled(starter)
        archive.let(FIRST)
        assert await other == expected(archive.items[1])
        assert archive.cancelled == 0


@ensureDeferred
async def test_when_the_last_one_goes_without_what_he_wanted_it_is_cancelled_at_once(tmp_path: Path) -> None:
    archive = Archive(items(2))
    archive.gate(FIRST)
    async with House(tmp_path, archive) as house:
        asked = [house.ask(series()) for _ in range(2)]
        await until(lambda: archive.open)
        cancelled(asked[0])
        assert archive.cancelled == 0
        cancelled(asked[1])
        assert (archive.cancelled, archive.open) == (1, 0), "within the turn"
        del archive.gates[FIRST]
        assert await house.ask(series()) == expected(*archive.items), "nobody joins what ends"


@ensureDeferred
async def test_a_reader_that_gives_its_stream_up_is_one_who_goes(tmp_path: Path) -> None:
    archive = Archive(items(2))
    archive.halfway[FIRST] = Deferred()
    async with House(tmp_path, archive) as house:
        stream = (await house.reply(series())).result
        first = await anext(stream)
        assert await anext(first.data_set)
        await first.data_set.aclose()
        await stream.aclose()
        assert archive.cancelled == 1
        await until(lambda: not house.state["under_way"])
        assert house.files == []


@pytest.mark.parametrize("moment", range(25))
@ensureDeferred
async def test_a_request_may_be_cancelled_at_any_moment(tmp_path: Path, moment: int) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive) as house:
        await house.filled(series())
        archive.items = [*archive.items, *items(2, series="1.2.4")]
        house.clock.advance(61)
        for retrieve in (series(), series("1.2.4"), image("1.2.4.2", of="1.2.4"), study()):
            asked = house.ask(retrieve)
            for _ in range(moment):
                await turn()
            cancelled(asked)
            await house.rest()
        assert await house.ask(study()) == expected(*archive.items)


@ensureDeferred
async def test_the_rest_is_fetched_once_those_who_waited_have_what_they_wanted(tmp_path: Path) -> None:
    archive = Archive(items(3))
    archive.gate(THIRD)
    async with House(tmp_path, archive) as house:
        other = house.ask(series())
        await until(lambda: archive.open)
        assert await house.ask(image(SECOND)) == expected(archive.items[1])
        cancelled(other)
        await house.rest()
        assert archive.open == 1
        archive.let(THIRD)
        await until(lambda: not house.state["under_way"])
        assert await house.ask(series()) == expected(*archive.items)
        assert len(archive.retrieved) == 1


@pytest.mark.parametrize("options", [{"prefetch": False}, {"scope": "instance"}], ids=str)
@ensureDeferred
async def test_nothing_is_fetched_that_nobody_waits_for_unless_it_is_wanted(tmp_path: Path, options: Any) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive, **options) as house:
        assert await house.ask(image(SECOND)) == expected(archive.items[1])
        await until(lambda: not house.state["under_way"])
        assert archive.sent == [SECOND]
        assert await house.ask(series()) == expected(archive.items[1], archive.items[0], archive.items[2])
        await until(lambda: not house.state["under_way"])
        assert await house.ask(series()) == expected(archive.items[1], archive.items[0], archive.items[2])
        assert sorted(archive.sent) == [FIRST, SECOND, THIRD]


@pytest.mark.parametrize("answer", [None, RejectedError("A900", status=0xA900), Incomplete("none came")], ids=str)
@ensureDeferred
async def test_a_bogus_instance_is_not_found_at_once_and_harms_nobody(tmp_path: Path, answer: Any) -> None:
    archive = Archive(items(2))

    def sends(found: list[Item]) -> list[Item]:
        if answer is not None and not found:
            raise answer
        return found

    archive.sends = sends
    archive.gate(FIRST)
    async with House(tmp_path, archive) as house:
        alone = house.ask(image("1.2.3.99"))
        other = house.ask(series())
        await failure_of(alone, NotFound)
        await until(lambda: archive.open)
        await failure_of(house.ask(image("1.2.3.98")), NotFound)
        await failure_of(house.ask(image(SECOND, "1.2.3.98", random_access=False)), NotFound)
        assert not other.called
        archive.let(FIRST)
        assert await other == expected(*archive.items)


@ensureDeferred
async def test_a_bogus_instance_alone_is_not_found_too_and_leaves_nothing_under_way(tmp_path: Path) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive) as house:
        for random_access in (True, False):
            await failure_of(house.ask(image("1.2.3.99", random_access=random_access)), NotFound)
            await house.rest()
            assert house.state["under_way"] == 0
        archive.items = []
        await failure_of(house.ask(image(FIRST)), NotFound)
        await failure_of(house.ask(series()), NotFound)
        await failure_of(house.ask(study()), NotFound)


@ensureDeferred
async def test_what_landed_before_a_failure_is_served_and_only_the_rest_is_asked_for_again(tmp_path: Path) -> None:
    archive = Archive(items(4), fails={THIRD: TransportError("the association was lost")})
    async with House(tmp_path, archive) as house:
        fourth, whole, second = house.ask(series()), house.ask(series()), house.ask(image(SECOND))
        assert await second == expected(archive.items[1])
        errors = [await failure_of(one, TransportError) for one in (fourth, whole)]
        assert [one.detail for one in errors] == ["the association was lost"] * 2
        assert errors[0] is not errors[1]
        assert await house.ask(image(FIRST)) == expected(archive.items[0])
        archive.fails = {}
        archive.retrieved.clear()
        assert await house.ask(series()) == expected(*archive.items)
        assert [one.sop_instance_uids for one in archive.retrieved] == [(THIRD, f"{SERIES}.4")]


@pytest.mark.parametrize("error", [PeerError("cut short"), ZeroDivisionError("a mistake")], ids=str)
@ensureDeferred
async def test_followers_of_what_fails_never_see_a_clean_end(tmp_path: Path, error: Any) -> None:
    logged: list[LogEvent] = []
    archive = Archive(items(1, size=3_000_000), fails={FIRST: error})
    archive.halfway[FIRST] = Deferred()
    async with House(tmp_path, archive) as house:
        readers = []
        for _ in range(3):
            stream = (await house.reply(series())).result
            readers.append((stream, await anext(stream)))
        globalLogPublisher.addObserver(logged.append)
        archive.halfway[FIRST].callback(None)
        for stream, one in readers:
            with pytest.raises((PeerError, TransportError, ZeroDivisionError)):
                await data_of(one)
            await stream.aclose()
        await until(lambda: not house.state["under_way"])
        globalLogPublisher.removeObserver(logged.append)
        assert house.files == []
        assert ("log_failure" in {key for one in logged for key in one}) is isinstance(error, ZeroDivisionError)


@ensureDeferred
async def test_an_instance_is_followed_while_it_is_written_and_to_its_end(tmp_path: Path) -> None:
    archive = Archive(items(1, size=3_000_000))
    archive.halfway[FIRST] = Deferred()
    async with House(tmp_path, archive) as house:
        streams = [(await house.reply(series())).result for _ in range(2)]
        fast, slow = [await anext(stream) for stream in streams]
        received = b"".join(await anext(fast.data_set))
        assert received == archive.items[0].data_set()[: len(received)]
        assert 0 < len(received) < 1_500_200, "no more than has come"
        archive.halfway[FIRST].callback(None)
        async for pieces in fast.data_set:
            received += b"".join(pieces)
        assert received == archive.items[0].data_set(), "though the other has read nothing"
        await until(lambda: not house.state["under_way"])
        assert await data_of(slow) == archive.items[0].data_set(), "the file has its place meanwhile"
        for stream in streams:
            await stream.aclose()


@ensureDeferred
async def test_what_the_archive_lists_and_does_not_send_is_not_found_and_the_series_not_whole(tmp_path: Path) -> None:
    archive = Archive(items(3), sends=lambda found: [one for one in found if one.uid != SECOND])
    async with House(tmp_path, archive) as house:
        await failure_of(house.ask(image(SECOND)), NotFound)
        assert await house.ask(series()) == expected(archive.items[0], archive.items[2])
        archive.sends = lambda found: found
        assert await house.ask(series()) == expected(archive.items[0], archive.items[2], archive.items[1])


@ensureDeferred
async def test_a_series_that_the_archive_does_not_list_is_retrieved_as_one(tmp_path: Path) -> None:
    archive = Archive(items(3), lists=False)
    async with House(tmp_path, archive) as house:
        assert await house.ask(image(SECOND)) == expected(archive.items[1])
        await until(lambda: not house.state["under_way"])
        assert [(one.level, one.sop_instance_uids) for one in archive.retrieved] == [
            (Level.IMAGE, (SECOND,)),
            (Level.SERIES, ()),
        ]
        assert await house.ask(series()) == expected(archive.items[1], archive.items[0], archive.items[2])
        assert len(archive.retrieved) == 2


@ensureDeferred
async def test_a_series_of_more_than_are_listed_is_retrieved_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LISTED", 3)
    for count, level in ((3, Level.IMAGE), (4, Level.SERIES)):
        archive = Archive(items(count))
        async with House(tmp_path / str(count), archive) as house:
            assert await house.ask(series()) == expected(*archive.items)
            assert [one.level for one in archive.retrieved] == [level]


@ensureDeferred
async def test_several_instances_are_given_whether_they_are_here_or_not(tmp_path: Path) -> None:
    for random_access in (True, False):
        archive = Archive(items(4))
        async with House(tmp_path / str(random_access), archive, scope="instance") as house:
            await house.filled(image(SECOND))
            asked = image(FIRST, SECOND, THIRD, random_access=random_access)
            assert await house.ask(asked) == expected(archive.items[1], archive.items[0], archive.items[2])
            assert sorted(archive.sent) == [FIRST, SECOND, THIRD]


@ensureDeferred
async def test_a_series_is_listed_only_after_the_archive_has_said_what_the_study_has(tmp_path: Path) -> None:
    archive = Archive(items(2))
    archive.answers[Level.STUDY] = Deferred()
    async with House(tmp_path, archive) as house:
        asked = house.ask(series())
        await house.rest()
        assert archive.retrieved == []
        archive.answers.pop(Level.STUDY).callback(None)
        assert await asked == expected(*archive.items)


@ensureDeferred
async def test_what_a_series_gets_before_it_is_listed_shows_as_a_change_later(tmp_path: Path) -> None:
    archive = Archive(items(2))
    archive.answers[Level.IMAGE] = Deferred()
    async with House(tmp_path, archive) as house:
        asked = house.ask(series())
        await until(lambda: Level.IMAGE in archive.finds)
        archive.items.append(Item(THIRD))
        archive.answers.pop(Level.IMAGE).callback(None)
        assert await asked == expected(*archive.items)
        await until(lambda: not house.state["under_way"])
        retrieved = len(archive.retrieved)
        house.clock.advance(61)
        assert await house.ask(series()) == expected(*archive.items)
        assert len(archive.retrieved) > retrieved, "the count is another than the one that was said"


@ensureDeferred
async def test_a_growing_study_is_not_cached_as_complete(tmp_path: Path) -> None:
    archive = Archive(items(2))
    archive.answers[Level.STUDY] = Deferred()
    async with House(tmp_path, archive) as house:
        assert await house.ask(study()) == expected(*archive.items)
        archive.items.append(Item(THIRD))
        archive.answers.pop(Level.STUDY).callback(None)
        await until(lambda: not house.state["under_way"])
        assert await house.ask(study()) == expected(*archive.items)


@ensureDeferred
async def test_what_is_removed_while_a_series_is_fetched_makes_it_incomplete(tmp_path: Path) -> None:
    archive = Archive(items(3))
    archive.gate(THIRD)
    async with House(tmp_path, archive) as house:
        await house.ask(image(FIRST))
        await until(lambda: len(house.files) == 2)
        for file in house.files:
            file.write_bytes(b"")
        for uid in (FIRST, SECOND):
            await failure_of(house.ask(image(uid)), TransportError)
        archive.let(THIRD)
        await until(lambda: not house.state["under_way"])
        assert sorted((await house.ask(series())).items()) == sorted(expected(*archive.items).items())


@ensureDeferred
async def test_what_is_removed_while_the_rest_is_fetched_is_fetched_again_for_who_waits(tmp_path: Path) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive, scope="instance") as house:
        await house.filled(image(FIRST))
        archive.gate(SECOND)
        rest = house.ask(series())
        await until(lambda: archive.open)
        house.files[0].write_bytes(b"")
        await failure_of(house.ask(image(FIRST)), TransportError)
        asked = house.ask(image(FIRST))
        await house.rest()
        archive.let(SECOND)
        assert await asked == expected(archive.items[0])
        rest.addErrback(lambda failure: failure.trap(TransportError))
        await rest
        assert house.state["retrieves"] == 2
