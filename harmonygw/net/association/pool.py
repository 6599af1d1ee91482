"""The associations with one target: a quota, a queue that is fair across clients, reuse, and health.

A PACS grants a handful of associations. A heavy operation (a retrieval, a storage) holds one for as long as the
bytes take; a light one (an Echo, a query) for milliseconds. One place of a quota above one is kept for the light
ones, so that a Search never waits behind study transfers. Who waits is served client by client, so that who asks for
a hundred studies does not starve who asks for one; each client's own are served in order of arrival.

An association takes a place from the attempt to open it until its connection is gone: it is opening, leased, idle or
closing, and the peer may count it in each of these. An attempt that fails gives its place back at once.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater

from harmonygw.dicom.upperlayer.negotiation import AssociateRQ
from harmonygw.errors import Busy, PeerError, RejectedError, TimedOut, TransportError
from harmonygw.net.association.requestor import Association
from harmonygw.net.circuit import Circuit

RETRY_DELAY = 0.1
"""Seconds before a refused connection is tried again; doubled each time."""

LONGEST_RETRY_DELAY = 2.0
"""Seconds between two attempts at most, while a PACS says that it is busy."""

BUSY_RETRY_AFTER = 5
"""Seconds after which a client may try again when there was no place: what holds the places are transfers."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The limits of one pool."""

    max_associations: int = 4
    """Associations open at once, idle ones included; at least 1."""
    idle_secs: float = 30.0
    """Seconds that an unused association is kept open."""
    queue_secs: float = 30.0
    """Seconds that a request waits for a place, when it brings no deadline of its own."""
    max_waiting: int = 1000
    """Requests of one kind, light or heavy, that may wait for a place."""
    max_retries: int = 3
    """Further attempts when a connection is refused, 0 to 10."""


@dataclass(slots=True, eq=False)
class _Waiter:
    rq: AssociateRQ
    client: str
    light: bool
    turn: Deferred[Association | None] = field(default_factory=Deferred)
    """Fires with an idle association, or with None: a place to open one."""


class _Queue:
    """Round-robin across clients, first come first served within one."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, dict[_Waiter, None]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, waiter: _Waiter) -> bool:
        return waiter in self._clients.get(waiter.client, ())

    def first(self) -> _Waiter | None:
        """Return whose turn it is."""
        return next((next(iter(waiters)) for waiters in self._clients.values()), None)

    def append(self, waiter: _Waiter) -> None:
        """Let one wait."""
        self._clients.setdefault(waiter.client, {})[waiter] = None
        self._length += 1

    def prepend(self, waiter: _Waiter) -> None:
        """Let one wait whose turn is next."""
        self._clients[waiter.client] = {waiter: None, **self._clients.get(waiter.client, {})}
        self._clients.move_to_end(waiter.client, last=False)
        self._length += 1

    def serve(self, waiter: _Waiter) -> None:
        """Take one out whose turn has come; the next turn is another client's."""
        self.remove(waiter)
        if waiter.client in self._clients:
            self._clients.move_to_end(waiter.client)

    def remove(self, waiter: _Waiter) -> None:
        """Take one out that waits no more."""
        waiters = self._clients[waiter.client]
        del waiters[waiter]
        if not waiters:
            del self._clients[waiter.client]
        self._length -= 1

    def clear(self) -> list[_Waiter]:
        """Take all out."""
        waiters = [waiter for waiters in self._clients.values() for waiter in waiters]
        self._clients.clear()
        self._length = 0
        return waiters


