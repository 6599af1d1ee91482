"""The registry (a type's name to its class) and the chain (middleware around a backend).

A middleware is one class with one coroutine. What it does before `proceed` is its left side, after it the right
side; not calling `proceed` is a short circuit. The chain is the list folded over `Deferred.fromCoroutine`:
cancelling the outermost Deferred cancels the innermost one that waits, and the coroutines unwind, inner before
outer. `CancelledError` is an `Exception`: whoever catches broadly re-raises it first.

What an endpoint has settled by itself (`Request.settled`) goes down the chain too, past every step that is not for
every request.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from zope.interface import Interface, implementer

from harmonygw.config.sides import placed
from harmonygw.errors import ConfigurationError, Denied, HarmonyError
from harmonygw.exchange import Reply, Request
from harmonygw.net.ports import Ports, Upcoming

if TYPE_CHECKING:
    from harmonygw.config.model import Configuration

Proceed = Callable[[Request], "Deferred[Reply]"]
"""What continues an exchange: the rest of the chain, with the backend at its end."""

Respond = Callable[[Request], Awaitable[Reply]]
"""What answers at the end of a chain: a backend's `respond`, or an endpoint's own."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a middleware or a backend is built from."""

    settings: Any
    """Its `MiddlewareSettings` or `Backend` of `harmonygw.config.model`."""
    configuration: "Configuration"
    """All of it, for what refers to other tables."""
    reactor: Any
    """The reactor; its clock is the only clock."""
    ports: "Ports | Upcoming | None" = None
    """Where it listens, if it does: an address that a part has whose place it takes is listened on without a break.
    None when nobody else listens."""
    destinations: Callable[[int], Iterable[Any]] = lambda port: ()
    """The `MoveDestination`s, its own among them, whose instances come in on a port: several backends may share one,
    and after a reload those of before have moves under way."""
    commitments: Callable[[], Iterable[Any]] = tuple
    """The `Commitments` of every backend: a report may come to any listener of ours."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return str(self.settings.name)

    @property
    def options(self) -> Any:
        """The dataclass of its type in `harmonygw.config.options`; a mapping for a third party's type."""
        return self.settings.options


@dataclass(frozen=True, slots=True)
class EndpointContext:
    """What an endpoint is built from. An HTTP endpoint offers `resource()`, any other `start()` and `stop()`."""

    settings: Any
    """Its `Endpoint` of `harmonygw.config.model`; None for the management API's own table."""
    proceed: Proceed
    """The pipeline behind it."""
    configuration: "Configuration"
    """All of it."""
    reactor: Any
    """The reactor; its clock is the only clock."""
    write_timeout: float = 60.0
    """Seconds without progress after which a reply is broken off, of the HTTP network it is on."""
    max_request_bytes: int = 0
    """Bytes of a request's body where an endpoint limits it, 0 for any number: those of the HTTP network it is on, else
    what may be held whole."""
    makes_operations: bool = False
    """Whether its pipeline makes operations of HTTP requests that are not DICOMweb, so that a DICOM object in a body
    streams to the backend."""
    describe: Callable[[], dict[str, Any]] = dict
    """Describes the running gateway, for the management endpoint."""
    purge: "Callable[[str, str], Awaitable[int]] | None" = None
    """Lets a middleware, by its name, forget a study, by its UID; returns how many instances it had, and raises
    `NotFound` when it keeps none. For the management endpoint."""
    ended: "Callable[[Request, Any], None] | None" = None
    """Told of each exchange that has ended, and how (`journal.Ending`); None for the log alone."""
    backend: Any = None
    """The backend at the pipeline's end, for what two doors of one house must agree on (a shared port)."""
    sources: tuple[str, ...] = ()
    """The AE titles of the archives behind the pipeline, each of which can be asked alone."""
    destinations: Callable[[], Iterable[Any]] = tuple
    """The `MoveDestination`s of the backends: an instance that one of their C-MOVEs asked for may come to any
    listener of ours."""
    commitments: Callable[[], Iterable[Any]] = tuple
    """The `Commitments` of the backends: a report of storage commitment may come to any listener of ours."""
    ports: "Ports | Upcoming | None" = None
    """Where it listens, if it does; None when nobody else does."""
    reload: "Callable[[], Awaitable[dict[str, Any]]] | None" = None
    """Reads the configuration again, and returns what has changed; raises `ConfigurationError`. For the management
    endpoint; None where nobody knows whence the configuration came."""
    around: Callable[[Respond], Proceed] = lambda respond: chain((), respond)
    """Puts the pipeline's middleware around an answer of the endpoint's own, in the place of a backend's."""


