"""Requesting associations, negotiated facts, and storing."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.testing import MemoryReactorClock

from harmonygw.dicom.dimse.commands import CEchoRQ, CEchoRSP, CStoreRQ, CStoreRSP
from harmonygw.dicom.upperlayer.negotiation import AssociateRQ, ProposedContext
from harmonygw.dicom.upperlayer.pdus import encode_associate_rq
from harmonygw.errors import (
    BadRequest,
    HarmonyError,
    Incomplete,
    NotAcceptable,
    PeerError,
    RejectedError,
    TimedOut,
    TransportError,
)
from harmonygw.net.association.operations import Outcome
from harmonygw.net.association.protocol import LINGER
from harmonygw.net.association.requestor import MAX_MESSAGE_ID, VERIFICATION, Association
from harmonygw.streams import Feed, Pieces
from tests.alerted import alerts
from tests.net.association.peers import (
    CT,
    FIND,
    GET,
    IMPLICIT,
    JPEG_2000,
    MR,
    PACS,
    RELEASE_RP,
    RELEASE_RQ,
    RQ,
    SILENCE,
    STORAGE_RQ,
    TIMING,
    Network,
    a_abort,
    ct,
    failure,
    feed_of,
    instance,
    message,
    p_data,
    pending,
    result,
    spawn,
    store_rq,
)

# Opening


def test_an_association_is_there_when_the_peer_has_accepted_it(network: Network) -> None:
    network.endpoint.behaviour = None
    association = network.association()
    opening = spawn(association.request(network.endpoint, RQ))
    [peer] = network.endpoint.peers
    assert peer.sent == encode_associate_rq(RQ)
    assert pending(opening)
    peer.accept()
    result(opening)
    assert (association.busy, association.is_closed, association.rq) == (False, False, RQ)


@pytest.mark.parametrize(
    ("failed", "kind", "sentence"),
    [
        (error.ConnectionRefusedError(), TransportError, "refused"),
        (error.TimeoutError(), TimedOut, "connect_timeout_secs"),
        (error.TCPTimedOutError(), TimedOut, "connect_timeout_secs"),
        (error.DNSLookupError(), TransportError, "host name"),
        (error.UnknownHostError(), TransportError, "host name"),
        (error.NoRouteError(), TransportError, "could not be made"),
        (OSError("too many open files"), TransportError, "could not be made"),
    ],
)
def test_why_there_is_no_connection(
    network: Network, failed: Exception, kind: type[HarmonyError], sentence: str
) -> None:
    network.endpoint.failures = [failed]
    reason = failure(spawn(network.association().request(network.endpoint, RQ)))
    assert type(reason) is kind
    assert sentence in reason.detail


def test_the_operators_log_says_what_the_system_said(network: Network) -> None:
    network.endpoint.failures = [OSError("too many open files")]
    assert failure(spawn(network.association().request(network.endpoint, RQ))).log_detail == "too many open files"


def reject(peer: PACS) -> None:
    peer.reject(1, 1, 7)


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (reject, RejectedError),
        (PACS.abort, TransportError),
        (PACS.disconnect, TransportError),
        (lambda peer: peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), PeerError),
    ],
    ids=["rejected", "aborted", "lost", "nonsense"],
)
def test_why_there_is_no_association(network: Network, behaviour: Any, kind: type[HarmonyError]) -> None:
    network.endpoint.behaviour = behaviour
    association = network.association()
    with alerts() as raised:
        reason = failure(spawn(association.request(network.endpoint, RQ)))
    assert type(reason) is kind
    assert association.closed_because is reason
    assert [one.kind for one in raised] == ["hostile_bytes"] * (kind is PeerError)
    assert all(one.peer == RQ.called_ae_title for one in raised)


def test_an_answer_that_does_not_come_is_timed_out(network: Network) -> None:
    network.endpoint.behaviour = None
    opening = spawn(network.association().request(network.endpoint, RQ))
    network.clock.advance(30.0)
    assert network.endpoint.peers[0].new[-10:] == a_abort(0, 0)
    assert isinstance(failure(opening), TimedOut)
    network.clock.advance(LINGER)
    assert network.endpoint.peers[0].transport.aborted


def test_a_request_that_is_cancelled_is_aborted(network: Network) -> None:
    network.endpoint.behaviour = None
    opening = spawn(network.association().request(network.endpoint, RQ))
    opening.cancel()
    assert isinstance(failure(opening), CancelledError)
    assert network.endpoint.peers[0].new[-10:] == a_abort(0, 0)


@pytest.mark.parametrize("kind", [TCP4ClientEndpoint, HostnameEndpoint])
def test_a_request_that_is_cancelled_while_it_connects_is_cancelled(kind: Any) -> None:
    reactor = MemoryReactorClock()
    association = Association(clock=reactor, timing=TIMING, silence_timeout=SILENCE, association_timeout=30.0)
    opening = spawn(association.request(kind(reactor, "127.0.0.1", 104), RQ))
    reactor.advance(1)
    assert reactor.tcpClients
    opening.cancel()
    assert isinstance(failure(opening), CancelledError)
    assert reactor.getDelayedCalls() == []


def test_an_association_request_to_the_requestor_is_aborted(network: Network) -> None:
    association, _ = network.associate()
    with pytest.raises(PeerError):
        association.associate_indication(RQ)


# What was negotiated


def test_explicit_vr_is_preferred_and_what_was_not_accepted_is_not_used(network: Network) -> None:
    explicit = "1.2.840.10008.1.2.1"
    rq = AssociateRQ("A", "B", (ProposedContext(1, FIND, (IMPLICIT,)), ProposedContext(3, FIND, (explicit,))))
    association, _ = network.associate(rq)
    assert [one.context_id for one in association.contexts_for(FIND)] == [1, 3]
    assert association.context_for(FIND).context_id == 3
    with pytest.raises(NotAcceptable, match=GET):
        association.context_for(GET)
    with pytest.raises(NotAcceptable):
        association.find(GET, {})
    assert isinstance(failure(spawn(association.echo())), NotAcceptable)
    assert not association.busy


def test_extended_negotiation_is_what_the_peer_answered(network: Network) -> None:
    network.endpoint.behaviour = lambda peer: peer.accept(extended_negotiation={FIND: b"\1\0"})
    association, _ = network.associate()
    assert association.extended_negotiation(FIND) == b"\1\0"
    assert association.extended_negotiation(GET) == b""
    network.endpoint.behaviour = None
    spawn(network.association().request(network.endpoint, RQ)).addErrback(lambda _: None)
    other = network.association()
    spawn(other.request(network.endpoint, RQ)).addErrback(lambda _: None)
    assert other.extended_negotiation(FIND) == b""


# One operation at a time


def test_an_association_carries_one_operation_at_a_time(network: Network) -> None:
    association, peer = network.associate()
    done = spawn(association.echo())
    idle = [association.idle(), association.idle()]
    with pytest.raises(RuntimeError):
        association.find(FIND, {})
    assert pending(idle[0])
    peer.send(CEchoRSP(1, VERIFICATION, 0))
    assert (result(done), result(idle[0]), result(idle[1])) == (0, None, None)
    assert association.idle().called


def test_what_cannot_be_encoded_leaves_the_association_usable(network: Network) -> None:
    association, peer = network.associate()
    with pytest.raises(BadRequest):
        association.find(FIND, {"nonsense": {"vr": "XX"}})
    with pytest.raises(BadRequest):
        association.move("1.2.840.10008.5.1.4.1.2.2.2", {}, destination="A" * 17, message_id=1, on_final=lambda: None)
    assert not association.busy
    done = spawn(association.echo())
    [echo] = [one.message_id for one in peer.commands() if isinstance(one, CEchoRQ)]
    peer.send(CEchoRSP(echo, VERIFICATION, 0))
    assert result(done) == 0


def test_message_ids_begin_again_after_the_last(network: Network) -> None:
    association, peer = network.associate()
    association._last_message_id = MAX_MESSAGE_ID - 1
    for expected in (MAX_MESSAGE_ID, 1):
        done = spawn(association.echo())
        assert peer.command() == CEchoRQ(expected, VERIFICATION)
        peer.send(CEchoRSP(expected, VERIFICATION, 0))
        assert result(done) == 0


@pytest.mark.parametrize("arrives", [CEchoRSP(1, VERIFICATION, 0), store_rq()])
def test_a_message_that_nobody_asked_for_is_aborted(network: Network, arrives: Any) -> None:
    association, peer = network.associate()
    peer.raw(message(1, arrives, b"ab" if arrives.has_data_set else None))
    assert peer.new == a_abort(2, 2)
    assert isinstance(association.closed_because, PeerError)


def test_a_fragment_after_the_end_of_its_operation_is_dropped(network: Network) -> None:
    association, _ = network.associate()
    association.fragment_received(memoryview(b"ab"), True)
    assert not association.is_closed


# Closing


def test_an_idle_association_is_released_and_a_busy_one_aborted(network: Network) -> None:
    association, peer = network.associate()
    told: list[str] = []
    association.on_close(lambda: told.append("closed"))
    association.on_disconnect(lambda: told.append("disconnected"))
    association.release()
    assert peer.new == RELEASE_RQ
    peer.raw(RELEASE_RP)
    assert told == ["closed"]
    peer.disconnect()
    assert told == ["closed", "disconnected"]
    association.on_close(lambda: told.append("closed before"))
    association.on_disconnect(lambda: told.append("disconnected before"))
    assert told[2:] == ["closed before", "disconnected before"]
    association, peer = network.associate()
    done = spawn(association.echo())
    _ = peer.new
    association.release()
    assert peer.new == a_abort(0, 0)
    assert isinstance(failure(done), TransportError)


def test_a_release_of_the_peer_is_no_error_for_an_idle_association(network: Network) -> None:
    association, peer = network.associate()
    peer.raw(RELEASE_RQ)
    assert peer.new == RELEASE_RP
    assert (association.is_closed, association.closed_because) == (True, None)
    assert "released" in str(failure(spawn(association.echo())))


# Storing


def test_an_instance_goes_out_as_it_comes_in_fragments_that_are_full(network: Network) -> None:
    network.endpoint.behaviour = lambda peer: peer.accept(max_pdu_length=1024)
    association, peer = network.associate(STORAGE_RQ)
    source: Feed[Pieces] = Feed(limit=1 << 20)
    done = spawn(association.store(instance(source)))
    assert peer.new == b""
    source.put((b"a" * 1017,))
    assert peer.new == message(1, CStoreRQ(1, CT, "1.2.3.4"))
    source.put((b"b", memoryview(b"c" * 3)))
    assert peer.new == p_data(1, b"a" * 1017 + b"b", is_last=False)
    source.put((b"d" * 3000,))
    rest = b"c" * 3 + b"d" * 3000
    assert peer.new == p_data(1, rest[:1018], is_last=False) + p_data(1, rest[1018:2036], is_last=False)
    source.put((b"e",))
    source.end()
    assert peer.new == p_data(1, rest[2036:] + b"e")
    peer.raw(message(1, CStoreRSP(1, CT, "1.2.3.4", 0xB000, "coerced")))
    assert result(done) == Outcome(0xB000, error_comment="coerced")
    assert not association.busy


def test_a_data_set_of_an_odd_length_is_padded(network: Network) -> None:
    association, peer = network.associate(STORAGE_RQ)
    spawn(association.store(instance(feed_of((b"ab", b"c"))))).addErrback(lambda _: None)
    assert peer.new == message(1, CStoreRQ(1, CT, "1.2.3.4"), b"abc\0")


def test_what_the_peer_takes_bounds_each_pdu(network: Network) -> None:
    network.endpoint.behaviour = lambda peer: peer.accept(max_pdu_length=4096)
    association, peer = network.associate(STORAGE_RQ)
    data = ct(size=10_000)
    spawn(association.store(instance(feed_of((data,))))).addErrback(lambda _: None)
    room = 4096 - 6
    expected = [p_data(1, data[n : n + room], is_last=n + room >= len(data)) for n in range(0, len(data), room)]
    assert peer.new == message(1, CStoreRQ(1, CT, "1.2.3.4")) + b"".join(expected)


def test_the_context_is_that_of_the_instances_own_transfer_syntax(network: Network) -> None:
    association, peer = network.associate(STORAGE_RQ)
    done = spawn(association.store(instance(feed_of((b"ab",)), syntax=JPEG_2000)))
    assert peer.new == message(3, CStoreRQ(1, CT, "1.2.3.4"), b"ab")
    peer.raw(message(3, CStoreRSP(1, CT, "1.2.3.4", 0)))
    assert result(done) == Outcome(0)


def test_the_originator_of_a_move_is_passed_on(network: Network) -> None:
    association, peer = network.associate(STORAGE_RQ)
    done = spawn(association.store(instance(feed_of((b"ab",))), originator_ae_title="VIEWER", originator_message_id=9))
    assert peer.command() == CStoreRQ(1, CT, "1.2.3.4", 0, "VIEWER", 9)
    peer.send(CStoreRSP(1, CT, "1.2.3.4", 0))
    assert result(done) == Outcome(0)


@pytest.mark.parametrize(
    ("rq", "sop_class"),
    [(STORAGE_RQ, MR), (RQ, CT)],
    ids=["not proposed", "only the other role"],
)
def test_without_a_presentation_context_nothing_is_read_or_sent(
    network: Network, rq: AssociateRQ, sop_class: str
) -> None:
    association, peer = network.associate(rq)
    source = feed_of((b"ab",))
    one = instance(source)
    one.sop_class_uid = sop_class
    assert isinstance(failure(spawn(association.store(one))), NotAcceptable)
    assert (peer.new, source.held, association.busy, association.is_closed) == (b"", 1, False, False)


class Broken:
    """A data set that ends in an exception."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __aiter__(self) -> AsyncIterator[Pieces]:
        return self

    async def __anext__(self) -> Pieces:
        raise self._error

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("error", [Incomplete("cut short"), ValueError("a bug")])
def test_a_source_that_fails_costs_the_association(network: Network, error: Exception) -> None:
    association, peer = network.associate(STORAGE_RQ)
    assert failure(spawn(association.store(instance(Broken(error))))) is error
    assert peer.new[-10:] == a_abort(0, 0)
    assert association.is_closed


