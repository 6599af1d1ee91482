"""The tables that describe the gateway and its surroundings: network, log, targets, credentials.

One field is one key, and the text beneath a field is its entry in the reference. Paths of files and folders
are relative to the working directory of the process, unless the text says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal

from harmonygw.config.constraints import (
    Alias,
    Count,
    CountOrNone,
    DottedPath,
    FieldName,
    IPBlock,
    Leeway,
    ListeningPort,
    LogLevel,
    Name,
    PathPrefix,
    Port,
    Retries,
    Seconds,
    TimeoutSeconds,
    TransportProtocol,
    is_loopback,
)
from harmonygw.config.tokens import TokenOptions
from harmonygw.errors import ConfigurationError


def no_table() -> Mapping[str, Any]:
    """Return the table that nobody wrote: empty, and read-only as all of them are."""
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ContentLimits:
    """Limits of what is held whole."""

    max_body_size: Count = 10485760
    """Bytes of a request body that a middleware or a backend may hold whole. STOW streams; see `limits`."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """This gateway: its name, and where the rest of its configuration lies."""

    id: Name = ""
    """The gateway's identifier, in logs and audit records. `id` or `name` must be given; the one stands for
    the other."""
    name: Name = ""
    """The gateway's name."""
    log_level: LogLevel = "info"
    """The old place of `logging.log_level`, which comes first."""
    pipelines_path: Name = "pipelines"
    """The folder of pipeline files, relative to the main file's folder; every `*.toml` in it is read, in name
    order."""
    transforms_path: Name = "transforms"
    """The folder of JOLT specifications, relative to the main file's folder."""
    required_env_vars: tuple[str, ...] = ()
    """Environment variables that must be set when the gateway starts."""
    sensitive_field_patterns: tuple[str, ...] = ()
    """Names of fields whose values are left out of logs and webhooks, in any letter case: with `*` for any
    characters, or, when there is other punctuation in it, a regular expression that is found in the name."""
    content_limits: ContentLimits = field(default_factory=ContentLimits)
    """Limits of what is held whole."""
    drain_delay_secs: Leeway = 0.0
    """Seconds that `/readyz` says 503 before listening ends, so that a load balancer sees it; 0 for none."""
    drain_timeout_secs: Leeway = 30.0
    """Seconds that exchanges have to end after listening has ended; then they are aborted. 0 for at once."""
    reload_drain_timeout_secs: Leeway = 3600.0
    """Seconds that exchanges and associations which began before a reload have to end by themselves, as long as a study
    may take on a slow line; then they are told to end, and have `drain_timeout_secs` more. 0 for at once."""
    primary_provider: str = "local"
    """Accepted. No provider but `local` is there: another one gives a warning."""


@dataclass(frozen=True, slots=True)
class TCPSettings:
    """Where a network listens, and its certificates."""

    bind_address: Name = "0.0.0.0"  # noqa: S104 (the dialect's default; a warning names what it opens)
    """The address to listen on. Anything but loopback opens the pipelines on it to others."""
    bind_port: ListeningPort = 8080
    """The TCP port; 0 lets the system choose one."""
    cert_path: str = ""
    """The server's certificate chain, PEM. With `key_path` it turns TLS on; relative to the working
    directory."""
    key_path: str = ""
    """The certificate's private key, PEM, not encrypted; relative to the working directory."""
    client_ca_path: str = ""
    """The authorities whose client certificates are demanded (mutual TLS), PEM; empty for none. Needs a
    certificate."""
    force_https: bool = False
    """Answer every request with 301 to https. Only for a network without certificates."""
    hsts_max_age_secs: CountOrNone = 0
    """Seconds for which browsers are to ask this host over TLS alone (`Strict-Transport-Security`), which they are told
    over TLS; 0 says nothing. It holds for every port of the host's name, a PACS's own pages among them, and cannot be
    taken back from a browser that has heard it: with a name that is the gateway's alone, 31536000 is customary."""

    def __post_init__(self) -> None:
        problems = []
        if bool(self.cert_path) != bool(self.key_path):
            missing = "key_path" if self.cert_path else "cert_path"
            problems.append(f'"{missing}" is missing: a certificate and its key go together')
        elif self.cert_path and self.force_https:
            problems.append('"force_https" is for a network without certificates')
        if self.client_ca_path and not (self.cert_path or self.key_path):
            problems.append('"client_ca_path" needs TLS: "cert_path" and "key_path"')
        if problems:
            raise ConfigurationError(tuple(problems))


