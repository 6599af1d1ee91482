"""DIMSE in front of DIMSE: `getscu` of 500 CT instances from the gateway, which has them from Orthanc.

Against `getscu` straight from Orthanc; both write the study to disk.
"""

from collections.abc import Iterator

from bench import objects
from bench.gateway import AE_TITLE, BRIEF_IDLE_SECS, Gateway
from bench.report import RUNS, Figure
from bench.stand import Stand
from bench.study import getscu

TARGET = 1.25


def measure(stand: Stand) -> Iterator[Figure]:
    archive = stand.peers.orthanc.holds(objects.ct_study)
    with Gateway(stand.peers, idle_association_secs=BRIEF_IDLE_SECS) as gateway:
        port = gateway.dicom_ports["orthanc"]
        getscu(archive.port, archive.ae_title), getscu(port, AE_TITLE)
        direct, proxied = [], []
        for _ in range(RUNS):
            direct.append(getscu(archive.port, archive.ae_title))
            proxied.append(getscu(port, AE_TITLE))
    yield Figure("getscu from orthanc", direct, "s")
    yield Figure("getscu from the gateway, in front of orthanc", proxied, "s")
    ratios = [one / other for one, other in zip(proxied, direct, strict=True)]
    yield Figure("the proxy's time over orthanc's own", ratios, at_most=TARGET)
