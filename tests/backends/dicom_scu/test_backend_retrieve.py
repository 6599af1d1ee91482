"""What a burst of Retrieves costs an archive, and Retrieves without bulk data, over a scripted PACS."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from harmonygw.backends.dicom_scu import expectation as expectation_module
from harmonygw.backends.dicom_scu import retrieval
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import CFindRQ, CGetRQ
from harmonygw.errors import Incomplete, NotFound
from harmonygw.operations import Level, Retrieve
from tests.backends.dicom_scu.backends import Running
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, STUDY_FIND, STUDY_GET, STUDY_MOVE, WITHOUT_BULK_DATA_GET, Held, study_of
from tests.interop.pacs import PACS

SERIES = Retrieve(Level.SERIES, "1.2", "1.2.3")
STUDY = Retrieve(Level.STUDY, "1.2", without_bulk_data=True)


def images(*numbers: int, **more: Any) -> Retrieve:
    return Retrieve(Level.IMAGE, "1.2", "1.2.3", tuple(f"1.2.3.{number}" for number in numbers), **more)


def queries(pacs: PACS) -> list[str]:
    return [asked.level for asked in pacs.asked if isinstance(asked.command, CFindRQ)]


def retrievals(pacs: PACS) -> list[list[str]]:
    return [
        asked.identifier.get("00080018", {}).get("Value", [])
        for asked in pacs.asked
        if isinstance(asked.command, CGetRQ)
    ]


def classes(pacs: PACS) -> list[str]:
    return [one.command.affected_sop_class_uid for one in pacs.asked if isinstance(one.command, CGetRQ)]


async def uids(running: Running, retrieve: Retrieve) -> list[str]:
    return [one.sop_instance_uid for one in await running.result(retrieve)]


# A burst


@ensureDeferred
async def test_a_burst_in_one_series_sends_two_queries_and_takes_one_association_for_all_retrievals() -> None:
    async with Running(PACS(study_of(6))) as running:
        assert await uids(running, images(4)) == ["1.2.3.4"]
        assert await uids(running, images(8, 5)) == ["1.2.3.5", "1.2.3.8"]
        assert await uids(running, images(6, 7, 9)) == ["1.2.3.6", "1.2.3.7", "1.2.3.9"]
        assert sorted(queries(running.pacs)) == ["IMAGE", "STUDY"]
        assert retrievals(running.pacs)[1] == ["1.2.3.8", "1.2.3.5"]
        gets = [
            one
            for one in running.pacs.connections
            if one.rq and STUDY_GET in {c.abstract_syntax for c in one.rq.contexts}
        ]
        assert len(gets) == 1


@ensureDeferred
async def test_the_same_at_the_same_time_is_asked_once() -> None:
    async with Running(PACS(study_of(6))) as running:
        asking = [Deferred.fromCoroutine(uids(running, images(number))) for number in range(4, 10)]
        assert await gatherResults(asking) == [[f"1.2.3.{number}"] for number in range(4, 10)]
        assert sorted(queries(running.pacs)) == ["IMAGE", "STUDY"]


@ensureDeferred
async def test_a_list_longer_than_a_batch_is_several_retrievals_on_one_association(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrieval, "BATCH", 2)
    monkeypatch.setattr(expectation_module, "BATCH", 2)
    async with Running(PACS(study_of(5))) as running:
        reply, request = await running.ask(images(8, 4, 7, 5, 6))
        assert len([one async for one in reply.result]) == request.record.instances == 5
        assert retrievals(running.pacs) == [["1.2.3.8", "1.2.3.4"], ["1.2.3.7", "1.2.3.5"], ["1.2.3.6"]]
        assert running.pacs.seen.count("A-ASSOCIATE-RQ") == 3  # two for queries


@ensureDeferred
async def test_a_list_of_five_hundred_of_the_longest_uids_arrives_whole() -> None:
    held = [Held(sop=f"1.2.3.{10**57 + number}", size=2) for number in range(retrieval.BATCH)]
    assert len(held[0].sop) == 64
    async with Running(PACS(held)) as running:
        wanted = tuple(one.sop for one in held)
        assert await uids(running, Retrieve(Level.IMAGE, "1.2", "1.2.3", wanted)) == list(wanted)
        assert retrievals(running.pacs) == [list(wanted)]


@ensureDeferred
async def test_a_retrieval_that_fails_has_the_archive_asked_anew() -> None:
    async def nothing(connection: Connection, asked: Asked) -> None:
        connection.final(asked, statuses.SUB_OPERATIONS_WARNING, failed=1)

    async def but_one(connection: Connection, asked: Asked) -> None:
        await connection.store(connection.pacs.held[0])
        connection.pacs.get = nothing
        connection.final(asked, statuses.SUB_OPERATIONS_WARNING, failed=1)

    pacs = PACS(study_of(2))
    async with Running(pacs) as running:
        await uids(running, images(4))
        pacs.get = but_one
        with pytest.raises(Incomplete):
            await uids(running, images(4, 5))
        pacs.behave()
        pacs.asked.clear()
        await uids(running, images(4))
        assert sorted(queries(pacs)) == ["IMAGE", "STUDY"]


@ensureDeferred
async def test_another_patient_is_noticed_though_the_first_was_remembered() -> None:
    pacs = PACS(study_of(1))
    async with Running(pacs) as running:
        await uids(running, images(4))
        pacs.held = study_of(1, patient="P2")
        with pytest.raises(Exception, match="another patient"):
            await uids(running, images(4))
        assert await uids(running, images(4)) == ["1.2.3.4"]


@ensureDeferred
async def test_an_instance_that_is_gone_meanwhile_is_not_found() -> None:
    pacs = PACS(study_of(2))
    async with Running(pacs) as running:
        await uids(running, images(4))
        del pacs.held[1]
        with pytest.raises(NotFound, match="no such instance"):
            await uids(running, images(5))


@pytest.mark.parametrize(("places", "at_once"), [(4, 2), (3, 1)])
@ensureDeferred
async def test_queries_are_concurrent_when_there_are_places_enough(places: int, at_once: int) -> None:
    pacs = PACS(study_of(1))
    asked: list[Asked] = []
    find = pacs.find

    async def wait(connection: Connection, one: Asked) -> None:
        asked.append(one)
        if len(asked) == at_once:
            pacs.find = find
            pacs.tell()
        await pacs.told()
        await find(connection, one)

    pacs.find = wait
    async with Running(pacs, max_associations=places) as running:
        assert await uids(running, images(4)) == ["1.2.3.4"]


# Without bulk data


def stripping(*held: Held) -> PACS:
    pacs = PACS(held)
    pacs.models = (STUDY_FIND, STUDY_MOVE, STUDY_GET, WITHOUT_BULK_DATA_GET)
    return pacs


async def sizes(running: Running, retrieve: Retrieve) -> list[tuple[bool, int]]:
    """Whether each instance lacks its bulk data, and how many bytes came of it."""
    found = []
    reply, _ = await running.ask(retrieve)
    async for instance in reply.result:
        length = 0
        async for pieces in instance.data_set:
            length += sum(map(len, pieces))
        found.append((instance.without_bulk_data, length))
    return found


@pytest.mark.parametrize("retrieve", [STUDY, images(4, 5, without_bulk_data=True)])
@ensureDeferred
async def test_instances_come_without_bulk_data_where_that_is_negotiated(retrieve: Retrieve) -> None:
    pacs = stripping(*study_of(2))
    async with Running(pacs) as running:
        assert running.backend.state()["without_bulk_data"] is None
        header = len(pacs.held[0].header()) - 12
        assert await sizes(running, retrieve) == [(True, header)] * 2
        assert classes(pacs) == [WITHOUT_BULK_DATA_GET]
        identifier = pacs.asked[-1].identifier
        assert {tag: element["Value"] for tag, element in identifier.items()} == {
            "00080052": ["IMAGE"],
            "00080018": ["1.2.3.4", "1.2.3.5"],
        }
        assert running.backend.state()["without_bulk_data"] is True


@ensureDeferred
async def test_what_is_not_wanted_without_bulk_data_comes_whole() -> None:
    pacs = stripping(*study_of(1))
    async with Running(pacs) as running:
        await sizes(running, images(4, without_bulk_data=True))
        assert await sizes(running, images(4)) == [(False, len(pacs.held[0].data_set()))]
        assert classes(pacs) == [WITHOUT_BULK_DATA_GET, STUDY_GET]


@ensureDeferred
async def test_an_archive_that_does_not_negotiate_it_is_asked_once() -> None:
    pacs = PACS(study_of(2))
    async with Running(pacs) as running:
        for _ in range(2):
            assert [without for without, _ in await sizes(running, images(4, 5, without_bulk_data=True))] == [False] * 2
        assert running.backend.state()["without_bulk_data"] is False
        assert classes(pacs) == [STUDY_GET] * 2
        assert pacs.seen.count("A-ABORT 0 0") == 1


@ensureDeferred
async def test_a_storage_class_that_is_refused_says_nothing_of_the_service() -> None:
    pacs = stripping(*study_of(1))
    pacs.syntaxes = ("1.2.3",)
    async with Running(pacs) as running:
        with pytest.raises(Exception, match=CT):
            await sizes(running, images(4, without_bulk_data=True))
        assert running.backend.state()["without_bulk_data"] is None


@pytest.mark.parametrize(
    "options",
    [{"retrieve_without_bulk_data": "never"}, {"dimse_retrieve_mode": "move", "incoming_store_port": 0}],
)
@ensureDeferred
async def test_it_is_not_asked_for_when_the_configuration_says_so(options: dict[str, Any]) -> None:
    async with Running(stripping(*study_of(1)), **options) as running:
        assert running.backend.state()["without_bulk_data"] is False