@dataclass(frozen=True, slots=True)
class Limits:
    """What one HTTP client may cost. Each limit is there so that no client can hold what others need."""

    header_timeout_secs: Seconds = 20.0
    """Seconds in which the whole header of a request must have arrived; then 408."""
    body_timeout_secs: Seconds = 30.0
    """Seconds without a kilobyte of the body; then 408."""
    write_timeout_secs: Seconds = 60.0
    """Seconds in which a client reads less than a kilobyte of a response that waits for it; then the connection is
    aborted."""
    keepalive_timeout_secs: Seconds = 60.0
    """Seconds that an idle connection waits for its next request."""
    max_connections: Count = 2000
    """Connections of the network at a time; more get 503. Fewer are served when the process lacks file descriptors."""
    max_connections_per_address: Count = 200
    """Connections of one client address at a time; all addresses of one /64 of IPv6 have four times as many."""
    max_header_bytes: Count = 16384
    """Bytes of a request line and its header; more is 431."""
    max_request_bytes: CountOrNone | None = None
    """Bytes of a request body; more is 413; 0 for any number. Unless given,
    `proxy.content_limits.max_body_size` where a body is held whole, and any number for STOW, which
    streams."""


@dataclass(frozen=True, slots=True)
class Network:
    """A TCP address that pipelines listen on."""

    tcp_config: Annotated[TCPSettings, Alias("http")] = field(default_factory=TCPSettings)
    """Where the network listens, and its certificates."""
    limits: Limits = field(default_factory=Limits)
    """What one HTTP client may cost."""
    trusted_proxies: tuple[IPBlock, ...] = ()
    """Addresses and CIDR blocks of reverse proxies whose `Forwarded` and `X-Forwarded-*` headers are believed."""
    enable_wireguard: bool = False
    """Accepted when false. A WireGuard interface is the operating system's job: bind to its address."""
    interface: str = ""
    """Accepted, without effect: `bind_address` decides."""
    http3: Mapping[str, Any] = field(default_factory=no_table)
    """Accepted, with a warning: HTTP/3 is not served."""

    def __post_init__(self) -> None:
        if self.enable_wireguard:
            reason = "setting up WireGuard is the operating system's job; bind to its address"
            raise ConfigurationError((f'"enable_wireguard" cannot be true: {reason}',))

    @property
    def bind_address(self) -> str:
        """The address it listens on."""
        return self.tcp_config.bind_address

    @property
    def bind_port(self) -> int:
        """The port it listens on."""
        return self.tcp_config.bind_port

    @property
    def uses_tls(self) -> bool:
        """Whether it speaks TLS."""
        return bool(self.tcp_config.cert_path)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.bind_address)


@dataclass(frozen=True, slots=True)
class Management:
    """The management API."""

    enabled: bool = False
    """Whether it is served."""
    base_path: PathPrefix = "/admin"
    """Its path, with or without slash."""
    network: str = ""
    """The network that serves it; required when it is enabled."""
    authentication: str = ""
    """A name of `authentications`: what is demanded of whoever asks. Without it, and without client certificates on its
    network, the API only tells, and does nothing: no reload, and no purge."""

    def __post_init__(self) -> None:
        if self.enabled and not self.network:
            raise ConfigurationError(('"network" is missing: an enabled management API needs one',))


@dataclass(frozen=True, slots=True)
class Logging:
    """The log."""

    log_level: LogLevel = "info"
    """The least severe events that are logged."""
    log_to_file: bool = False
    """Whether to log to `log_file_path` too."""
    log_file_path: Name = "./tmp/harmonygw.log"
    """The log file, relative to the working directory."""
    format: Literal["text", "json"] = "text"
    """Lines for people, or a JSON object a line."""


