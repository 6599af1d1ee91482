"""The endpoint itself: its listening ports, and what they share."""

from functools import partial
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError

from harmonygw import journal
from harmonygw.config.endpoint_options import DicomSCPOptions
from harmonygw.config.model import ListeningAddress
from harmonygw.dicom.dimse.storage_classes import STORAGE_CLASSES
from harmonygw.endpoints.dicom_scp.association import ServedAssociation, Surroundings
from harmonygw.endpoints.dicom_scp.destinations import Destinations
from harmonygw.endpoints.dicom_scp.offer import extended_negotiation, gatekeeper, supported_contexts
from harmonygw.errors import ConfigurationError
from harmonygw.exchange import Reply, Request
from harmonygw.net.association.event_reports import shared_by
from harmonygw.net.association.listener import BACKLOG, Acceptance, AssociationFactory
from harmonygw.net.ports import Lease, Ports
from harmonygw.net.tls import ServerCertificates
from harmonygw.pipeline import EndpointContext


class DicomSCPEndpoint:
    """One application entity: associations in, operations into its pipeline, and what comes back as responses."""

    def __init__(self, context: EndpointContext) -> None:
        self._context = context
        self._options: DicomSCPOptions = context.settings.options
        self._tls = _certificates(self._options)
        self._reachable = Destinations(context.settings.name, self._options, context.reactor)
        self.certificates: list[Any] = [] if self._tls is None else [self._tls]
        """What is read again when certificates are; none without TLS."""
        if self._reachable.any_secured:
            self.certificates.append(self._reachable)
        self._ports: list[Lease] = []
        self._associations: AssociationFactory | None = None
        self.under_way = 0
        """Exchanges that have begun and not ended."""

    @property
    def addresses(self) -> tuple[ListeningAddress, ...]:
        """Where it listens, with the ports that the system chose."""
        hosts = [cast(IPv4Address, port.getHost()) for port in self._ports]
        return tuple(ListeningAddress(one.host, one.port) for one in hosts)

    def listen(self) -> None:
        """Bind the ports, once; raises `ConfigurationError` when one cannot be had."""
        if self._associations is not None:
            return
        context = self._context
        serve = partial(ServedAssociation, surroundings=self._surroundings())
        self._associations = AssociationFactory(self._acceptance(), serve, context.reactor)
        for number, address in enumerate(context.settings.addresses):
            try:
                port = self._listen_on(address, number)
            except CannotListenError as error:
                problem = f"endpoints.{context.settings.name}: cannot listen: {error}"
                raise ConfigurationError((problem,)) from error
            self._ports.append(port)

    def _listen_on(self, address: ListeningAddress, number: int) -> Lease:
        ports = self._context.ports
        if ports is None:
            ports = Ports(self._context.reactor)
        return ports.listen(
            address.port,
            self._associations,
            interface=address.host,
            backlog=BACKLOG,
            tls=self._tls,
            place=f"endpoints.{self._context.settings.name} {number}",
        )

    def start(self) -> None:
        """Take associations."""
        self.listen()

    async def retire(self) -> None:
        """Leave new associations to who listens now; returns when the last one that is here has ended by itself."""
        await self._stop_listening()
        if self._associations is not None:
            await self._associations.emptied()

    async def drain(self) -> None:
        """Take no more associations, and let those that are there end; returns when the last one has."""
        await self._stop_listening()
        if self._associations is not None:
            await self._associations.drain()

    async def stop(self) -> None:
        """Take no more associations, and abort those that are there."""
        await self._stop_listening()
        if self._associations is not None:
            self._associations.stop()

    async def _stop_listening(self) -> None:
        ports, self._ports = self._ports, []
        for port in ports:
            stopped: Deferred[object] = maybeDeferred(port.stopListening)
            await stopped

    def _acceptance(self) -> Acceptance:
        options = self._options
        destinations = list(self._context.destinations())
        takes_reports = bool(list(self._context.commitments()))
        relational = getattr(self._context.backend, "relational_queries", False) is True
        return Acceptance(
            ae_title=options.local_aet,
            supported=supported_contexts(options, receives_moves=bool(destinations), takes_reports=takes_reports),
            ranked_by_requestor=frozenset(STORAGE_CLASSES),
            max_pdu_length=options.max_pdu,
            association_timeout=options.association_timeout_secs,
            silence_timeout=options.silence_timeout_secs,
            idle_timeout=options.idle_association_secs,
            max_associations=options.max_associations,
            max_associations_per_address=options.max_associations_per_address,
            extended_negotiation=extended_negotiation(relational_queries=relational),
            refuse=gatekeeper(options, [one.ae_title for one in destinations]),
        )

    def _surroundings(self) -> Surroundings:
        context = self._context
        return Surroundings(
            self._options,
            context.proceed,
            context.around(_present),
            context.reactor,
            context.destinations,
            self._reachable,
            self._count,
            shared_by(context.commitments),
            context.ended or journal.write,
        )

    def _count(self, change: int) -> None:
        self.under_way += change


async def _present(request: Request) -> Reply:
    """Answer a C-ECHO that the middleware let pass: whether the archive behind is there is not what it asks."""
    return Reply()


def _certificates(options: DicomSCPOptions) -> ServerCertificates | None:
    if not options.cert_path:
        return None
    paths = (options.cert_path, options.key_path, options.client_ca_path)
    return ServerCertificates(*paths, profile=options.tls_profile, protocols=())
