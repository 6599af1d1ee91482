"""The table that says where the audit trail goes, and where it waits while it cannot (PS3.15 §A.6, §A.7)."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from harmonygw.config.constraints import Between, Leeway, Name, Port, TLSProfile
from harmonygw.errors import ConfigurationError

MAX_DATAGRAM_BYTES: Final = 65_507
"""Bytes of a message that one datagram holds: 65,535 without the headers of IPv4 and UDP (RFC 5426 §3.2)."""

MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""Bytes of a message at most, however it travels: what is longer is no message, but a length that has decayed."""

LEAST_MESSAGE_BYTES: Final = 2048
"""Bytes that `max_message_bytes` is at least: what every collector has to take over TLS (RFC 5425 §4.3.1)."""

LEAST_SPOOL_BYTES: Final = 1024 * 1024
"""Bytes that `max_spool_bytes` is at least: a few hundred records."""

MESSAGES_IN_SPOOL: Final = 8
"""Messages of the greatest length that the spool has room for at least."""

DEFAULT_PORTS: Final = {"syslog_tls": 6514, "syslog_udp": 514, "file": 0}
"""PS3.15 §A.6, §A.7."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit trail: who did what with which patient's data (PS3.15 §A.5), and where it is sent. Each message is on
    disk first, in `spool_path`, and leaves it when it has been delivered: nothing is lost while the collector is
    away, or over a restart. What it holds identifies patients."""

    enabled: bool = False
    """Whether there is one."""
    transport: Literal["syslog_tls", "syslog_udp", "file"] = "syslog_tls"
    """How it is delivered: syslog over TLS (PS3.15 §A.6, RFC 5425), syslog over UDP (§A.7, RFC 5426), which is not
    encrypted and may lose messages on the way without anybody's notice, or a line a message in a file."""
    host: str = ""
    """The collector's host name or address (syslog)."""
    port: Port | None = None
    """The collector's port. Unless given: 6514 for TLS, 514 for UDP."""
    ca_path: str = ""
    """The authorities that the collector's certificate is checked against, PEM; empty for the system's (TLS). Relative
    to the working directory, as the next two are."""
    cert_path: str = ""
    """The certificate that we show to the collector, PEM, those of whoever signed it behind it; empty for none
    (TLS)."""
    key_path: str = ""
    """Its private key, PEM, not encrypted (TLS)."""
    tls_profile: TLSProfile = "bcp195"
    """The versions and cipher suites of TLS: BCP 195 (PS3.15 §B.12), or as PS3.15 §B.13 narrows it."""
    check_hostname: bool = True
    """Whether the collector's certificate has to be for `host`; otherwise any certificate of these authorities will
    do (TLS)."""
    path: str = ""
    """The file (transport file), relative to the working directory. It is opened anew for what comes next, so that it
    may be moved away at any time."""
    spool_path: Name = "./audit"
    """The folder in which messages wait, relative to the working directory; of one process, for its user alone."""
    max_spool_bytes: Annotated[int, Between(LEAST_SPOOL_BYTES)] = 1073741824
    """Bytes of what waits. 1 GiB holds half a million messages, a few days of a busy gateway without its collector.
    What would need more is not recorded: see `fail_closed`."""
    max_message_bytes: Annotated[int, Between(LEAST_MESSAGE_BYTES, MAX_MESSAGE_BYTES)] = 32768
    """Bytes of one message with its syslog header. 32768 is what every collector of PS3.15 §A.6 takes; a longer one may
    be cut short on the way, and is not sent. At most 65507 over UDP."""
    sync_secs: Leeway = 0.2
    """Seconds in which a message goes to the disk itself. Until then it outlives the death of the process, not that of
    the machine. 0 has each exchange wait for the disk."""
    fail_closed: bool = False
    """Whether exchanges are refused with 503 while nothing can be recorded: the spool is full, or cannot be written. A
    collector that is away is no reason."""
    source_id: str = ""
    """AuditSourceID (PS3.15 §A.5.2.5); unless given, `proxy.id`."""
    enterprise_site_id: str = ""
    """AuditEnterpriseSiteID (PS3.15 §A.5.2); empty for none."""
    facility: Annotated[int, Between(0, 23)] = 10
    """The facility of syslog (RFC 5424 §6.2.1); PS3.15 §A.6 has 10, security and authorization."""

    def __post_init__(self) -> None:
        problems = [*self._problems_of_transport(), *self._problems_of_sizes()]
        if problems:
            raise ConfigurationError(tuple(problems))

    @property
    def effective_port(self) -> int:
        """The port, the transport's own unless given; 0 for a file."""
        return self.port or DEFAULT_PORTS[self.transport]

    def _problems_of_transport(self) -> list[str]:
        problems = []
        needed = "path" if self.transport == "file" else "host"
        if self.enabled and not getattr(self, needed):
            problems.append(f'"{needed}" is missing: an audit trail by {self.transport} needs one')
        if self.enabled and self.transport != "syslog_tls":
            given = [key for key in ("ca_path", "cert_path", "key_path") if getattr(self, key)]
            problems += [f'"{key}" is for "transport" syslog_tls' for key in given]
        if bool(self.cert_path) != bool(self.key_path):
            missing = "key_path" if self.cert_path else "cert_path"
            problems.append(f'"{missing}" is missing: a certificate and its key go together')
        return problems

    def _problems_of_sizes(self) -> list[str]:
        problems = []
        if self.transport == "syslog_udp" and self.max_message_bytes > MAX_DATAGRAM_BYTES:
            problems.append(f'"max_message_bytes" must be {MAX_DATAGRAM_BYTES} or less: no datagram is longer')
        if self.max_spool_bytes < MESSAGES_IN_SPOOL * self.max_message_bytes:
            problems.append(f'"max_spool_bytes" must be {MESSAGES_IN_SPOOL} times max_message_bytes, or more')
        return problems
