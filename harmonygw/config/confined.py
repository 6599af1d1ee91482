"""Whether the tables that confine principals can be kept to, as the pipelines are written."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from harmonygw.config.listening import AUTHENTICATING
from harmonygw.config.model import MiddlewareSettings, Pipeline
from harmonygw.config.names import Names

KEEPING: Final = frozenset({"cache", "dicomweb_bridge"})
"""The middleware types that may answer from what they keep: instances, and pages of a Search."""


def check(names: Names, pipelines: Iterable[Pipeline], middleware: Mapping[str, MiddlewareSettings]) -> None:
    """Report pipelines that are not known, and whatever would be answered before it is known who asks."""
    for name, table in names.tables.authorizations.items():
        for position, one in enumerate(table.pipelines):
            names.known("pipelines", one, ("authorizations", name, "pipelines", position), "pipeline")
    for pipeline in pipelines:
        steps = pipeline.left if pipeline.middleware is None else pipeline.middleware
        late = _behind_what_keeps([middleware[one] for one in steps if one in middleware])
        if late is not None:
            keeping, checking = late
            sentence = (
                f'"{checking}" stands behind "{keeping.name}" ({keeping.type}), which would answer who is not '
                "authenticated from what it keeps; put it in front"
            )
            names.document.report(("pipelines", pipeline.name, "middleware"), sentence)
    tables = names.tables.authorizations
    if tables and not any(table.enabled for table in tables.values()):
        names.document.warn(("authorizations",), "none is enabled: nobody is confined to anything")


def _behind_what_keeps(steps: Sequence[MiddlewareSettings]) -> tuple[MiddlewareSettings, str] | None:
    """Return the first step that keeps answers, and the first behind it that authenticates; None without any."""
    keeping: MiddlewareSettings | None = None
    for step in steps:
        if step.type in KEEPING:
            keeping = keeping or step
        elif keeping is not None and step.type in AUTHENTICATING:
            return keeping, step.name
    return None
