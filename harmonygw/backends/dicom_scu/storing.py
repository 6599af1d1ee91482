"""A Store as C-STOREs: its instances flow to the PACS one after another, on one association (PS3.4 §B).

What is coming is not known beforehand: the first instance, and what was stored in this PACS before, decide what is
proposed. An instance that needs another presentation context ends the association and opens one that proposes that
too. An association that the PACS ends between two instances is opened again. Nothing is sent twice: once the C-STORE-RQ
has gone out, whatever happens to the association has happened to the instance.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall

from harmonygw.backends.dicom_scu.re_encoding import ReEncoding
from harmonygw.backends.dicom_scu.requesting import Requesting
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.statuses import Category, category
from harmonygw.errors import Busy, HarmonyError, NotAcceptable, PeerError, TimedOut
from harmonygw.exchange import Record, Request
from harmonygw.net.association.operations import Outcome
from harmonygw.net.association.outgoing import Kind, OutgoingData, StorageContexts, contexts_for
from harmonygw.net.association.pool import AssociationPool
from harmonygw.net.association.requestor import Association
from harmonygw.operations import Store, StoreResult
from harmonygw.streams import Instance, Pieces, Stream

HOLD_SECS: Final = 2.0
"""Seconds that a Store keeps its association while nothing of its next instance comes. Default 2: between two instances
of a client that sends as fast as it can there are milliseconds, and the place of one that does not is another's."""

STALL_BYTES: Final = 16_384
"""Bytes of an instance that must come within `store_stall_secs` of waiting for them. Default 16 KiB: a quarter
of a kilobyte a second with the default time, less than any line that carries images."""


class Storage:
    """Stores in one PACS: what they have in common."""

    def __init__(
        self,
        pool: AssociationPool,
        requesting: Requesting,
        re_encoding: ReEncoding,
        clock: Any,
        *,
        stall_secs: float,
    ) -> None:
        self.pool = pool
        self.requesting = requesting
        self.re_encoding = re_encoding
        self.clock = clock
        self.stall_secs = stall_secs
        self.contexts = StorageContexts(re_encoding.alternatives)

    async def begin(self, request: Request, store: Store, named: Callable[[HarmonyError], HarmonyError]) -> "Results":
        """Wait for the first instance and lease an association for it; return the results.

        `named` is given every error that ends the results. Raises what the instances raise, and what a lease raises.
        """
        results = Results(self, request, store, named)
        await results.begin()
        return results


@dataclass(slots=True)
class _Arrival:
    """An instance of which the first bytes are there, or why there are none."""

    instance: Instance
    source: "_Source"
    data_set: OutgoingData
    error: HarmonyError | None = None


class Results:
    """The results of one Store, each made when it is asked for. Whoever has them reads them to the end, or closes them.

    A failure is that of its instance, and the others go on; what ends the instances ends the results.
    """

    def __init__(
        self, storage: Storage, request: Request, store: Store, named: Callable[[HarmonyError], HarmonyError]
    ) -> None:
        self._storage = storage
        self._client = request.client
        self._record: Record = request.record
        self._instances = store.instances
        self._named = named
        self._lease = _Lease(storage, request)
        self._first: Instance | None = None
        self._ahead: Deferred[_Arrival | None] | None = None
        """The next instance, which is looked at while the PACS deals with the one before; None at the end."""

    async def begin(self) -> None:
        """Wait for the first instance, and lease an association for it."""
        try:
            self._first = await anext(aiter(self._instances))
            await self._lease.association(self._first)
        except StopAsyncIteration:
            return
        except BaseException:
            await self.aclose()
            raise
        self._lease.hold()

    def __aiter__(self) -> "AsyncIterator[StoreResult]":
        return self

    async def __anext__(self) -> StoreResult:
        try:
            arrival = await (self._ahead or self._arrival())
            self._ahead = None
            if arrival is None:
                raise StopAsyncIteration
            outcome = await self._outcome(arrival)
        except HarmonyError as error:
            await self.aclose()
            raise self._named(error) from error.__cause__
        except BaseException:
            await self.aclose()
            raise
        self._lease.hold()
        uids = arrival.instance.sop_class_uid, arrival.instance.sop_instance_uid
        return StoreResult(*uids, outcome.status, outcome.error_comment)

    async def aclose(self) -> None:
        """Let go of the association, and give up the instances that are still to come."""
        self._lease.end()
        first, self._first = self._first, None
        if first is not None:
            await first.data_set.aclose()
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.addErrback(lambda _: None)
            ahead.cancel()
            if (arrival := await ahead) is not None:
                await arrival.instance.data_set.aclose()
        await self._instances.aclose()

    async def _arrival(self) -> "_Arrival | None":
        """Wait for the next instance and its first bytes: what cannot be read at all costs no association."""
        instance, self._first = self._first, None
        try:
            if instance is None:
                instance = await anext(aiter(self._instances))
        except StopAsyncIteration:
            return None
        source = _Source(instance.data_set, self._storage.clock)
        arrival = _Arrival(instance, source, OutgoingData(source))
        try:
            await arrival.data_set.begin()
        except CancelledError:
            raise
        except HarmonyError as error:
            arrival.error = error
        return arrival

    def _look_ahead(self) -> None:
        """Begin with the next instance: all of this one has gone out, and its response is still to come."""
        self._ahead = Deferred.fromCoroutine(self._arrival())

    async def _outcome(self, arrival: "_Arrival") -> Outcome:
        record = self._record
        try:
            outcome = await self._store(arrival)
        except CancelledError:
            raise
        except HarmonyError as error:
            await arrival.instance.data_set.aclose()
            outcome = Outcome(_status_of(error), error_comment=error.detail)
            record.note(f"an instance was not stored: {error.detail}")
        if category(outcome.status) in (Category.SUCCESS, Category.WARNING):
            record.instances += 1
        if outcome.status != statuses.SUCCESS or record.dimse_status is None:
            record.dimse_status = outcome.status
        return outcome

    async def _store(self, arrival: "_Arrival") -> Outcome:
        if arrival.error is not None:
            raise arrival.error
        instance = arrival.instance
        outgoing = replace(instance, data_set=arrival.data_set)
        association = await self._lease.association(instance)
        re_encoding = self._storage.re_encoding
        contexts = contexts_for(instance, association.protocol.contexts.values(), re_encoding.alternatives)
        syntaxes = [one.transfer_syntax for one in contexts]
        if syntaxes[0] == instance.transfer_syntax_uid:
            return await self._send(association, outgoing, arrival.source)
        made = await re_encoding.begin(outgoing, syntaxes, self._client)
        try:
            association = await self._lease.association(instance)  # the one before may be gone by now
            return await self._send(association, made, arrival.source)
        finally:
            await made.data_set.aclose()

    async def _send(self, association: Association, outgoing: Instance, source: "_Source") -> Outcome:
        source.watch(self._storage.stall_secs, association)
        try:
            return await association.store(outgoing, on_sent=self._look_ahead)
        finally:
            source.watch_no_more()


