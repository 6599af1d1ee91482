"""The SCP's side: listening for associations, deciding which are let in (PS3.8 §7.1.1), and their end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from harmonygw.alerts import Alert, alert
from harmonygw.dicom.upperlayer.negotiation import (
    ACCEPTANCE,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    SupportedContext,
    negotiate,
)
from harmonygw.dicom.upperlayer.provider import UpperLayer
from harmonygw.errors import Busy, PeerError, TimedOut
from harmonygw.net.association.protocol import AssociationProtocol, AssociationUser
from harmonygw.net.association.rejections import describe_rejection

log = Logger()

BACKLOG = 511
"""Connections that may wait to be accepted: Twisted's 50 overflows when a modality sends a study on many at once."""

MAX_PENDING = 64
"""Connections beyond `max_associations` that may be there to request an association, to read why they are
rejected, or to close: further ones are closed without a word, so that nobody exhausts the descriptors."""

MAX_PENDING_PER_ADDRESS = 16
"""Those of them that one address may have, beyond its `max_associations_per_address`: nobody alone keeps others out."""

DRAIN_IDLE = 1.0
"""Seconds that an unused association is left to its peer while the gateway drains: time for the next C-STORE-RQ of a
study, or for the A-RELEASE-RQ."""

LOCAL_LIMIT_EXCEEDED = AssociateRJ(result=2, source=3, reason=2)
CALLED_AE_TITLE_NOT_RECOGNIZED = AssociateRJ(result=1, source=1, reason=7)
CALLING_AE_TITLE_NOT_RECOGNIZED = AssociateRJ(result=1, source=1, reason=3)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a listener accepts."""

    ae_title: str
    """Ours, for the log; whether the called AE title must be that is up to `refuse`."""
    supported: Mapping[str, SupportedContext]
    """Abstract syntax to transfer syntaxes, in our order of preference, and roles."""
    ranked_by_requestor: frozenset[str] = frozenset()
    """Abstract syntaxes for which the order of each proposed context decides instead of ours."""
    max_pdu_length: int = 65_536
    association_timeout: float = 30.0
    """Seconds that a connection has to request an association (ARTIM, PS3.8 §9.1.5)."""
    silence_timeout: float = 60.0
    """Seconds without a PDU while one is due."""
    idle_timeout: float = 300.0
    """Seconds without a PDU on an association that nobody uses: a place is not for keeping."""
    max_associations: int = 50
    """Associations open at once; further ones are rejected for now (local limit exceeded)."""
    max_associations_per_address: int = 50
    """Those of them that one address may have, likewise."""
    max_object_bytes: int = 0
    """Bytes of the data set of an instance that is taken; 0 for any number."""
    extended_negotiation: Mapping[str, bytes] = field(default_factory=dict)
    """SOP class to the application information that we offer at most, byte for byte."""
    refuse: Callable[[AssociateRQ, str], AssociateRJ | None] = lambda rq, peer: None
    """Decides by AE titles and the peer's address; None lets it in."""


