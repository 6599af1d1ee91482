"""A Store on its way through the cache: what is cached of each study that it touches is forgotten.

The archive may hold more of the study afterwards, or something else under the same UIDs. So it is forgotten when the
first instance of the study goes by, and once more when the archive has answered for all of them: what was cached in
between may be what was there before.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from harmonygw.operations import InstanceStream, StoreResult
from harmonygw.streams import Instance, Stream

MAX_STUDIES: Final = 1000
"""Studies of one Store that are forgotten again at its end. Default 1,000, some 70 KB: of more, the first one is
forgotten again earlier, when another takes its place."""


class StoredStudies:
    """An `InstanceStream` that looks at the studies which go by, and the results that belong to it."""

    def __init__(self, instances: InstanceStream, forget: Callable[[str], Awaitable[None]]) -> None:
        self._instances = instances
        self._forget = forget
        self._studies: dict[str, None] = {}

    def __aiter__(self) -> "StoredStudies":
        return self

    async def __anext__(self) -> Instance:
        instance = await self._instances.__anext__()
        study = instance.study_instance_uid
        if study not in self._studies:
            if len(self._studies) == MAX_STUDIES:
                oldest = next(iter(self._studies))
                del self._studies[oldest]
                await self._forget(oldest)
            await self._forget(study)
            self._studies[study] = None
        return instance

    async def aclose(self) -> None:
        """Give the instances up."""
        await self._instances.aclose()

    async def end(self) -> None:
        """Forget what was touched."""
        studies, self._studies = self._studies, {}
        for study in studies:
            await self._forget(study)


class Results:
    """What the archive answers; however that ends, what the Store touched is forgotten then."""

    def __init__(self, results: Stream[StoreResult], studies: StoredStudies) -> None:
        self._results = results
        self._studies = studies

    def __aiter__(self) -> "Results":
        return self

    async def __anext__(self) -> StoreResult:
        try:
            return await self._results.__anext__()
        except BaseException:
            await self._studies.end()
            raise

    async def aclose(self) -> None:
        """Give the Store up."""
        try:
            await self._results.aclose()
        finally:
            await self._studies.end()