@dataclass(frozen=True, slots=True)
class StorageSettingsOptions:
    """Options of the temporary storage."""

    path: Name = "./tmp"
    """The folder, relative to the working directory."""
    max_age_secs: Seconds = 3600.0
    """Seconds after which the files of an answered `get` or `move` are deleted. They end with the gateway too."""
    max_bytes: Count = 10737418240
    """Bytes of such files at a time, as many as a few dozen studies have; what would need more is 503. Lower it for
    `memory`."""


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Where files lie that outlive one exchange."""

    backend: Literal["filesystem", "memory", "s3"] = "filesystem"
    """The kind of storage: a folder, or for `memory` the file system in memory that Linux has at `/dev/shm`. `s3` is
    not in this build."""
    options: StorageSettingsOptions = field(default_factory=StorageSettingsOptions)
    """Options of the storage."""

    def __post_init__(self) -> None:
        if self.backend == "s3":
            raise ConfigurationError(('"backend" s3 is not in this build yet',))


@dataclass(frozen=True, slots=True)
class Registration:
    """A type that can be named elsewhere. The built-in ones need none."""

    module: DottedPath = ""
    """Empty for a built-in type, or a third party's class as `package.module:Name`."""
    id: str = ""
    """Accepted, without effect."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How a remote system is reached, or where a peer connects to."""

    host: str = ""
    """Host name or address."""
    port: Port | None = None
    """TCP port. Unless given: dicom 104, dicoms 2762, http 80, https 443."""
    base_path: str = ""
    """The path that URLs below it begin with (http, https)."""
    ca_cert_path: str = ""
    """The authorities that its certificate is checked against, PEM; empty for the system's. Relative to the
    working directory."""
    protocol: TransportProtocol | None = None
    """What it speaks. Unless given, what its user speaks: dicom for `dicom_scu`, http for `http` and
    `dicomweb`."""


@dataclass(frozen=True, slots=True)
class Target:
    """A remote system: a PACS or an HTTP server. The same keys describe a peer."""

    connection: Connection = field(default_factory=Connection)
    """How it is reached."""
    protocol: Annotated[TransportProtocol | None, Alias("type")] = None
    """The same as `connection.protocol`."""
    enabled: bool = True
    """Whether it may be used. What needs a disabled target answers 503."""
    authentication: str = ""
    """Who we are to it: a name of `authentications`."""
    timeout_secs: TimeoutSeconds = 30.0
    """Seconds from sending a request to its first answer: first match, first object, final status."""
    max_retries: Retries = 3
    """How often a request is tried again, before that first answer only."""
    tags: tuple[str, ...] = ()
    """Words to find it by."""
    description: str = ""
    """What it is."""
    name: str = ""
    """What people call it; the default of the called AE title."""

    def __post_init__(self) -> None:
        inner = self.connection.protocol
        if self.protocol and inner and self.protocol != inner:
            raise ConfigurationError((f'"protocol" must be that of "connection", {inner}',))


Peer = Target
"""A remote system that connects to us, or for a `dicom_scp` endpoint the address to listen on."""


@dataclass(frozen=True, slots=True)
class AuthenticationOptions(TokenOptions):
    """Credentials, or what credentials are checked by; the keys of tokens are for method jwt."""

    username: str = ""
    """User name (basic)."""
    password: str = field(default="", repr=False)
    """Password (basic)."""
    credentials_path: str = ""
    """A file of users in the form of htpasswd (basic), with bcrypt (`htpasswd -B`) or argon2id hashes, relative to the
    working directory. It is read again when it changes."""
    token: str = field(default="", repr=False)
    """The token (bearer) or key (api_key)."""
    header: FieldName = "X-API-Key"
    """The header field that the key stands in (api_key)."""
    cert_path: str = ""
    """The certificate that we show to a server, PEM, those of whoever signed it behind it (mutual_tls); relative to the
    working directory."""
    key_path: str = ""
    """Its private key, PEM, not encrypted (mutual_tls); relative to the working directory."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """A way to prove who one is, to be referred to as `name` or `authentications.name`."""

    method: Literal["jwt", "basic", "bearer", "api_key", "mutual_tls", "none"]
    """How."""
    options: AuthenticationOptions = field(default_factory=AuthenticationOptions)
    """Credentials, or what credentials are checked by."""
    id: str = ""
    """Accepted, without effect: the table's name counts."""

    def __post_init__(self) -> None:
        options = self.options
        if self.method == "jwt" and not options.has_key:
            wanted = "discovery, jwks_uri, public_key_path or use_hs256"
            raise ConfigurationError((f'"method" jwt needs {wanted} in "options"',))
        if self.method != "jwt" and options.limits_by_scopes:
            raise ConfigurationError((f'"method" {self.method} has no scopes, and "options" asks for some',))
        if self.method == "basic" and not ((options.username and options.password) or options.credentials_path):
            raise ConfigurationError(('"method" basic needs username and password, or credentials_path in "options"',))
        if self.method in {"bearer", "api_key"} and not options.token:
            raise ConfigurationError((f'"method" {self.method} needs token in "options"',))