def test_a_store_that_is_cancelled_costs_the_association_until_it_is_sent(network: Network) -> None:
    association, peer = network.associate(STORAGE_RQ)
    source: Feed[Pieces] = Feed(limit=1)
    done = spawn(association.store(instance(source)))
    done.cancel()
    assert isinstance(failure(done), CancelledError)
    assert peer.new[-10:] == a_abort(0, 0)
    assert source.done
    association, peer = network.associate(STORAGE_RQ)
    done = spawn(association.store(instance(feed_of((b"ab",)))))
    done.cancel()
    assert isinstance(failure(done), CancelledError)
    peer.send(CStoreRSP(1, CT, "1.2.3.4", 0))
    assert (association.busy, association.is_closed) == (False, False)


def test_a_response_before_the_request_is_whole_is_aborted(network: Network) -> None:
    association, peer = network.associate(STORAGE_RQ)
    source: Feed[Pieces] = Feed(limit=1 << 20)
    done = spawn(association.store(instance(source)))
    source.put((b"ab",))
    _ = peer.new
    peer.raw(message(1, CStoreRSP(1, CT, "1.2.3.4", 0xA700)))
    assert peer.new == a_abort(2, 2)
    source.put((b"cd",))
    assert isinstance(failure(done), PeerError)


def test_an_association_that_is_lost_while_the_source_waits_fails_the_store(network: Network) -> None:
    association, peer = network.associate(STORAGE_RQ)
    source: Feed[Pieces] = Feed(limit=1 << 20)
    done = spawn(association.store(instance(source)))
    source.put((b"ab",))
    peer.abort()
    source.end()
    assert isinstance(failure(done), TransportError)
    assert not association.busy


