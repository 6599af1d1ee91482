"""What the tests in `test_embedded_pacs.py` and beside it share."""

import socket
from typing import Any

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_GET = "1.2.840.10008.5.1.4.1.2.1.3"

SUCCESS, PENDING, WARNING, CANCELLED = 0x0000, 0xFF00, 0xB000, 0xFE00
SUB_OPERATIONS_REFUSED, NOT_AUTHORIZED = 0xA702, 0x0124


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def identifier(level: str, **keys: Any) -> Dataset:
    data_set = Dataset()
    data_set.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(data_set, keyword, value)
    return data_set


def compressed_image() -> tuple[Dataset, str]:
    """An image in JPEG 2000 that belongs to the same study as the others, and its transfer syntax."""
    data_set = dcmread(str(get_testdata_file("JPEG2000.dcm", download=False)))
    data_set.StudyInstanceUID, data_set.PatientID, data_set.SeriesNumber = "1.2", "P1", 9
    return data_set, str(data_set.file_meta.TransferSyntaxUID)
