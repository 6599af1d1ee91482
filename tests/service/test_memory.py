"""Freed memory, which is kept; in a process of its own, since it is the process that changes."""

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from harmonygw.service.memory import keep_freed_memory

PAGE_FAULTS = """
import resource
from harmonygw.service.memory import HEAP_BYTES, keep_freed_memory

assert keep_freed_memory()
for size in (512 * 1024, HEAP_BYTES // 2):
    bytearray(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        bytearray(size)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_what_was_freed_is_used_again_without_asking_the_system() -> None:
    finished = subprocess.run([sys.executable, "-c", PAGE_FAULTS], stdout=subprocess.PIPE, check=True)
    frames, largest = map(int, finished.stdout.split())
    assert frames < 100
    assert largest < 100


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not keep_freed_memory()
