"""The pool: quota, queue, reuse and health, with real associations over transports in memory."""

from twisted.internet.defer import CancelledError
from twisted.internet.error import TimeoutError

from harmonygw.dicom.dimse.commands import CEchoRSP
from harmonygw.errors import Busy, PeerError, RejectedError, TimedOut, TransportError
from harmonygw.net.association.pool import (
    BUSY_RETRY_AFTER,
    LONGEST_RETRY_DELAY,
)
from harmonygw.net.association.requestor import VERIFICATION
from harmonygw.net.circuit import FAILURES_TO_OPEN, FIRST_BACKOFF
from tests.net.association.peers import (
    PACS,
    RELEASE_RP,
    RELEASE_RQ,
    Network,
    a_abort,
    failure,
    pending,
    result,
)
from tests.net.association.target import ECHO_RQ, OTHER_RQ, REFUSED, Target, busy

# Opening


def test_a_refused_connection_is_tried_again_with_growing_delays(network: Network) -> None:
    target = Target(network, max_retries=3)
    network.endpoint.failures = [REFUSED] * 3
    opening = target.acquire()
    attempts = []
    for _ in range(7):
        attempts.append(network.endpoint.attempts)
        network.clock.advance(0.1)
    assert attempts == [1, 2, 2, 3, 3, 3, 3]
    network.clock.advance(0.1)
    assert not result(opening).is_closed
    assert target.pool.state()["last_failure"] == ""
    target.end()


def test_after_the_last_retry_the_refusal_is_passed_on_and_counted_once(network: Network) -> None:
    target = Target(network, max_retries=2)
    network.endpoint.failures = [REFUSED] * 3
    opening = target.acquire()
    network.pass_time(1)
    assert isinstance(failure(opening), TransportError)
    assert network.endpoint.attempts == 3
    assert (target.pool.places, target.pool.circuit.is_open) == (0, False)
    assert target.pool.state()["last_failure"] == "the connection was refused"
    target.end()


def test_no_attempt_begins_after_the_deadline(network: Network) -> None:
    target = Target(network, max_retries=10)
    network.endpoint.failures = [REFUSED] * 10
    opening = target.acquire(deadline=network.clock.seconds() + 0.25)
    network.pass_time(1)
    assert isinstance(failure(opening), TransportError)
    assert network.endpoint.attempts == 2


def test_a_time_out_is_not_tried_again(network: Network) -> None:
    target = Target(network)
    network.endpoint.failures = [TimeoutError()]
    assert isinstance(failure(target.acquire()), TimedOut)
    assert (network.endpoint.attempts, network.clock.getDelayedCalls()) == (1, [])


def test_nonsense_is_not_tried_again_and_counts_as_no_answer(network: Network) -> None:
    target = Target(network)
    network.endpoint.behaviour = lambda peer: peer.raw(b"SSH-2.0-OpenSSH\r\n")
    assert isinstance(failure(target.acquire()), PeerError)
    assert network.endpoint.attempts == 1
    assert target.pool.state()["last_failure"] != ""
    target.end()


def test_a_permanent_rejection_is_passed_on_and_counts_as_an_answer(network: Network) -> None:
    target = Target(network)
    network.endpoint.behaviour = lambda peer: (peer.reject(1, 1, 7), peer.disconnect())
    for _ in range(FAILURES_TO_OPEN + 1):
        assert isinstance(failure(target.acquire()), RejectedError)
    assert network.endpoint.attempts == FAILURES_TO_OPEN + 1
    assert (target.pool.places, target.pool.circuit.is_open) == (0, False)


def test_a_transient_rejection_is_tried_again_until_the_deadline(network: Network) -> None:
    target = Target(network, max_retries=0)
    network.endpoint.behaviour = lambda peer: (peer.reject(2, 3, 2), peer.disconnect())
    opening = target.acquire(deadline=network.clock.seconds() + 10)
    network.pass_time(9)
    assert pending(opening)
    network.pass_time(2)
    refused = busy(opening)
    assert ("local limit exceeded" in refused.detail, refused.retry_after) == (True, BUSY_RETRY_AFTER)
    assert network.endpoint.attempts == 9  # after 0, 0.1, 0.3, 0.7, 1.5, 3.1, and then every 2 seconds
    assert LONGEST_RETRY_DELAY == 2.0
    assert not target.pool.circuit.is_open
    target.end()


def test_a_transient_rejection_that_ends_in_time_is_no_failure(network: Network) -> None:
    target = Target(network)
    network.endpoint.behaviour = lambda peer: (peer.reject(2, 3, 1), peer.disconnect())
    opening = target.acquire()
    network.pass_time(3)
    network.endpoint.behaviour = PACS.accept
    network.pass_time(2)
    assert not result(opening).is_closed
    target.end()


