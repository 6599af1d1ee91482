"""Options of the endpoint services: where exchanges begin."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from harmonygw.config.constraints import (
    AETitle,
    Alias,
    BaseURL,
    Count,
    CountOrNone,
    HTTPMethod,
    IdentifierBytes,
    ListeningPort,
    MaxPDU,
    Name,
    PathPrefix,
    Port,
    Seconds,
    TLSProfile,
)
from harmonygw.config.system import no_table
from harmonygw.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class DICOMwebEndpointOptions:
    """Service `dicomweb`: the resources of PS3.18."""

    path_prefix: PathPrefix = "/dicom"
    """The path that its resources stand below."""
    public_url: BaseURL | None = None
    """The absolute URL of `path_prefix` as clients see it, for the links in answers. Unless given, made of
    the request's own host, or of what a trusted proxy forwards of it (`Forwarded`, `X-Forwarded-*`)."""


@dataclass(frozen=True, slots=True)
class HTTPEndpointOptions:
    """Service `http`: any request below a path. Before a `dicom_scu` backend, and without `dicomweb_bridge`, it takes
    DIMSE services as JSON: `/echo`, `/find`, `/get`, `/move`, `/store`."""

    path_prefix: PathPrefix = ""
    """The path that it takes requests below; `/` for all."""
    method: HTTPMethod | None = None
    """The one method it takes. Unless given, any."""


@dataclass(frozen=True, slots=True)
class EchoEndpointOptions:
    """Service `echo`: answers with what it was sent, by itself; a backend of its pipeline is not asked."""

    path_prefix: PathPrefix = "/echo"
    """The path that it takes requests below."""


@dataclass(frozen=True, slots=True)
class ManagementEndpointOptions:
    """Service `management`: the management API as an endpoint of a pipeline, behind its middleware."""

    path_prefix: PathPrefix = "/admin"
    """The path that it stands below."""


@dataclass(frozen=True, slots=True)
class ViewerEndpointOptions:
    """Service `viewer`: the files of a viewer in the browser, OHIF, with the settings that lead it to the DICOMweb
    service beside it. Its pipeline needs no backend."""

    path_prefix: PathPrefix = "/viewer"
    """The path that the viewer stands below."""
    root: Name = "./var/viewer"
    """The folder of its files: what `@ohif/app` calls `dist`."""
    dicomweb_prefix: PathPrefix = "/dicom"
    """The `path_prefix` of the DICOMweb endpoint, on the same host and port."""
    public_url: BaseURL | None = None
    """The absolute URL of `path_prefix` as browsers see it, when a proxy changes the path."""


@dataclass(frozen=True, slots=True)
class AETableEntry:
    """A known application entity, by the AE title that is its table's name."""

    host: Name
    """Host name or address: where C-MOVE sends to."""
    port: Port
    """TCP port: where C-MOVE sends to."""
    ae_title: AETitle | None = None
    """Its AE title. Unless given, the table's name."""
    use_tls: bool = False
    """Whether C-MOVE speaks TLS with it (PS3.15 §B.12)."""
    tls_profile: TLSProfile = "bcp195"
    """BCP 195 (PS3.15 §B.12), or its stricter modification (§B.13)."""
    tls_check_hostname: bool = True
    """Whether its certificate has to be for its host. Without, any that its authorities have signed will do."""
    ca_cert_path: str = ""
    """The authorities, PEM, of which one must have signed its certificate; empty for those of the system. Relative to
    the working directory."""
    cert_path: str = ""
    """The certificate chain, PEM, that it is shown when it asks, with `key_path`. Unless given, the endpoint's own, if
    there is one. Relative to the working directory."""
    key_path: str = ""
    """The private key, PEM, not encrypted; relative to the working directory."""

    def __post_init__(self) -> None:
        if bool(self.cert_path) != bool(self.key_path):
            given, missing = ("cert_path", "key_path") if self.cert_path else ("key_path", "cert_path")
            raise ConfigurationError((f'"{given}" needs "{missing}"',))
        if not self.use_tls:
            for key in ("cert_path", "ca_cert_path"):
                if getattr(self, key):
                    raise ConfigurationError((f'"{key}" needs "use_tls" to be true',))


