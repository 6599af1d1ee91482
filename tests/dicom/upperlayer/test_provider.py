from dataclasses import replace
from itertools import pairwise
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.dicom.upperlayer.machine import State
from harmonygw.dicom.upperlayer.negotiation import (
    AcceptedContext,
    AssociateAC,
    AssociateRJ,
    ContextResult,
    ProposedContext,
)
from harmonygw.dicom.upperlayer.pdus import encode_associate_ac, encode_associate_rq
from harmonygw.dicom.upperlayer.provider import (
    MAX_SEND_LENGTH,
    MIN_PDU_LENGTH,
    Aborted,
    AssociateConfirm,
    AssociateIndication,
    AssociateRejected,
    Event,
    Fragment,
    ReleaseConfirm,
    ReleaseIndication,
    UpperLayer,
)
from harmonygw.dicom.upperlayer.reader import MAX_ASSOCIATE_PDU_LENGTH, PDU_LENGTH_SLACK
from tests.dicom.upperlayer.scripts import (
    AC,
    AC_PDU,
    ARTIM,
    CT,
    EXPLICIT,
    IMPLICIT,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RJ_PDU,
    RQ,
    RQ_PDU,
    UNKNOWN_PDU,
    abort,
    associate,
    item,
    layer_in,
    p_data,
    pdv,
    sent,
)

NOW = 5.0
PDV = (1, False, True, b"data")
DATA = Fragment(1, False, True, memoryview(b"data"))


# Scripts of whole associations


def test_a_requestor_associates_sends_receives_and_releases() -> None:
    layer = UpperLayer(requestor=True)
    layer.associate(RQ, 0.0)
    assert sent(layer) == b""
    layer.connected(1.0)
    assert sent(layer) == RQ_PDU
    assert layer.receive(AC_PDU, 2.0) == [AssociateConfirm(AC)]
    assert layer.contexts == {1: AcceptedContext(1, CT, IMPLICIT, as_scu=True, as_scp=False)}
    layer.send([PDV], 3.0)
    assert sent(layer) == P_DATA
    assert layer.receive(P_DATA + P_DATA, 4.0) == [DATA, DATA]
    layer.release(5.0)
    assert sent(layer) == RELEASE_RQ
    assert layer.receive(P_DATA + RELEASE_RP, 6.0) == [DATA, ReleaseConfirm()]
    assert layer.close_transport
    assert layer.closed(7.0) == []
    assert layer.take() == []


def test_an_acceptor_accepts_and_agrees_to_the_release() -> None:
    layer = UpperLayer(requestor=False)
    layer.connected(0.0)
    assert layer.get_timer() == ARTIM
    assert layer.receive(RQ_PDU, 1.0) == [AssociateIndication(RQ)]
    assert layer.get_timer() is None
    layer.accept(AC, 2.0)
    assert sent(layer) == AC_PDU
    assert layer.contexts == {1: AcceptedContext(1, CT, IMPLICIT, as_scu=False, as_scp=True)}
    assert layer.receive(P_DATA + RELEASE_RQ, 3.0) == [DATA, ReleaseIndication()]
    layer.send([PDV], 4.0)
    layer.release_response(5.0)
    assert sent(layer) == P_DATA + RELEASE_RP
    assert not layer.close_transport
    assert layer.get_timer() == 5.0 + ARTIM
    assert layer.closed(6.0) == []
    assert (layer.state, layer.get_timer()) == (State.Sta1, None)


def test_a_release_collision_ends_well_for_the_acceptor_too() -> None:
    layer = layer_in(State.Sta10)
    assert layer.receive(RELEASE_RP, 1.0) == [ReleaseConfirm()]
    layer.release_response(2.0)
    assert sent(layer) == RELEASE_RP
    assert layer.state is State.Sta13


def test_a_rejection_carries_what_the_peer_said() -> None:
    layer = layer_in(State.Sta5)
    assert layer.receive(RJ_PDU, NOW) == [AssociateRejected(AssociateRJ(2, 3, 1))]
    assert layer.close_transport


