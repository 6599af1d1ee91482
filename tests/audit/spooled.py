"""A spool on a disk of its own, what is in it, and system calls of it that fail when they are told to."""

import os
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from harmonygw.audit.folder import Position
from harmonygw.audit.spool import Spool
from harmonygw.config.audit import Audit
from harmonygw.disk import Disk

MESSAGES = [b"message %d" % number for number in range(500)]


def audit(folder: Path, **more: Any) -> Audit:
    return Audit(spool_path=str(folder / "spool"), **{"max_spool_bytes": 1 << 20, **more})


@asynccontextmanager
async def spooling(folder: Path, clock: Any = reactor, now: Callable[[], float] | None = None, **more: Any) -> Any:
    """A spool that is open, on a disk of its own."""
    disk = Disk(reactor, threads=2, name="test")
    disk.start()
    spool = Spool(audit(folder, **more), clock, disk, now=now or (lambda: 1.0))
    try:
        await spool.start()
        yield spool
        await spool.stop()
    finally:
        await disk.stop()


async def rest(spool: Spool, limit: int = 1000, after: Position | None = None) -> list[bytes]:
    """Read everything from what has been delivered on."""
    found: list[bytes] = []
    at = after or spool.confirmed
    while (batch := await spool.read(at, limit)).messages:
        found += batch.messages
        at = batch.end
    return found


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "spool").glob("*.segment"))


async def until(condition: Callable[[], Any]) -> None:
    for _ in range(500):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it did not become so")


class Failing:
    """Stands for a system call: fails or does half while it is told to."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        self.error: OSError | None = None
        self.short = 0
        self.sizes: list[int] = []
        """Of the segments that it was called for."""

    def __call__(self, number: int, *arguments: Any) -> Any:
        if arguments and arguments[0] == b"x":
            return self.call(number, *arguments)  # a byte wakes the reactor up
        if self.short:
            self.call(number, arguments[0][: self.short])
            return self.short
        if self.error is not None:
            raise self.error
        if os.readlink(f"/proc/self/fd/{number}").endswith(".segment"):
            self.sizes.append(os.fstat(number).st_size)
        return self.call(number, *arguments)
