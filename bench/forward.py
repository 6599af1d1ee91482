"""Store and forward: `storescu` of 500 CT instances to the gateway's `dicom_scp`, which stores them in Orthanc.

Against `storescu` straight to Orthanc. The gateway answers each C-STORE with what Orthanc said of it, so that Orthanc,
the slower side, is in both. Each run has an archive that is empty.
"""

from collections.abc import Iterator

from bench import objects
from bench.gateway import AE_TITLE, BRIEF_IDLE_SECS, Gateway
from bench.report import RUNS, Figure
from bench.stand import Stand
from bench.storing import empty, files, storescu

TARGET = 1.2
TARGET_MIB = 16.0


def measure(stand: Stand) -> Iterator[Figure]:
    archive = stand.peers.orthanc
    with (
        files(objects.ct_study) as folder,
        files(objects.one_small) as small,
        Gateway(stand.peers, idle_association_secs=BRIEF_IDLE_SECS) as gateway,
    ):
        port = gateway.dicom_ports["orthanc"]
        direct, forwarded, growth = [], [], []
        for _ in range(RUNS):
            empty(archive)
            storescu(archive.port, archive.ae_title, small)
            direct.append(storescu(archive.port, archive.ae_title, folder))
            empty(archive)
            storescu(port, AE_TITLE, small)
            gateway.forget_peak()
            before = gateway.resident()
            forwarded.append(storescu(port, AE_TITLE, folder))
            growth.append((gateway.resident_peak() - before) / 2**20)
    yield Figure("storescu to orthanc", direct, "s")
    yield Figure("storescu to the gateway, and on to orthanc", forwarded, "s")
    ratios = [one / other for one, other in zip(forwarded, direct, strict=True)]
    yield Figure("forwarding's time over storing's", ratios, at_most=TARGET)
    yield Figure("memory growth meanwhile", growth, "MiB", at_most=TARGET_MIB)
