"""A viewer opens a series of 500 slices that nobody has seen yet, as OHIF does: metadata, then frames, 100 at a time.

Against one plain C-GET of the series, by `getscu` that writes it to disk. The first frame by itself, asked for before
anything else, is held against `getscu` of that one instance.
"""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import objects
from bench.gateway import BRIEF_IDLE_SECS, Gateway
from bench.peers import Archive
from bench.processes import NO_DELAY
from bench.report import RUNS, Figure
from bench.stand import Stand
from bench.viewer import METADATA, Viewing, frame_paths, view

TARGET = 1.3
FIRST_FRAME_TARGET = 1.5
AT_A_TIME = 100
SERIES = f"{objects.CT_STUDY}.1"
INSTANCES = tuple(f"{objects.CT_STUDY}.1.{index + 1}" for index in range(objects.CT_INSTANCES))
MIDDLE = INSTANCES[objects.CT_INSTANCES // 2]


def measure(stand: Stand) -> Iterator[Figure]:
    with Gateway(stand.peers, idle_association_secs=BRIEF_IDLE_SECS) as gateway:
        yield from measured(Stand(stand.peers, gateway))


def measured(stand: Stand) -> Iterator[Figure]:
    for name, archive in (("orthanc", stand.peers.orthanc), ("dcmqrscp", stand.peers.dcmqrscp)):
        archive.holds(objects.ct_study)
        opened(stand, name), getscu(archive, "SERIES", SERIES)
        direct, gateway = [], []
        for _ in range(RUNS):
            direct.append(getscu(archive, "SERIES", SERIES))
            gateway.append(opened(stand, name))
        yield Figure(f"getscu of the series from {name}", direct, "s")
        yield Figure("metadata and 500 frames, cold", gateway, "s")
        ratios = [one / other for one, other in zip(gateway, direct, strict=True)]
        yield Figure(f"cold cache over a plain C-GET, {name}", ratios, at_most=TARGET)

        alone, first = [], []
        for _ in range(RUNS):
            alone.append(getscu(archive, "IMAGE", SERIES, MIDDLE) * 1000)
            first.append(first_frame(stand, name) * 1000)
        yield Figure(f"getscu of one instance from {name}", alone, "ms")
        yield Figure("first frame, cold", first, "ms")
        ratios = [one / other for one, other in zip(first, alone, strict=True)]
        yield Figure(f"first frame over a single-instance C-GET, {name}", ratios, at_most=FIRST_FRAME_TARGET)


def opened(stand: Stand, name: str) -> float:
    """Return the seconds until the viewer has everything."""
    stand.gateway.purge(name, objects.CT_STUDY)
    prefix = f"/cached/{name}"
    metadata = f"{prefix}/studies/{objects.CT_STUDY}/series/{SERIES}/metadata"
    described = view(Viewing(stand.gateway.port, (metadata,), accept=METADATA))
    frames = view(Viewing(stand.gateway.port, frame_paths(prefix, objects.CT_STUDY, INSTANCES), at_a_time=AT_A_TIME))
    return described.seconds + frames.seconds


def first_frame(stand: Stand, name: str) -> float:
    """Return the seconds until the frame of a slice in the middle is there; nothing else has been asked for."""
    stand.gateway.purge(name, objects.CT_STUDY)
    viewed = view(Viewing(stand.gateway.port, frame_paths(f"/cached/{name}", objects.CT_STUDY, (MIDDLE,))))
    stand.gateway.purge(name, objects.CT_STUDY)
    return viewed.seconds


def getscu(archive: Archive, level: str, series: str, instance: str = "") -> float:
    """Return the seconds that `getscu` takes, checked to be whole."""
    time.sleep(2 * BRIEF_IDLE_SECS)
    keys = ["-k", f"0008,0052={level}", "-k", f"0020,000D={objects.CT_STUDY}", "-k", f"0020,000E={series}"]
    if instance:
        keys += ["-k", f"0008,0018={instance}"]
    with tempfile.TemporaryDirectory(prefix="harmonygw-bench-") as folder:
        begun = time.perf_counter()
        subprocess.run(
            [
                *("getscu", "-S", "-aec", archive.ae_title, "-aet", "HARMONYGW", "-od", folder, *keys),
                *("127.0.0.1", str(archive.port)),
            ],
            env=NO_DELAY,
            check=True,
            capture_output=True,
            timeout=120,
        )
        seconds = time.perf_counter() - begun
        received = sum(1 for _ in Path(folder).iterdir())
        if received != (1 if instance else objects.CT_INSTANCES):
            raise RuntimeError(f"getscu received {received} instances")
        return seconds
