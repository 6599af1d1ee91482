"""Operations: their responses, their time-outs, and being given up."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import (
    CCancelRQ,
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CFindRSP,
    CGetRQ,
    CGetRSP,
    CMoveRQ,
    CMoveRSP,
)
from harmonygw.errors import PeerError, TimedOut, TransportError
from harmonygw.net.association.operations import (
    MATCH_WINDOW,
    MAX_IDENTIFIER_LENGTH,
    MAX_UNDECODABLE,
    FindOperation,
    GetOperation,
    MoveOperation,
    Outcome,
)
from harmonygw.net.association.receiving import Admission
from harmonygw.net.association.requestor import VERIFICATION, Association
from harmonygw.streams import Cancelled
from tests.net.association.peers import (
    FIND,
    GET,
    IMPLICIT,
    MOVE,
    PACS,
    RELEASE_RP,
    RELEASE_RQ,
    SILENCE,
    TIMING,
    Network,
    a_abort,
    ct,
    failure,
    message,
    p_data,
    pending,
    read,
    result,
    spawn,
    store_rq,
)

STUDY = {"0020000D": {"vr": "UI", "Value": ["1.2"]}}
MATCH = from_json(STUDY, IMPLICIT)


def find(association: Association) -> FindOperation:
    return association.find(FIND, STUDY)


def get(association: Association) -> GetOperation:
    operation = association.get(GET, STUDY, admit=lambda *_: Admission(operation.instances))
    return operation


def move(association: Association) -> MoveOperation:
    return association.move(MOVE, STUDY, destination="GATEWAY", message_id=77, on_final=lambda: None)


def pending_match(message_id: int = 1, status: int = statuses.PENDING, data: bytes = MATCH) -> bytes:
    return message(3, CFindRSP(message_id, FIND, status, True), data)


# C-ECHO


def test_an_echo_returns_its_status(network: Network) -> None:
    association, peer = network.associate()
    done = spawn(association.echo())
    assert peer.new == message(1, CEchoRQ(1, VERIFICATION))
    peer.send(CEchoRSP(1, VERIFICATION, 0x0122))
    assert result(done) == 0x0122
    assert (association.busy, association.is_closed) == (False, False)


def test_an_echo_fails_with_its_association(network: Network) -> None:
    association, peer = network.associate()
    done = spawn(association.echo())
    peer.disconnect()
    assert isinstance(failure(done), TransportError)


def test_an_echo_that_nobody_waits_for_any_more_leaves_the_association_usable(network: Network) -> None:
    association, peer = network.associate()
    done = spawn(association.echo())
    done.addErrback(lambda _: None)
    done.cancel()
    assert association.busy
    peer.send(CEchoRSP(1, VERIFICATION, 0))
    assert (association.busy, association.is_closed) == (False, False)


# C-FIND


def test_matches_come_in_order_and_the_final_response_ends_them(network: Network) -> None:
    association, peer = network.associate()
    operation = find(association)
    rq = [one for one in peer.take() if isinstance(one.command, CFindRQ)]
    assert rq == [(CFindRQ(1, FIND), from_json(STUDY, IMPLICIT, character_set=("ISO_IR 192",)))]
    matches = read(operation.matches)
    peer.raw(pending_match(), pending_match(status=statuses.PENDING_WARNING)[:-20])
    assert operation.optional_keys_unsupported
    assert operation.outcome is None
    peer.raw(pending_match(status=statuses.PENDING_WARNING)[-20:], message(3, CFindRSP(1, FIND, 0, False)))
    assert [match["0020000D"] for match in result(matches)] == [{"vr": "UI", "Value": ["1.2"]}] * 2
    assert operation.outcome == Outcome(0)
    assert not association.busy


def test_a_failed_find_ends_with_its_outcome_even_when_an_identifier_follows(network: Network) -> None:
    association, peer = network.associate()
    operation = find(association)
    peer.raw(message(3, CFindRSP(1, FIND, 0xA900, True, "no such key"), MATCH))
    assert result(read(operation.matches)) == []
    assert operation.outcome == Outcome(0xA900, error_comment="no such key")


def test_undecodable_values_are_remembered_once_and_not_without_bound(network: Network) -> None:
    association, peer = network.associate()
    operation = find(association)
    tags = [f"0010{n:04X}" for n in range(0x2000, 0x2000 + MAX_UNDECODABLE + 5)]
    bad = b"".join(bytes.fromhex(f"1000{tag[6:]}{tag[4:6]}") + b"\2\0\0\0\xff\xfe" for tag in (("00102160"),))
    peer.raw(pending_match(data=bad), pending_match(data=bad))
    assert operation.undecodable == ["00102160"]
    for tag in tags:
        operation._note_undecodable(tag)
    assert len(operation.undecodable) == MAX_UNDECODABLE
    peer.raw(message(3, CFindRSP(1, FIND, 0, False)))


def test_a_reader_that_does_not_read_pauses_the_peer(network: Network) -> None:
    association, peer = network.associate()
    operation = find(association)
    peer.raw(*[pending_match()] * (MATCH_WINDOW - 1))
    assert not peer.transport.paused
    peer.raw(pending_match())
    assert peer.transport.paused
    network.clock.pump([SILENCE] * 3)
    assert not association.is_closed
    for _ in range(MATCH_WINDOW // 2):
        result(spawn(operation.matches.__anext__()))
    assert not peer.transport.paused
    peer.raw(message(3, CFindRSP(1, FIND, 0, False)))
    assert len(result(read(operation.matches))) == MATCH_WINDOW // 2


def test_what_is_left_unread_does_not_hold_the_next_operation_up(network: Network) -> None:
    association, peer = network.associate()
    operation = find(association)
    peer.raw(*[pending_match()] * MATCH_WINDOW)
    assert peer.transport.paused
    peer.raw(message(3, CFindRSP(1, FIND, 0, False)))
    assert not peer.transport.paused
    done = spawn(association.echo())
    peer.send(CEchoRSP(2, VERIFICATION, 0))
    assert result(done) == 0
    assert len(result(read(operation.matches))) == MATCH_WINDOW


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (message(3, CFindRSP(1, FIND, statuses.PENDING, False)), 2),
        (message(3, CFindRSP(2, FIND, 0, False)), 2),
        (message(5, CFindRSP(1, FIND, 0, False)), 2),
        (message(3, CGetRSP(1, GET, 0)), 2),
        (message(9, store_rq(), ct()), 2),
        (message(3, CEchoRQ(1, VERIFICATION)), 2),
    ],
    ids=["pending without identifier", "another message", "another context", "C-GET-RSP", "C-STORE-RQ", "a request"],
)
def test_what_is_no_response_to_this_request_is_aborted(network: Network, response: bytes, reason: int) -> None:
    association, peer = network.associate()
    operation = find(association)
    _ = peer.new
    peer.raw(response)
    assert peer.new == a_abort(2, reason)
    assert isinstance(failure(read(operation.matches)), PeerError)
    assert operation.ended


def test_a_malformed_match_is_aborted(network: Network) -> None:
    association, peer = network.associate()
    operation = find(association)
    peer.raw(pending_match(data=MATCH[:-1]))
    assert isinstance(failure(read(operation.matches)), PeerError)
    assert association.is_closed


def test_an_identifier_may_come_in_many_fragments_up_to_its_limit(network: Network) -> None:
    association, peer = network.associate()
    operation = find(association)
    command = message(3, CFindRSP(1, FIND, statuses.PENDING, True))
    peer.raw(command, *(p_data(3, MATCH[n : n + 1], is_last=n + 1 == len(MATCH)) for n in range(len(MATCH))))
    assert result(spawn(operation.matches.__anext__()))["0020000D"] == STUDY["0020000D"]
    peer.raw(command)
    value = bytes.fromhex("e07f1000") + (MAX_IDENTIFIER_LENGTH - 8).to_bytes(4, "little")
    whole = value + bytes(MAX_IDENTIFIER_LENGTH - 8)
    for start in range(0, len(whole), 16384):
        peer.raw(p_data(3, whole[start : start + 16384], is_last=start + 16384 >= len(whole)))
    assert "7FE00010" in result(spawn(operation.matches.__anext__()))
    peer.raw(command)
    _ = peer.new
    for start in range(0, len(whole), 16384):
        peer.raw(p_data(3, whole[start : start + 16384], is_last=False))
    assert not association.is_closed
    peer.raw(p_data(3, b"\0"))
    assert peer.new == a_abort(2, 6)
    assert "MAX_IDENTIFIER_LENGTH" in str(failure(read(operation.matches)))


# C-GET and C-MOVE


@pytest.mark.parametrize(
    ("begin", "response", "context_id"), [(get, CGetRSP, 5), (move, CMoveRSP, 7)], ids=["C-GET", "C-MOVE"]
)
def test_the_outcome_is_what_the_final_response_says(
    network: Network, begin: Callable[[Association], Any], response: Any, context_id: int
) -> None:
    association, peer = network.associate()
    operation = begin(association)
    uid = GET if response is CGetRSP else MOVE
    number = operation.message_id
    peer.raw(message(context_id, response(number, uid, statuses.PENDING, True, remaining=3), b"\0" * 8))
    peer.raw(message(context_id, response(number, uid, statuses.PENDING, remaining=2)))
    assert operation.outcome is None
    failed = from_json({"00080058": {"vr": "UI", "Value": ["1.2.3", "1.2.4"]}}, IMPLICIT, character_set=())
    peer.raw(message(context_id, response(number, uid, 0xB000, True, None, 3, 2, 1, "some failed"), failed))
    assert operation.outcome == Outcome(0xB000, None, 3, 2, 1, ("1.2.3", "1.2.4"), "some failed")
    assert operation.ended


@pytest.mark.parametrize("identifier", [b"\1", b"\0" * 8], ids=["malformed", "without a list"])
def test_a_list_of_failed_instances_that_is_none_counts_as_none(network: Network, identifier: bytes) -> None:
    association, peer = network.associate()
    operation = get(association)
    peer.raw(message(5, CGetRSP(1, GET, 0xA702, True, failed=1), identifier))
    assert operation.outcome == Outcome(0xA702, failed=1)
    assert result(read(operation.instances)) == []


def test_the_requests_are_what_the_standard_wants(network: Network) -> None:
    association, peer = network.associate()
    get(association)
    identifier = from_json(STUDY, IMPLICIT, character_set=())
    assert peer.take() == [(CGetRQ(1, GET), identifier)]
    peer.send(CGetRSP(1, GET, 0), context_id=5)
    move(association)
    assert peer.take() == [(CMoveRQ(77, MOVE, "GATEWAY"), identifier)]
    peer.send(CMoveRSP(77, MOVE, 0), context_id=7)
    done = spawn(association.echo())
    assert peer.command() == CEchoRQ(2, VERIFICATION)
    peer.send(CEchoRSP(2, VERIFICATION, 0))
    assert result(done) == 0


def test_a_move_is_told_of_its_end_and_brings_no_object_itself(network: Network) -> None:
    ends: list[str] = []
    association, peer = network.associate()
    operation = association.move(MOVE, STUDY, destination="G", message_id=5, on_final=lambda: ends.append("final"))
    operation.done.addCallback(lambda outcome: ends.append(f"{outcome.status:04X}"))
    peer.send(CMoveRSP(5, MOVE, 0x0000, completed=0), context_id=7)
    assert ends == ["final", "0000"]
    operation.object_arrived()  # a straggler
    operation = association.move(MOVE, STUDY, destination="G", message_id=6, on_final=lambda: ends.append("final"))
    _ = peer.new
    peer.raw(message(9, store_rq(), ct()))
    assert peer.new == a_abort(2, 2)
    assert isinstance(failure(operation.done), PeerError)
    assert len(ends) == 2


# Time-outs


def first_object(peer: PACS) -> None:
    peer.raw(message(9, store_rq(), ct()))


@pytest.mark.parametrize("begin", [find, get, move])
def test_no_answer_at_all_is_aborted(network: Network, begin: Callable[[Association], Any]) -> None:
    association, peer = network.associate()
    operation = begin(association)
    _ = peer.new
    network.clock.advance(TIMING.first_answer - 0.1)
    assert not association.is_closed
    network.clock.advance(0.1)
    assert peer.new == a_abort(0, 0)
    reason = failure(
        operation.done if begin is move else read(operation.matches if begin is find else operation.instances)
    )
    assert isinstance(reason, TimedOut)
    assert "timeout_secs" in reason.detail
    assert association.closed_because is reason


@pytest.mark.parametrize(
    ("begin", "answer"),
    [
        (find, lambda peer: peer.raw(pending_match())),
        (get, first_object),
        (move, lambda peer: None),
    ],
    ids=["match", "object", "object elsewhere"],
)
def test_after_the_first_answer_only_silence_counts(
    network: Network, begin: Callable[[Association], Any], answer: Callable[[PACS], None]
) -> None:
    association, peer = network.associate()
    operation = begin(association)
    network.clock.advance(TIMING.first_answer - 0.1)
    answer(peer)
    if begin is move:
        operation.object_arrived()
        operation.done.addErrback(lambda _: None)
    network.clock.advance(SILENCE - 1)
    assert not association.is_closed
    network.clock.pump([2, SILENCE])
    assert isinstance(association.closed_because, TimedOut)
    assert "silence_timeout_secs" in association.closed_because.detail


def test_pending_responses_of_a_get_are_no_answer_but_break_the_silence(network: Network) -> None:
    association, peer = network.associate(timing=type(TIMING)(first_answer=100.0, cancel_grace=2.0))
    operation = get(association)
    network.clock.advance(SILENCE - 1)
    peer.send(CGetRSP(1, GET, statuses.PENDING), context_id=5)
    network.clock.advance(41)
    assert "(timeout_secs)" in str(failure(read(operation.instances)))


def test_a_move_may_be_silent_while_its_objects_arrive_elsewhere(network: Network) -> None:
    association, _ = network.associate()
    operation = move(association)
    delivering = [True]
    operation.delivers = lambda: delivering[0]
    operation.object_arrived()
    network.clock.pump([SILENCE] * 4)
    assert not association.is_closed
    delivering[0] = False
    network.clock.advance(SILENCE)
    assert isinstance(failure(operation.done), TimedOut)


# Giving up


@pytest.mark.parametrize(
    ("begin", "context_id", "response"),
    [(find, 3, CFindRSP(1, FIND, 0xFE00, False)), (get, 5, CGetRSP(1, GET, 0xFE00, remaining=3))],
    ids=["C-FIND", "C-GET"],
)
def test_giving_the_stream_up_cancels_and_frees_the_association_with_the_final_response(
    network: Network, begin: Callable[[Association], Any], context_id: int, response: Any
) -> None:
    association, peer = network.associate()
    operation = begin(association)
    idle = association.idle()
    _ = peer.new
    stream = operation.matches if begin is find else operation.instances
    result(spawn(stream.aclose()))
    operation.cancel(Cancelled("again"))
    assert peer.new == message(context_id, CCancelRQ(1))
    peer.raw(pending_match() if begin is find else message(9, store_rq(), ct()))  # it had been on its way
    assert pending(idle)
    peer.send(response, context_id=context_id)
    assert result(idle) is None
    assert operation.outcome.status == 0xFE00
    assert not association.is_closed
    _ = peer.new
    operation.cancel(Cancelled("too late"))
    assert peer.new == b""
    assert isinstance(failure(read(stream)), Cancelled)


@pytest.mark.parametrize("begin", [find, get, move])
def test_a_cancel_that_is_ignored_is_aborted_after_the_grace_time(
    network: Network, begin: Callable[[Association], Any]
) -> None:
    association, peer = network.associate()
    operation = begin(association)
    operation.cancel(Cancelled("enough"))
    _ = peer.new
    network.clock.advance(TIMING.cancel_grace - 0.1)
    if begin is get:
        first_object(peer)
    assert not association.is_closed
    network.clock.advance(0.1)
    assert peer.new[-10:] == a_abort(0, 0)
    assert isinstance(association.closed_because, TimedOut)
    assert "cancel_grace_secs" in association.closed_because.detail
    if begin is move:
        assert isinstance(failure(operation.done), TimedOut)


def test_a_cancel_frees_a_transport_that_its_feeds_had_paused(network: Network) -> None:
    association, peer = network.associate()
    operation = find(association)
    peer.raw(*[pending_match()] * MATCH_WINDOW)
    assert peer.transport.paused
    operation.cancel(Cancelled("enough"))
    assert not peer.transport.paused
    peer.raw(*[pending_match()] * MATCH_WINDOW)
    assert not peer.transport.paused
    peer.raw(message(3, CFindRSP(1, FIND, 0xFE00, False)))


# The association's end under an operation


@pytest.mark.parametrize("begin", [find, get, move])
def test_a_release_of_the_peer_under_an_operation_fails_it(
    network: Network, begin: Callable[[Association], Any]
) -> None:
    association, peer = network.associate()
    operation = begin(association)
    _ = peer.new
    peer.raw(RELEASE_RQ)
    assert peer.new == RELEASE_RP
    done: Deferred[Any] = (
        operation.done if begin is move else read(operation.matches if begin is find else operation.instances)
    )
    reason = failure(done)
    assert isinstance(reason, TransportError)
    assert "released" in reason.detail
    assert association.closed_because is None
