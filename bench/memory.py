"""Growth of the gateway's resident memory during one retrieve, after one that warmed it up.

The peak is the kernel's own, so that nothing between two samples is missed. A client that reads slowly is one of the
cases: what it has not read must not gather here.
"""

from collections.abc import Iterator

from bench import objects
from bench.gateway import Gateway
from bench.reader import Demand, read
from bench.report import RUNS, Figure
from bench.stand import Stand
from bench.synthetic import Study
from bench.throughput import STUDY

TARGET_MIB = 16.0
MULTI_FRAME = Study(instances=1, frames=objects.MULTI_FRAMES)
SLOW_STUDY = Study(instances=200, frames=1)
SLOW_RATE = 40_000_000
"""Bytes a second that the slow client takes."""


def measure(stand: Stand) -> Iterator[Figure]:
    stand.peers.orthanc.holds(objects.ct_study)
    stand.peers.dcmqrscp.holds(objects.multi_frame)
    port = stand.gateway.port
    for name, demand in {
        "800 instances, synthetic": Demand(port, path=f"/synthetic/studies/{STUDY.uid}"),
        "one of 200 MB, synthetic": Demand(port, path=f"/synthetic/studies/{MULTI_FRAME.uid}"),
        "one of 200 MB, dcmqrscp": Demand(port, path=f"/dcmqrscp/studies/{objects.MULTI_FRAME_STUDY}"),
        "500 CT, orthanc": Demand(port, path=f"/orthanc/studies/{objects.CT_STUDY}"),
        "slow client, synthetic": Demand(port, path=f"/synthetic/studies/{SLOW_STUDY.uid}", rate=SLOW_RATE),
    }.items():
        read(demand)
        runs = [growth(stand.gateway, demand) for _ in range(RUNS)]
        yield Figure(f"memory growth: {name}", runs, "MiB", at_most=TARGET_MIB)


def growth(gateway: Gateway, demand: Demand) -> float:
    """Return the peak during a retrieve less what there was before it, in MiB."""
    gateway.forget_peak()
    before = gateway.resident()
    read(demand)
    return (gateway.resident_peak() - before) / 2**20
