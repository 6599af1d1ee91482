"""Configuration -> a running gateway: backends, pipelines, listeners; readiness, and draining at the end.

`Gateway` is a Twisted service. Add it to any application; it takes the reactor it is given, installs none, and
touches nothing global.
"""

import os
import socket
from collections.abc import Mapping
from typing import Any

import orjson
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.web.resource import IResource

from harmonygw import __version__, journal
from harmonygw.config.model import Configuration, Network, Pipeline
from harmonygw.config.options import Availability
from harmonygw.errors import ConfigurationError
from harmonygw.net.http.limits import BACKLOG, HTTPLimits
from harmonygw.net.http.server import HTTPSite
from harmonygw.net.http.tls import server_options
from harmonygw.net.http.tree import PrefixTree, Text, ToHTTPS
from harmonygw.pipeline import (
    BACKENDS,
    ENDPOINTS,
    MIDDLEWARE,
    RULE_TYPES,
    Context,
    EndpointContext,
    IBackend,
    IMiddleware,
    Proceed,
    TwoSided,
    chain,
    load,
)

log = Logger()


def available() -> Availability:
    """Return the types that this build has."""
    return Availability(
        endpoints=frozenset(ENDPOINTS),
        backends=frozenset(BACKENDS),
        middleware=frozenset(MIDDLEWARE),
        rule_types=frozenset(RULE_TYPES),
    )


