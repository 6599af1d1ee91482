"""Options of the middleware types."""

from dataclasses import dataclass, field
from typing import Literal

from harmonygw.config.constraints import (
    Address,
    Count,
    CountOrNone,
    FieldName,
    Leeway,
    Name,
    Origin,
    Seconds,
    Side,
    WholeSeconds,
)
from harmonygw.config.pipeline_options import Strategy
from harmonygw.config.tokens import TokenOptions
from harmonygw.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class DICOMwebBridgeOptions:
    """Type `dicomweb_bridge` (also `dicomweb`, `dicomweb_processor`): DICOMweb requests to DICOM operations,
    and back."""

    default_limit: CountOrNone = 0
    """Matches of a Search that states no `limit`; 0 for `max_results`."""
    max_results: Count = 5000
    """Matches of a Search at most. More are cut off, and a Warning says so (PS3.18 §8.3.4.4)."""
    metadata_source: Literal["auto", "without_bulk_data", "instances"] = "auto"
    """What metadata is made of: Composite Instance Retrieve Without Bulk Data (PS3.4 Annex Z; 406 where the PACS
    has it not), whole instances, or the former where the PACS has it."""
    unknown_keys: Literal["error", "ignore"] = "error"
    """An unknown key in a Search: 400, or ignored with a Warning. A typo that is ignored returns the whole
    archive."""
    synthesis_limit: CountOrNone = 200
    """Studies or series of a page, below which attributes that the PACS leaves out are made from the level
    below; 0 for never."""
    hierarchy_limit: CountOrNone = 200
    """Parents that are walked for a Search across the levels when the PACS has no relational queries; 0 for
    none."""
    page_memory_secs: Leeway = 30.0
    """Seconds that the answer to a Search is kept for its next page; 0 for not at all."""
    bulk_threshold_bytes: CountOrNone = 256
    """Bytes of an opaque value in metadata above which it is given by BulkDataURI. Numbers stay inline up to 1024
    bytes, text up to 65,534, where viewers read them."""
    rendering_processes: Count = 2
    """Processes that decode and render pixels."""
    rendering_timeout_secs: Seconds = 20.0
    """Seconds that one frame may take; then its process is killed."""
    rendering_memory_bytes: Count = 2_147_483_648
    """Bytes of address space that such a process may have."""
    spool_path: str = ""
    """The folder for temporary files: of what is read by parts without a cache behind, of bulk data that a Store
    brings apart from its metadata, and of what is gathered for `partial = "report"`. Unless given, the system's."""
    store_metadata_bytes: Count = 10_485_760
    """Bytes of the metadata, in JSON or XML, of one Store; it is held in memory. More is 413."""
    store_bulk_bytes: Count = 4_294_967_296
    """Bytes of the bulk data of one Store whose metadata comes apart from it; it waits in a temporary file, since the
    metadata says only at its end what belongs where. More is 413. DICOM files stream, and have no such limit."""
    partial: Literal["abort", "report"] = "abort"
    """A Retrieve of which the PACS fails a part: the connection is aborted, or each Retrieve as a multipart is gathered
    before the first byte goes out, and what came of it is sent as 206 with a Warning that says what is missing. An
    archive (ZIP) has no status once it lies on a disk: it is broken off with either."""
    partial_bytes: Count = 4_294_967_296
    """Bytes of one Retrieve that are gathered in a temporary file for `partial = "report"`. What has more goes out as
    it comes, and is broken off when it is not whole."""
    strategy: Strategy | None = None
    """How several backends of the pipeline answer as one: the same as `strategy` in the pipeline's options, where
    everything else about it stands."""


@dataclass(frozen=True, slots=True)
class DicomToDICOMwebOptions:
    """Type `dicom_to_dicomweb`: DICOM operations to DICOMweb requests, and back. It has no options."""


@dataclass(frozen=True, slots=True)
class PassthruOptions:
    """Type `passthru`: nothing. It has no options."""


@dataclass(frozen=True, slots=True)
class BasicAuthOptions:
    """Type `basic_auth`: 401 without a valid user name and password. Either these, a file of users, both, or the
    table's `authentication`."""

    username: str = ""
    """The user name."""
    password: str = field(default="", repr=False)
    """The password."""
    token_path: str = ""
    """A file of users in the form of htpasswd, with bcrypt (`htpasswd -B`) or argon2id hashes, relative to the working
    directory. It is read again when it changes."""


@dataclass(frozen=True, slots=True)
class TokenAuthOptions:
    """Type `token_auth`: 401 without the token (bearer) or key (api_key) of the table's `authentication`, whose name is
    the principal then. It has no options."""


@dataclass(frozen=True, slots=True)
class JWTAuthOptions(TokenOptions):
    """Type `jwt_auth` (also `jwtauth`): 401 without a valid bearer token. Either these, or the table's
    `authentication`."""


@dataclass(frozen=True, slots=True)
class PathFilterRule:
    """One pattern of a path filter: `allow` or `deny`."""

    allow: str = ""
    """A path that is let through."""
    deny: str = ""
    """A path that is refused."""

    def __post_init__(self) -> None:
        if bool(self.allow) == bool(self.deny):
            raise ConfigurationError(('give either "allow" or "deny"',))


@dataclass(frozen=True, slots=True)
class PathFilterOptions:
    """Type `path_filter`: 404 for a path that is not let through."""

    rules: tuple[str | PathFilterRule, ...]
    """Paths after the endpoint's prefix, with `{id}` for a segment and `{*path}` for the rest: text for what
    is let through, or `{ allow = "…" }` and `{ deny = "…" }`, of which the first that matches counts."""


@dataclass(frozen=True, slots=True)
class PoliciesOptions:
    """Type `policies`: 403 for a request that a policy refuses."""

    policies: tuple[str, ...]
    """Names of `policies`; all of them must be satisfied."""