class IMiddleware(Interface):
    """One step of a pipeline. Its class is called with a `Context`.

    One that has something to open offers `start()` and `stop()`, as a backend does, and `state()` to be described. One
    that keeps instances offers `purge(study_instance_uid)`, which returns how many of them it has forgotten. What a
    backend's class may offer so that a reload does not make it anew, it may offer too.
    """

    async def intercept(request: Request, proceed: Proceed) -> Reply:
        """Answer `request`, usually by `await proceed(request)`; raises what `errors` names."""


class IForEveryRequest(IMiddleware):
    """Middleware that sees also what the endpoint has settled by itself: a path or method that there is not."""


class IBackend(Interface):
    """Where exchanges end. Its class is called with a `Context`.

    One to which a DICOMweb endpoint is to pass also what is no resource of DICOMweb has `answers_any_path = True`.

    At a reload every part is made anew, and that of before stops once its exchanges have ended, after `drain()` if it
    offers that. Its class may offer `foundation(context)`, a static method that returns everything of the context that
    it is built from: where that is equal to what it was, the part goes on; None is equal to nothing. One that goes on
    may offer `renew(context)`, which is given the context that it would have been built from; and, when it does
    together what several exchanges want, `finish()`, which returns when what it is doing now has ended. One that has a
    folder to itself says which by `folder`: the next one of that folder starts when this one has stopped, and has to do
    without it until then.
    """

    async def respond(request: Request) -> Reply:
        """Answer `request`; raises what `errors` names, `NotImplementedError` never."""

    def start() -> "Awaitable[None] | None":
        """Begin: open what is needed before the first request."""

    def stop() -> "Awaitable[None] | None":
        """End: exchanges have drained, or are to be cut off."""

    def state() -> dict[str, object]:
        """Describe the target's state for management and readiness: `target`, `ready`, and what else is known."""


BACKENDS: dict[str, str] = {
    "dicom_scu": "harmonygw.backends.dicom_scu:DicomSCU",
    "dicomweb": "harmonygw.backends.dicomweb:DICOMwebBackend",
    "echo": "harmonygw.backends.echo:EchoBackend",
    "http": "harmonygw.backends.http:HTTPBackend",
    "storage": "harmonygw.backends.storage:Storage",
}
"""The backend services of this build."""

ENDPOINTS: dict[str, str] = {
    "dicomweb": "harmonygw.endpoints.dicomweb:DICOMwebEndpoint",
    "dicom_scp": "harmonygw.endpoints.dicom_scp:DicomSCPEndpoint",
    "echo": "harmonygw.endpoints.echo:EchoEndpoint",
    "http": "harmonygw.endpoints.http:HTTPEndpoint",
    "management": "harmonygw.endpoints.management:ManagementEndpoint",
    "viewer": "harmonygw.endpoints.viewer:ViewerEndpoint",
}
"""The endpoint services of this build."""

MIDDLEWARE: dict[str, str] = {
    "basic_auth": "harmonygw.middleware.basic_auth:BasicAuth",
    "cache": "harmonygw.middleware.cache:Cache",
    "cors": "harmonygw.middleware.cors:CORS",
    "dicom_to_dicomweb": "harmonygw.middleware.dicom_to_dicomweb:DicomToDICOMweb",
    "dicomweb_bridge": "harmonygw.middleware.dicomweb_bridge:DICOMwebBridge",
    "json_extractor": "harmonygw.middleware.json_extractor:JSONExtractor",
    "jwt_auth": "harmonygw.middleware.jwt_auth:JWTAuth",
    "log_dump": "harmonygw.middleware.log_dump:LogDump",
    "metadata_transform": "harmonygw.middleware.transform:MetadataTransform",
    "passthru": "harmonygw.middleware.passthru:Passthru",
    "path_filter": "harmonygw.middleware.path_filter:PathFilter",
    "policies": "harmonygw.middleware.policies:Policies",
    "token_auth": "harmonygw.middleware.token_auth:TokenAuth",
    "transform": "harmonygw.middleware.transform:Transform",
    "webhook": "harmonygw.middleware.webhook:Webhook",
}
"""The middleware types of this build."""

