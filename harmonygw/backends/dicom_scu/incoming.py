"""The port on which the sub-operations of our C-MOVEs come in, and reports of storage commitment."""

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError

from harmonygw.backends.dicom_scu import contexts
from harmonygw.config.backend_options import DicomSCUOptions
from harmonygw.config.model import Configuration
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from harmonygw.dicom.dimse.commitment import STORAGE_COMMITMENT
from harmonygw.dicom.dimse.storage_classes import STORAGE_CLASSES
from harmonygw.dicom.upperlayer.negotiation import SupportedContext
from harmonygw.errors import TransportError
from harmonygw.net.association.destination import Move, MoveDestination, MoveStorageSCP
from harmonygw.net.association.event_reports import TakeReport
from harmonygw.net.association.listener import BACKLOG, Acceptance, AssociationFactory
from harmonygw.net.association.requestor import VERIFICATION
from harmonygw.net.ports import Ports, Upcoming
from harmonygw.net.tls import ServerCertificates


def is_shared(port: int, configuration: Configuration) -> bool:
    """Whether an endpoint of ours listens on that port, and receives for us."""
    addresses = (address for endpoint in configuration.endpoints.values() for address in endpoint.addresses)
    return port != 0 and any(address.port == port for address in addresses)


def acceptance(options: DicomSCUOptions) -> Acceptance:
    """Return what is accepted there: every storage SOP class, C-ECHO, and reports of storage commitment.

    The archive's own order of transfer syntaxes decides: what it proposes first is mostly what it holds.
    """
    syntaxes = (*contexts.NATIVE, *contexts.LOSSLESS, *contexts.LOSSY, *contexts.VIDEO)
    supported = {uid: SupportedContext(syntaxes) for uid in STORAGE_CLASSES}
    supported[VERIFICATION] = SupportedContext((IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))
    # The archive is the SCP there too, and has to say so by role selection (PS3.7 §D.3.3.4).
    supported[STORAGE_COMMITMENT] = SupportedContext(
        (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN), scp=False, scu=True
    )
    return Acceptance(
        ae_title=options.local_aet,
        supported=supported,
        ranked_by_requestor=frozenset(STORAGE_CLASSES),
        max_pdu_length=options.max_pdu,
        association_timeout=options.association_timeout_secs,
        silence_timeout=options.silence_timeout_secs,
        max_object_bytes=options.max_object_bytes,
    )


class IncomingStore:
    """A store SCP on all interfaces, for as long as the gateway runs, or while moves are under way."""

    def __init__(
        self,
        options: DicomSCUOptions,
        destination: MoveDestination,
        take_report: TakeReport,
        reactor: Any,
        *,
        tls: ServerCertificates | None = None,
        ports: Ports | Upcoming | None = None,
        place: str = "",
        others: Callable[[], Iterable[MoveDestination]] = tuple,
    ) -> None:
        self._factory = AssociationFactory(
            acceptance(options),
            lambda factory, peer: MoveStorageSCP(factory, peer, destination, take_report, others),
            reactor,
        )
        self._ports = Ports(reactor) if ports is None else ports
        self._place = place
        self._tls = tls
        self._wanted_port = options.incoming_store_port or 0
        self._persistent = options.persistent_store_scp
        self._moves = 0
        self._listening: Any = None
        self._closing: Deferred[None] | None = None

    @property
    def port(self) -> int | None:
        """The TCP port that is listened on, None when none is."""
        return None if self._listening is None else int(self._listening.getHost().port)

    def start(self) -> None:
        """Listen, when that is for good; raises `CannotListenError`."""
        if self._persistent:
            self._listen()

    async def move_begins(self, move: Move) -> None:
        """Listen until the move ends, at least; raises `TransportError` when the port cannot be had."""
        self._moves += 1
        move.instances.when_done().addBoth(lambda _: self._move_ended())
        if self._closing is not None:
            await self._closing
        try:
            self._listen()
        except CannotListenError as error:
            raise TransportError(
                "the instances of a C-MOVE cannot come in (incoming_store_port)", log_detail=str(error)
            ) from error

    async def drain(self) -> None:
        """Listen no more; returns when the associations that are here have ended, of which none stays unused."""
        self._close()
        await self._factory.drain()

    async def stop(self) -> None:
        """Listen no more, and abort what is open."""
        self._close()
        self._factory.stop()
        if self._closing is not None:
            await self._closing

    def _move_ended(self) -> None:
        self._moves -= 1
        if not self._persistent and not self._moves:
            self._close()

    def _listen(self) -> None:
        if self._listening is None:
            self._listening = self._ports.listen(
                self._wanted_port, self._factory, backlog=BACKLOG, tls=self._tls, place=self._place
            )

    def _close(self) -> None:
        if self._listening is not None:
            listening, self._listening = self._listening, None
            self._closing = maybeDeferred(listening.stopListening)
