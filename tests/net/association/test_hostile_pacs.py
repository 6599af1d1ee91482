"""A PACS that means harm, byte by byte: what it is answered, what the operation ends with, and that it is told."""

from typing import Any

import pytest
from twisted.logger import capturedLogs

from harmonygw.dicom.dimse.statuses import Category, category
from harmonygw.errors import PeerError
from harmonygw.net.association.receiving import Admission
from tests.net.association import raw
from tests.net.association.peers import (
    FIND,
    GET,
    MOVE,
    RQ,
    VERIFICATION,
    Network,
    a_abort,
    content,
    ct,
    failure,
    message,
    pending,
    read,
    result,
    spawn,
    store_rq,
)
from tests.net.association.raw import command, pdu, pdv, uid, us

STUDY = {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "0020000D": {"vr": "UI", "Value": ["1.2"]}}
NO_DATA_SET = us(0x800, 0x101)


def response(context_id: int, field: int, sop_class: str, status: int, *more: bytes, message_id: int = 1) -> bytes:
    return command(
        context_id,
        uid(2, sop_class.encode()),
        us(0x100, field),
        us(0x120, message_id),
        NO_DATA_SET,
        us(0x900, status),
        *more,
    )


def told(events: list[Any]) -> list[tuple[str, str]]:
    return [(event["alert"].kind, event["alert"].peer) for event in events if "alert" in event]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (raw.associate(raw.result(1, 0), raw.result(1, 0), pdu_type=2), 6),
        (raw.associate(raw.result(1, 0, raw.EXPLICIT), pdu_type=2), 6),
        (raw.associate(raw.result(1, 0), pdu_type=2, user=raw.user_information(max_length=1)), 6),
        (raw.associate(raw.result(1, 0), pdu_type=2, user=raw.user_information(raw.item(0x51, bytes(4)))), 5),
        (raw.associate(raw.item(0x21, b"\1\0\0\0", 5000), pdu_type=2), 6),
        (raw.associate(*(raw.result(n % 256, 3) for n in range(129)), pdu_type=2), 5),
        (raw.associate(), 2),
        (pdu(5, bytes(4)), 2),
        (pdu(4, b"", 100), 2),
        (pdu(4, b"", 0xFFFFFFFF), 6),
        (pdu(2, b"", 0xFFFFFFFF), 6),
        (pdu(2, b"", 0), 6),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 1),
    ],
)
def test_an_answer_that_is_none_is_aborted_and_told(network: Network, answer: bytes, reason: int) -> None:
    network.endpoint.behaviour = lambda peer: peer.raw(answer)
    association = network.association()
    with capturedLogs() as events:
        assert isinstance(failure(spawn(association.request(network.endpoint, RQ))), PeerError)
    assert network.endpoint.peers[0].new[-10:] == a_abort(2, reason)
    assert told(events) == [("hostile_bytes", "ARCHIVE")]


def test_what_was_not_proposed_is_not_accepted_however_often_it_is(network: Network) -> None:
    results = [raw.result(1, 0), *(raw.result(n, 0, "1.2.840.10008.1.2.99") for n in range(2, 100, 2))]
    network.endpoint.behaviour = lambda peer: peer.raw(raw.associate(*results, pdu_type=2))
    association = network.association()
    assert result(spawn(association.request(network.endpoint, RQ))) is None
    assert list(association.protocol.contexts) == [1]


@pytest.mark.parametrize(
    "unasked",
    [
        response(1, 0x8030, VERIFICATION, 0),
        response(3, 0x8020, FIND, 0),
        message(9, store_rq(), ct()),
        raw.echo(),
        command(3, us(0x100, 0xFFF), us(0x120, 1), NO_DATA_SET),
        command(1, us(0x100, 0x7777), us(0x110, 1), NO_DATA_SET),
    ],
    ids=["echo", "match", "instance", "request", "cancel", "unknown"],
)
def test_what_comes_unasked_is_aborted_and_told(network: Network, unasked: bytes) -> None:
    association, peer = network.associate()
    with capturedLogs() as events:
        peer.raw(unasked)
    assert peer.new == a_abort(2, 2)
    assert association.is_closed
    assert told(events) == [("hostile_bytes", "ARCHIVE")]