class AssociationPool:
    """Hands associations out, and takes them back."""

    def __init__(
        self,
        open_association: Callable[[AssociateRQ], Awaitable[Association]],
        clock: IReactorTime,
        limits: PoolLimits,
        *,
        echo_rq: AssociateRQ,
    ) -> None:
        self._open_association = open_association
        self._clock = clock
        self._limits = limits
        self._echo_rq = echo_rq
        self._heavy_quota = max(1, limits.max_associations - 1)
        self._opening: dict[_Waiter, Deferred[Association] | None] = {}
        self._leased: dict[Association, bool] = {}
        self._idle: dict[Association, IDelayedCall] = {}
        self._closing: set[Association] = set()
        self._light = _Queue()
        self._heavy = _Queue()
        self._stopped = False
        self.circuit = Circuit(clock, self._echo)

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return len(self._light) + len(self._heavy)

    @property
    def places(self) -> int:
        """Places taken: never more than `max_associations`."""
        return len(self._opening) + len(self._leased) + len(self._idle) + len(self._closing)

    def state(self) -> dict[str, object]:
        """Describe the pool for the management endpoint."""
        return {
            "associations": self.places,
            "max_associations": self._limits.max_associations,
            "idle": len(self._idle),
            "waiting": self.waiting,
            "circuit": "open" if self.circuit.is_open else "closed",
            "last_failure": self.circuit.last_failure,
        }

    async def acquire(
        self,
        rq: AssociateRQ,
        *,
        client: str,
        light: bool,
        deadline: float | None = None,
        fresh: bool = False,
        instead_of: Association | None = None,
    ) -> Association:
        """Lease an association negotiated with `rq`; give it back when its last operation has been begun.

        `fresh` takes none that was idle: one of those has just turned out to be dead. `instead_of` is one that is
        leased and will not do, or was leased until the peer ended it: it is released, and who had it goes before who
        waits. Raises `Busy` when there is no place by the deadline, when too many wait or the circuit is open, and
        what `Association.request` raises.
        """
        if self._stopped:
            raise Busy("the gateway is stopping")
        self.circuit.check()
        most = self._limits.max_waiting
        if instead_of is None and len(self._light if light else self._heavy) >= most:
            raise Busy(f"{most} requests wait for this target already (max_waiting)", retry_after=BUSY_RETRY_AFTER)
        if fresh:
            for association in list(self._idle):
                self._release(association)
        waiter = _Waiter(rq, client, light)
        if instead_of is None:
            self._queue_of(waiter).append(waiter)
        else:
            self._queue_of(waiter).prepend(waiter)
            self._replace(instead_of)
        return await self._acquire(waiter, deadline)

    def give_back(self, association: Association) -> None:
        """Take an association back: it is used again once its operation has ended, and not before."""
        association.idle().addCallback(lambda _: self._returned(association))

    def discard(self, association: Association) -> None:
        """Take an association back that is not to be used again, and end it: in order, if nothing is under way."""
        if self._leased.pop(association, None) is not None:
            self._closing.add(association)
            association.release()
            self._serve()

    def stop(self) -> None:
        """Release what is idle, refuse what waits, and let what is under way end."""
        self._stopped = True
        self.circuit.stop()
        for association in list(self._idle):
            self._release(association)
        self._refuse_all(lambda: Busy("the gateway is stopping"))

    def abort(self) -> None:
        """End what is under way at once; what is being opened is cancelled, what is idle is released."""
        closing = list(self._closing)
        self.stop()
        for opening in list(self._opening.values()):
            if opening is not None:
                opening.cancel()
        for association in [*self._leased, *closing]:
            association.abort()

    # Waiting

    async def _acquire(self, waiter: _Waiter, deadline: float | None) -> Association:
        if deadline is None:
            deadline = self._clock.seconds() + self._limits.queue_secs
        self._serve()
        return await self._wait(waiter, deadline) or await self._open(waiter, deadline)

    async def _wait(self, waiter: _Waiter, deadline: float) -> Association | None:
        if waiter.turn.called:
            return await waiter.turn
        timer = self._clock.callLater(max(0.0, deadline - self._clock.seconds()), self._refuse, waiter)
        try:
            return await waiter.turn
        except CancelledError:
            if waiter in self._queue_of(waiter):
                self._queue_of(waiter).remove(waiter)
            raise
        finally:
            if timer.active():
                timer.cancel()

    def _refuse(self, waiter: _Waiter) -> None:
        self._queue_of(waiter).remove(waiter)
        waiter.turn.errback(
            Busy(
                "no association with the target became free in time (queue_timeout_secs)",
                retry_after=BUSY_RETRY_AFTER,
            )
        )

    def _refuse_all(self, why: Callable[[], Busy]) -> None:
        for waiter in self._light.clear() + self._heavy.clear():
            waiter.turn.errback(why())

    def _queue_of(self, waiter: _Waiter) -> _Queue:
        return self._light if waiter.light else self._heavy

    def _heavy_room(self) -> int:
        """Return how many heavy operations may begin before their quota is used up."""
        opening = sum(not waiter.light for waiter in self._opening)
        leased = sum(not light for light in self._leased.values())
        return self._heavy_quota - opening - leased

    def _next(self) -> _Waiter | None:
        waiter = self._light.first()
        if waiter is None and self._heavy_room() > 0:
            waiter = self._heavy.first()
        return waiter

    def _serve(self) -> None:
        while (waiter := self._next()) is not None:
            association = next((one for one in self._idle if one.rq == waiter.rq), None)
            if association is not None:
                self._idle.pop(association).cancel()
                self._leased[association] = waiter.light
            elif self.places < self._limits.max_associations:
                self._opening[waiter] = None
            else:
                self._make_room()
                return
            self._queue_of(waiter).serve(waiter)
            waiter.turn.callback(association)

    def _make_room(self) -> None:
        """Close as many idle associations as there are waiters for whom none is closing yet, the oldest first."""
        needed = len(self._light) + min(len(self._heavy), self._heavy_room())
        for association in list(self._idle)[: max(0, needed - len(self._closing))]:
            self._release(association)

    # Opening and closing

    async def _open(self, waiter: _Waiter, deadline: float) -> Association:
        opening = self._opening[waiter] = Deferred.fromCoroutine(self._persistently(waiter.rq, deadline))
        try:
            association = await opening
        except BaseException:
            del self._opening[waiter]
            self._serve()
            raise
        del self._opening[waiter]
        self._leased[association] = waiter.light
        association.on_close(lambda: self._closed(association))
        association.on_disconnect(lambda: self._disconnected(association))
        return association

    async def _persistently(self, rq: AssociateRQ, deadline: float) -> Association:
        delay = RETRY_DELAY
        retries_left = self._limits.max_retries
        while True:
            too_late = self._clock.seconds() + delay > deadline
            try:
                association = await self._open_association(rq)
            except RejectedError as error:
                self.circuit.succeeded()
                if not error.transient:
                    raise
                if too_late:
                    raise Busy(error.detail, retry_after=BUSY_RETRY_AFTER) from error
            except TransportError as error:
                if too_late or not retries_left:
                    self._failed(error)
                    raise
                retries_left -= 1
            except (TimedOut, PeerError) as error:
                self._failed(error)
                raise
            else:
                self.circuit.succeeded()
                return association
            await deferLater(self._clock, delay)
            delay = min(delay * 2, LONGEST_RETRY_DELAY)

    def _failed(self, error: TransportError | TimedOut | PeerError) -> None:
        self.circuit.failed(error)
        if self.circuit.is_open:
            self._refuse_all(self.circuit.refusal)

    def _returned(self, association: Association) -> None:
        if association not in self._leased or association.is_closed:
            return
        del self._leased[association]
        self._idle[association] = self._clock.callLater(self._limits.idle_secs, self._release, association)
        if self._stopped:
            self._release(association)
        self._serve()

    def _release(self, association: Association) -> None:
        timer = self._idle.pop(association)
        if timer.active():
            timer.cancel()
        self._closing.add(association)
        association.release()

    def _replace(self, association: Association) -> None:
        """Release one that is leased; its place is counted until its connection is gone."""
        if self._leased.pop(association, None) is not None:
            self._closing.add(association)
            association.release()

    def _closed(self, association: Association) -> None:
        self._leased.pop(association, None)
        timer = self._idle.pop(association, None)
        if timer is not None:
            timer.cancel()
        self._closing.add(association)
        self._serve()

    def _disconnected(self, association: Association) -> None:
        self._closing.discard(association)
        self._serve()

    async def _echo(self) -> None:
        waiter = _Waiter(self._echo_rq, "", light=True)
        self._light.append(waiter)
        association = await self._acquire(waiter, None)
        try:
            await association.echo()
        finally:
            self.give_back(association)
