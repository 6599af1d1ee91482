"""Growth of the gateway's resident memory during retrieves, beyond what it is after one small one.

Each case has a gateway of its own, so that none profits from what another has grown. The peak is the kernel's own, so
that nothing between two samples is missed. A client that reads slowly is one of the cases: what it has not read must
not gather here.
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
SMALL = Study(instances=1, frames=1)
MULTI_FRAME = Study(instances=1, frames=objects.MULTI_FRAMES)
SLOW_STUDY = Study(instances=200, frames=1)
SLOW_RATE = 40_000_000
"""Bytes a second that the slow client takes."""

CASES = {
    "800 instances, synthetic": (f"/synthetic/studies/{STUDY.uid}", 0),
    "one of 200 MB, synthetic": (f"/synthetic/studies/{MULTI_FRAME.uid}", 0),
    "one of 200 MB, dcmqrscp": (f"/dcmqrscp/studies/{objects.MULTI_FRAME_STUDY}", 0),
    "500 CT, orthanc": (f"/orthanc/studies/{objects.CT_STUDY}", 0),
    "slow client, synthetic": (f"/synthetic/studies/{SLOW_STUDY.uid}", SLOW_RATE),
}
"""Path and rate of each."""


def measure(stand: Stand) -> Iterator[Figure]:
    stand.peers.orthanc.holds(objects.ct_study)
    stand.peers.dcmqrscp.holds(objects.multi_frame)
    for name, (path, rate) in CASES.items():
        with Gateway(stand.peers) as gateway:
            read(Demand(gateway.port, path=f"/synthetic/studies/{SMALL.uid}"))
            before = gateway.resident()
            runs = []
            for _ in range(RUNS):
                gateway.forget_peak()
                read(Demand(gateway.port, path=path, rate=rate))
                runs.append((gateway.resident_peak() - before) / 2**20)
        yield Figure(f"memory growth: {name}", runs, "MiB", at_most=TARGET_MIB)
