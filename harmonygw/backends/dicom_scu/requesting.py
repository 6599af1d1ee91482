"""Requesting associations with the PACS: whom we call, who we say we are, and what we propose for queries."""

from functools import partial
from typing import Any

from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint

from harmonygw.backends.dicom_scu.information_models import InformationModel
from harmonygw.config.backend_options import DicomSCUOptions
from harmonygw.config.model import Backend
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from harmonygw.dicom.dimse.commitment import STORAGE_COMMITMENT
from harmonygw.dicom.upperlayer.negotiation import AssociateRQ, ProposedContext, UserIdentity
from harmonygw.errors import ConfigurationError, RejectedError
from harmonygw.net.association.operations import Timing
from harmonygw.net.association.requestor import MODALITY_WORKLIST_FIND, VERIFICATION, Association
from harmonygw.net.connecting import target_endpoint
from harmonygw.net.http.credentials import Credentials
from harmonygw.net.tls import ServerCertificates, client_options

USER_NAME = 1
USER_NAME_AND_PASSCODE = 2
"""User identity types (PS3.7 Table D.3-14)."""


class Requesting:
    """One PACS as the called application entity."""

    def __init__(self, settings: Backend, own: Credentials, reactor: Any) -> None:
        options: DicomSCUOptions = settings.options
        self._called_ae_title = settings.called_ae_title
        self._options = options
        self._reactor = reactor
        self._identity = _identity(options)
        self._queries: dict[tuple[tuple[InformationModel, ...], bool], AssociateRQ] = {}
        self._storage = self.verification_rq()
        self._timing = Timing(first_answer=settings.timeout_secs, cancel_grace=options.cancel_grace_secs)
        self._made = partial(_endpoint, settings, own, reactor)
        self._endpoint = self._made()
        self.default_character_set = tuple(options.default_character_set.split("\\"))

    def reload(self) -> None:
        """Read the certificates again, for associations from now on; raises `ConfigurationError`, and changes
        nothing then."""
        self._endpoint = self._made()

    def rq(self, *proposed: ProposedContext, extended: dict[str, bytes] | None = None) -> AssociateRQ:
        """Return a request with these presentation contexts and SOP class extended negotiation."""
        return AssociateRQ(
            called_ae_title=self._called_ae_title,
            calling_ae_title=self._options.local_aet,
            contexts=proposed,
            max_pdu_length=self._options.max_pdu,
            extended_negotiation=extended or {},
            user_identity=self._identity,
        )

    def verification_rq(self) -> AssociateRQ:
        """Return the request for a C-ECHO alone."""
        return self.rq(ProposedContext(1, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,)))

    def worklist_rq(self) -> AssociateRQ:
        """Return the request for queries of the modality worklist."""
        return self._service_rq(MODALITY_WORKLIST_FIND)

    def commitment_rq(self) -> AssociateRQ:
        """Return the request for storage commitment."""
        return self._service_rq(STORAGE_COMMITMENT)

    def _service_rq(self, sop_class_uid: str) -> AssociateRQ:
        syntaxes = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
        return self.rq(*(ProposedContext(2 * at + 1, sop_class_uid, (one,)) for at, one in enumerate(syntaxes)))

    def query_rq(self, models: tuple[InformationModel, ...], *, fuzzy: bool = False) -> AssociateRQ:
        """Return the request for queries in any of these information models, and for C-ECHO.

        It asks for relational queries, and for fuzzy matching when told so (PS3.4 §C.5.1.1). It is the same object each
        time: every Search needs it, to find an association that was negotiated with it.
        """
        known = self._queries.get((models, fuzzy))
        if known is None:
            known = self._queries[models, fuzzy] = self._query_rq(models, fuzzy)
        return known

    def storage_rq(self, proposed: tuple[ProposedContext, ...]) -> AssociateRQ:
        """Return the request for C-STOREs: the same object for as long as the same is proposed."""
        if self._storage.contexts != proposed:
            self._storage = self.rq(*proposed)
        return self._storage

    def _query_rq(self, models: tuple[InformationModel, ...], fuzzy: bool) -> AssociateRQ:
        pairs = [
            (model.find, syntax)
            for model in models
            for syntax in (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
        ]
        pairs.append((VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN))
        proposed = (ProposedContext(2 * index + 1, uid, (syntax,)) for index, (uid, syntax) in enumerate(pairs))
        wanted = b"\x01\x00\x01" if fuzzy else b"\x01"
        return self.rq(*proposed, extended=dict.fromkeys((model.find for model in models), wanted))

    async def open(self, rq: AssociateRQ) -> Association:
        """Request an association; raises what `Association.request` raises.

        Raises `RejectedError` too when the PACS was asked to confirm our identity, and did not.
        """
        options = self._options
        association = Association(
            clock=self._reactor,
            timing=self._timing,
            silence_timeout=options.silence_timeout_secs,
            association_timeout=options.association_timeout_secs,
            default_character_set=self.default_character_set,
            request_character_set=tuple(options.request_character_set.split("\\")),
            max_object_bytes=options.max_object_bytes,
        )
        try:
            await association.request(self._endpoint, rq)
        except RejectedError as error:
            raise RejectedError(
                f"{error.detail} (called {rq.called_ae_title}, calling {rq.calling_ae_title})",
                result=error.result,
                source=error.source,
                reason=error.reason,
            ) from error
        acceptance = association.protocol.acceptance
        unconfirmed = acceptance is None or acceptance.user_identity_response is None
        if self._identity is not None and self._identity.response_requested and unconfirmed:
            association.release()
            raise RejectedError("the archive did not confirm the user identity (user_identity.response_requested)")
        return association


def _identity(options: DicomSCUOptions) -> UserIdentity | None:
    identity = options.user_identity
    if identity is None:
        return None
    return UserIdentity(
        identity_type=USER_NAME_AND_PASSCODE if identity.passcode else USER_NAME,
        primary=identity.username.encode(),
        secondary=identity.passcode.encode(),
        response_requested=identity.response_requested,
    )


def _endpoint(settings: Backend, own: Credentials, reactor: Any) -> IStreamClientEndpoint:
    """Return where the PACS is; raises `ConfigurationError` for credentials that an association cannot show."""
    options: DicomSCUOptions = settings.options
    if own.fields:
        raise ConfigurationError(
            (f"backends.{settings.name}: an association shows a certificate (mutual_tls), or a user_identity",)
        )
    endpoint = target_endpoint(reactor, settings.host, settings.port, options.connect_timeout_secs)
    if not settings.use_tls:
        if own.cert_path:
            raise ConfigurationError((f"backends.{settings.name}: mutual_tls needs protocol dicoms, or use_tls",))
        return endpoint
    return wrapClientTLS(
        client_options(
            settings.host,
            settings.ca_cert_path,
            own.cert_path,
            own.key_path,
            profile=options.tls_profile,
            protocols=(),
            check_hostname=options.tls_check_hostname,
        ),
        endpoint,
    )


def incoming_tls(settings: Backend, own: Credentials) -> ServerCertificates:
    """Return the TLS of the port on which the PACS connects back to us; raises `ConfigurationError` without it."""
    options: DicomSCUOptions = settings.options
    if not own.cert_path:
        raise ConfigurationError(
            (f"backends.{settings.name}: incoming_store_port with TLS needs a certificate: method mutual_tls",)
        )
    paths = (own.cert_path, own.key_path, settings.ca_cert_path)
    return ServerCertificates(*paths, profile=options.tls_profile, protocols=())
