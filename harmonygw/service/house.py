"""Configuration -> parts: backends, middleware, pipelines and endpoints, built and not yet begun."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import IResource

from harmonygw import journal
from harmonygw.audit.accounting import Accounting
from harmonygw.audit.trail import Trail
from harmonygw.config.constraints import path_prefix
from harmonygw.config.model import Configuration, MiddlewareSettings, Pipeline, Registration
from harmonygw.config.options import MIDDLEWARE as MIDDLEWARE_TYPES
from harmonygw.config.options import Availability
from harmonygw.config.references import CHECKING_MIDDLEWARE
from harmonygw.confining import Placing
from harmonygw.errors import ConfigurationError, NotFound
from harmonygw.exchange import Reply, Request
from harmonygw.net.http.forwarded import Forwarded
from harmonygw.net.http.tree import PrefixTree, ToHTTPS
from harmonygw.net.ports import Upcoming
from harmonygw.net.tls import ServerCertificates
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
    Respond,
    TwoSided,
    chain,
    fold,
    load,
)
from harmonygw.service.disabled import Disabled
from harmonygw.service.inheritance import Inheritance
from harmonygw.service.ordering import guarded
from harmonygw.service.soundness import BRIDGE, HTTP_BACKENDS, check, is_third_party
from harmonygw.several import Several

log = Logger()

T = TypeVar("T")

DIMSE_BACKENDS: Final = frozenset({"dicom_scu"})
"""The backends before which the requests of an `http` endpoint become operations. To `storage` such a request is an
upload."""

DIMSE_OVER_HTTP: Final = "harmonygw.middleware.dimse_over_http:DIMSEOverHTTP"
"""What makes them so, behind the middleware that a pipeline names."""

IMPLICIT: Final = "(dimse_over_http)"
"""What that is called where it is described: no name that a table of a configuration is likely to have."""


def available() -> Availability:
    """Return the types that this build has."""
    return Availability(
        endpoints=frozenset(ENDPOINTS),
        backends=frozenset(BACKENDS),
        middleware=frozenset(MIDDLEWARE),
        rule_types=frozenset(RULE_TYPES),
    )


@dataclass(frozen=True, slots=True)
class Ground:
    """What the houses of a gateway stand on, one after another."""

    reactor: Any
    describe: Callable[[], dict[str, Any]]
    everywhere: Mapping[str, IResource]
    """What stands on every network, by path."""
    houses: "Callable[[], Iterable[House]]"
    """Those that live: the next one, this one, and those of before whose exchanges have not ended."""
    reload: "Callable[[], Awaitable[dict[str, Any]]] | None" = None
    """Reads the configuration again; None where nobody knows whence it came."""
    trail: Trail | None = None
    """What is told of every exchange; None where there is no audit trail."""
    current: "Callable[[], House | None]" = lambda: None
    """The one that is in force; None before there is one."""


class House:
    """What a configuration describes, built and not yet begun. Backends and middleware are shared by their names.

    Parts of the house `before` that would be built from the same are in this one too. Raises `ConfigurationError` with
    every problem that is found.
    """

    def __init__(
        self, configuration: Configuration, ground: Ground, ports: Upcoming, before: "House | None" = None
    ) -> None:
        self.configuration = configuration
        """What it was built from."""
        self._configuration = configuration
        self._ground = ground
        self._reactor = ground.reactor
        self._ended = journal.write if ground.trail is None else ground.trail.ended
        self.ports = ports
        """Where its parts listen."""
        self.inheritance: Inheritance = Inheritance(before.inheritance if before is not None else None)
        """Which of its parts were in the house before."""
        self._problems: dict[str, None] = {}
        users = configuration.pipelines.values()
        self.backends = self._built("backends", (name for one in users for name in one.backends), self._backend)
        self.middleware = self._built(
            "middleware", (name for one in users for name in one.middleware_names), self._step
        )
        self.dimse_over_http: Any = None
        """Makes operations of HTTP requests that are not DICOMweb, for all pipelines that need it."""
        if any(map(self._needs_dimse_over_http, users)):
            self.dimse_over_http = self._built("middleware", (IMPLICIT,), self._dimse_over_http).get(IMPLICIT)
        sound = self._built("pipelines", configuration.pipelines, self._checked)
        self.several = {
            name: Several(one, configuration.backends, self.backends, self._reactor)
            for name, one in sound.items()
            if len(one.backends) > 1 and self._has_its_parts(one)
        }
        """What stands for the backends of pipelines that have several."""
        whole = [name for name, one in sound.items() if self._has_its_parts(one)]
        self.pipelines = self._built("pipelines", whole, lambda name: self._chain(sound[name]))
        self.entrances: list[Any] = []
        """The HTTP endpoints, one for each network."""
        self.doors: dict[str, Any] = {}
        """Every other endpoint."""
        self.ways_in: dict[tuple[str, str], Proceed] = {}
        """What continues an exchange of such an endpoint, by its pipeline and its name."""
        self.guards: dict[str, IMiddleware] = {}
        """What checks the credentials that endpoints themselves demand, by where they are in the configuration."""
        self.trees: dict[str, PrefixTree] = {}
        for name, proceed in self.pipelines.items():
            pipeline = sound[name]
            self._built("endpoints", pipeline.endpoints, partial(self._place, pipeline, proceed))
        if configuration.management.enabled:
            self._built("management", ("",), self._place_management)
        secured = [name for name in self.trees if configuration.networks[name].uses_tls]
        self.certificates = self._built("network", secured, self._certificate)
        self._check_folders()
        if self._problems:
            raise configuration.told(self._problems)

    def _check_folders(self) -> None:
        """Find parts that want one folder each for itself."""
        owners: dict[Any, str] = {}
        for place, part in self.parts():
            folder = getattr(part, "folder", None)
            if folder is not None and owners.setdefault(folder, place) != place:
                self._problems[f"{place}: its folder is that of {owners[folder]}: {folder}"] = None

    def root(self, network: str) -> IResource:
        """Return what a network serves; raises `ConfigurationError` when that is no HTTP."""
        try:
            root: IResource = self.trees[network]
        except KeyError:
            raise ConfigurationError((f'network "{network}" serves no HTTP',)) from None
        settings = self._configuration.networks[network]
        if settings.tcp_config.force_https:
            root = ToHTTPS(root)
        return Forwarded(root, settings.trusted_proxies) if settings.trusted_proxies else root

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Yield what starts and stops, in the order of starting, with where it is in the configuration."""
        for name, backend in self.backends.items():
            yield f"backends.{name}", backend
        for name, step in self.all_middleware():
            if hasattr(step, "start"):
                yield f"middleware.{name}", step
        for place, guard in self.guards.items():
            if hasattr(guard, "start"):
                yield f"{place}.authentication", guard
        for name, door in self.doors.items():
            yield f"endpoints.{name}", door

    def certificates_in_use(self) -> Iterator[tuple[str, Any]]:
        """Yield what has certificates that can be read again, with where it is in the configuration."""
        for network, certificates in self.certificates.items():
            yield f"network.{network}", certificates
        for name, backend in self.backends.items():
            for one in getattr(backend, "certificates", ()):
                yield f"backends.{name}", one
        for name, door in self.doors.items():
            for one in getattr(door, "certificates", ()):
                yield f"endpoints.{name}", one

    def all_middleware(self) -> Iterator[tuple[str, Any]]:
        """Yield what pipelines name, and what the house has put there by itself, each with a name."""
        yield from self.middleware.items()
        if self.dimse_over_http is not None:
            yield IMPLICIT, self.dimse_over_http

    async def purge(self, middleware: str, study_instance_uid: str) -> int:
        """Let a middleware forget a study; raises `NotFound` when there is none that keeps any, and what it raises."""
        step: Any = self.middleware.get(middleware)
        if not hasattr(step, "purge"):
            raise NotFound("There is no middleware of this name that keeps studies.")
        removed: int = await step.purge(study_instance_uid)
        log.info(
            "{removed} instances of study {study} were purged from {middleware} by hand",
            removed=removed,
            study=study_instance_uid,
            middleware=middleware,
        )
        return removed

    def _built(self, kind: str, names: Iterable[str], build: Callable[[str], T]) -> dict[str, T]:
        """Return what can be built, by name; why the rest cannot goes to the problems."""
        built: dict[str, T] = {}
        for name in dict.fromkeys(names):
            place = f"{kind}.{name}" if name else kind
            try:
                built[name] = build(name)
            except ConfigurationError as error:
                self._problems.update(
                    (one if one.startswith(place) else f"{place}: {one}", None) for one in error.problems
                )
            except Exception as error:  # noqa: BLE001 - a third party's class may raise anything
                log.failure("{place} cannot be built", place=place)
                self._problems[f"{place}: cannot be built: {type(error).__name__}: {error}"] = None
        return built

    def _backend(self, name: str) -> IBackend:
        settings = self._configuration.backends[name]
        kind = _load(settings.service, BACKENDS, self._configuration.services)
        if not settings.enabled:
            return Disabled(settings)
        backend: IBackend = self._part(f"backends.{name}", kind, settings)
        return backend

    def _step(self, name: str) -> IMiddleware:
        settings = self._configuration.middleware[name]
        kind = _load(settings.type, MIDDLEWARE, self._configuration.middleware_types)
        step: IMiddleware = self._part(f"middleware.{name}", kind, settings)
        return step

    def _part(self, place: str, kind: Any, settings: Any) -> Any:
        houses = self._ground.houses
        context = Context(
            settings,
            self._configuration,
            self._reactor,
            ports=self.ports,
            destinations=partial(_destinations_on, houses),
            commitments=partial(_offered, "commitments", houses),
        )
        return self.inheritance.part(place, kind, context)

    def _dimse_over_http(self, name: str) -> IMiddleware:
        settings = MiddlewareSettings(name, "dimse_over_http", None, None)
        step: IMiddleware = self._part(f"middleware.{name}", load(DIMSE_OVER_HTTP), settings)
        return step

    def _needs_dimse_over_http(self, pipeline: Pipeline) -> bool:
        """Whether an `http` endpoint leads to a PACS, and nobody says that its requests are DICOMweb."""
        configuration = self._configuration
        return (
            any(configuration.endpoints[name].service == "http" for name in pipeline.endpoints)
            and any(configuration.backends[name].service in DIMSE_BACKENDS for name in pipeline.backends)
            and not any(configuration.middleware[name].type == BRIDGE for name in pipeline.middleware_names)
        )

    def _checked(self, name: str) -> Pipeline:
        pipeline = self._configuration.pipelines[name]
        check(pipeline, self._configuration)
        return guarded(pipeline, self._configuration.middleware)

    def _has_its_parts(self, pipeline: Pipeline) -> bool:
        return self.backends.keys() >= set(pipeline.backends) and self.middleware.keys() >= set(
            pipeline.middleware_names
        )

    def _chain(self, pipeline: Pipeline) -> Proceed:
        backend = self._end(pipeline)
        end = chain((), _nobody if backend is None else backend.respond)
        implicit: list[IMiddleware] = []
        if self._needs_dimse_over_http(pipeline) and self.dimse_over_http is not None:
            implicit.append(self.dimse_over_http)
        tables = self._configuration.authorizations
        applying = {name: table for name, table in tables.items() if table.applies_to(pipeline.name)}
        trail = self._ground.trail
        accounting = [] if trail is None else [Accounting(trail, ", ".join(pipeline.backends))]
        placing = Placing(applying, self._reactor, implicit, accounting)
        kinds = self._configuration.middleware
        if pipeline.middleware is not None:
            steps = [self.middleware[one] for one in pipeline.middleware]
            return placing.list(steps, [kinds[one].type for one in pipeline.middleware], end)
        left, right = ([self.middleware[one] for one in side] for side in (pipeline.left, pipeline.right))
        return placing.sides(
            left, right, {self.middleware[one]: kinds[one].type for one in pipeline.middleware_names}, end
        )

    def _end(self, pipeline: Pipeline) -> IBackend | None:
        """Return what answers at the end of a pipeline: its backend, or what stands for several."""
        if len(pipeline.backends) > 1:
            return self.several[pipeline.name]
        return self.backends[pipeline.backends[0]] if pipeline.backends else None

    def _around(self, pipeline: Pipeline, respond: Respond) -> Proceed:
        """Return the middleware around an answer of an endpoint's own, which shows nothing of an archive."""
        if pipeline.middleware is not None:
            return chain([self.middleware[one] for one in pipeline.middleware], respond)
        left, right = ([self.middleware[one] for one in side] for side in (pipeline.left, pipeline.right))
        return chain([TwoSided(left, right)], respond)

    def _sources(self, pipeline: Pipeline) -> tuple[str, ...]:
        """Return the AE titles that a path may name; to an HTTP server every path is passed on as it is."""
        if any(self._configuration.backends[name].service in HTTP_BACKENDS for name in pipeline.backends):
            return ()
        return tuple(filter(None, pipeline.ae_titles))

    def _place(self, pipeline: Pipeline, proceed: Proceed, name: str) -> None:
        settings = self._configuration.endpoints[name]
        kind = _load(settings.service, ENDPOINTS, self._configuration.services)
        guards = self._guards(name, settings.authentication, f"endpoints.{name}")
        context = EndpointContext(
            settings,
            fold(guards, proceed),
            self._configuration,
            self._reactor,
            describe=self._ground.describe,
            purge=self.purge,
            ended=self._ended,
            reload=self._ground.reload,
            ports=self.ports,
            makes_operations=self._needs_dimse_over_http(pipeline),
            backend=self._end(pipeline),
            sources=self._sources(pipeline),
            destinations=partial(self.offered, "destination"),
            commitments=partial(self.offered, "commitments"),
            around=lambda respond: fold(guards, self._around(pipeline, respond)),
        )
        if not hasattr(kind, "resource"):
            way = pipeline.name, name
            self.ways_in[way] = context.proceed
            self.doors[name] = kind(replace(context, proceed=partial(self._in_force, way)))
            return
        options = settings.options
        prefix = path_prefix(options.get("path_prefix", "")) if isinstance(options, Mapping) else options.path_prefix
        for network in pipeline.networks:
            limits = self._configuration.networks[network].limits
            max_bytes = limits.max_request_bytes
            if max_bytes is None:
                max_bytes = self._configuration.proxy.content_limits.max_body_size
            entrance = kind(
                replace(context, write_timeout=limits.write_timeout_secs, max_request_bytes=max_bytes),
            )
            self._tree(network).put(prefix, entrance.resource())
            self.entrances.append(entrance)

    def _in_force(self, way: tuple[str, str], request: Request) -> "Deferred[Reply]":
        """Continue an exchange that an association of this house has begun, by what is in force now.

        Who has been shut out by a reload must not stay in by the association that he has. Where the endpoint or its
        pipeline is there no more, the association goes on as it was made.
        """
        house = self._ground.current() or self
        return house.ways_in.get(way, self.ways_in[way])(request)

    def _guards(self, name: str, authentication: str | None, place: str) -> list[IMiddleware]:
        """Return what checks the credentials that an endpoint itself demands, in front of its pipeline."""
        named = self._configuration.authentications.get(authentication or "")
        kind = CHECKING_MIDDLEWARE.get(named.method) if named is not None else None
        if kind is None:
            return []
        if place not in self.guards:
            options = MIDDLEWARE_TYPES.options[kind]()
            settings = MiddlewareSettings(name, kind, options, authentication)
            self.guards[place] = self._part(f"{place}.authentication", load(MIDDLEWARE[kind]), settings)
        return [self.guards[place]]

    def _place_management(self, _: str) -> None:
        management = self._configuration.management
        guards = self._guards("management", management.authentication or None, "management")
        context = EndpointContext(
            None,
            chain((), _nobody),
            self._configuration,
            self._reactor,
            describe=self._ground.describe,
            purge=self.purge,
            ended=self._ended,
            reload=self._ground.reload,
            around=lambda respond: fold(guards, chain((), respond)),
        )
        endpoint = load(ENDPOINTS["management"])(context)
        self._tree(management.network).put(management.base_path, endpoint.resource())

    def _tree(self, network: str) -> PrefixTree:
        if network not in self.trees:
            tree = self.trees[network] = PrefixTree()
            for path, resource in self._ground.everywhere.items():
                tree.put(path, resource)
        return self.trees[network]

    def _certificate(self, network: str) -> Any:
        settings = self._configuration.networks[network].tcp_config
        return ServerCertificates(settings.cert_path, settings.key_path, settings.client_ca_path)

    def offered(self, attribute: str) -> list[Any]:
        """Return what the backends that have it offer under that name, and those of the other houses that live."""
        houses = (self, *(one for one in self._ground.houses() if one is not self))
        return _offered(attribute, lambda: houses)


def _offered(attribute: str, houses: Callable[[], Iterable[House]]) -> list[Any]:
    backends = {id(backend): backend for house in houses() for backend in house.backends.values()}
    found = (getattr(backend, attribute, None) for backend in backends.values())
    return [one for one in found if one is not None]


def _destinations_on(houses: Callable[[], Iterable[House]], port: int) -> list[Any]:
    """Return the destinations of moves whose instances come in on a port."""
    backends: Iterator[Any] = (backend for house in houses() for backend in house.backends.values())
    return [one.destination for one in backends if getattr(one, "incoming_store_port", None) == port]


async def _nobody(request: Request) -> Reply:
    """Stand where a pipeline has no backend, because its endpoints answer alone."""
    raise ConfigurationError(("the pipeline has no backend that could answer",))


def _load(name: str, built_in: Mapping[str, str], registered: Mapping[str, Registration]) -> Any:
    if is_third_party(name, registered):
        return load(registered[name].module)
    if name not in built_in:
        raise ConfigurationError((f'"{name}" is not in this build',))
    return load(built_in[name])
