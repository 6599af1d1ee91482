"""The valve of a transport: whoever cannot take more holds it, and it reads only while nobody does."""

from collections.abc import Callable

from harmonygw.streams import Flow


class Valve:
    """Lets several feeds slow one transport down.

    When an operation has ended or was given up, `open()` frees the transport of every feed of that operation at
    once, whoever may still hold one: what comes next must come in, read or not.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._holders: set[object] = set()
        self._epoch = 0
        self.closed = False
        """Whether its transport carries no association any more: nobody can hold it again."""

    @property
    def held(self) -> bool:
        """Whether anybody holds it."""
        return bool(self._holders)

    def flow(self) -> Flow:
        """Make a handle of its own for one feed."""
        return _ValveFlow(self, self._epoch)

    def open(self) -> None:
        """Let it flow: every handle made so far is void."""
        self._epoch += 1
        if self._holders:
            self._holders.clear()
            self._on_change()

    def close(self) -> None:
        """Let it flow for good."""
        self.closed = True
        self.open()

    def hold(self, who: object, epoch: int) -> None:
        """Stop the flow on behalf of `who`, unless its handle is void."""
        if epoch == self._epoch and not self.closed:
            self._holders.add(who)
            self._on_change()

    def let_go(self, who: object) -> None:
        """Let it flow again, unless somebody else holds it."""
        if who in self._holders:
            self._holders.remove(who)
            self._on_change()


class _ValveFlow:
    def __init__(self, valve: Valve, epoch: int) -> None:
        self._valve = valve
        self._epoch = epoch

    def pause(self) -> None:
        self._valve.hold(self, self._epoch)

    def resume(self) -> None:
        self._valve.let_go(self)
