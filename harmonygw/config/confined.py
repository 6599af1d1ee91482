"""Whether the tables that confine principals can be kept to, as the pipelines are written."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from harmonygw.config.listening import AUTHENTICATING
from harmonygw.config.model import MiddlewareSettings, Pipeline
from harmonygw.config.names import Names
from harmonygw.config.sides import Placed, placed

KEEPING: Final = frozenset({"cache", "dicomweb_bridge"})
"""The middleware types that may answer from what they keep: instances, and pages of a Search."""


_CHECKING: Final = frozenset({"path_filter", "policies"})
"""The middleware types that refuse requests by what they are, and from where."""

_CONVERTING: Final = "dicom_to_dicomweb"
"""The middleware type that these must not stand behind."""

Order = Sequence[Placed[MiddlewareSettings]]


def check(names: Names, pipelines: Iterable[Pipeline], middleware: Mapping[str, MiddlewareSettings]) -> None:
    """Report pipelines that are not known, and whatever would be answered before it is known who asks."""
    for name, table in names.tables.authorizations.items():
        for position, one in enumerate(table.pipelines):
            names.known("pipelines", one, ("authorizations", name, "pipelines", position), "pipeline")
    for pipeline in pipelines:
        order = [
            Placed(middleware[one.step], one.is_on_left, one.is_on_right)
            for one in _order(pipeline)
            if one.step in middleware
        ]
        for sentence in filter(None, (_late(order), _unheard(order), _passed_by(order))):
            names.document.report(("pipelines", pipeline.name, "middleware"), sentence)
    tables = names.tables.authorizations
    if tables and not any(table.enabled for table in tables.values()):
        names.document.warn(("authorizations",), "none is enabled: nobody is confined to anything")


def _order(pipeline: Pipeline) -> Sequence[Placed[str]]:
    """Return a pipeline's middleware from the outside inwards."""
    if pipeline.middleware is None:
        return placed(pipeline.left, pipeline.right)
    return [Placed(one, is_on_left=True, is_on_right=True) for one in pipeline.middleware]


def _late(order: Order) -> str:
    """Say what authenticates behind what keeps answers; "" when nothing does."""
    keeping: MiddlewareSettings | None = None
    for step, _, _ in order:
        if step.type in KEEPING:
            keeping = keeping or step
        elif keeping is not None and step.type in AUTHENTICATING:
            return (
                f'"{step.name}" stands behind "{keeping.name}" ({keeping.type}), which would answer who is not '
                "authenticated from what it keeps; put it in front"
            )
    return ""


def _unheard(order: Order) -> str:
    """Say what authenticates on the right only: a change of the request that is made there is dropped, and with it who
    asks, and what he is confined to."""
    for step, is_on_left, _ in order:
        if step.type in AUTHENTICATING and not is_on_left:
            where = "stands on the right only, where nobody learns who asks"
            return f'"{step.name}" ({step.type}) {where}; list it on the left'
    return ""


def _passed_by(order: Order) -> str:
    """Say what checks requests behind what makes others of them; "" for nothing.

    In front of what may answer by itself, a bridge or a cache, the house puts it wherever it is listed.
    """
    ahead: MiddlewareSettings | None = None
    for step, _, _ in order:
        if step.type in KEEPING:
            return ""
        if step.type == _CONVERTING:
            ahead = ahead or step
        elif ahead is not None and step.type in _CHECKING:
            return (
                f'"{step.name}" ({step.type}) stands behind "{ahead.name}" ({ahead.type}), behind which no request is '
                "of the one who asked: not its origin, method or path; put it in front"
            )
    return ""
