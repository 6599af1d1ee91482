"""Several backends as one: who is asked what, by the strategy of their pipeline."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from harmonygw.config.model import Backend, Pipeline
from harmonygw.errors import ConfigurationError, HarmonyError, NotFound
from harmonygw.exchange import SOURCE, Reply, Request
from harmonygw.operations import Echo, Find, Move, Retrieve, Store
from harmonygw.pipeline import IBackend
from harmonygw.several.absences import Absences
from harmonygw.several.failover import first_reachable
from harmonygw.several.retrieving import Retrieval
from harmonygw.several.routing import Routes
from harmonygw.several.searching import LabelledMatches, MergedMatches
from harmonygw.several.source import Source, together, within
from harmonygw.several.storing import Touched, stored
from harmonygw.several.whereabouts import Whereabouts, titles


@implementer(IBackend)
class Several:
    """The backends of one pipeline, which others start and stop.

    A request that names one of them (`exchange.SOURCE`) is that one's alone, whatever the strategy.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settings: Mapping[str, Backend],
        backends: Mapping[str, Any],
        clock: IReactorTime,
    ) -> None:
        options = self._options = pipeline.options
        self._clock = clock
        self.sources = tuple(
            Source(
                name,
                title,
                backends[name],
                timeout_secs=options.source_timeout_secs or settings[name].timeout_secs,
                issuer=options.issuers.get(name, ""),
            )
            for name, title in zip(pipeline.backends, pipeline.ae_titles, strict=True)
        )
        fails = options.on_missing_source == "fail"
        self._fails = fails
        self._whereabouts = Whereabouts(clock, remember_secs=options.remember_secs)
        self._absences = Absences()
        self._retrieval = Retrieval(self._whereabouts, self._absences, clock, fails=fails)
        self._routes: Routes | None = None
        if options.strategy == "route":
            self._routes = Routes(options.routes, options.default, self.sources)
        self._answers: dict[type, Callable[[Request, Any], Awaitable[Reply]]] = {
            Echo: self._echo,
            Find: self._find,
            Retrieve: self._retrieve,
            Move: self._move,
            Store: self._store,
        }
        store_to = options.store_to or options.default
        self._store_to = next((one for one in self.sources if one.name == store_to), self.sources[0])

    @property
    def relational_queries(self) -> bool:
        """Whether all of them match keys of any level at any other (PS3.4 §C.4.1.3.2)."""
        return all(getattr(source.backend, "relational_queries", False) is True for source in self.sources)

    def start(self) -> None:
        """Do nothing: the house starts the backends."""

    def stop(self) -> None:
        """Do nothing: the house stops the backends."""

    def state(self) -> dict[str, object]:
        """Describe them: ready when any of them is."""
        ready = {source.ae_title: bool(source.backend.state()["ready"]) for source in self.sources}
        return {
            "target": titles(self.sources),
            "ready": any(ready.values()),
            "strategy": self._options.strategy,
            "sources": ready,
            "studies_remembered": self._whereabouts.remembered,
        }

    async def respond(self, request: Request) -> Reply:
        """Answer an operation.

        Raises `NotFound` for a source that there is not, `Conflict` for a Retrieve of a contested study, and what the
        sources raise.
        """
        store = request.operation
        if not isinstance(store, Store):
            return await self._respond(request)
        touched = Touched(store.instances, self._whereabouts.forget)
        reply = await self._respond(replace(request, operation=Store(touched.instances())))
        return replace(reply, result=touched.results(reply.result))

    async def _respond(self, request: Request) -> Reply:
        named = request.attributes.get(SOURCE)
        if named is not None:
            return await self._alone(request, self._named(str(named)))
        request.record.target = titles(self.sources)
        operation = request.operation
        if operation is None:
            raise ConfigurationError(("no middleware of the pipeline makes operations (dicomweb_bridge)",))
        if self._options.strategy == "failover" and isinstance(operation, Echo | Find | Retrieve):
            return await first_reachable(request, self.sources, self._absences, self._clock)
        return await self._answers.get(type(operation), self._elsewhere)(request, operation)

    def _named(self, ae_title: str) -> Source:
        for source in self.sources:
            if source.ae_title == ae_title:
                return source
        raise NotFound("There is no such archive behind this service.")

    def _candidates(self, request: Request) -> Sequence[Source]:
        return self.sources if self._routes is None else self._routes.candidates(request)

    async def _alone(self, request: Request, source: Source) -> Reply:
        reply: Reply = await source.backend.respond(request)
        if isinstance(request.operation, Find):
            return Reply(result=LabelledMatches(reply.result, source))
        return reply

    async def _find(self, request: Request, find: Find) -> Reply:
        candidates = self._candidates(request)
        if len(candidates) == 1:
            return await self._alone(request, candidates[0])
        matches = MergedMatches(
            request, find, candidates, self._whereabouts, self._absences, self._clock, fails=self._fails
        )
        await matches.begin()
        return Reply(result=matches)

    async def _retrieve(self, request: Request, retrieve: Retrieve) -> Reply:
        candidates = self._candidates(request)
        if len(candidates) == 1:
            return await self._alone(request, candidates[0])
        return await self._retrieval.respond(request, retrieve, candidates)

    async def _move(self, request: Request, move: Move) -> Reply:
        candidates = self._candidates(request)
        if self._options.strategy == "failover" or len(candidates) == 1:
            return await self._alone(request, candidates[0])
        return await self._retrieval.move(request, move, candidates)

    async def _store(self, request: Request, store: Store) -> Reply:
        routes = self._routes
        if routes is None:
            return await self._alone(request, self._store_to)
        return Reply(result=stored(request, store, lambda instance: routes.target(instance, request)))

    async def _elsewhere(self, request: Request, _: object) -> Reply:
        """Let who instances are stored to answer what no strategy speaks of."""
        return await self._alone(request, self._store_to)

    async def _echo(self, request: Request, _: Echo) -> Reply:
        """Answer when any of them does; who does not is noted."""
        errors = await together(self._echoed(request, source) for source in self.sources)
        failed = [error for error in errors if error is not None]
        if len(failed) == len(self.sources):
            raise failed[0]
        return Reply()

    async def _echoed(self, request: Request, source: Source) -> HarmonyError | None:
        try:
            await within(source.backend.respond(request), source, self._clock)
        except CancelledError:
            raise
        except HarmonyError as error:
            request.record.note(f"{source.ae_title} did not answer: {error}")
            return error
        return None
