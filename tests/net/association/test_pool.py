"""The pool: quota, queue, reuse and health, with real associations over transports in memory."""

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.dicom.dimse.commands import CEchoRSP
from harmonygw.dicom.upperlayer.negotiation import AssociateRQ
from harmonygw.net.association.pool import (
    BUSY_RETRY_AFTER,
    RETRY_DELAY,
)
from harmonygw.net.association.protocol import LINGER, RELEASE_TIMEOUT
from harmonygw.net.association.requestor import VERIFICATION, Association
from tests.net.association.peers import (
    FIND,
    PACS,
    RELEASE_RP,
    RELEASE_RQ,
    RQ,
    Network,
    a_abort,
    failure,
    pending,
    result,
    spawn,
)
from tests.net.association.target import OTHER_RQ, REFUSED, Target, busy

# Quota and reuse


def test_an_idle_association_is_used_again_for_an_equal_request_only(network: Network) -> None:
    target = Target(network)
    one = result(target.acquire())
    target.give_back(one)
    assert target.pool.state()["idle"] == 1
    equal = AssociateRQ(RQ.called_ae_title, RQ.calling_ae_title, RQ.contexts)
    assert result(target.acquire(equal)) is one
    target.give_back(one)
    other = result(target.acquire(OTHER_RQ))
    assert other is not one
    fuzzy = AssociateRQ(RQ.called_ae_title, RQ.calling_ae_title, RQ.contexts, extended_negotiation={FIND: b"\1"})
    assert result(target.acquire(fuzzy)) is not one
    assert target.pool.state() == {
        "associations": 3,
        "max_associations": 4,
        "idle": 1,
        "waiting": 0,
        "circuit": "closed",
        "last_failure": "",
    }
    target.end()


def test_an_association_is_idle_when_its_operation_has_ended_and_not_before(network: Network) -> None:
    target = Target(network)
    association = result(target.acquire())
    echo = spawn(association.echo())
    target.give_back(association)
    assert target.pool.state()["idle"] == 0
    target.peers[0].send(CEchoRSP(1, VERIFICATION, 0))
    assert result(echo) == 0
    assert target.pool.state()["idle"] == 1
    target.end()


def test_an_association_that_is_discarded_is_released_and_its_place_is_free_when_it_is_gone(network: Network) -> None:
    target = Target(network, max_associations=1)
    one = result(target.acquire(light=True))
    target.pool.discard(one)
    target.pool.discard(one)
    assert target.peers[0].new == RELEASE_RQ
    waiting = target.acquire(light=True)
    assert pending(waiting)
    target.peers[0].raw(RELEASE_RP)
    target.peers[0].disconnect()
    assert result(waiting) is not one
    target.end()


@pytest.mark.parametrize(("most", "heavies"), [(1, 1), (2, 1), (4, 3)])
def test_one_place_of_several_is_kept_for_light_operations(network: Network, most: int, heavies: int) -> None:
    target = Target(network, max_associations=most)
    leases = [target.acquire() for _ in range(most + 1)]
    assert [one.called for one in leases] == [True] * heavies + [False] * (most + 1 - heavies)
    light = target.acquire(light=True)
    assert light.called is (most > 1)
    waiting = target.acquire(light=True)
    assert pending(waiting)
    if most > 1:
        target.give_back(result(light))
        assert result(waiting) is result(light)
    else:
        target.give_back(result(leases[0]))
        assert result(light) is result(leases[0])
    waiting.addErrback(lambda _: None)
    for one in (*leases, light):
        one.addErrback(lambda _: None)
    target.end()


def test_a_place_is_free_when_the_connection_is_gone_and_not_before(network: Network) -> None:
    target = Target(network, max_associations=1)
    association = result(target.acquire())
    waiting = target.acquire()
    association.abort()
    assert pending(waiting)
    assert target.pool.places == 1
    target.give_back(association)
    target.peers[0].disconnect()
    assert result(waiting) is not association
    target.end()


def test_a_peer_that_does_not_close_holds_its_place_for_the_linger_time(network: Network) -> None:
    target = Target(network, max_associations=1)
    result(target.acquire()).abort()
    network.clock.advance(LINGER)
    assert target.peers[0].transport.aborted
    assert target.pool.places == 1
    target.peers[0].disconnect()
    assert target.pool.places == 0
    target.end()


def test_the_oldest_idle_association_makes_room_for_another_request(network: Network) -> None:
    target = Target(network, max_associations=3)
    leases = [result(target.acquire(light=True)) for _ in range(3)]
    target.give_back(*leases)
    waiting = target.acquire(OTHER_RQ)
    assert pending(waiting)
    assert [one.new for one in target.peers] == [RELEASE_RQ, b"", b""]
    target.peers[0].raw(RELEASE_RP)
    assert pending(waiting)
    target.peers[0].disconnect()
    assert not result(waiting).is_closed
    target.end()


