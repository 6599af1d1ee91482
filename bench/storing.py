"""What the measurements of storing share: the files, archives that are empty each time, and `storescu`."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.gateway import BRIEF_IDLE_SECS
from bench.peers import Archive
from bench.processes import NO_DELAY

STORE_SECS = 300.0
"""Seconds that one storing may take."""


@contextmanager
def files(write: Callable[[Path], Iterator[Path]]) -> Iterator[Path]:
    """Write a filling of `objects` into a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="harmonygw-bench-") as name:
        folder = Path(name)
        for _ in write(folder):
            pass
        yield folder


def empty(archive: Archive) -> None:
    """Let an archive begin anew with nothing in it, once the gateway has let its associations go."""
    time.sleep(2 * BRIEF_IDLE_SECS)
    archive.empty()


def storescu(port: int, called_ae_title: str, folder: Path) -> float:
    """Return the seconds that `storescu` takes for all files of a folder, in order; it fails when one is not stored."""
    begun = time.perf_counter()
    subprocess.run(
        [
            *("storescu", "-x=", "-pdu", "131072", "-aec", called_ae_title, "-aet", "HARMONYGW"),
            *("127.0.0.1", str(port), *map(str, sorted(folder.iterdir()))),
        ],
        env=NO_DELAY,
        check=True,
        capture_output=True,
        timeout=STORE_SECS,
    )
    return time.perf_counter() - begun