def test_nothing_is_read_any_more_once_the_connection_is_to_be_closed() -> None:
    layer = layer_in(State.Sta7)
    assert layer.receive(RELEASE_RP + P_DATA, NOW) == [ReleaseConfirm()]
    assert layer.receive(UNKNOWN_PDU, NOW) == []
    assert sent(layer) == b""


def test_behind_an_unexpected_pdu_nothing_is_skipped_that_is_no_data() -> None:
    """The reader dropped as many bytes as the P-DATA-TF before had, if both came in one read."""
    answers = []
    for cut in (1, 100):
        layer, stream = layer_in(State.Sta6), P_DATA + AC_PDU + UNKNOWN_PDU
        for start in range(0, len(stream), cut):
            layer.receive(stream[start : start + cut], NOW)
        answers.append(sent(layer))
    assert answers == [abort(2, 2) + abort(2, 1)] * 2


@pytest.mark.parametrize("version", [0x0001, 0x0003, 0x8001])
def test_only_bit_0_of_the_protocol_version_is_tested(version: int) -> None:
    layer = layer_in(State.Sta2)
    assert layer.receive(RQ_PDU[:6] + pack(">H", version) + RQ_PDU[8:], NOW) == [AssociateIndication(RQ)]


def test_an_unsupported_protocol_version_is_rejected_by_the_provider() -> None:
    layer = layer_in(State.Sta2)
    assert layer.receive(RQ_PDU[:6] + b"\0\2" + RQ_PDU[8:], NOW) == []
    assert sent(layer) == bytes.fromhex("0300 00000004 00010202")
    assert (layer.state, layer.get_timer()) == (State.Sta13, NOW + ARTIM)


def test_an_unknown_application_context_is_rejected() -> None:
    layer = layer_in(State.Sta2)
    foreign = replace(RQ, application_context_name="1.2.3")
    assert layer.receive(encode_associate_rq(foreign), NOW) == []
    assert sent(layer) == bytes.fromhex("0300 00000004 00010102")
    assert layer.state is State.Sta13


# Timers


def test_artim_closes_a_connection_on_which_nothing_is_asked() -> None:
    layer = UpperLayer(requestor=False, artim_timeout=10.0)
    layer.connected(1.0)
    assert layer.timer_expired(10.9) == []
    assert (layer.state, layer.close_transport) == (State.Sta2, False)
    assert layer.timer_expired(11.0) == []
    assert (layer.state, layer.close_transport, layer.get_timer()) == (State.Sta1, True, None)


def test_a_requestor_does_not_wait_for_ever_for_an_answer() -> None:
    layer = UpperLayer(requestor=True, association_timeout=10.0, artim_timeout=3.0)
    layer.associate(RQ, 0.0)
    assert layer.get_timer() is None
    layer.connected(1.0)
    layer.take()
    assert layer.get_timer() == 11.0
    assert layer.timer_expired(10.9) == []
    assert layer.timer_expired(11.0) == [
        Aborted(0, 0, False, "no answer to the A-ASSOCIATE-RQ within 10 s", timed_out=True)
    ]
    assert sent(layer) == abort(0, 0)
    assert (layer.state, layer.get_timer()) == (State.Sta13, 14.0)
    assert layer.timer_expired(14.0) == []
    assert layer.close_transport


def test_a_timer_that_does_not_run_does_not_expire() -> None:
    layer = layer_in(State.Sta6)
    assert layer.timer_expired(1e9) == []
    assert layer.state is State.Sta6


# Lengths


@pytest.mark.parametrize(
    ("announced", "used"),
    [(0, MAX_SEND_LENGTH), (MIN_PDU_LENGTH, MIN_PDU_LENGTH), (16384, 16384), (0xFFFFFFFF, MAX_SEND_LENGTH)],
)
def test_the_peers_maximum_length_is_respected(announced: int, used: int) -> None:
    requestor = layer_in(State.Sta5)
    requestor.receive(encode_associate_ac(replace(AC, max_pdu_length=announced)), NOW)
    assert requestor.max_send_length == used
    acceptor = layer_in(State.Sta2)
    acceptor.receive(encode_associate_rq(replace(RQ, max_pdu_length=announced)), NOW)
    assert acceptor.max_send_length == used


