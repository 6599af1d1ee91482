"""The backend stores in archives that others wrote: Orthanc, dcmqrscp, and SCPs of pynetdicom that misbehave."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any

import numpy
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.filereader import read_dataset
from pydicom.uid import UID, CTImageStorage
from pynetdicom import AE, evt
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater

from harmonygw.backends.dicom_scu import DicomSCU
from harmonygw.exchange import AssociationOrigin, Request
from harmonygw.operations import Level, Retrieve, Store, StoreResult
from harmonygw.streams import Feed, Instance, Pieces
from tests.backends.dicom_scu.backends import backend, stream_of
from tests.corpus import CORPUS
from tests.interop.embedded import EXPLICIT, IMPLICIT, image, instance_of
from tests.interop.processes import free_port, orthanc, running

pytestmark = pytest.mark.interop

SHIPPED = (
    "CT_small.dcm",
    "ExplVR_BigEnd.dcm",
    "image_dfl.dcm",
    "MR_small_jp2klossless.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "reportsi.dcm",
)
"""Native in every syntax, compressed with and without loss, and a report: of pydicom's own."""

CT = str(CTImageStorage)
RLE = "1.2.840.10008.1.2.5"
reactor: Any = _reactor


@asynccontextmanager
async def storing_in(port: int, called_ae_title: str = "ANY-SCP", **options: Any) -> AsyncGenerator[DicomSCU, None]:
    one = backend(port, called_ae_title=called_ae_title, **{"timeout_secs": 30, **options})
    one.start()
    try:
        yield one
    finally:
        await one.stop()
        while one.pool.places:  # Orthanc does not end before its associations have
            await deferLater(reactor, 0.01)


async def store(one: DicomSCU, *instances: Instance) -> list[StoreResult]:
    request = Request(AssociationOrigin("TEST", "GATEWAY"), "127.0.0.1", "id", operation=Store(stream_of(*instances)))
    reply = await one.respond(request)
    return [result async for result in reply.result]


def of_file(path: Path) -> Instance:
    """An instance as a client brings it: in pieces of any length."""
    data_set = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    data = path.read_bytes()
    data = data[144 + data_set.file_meta.FileMetaInformationGroupLength :]
    feed: Feed[Pieces] = Feed(limit=1 << 30)
    for start in range(0, len(data), 70_001):
        feed.put((data[start : start + 30_000], data[start + 30_000 : start + 70_001]))
    feed.end()
    return Instance(
        str(data_set.SOPClassUID), str(data_set.SOPInstanceUID), str(data_set.file_meta.TransferSyntaxUID), feed
    )


async def retrieved(one: DicomSCU, path: Path, *acceptable: str) -> tuple[str, Any]:
    """What the archive has of a file now: its transfer syntax and its data set."""
    original = pydicom.dcmread(path, stop_before_pixels=True)
    operation = Retrieve(
        Level.IMAGE,
        original.StudyInstanceUID,
        original.SeriesInstanceUID,
        (original.SOPInstanceUID,),
        acceptable or ("*",),
    )
    reply = await one.respond(Request(AssociationOrigin("A", "B"), "127.0.0.1", "id", operation=operation))
    [(syntax, data)] = [
        (each.transfer_syntax_uid, b"".join([b"".join(pieces) async for pieces in each.data_set]))
        async for each in reply.result
    ]
    uid = UID(syntax)
    data_set: Any = read_dataset(BytesIO(data), uid.is_implicit_VR, uid.is_little_endian)
    data_set.file_meta = pydicom.dataset.FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = syntax
    return syntax, data_set


def files(names: Sequence[str] = SHIPPED) -> list[Path]:
    return [Path(str(get_testdata_file(name, download=False))) for name in names]


@contextmanager
def qrscp(folder: Path, *accepting: str) -> Iterator[int]:
    """An empty dcmqrscp that accepts what its option says."""
    port = free_port()
    (folder / "db").mkdir()
    configuration = folder / "qr.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRSCP {folder / 'db'} RW (500, 1024mb) ANY\nAETable END\n"
    )
    with running(["dcmqrscp", *accepting, "-c", str(configuration)], port, log=folder / "qr.log"):
        yield port


# Archives


@pytest.mark.filterwarnings("ignore::UserWarning")
@ensureDeferred
async def test_orthanc_gets_every_instance_as_it_is(real_peers: None, tmp_path: Path) -> None:
    with orthanc(tmp_path) as port:
        async with storing_in(port, lossy_contexts="with_others") as one:
            results = await store(one, *map(of_file, files()))
            assert [(result.status, result.detail) for result in results] == [(0, "")] * len(SHIPPED)
            for path in files(("MR_small_jp2klossless.dcm", "SC_rgb_rle_2frame.dcm", "CT_small.dcm")):
                original = pydicom.dcmread(path)
                syntax, data_set = await retrieved(one, path, original.file_meta.TransferSyntaxUID)
                assert syntax == original.file_meta.TransferSyntaxUID
                assert data_set.PixelData == original.PixelData


