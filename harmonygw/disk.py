"""What blocks, in threads; and open files that end with whoever holds them last."""

import errno
import os
from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import Any, Final, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from harmonygw.errors import TransportError

P = ParamSpec("P")
T = TypeVar("T")

MAX_VOLATILE_BYTES: Final = 512 * 1024 * 1024
"""Bytes of all volatile files of one disk. Default 512 MiB: a series goes on to who waits for it, and a full disk does
not become full memory."""


MAX_OPEN_FILES: Final = 200
"""Files that are kept open because they were read lately. Default 200, a fifth of the descriptors that a process has
by default: a series or two that somebody scrolls through."""


class Disk:
    """A few threads for what blocks."""

    def __init__(self, reactor: Any, *, threads: int, name: str) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, name=name)
        self._running = False
        self._volatile_bytes = 0
        self._open: OrderedDict[Any, Descriptor] = OrderedDict()
        self._counting = RLock()  # a descriptor may be collected, and give memory back, wherever this thread is

    def start(self) -> None:
        """Take work."""
        self._running = True
        self._pool.start()

    def stop(self) -> "Deferred[None]":
        """Take no more; fires when what was begun is done."""
        self._running = False
        self._open.clear()
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._pool.stop)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """Call a function in a thread; raises `TransportError` when the disk is not open."""
        if not self._running:
            raise TransportError("the disk is not open: the gateway starts or stops")
        return deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)

    def tidy(self, function: Callable[[], None]) -> "Deferred[None]":
        """Call what removes something in a thread, or at once when the disk is not open any more."""
        if self._running:
            return self.run(function)
        return execute(function)

    def opened(self, owner: Any) -> "Descriptor | None":
        """Return the file that an owner has kept open."""
        descriptor = self._open.get(owner)
        if descriptor is not None:
            self._open.move_to_end(owner)
        return descriptor

    def keep_open(self, owner: Any, descriptor: "Descriptor") -> None:
        """Keep a file open until `MAX_OPEN_FILES` others have been kept since, or the disk is stopped."""
        if self._running:
            self._open[owner] = descriptor
        while len(self._open) > MAX_OPEN_FILES:
            self._open.popitem(last=False)

    def close(self, owner: Any) -> None:
        """Keep a file open no more."""
        self._open.pop(owner, None)

    @property
    def is_short_of_memory(self) -> bool:
        """Whether half of what may lie in memory does."""
        return self._volatile_bytes > MAX_VOLATILE_BYTES // 2

    def take_memory(self, size: int) -> None:
        """Count bytes that come to lie in memory; raises `OSError` beyond `MAX_VOLATILE_BYTES`. Any thread may call."""
        with self._counting:
            if self._volatile_bytes + size > MAX_VOLATILE_BYTES:
                raise OSError(errno.ENOMEM, f"no more memory for what the disk does not take ({MAX_VOLATILE_BYTES=})")
            self._volatile_bytes += size

    def give_memory_back(self, size: int) -> None:
        """Count bytes that lie in memory no more."""
        with self._counting:
            self._volatile_bytes -= size


class Descriptor:
    """An open file, closed with the last reference to it: a wait that is cancelled drops it, and a thread that still
    reads keeps it."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        """Close it now; nobody else may use it."""
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)

    def __del__(self) -> None:
        self.close()


class Memory(Descriptor):
    """A file in memory, whose bytes are counted until it is closed."""

    __slots__ = ("_disk", "_size")

    def __init__(self, number: int, disk: Disk) -> None:
        super().__init__(number)
        self._disk = disk
        self._size = 0

    def grow(self, size: int) -> None:
        """Make sure of so many bytes in all; raises `OSError` beyond `MAX_VOLATILE_BYTES`."""
        if size > self._size:
            self._disk.take_memory(size - self._size)
            self._size = size

    def close(self) -> None:
        """Close it now, and give its memory back."""
        super().close()
        size, self._size = self._size, 0
        self._disk.give_memory_back(size)
