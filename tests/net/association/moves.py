"""What the tests in `test_destination.py` and beside it share: C-MOVEs to ourselves, and a PACS that delivers."""

from typing import Any

from twisted.internet.address import IPv4Address

from harmonygw.dicom.dimse.commands import CMoveRSP, CStoreRSP, encode_command
from harmonygw.dicom.dimse.commitment import Report
from harmonygw.dicom.upperlayer.negotiation import ProposedContext, SupportedContext
from harmonygw.net.association.destination import MessageIDs, Move, MoveDestination, MoveStorageSCP, Unclaimed
from harmonygw.net.association.listener import Acceptance, AssociationFactory
from harmonygw.net.association.receiving import Admission
from harmonygw.net.association.requestor import VERIFICATION
from harmonygw.streams import Instance
from tests.net.association.peers import CT, EXPLICIT, IMPLICIT, MOVE, SILENCE, Network, ct, store_rq
from tests.net.association.scripted_peer import ScriptedPeer

GRACE = 5.0
SUPPORTED = {CT: SupportedContext((EXPLICIT,)), VERIFICATION: SupportedContext((IMPLICIT,))}


class Sender(ScriptedPeer):
    """The PACS as requestor: it delivers objects."""

    def store(self, sop: str, data: bytes | None = None, **more: Any) -> int:
        """Send an object; return the status of the response."""
        [response] = self.send(store_rq(sop, **more), ct(sop) if data is None else data, context_id=1)
        assert isinstance(response.command, CStoreRSP)
        assert response.command.affected_sop_instance_uid == sop
        return response.command.status

    def begin(self, sop: str, data: bytes, **more: Any) -> None:
        """Begin to send an object."""
        self.put(1, encode_command(store_rq(sop, **more)), is_command=True)
        self.put(1, data, is_last=False)
        self.pump()

    def go_on(self, data: bytes, *, is_last: bool = True) -> None:
        self.put(1, data, is_last=is_last)
        self.pump()


class Destination:
    """Our store SCP, and C-MOVEs that have been asked of a PACS."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.unclaimed: list[Unclaimed] = []
        self.destination = MoveDestination(
            "GATEWAY", network.clock, on_unclaimed=self.unclaimed.append, message_ids=MessageIDs()
        )
        self.factory = AssociationFactory(
            Acceptance("GATEWAY", SUPPORTED, silence_timeout=SILENCE, idle_timeout=10_000.0),
            lambda factory, peer: MoveStorageSCP(
                factory, peer, self.destination, self.take_report, lambda: self.others
            ),
            network.clock,
        )
        self.others: list[MoveDestination] = []
        self.senders: list[Sender] = []
        self.reports: list[tuple[str, Report]] = []
        self.controls: dict[Move, Any] = {}

    def take_report(self, calling_ae_title: str, report: Report) -> int:
        self.reports.append((calling_ae_title, report))
        return 0x0000

    def sender(self) -> Sender:
        """Open an association that delivers."""
        protocol = self.factory.buildProtocol(IPv4Address("TCP", "10.0.0.9", 11112))
        assert protocol is not None
        sender = Sender(protocol, self.network.clock)
        assert sender.associate(
            ProposedContext(1, CT, (EXPLICIT,)), ProposedContext(3, VERIFICATION, (IMPLICIT,)), calling="ARCHIVE"
        )
        self.senders.append(sender)
        return sender

    def move(self, study: str = "1.2", decide: Any = None) -> Move:
        """Ask for a study."""
        move = self.destination.expect(
            study, decide or (lambda command, instance: Admission(move.instances)), grace=GRACE
        )
        association, peer = self.network.associate()
        move.begun(association.move(MOVE, {}, destination="GATEWAY", message_id=move.message_id, on_final=move.final))
        self.controls[move] = association, peer
        peer.take()
        return move

    def final(self, move: Move, status: int = 0x0000, **counts: Any) -> None:
        """Let the PACS say that a move is over."""
        self.controls[move][1].send(CMoveRSP(move.message_id, MOVE, status, **counts), context_id=7)

    def close(self) -> None:
        for sender in self.senders:
            sender.disconnect()


def uids(instances: list[Instance]) -> list[str]:
    return [one.sop_instance_uid for one in instances]


def of(move: Move, **more: Any) -> dict[str, Any]:
    return {"move_originator_ae_title": "GATEWAY", "move_originator_message_id": move.message_id, **more}