def test_the_clock_of_the_response_begins_when_everything_is_sent(network: Network) -> None:
    association, peer = network.associate(STORAGE_RQ)
    source: Feed[Pieces] = Feed(limit=1 << 20)
    done = spawn(association.store(instance(source)))
    for _ in range(5):
        network.clock.advance(SILENCE)
        source.put((b"ab",))
    source.end()
    network.clock.advance(TIMING.first_answer - 0.1)
    assert pending(done)
    network.clock.advance(0.1)
    assert isinstance(failure(done), TimedOut)
    assert peer.new[-10:] == a_abort(0, 0)


def test_a_store_waits_for_a_peer_that_takes_slowly(network: Network) -> None:
    association, peer = network.associate(STORAGE_RQ)
    reads: list[str] = []

    class Source:
        def __aiter__(self) -> AsyncIterator[Pieces]:
            return self

        async def __anext__(self) -> Pieces:
            if len(reads) == 4:
                raise StopAsyncIteration
            reads.append("read")
            return (b"ab",)

        async def aclose(self) -> None:
            pass

    association.protocol.pauseProducing()
    done = spawn(association.store(instance(Source())))
    assert reads == ["read"]
    network.clock.advance(SILENCE - 1)
    association.protocol.resumeProducing()
    assert reads == ["read"] * 4
    peer.send(CStoreRSP(1, CT, "1.2.3.4", 0))
    assert result(done) == Outcome(0)


def test_a_store_to_a_peer_that_takes_nothing_is_aborted(network: Network) -> None:
    association, peer = network.associate(STORAGE_RQ)
    association.protocol.pauseProducing()
    done = spawn(association.store(instance(feed_of((b"ab",), (b"cd",)))))
    network.clock.advance(SILENCE)
    assert isinstance(failure(done), TimedOut)
    assert peer.new[-10:] == a_abort(0, 0)
