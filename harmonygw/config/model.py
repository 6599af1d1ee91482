"""The configuration as the rest of the house reads it: frozen, checked, every name resolved.

`system` describes the tables that mean just what they say; they are offered here too. The classes below are
what `references` makes of the tables whose names point at one another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from harmonygw.config.audit import Audit
from harmonygw.config.authorizations import Authorization
from harmonygw.config.constraints import is_loopback
from harmonygw.config.environment import named
from harmonygw.config.pipeline_options import PipelineOptions, SourceRoute
from harmonygw.config.system import (
    Authentication,
    AuthenticationOptions,
    Connection,
    ContentLimits,
    Limits,
    Logging,
    Management,
    Network,
    Peer,
    Proxy,
    Registration,
    StorageSettings,
    StorageSettingsOptions,
    Target,
    TCPSettings,
)
from harmonygw.config.tables import Policy
from harmonygw.errors import ConfigurationError

__all__ = [
    "Audit",
    "Authentication",
    "AuthenticationOptions",
    "Authorization",
    "Backend",
    "Configuration",
    "Connection",
    "ContentLimits",
    "Endpoint",
    "Limits",
    "ListeningAddress",
    "Logging",
    "Management",
    "MiddlewareSettings",
    "Network",
    "Peer",
    "Pipeline",
    "PipelineOptions",
    "Policy",
    "Proxy",
    "Registration",
    "Route",
    "Rule",
    "SourceRoute",
    "StorageSettings",
    "StorageSettingsOptions",
    "TCPSettings",
    "Target",
    "is_loopback",
]


class ListeningAddress(NamedTuple):
    """A TCP address of ours."""

    host: str
    port: int


class Route(NamedTuple):
    """An endpoint of a pipeline on a network that serves HTTP."""

    path_prefix: str
    """The normalised prefix; empty for the root."""
    pipeline: str
    """Empty for the management API's own table."""
    endpoint: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What comes in at `endpoints` goes through the middleware to `backends`."""

    name: str
    description: str
    networks: tuple[str, ...]
    endpoints: tuple[str, ...]
    middleware: tuple[str, ...] | None
    """Names, in the order of the request; None when the two sides are listed apart."""
    left: tuple[str, ...]
    """For the request, in order; empty unless the sides are listed apart."""
    right: tuple[str, ...]
    """For the response, in order; empty unless the sides are listed apart."""
    backends: tuple[str, ...]
    options: PipelineOptions = field(default_factory=PipelineOptions)
    """With the strategy, whichever table it stands in."""
    ae_titles: tuple[str, ...] = ()
    """What each of the backends is called as a source, in their order; empty where it has no name that can be an AE
    title."""

    @property
    def middleware_names(self) -> tuple[str, ...]:
        """Every middleware it names, once."""
        listed = (*self.left, *self.right) if self.middleware is None else self.middleware
        return tuple(dict.fromkeys(listed))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where exchanges begin."""

    name: str
    service: str
    """The canonical name of its type."""
    options: Any
    """The dataclass of its type in `options`; a mapping for a third party's type."""
    authentication: str | None
    """A name of `authentications`."""
    peer: str | None
    """A name of `peers`."""
    addresses: tuple[ListeningAddress, ...] = ()
    """Where a `dicom_scp` listens; empty for HTTP, whose networks listen, and while no pipeline names the
    endpoint."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Where exchanges end."""

    name: str
    service: str
    """The canonical name of its type."""
    options: Any
    """The dataclass of its type in `options`; a mapping for a third party's type."""
    target: str | None
    """A name of `targets`."""
    host: str
    """Empty when the type reaches nobody (echo, storage)."""
    port: int
    """0 when the type reaches nobody."""
    base_url: str
    """Where an HTTP server is reached, without final slash; empty for others."""
    use_tls: bool
    ca_cert_path: str
    """The authorities that its certificate is checked against; empty for the system's."""
    called_ae_title: str
    """Empty unless the type is `dicom_scu`."""
    authentication: str | None
    """A name of `authentications`."""
    timeout_secs: float
    """Seconds from sending a request to its first answer."""
    max_retries: int
    enabled: bool
    """Whether its target is."""


@dataclass(frozen=True, slots=True)
class MiddlewareSettings:
    """One middleware, as a pipeline names it."""

    name: str
    type: str
    """The canonical name of its type."""
    options: Any
    """The dataclass of its type in `options`; a mapping for a third party's type."""
    authentication: str | None
    """A name of `authentications`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition of a policy."""

    name: str
    type: str
    weight: int
    """The higher, the earlier it is evaluated."""
    enabled: bool
    options: Any
    """The dataclass of its type in `options`."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """All of it. Mappings are read-only and in the order of the files."""

    proxy: Proxy
    networks: Mapping[str, Network]
    management: Management
    logging: Logging
    storage: StorageSettings
    audit: Audit
    """With its `source_id`, whoever gave it."""
    services: Mapping[str, Registration]
    middleware_types: Mapping[str, Registration]
    peers: Mapping[str, Peer]
    targets: Mapping[str, Target]
    authentications: Mapping[str, Authentication]
    pipelines: Mapping[str, Pipeline]
    endpoints: Mapping[str, Endpoint]
    backends: Mapping[str, Backend]
    middleware: Mapping[str, MiddlewareSettings]
    policies: Mapping[str, Policy]
    rules: Mapping[str, Rule]
    authorizations: Mapping[str, Authorization]
    routes: Mapping[str, tuple[Route, ...]]
    """For each network that serves HTTP, its endpoints, longest prefix first."""
    unauthenticated: tuple[str, ...]
    """The pipelines that others than this machine reach without authentication."""
    warnings: tuple[str, ...]
    """Sentences for the log: what was assumed, and what is open."""
    files: tuple[Path, ...]
    """The files it was read from, the main file first."""
    folder: Path
    """The folder of the main file; `proxy.transforms_path` is relative to it."""
    taken: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What was taken of the environment, by name: it may be secret."""

    def told(self, problems: Iterable[str]) -> ConfigurationError:
        """Return the error of problems, with the names of variables in the place of what was taken of them."""
        return ConfigurationError(tuple(named(one, self.taken) for one in problems))
