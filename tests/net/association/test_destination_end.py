"""C-MOVEs to ourselves: when a move has ended, and what is left of one that was given up."""

from typing import Any

import pytest

from harmonygw.dicom.dimse.commands import CCancelRQ
from harmonygw.errors import PeerError, TimedOut, TransportError
from harmonygw.net.association.receiving import DATA_SET_WINDOW
from harmonygw.streams import Cancelled
from tests.net.association.moves import GRACE, Destination, Sender, of, uids
from tests.net.association.peers import TIMING, content, ct, failure, header, pending, read, result, spawn

# The end of a move


def test_success_with_nothing_arriving_ends_after_the_grace_time(ours: Destination) -> None:
    move = ours.move()
    instances = read(move.instances)
    ours.final(move, completed=2)
    ours.network.clock.advance(GRACE - 0.1)
    assert pending(instances)
    assert ours.destination.under_way == 1
    ours.network.clock.advance(0.1)
    assert result(instances) == []
    assert ours.destination.under_way == 0
    outcome = move.outcome()
    assert outcome is not None
    assert outcome.completed == 2


def test_a_straggler_ends_it_when_it_is_the_last_and_extends_the_grace_when_not(ours: Destination) -> None:
    move, sender = ours.move(), ours.sender()
    instances = read(move.instances)
    ours.final(move, completed=2)
    ours.network.clock.advance(GRACE - 0.1)
    assert sender.store("1.2.1", **of(move)) == 0
    ours.network.clock.advance(GRACE - 0.1)
    assert pending(instances)
    assert sender.store("1.2.2", **of(move)) == 0
    assert uids(result(instances)) == ["1.2.1", "1.2.2"]
    assert sender.store("1.2.3", **of(move)) == 0x0124


def test_without_a_count_stragglers_have_the_grace_time(ours: Destination) -> None:
    move, sender = ours.move(), ours.sender()
    instances = read(move.instances)
    sender.store("1.2.1", **of(move))
    ours.final(move)
    sender.store("1.2.2", **of(move))
    ours.network.clock.advance(GRACE)
    assert uids(result(instances)) == ["1.2.1", "1.2.2"]


@pytest.mark.parametrize("status", [0xA801, 0xFE00])
def test_a_move_that_failed_without_a_count_ends_at_once(ours: Destination, status: int) -> None:
    move = ours.move()
    ours.final(move, status)
    assert result(read(move.instances)) == []


def test_an_object_under_way_is_waited_for(ours: Destination) -> None:
    move, sender = ours.move(), ours.sender()
    instances = read(move.instances)
    sender.begin("1.2.1", ct("1.2.1")[:300], **of(move))
    ours.final(move, completed=1)
    ours.network.clock.advance(3 * GRACE)
    assert pending(instances)
    sender.go_on(ct("1.2.1")[300:])
    assert uids(result(instances)) == ["1.2.1"]


def test_several_associations_deliver_one_move_at_the_same_time(ours: Destination) -> None:
    move, one, other = ours.move(), ours.sender(), ours.sender()
    one.begin("1.2.1", ct("1.2.1")[:300], **of(move))
    assert other.store("1.2.2", **of(move)) == 0
    one.go_on(ct("1.2.1")[300:])
    ours.final(move, completed=2)
    instances = result(read(move.instances))
    assert uids(instances) == ["1.2.1", "1.2.2"]
    assert [content(result(read(one.data_set))) for one in instances] == [ct("1.2.1"), ct("1.2.2")]


@pytest.mark.parametrize(
    ("end", "kind"),
    [(Sender.abort, TransportError), (Sender.release, TransportError), (Sender.disconnect, TransportError)],
)
def test_an_association_that_is_lost_fails_the_object_on_it(ours: Destination, end: Any, kind: type) -> None:
    move, sender = ours.move(), ours.sender()
    sender.begin("1.2.1", ct("1.2.1")[:300], **of(move))
    instance = result(spawn(move.instances.__anext__()))
    end(sender)
    assert isinstance(failure(read(instance.data_set)), kind)
    ours.final(move, 0xB000, completed=0, failed=1)
    assert result(read(move.instances)) == []


def test_a_control_association_that_is_lost_fails_the_move(ours: Destination) -> None:
    move, sender = ours.move(), ours.sender()
    sender.begin("1.2.1", ct("1.2.1")[:300], **of(move))
    instance = result(spawn(move.instances.__anext__()))
    ours.controls[move][1].disconnect()
    assert isinstance(failure(read(move.instances)), TransportError)
    assert isinstance(failure(read(instance.data_set)), TransportError)
    sender.go_on(ct("1.2.1")[300:])
    sender.take()
    assert ours.destination.under_way == 0
    assert sender.store("1.2.2", **of(move)) == 0x0124


def test_a_malformed_object_fails_the_move_that_it_names(ours: Destination) -> None:
    move, sender = ours.move(), ours.sender()
    assert sender.store("1.2.1", header()[:-5], **of(move)) == 0xC000
    assert isinstance(failure(read(move.instances)), PeerError)
    assert ours.controls[move][1].command() == CCancelRQ(move.message_id)
    other = ours.move()
    assert sender.store("1.2.1", header()[:-5]) == 0xC000
    assert not other.instances.done


# Giving up


def test_giving_a_move_up_cancels_it_and_refuses_what_comes_late(ours: Destination) -> None:
    move, sender = ours.move(), ours.sender()
    sender.store("1.2.1", **of(move))
    ours.final(ours.move("1.7"), completed=0)
    result(spawn(move.instances.aclose()))
    association, peer = ours.controls[move]
    assert peer.command() == CCancelRQ(move.message_id)
    assert sender.store("1.2.2", **of(move)) == 0x0124
    ours.final(move, 0xFE00, remaining=3)
    assert not association.is_closed
    assert ours.destination.under_way == 0


def test_giving_a_move_up_after_its_final_response_leaves_no_timer(ours: Destination) -> None:
    move = ours.move()
    ours.final(move, completed=3)
    move.cancel(Cancelled("enough"))
    assert isinstance(failure(read(move.instances)), Cancelled)
    move.cancel(Cancelled("again"))
    assert ours.destination.under_way == 0


def test_giving_a_move_up_frees_the_associations_that_its_objects_had_paused(ours: Destination) -> None:
    move, sender, other = ours.move(), ours.sender(), ours.sender()
    big = ct("1.2.1", size=2 * DATA_SET_WINDOW)
    sender.store("1.2.1", big, **of(move))
    other.begin("1.2.2", ct("1.2.2")[:300], **of(move))
    assert sender.transport.paused
    result(spawn(move.instances.aclose()))
    assert not sender.transport.paused
    other.go_on(ct("1.2.2")[300:])
    assert sender.store("1.2.3", **of(move)) == 0x0124


def test_a_cancel_that_is_ignored_costs_the_control_association_only(ours: Destination) -> None:
    move, sender = ours.move(), ours.sender()
    move.cancel(Cancelled("enough"))
    ours.network.clock.advance(TIMING.cancel_grace)
    association, _ = ours.controls[move]
    assert isinstance(association.closed_because, TimedOut)
    assert sender.store("1.2.1", **of(move)) == 0x0124
