"""The link to the PACS fails: before an association, at its negotiation, and in a query."""

import socket
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.upperlayer.negotiation import SupportedContext
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, EXPLICIT, IMPLICIT, STUDY_FIND, STUDY_GET, study_of
from tests.interop.house import CLIENT, STUDY, House
from tests.interop.pacs import PACS, abort, drop, silence

SEARCH = "/dicom/studies?StudyInstanceUID=1.2"

UNRECOGNIZED_PDU = "A-ABORT 2 1"
INVALID_PARAMETER_VALUE = "A-ABORT 2 6"
BY_USER = "A-ABORT 0 0"


@ensureDeferred
async def test_tcp_refused_is_502_naming_the_target_and_counts_for_the_circuit(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))
    async with House(tmp_path, pacs) as house:
        await pacs.refuse_connections()
        reply = await house.ask(SEARCH)
        assert reply.status == 502
        assert reply.problem["target"] == "pacs"
        assert "archive: the connection was refused" in reply.problem["detail"]
        logged = await house.logged()
        assert (logged["outcome"], logged["status"]) == ("failed", 502)
        assert logged["reason"].startswith("TransportError: archive: the connection was refused")
        assert house.target["last_failure"] == "the connection was refused"
        await house.audited("Query 8", users=CLIENT)


@ensureDeferred
async def test_after_three_failures_the_circuit_refuses_at_once_with_retry_after(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))
    async with House(tmp_path, pacs) as house:
        house.recovers = False
        await pacs.refuse_connections()
        statuses_ = [(await house.ask(SEARCH)).status for _ in range(3)]
        reply = await house.ask(SEARCH)
        assert statuses_ == [502, 502, 502]
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        await house.audited(*["Query 8"] * 4, users=CLIENT)


@ensureDeferred
async def test_swallowed_syns_are_504_at_the_connect_timeout(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))
    async with House(tmp_path, pacs) as house:
        await pacs.refuse_connections()
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            full.bind(("127.0.0.1", pacs.port))
            full.listen(0)
            for one in (first, second):
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", pacs.port))
            reply = await house.ask(SEARCH)
        assert reply.status == 504
        assert "connect_timeout_secs" in reply.problem["detail"]
        await house.audited("Query 8", users=CLIENT)


@ensureDeferred
async def test_an_association_that_is_never_answered_is_504_and_aborted(tmp_path: Path) -> None:
    pacs = PACS(study_of(1), associate=silence)
    async with House(tmp_path, pacs) as house:
        reply = await house.ask(SEARCH)
        assert reply.status == 504
        assert "association_timeout_secs" in reply.problem["detail"] or "A-ASSOCIATE-RQ" in reply.problem["detail"]
        await pacs.saw("closed")
        assert pacs.seen == ["connected", "A-ASSOCIATE-RQ", BY_USER, "closed"]
        await house.audited("Query 8", users=CLIENT)


@ensureDeferred
async def test_a_permanent_rejection_is_502_naming_the_ae_title_and_not_retried(tmp_path: Path) -> None:
    async def reject(connection: Connection) -> None:
        connection.reject(1, 1, 7)

    pacs = PACS(study_of(1), associate=reject)
    async with House(tmp_path, pacs) as house:
        reply = await house.ask(SEARCH)
        assert reply.status == 502
        assert "called AE title not recognized" in reply.problem["detail"]
        assert "PACS" in reply.problem["detail"]
        assert pacs.seen.count("A-ASSOCIATE-RQ") == 1
        await house.audited("Query 8", users=CLIENT)


@ensureDeferred
async def test_a_transient_rejection_is_retried_until_there_is_a_place(tmp_path: Path) -> None:
    async def reject_twice(connection: Connection) -> None:
        if connection.pacs.seen.count("A-ASSOCIATE-RQ") == 2:
            connection.pacs.behave()
        connection.reject(2, 3, 2)

    pacs = PACS(study_of(1), associate=reject_twice)
    async with House(tmp_path, pacs) as house:
        reply = await house.ask(SEARCH)
        assert reply.status == 200
        assert pacs.seen.count("A-ASSOCIATE-RQ") == 3
        await house.audited("Query 0", users=CLIENT)


@ensureDeferred
async def test_a_transient_rejection_beyond_the_deadline_is_503_with_retry_after(tmp_path: Path) -> None:
    async def reject(connection: Connection) -> None:
        connection.reject(2, 3, 2)

    async with House(tmp_path, PACS(study_of(1), associate=reject), queue_timeout_secs=0.3) as house:
        reply = await house.ask(SEARCH)
        assert reply.status == 503
        assert int(reply.headers["retry-after"]) >= 1
        assert "local limit exceeded" in reply.problem["detail"]
        await house.audited("Query 8", users=CLIENT)


