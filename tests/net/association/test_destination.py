"""C-MOVEs to ourselves: which object belongs to which move, and what their associations are held to."""

from typing import Any

import pytest
from twisted.internet.address import IPv4Address

from harmonygw.dicom.dimse.commands import CEchoRQ, CEchoRSP, CFindRQ
from harmonygw.errors import Busy, PeerError, TimedOut
from harmonygw.net.association.destination import (
    INSTANCE_WINDOW,
    MAX_MESSAGE_ID,
    MESSAGE_IDS,
    MessageIDs,
    MoveDestination,
    Unclaimed,
    claimed,
)
from harmonygw.net.association.receiving import DATA_SET_WINDOW, Refusal
from harmonygw.net.association.requestor import VERIFICATION
from harmonygw.streams import Cancelled
from tests.net.association.moves import Destination, Sender, of, uids
from tests.net.association.peers import (
    CT,
    SILENCE,
    Network,
    a_abort,
    content,
    ct,
    failure,
    read,
    result,
    spawn,
    store_rq,
)

# Who asked


def test_an_object_belongs_to_the_move_that_it_names(ours: Destination) -> None:
    one, other = ours.move(), ours.move()
    sender = ours.sender()
    assert sender.store("1.2.1", **of(other)) == 0
    assert sender.store("1.2.2", **of(one)) == 0
    assert sender.store("1.2.3", move_originator_message_id=one.message_id) == 0
    ours.final(one, completed=2)
    ours.final(other, completed=1)
    assert uids(result(read(one.instances))) == ["1.2.2", "1.2.3"]
    [instance] = result(read(other.instances))
    assert content(result(read(instance.data_set))) == ct("1.2.1")
    assert (instance.source_ae_title, ours.destination.under_way) == ("ARCHIVE", 0)


@pytest.mark.parametrize("more", [{}, {"move_originator_message_id": 0}, {"move_originator_ae_title": "GATEWAY"}])
def test_an_object_that_names_no_move_belongs_to_the_only_one_of_its_study(
    ours: Destination, more: dict[str, Any]
) -> None:
    one, _ = ours.move("1.2"), ours.move("1.9")
    sender = ours.sender()
    assert sender.store("1.2.1", **more) == 0
    assert one.instances.held == 1
    ours.move("1.2")
    assert sender.store("1.2.2", **more) == 0x0124


@pytest.mark.parametrize(
    "more",
    [
        {"move_originator_ae_title": "GATEWAY", "move_originator_message_id": 999},
        {"move_originator_ae_title": "SOMEBODY", "move_originator_message_id": 1},
        {"move_originator_ae_title": "SOMEBODY"},
    ],
    ids=["another message ID", "another originator", "another originator without a message ID"],
)
def test_what_nobody_asked_for_is_refused_and_told(ours: Destination, more: dict[str, Any]) -> None:
    move = ours.move()
    assert move.message_id == 1
    assert ours.sender().store("1.2.1", **more) == 0x0124
    assert ours.unclaimed == [Unclaimed("1.2.1", "1.2", "ARCHIVE")]
    assert move.instances.held == 0


def test_an_object_is_refused_when_no_move_is_under_way(ours: Destination) -> None:
    sender = ours.sender()
    assert sender.store("1.2.1") == 0x0124
    assert not sender.transport.disconnecting


def test_a_move_may_refuse_an_object_that_names_it(ours: Destination) -> None:
    move = ours.move(decide=lambda command, instance: Refusal(0x0124, "another patient"))
    assert ours.sender().store("1.2.1", **of(move)) == 0x0124
    assert ours.unclaimed == []
    ours.final(move, completed=0)
    assert result(read(move.instances)) == []


# An association that outlives a reload


def test_an_object_of_another_destinations_move_gets_there(ours: Destination, network: Network) -> None:
    new = Destination(network)
    ours.others = [ours.destination, new.destination]
    move = new.move()
    sender = ours.sender()
    assert sender.store("1.2.1", **of(move)) == 0x0000
    assert sender.store("1.2.2") == 0x0000, "by its study, of which one move is under way"
    new.final(move, completed=2)
    assert uids(result(read(move.instances))) == ["1.2.1", "1.2.2"]
    assert sender.store("1.2.3", **of(move)) == 0x0124
    assert [one.sop_instance_uid for one in ours.unclaimed] == ["1.2.3"]


def test_nobody_guesses_between_the_moves_of_two_destinations(ours: Destination, network: Network) -> None:
    new = Destination(network)
    ours.others = [new.destination]
    moves = [ours.move(), new.move()]
    command = store_rq("1.2.1")
    assert claimed((ours.destination, new.destination), command, "1.2") is None
    assert claimed((ours.destination, ours.destination), command, "1.2") is moves[0]
    assert claimed((), command, "1.2") is None
    assert ours.sender().store("1.2.1") == 0x0124
    for place, move in ((ours, moves[0]), (new, moves[1])):
        place.final(move, completed=0)
        assert result(read(move.instances)) == []