class Gateway(Service):
    """Everything a configuration describes, started and stopped together."""

    def __init__(self, configuration: Configuration, reactor: Any) -> None:
        self.configuration = configuration
        self._reactor = reactor
        self._backends: dict[str, IBackend] = {}
        self._middleware: dict[str, IMiddleware] = {}
        self._endpoints: list[Any] = []
        self._trees: dict[str, PrefixTree] = {}
        self._sites: list[HTTPSite] = []
        self._ports: list[IListeningPort] = []
        self._listening: list[Any] = []
        self._started = False
        self._stopping = False
        self._build()

    # Building

    def _build(self) -> None:
        for pipeline in self.configuration.pipelines.values():
            proceed, backend = self._chain(pipeline)
            for name in pipeline.endpoints:
                self._place(name, pipeline, proceed, backend)
        management = self.configuration.management
        if management.enabled:
            context = EndpointContext(
                None, self._no_pipeline, self.configuration, self._reactor, describe=self.describe
            )
            endpoint = load(ENDPOINTS["management"])(context)
            self._tree(management.network).put(management.base_path, endpoint.resource())

    def _chain(self, pipeline: Pipeline) -> tuple[Proceed, IBackend | None]:
        if len(pipeline.backends) > 1:
            raise ConfigurationError(
                (
                    f"pipelines.{pipeline.name}.backends: several backends for one pipeline are not in this build yet",
                )
            )
        backend = self._backend(pipeline.backends[0]) if pipeline.backends else None
        last = backend.respond if backend is not None else _no_backend(pipeline.name)
        if pipeline.middleware is None:
            left = [self._step(name) for name in pipeline.left]
            right = [self._step(name) for name in pipeline.right]
            return chain([TwoSided(left, right)], last), backend
        return chain([self._step(name) for name in pipeline.middleware], last), backend

    def _backend(self, name: str) -> IBackend:
        if name not in self._backends:
            settings = self.configuration.backends[name]
            kind = self._load(settings.service, BACKENDS, self.configuration.services)
            self._backends[name] = kind(Context(settings, self.configuration, self._reactor))
        return self._backends[name]

    def _step(self, name: str) -> IMiddleware:
        if name not in self._middleware:
            settings = self.configuration.middleware[name]
            kind = self._load(settings.type, MIDDLEWARE, self.configuration.middleware_types)
            self._middleware[name] = kind(Context(settings, self.configuration, self._reactor))
        return self._middleware[name]

    def _place(self, name: str, pipeline: Pipeline, proceed: Proceed, backend: IBackend | None) -> None:
        settings = self.configuration.endpoints[name]
        kind = self._load(settings.service, ENDPOINTS, self.configuration.services)
        if settings.addresses:
            self._endpoints.append(
                kind(EndpointContext(settings, proceed, self.configuration, self._reactor, backend=backend))
            )
            return
        for network in pipeline.networks:
            limits = self.configuration.networks[network].limits
            endpoint = kind(
                EndpointContext(
                    settings,
                    proceed,
                    self.configuration,
                    self._reactor,
                    write_timeout=limits.write_timeout_secs,
                    describe=self.describe,
                    backend=backend,
                )
            )
            self._tree(network).put(settings.options.path_prefix, endpoint.resource())

    def _tree(self, network: str) -> PrefixTree:
        if network not in self._trees:
            tree = self._trees[network] = PrefixTree()
            tree.put("/healthz", Text(self._health))
            tree.put("/readyz", Text(self._readiness))
        return self._trees[network]

    @staticmethod
    def _load(name: str, built_in: Mapping[str, str], registered: Mapping[str, Any]) -> Any:
        registration = registered.get(name)
        return load(
            registration.module if registration is not None and registration.module else built_in[name]
        )

    @staticmethod
    def _no_pipeline(request: Any) -> "Deferred[Any]":
        raise ConfigurationError(("the management API has no pipeline",))

    # What others may use

    def resource(self, network: str) -> IResource:
        """Return the root of a network's tree, to be mounted in somebody else's site instead of listening here."""
        return self._trees[network]

    def backend(self, name: str) -> IBackend:
        """Return a backend that some pipeline uses."""
        return self._backends[name]

    @property
    def ready(self) -> bool:
        """Whether requests are wanted: everything has started, and nothing is stopping."""
        return self._started and not self._stopping

    def describe(self) -> dict[str, Any]:
        """Describe the running gateway, without secrets."""
        configuration = self.configuration
        return {
            "info": {
                "id": configuration.proxy.id or configuration.proxy.name,
                "version": __version__,
                "ready": self.ready,
                "unauthenticated": bool(configuration.unauthenticated),
                "warnings": list(configuration.warnings),
            },
            "pipelines": {
                pipeline.name: {
                    "description": pipeline.description,
                    "networks": list(pipeline.networks),
                    "endpoints": list(pipeline.endpoints),
                    "middleware": list(pipeline.middleware_names),
                    "backends": list(pipeline.backends),
                    "unauthenticated": pipeline.name in configuration.unauthenticated,
                }
                for pipeline in configuration.pipelines.values()
            },
            "routes": [
                {
                    "network": network,
                    "address": _address(configuration.networks[network]),
                    "path_prefix": route.path_prefix,
                    "pipeline": route.pipeline,
                    "endpoint": route.endpoint,
                }
                for network, routes in configuration.routes.items()
                for route in routes
            ],
            "targets": {name: backend.state() for name, backend in self._backends.items()},
        }

    # The service's life

    def setServiceParent(self, parent: Any) -> None:
        """Join a parent; a twistd application without a log observer of its own gets ours."""
        if isinstance(parent, Componentized) and parent.getComponent(ILogObserver, None) is None:
            parent.setComponent(ILogObserver, journal.observer(self.configuration.logging))
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Bind the ports, while the process may still bind low ones."""
        super().privilegedStartService()
        self.listen()

    def listen(self) -> None:
        """Listen on every HTTP network, once; an embedder that mounts `resource` itself does not call it."""
        if self._ports:
            return
        for name, tree in self._trees.items():
            network = self.configuration.networks[name]
            settings = network.tcp_config
            root: IResource = ToHTTPS() if settings.force_https and not settings.cert_path else tree
            site = HTTPSite(root, limits=_limits(network), reactor=self._reactor)
            self._sites.append(site)
            if settings.cert_path:
                options = server_options(settings.cert_path, settings.key_path, settings.client_ca_path)
                port = self._reactor.listenSSL(
                    settings.bind_port, site, options, backlog=BACKLOG, interface=settings.bind_address
                )
            else:
                port = self._reactor.listenTCP(
                    settings.bind_port, site, backlog=BACKLOG, interface=settings.bind_address
                )
            self._ports.append(port)

    def startService(self) -> None:
        """Start backends and DIMSE listeners; `ready` once all have."""
        super().startService()
        self.listen()
        for warning in self.configuration.warnings:
            log.warn("{warning}", warning=warning)
        self._begun = ensureDeferred(self._begin())
        self._begun.addErrback(self._cannot_begin)

    async def _begin(self) -> None:
        for backend in self._backends.values():
            await maybeDeferred(_as_deferred, backend.start())
        for endpoint in self._endpoints:
            await maybeDeferred(_as_deferred, endpoint.start())
            self._listening.append(endpoint)
        self._started = True
        _notify_systemd("READY=1")
        log.info("ready")

    def _cannot_begin(self, failure: Any) -> None:
        if self._stopping:
            return
        log.failure("the gateway cannot start", failure)
        self._reactor.stop()

    def stopService(self) -> "Deferred[None]":
        """Drain: say that no more is wanted, stop accepting, let exchanges end within a deadline, then abort."""
        super().stopService()
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        _notify_systemd("STOPPING=1")
        proxy = self.configuration.proxy
        if self._started and self._sites and proxy.drain_delay_secs:
            log.info("draining: /readyz says 503 for {secs:g} s", secs=proxy.drain_delay_secs)
            await deferLater(self._reactor, proxy.drain_delay_secs)
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        drained = DeferredList([site.connections.drain() for site in self._sites])
        deadline = self._reactor.callLater(proxy.drain_timeout_secs, self._cut_off)
        await drained
        if deadline.active():
            deadline.cancel()
        for part in (*self._listening, *self._backends.values()):
            await maybeDeferred(_as_deferred, part.stop())
        log.info("stopped")

    def _cut_off(self) -> None:
        log.warn("exchanges have not ended within drain_timeout_secs; they are broken off")
        for site in self._sites:
            site.connections.abort()

    # Health

    def _health(self) -> tuple[int, str, bytes]:
        return 200, "application/json", b'{"alive":true}'

    def _readiness(self) -> tuple[int, str, bytes]:
        state = {
            "ready": self.ready,
            "unauthenticated": bool(self.configuration.unauthenticated),
            "targets": {name: bool(backend.state()["ready"]) for name, backend in self._backends.items()},
        }
        return (200 if self.ready else 503), "application/json", orjson.dumps(state)


def _no_backend(pipeline: str) -> Any:
    async def respond(request: Any) -> Any:
        raise ConfigurationError((f"pipelines.{pipeline}: it has no backend that could answer",))

    return respond


def _as_deferred(result: Any) -> Any:
    return (
        ensureDeferred(result)
        if hasattr(result, "__await__") and not isinstance(result, Deferred)
        else result
    )


def _limits(network: Network) -> HTTPLimits:
    limits = network.limits
    return HTTPLimits(
        header_timeout_secs=limits.header_timeout_secs,
        body_timeout_secs=limits.body_timeout_secs,
        write_timeout_secs=limits.write_timeout_secs,
        keepalive_timeout_secs=limits.keepalive_timeout_secs,
        max_connections=limits.max_connections,
        max_connections_per_address=limits.max_connections_per_address,
        max_header_bytes=limits.max_header_bytes,
        max_request_bytes=limits.max_request_bytes or 0,
    )


def _address(network: Network) -> str:
    return f"{network.tcp_config.bind_address}:{network.tcp_config.bind_port}"


def _notify_systemd(state: str) -> None:
    """Tell systemd (sd_notify(3)), when it started us with Type=notify; nothing happens otherwise."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notification:
        notification.connect("\0" + address[1:] if address.startswith("@") else address)
        notification.send(state.encode())
