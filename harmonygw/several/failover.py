"""Failover: the first of several archives that can be reached answers, and the others are not asked.

The next one is asked only while nothing has come: once there was a match or an instance, what follows is that
archive's, and so is its failure. An answer without matches is an answer.
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from harmonygw.exchange import Reply, Request
from harmonygw.operations import Echo, Find, Matches, Retrieve
from harmonygw.several.absences import UNREACHABLE, Absences
from harmonygw.several.retrieving import warn_of
from harmonygw.several.searching import LabelledMatches
from harmonygw.several.source import Source, within
from harmonygw.streams import Begun, Match


async def first_reachable(
    request: Request, sources: Sequence[Source], absences: Absences, clock: IReactorTime
) -> Reply:
    """Answer an Echo, Find or Retrieve by the first source that can be reached.

    Raises what that raises; when none can be reached, the error of the first.
    """
    gone = absences.of(request)
    for source in sources:
        if source in gone:
            continue
        try:
            # A retrieval may take as long as its archive's own time-outs let it: nearline storage does.
            work = _begun(request, source)
            reply = await (work if isinstance(request.operation, Retrieve) else within(work, source, clock))
        except CancelledError:
            raise
        except UNREACHABLE as error:
            gone[source] = error
            absences.note(request, source, error)
            request.record.note(f"{source.ae_title} could not be reached: {error}")
            continue
        if gone:
            request.record.note(f"{source.ae_title} answered instead")
            if isinstance(reply.result, AheadMatches):
                reply.result.replaced = tuple(instead(one, source) for one in gone)
            else:
                warn_of(request, [instead(one, source) for one in gone])
        return reply
    raise next(iter(gone.values()))


def instead(missed: Source, source: Source) -> str:
    """Return what a client is told when another archive answers than the first."""
    return f"{missed.ae_title} did not answer; {source.ae_title} answered instead."


async def _begun(request: Request, source: Source) -> Reply:
    """Return the reply of a source, once the first of what it brings is there."""
    reply: Reply = await source.backend.respond(request)
    stream: Any = reply.result
    if isinstance(request.operation, Echo) or stream is None:
        return reply
    begun: Begun[Any] = await Begun.of(stream)
    if isinstance(request.operation, Find):
        return Reply(result=AheadMatches(begun, stream, source))
    return Reply(reply.status, reply.headers, reply.body, begun, reply.digest)


class AheadMatches(LabelledMatches):
    """The matches of one source, the first of which is there, each with its AE title."""

    def __init__(self, begun: Begun[Match], matches: Matches, source: Source) -> None:
        super().__init__(matches, source)
        self._begun = begun
        self.replaced: tuple[str, ...] = ()
        """Why it is this source, and not one before it."""

    @property
    def warnings(self) -> list[str]:
        """Those of the source, and why it is this one."""
        return [*self.replaced, *super().warnings]

    async def __anext__(self) -> Match:
        return self.labelled(await self._begun.__anext__())

    async def aclose(self) -> None:
        """Give the source's up."""
        await self._begun.aclose()