def test_a_peers_maximum_length_too_small_to_work_with_is_an_invalid_parameter() -> None:
    layer = layer_in(State.Sta5)
    (aborted,) = layer.receive(encode_associate_ac(replace(AC, max_pdu_length=MIN_PDU_LENGTH - 1)), NOW)
    assert isinstance(aborted, Aborted)
    assert (aborted.source, aborted.reason) == (2, 6)


def test_a_value_that_does_not_fit_is_not_sent() -> None:
    layer = layer_in(State.Sta6)
    limit = layer.max_send_length
    with pytest.raises(ValueError, match="exceeds"):
        layer.send([(1, True, True, b"command"), (1, False, True, bytes(limit - 5))], NOW)
    assert layer.take() == []
    layer.send([(1, False, True, bytes(limit - 6))], NOW)
    assert len(sent(layer)) == 6 + limit


def test_fragments_are_sent_in_pdus_of_their_own_or_not_at_all() -> None:
    layer = layer_in(State.Sta6)
    limit = layer.max_send_length
    with pytest.raises(ValueError, match="exceeds"):
        layer.send_fragments(1, ((b"ab",), (bytes(limit - 5),)), NOW)
    assert layer.take() == []
    layer.send_fragments(1, ((b"a", b"b"), (bytes(limit - 6),)), NOW)
    layer.send_fragments(1, ((b"cd",),), NOW, is_last=True)
    whole = sent(layer)
    assert whole[:14] == bytes.fromhex("04 00 00000008 00000004 01 00") + b"ab"
    assert whole[14:26] == bytes.fromhex("04 00") + limit.to_bytes(4) + (limit - 4).to_bytes(4) + bytes.fromhex("01 00")
    assert whole[-14:] == bytes.fromhex("04 00 00000008 00000004 01 02") + b"cd"


def test_the_least_maximum_length_is_enforced_on_ourselves() -> None:
    UpperLayer(requestor=True, max_pdu_length=MIN_PDU_LENGTH)
    with pytest.raises(ValueError, match="is below"):
        UpperLayer(requestor=True, max_pdu_length=MIN_PDU_LENGTH - 1)


@pytest.mark.parametrize("length", [0, MIN_PDU_LENGTH - 1, 16385])
def test_more_than_the_limit_or_no_limit_is_never_announced(length: int) -> None:
    requestor = UpperLayer(requestor=True, max_pdu_length=16384)
    with pytest.raises(ValueError, match="is not in"):
        requestor.associate(replace(RQ, max_pdu_length=length), 0.0)
    acceptor = UpperLayer(requestor=False, max_pdu_length=16384)
    acceptor.connected(0.0)
    acceptor.receive(RQ_PDU, 0.0)
    with pytest.raises(ValueError, match="is not in"):
        acceptor.accept(replace(AC, max_pdu_length=length), 0.0)
    assert acceptor.state is State.Sta3


def test_the_peer_is_held_to_what_was_announced() -> None:
    layer = UpperLayer(requestor=True, max_pdu_length=65536)
    layer.associate(replace(RQ, max_pdu_length=4096), 0.0)
    layer.connected(0.0)
    layer.receive(AC_PDU, 0.0)
    layer.take()
    assert layer.receive(pack(">BxI", 4, 4096 + PDU_LENGTH_SLACK), 1.0) == []
    layer = UpperLayer(requestor=True, max_pdu_length=65536)
    layer.associate(replace(RQ, max_pdu_length=4096), 0.0)
    layer.connected(0.0)
    layer.receive(AC_PDU, 0.0)
    layer.take()
    (aborted,) = layer.receive(pack(">BxI", 4, 4097 + PDU_LENGTH_SLACK), 1.0)
    assert isinstance(aborted, Aborted)
    assert sent(layer) == abort(2, 6)


