"""C-STORE: one instance into the pipeline, while it arrives (PS3.4 §B)."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from twisted.internet.defer import Deferred

from harmonygw.dicom.dimse.commands import CStoreRQ
from harmonygw.dicom.dimse.statuses import Category, category
from harmonygw.dicom.dimse.storage_classes import STORAGE_CLASSES
from harmonygw.dicom.upperlayer.negotiation import AcceptedContext
from harmonygw.endpoints.dicom_scp.exchange import Circumstances, Exchange
from harmonygw.endpoints.dicom_scp.statuses import Service
from harmonygw.errors import Incomplete
from harmonygw.net.association.receiving import Admission
from harmonygw.operations import Store, StoreResult
from harmonygw.streams import Feed, Instance, Stream


class StoreExchange(Exchange[CStoreRQ]):
    """A C-STORE being served. Its response is sent by who receives the instance, when that has arrived whole.

    A pipeline that refuses early does not read on: the rest of the instance is taken and dropped.
    """

    name = "C-STORE"
    service = Service.STORAGE

    def __init__(
        self,
        circumstances: Circumstances,
        context: AcceptedContext,
        command: CStoreRQ,
        on_end: Callable[[], None],
        *,
        instance: Instance,
    ) -> None:
        super().__init__(circumstances, context, command, on_end)
        self._instance = instance
        self.admission = Admission(Feed(limit=1), Deferred())

    def is_of(self, sop_class_uid: str) -> bool:
        """Whether it is a storage SOP class."""
        return sop_class_uid in STORAGE_CLASSES

    async def carry_out(self) -> int:
        """Return what the archive says of the instance."""
        record = self.request.record
        try:
            results: Stream[StoreResult] = await self.ask(Store(self._instances()))
            async with aclosing(results):
                async for result in results:
                    record.instances = 0 if category(result.status) is Category.FAILURE else 1
                    if result.detail:
                        record.note(result.detail)
                    return result.status
            raise Incomplete("the archive does not say what became of the instance")
        finally:
            await self._instance.data_set.aclose()

    def respond(self, status: int, comment: str) -> None:
        """Let the C-STORE-RSP be sent."""
        if self.admission.status is not None:
            self.admission.status.callback(status)

    async def _instances(self) -> AsyncGenerator[Instance, None]:
        yield await anext(self.admission.instances)