def test_what_cannot_be_read_fails_the_move_of_another_destination(ours: Destination, network: Network) -> None:
    new = Destination(network)
    ours.others = [new.destination]
    move = new.move()
    ours.sender().begin("1.2.1", b"\x08\x00\x18\x00UI\xff\xff", **of(move))
    ours.senders[0].go_on(b"")
    assert isinstance(failure(read(move.instances)), PeerError)


# Message IDs


def test_message_ids_are_unique_in_the_process(network: Network) -> None:
    one = MoveDestination("A", network.clock, on_unclaimed=lambda _: None)
    other = MoveDestination("B", network.clock, on_unclaimed=lambda _: None)
    moves = [place.expect("1.2", lambda *_: Refusal(0, ""), grace=1.0) for place in (one, other, one)]
    assert len({move.message_id for move in moves}) == 3
    for move in moves:
        move.cancel(Cancelled("enough"))
        one.forget(move)
    assert one.under_way == other.under_way == 0
    again = other.expect("1.2", lambda *_: Refusal(0, ""), grace=1.0)
    assert again.message_id not in {move.message_id for move in moves}
    other.forget(again)
    assert MESSAGE_IDS.take() != again.message_id


def test_message_ids_go_round_past_those_in_use_until_none_is_left() -> None:
    ids = MessageIDs()
    assert [ids.take() for _ in range(3)] == [1, 2, 3]
    ids.give_back(2)
    assert [ids.take() for _ in range(MAX_MESSAGE_ID - 3)][-1] == MAX_MESSAGE_ID
    assert ids.take() == 2
    with pytest.raises(Busy):
        ids.take()
    ids.give_back(7)
    assert ids.take() == 7


# Backpressure and silence


def test_instances_that_nobody_takes_pause_every_association_that_brings_another(ours: Destination) -> None:
    move, one, other, third = ours.move(), ours.sender(), ours.sender(), ours.sender()
    for n in range(INSTANCE_WINDOW - 1):
        one.store(f"1.2.{n}", **of(move))
    assert not one.transport.paused
    other.store("1.2.100", **of(move))
    assert [sender.transport.paused for sender in (one, other, third)] == [False, True, False]
    third.store("1.2.101", **of(move))
    third.store("1.2.102", **of(move))
    assert [sender.transport.paused for sender in (one, other, third)] == [False, True, True]
    for _ in range(INSTANCE_WINDOW):
        result(spawn(move.instances.__anext__()))
    assert [sender.transport.paused for sender in (one, other, third)] == [False, False, False]


def test_the_control_association_may_be_silent_while_we_are_slow(ours: Destination) -> None:
    move, sender = ours.move(), ours.sender()
    sender.store("1.2.1", ct("1.2.1", size=DATA_SET_WINDOW), **of(move))
    assert sender.transport.paused
    ours.network.clock.pump([SILENCE] * 5)
    association, _ = ours.controls[move]
    assert not association.is_closed
    instance = result(spawn(move.instances.__anext__()))
    result(read(instance.data_set))
    ours.network.clock.pump([SILENCE, SILENCE])
    assert association.is_closed
    assert isinstance(failure(read(move.instances)), TimedOut)


def test_the_silence_of_an_association_that_delivers_fails_its_object(ours: Destination) -> None:
    move, sender = ours.move(), ours.sender()
    sender.begin("1.2.1", ct("1.2.1")[:300], **of(move))
    instance = result(spawn(move.instances.__anext__()))
    ours.network.clock.advance(SILENCE)
    sender.pump()
    assert sender.sent[-10:] == a_abort(0, 0)
    assert isinstance(failure(read(instance.data_set)), TimedOut)


def test_an_association_that_is_gone_is_forgotten_by_its_move(ours: Destination) -> None:
    move = ours.move()
    for n in range(5):
        sender = ours.sender()
        sender.store(f"1.2.{n}", **of(move))
        assert content(result(read(result(spawn(move.instances.__anext__())).data_set))) == ct(f"1.2.{n}")
        sender.release()
        sender.disconnect()
    assert len(move._valves) == 1
    assert len(move._bodies) == 1


# The store SCP


def test_it_verifies(ours: Destination) -> None:
    sender = ours.sender()
    [answer] = sender.send(CEchoRQ(5, VERIFICATION), context_id=3)
    assert answer.command == CEchoRSP(5, VERIFICATION, 0)


def test_what_is_neither_storage_nor_verification_is_aborted(ours: Destination) -> None:
    sender = ours.sender()
    sender.send(CFindRQ(5, CT), b"", context_id=1)
    assert sender.sent[-10:] == a_abort(2, 2)


def test_a_connection_without_an_association_ends_quietly(ours: Destination) -> None:
    protocol = ours.factory.buildProtocol(IPv4Address("TCP", "10.0.0.9", 11112))
    assert protocol is not None
    sender = Sender(protocol, ours.network.clock)
    sender.connect()
    protocol.dataReceived(b"\1\0")
    sender.disconnect()
    assert ours.factory.open == set()


def test_an_association_is_in_use_while_an_object_arrives(ours: Destination) -> None:
    move, sender = ours.move(), ours.sender()
    [user] = ours.factory.open
    assert not user.in_use
    sender.begin("1.2.1", ct("1.2.1")[:300], **of(move))
    assert user.in_use
    sender.go_on(ct("1.2.1")[300:])
    assert not user.in_use
