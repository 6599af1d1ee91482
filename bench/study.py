"""A study of 500 CT instances, 250 MB, from Orthanc and from dcmqrscp, against `getscu` that writes it to disk."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import objects
from bench.processes import NO_DELAY
from bench.reader import Demand, read
from bench.report import RUNS, Figure
from bench.stand import Stand

TARGET = 0.75


def measure(stand: Stand) -> Iterator[Figure]:
    for name, archive in (("orthanc", stand.peers.orthanc), ("dcmqrscp", stand.peers.dcmqrscp)):
        archive.holds(objects.ct_study)
        through_gateway = Demand(stand.gateway.port, path=f"/{name}/studies/{objects.CT_STUDY}")
        read(through_gateway), getscu(archive.port, archive.ae_title)
        gateway, direct = [], []
        for _ in range(RUNS):
            direct.append(getscu(archive.port, archive.ae_title))
            gateway.append(read(through_gateway)[0].seconds)
        yield Figure(f"getscu from {name}", direct, "s")
        yield Figure(f"gateway from {name}", gateway, "s")
        ratios = [one / other for one, other in zip(gateway, direct, strict=True)]
        yield Figure(f"gateway's time over getscu's, {name}", ratios, at_most=TARGET)


def getscu(port: int, called_ae_title: str) -> float:
    """Return the seconds that `getscu` takes for the study, checked to be whole."""
    with tempfile.TemporaryDirectory(prefix="harmonygw-bench-") as folder:
        begun = time.perf_counter()
        subprocess.run(
            [
                *("getscu", "-S", "-aec", called_ae_title, "-aet", "HARMONYGW", "-od", folder),
                *("-k", "0008,0052=STUDY", "-k", f"0020,000D={objects.CT_STUDY}"),
                *("127.0.0.1", str(port)),
            ],
            env=NO_DELAY,
            check=True,
            capture_output=True,
            timeout=120,
        )
        seconds = time.perf_counter() - begun
        received = sum(1 for _ in Path(folder).iterdir())
        if received != objects.CT_INSTANCES:
            raise RuntimeError(f"getscu received {received} instances")
        return seconds
