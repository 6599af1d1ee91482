"""The file descriptors of the process: how many there may be, and which of them connections of clients may have.

A new descriptor is the lowest number that is free. So that of a connection that was just accepted tells how many are
taken, whoever has them, and costs no count.
"""

import resource
from dataclasses import dataclass
from typing import Final

RESERVED: Final = 256
"""Descriptors that clients do not get: the gateway needs them for associations, files and what it tells those whom it
refuses. Of a process with few, a quarter."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Up to which number a connection is served, and up to which one it is told that it is not."""

    served_below: float = float("inf")
    shed_below: float = float("inf")

    @classmethod
    def of_process(cls) -> "Descriptors":
        """Return what holds for this process now (getrlimit(2), RLIMIT_NOFILE)."""
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most == resource.RLIM_INFINITY:
            return cls()
        reserved = min(RESERVED, most // 4)
        return cls(most - reserved, most - reserved // 2)


def allow(wanted: int) -> int:
    """Let this process have so many descriptors, as far as the system lets it; return how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
