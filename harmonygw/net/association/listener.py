"""The SCP's side: listening for associations, and deciding which are let in (PS3.8 §7.1.1)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory

from harmonygw.dicom.upperlayer.negotiation import (
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    SupportedContext,
    negotiate,
)
from harmonygw.dicom.upperlayer.provider import UpperLayer
from harmonygw.errors import TransportError
from harmonygw.net.association.protocol import AssociationProtocol, AssociationUser

BACKLOG = 511
"""Connections that may wait to be accepted: Twisted's 50 overflows when a modality sends a study on many at once."""

LOCAL_LIMIT_EXCEEDED = AssociateRJ(result=2, source=3, reason=2)
CALLED_AE_TITLE_NOT_RECOGNIZED = AssociateRJ(result=1, source=1, reason=7)
CALLING_AE_TITLE_NOT_RECOGNIZED = AssociateRJ(result=1, source=1, reason=3)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a listener accepts."""

    ae_title: str
    supported: Mapping[str, SupportedContext]
    """Abstract syntax to transfer syntaxes, in our order of preference, and roles."""
    max_pdu_length: int = 65_536
    association_timeout: float = 30.0
    """Seconds that a connection has to request an association (ARTIM, PS3.8 §9.1.5)."""
    silence_timeout: float = 60.0
    """Seconds without a PDU while one is due."""
    idle_timeout: float = 300.0
    """Seconds without a PDU on an association that nobody uses: a place is not for keeping."""
    max_associations: int = 50
    """Associations open at once; further ones are rejected for now (local limit exceeded)."""
    extended_negotiation: Mapping[str, bytes] = field(default_factory=dict)
    """SOP class to the application information that we offer at most, byte for byte."""
    refuse: Callable[[AssociateRQ, str], AssociateRJ | None] = lambda rq, peer: None
    """Decides by AE titles and the peer's address; None lets it in."""


class AssociationFactory(Factory):
    """Builds an acceptor's protocol for each connection; `make_user` gets the protocol's user made."""

    noisy = False

    def __init__(
        self,
        acceptance: Acceptance,
        make_user: Callable[["AssociationFactory", str], "Acceptor"],
        clock: IReactorTime,
    ) -> None:
        self.acceptance = acceptance
        self._make_user = make_user
        self.clock = clock
        self.open: set[Acceptor] = set()
        """The associations and connections that are open."""

    def buildProtocol(self, addr: IAddress | None) -> AssociationProtocol:
        """Make the protocol of one connection."""
        acceptance = self.acceptance
        user = self._make_user(self, getattr(addr, "host", ""))
        upper_layer = UpperLayer(
            requestor=False,
            max_pdu_length=acceptance.max_pdu_length,
            artim_timeout=acceptance.association_timeout,
        )
        user.protocol = AssociationProtocol(
            upper_layer, user, self.clock, silence_timeout=acceptance.silence_timeout
        )
        self.open.add(user)
        return user.protocol

    def stop(self) -> None:
        """Abort what is open."""
        for user in list(self.open):
            user.abort()


class Acceptor(AssociationUser):
    """One association that a peer requested of us; subclasses serve what comes on it."""

    protocol: AssociationProtocol

    def __init__(self, factory: AssociationFactory, peer: str) -> None:
        self._factory = factory
        self.peer = peer
        """The peer's IP address."""
        self.calling_ae_title = ""
        self.called_ae_title = ""

    def associate_indication(self, request: AssociateRQ) -> None:
        """Let the association in, or reject it."""
        acceptance = self._factory.acceptance
        self.calling_ae_title = request.calling_ae_title
        self.called_ae_title = request.called_ae_title
        if len(self._factory.open) > acceptance.max_associations:
            refusal: AssociateRJ | None = LOCAL_LIMIT_EXCEEDED
        else:
            refusal = acceptance.refuse(request, self.peer)
        if refusal is not None:
            self.protocol.reject(refusal)
            return
        results, roles = negotiate(request, acceptance.supported)
        self.protocol.accept(
            AssociateAC(
                request.called_ae_title,
                request.calling_ae_title,
                results,
                max_pdu_length=acceptance.max_pdu_length,
                role_selections=roles,
                extended_negotiation=_lesser(request.extended_negotiation, acceptance.extended_negotiation),
            )
        )

    def established(self) -> None:
        """Take note."""

    def read_ended(self) -> None:
        """Take note."""

    def release_indication(self) -> None:
        """Take note."""

    def abort(self) -> None:
        """End it at once."""
        self.protocol.abort(TransportError("the gateway is stopping"))

    def closed(self, reason: object) -> None:
        """Take note that it is over."""
        self._factory.open.discard(self)


def _lesser(asked: Mapping[str, bytes], offered: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return what both sides want of each SOP class's application information, byte for byte (PS3.4 §C.5.1.1)."""
    return {
        uid: bytes(min(one, other) for one, other in zip(wanted, offered[uid], strict=False))
        for uid, wanted in asked.items()
        if uid in offered
    }
