"""Data sets to DICOM JSON, against pydicom on the same bytes in the same process: a C-FIND match, and a CT header."""

import io
import time
import warnings
from collections.abc import Callable, Iterator

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filewriter import write_dataset

from bench.report import RUNS, Figure
from bench.stand import Stand
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.web.attributes import REQUIRED, Level

TARGET = 10.0
TURNS = 20
"""Conversions in each run, by turns; a run is the best of each, so that what else happens counts for neither."""


def measure(stand: Stand) -> Iterator[Figure]:
    warnings.simplefilter("ignore")
    header = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    del header.PixelData
    match = Dataset()
    for tag in REQUIRED[Level.STUDY]:
        number = int(tag, 16)
        if number in header:
            match[number] = header[number]
    for name, data_set in (("a C-FIND match", match), ("a CT header", header)):
        yield from _compare(name, _encoded(data_set))


def _encoded(data_set: Dataset) -> bytes:
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def _compare(name: str, data: bytes) -> Iterator[Figure]:
    uid = "1.2.840.10008.1.2.1"

    def by_pydicom() -> object:
        source = io.BytesIO(data)
        return pydicom.filereader.read_dataset(source, False, True).to_json_dict()

    ours, theirs = [], []
    for _ in range(RUNS):
        turns = [(_seconds(lambda: to_json(data, uid)), _seconds(by_pydicom)) for _ in range(TURNS)]
        ours.append(min(one for one, _ in turns) * 1e6)
        theirs.append(min(other for _, other in turns) * 1e6)
    yield Figure(f"{name}, {len(data)} bytes, pydicom", theirs, "µs")
    yield Figure(f"{name}, to_json", ours, "µs")
    ratios = [other / one for one, other in zip(ours, theirs, strict=True)]
    yield Figure(f"pydicom's time over ours, {name}", ratios, at_least=TARGET)


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
