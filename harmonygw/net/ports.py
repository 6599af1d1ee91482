"""The listening TCP ports of a process, which pass from who listens to who listens next without being closed.

An address is bound once. Who listens on it after that stands before who did until then: new connections are theirs,
and those that are open go on as they are. When the last one listens no more, the socket is closed.
"""
# mypy: allow-untyped-calls

from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory

ANYWHERE: Final = frozenset({"", "0.0.0.0"})  # noqa: S104 (what is compared, not what is bound)
"""Names of every IPv4 interface: the same socket."""

Key = tuple[str, int, str]


class Lease:
    """The right to the connections of an address, until `stopListening`."""

    def __init__(self, port: "Listener", factory: Any, *, waits: bool) -> None:
        self._port = port
        self.factory = factory
        """Builds the protocols of its connections."""
        self.waits = waits
        """Whether it is not its turn yet, while another one has the address."""

    def getHost(self) -> Any:
        """Return the address, with the port that the system chose."""
        return self._port.listening.getHost()

    def stopListening(self) -> "Deferred[Any]":
        """Give the address to who had it before; close the socket when nobody is left. Fires when that is done."""
        return self._port.leave(self)


class Ports:
    """The addresses that are bound. `reactor` binds them."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ports: dict[Key, Listener] = {}

    def __len__(self) -> int:
        """Return the number of sockets."""
        return len(self._ports)

    def listen(
        self,
        port: int,
        factory: Any,
        *,
        interface: str = "",
        backlog: int = 50,
        tls: Any = None,
        place: str = "",
        waits: bool = False,
    ) -> Lease:
        """Listen; raises `CannotListenError` when the address is not bound yet and cannot be.

        `tls` makes the contexts of TLS connections, None for none. `place` tells two listeners apart for which the
        system chooses the port: for who has the same one, it is chosen once. With `waits` the connections of an address
        that is bound stay with who has them, until `Upcoming.begin`.
        """
        key = ("" if interface in ANYWHERE else interface, port, "" if port else place)
        bound = self._ports.get(key)
        if bound is None:
            bound = Listener(lambda: self._ports.pop(key))
            bound.listening = self._reactor.listenTCP(port, bound, backlog=backlog, interface=interface)
            self._ports[key] = bound
        return bound.enter(factory if tls is None else TLSMemoryBIOFactory(tls, False, factory), waits=waits)


class Upcoming:
    """The ports as somebody uses them who is not to have connections that others have, before all is ready."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._waiting: list[Lease] | None = []

    def listen(self, port: int, factory: Any, **more: Any) -> Lease:
        """Listen, as `Ports` says."""
        lease = self._ports.listen(port, factory, **more, waits=self._waiting is not None)
        if self._waiting is not None:
            self._waiting.append(lease)
        return lease

    def begin(self) -> None:
        """Take the connections of all addresses, from now on and of those that follow."""
        waiting, self._waiting = self._waiting or [], None
        for lease in waiting:
            lease.waits = False


class Listener(Factory):
    """A socket and who listens on it, the last one in front."""

    noisy = False
    listening: IListeningPort

    def __init__(self, closed: Any) -> None:
        self._closed = closed
        self._leases: list[Lease] = []

    def enter(self, factory: Any, *, waits: bool) -> Lease:
        """Stand in front of all who are there, unless somebody does who does not wait."""
        lease = Lease(self, factory, waits=waits)
        self._leases.append(lease)
        return lease

    def leave(self, lease: Lease) -> "Deferred[Any]":
        """Go away; whoever is the last one closes the socket."""
        if lease not in self._leases:
            return succeed(None)
        self._leases.remove(lease)
        if self._leases:
            return succeed(None)
        self._closed()
        stopped: Deferred[Any] = maybeDeferred(self.listening.stopListening)
        return stopped

    @property
    def current(self) -> Any:
        """The factory whose turn it is."""
        ready = [one for one in self._leases if not one.waits] or self._leases
        return ready[-1].factory

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Let the one whose turn it is make the protocol of a connection."""
        return self.current.buildProtocol(addr)
