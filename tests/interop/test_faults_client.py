"""The client fails: it goes away, or it never reads; and what that may cost the PACS, the gateway and others."""

from pathlib import Path

from pytest_twisted import ensureDeferred

from harmonygw.dicom.dimse import statuses
from tests.interop.connection import Connection
from tests.interop.held import Held, study_of
from tests.interop.house import ANY_DICOM, CLIENT, ENDS, STUDY, Client, House
from tests.interop.pacs import PACS, silence

BY_USER = "A-ABORT 0 0"
HUGE = 512 * 1024 * 1024
MOST_HELD = 32 * 1024 * 1024
"""Bytes that a stalled retrieval may draw from the PACS: our windows, and the kernel's buffers of four sockets."""


async def retrieving(house: House) -> Client:
    """A client in the middle of a retrieval that does not end by itself."""
    client = await house.connect()
    client.request(STUDY, ANY_DICOM)
    await client.bytes_received(100_000)
    return client


@ensureDeferred
async def test_a_client_that_goes_away_amid_a_study_cancels_the_c_get_within_a_second(tmp_path: Path) -> None:
    pacs = PACS([Held(size=HUGE)])
    async with House(tmp_path, pacs) as house:
        client = await retrieving(house)
        gone = house.now
        client.transport.abortConnection()
        await pacs.saw("C-CANCEL-RQ")
        assert pacs.times["C-CANCEL-RQ"] - gone < 1
        await house.freed()
        assert pacs.connections, "the association is kept for the next request"
        assert BY_USER not in pacs.seen
        logged = await house.logged()
        assert logged["outcome"] == "client_gone"
        pacs.held = study_of(1)
        await house.audited("Begin 0", "Transferred 4", users=ENDS, instances=0)


@ensureDeferred
async def test_a_pacs_that_ignores_the_cancel_is_aborted_after_the_grace_time(tmp_path: Path) -> None:
    pacs = PACS([Held(size=HUGE)])
    pacs.obeys_cancel = False
    async with House(tmp_path, pacs) as house:
        client = await retrieving(house)
        client.transport.abortConnection()
        await pacs.saw(BY_USER)
        assert 0.2 < pacs.times[BY_USER] - pacs.times["C-CANCEL-RQ"] < 1.5
        await house.freed()
        assert house.places == (1, 1), "the association for queries alone is left"
        pacs.held = study_of(1)
        await house.audited("Begin 0", "Transferred 4", users=ENDS, instances=0)


@ensureDeferred
async def test_a_client_that_goes_away_before_the_first_object_cancels_too(tmp_path: Path) -> None:
    async def obey(connection: Connection) -> None:
        connection.final(pacs.asked[-1], statuses.CANCEL)

    pacs = PACS(study_of(1), get=silence, cancel=obey)
    async with House(tmp_path, pacs) as house:
        client = await house.connect()
        client.request(STUDY, ANY_DICOM)
        await pacs.saw("C-GET-RQ")
        client.transport.abortConnection()
        await pacs.saw("C-CANCEL-RQ")
        assert (await house.logged())["outcome"] == "client_gone"
        await house.audited("Accessed 4", users=CLIENT[:2])


@ensureDeferred
async def test_a_client_that_goes_away_while_the_pacs_does_not_answer_frees_its_place(tmp_path: Path) -> None:
    pacs = PACS(study_of(1), associate=silence)
    async with House(tmp_path, pacs, association_timeout_secs=60) as house:
        client = await house.connect()
        client.request(STUDY, ANY_DICOM)
        await pacs.saw("A-ASSOCIATE-RQ")
        client.transport.abortConnection()
        await pacs.saw("closed")
        assert (await house.logged())["outcome"] == "client_gone"
        await house.audited("Accessed 4", users=CLIENT[:2])


@ensureDeferred
async def test_a_client_that_goes_away_amid_a_search_cancels_the_c_find(tmp_path: Path) -> None:
    async def obey(connection: Connection) -> None:
        connection.found(pacs.asked[-1], statuses.CANCEL)

    pacs = PACS(study_of(1), find=silence, cancel=obey)
    async with House(tmp_path, pacs) as house:
        client = await house.connect()
        client.request("/dicom/studies?StudyInstanceUID=1.2")
        await pacs.saw("C-FIND-RQ")
        client.transport.abortConnection()
        await pacs.saw("C-CANCEL-RQ")
        assert (await house.logged())["outcome"] == "client_gone"
        await house.audited("Query 4", users=CLIENT)


@ensureDeferred
async def test_a_client_that_never_reads_costs_little_and_ends_at_the_write_deadline(tmp_path: Path) -> None:
    pacs = PACS([Held(size=HUGE)])
    pacs.obeys_cancel = False
    async with House(tmp_path, pacs) as house:
        client = await house.connect(receive_buffer=65_536)
        client.request(STUDY, ANY_DICOM)
        client.transport.pauseProducing()
        logged = await house.logged()
        sending = next(one for one in pacs.connections if one.sent)
        assert sending.sent < MOST_HELD
        assert (logged["outcome"], logged["status"]) == ("aborted", 200)
        assert "write_timeout_secs" in logged["reason"]
        assert 500 < logged["duration_ms"] < 2500
        await pacs.saw("C-CANCEL-RQ")
        await pacs.saw(BY_USER)
        client.transport.resumeProducing()
        reply = await client.reply()
        assert reply.is_broken_off
        pacs.held = study_of(1)
        await house.audited("Begin 0", "Transferred 8", users=ENDS, instances=0)


@ensureDeferred
async def test_a_search_is_served_while_a_retrieval_is_stalled(tmp_path: Path) -> None:
    pacs = PACS([Held(size=HUGE)])
    async with House(tmp_path, pacs, max_associations=2) as house:
        client = await house.connect(receive_buffer=65_536)
        client.request(STUDY, ANY_DICOM)
        await client.bytes_received(1000)
        client.transport.pauseProducing()
        assert (await house.ask("/dicom/studies?StudyInstanceUID=1.2")).status == 200
        client.transport.abortConnection()
        await house.logged(2)
        pacs.held = study_of(1)


@ensureDeferred
async def test_a_retrieval_that_finds_no_place_in_time_is_503_with_retry_after(tmp_path: Path) -> None:
    async def obey(connection: Connection) -> None:
        connection.final(pacs.asked[-1], statuses.CANCEL)

    pacs = PACS(study_of(1), get=silence, cancel=obey)
    async with House(tmp_path, pacs, max_associations=2, queue_timeout_secs=0.3, silence_timeout_secs=1.5) as house:
        first = await house.connect()
        first.request(STUDY, ANY_DICOM)
        await pacs.saw("C-GET-RQ")
        reply = await house.retrieve()
        assert reply.status == 503
        assert int(reply.headers["retry-after"]) >= 1
        assert "queue_timeout_secs" in reply.problem["detail"]
        first.transport.abortConnection()
        await pacs.saw("C-CANCEL-RQ")
        await house.audited("Accessed 8", "Accessed 4", users=CLIENT[:2])