@dataclass(frozen=True, slots=True)
class DicomSCPOptions:
    """Service `dicom_scp`: takes associations. Its address: `bind_addr` and `port`, then `connection`, then
    the peer, then the network's when no HTTP endpoint uses it, then port 11112."""

    local_aet: Annotated[AETitle, Alias("aet")] = "HARMONYGW"
    """Our AE title."""
    port: ListeningPort | None = None
    """The TCP port to listen on; 0 lets the system choose one. Unless given, as above."""
    bind_addr: str = ""
    """The address to listen on. Unless given, as above."""
    cert_path: str = ""
    """The certificate chain, PEM, our own first; with `key_path` it turns TLS on (PS3.15 §B.12). Relative to the
    working directory."""
    key_path: str = ""
    """Its private key, PEM, not encrypted; relative to the working directory."""
    client_ca_path: str = ""
    """The authorities, PEM, of which one must have signed the peer's certificate; empty for peers without. Relative
    to the working directory."""
    tls_profile: TLSProfile = "bcp195"
    """BCP 195 (PS3.15 §B.12: TLS 1.2, and 1.3 where the peer has it), or its stricter modification (§B.13)."""
    enable_echo: bool = True
    """Whether C-ECHO is answered."""
    enable_find: bool = False
    """Whether C-FIND is answered."""
    enable_worklist: bool = False
    """Whether C-FIND of the modality worklist is answered."""
    enable_move: bool = False
    """Whether C-MOVE is answered."""
    enable_get: bool = False
    """Whether C-GET is answered."""
    enable_store: bool = False
    """Whether C-STORE is answered."""
    storage_dir: str = ""
    """Accepted, without effect: instances stream to the backend."""
    max_pdu: MaxPDU = 65536
    """Bytes of the longest P-DATA-TF PDU that we take (PS3.8 §D.1)."""
    aet_table: Mapping[str, AETableEntry] = field(default_factory=no_table)
    """`aet_table.<AE title> = { ae_title, host, port }`: the destinations of C-MOVE; and the calling AE
    titles that are let in when `require_known_aet = true`. Without any, a C-MOVE is passed on, and a `dicom_scu`
    backend's archive sends to the destinations that it knows."""
    require_known_aet: bool = False
    """Whether a calling AE title must be in `aet_table`; others are rejected."""
    require_called_aet: bool = False
    """Whether the called AE title must be `local_aet`; others are rejected."""
    max_associations: Count = 50
    """Associations at a time; further ones are rejected as transient, local limit exceeded (PS3.8 §9.3.4)."""
    max_associations_per_address: Count = 25
    """Those of them that one address may have, so that nobody alone takes all places; rejected likewise. Raise it where
    many peers come through one address."""
    association_timeout_secs: Seconds = 30.0
    """Seconds that a connection has to request an association, and in which it must close (ARTIM, PS3.8 §9.1.5)."""
    silence_timeout_secs: Seconds = 60.0
    """Seconds without progress, a message or 1 KiB of one, while a peer sends, and that it has to take what it is sent;
    then A-ABORT."""
    idle_association_secs: Seconds = 300.0
    """Seconds that an unused association is kept open; then A-ABORT."""
    max_identifier_bytes: IdentifierBytes = 1_048_576
    """Bytes of the identifier of a C-FIND, C-GET or C-MOVE, which is held in memory; more is A-ABORT. A query has some
    hundred, a C-MOVE of 10,000 instances by UID 650,000."""
    max_object_bytes: CountOrNone = 0
    """Bytes of the data set of an instance that is stored; a longer one is refused with A700H. 0 for any number:
    instances stream, and cost no memory by their length."""

    def __post_init__(self) -> None:
        if bool(self.cert_path) != bool(self.key_path):
            given, missing = ("cert_path", "key_path") if self.cert_path else ("key_path", "cert_path")
            raise ConfigurationError((f'"{given}" needs "{missing}"',))
        if self.client_ca_path and not self.cert_path:
            raise ConfigurationError(('"client_ca_path" needs TLS: "cert_path" and "key_path"',))
