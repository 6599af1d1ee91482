"""Search of 2,000 studies against `findscu` with the same return keys, and of one against the PACS's own C-FIND.

Orthanc states everything that a Search returns: nothing is synthesised.
"""

import subprocess
import time
from collections.abc import Iterator
from statistics import median

from pydicom.uid import CTImageStorage

from bench import objects
from bench.gateway import Search
from bench.peers import Archive
from bench.processes import NO_DELAY
from bench.report import RUNS, Figure
from bench.requestor import Requestor
from bench.stand import Stand
from harmonygw.dicom.web.attributes import REQUIRED, Level

RETURN_KEYS = tuple(int(tag, 16) for tag in REQUIRED[Level.STUDY])
"""What a Search of studies asks the PACS for."""

TARGET = 1.25
ONE_MATCH_TARGET_MS = 2.0
TURNS = 20
"""Searches for one study in each run, by turns with the PACS's own C-FIND; a run is their median."""


def measure(stand: Stand) -> Iterator[Figure]:
    archive = stand.peers.orthanc.holds(objects.catalogue)
    everything = Search(stand.gateway, "/orthanc/studies?PatientID=P*")
    everything.seconds(objects.CATALOGUE), findscu(archive)
    gateway, direct = [], []
    for _ in range(RUNS):
        direct.append(findscu(archive))
        gateway.append(everything.seconds(objects.CATALOGUE))
    everything.close()
    yield Figure("findscu, 2,000 studies", direct, "s")
    yield Figure("Search, 2,000 studies", gateway, "s")
    ratios = [one / other for one, other in zip(gateway, direct, strict=True)]
    yield Figure("Search's time over findscu's", ratios, at_most=TARGET)
    yield from _one_match(stand, archive)


def findscu(archive: Archive) -> float:
    """Return the seconds that `findscu` takes; it prints nothing."""
    keys = {**dict.fromkeys(RETURN_KEYS, ""), 0x00100020: "P*", 0x00080052: "STUDY"}
    named = [f"{tag >> 16:04X},{tag & 0xFFFF:04X}={value}" for tag, value in sorted(keys.items())]
    begun = time.perf_counter()
    subprocess.run(
        [
            *("findscu", "-S", "-sr", "-aec", archive.ae_title, "-aet", "HARMONYGW"),
            *(argument for key in named for argument in ("-k", key)),
            *("127.0.0.1", str(archive.port)),
        ],
        env=NO_DELAY,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return time.perf_counter() - begun


def _one_match(stand: Stand, archive: Archive) -> Iterator[Figure]:
    one = Search(stand.gateway, "/orthanc/studies?PatientID=P01000")
    requestor = Requestor(archive.port, archive.ae_title, storage_class=CTImageStorage)
    keys = {**dict.fromkeys(RETURN_KEYS, b""), 0x00100020: b"P01000"}
    one.seconds(1), requestor.find(keys)
    own, gateway = [], []
    for _ in range(RUNS):
        turns = [(requestor.find(keys), one.seconds(1)) for _ in range(TURNS)]
        if any(matches != 1 for (_, matches), _ in turns):
            raise RuntimeError("the PACS did not find the one study")
        own.append(median(seconds for (seconds, _), _ in turns) * 1000)
        gateway.append(median(seconds for _, seconds in turns) * 1000)
    requestor.close()
    one.close()
    yield Figure("the PACS's own C-FIND, one match", own, "ms")
    yield Figure("Search, one match", gateway, "ms")
    beyond = [search - find for search, find in zip(gateway, own, strict=True)]
    yield Figure("Search beyond the PACS's own C-FIND", beyond, "ms", at_most=ONE_MATCH_TARGET_MS)
