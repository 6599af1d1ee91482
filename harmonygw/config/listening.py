"""Where the gateway listens: which network serves HTTP, where each `dicom_scp` is, what collides, and what is
open."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from types import MappingProxyType
from typing import NamedTuple

from harmonygw.config.locating import KeyPath, dotted
from harmonygw.config.model import (
    Authentication,
    Backend,
    Endpoint,
    ListeningAddress,
    Management,
    MiddlewareSettings,
    Network,
    Pipeline,
    Route,
    is_loopback,
)
from harmonygw.config.options import DicomSCPOptions, DicomSCUOptions
from harmonygw.config.reading import Document
from harmonygw.config.system import Connection, Target
from harmonygw.config.tables import EndpointTable

DEFAULT_SCP_PORT = 11112
"""The port that IANA registers as `dicom`, for a `dicom_scp` whose address nothing states."""

HTTP_SERVICES = frozenset({"dicomweb", "http", "echo", "management", "viewer"})
"""The endpoint services that a network serves over HTTP, below a path prefix."""

AUTHENTICATING = frozenset({"basic_auth", "jwt_auth", "token_auth"})
"""The middleware types that let nobody through whom they do not know."""


class Listener(NamedTuple):
    """A TCP socket that will be opened, and the table that asks for it."""

    host: str
    port: int
    path: KeyPath
    may_share: bool
    """Whether another listener for associations may use the same socket."""


def routes(
    networks: Mapping[str, Network],
    pipelines: Mapping[str, Pipeline],
    endpoints: Mapping[str, Endpoint],
    management: Management,
    document: Document,
) -> Mapping[str, tuple[Route, ...]]:
    """Return the HTTP endpoints of each network, longest prefix first; two with one prefix are a problem."""
    found: dict[str, dict[str, Route]] = {}
    if management.enabled and management.network in networks:
        found[management.network] = {management.base_path: Route(management.base_path, "", "management")}
    for pipeline in pipelines.values():
        for position, name in enumerate(pipeline.endpoints):
            endpoint = endpoints.get(name)
            if endpoint is None or endpoint.service not in HTTP_SERVICES or isinstance(endpoint.options, Mapping):
                continue
            route = Route(endpoint.options.path_prefix, pipeline.name, name)
            for network in pipeline.networks:
                if network not in networks:
                    continue
                taken = found.setdefault(network, {}).setdefault(route.path_prefix, route)
                if taken is not route:
                    document.report(
                        ("pipelines", pipeline.name, "endpoints", position),
                        f'path prefix "{route.path_prefix or "/"}" on network "{network}" is already that of '
                        + (
                            f'endpoint "{taken.endpoint}" of pipelines.{taken.pipeline}'
                            if taken.pipeline
                            else "management"
                        ),
                    )
    return MappingProxyType(
        {
            network: tuple(sorted(table.values(), key=lambda route: len(route.path_prefix), reverse=True))
            for network, table in found.items()
        }
    )


def with_addresses(
    endpoint: Endpoint,
    table: EndpointTable,
    peer: Target | None,
    users: Iterable[Pipeline],
    networks: Mapping[str, Network],
    serving_http: Iterable[str],
) -> Endpoint:
    """Return a `dicom_scp` endpoint with the addresses it listens on: one for each network, unless it has its
    own.

    Host and port are found each for itself: the options, the table's connection, the peer's, the network's,
    and for the port of a network that serves HTTP `DEFAULT_SCP_PORT`.
    """
    options = endpoint.options
    if not isinstance(options, DicomSCPOptions):
        return endpoint
    peer_connection = peer.connection if peer else Connection()
    host = options.bind_addr or table.connection.host or peer_connection.host
    ports = (options.port, table.connection.port, peer_connection.port)
    port = next((one for one in ports if one is not None), None)
    addresses: dict[ListeningAddress, None] = {}
    for name in dict.fromkeys(name for pipeline in users for name in pipeline.networks if name in networks):
        network = networks[name]
        inherited = DEFAULT_SCP_PORT if name in serving_http else network.bind_port
        address = ListeningAddress(host or network.bind_address, inherited if port is None else port)
        addresses[address] = None
    return replace(endpoint, addresses=tuple(addresses))


def report_collisions(
    networks: Mapping[str, Network],
    serving_http: Iterable[str],
    endpoints: Iterable[Endpoint],
    backends: Iterable[Backend],
    document: Document,
) -> None:
    """Report each pair of listeners that want one address and port."""
    listeners = [
        Listener(networks[name].bind_address, networks[name].bind_port, ("network", name), False)
        for name in serving_http
    ]
    for endpoint in endpoints:
        listeners += [Listener(*address, ("endpoints", endpoint.name), False) for address in endpoint.addresses]
    for backend in backends:
        options = backend.options
        if isinstance(options, DicomSCUOptions) and options.incoming_store_port is not None:
            path = ("backends", backend.name, "options", "incoming_store_port")
            listeners.append(Listener("::", options.incoming_store_port, path, True))
    for first, second in combinations(listeners, 2):
        if _collide(first, second):
            other = f"{dotted(first.path[:2])} ({document.place(first.path)})"
            document.report(second.path, f"listens on port {second.port}, and so does {other}")


def _collide(first: Listener, second: Listener) -> bool:
    if first.port != second.port or first.port == 0 or first.path == second.path:
        return False
    # The port of a C-MOVE's sub-operations is that of an SCP of ours, or another backend's.
    if second.may_share and (first.may_share or first.path[0] == "endpoints"):
        return False
    hosts = {"127.0.0.1" if one.host == "localhost" else one.host for one in (first, second)}
    return len(hosts) == 1 or "::" in hosts or ("0.0.0.0" in hosts and not any(":" in host for host in hosts))  # noqa: S104


def unauthenticated(
    pipeline: Pipeline,
    networks: Mapping[str, Network],
    endpoints: Mapping[str, Endpoint],
    middleware: Mapping[str, MiddlewareSettings],
    authentications: Mapping[str, Authentication],
) -> tuple[str, ...]:
    """Return the addresses, as `host:port`, on which others than this machine reach a pipeline without
    authentication."""
    steps = (middleware[name] for name in pipeline.middleware_names if name in middleware)
    if any(step.type in AUTHENTICATING for step in steps):
        return ()
    places: dict[str, None] = {}
    for name in pipeline.endpoints:
        endpoint = endpoints.get(name)
        if endpoint is None or _demands_proof(endpoint, authentications):
            continue
        if endpoint.service in HTTP_SERVICES:
            reached = (networks[one] for one in pipeline.networks if one in networks)
            at = [(one.bind_address, one.bind_port) for one in reached if not one.tcp_config.client_ca_path]
        elif getattr(endpoint.options, "client_ca_path", ""):
            continue
        else:
            at = [(address.host, address.port) for address in endpoint.addresses]
        places.update({f"{host}:{port}": None for host, port in at if not is_loopback(host)})
    return tuple(places)


def _demands_proof(endpoint: Endpoint, authentications: Mapping[str, Authentication]) -> bool:
    authentication = authentications.get(endpoint.authentication or "")
    # Client certificates are demanded by the network, not by the endpoint.
    return authentication is not None and authentication.method not in {"none", "mutual_tls"}
