"""C-MOVE: its destinations, and what is passed on to an archive that moves by itself."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.python.failure import Failure

from harmonygw.config.endpoint_options import AETableEntry
from harmonygw.dicom.dimse.commands import CCancelRQ, CMoveRQ, CMoveRSP
from harmonygw.endpoints.dicom_scp.destinations import CONNECT_TIMEOUT
from harmonygw.endpoints.dicom_scp.identifiers import failed_list
from harmonygw.errors import NotAcceptable, NotFound, RejectedError
from harmonygw.operations import Find, Level, Move, MoveResult
from tests.endpoints.dicom_scp.retrieving import COUNT, STUDY, answering
from tests.endpoints.dicom_scp.scripted import EXPLICIT, MOVE, PATIENT_MOVE, Script, identifier, instance, key, stream

UNKNOWN = CMoveRSP(
    7, MOVE, 0xA801, completed=0, failed=0, warning=0, error_comment="the move destination is not known here"
)


def test_a_move_to_an_unknown_destination_is_refused() -> None:
    script = Script(aet_table={"VIEWER": AETableEntry("10.0.0.9", 104)})
    [last] = script.asking(MOVE).send(CMoveRQ(7, MOVE, "NOBODY"), STUDY)
    assert last.command == UNKNOWN
    assert script.pipeline.requests == []


def test_a_move_connects_to_the_destination_that_the_table_has() -> None:
    script = Script(aet_table={"alias": AETableEntry("10.0.0.9", 104, ae_title="VIEWER")})
    script.pipeline.answer = answering(instance())
    peer = script.asking(MOVE)
    assert peer.send(CMoveRQ(7, MOVE, "VIEWER"), STUDY) == []
    ((host, port, factory, timeout, _),) = script.clock.tcpClients
    assert (host, port, timeout) == ("10.0.0.9", 104, CONNECT_TIMEOUT)
    factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
    [last] = peer.take()
    assert last.command == CMoveRSP(
        7,
        MOVE,
        0xA702,
        completed=0,
        failed=1,
        warning=0,
        error_comment="the move destination: the connection was refused",
    )


# Without a table of destinations, the archive's own counts


def test_without_an_aet_table_a_move_is_passed_on() -> None:
    script = Script()
    script.pipeline.answer = lambda operation: MoveResult(3, None)
    [last] = script.asking(MOVE).send(CMoveRQ(7, MOVE, "VIEWER"), STUDY)
    assert last.command == CMoveRSP(7, MOVE, 0x0000, completed=3, failed=0, warning=0)
    assert script.pipeline.operations == [Move(Level.STUDY, "1.2", "VIEWER")]
    assert script.pipeline.requests[0].record.destination == "VIEWER"


def test_a_move_of_several_series_is_passed_on_one_by_one_and_counted_together() -> None:
    script = Script()
    script.pipeline.answer = lambda operation: (
        NotFound("nothing") if operation.series_instance_uid == "1.2.4" else MoveResult(2, 1)
    )
    series = identifier("SERIES", _0020000D=key("UI", "1.2"), _0020000E=key("UI", "1.2.3", "1.2.4", "1.2.5"))
    [last] = script.asking(MOVE).send(CMoveRQ(7, MOVE, "VIEWER"), series)
    assert last.command == CMoveRSP(7, MOVE, 0xB000, completed=4, failed=0, warning=2)
    assert [one.series_instance_uid for one in script.pipeline.operations] == ["1.2.3", "1.2.4", "1.2.5"]


def test_what_moves_nothing_to_anybody_knows_no_destination() -> None:
    script = Script()
    script.pipeline.answer = lambda operation: NotAcceptable("a folder sends nothing")
    [last] = script.asking(MOVE).send(CMoveRQ(7, MOVE, "VIEWER"), STUDY)
    assert last.command == UNKNOWN


def test_what_an_archive_failed_to_move_is_passed_on_too() -> None:
    script = Script()
    error = RejectedError("the archive did not send everything", status=0xB000)
    error.members.update({"completed": 2, "failed": 1, "warning": 0, "failed_sop_instance_uids": ["1.2.3.1"]})
    script.pipeline.answer = lambda operation: error
    [last] = script.asking(MOVE).send(CMoveRQ(7, MOVE, "VIEWER"), STUDY)
    assert last.command == CMoveRSP(
        7, MOVE, 0xB000, True, completed=2, failed=1, warning=0, error_comment="the archive did not send everything"
    )
    assert bytes(last.data or b"") == failed_list(["1.2.3.1"], EXPLICIT)


@pytest.mark.parametrize("status", [0xA801, 0xA702, 0xC000])
def test_a_failure_of_the_archive_is_the_answer_to_a_move_that_was_passed_on(status: int) -> None:
    script = Script()
    script.pipeline.answer = lambda operation: RejectedError("no", status=status)
    [last] = script.asking(MOVE).send(CMoveRQ(7, MOVE, "VIEWER"), STUDY)
    assert (last.command.status, last.command.error_comment) == (status, "no")


def test_a_success_that_failed_in_part_is_no_success() -> None:
    script = Script()
    error = RejectedError("the archive did not send everything", status=0x0000)
    error.members.update({"completed": 0, "failed": 2})
    script.pipeline.answer = lambda operation: error
    [last] = script.asking(MOVE).send(CMoveRQ(7, MOVE, "VIEWER"), STUDY)
    assert (last.command.status, last.command.failed) == (0xA702, 2)


def test_a_study_of_another_patient_is_not_passed_on() -> None:
    script = Script()
    script.pipeline.answer = lambda operation: stream({"00100020": key("LO", "P2"), COUNT: key("IS", 1)})
    query = identifier("STUDY", _0020000D=key("UI", "1.2"), _00100020=key("LO", "P1"))
    [last] = script.asking(PATIENT_MOVE).send(CMoveRQ(7, PATIENT_MOVE, "VIEWER"), query)
    assert [type(operation) for operation in script.pipeline.operations] == [Find]
    assert (last.command.status, last.command.completed) == (0x0000, 0)


def test_cancelling_a_move_that_was_passed_on_cancels_the_archives() -> None:
    script = Script()
    cancelled: list[object] = []
    script.pipeline.answer = lambda operation: Deferred(cancelled.append)
    peer = script.asking(MOVE)
    peer.send(CMoveRQ(7, MOVE, "VIEWER"), STUDY)
    [last] = peer.send(CCancelRQ(7))
    assert (len(cancelled), last.command.status) == (1, 0xFE00)
