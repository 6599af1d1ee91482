"""The memory of a process that the gateway has to itself.

The C library gives freed memory at the top of its heap back to the system as soon as there is a megabyte of it. A
gateway then returns the half megabyte of every frame that it has sent, and gets it back for the next one as pages that
the system has to clear: measured, that takes a third of the time of a frame that is at hand, or nothing, as chance has
laid out the heap.
"""

import ctypes
from typing import Final

KEPT_BYTES: Final = 64 * 1024 * 1024
"""Freed bytes at the top of the heap that are kept. Default 64 MiB: some frames of the largest kind."""

HEAP_BYTES: Final = 32 * 1024 * 1024
"""Bytes of what is taken from the heap at all, and not mapped for itself: 32 MiB, the most that the C library takes."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed; tell whether it can (mallopt(3): glibc, not musl)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, HEAP_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