@dataclass(frozen=True, slots=True)
class TransformOptions:
    """Types `transform`, on JSON bodies and DICOM identifiers, and `metadata_transform`, on metadata: JOLT
    specifications."""

    spec_path: Name
    """The specification, relative to `proxy.transforms_path`, or else to the main file's folder."""
    apply: Side = "left"
    """On the request (left), on the response (right), or on both."""
    fail_on_error: bool = True
    """Whether a transformation that fails fails the exchange: 400 for a request, 502 for a response. Otherwise what
    was to be transformed passes as it is, and the log line of the exchange says so."""
    debug: bool = False
    """Whether to log what goes in and what comes out, without credentials. It holds patients' data."""
    transform_target: Literal["", "data", "metadata", "target_details"] = ""
    """What is transformed. `transform`: `data`, the body, and nothing else. `metadata_transform`: `target_details`,
    what is asked of the backend (path, query, headers, metadata), unless it is `metadata` alone."""


@dataclass(frozen=True, slots=True)
class LogDumpOptions:
    """Type `log_dump`: the exchange to the log, redacted."""

    apply: Side = "both"
    """The request (left), the response (right), or both."""
    pretty: bool = True
    """Whether JSON is indented."""
    max_bytes: Count = 65536
    """Bytes of a body that are logged."""
    redact_headers: tuple[str, ...] = ()
    """Header fields whose values are left out, beside those of credentials."""
    redact_metadata: tuple[str, ...] = ()
    """Metadata (see `metadata_transform`) whose values are left out."""
    redact_data_fields: tuple[str, ...] = ()
    """Keys of a JSON body, or keywords or tags of DICOM attributes, whose values are left out: one word wherever it is;
    dots lead into objects and sequences."""
    show_patient_identifiers: bool = False
    """Whether what identifies a patient is logged: names, identifiers, birth dates, and bodies that are not JSON.
    Otherwise these are left out; a debugging log is nobody's patient record."""
    label: str = ""
    """A word to find the entry by."""


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """Type `webhook`: a JSON description of the exchange to a URL, never delaying it."""

    endpoint: Address
    """The URL that is sent to, by POST."""
    apply: Side = "left"
    """The request (left), the response (right), or both."""
    timeout_secs: Seconds = 5.0
    """Seconds that one delivery may take."""
    redact_headers: tuple[str, ...] = ()
    """Header fields whose values are left out, beside those of credentials."""
    redact_metadata: tuple[str, ...] = ()
    """Metadata (see `metadata_transform`) whose values are left out."""
    redact_data_fields: tuple[str, ...] = ()
    """Keys of a JSON body, or keywords or tags of DICOM attributes, whose values are left out: one word wherever it is;
    dots lead into objects and sequences."""
    show_patient_identifiers: bool = False
    """Whether what identifies a patient is sent: names, identifiers, birth dates. Otherwise these are left out."""


@dataclass(frozen=True, slots=True)
class JSONExtractorOptions:
    """Type `json_extractor` (also `json`): parses a JSON body for later middleware. It has no options."""


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """Type `audit`: audit records of what was accessed."""

    fail_closed: bool = False
    """Whether an exchange is refused when its record can be written nowhere."""


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Type `cache`: instances in files, so that a hundred requests for one series are one retrieve, and the next
    ones none. It stands behind the bridge and whatever guards the pipeline. Pipelines that share one must have
    the same backends."""

    path: Name = "./cache"
    """The folder of its files, relative to the working directory; of one process at a time. It holds patients' data."""
    max_bytes: Count = 20_000_000_000
    """Bytes of all its files; what was used longest ago goes first, by whole series."""
    max_age_secs: Count = 604_800
    """Seconds after which an instance is fetched anew, however often it is used."""
    scope: Literal["series", "study", "instance"] = "series"
    """What a request for a part of one instance fetches."""
    prefetch: bool = True
    """Whether the rest of the scope is fetched once those who waited have what they wanted."""
    revalidate_secs: Seconds = 60.0
    """Seconds that a study is served without asking the PACS again whether it has changed."""
    write_behind_secs: Leeway = 1.0
    """Seconds that an instance is served from memory before its file is written; 0 writes it first. What was not
    written when the process is killed is fetched again."""
    memory_bytes: Count = 268_435_456
    """Bytes of instances that are held like that at most; then the archive waits for the disk."""
    serve_stale: bool = False
    """Whether a study is served, with `Warning: 110`, while the PACS cannot be asked."""


@dataclass(frozen=True, slots=True)
class CORSOptions:
    """Type `cors`: lets the pages of other origins read the answers. It stands first in its pipeline."""

    allowed_origins: tuple[Origin, ...]
    """Origins, as `https://viewer.example.org`; `https://*.example.org` for every name below a domain, `*` for any
    origin."""
    allowed_headers: tuple[FieldName, ...] = ()
    """Request header fields that a page may set, beside Accept, Authorization, Content-Type, If-None-Match, If-Range
    and Range."""
    allow_credentials: bool = False
    """Whether a page may send cookies and what else the browser holds for this origin. A page sends an Authorization
    field of its own without this."""
    allow_private_network: bool = False
    """Whether a page from the Internet may ask a gateway at a private address (Private Network Access)."""
    max_age_secs: WholeSeconds = 600
    """Seconds that a browser may keep a preflight's answer; 0 for not at all."""

    def __post_init__(self) -> None:
        if self.allow_credentials and "*" in self.allowed_origins:
            raise ConfigurationError(('"allow_credentials" needs origins by name in "allowed_origins", not "*"',))


@dataclass(frozen=True, slots=True)
class LimitsOptions:
    """Type `limits`: quotas of a pipeline. It has no options yet."""