@ensureDeferred
async def test_no_context_for_the_query_is_502_naming_sop_class_and_syntax(tmp_path: Path) -> None:
    async def nothing(connection: Connection) -> None:
        connection.accept({})

    async with House(tmp_path, PACS(study_of(1), associate=nothing)) as house:
        reply = await house.ask(SEARCH)
        assert reply.status == 502
        assert STUDY_FIND in reply.problem["detail"]
        assert EXPLICIT in reply.problem["detail"]
        await house.audited("Query 8", users=CLIENT)


@ensureDeferred
async def test_no_storage_context_is_502_naming_sop_class_and_syntax(tmp_path: Path) -> None:
    async def no_storage(connection: Connection) -> None:
        connection.accept({uid: SupportedContext((EXPLICIT, IMPLICIT)) for uid in (STUDY_FIND, STUDY_GET)})

    async with House(tmp_path, PACS(study_of(1), associate=no_storage)) as house:
        reply = await house.retrieve()
        assert reply.status == 502
        assert CT in reply.problem["detail"]
        assert EXPLICIT in reply.problem["detail"]
        await house.audited("Accessed 8", users=CLIENT[:2])


@ensureDeferred
async def test_no_storage_context_for_the_requests_own_syntax_is_406(tmp_path: Path) -> None:
    async with House(tmp_path, PACS(study_of(1))) as house:
        reply = await house.retrieve(
            'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.70'
        )
        assert reply.status == 406
        assert "1.2.840.10008.1.2.4.70" in reply.problem["detail"]
        assert CT in reply.problem["detail"]
        await house.audited("Accessed 4", users=CLIENT[:2])


@ensureDeferred
@pytest.mark.parametrize("fault", [drop, abort], ids=["reset", "A-ABORT"])
async def test_an_association_lost_before_the_first_match_is_tried_once_more(tmp_path: Path, fault: Any) -> None:
    async def once(connection: Connection, asked: Asked) -> None:
        connection.pacs.behave()
        await fault(connection)

    pacs = PACS(study_of(1), find=once)
    async with House(tmp_path, pacs) as house:
        assert (await house.ask(SEARCH)).status == 200
        assert [asked.level for asked in pacs.asked[:2]] == ["STUDY", "STUDY"]
        assert (await house.logged())["notes"] == ["the association was lost before the first answer; tried once more"]
        await house.audited("Query 0", users=CLIENT)


@ensureDeferred
async def test_an_association_lost_before_the_first_match_twice_is_502(tmp_path: Path) -> None:
    pacs = PACS(study_of(1), find=drop)
    async with House(tmp_path, pacs) as house:
        reply = await house.ask(SEARCH)
        assert reply.status == 502
        assert pacs.seen.count("C-FIND-RQ") == 2
        await house.audited("Query 8", users=CLIENT)


@ensureDeferred
async def test_an_association_lost_between_matches_is_502(tmp_path: Path) -> None:
    async def one_match(connection: Connection, asked: Asked) -> None:
        connection.match(asked, connection.pacs.held[0].row(asked.level, connection.pacs.held))
        connection.close()

    pacs = PACS(study_of(1), find=one_match)
    async with House(tmp_path, pacs) as house:
        assert (await house.ask(SEARCH)).status == 502
        assert pacs.seen.count("C-FIND-RQ") == 1
        await house.audited("Query 8", users=CLIENT)


@ensureDeferred
async def test_a_query_without_an_answer_is_504_and_the_association_aborted(tmp_path: Path) -> None:
    pacs = PACS(study_of(1), find=silence)
    async with House(tmp_path, pacs) as house:
        reply = await house.ask(SEARCH)
        assert reply.status == 504
        assert "silence_timeout_secs" in reply.problem["detail"]
        await pacs.saw(BY_USER)
        await house.audited("Query 8", users=CLIENT)


@ensureDeferred
async def test_a_failed_query_is_502_with_its_status(tmp_path: Path) -> None:
    async def fail(connection: Connection, asked: Asked) -> None:
        connection.found(asked, statuses.OUT_OF_RESOURCES)

    async with House(tmp_path, PACS(study_of(1), find=fail)) as house:
        reply = await house.ask(SEARCH)
        assert reply.status == 502
        assert reply.problem["dimse_status"] == "A700H"
        assert (await house.logged())["dimse_status"] == "A700H"
        await house.audited("Query 8", users=CLIENT)


