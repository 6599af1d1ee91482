"""What is in the cache, against Orthanc's own DICOMweb plugin: 500 frames of 512 KB, 100 at a time, and metadata."""

from collections.abc import Iterator

from bench import objects
from bench.cold import AT_A_TIME, INSTANCES, SERIES
from bench.report import RUNS, Figure
from bench.stand import Stand
from bench.viewer import METADATA, Viewing, frame_paths, view

FRAMES_TARGET = 3.0
METADATA_TARGET = 2.0


def measure(stand: Stand) -> Iterator[Figure]:
    stand.peers.orthanc.holds(objects.ct_study)
    places = (stand.gateway.port, "/cached/orthanc"), (stand.peers.orthanc_http_port, "/dicom-web")
    ours, theirs = (
        Viewing(port, frame_paths(prefix, objects.CT_STUDY, INSTANCES), at_a_time=AT_A_TIME) for port, prefix in places
    )
    our_metadata, their_metadata = (
        Viewing(port, (f"{prefix}/studies/{objects.CT_STUDY}/series/{SERIES}/metadata",), accept=METADATA)
        for port, prefix in places
    )
    view(our_metadata), view(ours), view(their_metadata)
    gateway, orthanc = [], []
    for _ in range(RUNS):
        orthanc.append(len(INSTANCES) / view(theirs).seconds)
        gateway.append(len(INSTANCES) / view(ours).seconds)
    yield Figure("Orthanc's plugin", orthanc, "frames/s")
    yield Figure("gateway, warm", gateway, "frames/s")
    ratios = [one / other for one, other in zip(gateway, orthanc, strict=True)]
    yield Figure("frames: gateway over Orthanc's plugin", ratios, at_least=FRAMES_TARGET)

    gateway, orthanc = [], []
    for _ in range(RUNS):
        orthanc.append(view(their_metadata).seconds * 1000)
        gateway.append(view(our_metadata).seconds * 1000)
    yield Figure("Orthanc's plugin, metadata of 500", orthanc, "ms")
    yield Figure("gateway, metadata of 500, warm", gateway, "ms")
    ratios = [other / one for one, other in zip(gateway, orthanc, strict=True)]
    yield Figure("metadata: gateway's speed over the plugin's", ratios, at_least=METADATA_TARGET)
