"""Who is connected: places overall and by address, and the end of all of them."""

from collections import Counter
from enum import Enum
from typing import Protocol

from twisted.internet.defer import Deferred, succeed

from harmonygw.net.http.addresses import network_of
from harmonygw.net.http.descriptors import Descriptors
from harmonygw.net.http.limits import MAX_SHED, NETWORK_SHARE, HTTPLimits


class Admission(Enum):
    """What becomes of a new connection."""

    SERVED = "served"
    SHED = "told that a limit is reached, and closed"
    DROPPED = "closed without a word"


class Closable(Protocol):
    """What can be asked to come to its end: a channel."""

    def close_when_idle(self) -> None:
        """Close now when no request is being served, else after its reply."""

    def abort(self) -> None:
        """Reset the connection."""


class Connections:
    """The connections of one listener. A place is free again when its socket is closed, not before."""

    def __init__(self, limits: HTTPLimits, descriptors: Descriptors | None = None) -> None:
        self._limits = limits
        self._descriptors = descriptors or Descriptors()
        self._open: dict[Closable, tuple[str, Admission]] = {}
        self._served_by_address: Counter[str] = Counter()
        self._count: Counter[Admission] = Counter()
        self._drained: list[Deferred[None]] = []

    def limit(self, limits: HTTPLimits) -> None:
        """Change how many there may be; those that are too many stay until they end."""
        self._limits = limits

    def __len__(self) -> int:
        """Return the number of connections that are being served."""
        return self._count[Admission.SERVED]

    def of(self, address: str) -> int:
        """Return the number of connections that are being served for one address."""
        return self._served_by_address[address]

    def add(self, channel: Closable, address: str, descriptor: int = -1) -> Admission:
        """Count a connection that was just accepted, with its file descriptor, and decide on it."""
        most = self._limits.max_connections_per_address
        if (
            len(self) < self._limits.max_connections
            and all(self.of(one) < share * most for one, share in _counted(address))
            and descriptor < self._descriptors.served_below
        ):
            admission = Admission.SERVED
            self._served_by_address.update(one for one, _ in _counted(address))
        elif self._count[Admission.SHED] < MAX_SHED and descriptor < self._descriptors.shed_below:
            admission = Admission.SHED
        else:
            admission = Admission.DROPPED
        self._open[channel] = (address, admission)
        self._count[admission] += 1
        return admission

    def remove(self, channel: Closable) -> None:
        """Give the place of a connection back; it is closed."""
        address, admission = self._open.pop(channel)
        self._count[admission] -= 1
        if admission is Admission.SERVED:
            for one, _ in _counted(address):
                self._served_by_address[one] -= 1
                if not self._served_by_address[one]:
                    del self._served_by_address[one]
        if not self._open:
            watchers, self._drained = self._drained, []
            for watcher in watchers:
                watcher.callback(None)

    def drain(self) -> "Deferred[None]":
        """Let every connection end with the reply it is at; fire when the last one is closed."""
        if not self._open:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        for channel in tuple(self._open):
            channel.close_when_idle()
        return drained

    def abort(self) -> None:
        """Reset every connection."""
        for channel in tuple(self._open):
            channel.abort()


def _counted(address: str) -> tuple[tuple[str, int], ...]:
    """Return what a connection is counted under, and how many times `max_connections_per_address` that has."""
    network = network_of(address)
    return ((address, 1), (network, NETWORK_SHARE)) if network else ((address, 1),)
