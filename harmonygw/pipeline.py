"""The registry (a type's name to its class) and the chain (middleware around a backend).

A middleware is one class with one coroutine. What it does before `proceed` is its left side, after it the right
side; not calling `proceed` is a short circuit. The chain is the list folded over `Deferred.fromCoroutine`:
cancelling the outermost Deferred cancels the innermost one that waits, and the coroutines unwind, inner before
outer. `CancelledError` is an `Exception`: whoever catches broadly re-raises it first.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from zope.interface import Interface

from harmonygw.errors import ConfigurationError
from harmonygw.exchange import Reply, Request

if TYPE_CHECKING:
    from harmonygw.config.model import Configuration

Proceed = Callable[[Request], "Deferred[Reply]"]
"""What continues an exchange: the rest of the chain, with the backend at its end."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a middleware or a backend is built from."""

    settings: Any
    """Its `Backend` or `MiddlewareSettings` of `harmonygw.config.model`."""
    configuration: "Configuration"
    """All of it, for what refers to other tables."""
    reactor: Any
    """The reactor; its clock is the only clock."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return str(self.settings.name)

    @property
    def options(self) -> Any:
        """The dataclass of its type in `harmonygw.config.options`; a mapping for a third party's type."""
        return self.settings.options


class IMiddleware(Interface):
    """One step of a pipeline. Its class is called with a `Context`."""

    async def intercept(request: Request, proceed: Proceed) -> Reply:
        """Answer `request`, usually by `await proceed(request)`; raises what `errors` names."""


class IBackend(Interface):
    """Where exchanges end. Its class is called with a `Context`."""

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
    "storage": "harmonygw.backends.storage:Storage",
}
"""The backend services of this build."""

ENDPOINTS: dict[str, str] = {
    "dicomweb": "harmonygw.endpoints.dicomweb:DICOMwebEndpoint",
    "dicom_scp": "harmonygw.endpoints.dicom_scp:DicomSCPEndpoint",
    "management": "harmonygw.endpoints.management:ManagementEndpoint",
}
"""The endpoint services of this build."""

MIDDLEWARE: dict[str, str] = {
    "dicomweb_bridge": "harmonygw.middleware.dicomweb_bridge:DICOMwebBridge",
    "policies": "harmonygw.middleware.policies:Policies",
    "passthru": "harmonygw.middleware.passthru:Passthru",
}
"""The middleware types of this build."""

RULE_TYPES: frozenset[str] = frozenset(
    ("ip_allow", "ip_deny", "path", "method", "rate_limit", "allow_all", "deny_all")
)
"""The rule types that the `policies` of this build know."""


def load(dotted_path: str) -> Any:
    """Import the class that `package.module:Name` names; `ConfigurationError` says what was not found."""
    module_name, colon, name = dotted_path.partition(":")
    try:
        if not colon:
            raise ImportError("there is no ':Name' behind the module")
        return getattr(import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            (f"cannot load {dotted_path!r} (wanted 'package.module:Name'): {error}",)
        ) from error


def chain(middleware: Sequence[IMiddleware], last: Callable[[Request], Awaitable[Reply]]) -> Proceed:
    """Fold a list of middleware around `last`, the first of the list outermost."""

    def end(request: Request) -> "Deferred[Reply]":
        return Deferred.fromCoroutine(_respond(last, request))

    proceed: Proceed = end
    for step in reversed(middleware):
        proceed = _link(step, proceed)
    return proceed


async def _respond(last: Callable[[Request], Awaitable[Reply]], request: Request) -> Reply:
    return await last(request)


def _link(step: IMiddleware, proceed: Proceed) -> Proceed:
    def intercept(request: Request) -> "Deferred[Reply]":
        return Deferred.fromCoroutine(step.intercept(request, proceed))

    return intercept


class TwoSided:
    """A `{left = […], right = […]}` list as one middleware: left in order on the way in, right in order on the way out.

    A middleware that only the left list names sees the request, and its change of the reply is dropped; one that
    only the right list names sees the reply, and its change of the request is dropped; one in both is one exchange
    that is taken up again at its place on the right. A short circuit always counts, on either side: what refuses
    a request refuses it.
    """

    def __init__(self, left: Sequence[IMiddleware], right: Sequence[IMiddleware]) -> None:
        self._left = tuple(left)
        self._right = tuple(right)

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Run the left list, the rest of the chain, and the right list."""
        begun: list[_Half] = []
        try:
            for step in self._left:
                half = _Half(step, request)
                begun.append(half)
                passed = await half.to_the_middle()
                if passed is None:
                    return await half.outcome
                request = passed
            reply = await proceed(request)
            for step in self._right:
                half = next((one for one in begun if one.step is step), None) or _Half(step, request)
                if half not in begun:
                    begun.append(half)
                    if await half.to_the_middle() is None:
                        return await half.outcome
                reply = await half.back(reply)
            return reply
        finally:
            for half in begun:
                half.leave()


class _Half:
    """One middleware's exchange, stopped where it called `proceed`."""

    def __init__(self, step: IMiddleware, request: Request) -> None:
        self.step = step
        self._middle: Deferred[Request | None] = Deferred()
        self._reply: Deferred[Reply] = Deferred()
        self.outcome: Deferred[Reply] = Deferred.fromCoroutine(step.intercept(request, self._proceed))
        if not self._middle.called:
            self.outcome.addBoth(self._ended)

    def _proceed(self, request: Request) -> "Deferred[Reply]":
        self._middle.callback(request)
        return self._reply

    def _ended(self, result: Any) -> Any:
        if not self._middle.called:
            self._middle.callback(None)
        return result

    async def to_the_middle(self) -> Request | None:
        """Return the request as `proceed` got it, or None when it was not called."""
        return await self._middle

    async def back(self, reply: Reply) -> Reply:
        """Let the middleware see the reply, and return its own."""
        self._reply.callback(reply)
        return await self.outcome

    def leave(self) -> None:
        """End an exchange whose right side nobody wants."""
        self.outcome.addErrback(lambda failure: None)
        if not self._reply.called:
            self.outcome.cancel()


@dataclass(frozen=True, slots=True)
class EndpointContext:
    """What an endpoint is built from. An HTTP endpoint offers `resource()`, any other `start()` and `stop()`."""

    settings: Any
    """Its `Endpoint` of `harmonygw.config.model`."""
    proceed: Proceed
    """The pipeline behind it."""
    configuration: "Configuration"
    """All of it."""
    reactor: Any
    """The reactor; its clock is the only clock."""
    write_timeout: float = 60.0
    """Seconds without progress after which a reply is broken off, of the HTTP network it is on."""
    describe: Callable[[], dict[str, Any]] = dict
    """Describes the running gateway, for the management endpoint."""
    backend: Any = None
    """The backend at the pipeline's end, for what two doors of one house must agree on (a shared port)."""
