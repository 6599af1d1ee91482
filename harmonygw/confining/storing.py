"""Store: an instance that does not comply is refused, and does not reach the archive; the others go on.

It must comply by what it says itself, in all that is demanded, and must not go into a study that is somebody else's:
what has that study already decides, whatever the instance says. What it says twice, the second time where nobody has
looked, is broken off before the second. Nobody asks for another study while the archive stores:
what waits for a place there would hold one. A Store of several studies becomes several, one after another.
"""

from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from harmonygw.confining.constraints import Constraints
from harmonygw.confining.scanning import Watched, look
from harmonygw.confining.sight import Sight
from harmonygw.dicom.dimse.statuses import NOT_AUTHORIZED
from harmonygw.errors import PeerError
from harmonygw.exchange import Reply, Request
from harmonygw.operations import InstanceStream, Store, StoreResult
from harmonygw.pipeline import Proceed
from harmonygw.streams import Begun, Instance, following

REFUSED: Final = "not authorized"

MAX_STUDIES: Final = 1000
"""Studies of one Store of which it is remembered whether they may be stored into. Default 1,000; then they are asked
for again."""


async def stored(request: Request, store: Store, sight: Sight, proceed: Proceed) -> Reply:
    """Answer a Store; raises what a Store raises. Who may store nothing of it asks the archive for nothing.

    The results raise what a later Store raises, when there are several.
    """
    sieve = _Sieve(store.instances, sight)
    try:
        reply = await sieve.next_reply(request, proceed)
    except BaseException:
        await store.instances.aclose()
        raise
    results = sieve.results(reply, request, proceed)
    return Reply(result=results) if reply is None else replace(reply, result=results)


class _Sieve:
    """The instances of one Store, and what became of each, in their order."""

    def __init__(self, instances: InstanceStream, sight: Sight) -> None:
        self._instances = instances
        self._sight = sight
        self._outcomes: deque[StoreResult | None] = deque()
        """None for one that went on: the archive says what became of it."""
        self._studies: dict[str, bool] = {}
        self._waiting: tuple[Instance, str] | None = None
        """The first instance of another study, which waits until the archive has stored what went before."""

    async def next_reply(self, request: Request, proceed: Proceed) -> Reply | None:
        """Begin to store what comes next, up to another study; None when nothing more complies."""
        passing = self._passing()
        first = await following(passing)
        if first is None:
            return None
        instances = Begun(first, passing)
        try:
            reply: Reply = await proceed(replace(request, operation=Store(instances)))
        except BaseException:
            await instances.aclose()
            raise
        return reply

    async def results(
        self, reply: Reply | None, request: Request, proceed: Proceed
    ) -> AsyncGenerator[StoreResult, None]:
        """Yield what became of each, those that were refused in their places."""
        async with aclosing(self._instances):
            while reply is not None:
                async with aclosing(reply.result) as results:
                    result: StoreResult | None
                    while (result := await following(results)) is not None:
                        for refused in self._refusals():
                            yield refused
                        if self._outcomes:
                            self._outcomes.popleft()
                        yield result
                for outcome in self._outcomes:
                    if outcome is not None:
                        yield outcome
                self._outcomes.clear()
                reply = None if self._waiting is None else await self.next_reply(request, proceed)
            for refused in self._refusals():
                yield refused

    def _refusals(self) -> list[StoreResult]:
        """Take the outcomes at the head that need no archive."""
        found: list[StoreResult] = []
        while self._outcomes and (refused := self._outcomes[0]) is not None:
            self._outcomes.popleft()
            found.append(refused)
        return found

    async def _passing(self) -> AsyncGenerator[Instance, None]:
        """Yield the instances that may be stored, up to one of a study of which that is not known while it goes on."""
        begun = False
        while True:
            coming, self._waiting = self._waiting, None
            if coming is None:
                instance = await following(self._instances)
                if instance is None:
                    return
                study = await self._complying_study(instance)
            else:
                instance, study = coming
            if study and study not in self._studies:
                if begun:
                    self._waiting = instance, study
                    return
                await self._ask_for(study)
            if study and self._studies[study]:
                begun = True
                self._outcomes.append(None)
                instance.data_set = Watched(instance, self._sight.constraints)
                yield instance
            else:
                await instance.data_set.aclose()
                refused = (instance.sop_class_uid, instance.sop_instance_uid, NOT_AUTHORIZED, REFUSED)
                self._outcomes.append(StoreResult(*refused))

    async def _ask_for(self, study: str) -> None:
        if len(self._studies) >= MAX_STUDIES:
            self._studies.clear()
        self._studies[study] = await self._sight.is_free(study)

    async def _complying_study(self, instance: Instance) -> str:
        """Return the study of an instance that complies by what it says itself, else nothing."""
        constraints = self._sight.constraints
        try:
            study, values = await look(instance, constraints)
        except PeerError:
            return ""
        if not _complies_in_all(values, constraints):
            return ""
        if study and not constraints.study:
            self._studies = {study: True}
        return study


def _complies_in_all(values: Mapping[str, str], constraints: Constraints) -> bool:
    """Whether what comes says all of it: a study may be known to have what an object leaves out, a new one is not."""
    return all(values.get(tag, "") in allowed for tag, allowed in constraints.allowed.items())
