"""Retrieve of 800 instances of 512 KB from the synthetic source, against a plain relay between the same two ends.

The relay has the easier task twice over: it knows no DICOM, and its source does not wait for a C-STORE-RSP after each
instance. Both ways carry the same bytes to the same reader.
"""

from collections.abc import Iterator

from bench.reader import Demand, read
from bench.report import RUNS, Figure
from bench.stand import Stand
from bench.synthetic import Study

STUDY = Study(instances=800, frames=1)
TARGET = 0.65


def measure(stand: Stand) -> Iterator[Figure]:
    yield from ratio(stand, STUDY, RUNS)


def ratio(stand: Stand, study: Study, runs: int) -> Iterator[Figure]:
    """Measure a study both ways, in turn."""
    through_gateway = Demand(stand.gateway.port, path=f"/synthetic/studies/{study.uid}")
    through_relay = Demand(stand.peers.relay_port, raw=study.uid)
    read(through_gateway), read(through_relay)
    gateway, relay = [], []
    for _ in range(runs):
        relay.append(study.size / 1e6 / read(through_relay)[0].seconds)
        gateway.append(study.size / 1e6 / read(through_gateway)[0].seconds)
    yield Figure("relay", relay, "MB/s")
    yield Figure("gateway", gateway, "MB/s")
    ratios = [one / other for one, other in zip(gateway, relay, strict=True)]
    yield Figure("gateway's share of the relay's rate", ratios, at_least=TARGET)
