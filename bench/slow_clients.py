"""1,000 clients that are slow or silent, and Searches meanwhile.

Each kind of client is there in the same number: silent from the beginning, a header a byte at a time, a body a byte at
a time, a study that is never read, and a connection that is kept after a reply. Whom the gateway closes comes again at
once. Both cases are measured with the same gateway and the same Searches.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from bench.gateway import Gateway, Search
from bench.processes import Process, module
from bench.report import RUNS, Figure
from bench.stand import Stand
from bench.synthetic import Study

CLIENTS = 1000
DESCRIPTORS = 4096
"""That this process, and so what it starts, may have."""
SEARCHES = 200
"""In each run."""
PAUSE_SECS = 0.01
"""Between two of them."""
SETTLING_SECS = 19.0
"""From the last client's connecting to the first Search: the deadline of a header passes amid the Searches."""
TARGET_RATIO = 2.0
TARGET_MIB = 64.0


def measure(stand: Stand) -> Iterator[Figure]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(DESCRIPTORS, hard)), hard))
    alone, besieged, growth, present = [], [], [], []
    try:
        with Gateway(stand.peers) as gateway:
            search = Search(gateway, f"/synthetic/studies?StudyInstanceUID={Study(instances=1, frames=1).uid}")
            _median(search)
            for _ in range(RUNS):
                before = gateway.resident()
                gateway.forget_peak()
                alone.append(_median(search))
                with _clients(gateway, stand) as clients:
                    besieged.append(_median(search))
                    present.append(float(gateway.descriptors()))
                    clients.check()
                growth.append((gateway.resident_peak() - before) / 2**20)
            search.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    yield Figure("Search alone", alone, "ms")
    yield Figure(f"Search beside {CLIENTS:,} slow clients", besieged, "ms")
    ratios = [one / other for one, other in zip(besieged, alone, strict=True)]
    yield Figure("Search beside slow clients over Search alone", ratios, at_most=TARGET_RATIO)
    yield Figure("descriptors of the gateway meanwhile", present, at_least=0.95 * CLIENTS)
    yield Figure("memory growth meanwhile", growth, "MiB", at_most=TARGET_MIB)


@contextmanager
def _clients(gateway: Gateway, stand: Stand) -> Iterator[Process]:
    log = stand.peers.folder / "besiegers.log"
    clients = module("bench.besiegers", str(gateway.port), str(CLIENTS), log=log)
    try:
        clients.announced_port()  # its first line, when all are connected
        time.sleep(SETTLING_SECS)
        yield clients
    finally:
        clients.end()


def _median(search: Search) -> float:
    """Return the median of some Searches, in milliseconds."""
    times = []
    for _ in range(SEARCHES):
        time.sleep(PAUSE_SECS)
        times.append(search.seconds(1))
    return median(times) * 1000
