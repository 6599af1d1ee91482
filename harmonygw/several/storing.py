"""Store to several archives: each instance to the one that its routes say, and the results in the instances' order.

What is stored changes who has a study: that is forgotten before an instance goes out, and again when it is stored.

Instances that follow one another to the same archive are one Store there, so that an association, or an upload, serves
them all. A run ends where the next instance goes elsewhere.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from twisted.internet.defer import CancelledError

from harmonygw.dicom.dimse.statuses import OUT_OF_RESOURCES, PROCESSING_FAILURE
from harmonygw.errors import Busy, HarmonyError
from harmonygw.exchange import Reply, Request
from harmonygw.operations import Store, StoreResult
from harmonygw.several.source import Source
from harmonygw.streams import Instance, InstanceStream, Stream, following

MAX_STUDIES: Final = 100
"""Studies of one Store that are forgotten anew with each of its results. Default 100: more come one after another, and
what is remembered of the first of them by then becomes too old by itself."""


async def stored(
    request: Request, store: Store, target: Callable[[Instance], Source]
) -> AsyncGenerator[StoreResult, None]:
    """Yield what becomes of each instance; what an archive fails at is the failure of the instances it was given."""
    runs = _Runs(store.instances, target)
    async with aclosing(store.instances):
        while await runs.begin():
            async with aclosing(_of_run(request, runs)) as results:
                async for result in results:
                    yield result


class Touched:
    """Instances on their way to be stored, and the studies that they are of."""

    def __init__(self, instances: InstanceStream, forget: Callable[[str], None]) -> None:
        self._instances = instances
        self._forget = forget
        self._studies: dict[str, None] = {}

    async def instances(self) -> AsyncGenerator[Instance, None]:
        """Yield the instances."""
        async with aclosing(self._instances):
            async for instance in self._instances:
                self._forget(instance.study_instance_uid)
                self._studies.pop(instance.study_instance_uid, None)
                self._studies[instance.study_instance_uid] = None
                if len(self._studies) > MAX_STUDIES:
                    del self._studies[next(iter(self._studies))]
                yield instance

    async def results(self, results: Stream[StoreResult]) -> AsyncGenerator[StoreResult, None]:
        """Yield what becomes of them."""
        async with aclosing(results):
            async for result in results:
                for study in self._studies:
                    self._forget(study)
                yield result


class _Runs:
    """Instances taken apart into runs to the same archive."""

    def __init__(self, instances: InstanceStream, target: Callable[[Instance], Source]) -> None:
        self._instances = instances
        self._target = target
        self._next: Instance | None = None
        self.source: Source
        self.unanswered: list[Instance] = []
        """What the run's archive was given, and has not said what became of."""

    async def begin(self) -> bool:
        """Look at the first instance of the next run; tell whether there is one."""
        if self._next is None:
            self._next = await following(self._instances)
        if self._next is None:
            return False
        self.source = self._target(self._next)
        return True

    async def run(self) -> AsyncGenerator[Instance, None]:
        while self._next is not None and self._target(self._next) is self.source:
            instance, self._next = self._next, None
            self.unanswered.append(instance)
            yield instance
            self._next = await following(self._instances)

    async def give_up(self) -> None:
        """Take the first instance of a run that its archive did not even look at."""
        if not self.unanswered and self._next is not None:
            instance, self._next = self._next, None
            self.unanswered.append(instance)


async def _of_run(request: Request, runs: _Runs) -> AsyncGenerator[StoreResult, None]:
    source = runs.source
    status, detail = PROCESSING_FAILURE, f"{source.ae_title} did not say what became of the instance"
    try:
        async with aclosing(runs.run()) as instances:
            reply: Reply = await source.backend.respond(replace(request, operation=Store(instances)))
            async with aclosing(reply.result) as results:
                async for result in results:
                    if runs.unanswered:
                        del runs.unanswered[0]
                    yield result
    except CancelledError:
        raise
    except HarmonyError as error:
        request.record.note(f"{source.ae_title} failed to store: {error}")
        status, detail = OUT_OF_RESOURCES if isinstance(error, Busy) else PROCESSING_FAILURE, error.detail
        await runs.give_up()
    for instance in runs.unanswered:
        await instance.data_set.aclose()
        yield StoreResult(instance.sop_class_uid, instance.sop_instance_uid, status, detail)
    runs.unanswered.clear()
