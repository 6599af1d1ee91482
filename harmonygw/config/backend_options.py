"""Options of the backend services: where exchanges end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harmonygw.config.constraints import (
    AETitle,
    BaseURL,
    Count,
    CountOrNone,
    HTTPMethod,
    ListeningPort,
    MaxPDU,
    Name,
    Port,
    Seconds,
    TLSProfile,
)
from harmonygw.config.system import no_table
from harmonygw.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who we say we are when an association is negotiated (PS3.7 §D.3.3.7)."""

    username: Name
    """User name."""
    passcode: str = field(default="", repr=False)
    """Passcode; empty for the user name alone."""
    response_requested: bool = False
    """Whether the PACS must confirm it; without confirmation the association is then released."""


@dataclass(frozen=True, slots=True)
class DicomSCUOptions:
    """Service `dicom_scu` (also `dicom`, `dimse`): a PACS."""

    aet: AETitle | None = None
    """The called AE title. Unless given, the target's name, or `ANY-SCP`."""
    local_aet: AETitle = "HARMONYGW"
    """Our AE title, calling."""
    host: str = ""
    """Host name or address, before `connection` and the target."""
    port: Port | None = None
    """TCP port, before `connection` and the target. When nobody says, 104, or 2762 with TLS."""
    max_pdu: MaxPDU = 65536
    """Bytes of the longest P-DATA-TF PDU that we take (PS3.8 §D.1)."""
    dimse_retrieve_mode: Literal["auto", "get", "move"] = "auto"
    """C-GET, C-MOVE, or C-GET when the PACS accepts it and else C-MOVE. Without `incoming_store_port`, `auto`
    is C-GET only, and `move` is an error."""
    incoming_store_port: ListeningPort | None = None
    """The TCP port on which the sub-operations of a C-MOVE come in. A `dicom_scp` endpoint's port may be
    shared; 0 lets the system choose one."""
    persistent_store_scp: bool = True
    """Whether `incoming_store_port` is open as long as the gateway runs, or only while C-MOVEs are under way.
    Without effect on a port that a `dicom_scp` endpoint shares."""
    storage_dir: str = ""
    """Accepted, without effect: instances stream to the client."""
    use_tls: bool | None = None
    """Whether to speak TLS (PS3.15). Unless given, when the protocol is `dicoms`. The authorities are those of
    `connection.ca_cert_path`; a certificate of our own is that of an `authentication` of method mutual_tls."""
    tls_profile: TLSProfile = "bcp195"
    """BCP 195 (PS3.15 §B.12: TLS 1.2, and 1.3 where the PACS has it), or its stricter modification (§B.13)."""
    tls_check_hostname: bool = True
    """Whether the PACS's certificate has to be for its host. Without, any that its authorities have signed will do."""
    max_associations: Count = 4
    """Associations with the PACS at a time. One of them, when there are several, is kept for queries."""
    max_waiting: Count = 1000
    """Requests that may wait for an association, queries and transfers each: more than a hospital's viewers open at
    once. Further ones are answered 503."""
    idle_association_secs: Seconds = 30.0
    """Seconds that an unused association is kept open."""
    max_object_bytes: CountOrNone = 0
    """Bytes of the data set of an instance that is taken from the PACS; a longer one fails its retrieval. 0 for any
    number: instances stream, and cost no memory by their length."""
    information_model: Literal["study", "patient", "auto"] = "study"
    """The Query/Retrieve Information Model (PS3.4 §C.6): Study Root, Patient Root, or the first that the PACS
    accepts."""
    lossy_contexts: Literal["last", "with_others"] = "last"
    """When a C-GET proposes lossy transfer syntaxes: for what the first association left out, so that no
    archive is tempted to compress with loss; or together with the native and lossless ones, for an archive
    that sends each object as it holds it, whatever is proposed (Orthanc)."""
    retrieve_without_bulk_data: Literal["auto", "never"] = "auto"
    """Whether metadata are retrieved without bulk data (PS3.4 Annex Z) when the PACS accepts that in negotiation.
    Never for one that accepts it and does it wrong."""
    store_transcoding: Literal["auto", "lossless", "never"] = "auto"
    """What becomes of a compressed instance whose transfer syntax the PACS does not take: it is encoded anew
    without loss, or decoded, whichever the PACS takes; so are those only that were compressed without loss; or it
    is refused. Nothing is ever compressed with loss."""
    transcoding_processes: Count = 2
    """Worker processes for that, started when the first such instance comes."""
    store_stall_secs: Seconds = 60.0
    """Seconds that the PACS is kept waiting, in the middle of an instance, for 16 KiB more of it from whoever
    stores it; then A-ABORT, and the instance has failed. More than who stores is given for one byte
    (`body_timeout_secs`)."""
    user_identity: UserIdentity | None = None
    """Who we say we are. Unless given, nothing is said."""
    connect_timeout_secs: Seconds = 10.0
    """Seconds in which the TCP connection must be there."""
    association_timeout_secs: Seconds = 30.0
    """Seconds in which A-ASSOCIATE-AC or -RJ must have come, and in which a connection must close (ARTIM)."""
    silence_timeout_secs: Seconds = 60.0
    """Seconds without a PDU while one is due. Nearline archives need more."""
    cancel_grace_secs: Seconds = 2.0
    """Seconds that the PACS has to end an operation after C-CANCEL; then A-ABORT."""
    move_grace_secs: Seconds = 5.0
    """Seconds that stragglers are waited for after the final C-MOVE-RSP."""
    commitment_wait_secs: Seconds = 5.0
    """Seconds that a request for storage commitment waits for the archive's report, on the association of the request;
    then 202, and the report comes on an association of the archive's own, to `incoming_store_port` or the port of a
    `dicom_scp` endpoint."""
    queue_timeout_secs: Seconds = 30.0
    """Seconds that a request waits for an association; then 503."""
    default_character_set: str = "ISO_IR 6"
    """The character set of answers without SpecificCharacterSet: a defined term of PS3.3 §C.12.1.1.2."""
    request_character_set: str = "ISO_IR 192"
    """The character set of what we ask: a defined term of PS3.3 §C.12.1.1.2. Some old PACS refuse ISO_IR
    192."""

    def __post_init__(self) -> None:
        if self.dimse_retrieve_mode == "move" and self.incoming_store_port is None:
            raise ConfigurationError(
                ('"dimse_retrieve_mode" move needs "incoming_store_port", for what the PACS sends',)
            )

    @property
    def may_move(self) -> bool:
        """Whether C-MOVE may be used."""
        return self.dimse_retrieve_mode != "get" and self.incoming_store_port is not None

    @property
    def may_get(self) -> bool:
        """Whether C-GET may be used."""
        return self.dimse_retrieve_mode != "move"