RULE_TYPES: frozenset[str] = frozenset(
    (
        *("ip_allow", "ip_deny", "path", "method", "content_type", "header", "query_parameter", "user_agent"),
        *("time_based", "aet_allow", "aet_deny", "rate_limit", "allow_all", "deny_all"),
    )
)
"""The rule types that the `policies` of this build know."""


def load(dotted_path: str) -> Any:
    """Import the class that `package.module:Name` names; `ConfigurationError` says what was not found."""
    module_name, colon, name = dotted_path.partition(":")
    try:
        if not colon:
            raise ImportError("there is no ':Name' behind the module")
        return getattr(import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError((f"cannot load {dotted_path!r} (wanted 'package.module:Name'): {error}",)) from error


def chain(middleware: Sequence[IMiddleware], last: Respond) -> Proceed:
    """Fold a list of middleware around `last`, the first of the list outermost."""

    def end(request: Request) -> "Deferred[Reply]":
        return Deferred.fromCoroutine(_respond(last, request))

    return fold(middleware, end)


def fold(middleware: Sequence[IMiddleware], proceed: Proceed) -> Proceed:
    """Put middleware around what continues an exchange, the first of the list outermost."""
    for step in reversed(middleware):
        proceed = _link(step, proceed)
    return proceed


async def _respond(last: Respond, request: Request) -> Reply:
    settled = request.settled
    if settled is None:
        if request.restrictions:
            reasons = ", ".join(dict.fromkeys(one.reason for one in request.restrictions))
            raise Denied("You are not authorized to do this.", log_detail=f"nobody has held it to {reasons}")
        return await last(request)
    if isinstance(settled, HarmonyError):
        raise settled
    return settled


def _link(step: IMiddleware, proceed: Proceed) -> Proceed:
    def intercept(request: Request) -> "Deferred[Reply]":
        if request.settled is not None and not for_every_request:
            return proceed(request)
        return Deferred.fromCoroutine(step.intercept(request, proceed))

    for_every_request = IForEveryRequest.providedBy(step)
    return intercept


@implementer(IForEveryRequest)
class TwoSided:
    """A `{left = […], right = […]}` list as one middleware: left in order on the way in, right in order on the way out.

    It is a chain again, built from the outside inwards. A step that is first on the left and last on the right stands
    around the rest as it would in one list. One that only the left names sees the request, and is cancelled where it
    waits once the reply is there. One that only the right names sees the reply and the request that the left made; its
    own change of the request is dropped. Where the two lists cross (`left = [a, b]`, `right = [a, b]`), the last step
    of the right becomes two, one a side.

    A short circuit counts on either side: what refuses a request refuses it. A failure passes every step on its way
    out, as in one list.
    """

    def __init__(self, left: Sequence[IMiddleware], right: Sequence[IMiddleware]) -> None:
        steps = {id(step): step for step in (*left, *right)}
        self._steps: list[IMiddleware] = []
        for place in placed([id(step) for step in left], [id(step) for step in right]):
            step = steps[place.step]
            if not place.is_on_right:
                step = _LeftOnly(step)
            elif not place.is_on_left:
                step = _RightOnly(step)
            self._steps.append(step)

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Run the left list, the rest of the chain, and the right list."""
        return await fold(self._steps, proceed)(request)


@implementer(IForEveryRequest)
class _LeftOnly:
    """A step without its right side: once the rest has replied, it is cancelled where it waits for that."""

    def __init__(self, step: IMiddleware) -> None:
        self._step = step

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        replies: list[Reply] = []

        async def rest(changed: Request) -> Reply:
            replies.append(await proceed(changed))
            raise CancelledError

        try:
            short_circuit = await _link(self._step, lambda changed: Deferred.fromCoroutine(rest(changed)))(request)
        except CancelledError:
            if not replies:
                raise
            return replies[-1]
        return replies[-1] if replies else short_circuit


@implementer(IForEveryRequest)
class _RightOnly:
    """A step without its left side: whatever it makes of the request, the rest gets the one that came."""

    def __init__(self, step: IMiddleware) -> None:
        self._step = step

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        return await _link(self._step, lambda changed: proceed(request))(request)
