"""Data sets that are brought into another transfer syntax while they come."""

import io
from typing import Any

import numpy
import pydicom
import pytest
from pydicom.filereader import read_dataset

from harmonygw.errors import NotAcceptable
from harmonygw.rendering import data_sets
from harmonygw.rendering.data_sets import in_transfer_syntax
from harmonygw.streams import Instance
from tests.dicom.dataset.encoded import DEFLATED, EXPLICIT, IMPLICIT
from tests.middleware.dicomweb_bridge.holding import JPEG_LS, MPEG4, InProcess, bundled, held_file
from tests.net.association.peers import content, failure, feed_of, read, result, spawn

CT = "1.2.840.10008.5.1.4.1.1.2"


def instance(name: str, syntax: str = "") -> Instance:
    held = held_file(name)
    half = len(held.data) // 2
    data = feed_of((held.data[:half],), (held.data[half:],))
    return Instance(CT, "1.2.3", syntax or held.syntax, data)


def made(name: str, syntax: str, workers: Any = None) -> bytes:
    workers = workers or InProcess(None, None)
    return content(result(read(in_transfer_syntax(instance(name), syntax, workers, client="A"))))


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_RLE.dcm", "SC_rgb_rle_2frame.dcm"])
def test_a_compressed_object_becomes_implicit_vr(name: str) -> None:
    data_set: Any = read_dataset(io.BytesIO(made(name, IMPLICIT)), is_implicit_VR=True, is_little_endian=True)
    data_set.file_meta = pydicom.dataset.FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = IMPLICIT
    assert numpy.array_equal(data_set.pixel_array, pydicom.dcmread(bundled(name)).pixel_array)


def test_a_compressed_object_becomes_another_and_its_frames_go_to_the_workers() -> None:
    workers = InProcess(None, None)
    made("SC_rgb_rle_2frame.dcm", JPEG_LS, workers)
    made("SC_rgb_rle_2frame.dcm", DEFLATED, workers)
    assert workers.jobs == ["transcode", "transcode", "decode", "decode"]


def test_an_object_that_is_in_the_syntax_passes_untouched_and_a_native_one_without_workers() -> None:
    workers = InProcess(None, None)
    assert made("MR_small_RLE.dcm", held_file("MR_small_RLE.dcm").syntax, workers) == held_file("MR_small_RLE.dcm").data
    native = made("CT_small.dcm", IMPLICIT, workers)
    assert read_dataset(io.BytesIO(native), True, True).PatientID == "1CT1"
    assert workers.jobs == []


def test_what_cannot_be_made_is_said_before_the_first_byte() -> None:
    video = in_transfer_syntax(instance("CT_small.dcm", MPEG4), EXPLICIT, InProcess(None, None))  # type: ignore[arg-type]
    assert isinstance(failure(read(video)), NotAcceptable)


def test_what_stands_before_the_first_frame_waits_for_it_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def told_before_the_failure() -> int:
        workers: Any = InProcess(None, None)
        workers.failure = NotAcceptable("no")
        source = in_transfer_syntax(instance("MR_small_jp2klossless.dcm"), JPEG_LS, workers)
        told: list[Any] = []

        async def reading() -> None:
            async for pieces in source:
                told.extend(pieces)

        assert isinstance(failure(spawn(reading())), NotAcceptable)
        return len(told)

    assert told_before_the_failure() == 0
    monkeypatch.setattr(data_sets, "MAX_HELD_BYTES", 100)
    assert told_before_the_failure() > 0