GARBAGE = {
    "a P-DATA-TF PDU of 4 GiB": (b"\x04\x00\xff\xff\xff\xff", INVALID_PARAMETER_VALUE),
    "an A-ASSOCIATE-AC of 4 GiB": (b"\x02\x00\xff\xff\xff\xff", INVALID_PARAMETER_VALUE),
    "a PDV that overruns its PDU": (b"\x04\x00\0\0\0\x08\0\0\0\xff\x01\x03\0\0", INVALID_PARAMETER_VALUE),
    "a PDV on a context that was not accepted": (b"\x04\x00\0\0\0\x08\0\0\0\x04\x63\x03\0\0", INVALID_PARAMETER_VALUE),
    "an unknown PDU type": (b"\x5a\x00\0\0\0\x04\0\0\0\0", UNRECOGNIZED_PDU),
    "a command set cut short": (
        b"\x04\x00\0\0\0\x12\0\0\0\x0e\x01\x03\0\0\0\0\x04\0\0\0\x38\0\0\0",
        INVALID_PARAMETER_VALUE,
    ),
    "an unexpected A-ASSOCIATE-AC": (b"\x02\x00\0\0\0\x44" + bytes(68), "A-ABORT 2 2"),
}


@ensureDeferred
@pytest.mark.parametrize("fault", GARBAGE)
async def test_what_breaks_the_protocol_is_502_and_aborted_with_source_and_reason(tmp_path: Path, fault: str) -> None:
    data, answer = GARBAGE[fault]

    async def garbage(connection: Connection, asked: Asked) -> None:
        connection.write(data)

    pacs = PACS(study_of(1), find=garbage)
    async with House(tmp_path, pacs) as house:
        reply = await house.ask(SEARCH)
        assert reply.status == 502
        await pacs.saw("closed")
        assert answer in pacs.seen
        assert (await house.logged())["reason"].startswith("PeerError: archive: ")
        await house.audited("Alert hostile_bytes 8", "Query 8", users=CLIENT)


@ensureDeferred
async def test_an_endless_answer_is_cancelled_at_the_bound_and_warned_of(tmp_path: Path) -> None:
    async def a_million(connection: Connection, asked: Asked) -> None:
        for number in range(1_000_000):
            connection.match(asked, {"0020000D": {"vr": "UI", "Value": [f"1.2.{number}"]}})
            await connection.drained()
            if connection.cancelled:
                connection.found(asked, statuses.CANCEL)
                return

    pacs = PACS(study_of(1), find=a_million)
    async with House(tmp_path, pacs) as house:
        client = await house.connect()
        client.request("/dicom/studies?PatientID=*&includefield=StudyInstanceUID")
        await pacs.saw("C-CANCEL-RQ")
        pacs.behave()  # for what is synthesised
        reply = await client.reply()
        assert reply.status == 200
        assert reply.headers["warning"].startswith('299 harmonygw "The number of results exceeded')
        assert reply.content.count(b"00081190") == 50
        await house.audited("Query 0", users=CLIENT)


@ensureDeferred
async def test_a_cancel_that_is_ignored_is_followed_by_an_abort(tmp_path: Path) -> None:
    async def rows_for_ever(connection: Connection, asked: Asked) -> None:
        for number in range(200):
            connection.match(asked, {"0020000D": {"vr": "UI", "Value": [f"1.2.{number}"]}})

    pacs = PACS(study_of(1), find=rows_for_ever)
    async with House(tmp_path, pacs) as house:
        client = await house.connect()
        client.request("/dicom/studies?PatientID=*")
        await pacs.saw("C-CANCEL-RQ")
        pacs.behave()
        await pacs.saw(BY_USER)
        assert 0.2 < pacs.times[BY_USER] - pacs.times["C-CANCEL-RQ"] < 1
        assert (await client.reply()).status == 200
        await house.audited("Query 0", users=CLIENT)


@ensureDeferred
async def test_an_association_that_nobody_uses_is_released_in_order(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))
    async with House(tmp_path, pacs, idle_association_secs=0.05) as house:
        assert (await house.ask(SEARCH)).status == 200
        await pacs.saw("closed")
        assert pacs.seen[-2:] == ["A-RELEASE-RQ", "closed"]
        assert house.places == (0, 0)


@ensureDeferred
async def test_an_idle_association_that_the_pacs_aborted_is_replaced_unnoticed(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))
    async with House(tmp_path, pacs) as house:
        assert (await house.ask(SEARCH)).status == 200
        pacs.connections[0].abort()
        await pacs.saw("closed")
        assert (await house.ask(SEARCH)).status == 200
        assert pacs.seen.count("A-ASSOCIATE-RQ") == 2


@ensureDeferred
async def test_what_the_archive_does_not_have_is_404(tmp_path: Path) -> None:
    async with House(tmp_path, PACS(study_of(1))) as house:
        reply = await house.ask(STUDY.replace("1.2", "9.9"))
        assert reply.status == 404
        assert (await house.logged())["outcome"] == "refused"
        await house.audited("Accessed 4", users=CLIENT[:2])
