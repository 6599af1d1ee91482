"""Store: an instance that does not comply is refused, and does not reach the archive; the others go on.

It must comply by what it says itself, in all that is demanded, and must not go into a study that is somebody else's:
what has that study already decides, whatever the instance says.
"""

from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from harmonygw.confining.constraints import Constraints
from harmonygw.confining.scanning import look
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
    """Answer a Store; raises what a Store raises. Who may store nothing of it asks the archive for nothing."""
    sieve = _Sieve(store.instances, sight)
    instances = await Begun.of(sieve.passing())
    if not sieve.has_passed:
        return Reply(result=sieve.refusals())
    try:
        reply: Reply = await proceed(replace(request, operation=Store(instances)))
    except BaseException:
        await instances.aclose()
        raise
    return replace(reply, result=sieve.results(reply))


class _Sieve:
    """The instances of one Store, and what became of each, in their order."""

    def __init__(self, instances: InstanceStream, sight: Sight) -> None:
        self._instances = instances
        self._sight = sight
        self._outcomes: deque[StoreResult | None] = deque()
        """None for one that went on: the archive says what became of it."""
        self._studies: dict[str, bool] = {}
        self.has_passed = False

    async def passing(self) -> AsyncGenerator[Instance, None]:
        async with aclosing(self._instances):
            async for instance in self._instances:
                if await self._complies(instance):
                    self._outcomes.append(None)
                    self.has_passed = True
                    yield instance
                else:
                    await instance.data_set.aclose()
                    refused = (instance.sop_class_uid, instance.sop_instance_uid, NOT_AUTHORIZED, REFUSED)
                    self._outcomes.append(StoreResult(*refused))

    async def refusals(self) -> AsyncGenerator[StoreResult, None]:
        """Yield the outcomes at the head that need no archive."""
        while self._outcomes and (refused := self._outcomes[0]) is not None:
            self._outcomes.popleft()
            yield refused

    async def results(self, reply: Reply) -> AsyncGenerator[StoreResult, None]:
        """Yield what became of each, those that were refused in their places."""
        async with aclosing(reply.result) as results:
            while True:
                async for refused in self.refusals():
                    yield refused
                result: StoreResult | None = await following(results)
                if result is None:
                    break
                async for refused in self.refusals():
                    yield refused
                if self._outcomes:
                    self._outcomes.popleft()
                yield result
        while self._outcomes:
            refused_late = self._outcomes.popleft()
            if refused_late is not None:
                yield refused_late

    async def _complies(self, instance: Instance) -> bool:
        constraints = self._sight.constraints
        try:
            study, values = await look(instance, constraints)
        except PeerError:
            return False
        # What a study has been told of may be left out of an object that is shown, not of one that comes.
        if not _complies_in_all(values, constraints):
            return False
        if not study:
            return False
        if study not in self._studies:
            if len(self._studies) >= MAX_STUDIES:
                self._studies.clear()
            self._studies[study] = await self._sight.is_free(study)
        return self._studies[study]


def _complies_in_all(values: Mapping[str, str], constraints: Constraints) -> bool:
    return all(values.get(tag, "") in allowed for tag, allowed in constraints.allowed.items())
