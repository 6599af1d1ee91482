"""Where a confinement stands in a pipeline: in front of whatever keeps answers or turns operations into requests.

What a cache keeps was fetched for somebody else, and what a DICOMweb server is asked can no longer be told from any
other request. Without either it stands at the end, in front of the backend: whatever middleware makes of a request or
leaves in it is known there.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime

from harmonygw.config.authorizations import Authorization
from harmonygw.confining.confinement import Confinement
from harmonygw.errors import ConfigurationError
from harmonygw.pipeline import IMiddleware, Proceed, TwoSided, fold

KEEPING: Final = frozenset({"cache", "dicom_to_dicomweb"})
"""The middleware types in front of which it has to stand."""


class Placing:
    """The confinement of one pipeline. `implicit` is what the house puts behind the middleware by itself, if it does:
    it makes operations, so that a confinement in front of a cache is not enough. `watching` sees the operations, and
    what of them goes out in the end: it stands in front of the confinement, where there are any."""

    def __init__(
        self,
        tables: Mapping[str, Authorization],
        clock: IReactorTime,
        implicit: Sequence[IMiddleware] = (),
        watching: Sequence[IMiddleware] = (),
    ) -> None:
        self._tables = tables
        self._clock = clock
        self._implicit = implicit
        self._watching = watching

    def list(self, steps: Sequence[IMiddleware], kinds: Sequence[str], end: Proceed) -> Proceed:
        """Return a pipeline whose middleware is one list, with the types of its steps."""
        at = next((index for index, kind in enumerate(kinds) if kind in KEEPING), None)
        if at is None:
            return fold((*steps, *self._implicit), self._last(end))
        confined = self._first().around(fold(steps[at:], self._end(end)))
        return fold((*steps[:at], *self._ahead), confined)

    def sides(
        self,
        left: Sequence[IMiddleware],
        right: Sequence[IMiddleware],
        kinds: Mapping[IMiddleware, str],
        end: Proceed,
    ) -> Proceed:
        """Return a pipeline whose middleware is listed for each side.

        Raises `ConfigurationError` when there is no place that is in front on both sides.
        """
        ahead = next((index for index, step in enumerate(left) if kinds[step] in KEEPING), None)
        behind = next((index for index in reversed(range(len(right))) if kinds[right[index]] in KEEPING), None)
        if ahead is None and behind is None:
            return fold((TwoSided(left, right), *self._implicit), self._last(end))
        if ahead is None or behind is None:
            raise _misplaced("stands on one side only")
        first = [*self._ahead, self._first()]
        if _cross(left[:ahead], right[: behind + 1]) or _cross(right[behind + 1 :], left[ahead:]):
            raise _misplaced("is in front of a middleware on one side, and behind it on the other")
        both = (
            [*left[:ahead], *first, *left[ahead:]],
            [*right[: behind + 1], *reversed(first), *right[behind + 1 :]],
        )
        return fold((TwoSided(*both),), self._end(end))

    def _first(self) -> Confinement:
        return Confinement(self._tables, self._clock, ahead=bool(self._implicit))

    def _last(self, end: Proceed) -> Proceed:
        return fold(self._watching, Confinement(self._tables, self._clock).around(end))

    @property
    def _ahead(self) -> Sequence[IMiddleware]:
        """What watches in front of whatever keeps answers: behind that, where operations are made there."""
        return () if self._implicit else self._watching

    def _end(self, end: Proceed) -> Proceed:
        """Return the end behind what keeps answers: with a confinement of its own where operations are made there.

        Without, one that holds a request to what middleware behind the first may still have confined it to.
        """
        if self._implicit:
            return fold(self._implicit, self._last(end))
        return Confinement({}, self._clock).around(end)


def _cross(front: Collection[IMiddleware], back: Collection[IMiddleware]) -> bool:
    return any(step in back for step in front)


def _misplaced(where: str) -> ConfigurationError:
    kinds = " or ".join(sorted(KEEPING))
    return ConfigurationError((f"middleware: a {kinds} {where}, where nobody could be confined; list it in one order",))
