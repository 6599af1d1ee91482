"""In which order the middleware of a pipeline stands: what refuses stands in front of what may answer by itself.

A configuration may list policies behind the bridge. Pages of a Search that are remembered, and instances that are
cached, would be answered past them there, and a rate would be that of the operations that requests are taken apart
into.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from harmonygw.config.model import MiddlewareSettings, Pipeline

GUARDING: Final = frozenset({"policies", "path_filter"})
"""The middleware types that refuse, and change nothing else."""

ANSWERING: Final = frozenset({"cache", "dicomweb_bridge"})
"""The middleware types that may answer without asking on."""


def guarded(pipeline: Pipeline, middleware: Mapping[str, MiddlewareSettings]) -> Pipeline:
    """Return a pipeline in which whatever refuses stands in front of the first that may answer, on both sides."""
    kinds = {name: middleware[name].type for name in pipeline.middleware_names}
    if pipeline.middleware is not None:
        return replace(pipeline, middleware=_guarded(pipeline.middleware, kinds))
    right = _guarded(pipeline.right[::-1], kinds)[::-1]
    return replace(pipeline, left=_guarded(pipeline.left, kinds), right=right)


def _guarded(names: Sequence[str], kinds: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of steps from the outside inwards."""
    first = next((index for index, name in enumerate(names) if kinds[name] in ANSWERING), len(names))
    behind = names[first:]
    guards = [name for name in behind if kinds[name] in GUARDING]
    return (*names[:first], *guards, *(name for name in behind if kinds[name] not in GUARDING))