def test_one_idle_association_makes_room_for_each_that_waits_and_no_more(network: Network) -> None:
    target = Target(network, max_associations=4)
    target.give_back(*[result(target.acquire(light=True)) for _ in range(4)])
    first = target.acquire(OTHER_RQ)
    assert [one.new for one in target.peers] == [RELEASE_RQ, b"", b"", b""]
    second = target.acquire(OTHER_RQ)
    assert [one.new for one in target.peers] == [b"", RELEASE_RQ, b"", b""]
    for peer in target.peers[:2]:
        peer.raw(RELEASE_RP)
        peer.disconnect()
        target.check()
    assert not result(first).is_closed
    assert not result(second).is_closed
    assert [one.new for one in target.peers[:4]] == [b""] * 4
    target.end()


def test_heavy_ones_beyond_their_quota_cost_no_idle_association(network: Network) -> None:
    target = Target(network, max_associations=2)
    heavy = result(target.acquire())
    target.give_back(result(target.acquire(light=True)))
    waiting = target.acquire(OTHER_RQ)
    assert [one.new for one in target.peers] == [b"", b""]
    target.give_back(heavy)  # now its turn has come, and there is one too many
    assert pending(waiting)
    assert sorted(one.new for one in target.peers) == [b"", RELEASE_RQ]
    waiting.addErrback(lambda _: None)
    target.end()


def test_an_association_that_nobody_uses_is_released_after_the_idle_time(network: Network) -> None:
    target = Target(network, idle_secs=10.0)
    association = result(target.acquire())
    target.give_back(association)
    network.clock.advance(9.9)
    assert target.peers[0].new == b""
    network.clock.advance(0.1)
    target.leave(target.peers[0])
    assert target.pool.places == 0
    target.end()


def test_a_release_that_is_not_answered_frees_its_place_in_the_end(network: Network) -> None:
    target = Target(network, max_associations=1, idle_secs=1.0)
    target.give_back(result(target.acquire()))
    network.clock.advance(1.0)
    waiting = target.acquire()
    network.clock.advance(RELEASE_TIMEOUT)
    assert target.peers[0].new == RELEASE_RQ + a_abort(0, 0)
    network.clock.advance(LINGER)
    target.peers[0].disconnect()
    assert not result(waiting).is_closed
    target.end()


@pytest.mark.parametrize("leave", [lambda peer: peer.raw(RELEASE_RQ), PACS.abort, PACS.disconnect])
def test_an_idle_association_that_the_peer_ends_is_dropped(network: Network, leave: Any) -> None:
    target = Target(network)
    association = result(target.acquire())
    target.give_back(association)
    leave(target.peers[0])
    assert association.is_closed
    assert target.pool.state()["idle"] == 0
    assert result(target.acquire()) is not association
    target.peers[0].disconnect()
    assert target.pool.places == 1
    target.give_back(association)
    assert target.pool.places == 1
    target.end()


def test_fresh_takes_none_that_was_idle(network: Network) -> None:
    target = Target(network)
    association = result(target.acquire())
    target.give_back(association)
    other = result(target.acquire(fresh=True))
    assert other is not association
    target.leave(target.peers[0])
    target.end()


# The queue


def test_clients_take_turns_and_each_ones_own_are_served_in_order(network: Network) -> None:
    target = Target(network, max_associations=1)
    association = result(target.acquire())
    order: list[str] = []
    for name in ("A1", "A2", "A3", "B1", "C1", "C2"):
        target.acquire(client=name[0]).addCallbacks(lambda _, name=name: order.append(name), lambda _: None)
    assert target.pool.waiting == 6
    for _ in range(6):
        target.give_back(association)
    assert order == ["A1", "B1", "C1", "A2", "C2", "A3"]
    target.end()


def test_light_ones_take_turns_too_and_go_first(network: Network) -> None:
    target = Target(network, max_associations=1)
    association = result(target.acquire())
    order: list[str] = []
    for name, light in (("A1", False), ("A2", True), ("A3", True), ("B1", True)):
        target.acquire(client=name[0], light=light).addCallbacks(
            lambda _, name=name: order.append(name), lambda _: None
        )
    for _ in range(4):
        target.give_back(association)
    assert order == ["A2", "B1", "A3", "A1"]
    target.end()


def test_who_waits_until_the_deadline_is_told_to_come_back(network: Network) -> None:
    target = Target(network, max_associations=1, queue_secs=30.0)
    association = result(target.acquire())
    own = target.acquire(deadline=network.clock.seconds() + 2)
    ours = target.acquire()
    past = target.acquire(deadline=network.clock.seconds() - 1)
    network.clock.advance(0)
    assert busy(past).retry_after == BUSY_RETRY_AFTER
    network.clock.advance(2)
    assert "queue_timeout_secs" in busy(own).detail
    network.clock.advance(27.9)
    assert pending(ours)
    network.clock.advance(0.1)
    assert busy(ours).retry_after == BUSY_RETRY_AFTER
    assert target.pool.waiting == 0
    target.give_back(association)
    assert target.pool.state()["idle"] == 1
    target.end()