class AssociationFactory(Factory):
    """Builds an acceptor's protocol for each connection; `make_user` makes the protocol's user."""

    noisy = False

    def __init__(
        self,
        acceptance: Acceptance,
        make_user: Callable[["AssociationFactory", str], "Acceptor"],
        clock: IReactorTime,
    ) -> None:
        self.acceptance = acceptance
        self._make_user = make_user
        self._drained: list[Deferred[None]] = []
        self.clock = clock
        self.open: set[Acceptor] = set()
        """The connections that are open, with an association or without."""
        self.associations: set[Acceptor] = set()
        """Those whose association was accepted, and neither released nor aborted since."""
        self.draining = False

    def buildProtocol(self, addr: IAddress | None) -> AssociationProtocol | None:
        """Make the protocol of one connection; None closes it at once."""
        acceptance = self.acceptance
        peer = getattr(addr, "host", "")
        most, most_of_one = acceptance.max_associations, acceptance.max_associations_per_address
        if self.draining or len(self.open) >= most + MAX_PENDING:
            log.warn("closed a connection from {peer}: too many are open (MAX_PENDING)", peer=peer)
            return None
        if _of(peer, self.open) >= most_of_one + MAX_PENDING_PER_ADDRESS:
            log.warn("closed a connection from {peer}: it has too many (MAX_PENDING_PER_ADDRESS)", peer=peer)
            return None
        user = self._make_user(self, peer)
        upper_layer = UpperLayer(
            requestor=False,
            max_pdu_length=acceptance.max_pdu_length,
            artim_timeout=acceptance.association_timeout,
        )
        user.protocol = AssociationProtocol(upper_layer, user, self.clock, silence_timeout=acceptance.silence_timeout)
        self.open.add(user)
        return user.protocol

    def refusal(self, request: AssociateRQ, peer: str) -> AssociateRJ | None:
        """Return why an association is not let in, None when it is."""
        acceptance = self.acceptance
        if self.draining or len(self.associations) >= acceptance.max_associations:
            return LOCAL_LIMIT_EXCEEDED
        if _of(peer, self.associations) >= acceptance.max_associations_per_address:
            return LOCAL_LIMIT_EXCEEDED
        return acceptance.refuse(request, peer)

    def remove(self, user: "Acceptor") -> None:
        """Forget a connection that is gone."""
        self.open.discard(user)
        if not self.open:
            watchers, self._drained = self._drained, []
            for watcher in watchers:
                watcher.callback(None)

    def drain(self) -> "Deferred[None]":
        """Let every association in no more, and those that are there end; fire when the last connection is closed.

        The peers end them by A-RELEASE; one that stays unused for `DRAIN_IDLE` is aborted.
        """
        self.draining = True
        if not self.open:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        for user in tuple(self.open):
            user.hurry()
        return drained

    def emptied(self) -> "Deferred[None]":
        """Fire when the last connection is closed, whenever that is: nobody is hurried, and nobody refused."""
        if not self.open:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        return drained

    def stop(self) -> None:
        """Abort what is open."""
        self.draining = True
        for user in tuple(self.open):
            user.abort()


