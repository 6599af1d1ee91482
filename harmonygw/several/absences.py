"""Who could not be reached in the course of a request: he is not waited for again by the same one.

A bridge may make several queries of one Search. Each would wait for a silent archive as long as its time-out says; the
client has been told that it is missing after the first.
"""

from collections import OrderedDict
from typing import Final

from harmonygw.errors import Busy, HarmonyError, TimedOut, TransportError
from harmonygw.exchange import Request
from harmonygw.several.source import Source

UNREACHABLE: Final = (TransportError, TimedOut, Busy)
"""What says that an archive could not be asked, rather than that it said no."""

MAX_REQUESTS: Final = 1000
"""Requests whose absences are kept: as many as are under way at a time. The oldest are forgotten first."""


class Absences:
    """The absent sources of each of the last requests."""

    def __init__(self) -> None:
        self._requests: OrderedDict[str, dict[Source, HarmonyError]] = OrderedDict()

    def of(self, request: Request) -> dict[Source, HarmonyError]:
        """Return the sources that were absent in this request, each with its error."""
        return dict(self._requests.get(request.correlation_id, ()))

    def note(self, request: Request, source: Source, error: HarmonyError) -> None:
        """Take note of an error, if it is of a source that could not be reached."""
        if not isinstance(error, UNREACHABLE):
            return
        self._requests.setdefault(request.correlation_id, {})[source] = error
        self._requests.move_to_end(request.correlation_id)
        if len(self._requests) > MAX_REQUESTS:
            self._requests.popitem(last=False)