@pytest.mark.filterwarnings("ignore::UserWarning")
@ensureDeferred
@pytest.mark.parametrize(("accepting", "syntax"), [("+xi", IMPLICIT), ("+x=", EXPLICIT), ("+xr", RLE)])
async def test_dcmqrscp_gets_what_it_takes_with_the_very_pixels(
    real_peers: None, tmp_path: Path, accepting: str, syntax: str
) -> None:
    names = ("CT_small.dcm", "ExplVR_BigEnd.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_rle_2frame.dcm")
    with qrscp(tmp_path, accepting) as port:
        async with storing_in(port, "QRSCP") as one:
            results = await store(one, *map(of_file, files(names)))
            assert [(result.status, result.detail) for result in results] == [(0, "")] * 4
            for path in files(names):
                kept, data_set = await retrieved(one, path)
                original = pydicom.dcmread(path)
                if original.file_meta.TransferSyntaxUID.is_compressed:
                    assert kept == syntax
                assert numpy.array_equal(data_set.pixel_array, original.pixel_array)


@pytest.mark.filterwarnings("ignore::UserWarning")
@ensureDeferred
async def test_orthanc_gets_the_corpus(real_peers: None, tmp_path: Path) -> None:
    if CORPUS is None:
        pytest.skip("there is no corpus")
    instances = []
    for path in sorted(CORPUS.rglob("*.dcm")):
        try:
            instances.append(of_file(path))
        except (AttributeError, pydicom.errors.InvalidDicomError):
            continue
    with orthanc(tmp_path) as port:
        async with storing_in(port, timeout_secs=3) as one:
            results = await store(one, *instances)
            assert len(results) == len(instances)
            # Orthanc refuses what it cannot read, and what lacks a Patient ID; of some it says nothing for ever.
            assert sum(result.status == 0 for result in results) >= len(instances) - 12
            assert not [result for result in results if result.status == 0x0122]


# SCPs of pynetdicom


@contextmanager
def scp(answer: Callable[[Any], int], *syntaxes: str) -> Iterator[int]:
    """A storage SCP of pynetdicom whose answers are a function's."""
    ae = AE("PYNETDICOM")
    ae.add_supported_context(CT, list(syntaxes or (EXPLICIT, IMPLICIT)))
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def images(count: int) -> list[Instance]:
    return [instance_of(image(number)) for number in range(1, count + 1)]


@ensureDeferred
async def test_an_scp_of_implicit_vr_alone_gets_that() -> None:
    got: list[Any] = []

    def answer(event: Any) -> int:
        got.append((event.context.transfer_syntax, event.dataset.PatientID, event.dataset.PixelData))
        return 0

    with scp(answer, IMPLICIT) as port:
        async with storing_in(port) as one:
            assert [result.status for result in await store(one, *images(2))] == [0, 0]
    assert got == [(IMPLICIT, "P1", bytes(range(8)))] * 2


@ensureDeferred
async def test_an_scp_that_refuses_every_second_instance_keeps_the_others() -> None:
    with scp(lambda event: 0xA700 if int(event.dataset.InstanceNumber) % 2 else 0xB000) as port:
        async with storing_in(port) as one:
            results = await store(one, *images(4))
            assert [result.status for result in results] == [0xA700, 0xB000, 0xA700, 0xB000]
            assert one.pool.state()["associations"] == 1


@ensureDeferred
async def test_an_scp_that_dies_midway_costs_the_instance_and_no_other() -> None:
    def answer(event: Any) -> int:
        if int(event.dataset.InstanceNumber) == 2:
            event.assoc.abort()
        return 0

    with scp(answer) as port:
        async with storing_in(port) as one:
            results = await store(one, *images(3))
            assert [result.status for result in results] == [0, 0x0110, 0]


@ensureDeferred
async def test_an_scp_that_never_answers_is_a_failure_in_time() -> None:
    enough = Event()

    def answer(event: Any) -> int:
        enough.wait(10)
        return 0

    with scp(answer) as port:
        async with storing_in(port, timeout_secs=1) as one:
            began = reactor.seconds()
            [result] = await store(one, *images(1))
            assert result.status == 0x0110
            assert "no answer to C-STORE within 1 s (timeout_secs)" in result.detail
            assert reactor.seconds() - began < 5
        enough.set()
