"""What the tests in `test_pool.py` and beside it share."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError

from harmonygw.dicom.upperlayer.negotiation import AssociateRQ, ProposedContext
from harmonygw.errors import Busy
from harmonygw.net.association.pool import (
    AssociationPool,
    PoolLimits,
)
from harmonygw.net.association.requestor import VERIFICATION, Association
from tests.net.association.peers import (
    CT,
    IMPLICIT,
    PACS,
    RELEASE_RP,
    RELEASE_RQ,
    RQ,
    Network,
    failure,
    spawn,
)

ECHO_RQ = AssociateRQ("ARCHIVE", "GATEWAY", (ProposedContext(1, VERIFICATION, (IMPLICIT,)),))
OTHER_RQ = AssociateRQ("ARCHIVE", "GATEWAY", (ProposedContext(1, CT, (IMPLICIT,)),))
REFUSED = ConnectionRefusedError()


class Target:
    """A pool in front of the network's endpoint. It checks the quota after every step."""

    def __init__(self, network: Network, **limits: Any) -> None:
        self.network = network
        self.limits = PoolLimits(**limits)
        self.pool = AssociationPool(self.open, network.clock, self.limits, echo_rq=ECHO_RQ)

    async def open(self, rq: AssociateRQ) -> Association:
        self.check()
        association = self.network.association()
        await association.request(self.network.endpoint, rq)
        return association

    def check(self) -> None:
        alive = sum(peer.accepted and not peer.gone for peer in self.peers)
        assert alive <= self.pool.places <= self.limits.max_associations

    def acquire(self, rq: AssociateRQ = RQ, *, client: str = "A", light: bool = False, **more: Any) -> Any:
        acquired = spawn(self.pool.acquire(rq, client=client, light=light, **more))
        self.check()
        return acquired

    def give_back(self, *associations: Association) -> None:
        for association in associations:
            self.pool.give_back(association)
            self.check()

    @property
    def peers(self) -> list[PACS]:
        return self.network.endpoint.peers

    def leave(self, *peers: PACS) -> None:
        """Let peers agree to the release that was asked of them, and close."""
        for peer in peers:
            assert peer.new == RELEASE_RQ
            peer.raw(RELEASE_RP)
            self.check()
            peer.disconnect()
            self.check()

    def end(self) -> None:
        """End everything; nothing may be left."""
        self.pool.abort()
        for peer in self.peers:
            peer.disconnect()
        assert self.pool.places == 0
        assert self.network.clock.getDelayedCalls() == []


def busy(deferred: "Deferred[Any]") -> Busy:
    error = failure(deferred)
    assert isinstance(error, Busy)
    return error