# Health


def out_of_order(target: Target) -> None:
    """Let a target fail until its circuit is open."""
    target.network.endpoint.failures = [REFUSED] * 100
    for _ in range(FAILURES_TO_OPEN):
        assert isinstance(failure(target.acquire()), TransportError)


def test_an_open_circuit_refuses_without_asking(network: Network) -> None:
    target = Target(network, max_retries=0)
    out_of_order(target)
    assert network.endpoint.attempts == FAILURES_TO_OPEN
    assert busy(target.acquire()).retry_after == FIRST_BACKOFF
    assert network.endpoint.attempts == FAILURES_TO_OPEN
    assert target.pool.state()["circuit"] == "open"
    target.end()


def test_an_echo_closes_the_circuit_and_its_association_is_kept(network: Network) -> None:
    target = Target(network, max_retries=0)
    out_of_order(target)
    network.clock.advance(FIRST_BACKOFF)
    assert target.pool.state()["circuit"] == "open"
    network.endpoint.failures = []
    network.clock.advance(2 * FIRST_BACKOFF)
    [peer] = target.peers
    assert peer.rq == ECHO_RQ
    assert target.pool.state()["circuit"] == "closed"
    peer.send(CEchoRSP(1, VERIFICATION, 0))
    assert target.pool.state()["idle"] == 1
    target.end()


def test_the_echo_takes_a_place_of_the_quota(network: Network) -> None:
    target = Target(network, max_associations=1, max_retries=0, queue_secs=1.0)
    out_of_order(target)
    network.endpoint.failures = []
    network.endpoint.behaviour = None
    network.clock.advance(FIRST_BACKOFF)
    assert target.pool.places == 1
    target.peers[0].accept()
    waiting = target.acquire()
    assert pending(waiting)
    target.peers[0].send(CEchoRSP(1, VERIFICATION, 0))
    assert target.peers[0].new[-10:] == RELEASE_RQ
    waiting.addErrback(lambda _: None)
    target.end()


def test_who_waits_when_the_circuit_opens_is_refused_at_once(network: Network) -> None:
    target = Target(network, max_associations=2, max_retries=0)
    light = result(target.acquire(light=True))
    network.endpoint.failures = [REFUSED] * (FAILURES_TO_OPEN - 1)
    for _ in range(FAILURES_TO_OPEN - 1):
        failure(target.acquire())
    network.endpoint.in_the_air = True
    opening, waiting = target.acquire(), target.acquire()
    assert pending(waiting)
    [(_, connected)] = network.endpoint.unanswered
    connected.errback(REFUSED)
    assert isinstance(failure(opening), TransportError)
    assert busy(waiting).retry_after == FIRST_BACKOFF
    target.give_back(light)
    target.end()


# The end


def test_stopping_releases_what_is_idle_and_lets_what_is_under_way_end(network: Network) -> None:
    target = Target(network, max_associations=3)
    idle, leased = result(target.acquire()), result(target.acquire())
    target.give_back(idle)
    network.endpoint.behaviour = None
    opening = target.acquire(OTHER_RQ, light=True)
    waiting = target.acquire(OTHER_RQ)
    assert target.peers[0].new == RELEASE_RQ
    target.pool.stop()
    assert "stopping" in busy(waiting).detail
    assert "stopping" in busy(target.acquire()).detail
    target.peers[2].accept()
    target.give_back(leased, result(opening))
    target.leave(*target.peers[1:])
    target.peers[0].raw(RELEASE_RP)
    target.end()


def test_stopping_twice_changes_nothing(network: Network) -> None:
    target = Target(network)
    target.give_back(result(target.acquire()))
    target.pool.stop()
    target.pool.stop()
    target.leave(*target.peers)
    target.end()


def test_aborting_ends_everything_at_once(network: Network) -> None:
    target = Target(network, max_associations=4, idle_secs=1.0)
    leased, closing = result(target.acquire(light=True)), result(target.acquire())
    target.give_back(closing)
    network.clock.advance(1.0)
    network.endpoint.behaviour = None
    opening = target.acquire()
    network.endpoint.in_the_air = True
    connecting = target.acquire()
    network.endpoint.in_the_air = False
    network.endpoint.failures = [REFUSED]
    retrying = target.acquire(light=True)
    retrying.addErrback(lambda _: None)
    target.pool.abort()
    assert isinstance(failure(opening), CancelledError)
    assert isinstance(failure(connecting), CancelledError | Busy)
    assert [one.new[-10:] for one in target.peers] == [a_abort(0, 0)] * 3
    assert leased.is_closed
    target.end()
