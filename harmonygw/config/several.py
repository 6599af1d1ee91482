"""Pipelines with several backends: which strategy they have, and what each backend is called as a source."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from harmonygw.config.binding import suggestion
from harmonygw.config.constraints import ae_title
from harmonygw.config.locating import KeyPath
from harmonygw.config.middleware_options import CacheOptions, DICOMwebBridgeOptions
from harmonygw.config.model import Backend, MiddlewareSettings, Pipeline
from harmonygw.config.pipeline_options import PipelineOptions
from harmonygw.config.reading import Document
from harmonygw.errors import ConfigurationError

CHOICE = '"federate" (all are asked, and merged), "failover" (the first that can be reached) or "route" (by rules)'


def resolved(
    pipeline: Pipeline,
    backends: Mapping[str, Backend],
    middleware: Mapping[str, MiddlewareSettings],
    document: Document,
) -> Pipeline:
    """Return a pipeline with its strategy and with the AE titles of its backends; what is wrong is reported."""
    return _Several(pipeline, backends, middleware, document).resolved()


class _Several:
    def __init__(
        self,
        pipeline: Pipeline,
        backends: Mapping[str, Backend],
        middleware: Mapping[str, MiddlewareSettings],
        document: Document,
    ) -> None:
        self._pipeline = pipeline
        self._backends = backends
        self._steps = [middleware[name] for name in pipeline.middleware_names if name in middleware]
        self._document = document
        self._path: KeyPath = ("pipelines", pipeline.name)

    def resolved(self) -> Pipeline:
        pipeline = self._pipeline
        options = replace(pipeline.options, strategy=self._strategy())
        self._check_names(options)
        if len(pipeline.backends) > 1:
            self._check_several(options)
        elif pipeline.options.strategy is not None:
            self._document.warn((*self._path, "options", "strategy"), "has no effect with one backend")
        return replace(pipeline, options=options, ae_titles=self._titles(options))

    def _report(self, sentence: str, *keys: Any) -> None:
        self._document.report((*self._path, *keys), sentence)

    def _is_written(self, key: str) -> bool:
        """Whether there is something that was wrong, and has been reported."""
        written = self._document.tables["pipelines"][self._pipeline.name].get("options")
        return isinstance(written, dict) and bool(written.get(key))

    def _strategy(self) -> Any:
        """Return the strategy, from wherever it is given."""
        own = self._pipeline.options.strategy
        for step in self._steps:
            given = step.options.strategy if isinstance(step.options, DICOMwebBridgeOptions) else None
            # A bridge may serve other pipelines too, to which it does not speak.
            if given is None or len(self._pipeline.backends) < 2:
                continue
            if own is not None and own != given:
                self._report(
                    f'is "{own}", but "{given}" in middleware.{step.name}.options; give one of them',
                    "options",
                    "strategy",
                )
                break
            own = given
        return own

    def _check_names(self, options: PipelineOptions) -> None:
        for name, keys in _named(options):
            if name not in self._pipeline.backends:
                known = suggestion(name, self._pipeline.backends)
                self._report(f'the pipeline has no backend "{name}"{known}', "options", *keys)

    def _check_several(self, options: PipelineOptions) -> None:
        pipeline = self._pipeline
        for name, count in Counter(pipeline.backends).items():
            if count > 1:
                self._report(f'"{name}" is named more than once', "backends")
        if options.strategy is None and not self._is_written("strategy"):
            self._report(f"several backends need options.strategy: {CHOICE}", "backends")
        if options.strategy == "route":
            self._check_routes(options)
        else:
            for key in ("routes", "default"):
                if getattr(options, key):
                    self._report('is of strategy "route" only', "options", key)
        if options.strategy == "route" and options.store_to:
            self._report('routes decide where instances are stored, with strategy "route"', "options", "store_to")

    def _check_routes(self, options: PipelineOptions) -> None:
        if not options.routes and not self._is_written("routes"):
            self._report('"routes" is missing or empty; strategy "route" needs one at least', "options")
        if not options.default:
            self._report('"default" is missing: the backend when no route holds', "options")
        # The cache serves whoever may see a study from what another was sent.
        if any(route.by_ae_title for route in options.routes):
            for step in self._steps:
                if isinstance(step.options, CacheOptions):
                    sentence = f"routes by AE title cannot stand behind the cache middleware.{step.name}"
                    self._report(f"{sentence}: it does not tell AE titles apart", "options", "routes")

    def _titles(self, options: PipelineOptions) -> tuple[str, ...]:
        """Return what the backends are called, by name where two have one AE title; what cannot be is reported."""
        names = self._pipeline.backends
        called = {name: backend.called_ae_title for name in names if (backend := self._backends.get(name)) is not None}
        titles = {name: options.ae_titles.get(name) or called.get(name) or _as_title(name) for name in names}
        if len(names) > 1:
            found = {name: title for name, title in called.items() if title and name not in options.ae_titles}
            counts = Counter(found.values())
            for name, title in found.items():
                if counts[title] > 1:
                    self._by_name(name, titles)
            self._check_titles(titles)
        return tuple(titles[name] for name in names)

    def _by_name(self, name: str, titles: dict[str, str]) -> None:
        title = _as_title(name)
        if title and title not in titles.values():
            sentence = f'"{titles[name]}" is the AE title of several; as a source "{name}" is called by its name'
            self._document.warn((*self._path, "backends"), sentence)
            titles[name] = title

    def _check_titles(self, titles: Mapping[str, str]) -> None:
        first: dict[str, str] = {}
        for name, title in titles.items():
            if not title:
                self._report(f'backend "{name}" has no AE title; give it one in options.ae_titles', "backends")
            elif (other := first.setdefault(title, name)) != name:
                sentence = f'"{other}" and "{name}" are both called "{title}"'
                self._report(f"{sentence}; tell them apart by options.ae_titles", "backends")


def _as_title(name: str) -> str:
    """Return the name of a backend as an AE title, empty when it cannot be one."""
    try:
        return ae_title(name)
    except ConfigurationError:
        return ""


def _named(options: PipelineOptions) -> Iterator[tuple[str, KeyPath]]:
    """Yield every backend that the options name, and where."""
    for key in ("ae_titles", "issuers"):
        for name in getattr(options, key):
            yield name, (key, name)
    for key in ("store_to", "default"):
        if getattr(options, key):
            yield getattr(options, key), (key,)
    for position, route in enumerate(options.routes):
        yield route.backend, ("routes", position, "backend")