def test_the_queue_of_each_kind_has_an_end(network: Network) -> None:
    target = Target(network, max_associations=1)
    result(target.acquire())
    waiting = [target.acquire(client=str(n)) for n in range(target.limits.max_waiting)]
    refused = busy(target.acquire(client="one more"))
    assert ("max_waiting" in refused.detail, refused.retry_after) == (True, BUSY_RETRY_AFTER)
    light = target.acquire(light=True)
    assert pending(light)
    for one in (*waiting, light):
        one.addErrback(lambda _: None)
    waiting[0].cancel()
    assert pending(target.acquire(client="one more").addErrback(lambda _: None))
    target.end()


def test_who_is_cancelled_while_it_waits_is_passed_over(network: Network) -> None:
    target = Target(network, max_associations=1)
    association = result(target.acquire())
    first, second = target.acquire(client="A"), target.acquire(client="A")
    first.cancel()
    assert isinstance(failure(first), CancelledError)
    target.give_back(association)
    assert result(second) is association
    target.end()


def test_who_is_cancelled_by_a_waiter_that_is_refused_with_it_is_gone_already(network: Network) -> None:
    target = Target(network, max_associations=1)
    result(target.acquire())
    second: Deferred[Any] = Deferred()
    first = target.acquire(client="A").addErrback(lambda _: second.cancel())
    second = target.acquire(client="B")
    target.pool.stop()
    assert isinstance(failure(second), CancelledError)
    assert first.called
    target.end()


def test_who_is_cancelled_while_its_association_opens_frees_the_place(network: Network) -> None:
    target = Target(network, max_associations=1)
    network.endpoint.behaviour = None
    opening = target.acquire()
    waiting = target.acquire()
    assert pending(opening)
    opening.cancel()
    assert isinstance(failure(opening), CancelledError)
    assert target.peers[0].new[-10:] == a_abort(0, 0)
    target.peers[0].disconnect()
    target.peers[1].accept()
    assert not result(waiting).is_closed
    target.end()


def test_who_is_cancelled_between_two_attempts_leaves_no_timer(network: Network) -> None:
    target = Target(network)
    network.endpoint.failures = [REFUSED]
    opening = target.acquire()
    network.clock.advance(RETRY_DELAY / 2)
    opening.cancel()
    assert isinstance(failure(opening), CancelledError)
    assert network.clock.getDelayedCalls() == []
    assert target.pool.places == 0


def test_who_is_served_first_may_ask_again_at_once(network: Network) -> None:
    target = Target(network, max_associations=1)
    association = result(target.acquire())
    again: list[Any] = []

    def use(one: Association) -> None:
        again.append(target.acquire(client="A"))
        target.give_back(one)

    target.acquire(client="A").addCallback(use)
    other = target.acquire(client="B")
    target.give_back(association)
    assert result(other) is association
    assert pending(again[0])
    target.give_back(association)
    assert result(again[0]) is association
    target.end()


# One instead of another


def test_who_needs_another_association_goes_before_who_waits(network: Network) -> None:
    target = Target(network, max_associations=1)
    first = result(target.acquire(client="A"))
    waiting = target.acquire(client="B")
    instead = target.acquire(OTHER_RQ, client="A", instead_of=first)
    assert pending(instead)
    target.leave(target.peers[0])
    assert result(instead).rq is OTHER_RQ
    assert pending(waiting)
    target.give_back(result(instead))
    target.leave(target.peers[1])
    assert not result(waiting).is_closed
    target.end()


def test_who_lost_an_association_goes_before_who_waits_of_its_own_too(network: Network) -> None:
    target = Target(network, max_associations=1)
    first = result(target.acquire(client="A"))
    waiting = target.acquire(client="A")
    first.abort()
    instead = target.acquire(OTHER_RQ, client="A", instead_of=first)
    target.peers[0].disconnect()
    assert result(instead).rq is OTHER_RQ
    assert pending(waiting)
    waiting.cancel()
    waiting.addErrback(lambda _: None)
    target.end()


def test_another_association_is_opened_at_once_where_there_is_a_place(network: Network) -> None:
    target = Target(network, max_associations=3)
    first = result(target.acquire())
    second = result(target.acquire(OTHER_RQ, instead_of=first))
    assert (second.rq, target.pool.places) == (OTHER_RQ, 2)
    target.leave(target.peers[0])
    assert target.pool.places == 1
    target.give_back(first)
    target.end()


def test_who_needs_another_association_is_not_one_too_many(network: Network) -> None:
    target = Target(network, max_associations=1, max_waiting=1)
    first = result(target.acquire())
    waiting = target.acquire()
    busy(target.acquire())
    instead = target.acquire(OTHER_RQ, instead_of=first)
    target.leave(target.peers[0])
    assert result(instead).rq is OTHER_RQ
    waiting.addErrback(lambda _: None)
    target.end()