class Acceptor(AssociationUser):
    """One association that a peer requested of us; subclasses serve what comes on it."""

    protocol: AssociationProtocol

    def __init__(self, factory: AssociationFactory, peer: str) -> None:
        self._factory = factory
        self._idle_timeout = factory.acceptance.idle_timeout
        self._idle_check: IDelayedCall | None = None
        self._last_use = 0.0
        self.peer = peer
        """The peer's IP address."""
        self.calling_ae_title = ""
        self.called_ae_title = ""

    @property
    def in_use(self) -> bool:
        """Whether something is under way, so that the peer's silence means nothing."""
        return False

    def used(self) -> None:
        """Take note that something has ended just now."""
        self._last_use = self._factory.clock.seconds()

    def associate_indication(self, request: AssociateRQ) -> None:
        """Let the association in, or reject it."""
        factory = self._factory
        acceptance = factory.acceptance
        self.calling_ae_title = request.calling_ae_title
        self.called_ae_title = request.called_ae_title
        refusal = factory.refusal(request, self.peer)
        if refusal is not None:
            self._tell_rejection(request, refusal)
            self.protocol.reject(refusal)
            return
        results, roles = _negotiate(request, acceptance)
        answered = {one.context_id for one in results if one.result == ACCEPTANCE}
        accepted = {one.abstract_syntax for one in request.contexts if one.context_id in answered}
        factory.associations.add(self)
        self._check_idle_in(self._idle_timeout)
        self.protocol.accept(
            AssociateAC(
                request.called_ae_title,
                request.calling_ae_title,
                results,
                max_pdu_length=acceptance.max_pdu_length,
                role_selections=roles,
                extended_negotiation={
                    uid: _lesser(wanted, acceptance.extended_negotiation[uid])
                    for uid, wanted in request.extended_negotiation.items()
                    if uid in accepted and uid in acceptance.extended_negotiation
                },
            )
        )

    def _tell_rejection(self, request: AssociateRQ, refusal: AssociateRJ) -> None:
        sentence = (
            f"{self._factory.acceptance.ae_title}: from {request.calling_ae_title} at {self.peer} for "
            f"{request.called_ae_title}, {describe_rejection(refusal)}"
        )
        if refusal == LOCAL_LIMIT_EXCEEDED:
            log.warn("{sentence}", sentence=sentence)
        else:
            alert(Alert("association_rejected", sentence, self.peer))

    def established(self) -> None:
        """Take note."""

    def read_ended(self) -> None:
        """Take note."""

    def release_indication(self) -> None:
        """Take note."""

    def hurry(self) -> None:
        """End it soon: by the peer, or when it is not used for `DRAIN_IDLE`."""
        self._idle_timeout = DRAIN_IDLE
        if self._idle_check is not None:
            self._idle_check.cancel()
        self.used()
        self._check_idle_in(DRAIN_IDLE)

    def abort(self) -> None:
        """End it at once."""
        self.protocol.abort(Busy("the gateway is stopping"))

    def closed(self, reason: object) -> None:
        """Give the association's place back, and tell what the peer did when that has ended it."""
        if isinstance(reason, PeerError | TimedOut):
            whom = f"{self.calling_ae_title or 'somebody'} at {self.peer}"
            why = f"{reason} ({reason.log_detail})" if reason.log_detail else str(reason)
            sentence = f"{self._factory.acceptance.ae_title}: an association with {whom} is aborted: {why}"
            if isinstance(reason, PeerError):
                alert(Alert("hostile_bytes", sentence, self.peer))
            else:
                log.info("{sentence}", sentence=sentence)
        if self._idle_check is not None:
            self._idle_check.cancel()
            self._idle_check = None
        self._factory.associations.discard(self)

    def disconnected(self) -> None:
        """Give the connection's place back."""
        self._factory.remove(self)

    def _check_idle_in(self, seconds: float) -> None:
        self._idle_check = self._factory.clock.callLater(seconds, self._check_idle)

    def _check_idle(self) -> None:
        self._idle_check = None
        left = self._idle_timeout
        associated = self in self._factory.associations
        if not (associated and self.in_use) and not self.protocol.valve.held:
            since = max(self._last_use, self.protocol.last_heard)
            left -= self._factory.clock.seconds() - since
        if left > 0:
            self._check_idle_in(left)
        else:
            self.protocol.abort(TimedOut(f"nothing was asked on the association for {self._idle_timeout:g} s"))


def _of(peer: str, users: "set[Acceptor]") -> int:
    """Return how many connections one address has."""
    return sum(user.peer == peer for user in users)


def _negotiate(
    request: AssociateRQ, acceptance: Acceptance
) -> tuple[tuple[ContextResult, ...], dict[str, tuple[bool, bool]]]:
    """Answer each proposed context, by our order of transfer syntaxes or by the requestor's."""
    results: list[ContextResult] = []
    roles: dict[str, tuple[bool, bool]] = {}
    for context in request.contexts:
        uid = context.abstract_syntax
        supported = acceptance.supported.get(uid)
        if supported is not None and uid in acceptance.ranked_by_requestor:
            known = [one for one in context.transfer_syntaxes if one in supported.transfer_syntaxes]
            supported = replace(supported, transfer_syntaxes=tuple(known))
        answers, selected = negotiate(
            replace(request, contexts=(context,)), {} if supported is None else {uid: supported}
        )
        results += answers
        roles |= selected
    return tuple(results), roles


def _lesser(wanted: bytes, offered: bytes) -> bytes:
    """Return what both sides want of a SOP class's application information, byte for byte (PS3.4 §C.5.1.1)."""
    return bytes(map(min, wanted, offered))
