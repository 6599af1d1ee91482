"""From tables to the model: every name that one table uses for another is looked up, every type gets its
options.

The dialect's leniencies live here: names that no table defines and that are still meant, and what one table
inherits from another. Each assumption is a warning, so that the log says it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harmonygw.config import confined, idle, listening, scoping, several, steps
from harmonygw.config.addressing import destination
from harmonygw.config.binding import INVALID, suggestion
from harmonygw.config.constraints import ae_title
from harmonygw.config.locating import KeyPath
from harmonygw.config.model import Backend, Configuration, Endpoint, Management, MiddlewareSettings, Pipeline
from harmonygw.config.names import PREFIX, Names
from harmonygw.config.options import (
    BACKENDS,
    ENDPOINTS,
    MIDDLEWARE,
    Availability,
    DicomSCPOptions,
    DicomSCUOptions,
)
from harmonygw.config.reading import Document
from harmonygw.config.system import Target
from harmonygw.config.tables import BackendTable, EndpointTable, PipelineTable, Sides, Tables
from harmonygw.errors import ConfigurationError

ANY_SCP = "ANY-SCP"
"""The called AE title when nothing states one; many a PACS accepts any."""

ANSWERING_ALONE = frozenset({"echo", "management", "viewer"})
"""The endpoint services that need no backend."""

CHECKING_MIDDLEWARE = {"basic": "basic_auth", "bearer": "token_auth", "api_key": "token_auth", "jwt": "jwt_auth"}
"""The method of an authentication, and the middleware type that checks it."""


def resolve(tables: Tables, document: Document, available: Availability) -> Configuration:
    """Return the configuration that `tables` mean; what is wrong is reported to `document`, and left out."""
    return _References(tables, document, available).configuration()


class _References:
    def __init__(self, tables: Tables, document: Document, available: Availability) -> None:
        self._tables = tables
        self._document = document
        self._available = available
        self._names = Names(tables, document)
        # What no table defines, but a pipeline means, and where it is named.
        self._assumed_endpoints: dict[str, KeyPath] = {}
        self._assumed_middleware: dict[str, KeyPath] = {}

    def configuration(self) -> Configuration:
        tables, document, available = self._tables, self._document, self._available
        pipelines = {name: self._pipeline(name, table) for name, table in tables.pipelines.items()}
        users = pipelines.values()
        backends = self._backends(_named(users, "backends"))
        middleware = steps.middleware(
            self._names, self._assumed_middleware, _named(users, "middleware_names"), available.middleware
        )
        pipelines = {name: several.resolved(one, backends, middleware, document) for name, one in pipelines.items()}
        users = pipelines.values()
        in_use = steps.rules_in_use(tables, users, middleware)
        rules = steps.rules(self._names, in_use, available.rule_types)
        endpoints = self._endpoints(_named(users, "endpoints"))
        self._check_unused_names()
        routes = listening.routes(tables.network, pipelines, endpoints, tables.management, document)
        endpoints = self._with_addresses(endpoints, pipelines, routes)
        reached = [backends[name] for name in backends if name in _named(users, "backends")]
        listening.report_collisions(tables.network, routes, endpoints.values(), reached, document)
        for pipeline in users:
            self._check_pipeline(pipeline, endpoints)
        confined.check(self._names, users, middleware)
        idle.warn(self._names, users, middleware, endpoints, rules)
        scoping.report_unscoped(users, endpoints, middleware, tables.authentications, document)
        self._names.check_registrations()
        unauthenticated = self._unauthenticated(users, endpoints, middleware)
        name = tables.proxy.id or tables.proxy.name
        return Configuration(
            proxy=replace(tables.proxy, id=name, name=tables.proxy.name or name),
            networks=tables.network,
            management=self._management(),
            logging=tables.logging,
            storage=tables.storage,
            audit=replace(tables.audit, source_id=tables.audit.source_id or name),
            services=tables.services,
            middleware_types=tables.middleware_types,
            peers=tables.peers,
            targets=tables.targets,
            authentications=tables.authentications,
            pipelines=MappingProxyType(pipelines),
            endpoints=MappingProxyType(endpoints),
            backends=MappingProxyType(backends),
            middleware=MappingProxyType(middleware),
            policies=tables.policies,
            rules=MappingProxyType(rules),
            authorizations=tables.authorizations,
            routes=routes,
            unauthenticated=unauthenticated,
            warnings=tuple(document.warnings),
            files=tuple(document.files),
            taken=MappingProxyType(document.taken),
            folder=Path(document.main).parent,
        )

    # Pipelines

    def _pipeline(self, name: str, table: PipelineTable) -> Pipeline:
        path: KeyPath = ("pipelines", name)
        for position, network in enumerate(table.networks):
            self._names.known("network", network, (*path, "networks", position), "network")
        for position, endpoint in enumerate(table.endpoints):
            self._check_endpoint_name(endpoint, (*path, "endpoints", position))
        for position, backend in enumerate(table.backends):
            self._names.known("backends", backend, (*path, "backends", position), "backend")
        sides = table.middleware if isinstance(table.middleware, Sides) else Sides()
        listed = None if isinstance(table.middleware, Sides) else table.middleware
        for where, some in (((), listed or ()), (("left",), sides.left), (("right",), sides.right)):
            for position, step in enumerate(some):
                self._check_middleware_name(step, (*path, "middleware", *where, position))
        for kind in ("networks", "endpoints"):
            if not getattr(table, kind) and not self._document.tables["pipelines"][name].get(kind):
                self._document.report(path, f'"{kind}" is missing or empty; one at least is needed')
        return Pipeline(
            name=name,
            description=table.description,
            networks=table.networks,
            endpoints=table.endpoints,
            middleware=listed,
            left=sides.left,
            right=sides.right,
            backends=table.backends,
            options=table.options,
        )

    def _check_endpoint_name(self, name: str, path: KeyPath) -> None:
        defined = self._document.defines("endpoints")
        if name in defined or name in self._assumed_endpoints or not self._document.whole:
            return
        named = {one for table in self._tables.pipelines.values() for one in table.endpoints}
        # An endpoint that is almost called so, and that nobody names, is what was meant.
        misspelt = get_close_matches(name, [one for one in defined if one not in named], 1, 0.8)
        service = _service_in(name)
        if not service or misspelt:
            self._names.known("endpoints", name, path, "endpoint")
            return
        self._assumed_endpoints[name] = path
        prefix = getattr(ENDPOINTS.options[service](), "path_prefix", None)
        below = "" if prefix is None else f' with path_prefix "{prefix or "/"}"'
        self._document.warn(path, f'no table defines endpoint "{name}"; assumed: service "{service}"{below}')

    def _check_middleware_name(self, name: str, path: KeyPath) -> None:
        defined = self._document.defines("middleware")
        if name in defined or name in self._assumed_middleware:
            return
        types = self._names.types(MIDDLEWARE)
        if name in types:
            self._assumed_middleware[name] = path
        elif self._document.whole:
            known = suggestion(name, (*defined, *types))
            self._document.report(path, f'there is no middleware and no middleware type "{name}"{known}')

    def _check_pipeline(self, pipeline: Pipeline, endpoints: Mapping[str, Endpoint]) -> None:
        path: KeyPath = ("pipelines", pipeline.name)
        found = [endpoints[name] for name in pipeline.endpoints if name in endpoints]
        needing = [endpoint for endpoint in found if endpoint.service not in ANSWERING_ALONE]
        if needing and not pipeline.backends:
            whose = f'endpoint "{needing[0].name}" ({needing[0].service})'
            self._document.report(path, f'"backends" is missing or empty; {whose} needs one')
        for endpoint in found:
            authentication = self._tables.authentications.get(endpoint.authentication or "")
            if authentication is not None and authentication.method == "mutual_tls":
                self._check_client_certificates(pipeline, endpoint)

    def _check_client_certificates(self, pipeline: Pipeline, endpoint: Endpoint) -> None:
        for name in pipeline.networks:
            network = self._tables.network.get(name)
            if network is not None and not network.tcp_config.client_ca_path:
                sentence = f'mutual_tls needs tcp_config.client_ca_path of network "{name}"'
                self._document.report(("endpoints", endpoint.name, "authentication"), sentence)

    # Endpoints

    def _endpoints(self, used: Collection[str]) -> dict[str, Endpoint]:
        found = {}
        for name, table in self._endpoint_tables().items():
            path: KeyPath = ("endpoints", name)
            where = self._assumed_endpoints.get(name)
            paths = (where or (*path, "service"), where or (*path, "options"))
            available = self._available.endpoints if name in used else None
            service, options = self._names.typed(ENDPOINTS, table.service, table.options, paths, available)
            peer = table.peer_ref or None
            if peer is not None and not self._names.known("peers", peer, (*path, "peer_ref"), "peer"):
                peer = None
            authentication = self._names.authentication(table.authentication, (*path, "authentication"))
            if authentication is not None and name in used:
                self._check_enforced(authentication, (*path, "authentication"))
            if options is not INVALID:
                found[name] = Endpoint(name, service, options, authentication, peer)
        return found

    def _endpoint_tables(self) -> dict[str, EndpointTable]:
        assumed = {name: EndpointTable(_service_in(name)) for name in self._assumed_endpoints}
        return {**self._tables.endpoints, **assumed}

    def _check_enforced(self, authentication: str, path: KeyPath) -> None:
        """Refuse what would look protected and be open: a method that this build has nothing to check
        with."""
        table = self._tables.authentications.get(authentication)
        if table is None or table.method in {"none", "mutual_tls"}:
            return
        if CHECKING_MIDDLEWARE.get(table.method) not in self._available.middleware:
            self._document.report(path, f'checking method "{table.method}" at an endpoint is not in this build yet')

    def _with_addresses(
        self,
        endpoints: Mapping[str, Endpoint],
        pipelines: Mapping[str, Pipeline],
        serving_http: Collection[str],
    ) -> dict[str, Endpoint]:
        tables = self._endpoint_tables()
        located = {}
        for name, endpoint in endpoints.items():
            users = [pipeline for pipeline in pipelines.values() if name in pipeline.endpoints]
            peer = self._tables.peers.get(endpoint.peer or "")
            if isinstance(endpoint.options, DicomSCPOptions) and users:
                self._check_scp(name, tables[name], endpoint.options, peer, users)
                self._check_association_proof(endpoint)
            located[name] = listening.with_addresses(
                endpoint, tables[name], peer, users, self._tables.network, serving_http
            )
        return located

    def _check_association_proof(self, endpoint: Endpoint) -> None:
        """Refuse what an association cannot bring: credentials of HTTP."""
        table = self._tables.authentications.get(endpoint.authentication or "")
        if table is not None and table.method in CHECKING_MIDDLEWARE:
            path = ("endpoints", endpoint.name, "authentication")
            self._document.report(path, f'an association brings nothing that method "{table.method}" could check')

    def _check_scp(
        self, name: str, table: EndpointTable, options: DicomSCPOptions, peer: Target | None, users: list[Pipeline]
    ) -> None:
        if len(users) > 1:
            both = f"pipelines.{users[0].name} and pipelines.{users[1].name}"
            self._document.report(("endpoints", name), f"{both} both name it, but an association goes to one")
        protocol = table.connection.protocol
        if protocol is None and peer is not None:
            protocol = peer.connection.protocol or peer.protocol
        if protocol not in {None, "dicom", "dicoms"}:
            self._document.report(("endpoints", name), f'a dicom_scp speaks dicom or dicoms, not "{protocol}"')
        elif protocol == "dicoms" and not options.cert_path:
            self._document.report(("endpoints", name), 'dicoms needs "cert_path" and "key_path" in "options"')
        elif protocol == "dicom" and options.cert_path:
            self._document.report(("endpoints", name), 'with "cert_path" it speaks dicoms, and its protocol is dicom')

    # Backends

    def _backends(self, used: Collection[str]) -> dict[str, Backend]:
        found = {}
        for name, table in self._tables.backends.items():
            path: KeyPath = ("backends", name)
            available = self._available.backends if name in used else None
            paths = ((*path, "service"), (*path, "options"))
            service, options = self._names.typed(BACKENDS, table.service, table.options, paths, available)
            target = self._tables.targets.get(table.target_ref)
            if table.target_ref:
                self._names.known("targets", table.target_ref, (*path, "target_ref"), "target")
            if options is INVALID or (table.target_ref and target is None):
                continue
            try:
                found[name] = self._backend(name, service, table, options, target)
            except ConfigurationError as error:
                self._document.report(path, error.detail)
        return found

    def _backend(self, name: str, service: str, table: BackendTable, options: Any, target: Target | None) -> Backend:
        path: KeyPath = ("backends", name)
        inherited = target or Target()
        where = destination(table, options, target)
        if not inherited.enabled:
            self._document.warn((*path, "target_ref"), f'target "{table.target_ref}" is disabled; requests to it fail')
        own = self._names.authentication(table.authentication, (*path, "authentication"))
        return Backend(
            name=name,
            service=service,
            options=options,
            target=table.target_ref or None,
            host=where.host,
            port=where.port,
            base_url=where.base_url,
            use_tls=where.use_tls,
            ca_cert_path=where.ca_cert_path,
            called_ae_title=self._called_ae_title(path, table, options, target),
            authentication=own or inherited.authentication.removeprefix(PREFIX) or None,
            timeout_secs=inherited.timeout_secs if table.timeout_secs is None else table.timeout_secs,
            max_retries=inherited.max_retries if table.max_retries is None else table.max_retries,
            enabled=inherited.enabled,
        )

    def _called_ae_title(self, path: KeyPath, table: BackendTable, options: Any, target: Target | None) -> str:
        if not isinstance(options, DicomSCUOptions):
            return ""
        if options.aet is not None:
            return options.aet
        assumed, whence = ANY_SCP, "for want of a target"
        if target is not None:
            try:
                assumed, whence = ae_title(target.name or table.target_ref), "the target's name"
            except ConfigurationError:
                whence = "because the target's name is no AE title"
        self._document.warn(path, f'options.aet is missing; assumed: called AE title "{assumed}", {whence}')
        return assumed

    # What no pipeline needs to name

    def _management(self) -> Management:
        management = self._tables.management
        path: KeyPath = ("management", "authentication")
        authentication = self._names.authentication(management.authentication, path)
        if authentication is None:
            return replace(management, authentication="")
        self._check_enforced(authentication, path)
        network = self._tables.network.get(management.network)
        method = getattr(self._tables.authentications.get(authentication), "method", "")
        if method == "mutual_tls" and network is not None and not network.tcp_config.client_ca_path:
            sentence = f'mutual_tls needs tcp_config.client_ca_path of network "{management.network}"'
            self._document.report(path, sentence)
        return replace(management, authentication=authentication)

    def _check_unused_names(self) -> None:
        if self._tables.management.network:
            self._names.known("network", self._tables.management.network, ("management", "network"), "network")
        for kind, remote in (("peers", self._tables.peers), ("targets", self._tables.targets)):
            for name, table in remote.items():
                self._names.authentication(table.authentication, (kind, name, "authentication"))

    # What is open

    def _unauthenticated(
        self,
        pipelines: Iterable[Pipeline],
        endpoints: Mapping[str, Endpoint],
        middleware: Mapping[str, MiddlewareSettings],
    ) -> tuple[str, ...]:
        found = []
        tables = self._tables
        for pipeline in pipelines:
            open_at = listening.unauthenticated(pipeline, tables.network, endpoints, middleware, tables.authentications)
            if open_at:
                found.append(pipeline.name)
                sentence = f"whoever reaches {', '.join(open_at)} uses it without authentication"
                self._document.warn(("pipelines", pipeline.name), sentence)
        return tuple(found)


def _service_in(name: str) -> str:
    """Return the longest name of an endpoint service that `name` contains, or nothing."""
    return max((service for service in ENDPOINTS.options if service in name), key=len, default="")


def _named(pipelines: Iterable[Pipeline], kind: str) -> frozenset[str]:
    """Return what the pipelines name of one kind."""
    return frozenset(name for pipeline in pipelines for name in getattr(pipeline, kind))