class _Lease:
    """The association of one Store, for as long as there is something to send on it."""

    def __init__(self, storage: Storage, request: Request) -> None:
        self._storage = storage
        self._request = request
        self._deadline = request.deadline
        self._association: Association | None = None
        self._proposed: frozenset[Kind] = frozenset()
        self._holding: IDelayedCall | None = None

    async def association(self, instance: Instance) -> Association:
        """Return one on which the kind of this instance was proposed; raises what a lease raises."""
        self._hold_no_more()
        storage = self._storage
        kind = instance.sop_class_uid, instance.transfer_syntax_uid
        storage.contexts.include(kind)
        before = self._association
        if before is not None and before.is_established and kind in self._proposed:
            return before
        rq = storage.requesting.storage_rq(storage.contexts.proposed)
        # Who waited by the request's own deadline does so once; later it is the pool's time that counts.
        deadline, self._deadline = self._deadline, None
        self._association = None
        try:
            association = await storage.pool.acquire(
                rq, client=self._request.client, light=False, deadline=deadline, instead_of=before
            )
        except BaseException:
            if before is not None:
                storage.pool.give_back(before)
            raise
        self._association = association
        self._proposed = frozenset((one.abstract_syntax, uid) for one in rq.contexts for uid in one.transfer_syntaxes)
        return association

    def hold(self) -> None:
        """Keep the association for the next instance, but not for long."""
        self._hold_no_more()
        if self._association is not None:
            self._holding = self._storage.clock.callLater(HOLD_SECS, self._let_go)

    def end(self) -> None:
        """Give the association back."""
        self._hold_no_more()
        self._let_go()

    def _hold_no_more(self) -> None:
        holding, self._holding = self._holding, None
        if holding is not None and holding.active():
            holding.cancel()

    def _let_go(self) -> None:
        association, self._association = self._association, None
        if association is not None:
            self._storage.pool.give_back(association)


class _Source:
    """The data set of an instance, and how long whoever brings it has kept the PACS waiting."""

    def __init__(self, data_set: Stream[Pieces], clock: Any) -> None:
        self._data_set = data_set
        self._clock = clock
        self._waiting_since: float | None = None
        self._waited = 0.0
        self._came = 0
        self._watching: IDelayedCall | None = None

    def __aiter__(self) -> "_Source":
        return self

    async def __anext__(self) -> Pieces:
        since = self._waiting_since = self._clock.seconds()
        try:
            pieces = await self._data_set.__anext__()
        finally:
            self._waiting_since = None
        self._waited += self._clock.seconds() - since
        self._came += sum(map(len, pieces))
        if self._came >= STALL_BYTES:
            self._came, self._waited = 0, 0.0
        return pieces

    async def aclose(self) -> None:
        """Give it up."""
        await self._data_set.aclose()

    def watch(self, seconds: float, association: Association) -> None:
        """Abort the association when so many seconds were waited for `STALL_BYTES`, from now on.

        Who stores the instance is not disturbed: the C-STORE fails when the next bytes come, or no more do.
        """
        self._came, self._waited = 0, 0.0
        self._watch(seconds, association)

    def watch_no_more(self) -> None:
        """Let it take its time."""
        if self._watching is not None and self._watching.active():
            self._watching.cancel()

    def _watch(self, seconds: float, association: Association) -> None:
        waited = self._waited
        if self._waiting_since is not None:
            waited += self._clock.seconds() - self._waiting_since
        if waited < seconds:
            self._watching = self._clock.callLater(seconds - waited, self._watch, seconds, association)
        else:
            association.abort(
                TimedOut(f"less than {STALL_BYTES} bytes of an instance came in {seconds:g} s (store_stall_secs)")
            )


def _status_of(error: HarmonyError) -> int:
    """Return the status of an instance that the archive gave none (PS3.18 Table I.2-2)."""
    match error:
        case NotAcceptable():
            return statuses.SOP_CLASS_NOT_SUPPORTED
        case Busy():
            return statuses.OUT_OF_RESOURCES
        case PeerError(source=0):  # the object is malformed, and not what the PACS said
            return statuses.CANNOT_UNDERSTAND
    return statuses.PROCESSING_FAILURE
