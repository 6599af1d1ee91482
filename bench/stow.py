"""STOW-RS of 500 CT instances, 250 MB, into Orthanc and dcmqrscp, against `storescu` of the same files; and of 1 GB.

Each run has an archive that is empty. `storescu` is timed as a process; the gateway from the client's connecting to the
response's last byte. The instance of 1 GB goes into dcmqrscp.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from bench import objects
from bench.gateway import BRIEF_IDLE_SECS, Gateway
from bench.peers import Archive, Peers
from bench.report import RUNS, Figure
from bench.sender import Sending, send
from bench.stand import Stand
from bench.storing import empty, files, storescu

TARGET = 1.2
TARGET_MIB = 16.0


def measure(stand: Stand) -> Iterator[Figure]:
    yield from measured(stand.peers, "orthanc", stand.peers.orthanc, objects.ct_study, objects.CT_INSTANCES)
    yield from measured(stand.peers, "dcmqrscp", stand.peers.dcmqrscp, objects.ct_study, objects.CT_INSTANCES)
    yield from measured(stand.peers, "dcmqrscp", stand.peers.dcmqrscp, objects.large_multi_frame, 1)


def measured(
    peers: Peers, name: str, archive: Archive, write: Callable[[Path], Iterator[Path]], instances: int
) -> Iterator[Figure]:
    """Measure one filling by turns; the gateway's memory is compared with what it is after one small instance."""
    what = f"{instances} CT" if instances > 1 else "1 GB"
    with (
        files(write) as folder,
        files(objects.one_small) as small,
        Gateway(peers, idle_association_secs=BRIEF_IDLE_SECS) as gateway,
    ):
        through_gateway = Sending(gateway.port, f"/{name}/studies", str(folder))
        direct, stow, growth = [], [], []
        for _ in range(RUNS):
            empty(archive)
            storescu(archive.port, archive.ae_title, small)
            direct.append(storescu(archive.port, archive.ae_title, folder))
            empty(archive)
            send(Sending(gateway.port, f"/{name}/studies", str(small)), 1)
            gateway.forget_peak()
            before = gateway.resident()
            stow.append(send(through_gateway, instances))
            growth.append((gateway.resident_peak() - before) / 2**20)
    yield Figure(f"storescu of {what} to {name}", direct, "s")
    yield Figure(f"STOW-RS of {what} to {name}", stow, "s")
    ratios = [one / other for one, other in zip(stow, direct, strict=True)]
    yield Figure(f"STOW-RS's time over storescu's, {what}, {name}", ratios, at_most=TARGET)
    yield Figure(f"memory growth meanwhile, {what}, {name}", growth, "MiB", at_most=TARGET_MIB)
