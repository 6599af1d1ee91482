"""The tables whose names point at one another, as they are written; `references` makes the `model` of them.

One field is one key, and the text beneath a field is its entry in the reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harmonygw.config.audit import Audit
from harmonygw.config.authorizations import Authorization
from harmonygw.config.constraints import Retries, TimeoutSeconds
from harmonygw.config.pipeline_options import PipelineOptions
from harmonygw.config.system import (
    Authentication,
    Connection,
    Logging,
    Management,
    Network,
    Peer,
    Proxy,
    Registration,
    StorageSettings,
    Target,
    no_table,
)


@dataclass(frozen=True, slots=True)
class Sides:
    """The middleware of a pipeline with its two sides listed apart; each runs as written."""

    left: tuple[str, ...] = ()
    """For the request, in order."""
    right: tuple[str, ...] = ()
    """For the response, in order."""


@dataclass(frozen=True, slots=True)
class PipelineTable:
    """What comes in at the endpoints goes through the middleware to the backends."""

    description: str = ""
    """What it is for."""
    networks: tuple[str, ...] = ()
    """The networks that its endpoints are reached on; one at least."""
    endpoints: tuple[str, ...] = ()
    """Its endpoints; one at least. A name that no table defines, but that contains the name of a service, is
    that service with its defaults; the log says so."""
    middleware: tuple[str, ...] | Sides = ()
    """A list of names, in order on the request and in reverse on the response; or `{ left = [...], right =
    [...] }`, each run as written. A name that no `[middleware.<name>]` table defines is taken as a type."""
    backends: tuple[str, ...] = ()
    """Its backends; one at least, unless its endpoints answer by themselves (`echo`, `management`). Several answer as
    one, by the `strategy` of the options."""
    options: PipelineOptions = field(default_factory=PipelineOptions)
    """How several backends answer as one."""


@dataclass(frozen=True, slots=True)
class EndpointTable:
    """Where exchanges begin."""

    service: str
    """The type."""
    peer_ref: str = ""
    """A name of `peers`: where to listen (`dicom_scp`)."""
    connection: Connection = field(default_factory=Connection)
    """Where to listen (`dicom_scp`), before `peer_ref`."""
    authentication: str = ""
    """A name of `authentications`: who is let in."""
    options: Mapping[str, Any] = field(default_factory=no_table)
    """The options of the type."""


@dataclass(frozen=True, slots=True)
class BackendTable:
    """Where exchanges end."""

    service: str
    """The type."""
    target_ref: str = ""
    """A name of `targets`."""
    connection: Connection = field(default_factory=Connection)
    """What it reaches, before `target_ref`."""
    authentication: str = ""
    """A name of `authentications`: who we are to it, before the target's."""
    timeout_secs: TimeoutSeconds | None = None
    """Seconds from sending a request to its first answer. Unless given, the target's."""
    max_retries: Retries | None = None
    """How often a request is tried again, before its first answer only. Unless given, the target's."""
    options: Mapping[str, Any] = field(default_factory=no_table)
    """The options of the type."""


@dataclass(frozen=True, slots=True)
class MiddlewareTable:
    """One step of a pipeline."""

    type: str
    """The type."""
    authentication: str = ""
    """A name of `authentications`: credentials that are checked, or sent."""
    options: Mapping[str, Any] = field(default_factory=no_table)
    """The options of the type."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules that belong together."""

    rules: tuple[str, ...]
    """The names of its rules."""
    id: str = ""
    """Its name once more; the same as the table's."""
    name: str = ""
    """What people call it."""
    enabled: bool = True
    """Whether it counts."""
    combine: Literal["types", "any"] = "types"
    """`types`: one allow rule of every type must match, and no deny rule. `any`: one allow rule of any type,
    and no deny rule; a warning says so at every start."""


@dataclass(frozen=True, slots=True)
class RuleTable:
    """One condition of a policy."""

    type: str
    """The type."""
    id: str = ""
    """Its name once more; the same as the table's."""
    name: str = ""
    """What people call it."""
    weight: int = 0
    """The higher, the earlier it is evaluated."""
    enabled: bool = True
    """Whether it counts."""
    options: Mapping[str, Any] = field(default_factory=no_table)
    """The options of the type."""


@dataclass(frozen=True, slots=True)
class Tables:
    """A whole configuration, as it is written."""

    proxy: Proxy = field(default_factory=lambda: Proxy(id="unnamed"))
    network: Mapping[str, Network] = field(default_factory=no_table)
    management: Management = field(default_factory=Management)
    logging: Logging = field(default_factory=Logging)
    storage: StorageSettings = field(default_factory=StorageSettings)
    audit: Audit = field(default_factory=Audit)
    services: Mapping[str, Registration] = field(default_factory=no_table)
    middleware_types: Mapping[str, Registration] = field(default_factory=no_table)
    peers: Mapping[str, Peer] = field(default_factory=no_table)
    targets: Mapping[str, Target] = field(default_factory=no_table)
    authentications: Mapping[str, Authentication] = field(default_factory=no_table)
    provider: Mapping[str, Any] = field(default_factory=no_table)
    """Accepted, without effect: no cloud provider is contacted."""
    runbeam: Mapping[str, Any] = field(default_factory=no_table)
    """Accepted, without effect: no cloud provider is contacted."""
    mesh: Mapping[str, Any] = field(default_factory=no_table)
    """Accepted, without effect: no mesh is joined."""
    pipelines: Mapping[str, PipelineTable] = field(default_factory=no_table)
    endpoints: Mapping[str, EndpointTable] = field(default_factory=no_table)
    backends: Mapping[str, BackendTable] = field(default_factory=no_table)
    middleware: Mapping[str, MiddlewareTable] = field(default_factory=no_table)
    policies: Mapping[str, Policy] = field(default_factory=no_table)
    rules: Mapping[str, RuleTable] = field(default_factory=no_table)
    authorizations: Mapping[str, Authorization] = field(default_factory=no_table)
