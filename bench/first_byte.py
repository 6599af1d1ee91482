"""Time to the first byte of the body of a study of 500 CT instances, beyond the PACS's own first object.

Both ways use an association that is open already. The PACS's own time is from C-GET-RQ to the first object's first
PDU; the gateway's, from the client's connecting to the first byte of the body.
"""

from collections.abc import Iterator

from pydicom.uid import CTImageStorage

from bench import objects
from bench.reader import Demand, read
from bench.report import RUNS, Figure
from bench.requestor import Requestor
from bench.stand import Stand

TARGET_MS = 30.0


def measure(stand: Stand) -> Iterator[Figure]:
    for name, archive in (("orthanc", stand.peers.orthanc), ("dcmqrscp", stand.peers.dcmqrscp)):
        archive.holds(objects.ct_study)
        through_gateway = Demand(stand.gateway.port, path=f"/{name}/studies/{objects.CT_STUDY}")
        requestor = Requestor(archive.port, archive.ae_title, storage_class=CTImageStorage)
        read(through_gateway), _own(requestor)
        own, gateway = [], []
        for _ in range(RUNS):
            own.append(_own(requestor))
            gateway.append(read(through_gateway)[0].to_first_byte * 1000)
        requestor.close()
        yield Figure(f"{name}'s own first object", own, "ms")
        yield Figure(f"first body byte from {name}", gateway, "ms")
        beyond = [one - other for one, other in zip(gateway, own, strict=True)]
        yield Figure(f"first body byte beyond {name}'s first object", beyond, "ms", at_most=TARGET_MS)


def _own(requestor: Requestor) -> float:
    seconds, received = requestor.get(objects.CT_STUDY)
    if received != objects.CT_INSTANCES:
        raise RuntimeError(f"the PACS sent {received} instances")
    return seconds * 1000