@pytest.mark.parametrize("status", [0x0002, 0x1234, 0x7FFF, 0xFFFF])
def test_a_status_that_no_table_has_is_a_failure(network: Network, status: int) -> None:
    association, peer = network.associate()
    operation = association.find(FIND, STUDY)
    peer.raw(response(3, 0x8020, FIND, status))
    assert result(read(operation.matches)) == []
    assert operation.outcome is not None
    assert category(operation.outcome.status) is Category.FAILURE


@pytest.mark.parametrize("numbers", [(0, 65_535, 0, 0), (65_535, 0, 0, 0), (0, 0, 65_535, 65_535)])
def test_counts_are_what_was_said_and_nothing_is_allotted_by_them(
    network: Network, numbers: tuple[int, int, int, int]
) -> None:
    association, peer = network.associate()
    operation = association.get(GET, STUDY, admit=lambda rq, instance: Admission(operation.instances))
    elements = [us(0x1020 + at, number) for at, number in enumerate(numbers)]
    peer.raw(response(5, 0x8010, GET, 0xB000, *elements))
    assert result(read(operation.instances)) == []
    outcome = operation.outcome
    assert outcome is not None
    assert (outcome.remaining, outcome.completed, outcome.failed, outcome.warning) == numbers


def test_sub_operations_after_the_final_response_are_unasked(network: Network) -> None:
    association, peer = network.associate()
    operation = association.get(GET, STUDY, admit=lambda rq, instance: Admission(operation.instances))
    peer.take()
    _ = peer.new
    peer.raw(response(5, 0x8010, GET, 0), message(9, store_rq(), ct()))
    assert peer.new == a_abort(2, 2)
    assert association.is_closed
    assert result(read(operation.instances)) == []


def test_pending_responses_without_end_are_a_sign_of_life_and_cost_nothing(network: Network) -> None:
    association, peer = network.associate()
    done: list[Any] = []
    operation = association.move(MOVE, STUDY, destination="GATEWAY", message_id=1, on_final=lambda: done.append(1))
    for _ in range(2000):
        peer.raw(response(7, 0x8021, MOVE, 0xFF00, us(0x1020, 65_535)))
    assert not association.is_closed
    network.clock.advance(20.1)
    assert association.is_closed
    assert "timeout_secs" in str(failure(operation.done))


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_command_that_trickles_is_silence(network: Network, cut: int) -> None:
    association, peer = network.associate()
    operation = association.find(FIND, STUDY)
    peer.take()
    _ = peer.new
    whole = response(3, 0x8020, FIND, 0)
    peer.raw(whole[: cut + 1])
    for at in range(cut + 1, cut + 12):
        network.clock.advance(10.0)
        if association.is_closed:
            break
        peer.raw(whole[at : at + 1])
    assert association.is_closed
    assert "timeout_secs" in str(failure(read(operation.matches)))


def test_bytes_one_by_one_are_one_instance(network: Network) -> None:
    association, peer = network.associate()
    operation = association.get(GET, STUDY, admit=lambda rq, instance: Admission(operation.instances))
    peer.raw(message(9, store_rq(), ct())[: -len(ct()) - 12])
    data = ct(size=20_000)
    taken = spawn(operation.instances.__anext__())
    for at in range(0, len(data), 1000):
        piece = data[at : at + 1000]
        peer.raw(b"".join(pdu(4, pdv(9, piece[n : n + 1], 0)) for n in range(len(piece))))
    reads = read(result(taken).data_set)
    assert pending(reads)
    peer.raw(pdu(4, pdv(9, b"", 2)))
    assert content(result(reads)) == data
