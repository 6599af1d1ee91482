"""The gateway's life: what was built begins, listens, is ready, drains and ends."""
# mypy: allow-untyped-calls

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import orjson
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, fail, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from harmonygw import __version__
from harmonygw.audit.trail import Repository
from harmonygw.config.model import Configuration, ListeningAddress, Network
from harmonygw.errors import ConfigurationError, HarmonyError, TransportError
from harmonygw.net.http.forwarded import Forwarded
from harmonygw.net.http.limits import BACKLOG, HTTPLimits
from harmonygw.net.http.server import HTTPSite
from harmonygw.net.http.tree import Text, ToHTTPS
from harmonygw.pipeline import Proceed
from harmonygw.service.auditing import trail_of
from harmonygw.service.house import House

log = Logger()

ENDING_SECS: Final = 5.0
"""Seconds that what was broken off, or told to stop, has to come to its end; the rest of the house goes on then."""


class Gateway(Service):
    """Everything a configuration describes, started and stopped together, once.

    Building raises `ConfigurationError` with every problem that is found.
    """

    def __init__(self, configuration: Configuration, reactor: Any, *, audit_delivery: Repository | None = None) -> None:
        """`audit_delivery` takes the messages of the audit trail in the place of what the configuration says."""
        self.configuration = configuration
        self._reactor = reactor
        health = {"/healthz": Text(self._health), "/readyz": Text(self._readiness)}
        self._trail = trail_of(configuration, reactor, audit_delivery)
        self._house = House(configuration, reactor, self.describe, health, self._trail)
        self._mounted: set[str] = set()
        self._sites: list[HTTPSite] = []
        self._ports: dict[str, IListeningPort] = {}
        self._bound = False
        self._begun: set[str] = set()
        self._beginning: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._failure: Failure | None = None
        self._started = False
        self._stopping = False

    # What others may use

    def resource(self, network: str) -> IResource:
        """Return the root of a network, to be mounted in somebody else's site; the gateway does not listen there then.

        Raises `ConfigurationError` when the network serves no HTTP.
        """
        root = self._root(network)
        self._mounted.add(network)
        return root

    def pipeline(self, name: str) -> Proceed:
        """Return a pipeline: a call with a `Request` fires with its `Reply`, or fails with what `errors` names.

        Raises `ConfigurationError` when there is none.
        """
        try:
            return self._house.pipelines[name]
        except KeyError:
            raise ConfigurationError((f'there is no pipeline "{name}"',)) from None

    def address(self, network: str) -> ListeningAddress:
        """Return where an HTTP network listens: with the port that the system chose, once it has."""
        settings = self.configuration.networks[network].tcp_config
        port = self._ports.get(network)
        bound: Any = port.getHost() if port is not None else None
        return ListeningAddress(settings.bind_address, bound.port if bound is not None else settings.bind_port)

    @property
    def ready(self) -> bool:
        """Whether requests are wanted: everything has started, and nothing is stopping."""
        return self._started and not self._stopping

    def when_ready(self) -> "Deferred[None]":
        """Fire when everything has started; fails with what prevented it, once all that had started has stopped."""
        if self._failure is not None:
            return fail(self._failure)
        if self._started:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

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
                    "several": self._house.several[pipeline.name].state()
                    if pipeline.name in self._house.several
                    else None,
                    "unauthenticated": pipeline.name in configuration.unauthenticated,
                }
                for pipeline in configuration.pipelines.values()
            },
            "routes": [
                {
                    "network": network,
                    "address": _text(self.address(network)),
                    "path_prefix": route.path_prefix,
                    "pipeline": route.pipeline,
                    "endpoint": route.endpoint,
                }
                for network, routes in configuration.routes.items()
                for route in routes
            ],
            "targets": {name: backend.state() for name, backend in self._house.backends.items()},
            "audit": None if self._trail is None else self._trail.state(),
            "middleware": {name: step.state() for name, step in self._house.all_middleware() if hasattr(step, "state")},
        }

    def reload_certificates(self) -> None:
        """Read the certificates and keys of all listeners again, for connections from now on.

        What cannot be used is told in the log, and the listener goes on with what it had.
        """
        for what, certificates in self._house.certificates_in_use():
            try:
                certificates.reload()
            except ConfigurationError as error:
                log.error("{what} goes on with the certificate that it has: {error}", what=what, error=error)
            else:
                log.info("{what}: the certificate was read again", what=what)

    # Beginning

    def privilegedStartService(self) -> None:
        """Bind the ports, while the process may still bind low ones."""
        super().privilegedStartService()
        self.listen()

    def startService(self) -> None:
        """Start backends and DIMSE listeners; `ready` once all have."""
        super().startService()
        self.listen()
        for warning in self.configuration.warnings:
            log.warn("{warning}", warning=warning)
        self._beginning = Deferred.fromCoroutine(self._begin())

    def listen(self) -> None:
        """Bind every port, once. Raises `ConfigurationError` when one cannot be had; then none stays bound."""
        if self._bound:
            return
        self._bound = True
        problems: list[str] = []
        for network in self._house.trees:
            if network not in self._mounted:
                try:
                    self._ports[network] = self._bind(network)
                except CannotListenError as error:
                    problems.append(f"network.{network}: {_refused(error)} (tcp_config.bind_address, bind_port)")
        for name, door in self._house.doors.items():
            self._begun.add(f"endpoints.{name}")
            try:
                getattr(door, "listen", _nothing)()
            except ConfigurationError as error:
                problems.extend(error.problems)
        if problems:
            Deferred.fromCoroutine(self._close())
            raise ConfigurationError(tuple(problems))

    def _bind(self, network: str) -> IListeningPort:
        settings = self.configuration.networks[network].tcp_config
        site = HTTPSite(
            self._root(network),
            limits=_limits(self.configuration.networks[network]),
            hsts_max_age_secs=settings.hsts_max_age_secs,
            reactor=self._reactor,
        )
        bind: Callable[..., IListeningPort] = partial(self._reactor.listenTCP, settings.bind_port, site)
        if settings.cert_path:
            bind = partial(self._reactor.listenSSL, settings.bind_port, site, self._house.certificates[network])
        port = bind(backlog=BACKLOG, interface=settings.bind_address)
        self._sites.append(site)
        return port

    def _root(self, network: str) -> IResource:
        try:
            root: IResource = self._house.trees[network]
        except KeyError:
            raise ConfigurationError((f'network "{network}" serves no HTTP',)) from None
        settings = self.configuration.networks[network]
        if settings.tcp_config.force_https:
            root = ToHTTPS(root)
        return Forwarded(root, settings.trusted_proxies) if settings.trusted_proxies else root

    async def _begin(self) -> None:
        try:
            await self._start_parts()
        except CancelledError:
            self._failure = Failure(TransportError("the gateway was stopped before it was ready"))
        except HarmonyError as error:
            log.error("the gateway cannot start: {error}", error=error)
            self._failure = Failure()
        except Exception:  # noqa: BLE001 - a third party's part may raise anything
            log.failure("the gateway cannot start")
            self._failure = Failure()
        else:
            self._started = True
        if self._failure is not None and not self._stopping:
            await self._close()
        self._tell_waiting()
        if self._started:
            log.info("ready")

    async def _start_parts(self) -> None:
        for what, part in self._house.parts():
            self._begun.add(what)
            try:
                await maybeDeferred(part.start)
            except CannotListenError as error:
                raise ConfigurationError((f"{what}: {_refused(error)}",)) from error

    def _tell_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if self._failure is None:
                one.callback(None)
            else:
                one.errback(self._failure)

    # Ending

    def stopService(self) -> "Deferred[None]":
        """Drain: say that no more is wanted, stop accepting, let exchanges end within a deadline, then abort."""
        super().stopService()
        if self._stopping:
            return succeed(None)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        if self._beginning is not None:
            self._beginning.cancel()
        proxy = self.configuration.proxy
        if self._started and self._house.trees and proxy.drain_delay_secs:
            log.info("draining: /readyz says 503 for {secs:g} s", secs=proxy.drain_delay_secs)
            await deferLater(self._reactor, proxy.drain_delay_secs)
        await self._stop_listening()
        draining = [site.connections.drain() for site in self._sites]
        doors = (*self._house.entrances, *self._house.doors.values())
        draining.extend(maybeDeferred(getattr(door, "drain", _nothing)) for door in doors)
        if not await self._all_within(proxy.drain_timeout_secs, draining):
            log.warn("exchanges have not ended within drain_timeout_secs; they are broken off")
        await self._close()
        await self._all_within(ENDING_SECS, [site.connections.drain() for site in self._sites])
        log.info("stopped")

    async def _stop_listening(self) -> None:
        ports, self._ports = self._ports, {}
        await DeferredList([maybeDeferred(port.stopListening) for port in ports.values()], consumeErrors=True)

    async def _close(self) -> None:
        """End everything that is open, at once."""
        await self._stop_listening()
        for entrance in self._house.entrances:
            getattr(entrance, "stop", _nothing)()
        for site in self._sites:
            site.connections.abort()
        begun, self._begun = self._begun, set()
        for what, part in reversed(tuple(self._house.parts())):
            if what in begun:
                await self._end(what, part)

    async def _end(self, what: str, part: Any) -> None:
        try:
            await maybeDeferred(part.stop).addTimeout(ENDING_SECS, self._reactor)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - whatever keeps one part from stopping, the others stop
            log.failure("{what} did not stop", what=what)

    def _all_within(self, seconds: float, waiting: "Iterable[Deferred[Any]]") -> "Deferred[bool]":
        """Fire with whether all have fired within some seconds, as soon as that is known."""
        known: Deferred[bool] = Deferred()
        deadline = self._reactor.callLater(seconds, known.callback, False)

        def all_have(_results: object) -> None:
            if deadline.active():
                deadline.cancel()
                known.callback(True)

        DeferredList(tuple(waiting), consumeErrors=True).addCallback(all_have)
        return known

    # Health

    def _health(self) -> tuple[int, str, bytes]:
        return 200, "application/json", b'{"alive":true}'

    def _readiness(self) -> tuple[int, str, bytes]:
        state = {
            "ready": self.ready,
            "unauthenticated": bool(self.configuration.unauthenticated),
            "targets": {name: bool(backend.state()["ready"]) for name, backend in self._house.backends.items()},
        }
        return (200 if self.ready else 503), "application/json", orjson.dumps(state)


def _limits(network: Network) -> HTTPLimits:
    """Return the limits of a listener; what an endpoint takes without a limit streams."""
    return HTTPLimits(**{**asdict(network.limits), "max_request_bytes": network.limits.max_request_bytes or 0})


def _text(address: ListeningAddress) -> str:
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def _refused(error: CannotListenError) -> str:
    address = _text(ListeningAddress(error.interface or "*", error.port))
    return f"cannot listen on {address}: {error.socketError.strerror or error.socketError}"


def _nothing() -> None:
    """Stand in for what a part need not have."""
