import socket
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from harmonygw.backends.dicom_scu.incoming import IncomingStore, acceptance, is_shared
from harmonygw.config.backend_options import DicomSCUOptions
from harmonygw.dicom.dimse import statuses
from harmonygw.errors import TransportError
from harmonygw.net.association.destination import Move, MoveDestination
from harmonygw.net.association.receiving import Refusal
from harmonygw.net.ports import Ports
from tests.interop.held import CT, EXPLICIT, IMPLICIT, VERIFICATION


def refuse(*_: object) -> Refusal:
    return Refusal(statuses.NOT_AUTHORIZED, "")


class Incoming:
    """An incoming store and moves that come to it."""

    def __init__(self, *, persistent: bool, port: int = 0) -> None:
        self.destination = MoveDestination("HARMONYGW", reactor, on_unclaimed=lambda _: None)  # type: ignore[arg-type]
        options = DicomSCUOptions(incoming_store_port=port, persistent_store_scp=persistent)
        self.store = IncomingStore(options, self.destination, lambda peer, report: 0, reactor)

    def move(self) -> Move:
        return self.destination.expect("1.2", refuse, grace=1)


@pytest.mark.parametrize(("port", "shared"), [(11112, True), (11113, False), (0, False)])
def test_a_port_is_shared_when_an_endpoint_has_it(port: int, shared: bool) -> None:
    addresses = [SimpleNamespace(port=0), SimpleNamespace(port=11112)]
    configuration: Any = SimpleNamespace(endpoints={"scp": SimpleNamespace(addresses=addresses)})
    assert is_shared(port, configuration) is shared


def test_every_storage_class_is_accepted_in_the_archives_order_of_syntaxes() -> None:
    accepted = acceptance(DicomSCUOptions(local_aet="GATEWAY", max_pdu=32768))
    assert (accepted.ae_title, accepted.max_pdu_length) == ("GATEWAY", 32768)
    assert {EXPLICIT, IMPLICIT, "1.2.840.10008.1.2.4.50"} <= set(accepted.supported[CT].transfer_syntaxes)
    assert CT in accepted.ranked_by_requestor
    assert VERIFICATION in accepted.supported
    assert VERIFICATION not in accepted.ranked_by_requestor


@ensureDeferred
async def test_a_persistent_store_listens_from_start_to_stop() -> None:
    incoming = Incoming(persistent=True)
    incoming.store.start()
    port = incoming.store.port
    move = incoming.move()
    await incoming.store.move_begins(move)
    move.cancel(TransportError("lost"))
    assert incoming.store.port == port is not None
    await incoming.store.stop()
    assert incoming.store.port is None


@ensureDeferred
async def test_any_other_listens_from_the_first_move_to_the_last() -> None:
    incoming = Incoming(persistent=False)
    incoming.store.start()
    assert incoming.store.port is None
    first, second = incoming.move(), incoming.move()
    await incoming.store.move_begins(first)
    await incoming.store.move_begins(second)
    first.instances.fail(TransportError("lost"))
    assert incoming.store.port is not None
    second.instances.end()
    assert incoming.store.port is None
    third = incoming.move()
    await incoming.store.move_begins(third)
    assert incoming.store.port is not None
    third.instances.end()
    await incoming.store.stop()


@ensureDeferred
async def test_a_port_that_is_taken_fails_the_move() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        incoming = Incoming(persistent=False, port=other.getsockname()[1])
        move = incoming.move()
        with pytest.raises(TransportError, match="incoming_store_port"):
            await incoming.store.move_begins(move)
        move.cancel(TransportError("lost"))
    await incoming.store.stop()


@ensureDeferred
async def test_draining_closes_the_port_and_waits_for_nobody_who_is_not_there() -> None:
    incoming = Incoming(persistent=True)
    incoming.store.start()
    await incoming.store.drain()
    assert incoming.store.port is None
    await incoming.store.stop()


@ensureDeferred
async def test_two_stores_of_one_port_have_it_in_turn() -> None:
    ports, options = Ports(reactor), DicomSCUOptions(incoming_store_port=0)
    destination = MoveDestination("HARMONYGW", reactor, on_unclaimed=lambda _: None)  # type: ignore[arg-type]
    stores = [
        IncomingStore(options, destination, lambda peer, report: 0, reactor, ports=ports, place="backends.pacs")
        for _ in range(2)
    ]
    for store in stores:
        store.start()
    assert stores[0].port == stores[1].port
    assert len(ports) == 1
    await stores[0].stop()
    assert len(ports) == 1
    await stores[1].stop()
    assert len(ports) == 0
