"""A queue whose turns go round among those who wait in it."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Round-robin across clients, first come first served within one: a long list of frames holds nobody else up."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, deque[T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, client: str, item: T) -> None:
        """Let one wait."""
        self._clients.setdefault(client, deque()).append(item)
        self._length += 1

    def pop(self) -> T:
        """Take out whose turn it is; the next turn is another client's. `LookupError` when nobody waits."""
        client = next(iter(self._clients), "")
        item = self._clients[client][0]
        self.remove(client, item)
        if client in self._clients:
            self._clients.move_to_end(client)
        return item

    def remove(self, client: str, item: T) -> None:
        """Take one out that waits no more."""
        self._clients[client].remove(item)
        if not self._clients[client]:
            del self._clients[client]
        self._length -= 1