@dataclass(frozen=True, slots=True)
class WebServerOptions:
    """What the backends have in common that reach a web server."""

    base_url: BaseURL | None = None
    """The absolute URL that requests go below. Unless given, made of `connection` and the target."""
    headers: Mapping[str, str] = field(default_factory=no_table, repr=False)
    """Header fields that are set in every request, in the place of the client's own."""
    pass_credentials: bool = True
    """Whether a client's Authorization and Cookie are passed on, and the server's challenges and cookies to the client.
    Never when somebody here has authenticated the client, or when the backend has an `authentication`."""
    max_connections: Count = 32
    """Connections with the server at a time; further requests wait."""
    idle_connection_secs: Seconds = 30.0
    """Seconds that an unused connection is kept open."""
    connect_timeout_secs: Seconds = 10.0
    """Seconds in which a connection must be there, its TLS included."""
    silence_timeout_secs: Seconds = 60.0
    """Seconds without a byte of a response's body, or of a request's body that the server takes."""
    queue_timeout_secs: Seconds = 30.0
    """Seconds that a request waits for a connection; then 503."""


@dataclass(frozen=True, slots=True)
class DICOMwebBackendOptions(WebServerOptions):
    """Service `dicomweb`: a DICOMweb server. What in its answers is a URL of its own becomes one of ours."""


@dataclass(frozen=True, slots=True)
class HTTPBackendOptions(WebServerOptions):
    """Service `http`: a web server."""

    host: str = ""
    """Host name or address, before `connection` and the target."""
    port: Port | None = None
    """TCP port, before `connection` and the target. When nobody says, 80, or 443 with https."""
    protocol: Literal["http", "https"] | None = None
    """Before `connection` and the target. When nobody says, http."""
    base_path: str | None = None
    """The path that requests go below, before `connection` and the target."""
    method: HTTPMethod | None = None
    """The method of every request. Unless given, that of the request that came in."""


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """Service `storage`: a folder. The patterns may name `{uuid}`, `{timestamp}`, `{file}` and metadata by keyword
    (`{PatientID}`); each value is reduced to letters, digits, `.`, `_` and `-`, without leading dot and to 128
    characters, and is `_` when there is none. `{file}` is of an instance the hash of its SOP Instance UID with
    `.dcm`, of an upload the name that the client gave, else a UUID. The metadata of an upload are fields of its
    form, attributes that middleware left, query parameters or header fields of that name."""

    root: Name = "./tmp"
    """The folder that every path stays below, relative to the working directory."""
    write_pattern: Name = "{file}"
    """The path, below `root`, that something new is written to; nothing that lies there is overwritten. `{file}` alone
    spreads instances over folders by their hash."""
    read_pattern: Name = "{file}"
    """The path, below `root`, that a GET is answered from: `{file}` is the path that it names, other values come from
    its query. Instances are retrieved by their UIDs, wherever they lie."""
    samples: bool = False
    """Whether sample studies are written to an empty `root` at the first start, to try things out."""


@dataclass(frozen=True, slots=True)
class EchoBackendOptions:
    """Service `echo`: answers with what it was sent, and C-ECHO."""

    path_prefix: str = ""
    """Accepted, without effect: the endpoint's prefix counts."""