def test_an_acceptance_that_does_not_answer_the_request_is_not_sent() -> None:
    layer = layer_in(State.Sta3)
    with pytest.raises(ValueError, match="was not proposed"):
        layer.accept(AssociateAC("ARCHIVE", "GATEWAY", (ContextResult(1, 0, EXPLICIT),)), NOW)
    assert (layer.state, sent(layer)) == (State.Sta3, b"")


# What peers do wrong


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pack(">BxI", 4, 0xFFFFFFFF), 6),
        (pack(">BxI", 2, MAX_ASSOCIATE_PDU_LENGTH + 1), 6),
        (pack(">BxI", 0, 4), 1),
        (pack(">BxIIBB", 4, 10, 0xFFFFFFFF, 1, 0), 6),
        (p_data(pdv(b"x", 3)), 6),
        (AC_PDU, 2),
    ],
)
def test_a_protocol_error_is_answered_by_a_p_abort_after_what_was_right(data: bytes, reason: int) -> None:
    layer = layer_in(State.Sta6)
    right, aborted = layer.receive(P_DATA + data, NOW)
    assert right == DATA
    assert isinstance(aborted, Aborted)
    assert (aborted.source, aborted.reason, aborted.provider) == (2, reason, True)
    assert sent(layer) == abort(2, reason)
    assert (layer.state, layer.close_transport) == (State.Sta13, False)


@pytest.mark.parametrize(
    ("pdu", "reason", "said"),
    [
        (associate(2, item(0x21, b"\1\0\0\0" + item(0x40, b"1.2"))), 6, "not proposed"),
        (associate(2, item(0x21, b"\1\0\4\0") * 2), 6, "answered twice"),
        (associate(2, item(0x50, b"") * 2), 5, "too many items"),
        (associate(2, b"\x21"), 6, "cut short"),
        (associate(2, item(0x50, item(0x54, b"\0\0031.2\2\1"))), 6, "malformed A-ASSOCIATE-AC PDU: SCU Role"),
    ],
)
def test_a_wrong_acceptance_is_answered_by_a_p_abort(pdu: bytes, reason: int, said: str) -> None:
    layer = layer_in(State.Sta5)
    (aborted,) = layer.receive(pdu, NOW)
    assert isinstance(aborted, Aborted)
    assert said in aborted.detail
    assert sent(layer) == abort(2, reason)


def test_a_wrong_request_is_answered_by_an_abort() -> None:
    layer = layer_in(State.Sta2)
    (aborted,) = layer.receive(associate(1), NOW)
    assert isinstance(aborted, Aborted)
    assert sent(layer) == abort(0, 0)


def test_garbage_is_answered_once() -> None:
    layer = layer_in(State.Sta6)
    assert len(layer.receive(UNKNOWN_PDU * 1000, NOW)) == 1
    assert layer.receive(UNKNOWN_PDU * 1000, NOW) == []
    assert sent(layer) == abort(2, 1)


def test_data_before_its_time_is_refused_once_and_dropped() -> None:
    layer = layer_in(State.Sta5)
    assert len(layer.receive(P_DATA + P_DATA, NOW)) == 1
    assert sent(layer) == abort(2, 2)


def test_data_in_progress_is_dropped_when_the_user_aborts() -> None:
    layer = layer_in(State.Sta6)
    assert layer.receive(P_DATA[:14], NOW) == [Fragment(1, False, False, memoryview(b"da"))]
    layer.abort(NOW, source=2, reason=6)
    assert sent(layer) == abort(2, 6)
    assert layer.receive(P_DATA[14:] + P_DATA + abort(0, 0), NOW) == []
    assert layer.close_transport


@pytest.mark.parametrize(
    ("source", "reason", "provider", "detail"),
    [
        (0, 0, False, "aborted by the peer's service user, source 0, reason 0"),
        (2, 6, True, "aborted by the peer's service provider, source 2, reason 6"),
    ],
)
def test_an_abort_says_who_and_why(source: int, reason: int, provider: bool, detail: str) -> None:
    layer = layer_in(State.Sta6)
    assert layer.receive(abort(source, reason), NOW) == [Aborted(source, reason, provider, detail)]
    assert layer.close_transport


def test_a_lost_connection_says_when_it_was_lost() -> None:
    layer = layer_in(State.Sta5)
    assert layer.closed(NOW) == [
        Aborted(2, 0, True, "connection closed while awaiting A-ASSOCIATE-AC or A-ASSOCIATE-RJ PDU")
    ]


def test_a_closed_connection_is_closed_once() -> None:
    layer = layer_in(State.Sta6)
    assert len(layer.closed(NOW)) == 1
    assert layer.closed(NOW) == []
    assert not layer.close_transport


CONNECTED = [state for state in State if state not in (State.Sta1, State.Sta4)]
pdus = st.sampled_from([AC_PDU, RJ_PDU, RQ_PDU, P_DATA, RELEASE_RQ, RELEASE_RP, abort(2, 1), UNKNOWN_PDU])


@given(st.sampled_from(CONNECTED), st.lists(st.one_of(st.binary(max_size=80), pdus), max_size=5))
def test_whatever_arrives_never_raises(state: State, reads: list[bytes]) -> None:
    layer = layer_in(state)
    for data in reads:
        layer.receive(data, NOW)
        layer.timer_expired(NOW)
    layer.closed(NOW)
    assert layer.state is State.Sta1
    assert layer.get_timer() is None


@given(
    st.sampled_from([state for state in CONNECTED if state is not State.Sta13]),
    st.integers(8, 255),
    st.binary(min_size=5),
)
def test_bytes_that_are_no_pdu_abort_the_association(state: State, pdu_type: int, rest: bytes) -> None:
    layer = layer_in(state)
    (aborted,) = layer.receive(bytes((pdu_type,)) + rest, NOW)
    assert isinstance(aborted, Aborted)
    assert layer.state is State.Sta13


@given(st.integers(0, len(AC_PDU) - 1), st.binary(min_size=1, max_size=3))
def test_a_damaged_acceptance_is_understood_or_aborts(at: int, damage: bytes) -> None:
    layer = layer_in(State.Sta5)
    events = layer.receive(AC_PDU[:at] + damage + AC_PDU[at + len(damage) :], NOW)
    assert all(
        isinstance(event, AssociateConfirm | Aborted | AssociateRejected | ReleaseIndication) for event in events
    )


@given(st.lists(st.integers(0, 600)))
def test_a_conversation_does_not_depend_on_how_it_is_cut(cuts: list[int]) -> None:
    stream = AC_PDU + P_DATA + p_data(pdv(b"more", 1, 0), pdv(b"", 1, 2)) + RELEASE_RQ
    layer = layer_in(State.Sta5)
    edges = [0, *sorted(min(at, len(stream)) for at in cuts), len(stream)]
    events: list[Event] = []
    for start, stop in pairwise(edges):
        events += layer.receive(stream[start:stop], NOW)
    data = b"".join(event.data for event in events if isinstance(event, Fragment))
    assert data == b"datamore"
    assert [event for event in events if not isinstance(event, Fragment)] == [
        AssociateConfirm(AC),
        ReleaseIndication(),
    ]
    assert layer.state is State.Sta8


def test_128_contexts_can_be_proposed_and_accepted() -> None:
    contexts = tuple(ProposedContext(2 * n + 1, CT, (IMPLICIT,)) for n in range(128))
    layer = UpperLayer(requestor=True)
    layer.associate(replace(RQ, contexts=contexts), 0.0)
    layer.connected(0.0)
    results = tuple(ContextResult(context.context_id, 0, IMPLICIT) for context in contexts)
    layer.receive(encode_associate_ac(replace(AC, contexts=results)), 1.0)
    assert list(layer.contexts) == list(range(1, 256, 2))
