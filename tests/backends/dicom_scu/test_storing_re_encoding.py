"""What becomes of instances that the PACS does not take in their own transfer syntax."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred

from harmonygw.backends.dicom_scu.re_encoding import ReEncoding
from harmonygw.errors import PeerError
from harmonygw.operations import Store
from harmonygw.streams import Instance
from tests.backends.dicom_scu.backends import Running, settings, stream_of, to_store
from tests.backends.dicom_scu.storing import answer, turn
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, EXPLICIT, IMPLICIT
from tests.interop.pacs import PACS
from tests.middleware.dicomweb_bridge.holding import InProcess, held_file
from tests.net.association.peers import feed_of

reactor: Any = _reactor
JPEG_2000, JPEG_LS, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"
JPEG_BASELINE, MPEG4 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.102"
BIG_ENDIAN = "1.2.840.10008.1.2.2"


class Keeping:
    """What the PACS got: as a stage of it."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        """Transfer syntax and data set of each."""

    async def __call__(self, connection: Connection, asked: Asked, data: bytes) -> None:
        self.got.append((connection.upper_layer.contexts[asked.context_id].transfer_syntax, data))
        answer(connection, asked)


def compressed(name: str = "MR_small_jp2klossless.dcm", syntax: str = "", sop: str = "1.2.3.4") -> Instance:
    held = held_file(name)
    return Instance(CT, sop, syntax or held.syntax, feed_of((held.data,)))


def in_process(running: Running) -> InProcess:
    """Decode and encode in this process."""
    workers = InProcess(None, None)
    re_encoding: Any = running.backend._re_encoding
    re_encoding._workers = workers
    re_encoding._started = True
    workers.stop = _stopped  # type: ignore[attr-defined]
    return workers


async def _stopped() -> None:
    pass


@ensureDeferred
async def test_a_native_instance_is_converted_as_it_flows() -> None:
    kept = Keeping()
    pacs = PACS(stored=kept)
    pacs.syntaxes = (IMPLICIT,)
    async with Running(pacs) as running:
        assert [one.status for one in await running.result(Store(stream_of(to_store("1"))))] == [0]
        [(syntax, data)] = kept.got
        assert syntax == IMPLICIT
        assert data[18:26] == bytes.fromhex("08001600 1a000000")


@ensureDeferred
async def test_a_malformed_object_that_is_to_be_converted_is_c000h() -> None:
    malformed = Instance(CT, "1", EXPLICIT, feed_of((b"\x08\x00\x18\x00UI\x04\x001.2\x00", b"\x01" * 60)))
    pacs = PACS()
    pacs.syntaxes = (IMPLICIT,)
    async with Running(pacs) as running:
        results = await running.result(Store(stream_of(malformed, to_store("2"))))
        assert [one.status for one in results] == [0xC000, 0]


@ensureDeferred
@pytest.mark.parametrize(
    ("taken", "sent", "jobs"),
    [
        ((EXPLICIT, JPEG_LS, JPEG_2000), JPEG_2000, []),
        ((EXPLICIT, RLE, JPEG_LS), JPEG_LS, ["transcode"]),
        ((EXPLICIT, RLE), RLE, ["transcode"]),
        ((IMPLICIT, EXPLICIT), EXPLICIT, ["decode"]),
        ((IMPLICIT,), IMPLICIT, ["decode"]),
    ],
)
async def test_a_compressed_instance_goes_as_it_is_or_else_without_loss_or_else_decoded(
    taken: tuple[str, ...], sent: str, jobs: list[str]
) -> None:
    kept = Keeping()
    pacs = PACS(stored=kept)
    pacs.syntaxes = taken
    async with Running(pacs) as running:
        workers = in_process(running)
        results = await running.result(Store(stream_of(compressed(), compressed(sop="5"))))
        assert [one.status for one in results] == [0, 0]
        assert [syntax for syntax, _ in kept.got] == [sent] * 2
        assert workers.jobs == jobs * 2
        assert pacs.seen.count("A-ASSOCIATE-RQ") == 1


@ensureDeferred
@pytest.mark.parametrize(
    ("taken", "sent", "jobs"),
    [
        ((EXPLICIT, JPEG_LS, JPEG_2000), EXPLICIT, ["transcode", "transcode", "decode"]),
        ((IMPLICIT, JPEG_LS), IMPLICIT, ["transcode", "decode"]),
    ],
)
async def test_samples_that_a_lossless_syntax_does_not_have_are_decoded(
    taken: tuple[str, ...], sent: str, jobs: list[str]
) -> None:
    kept = Keeping()
    pacs = PACS(stored=kept)
    pacs.syntaxes = taken
    async with Running(pacs) as running:
        workers = in_process(running)
        results = await running.result(Store(stream_of(compressed("rtdose_rle_1frame.dcm"))))
        assert [one.status for one in results] == [0]
        assert [syntax for syntax, _ in kept.got] == [sent]
        assert workers.jobs == jobs
        assert kept.got[0][1].count(b"RTDOSE") == 1


@ensureDeferred
async def test_samples_that_no_accepted_syntax_has_are_0122h() -> None:
    pacs = PACS()
    pacs.syntaxes = (JPEG_LS, JPEG_2000)
    async with Running(pacs) as running:
        in_process(running)
        [result] = await running.result(Store(stream_of(compressed("rtdose_rle_1frame.dcm"))))
        assert (result.status, result.detail[:18]) == (0x0122, "Samples of 32 bits")
        assert pacs.seen.count("C-STORE-RQ") == 0


@ensureDeferred
async def test_worker_processes_are_started_for_the_first_that_needs_them() -> None:
    kept = Keeping()
    pacs = PACS(stored=kept)
    async with Running(pacs, transcoding_processes=1) as running:
        await running.result(Store(stream_of(to_store("1"))))
        assert running.backend.state()["transcoding"]["processes"] == 0  # type: ignore[index]
        assert [one.status for one in await running.result(Store(stream_of(compressed())))] == [0]
        assert running.backend.state()["transcoding"]["processes"] == 1  # type: ignore[index]
        assert kept.got[1][0] == EXPLICIT


@ensureDeferred
@pytest.mark.parametrize(
    ("which", "syntax", "name", "status"),
    [
        ("auto", JPEG_BASELINE, "SC_rgb_small_odd_jpeg.dcm", 0),
        ("lossless", JPEG_BASELINE, "SC_rgb_small_odd_jpeg.dcm", 0x0122),
        ("lossless", JPEG_2000, "MR_small_jp2klossless.dcm", 0),
        ("never", JPEG_2000, "MR_small_jp2klossless.dcm", 0x0122),
        ("auto", MPEG4, "MR_small_jp2klossless.dcm", 0x0122),
    ],
)
async def test_what_the_pacs_does_not_take_and_cannot_be_made_is_0122h(
    which: str, syntax: str, name: str, status: int
) -> None:
    async with Running(PACS(), store_transcoding=which) as running:
        in_process(running)
        results = await running.result(Store(stream_of(compressed(name, syntax), to_store("2"))))
        assert [one.status for one in results] == [status, 0]
        assert running.pacs.seen.count("A-ABORT 0 0") == 0
        if status:
            assert f"SOP class {CT} in " in results[0].detail


@ensureDeferred
async def test_pixels_that_cannot_be_decoded_cost_no_association() -> None:
    async with Running(PACS()) as running:
        in_process(running).failure = PeerError("A frame could not be decoded.", source=0)
        results = await running.result(Store(stream_of(compressed(), to_store("2"))))
        assert [one.status for one in results] == [0xC000, 0]
        assert running.pacs.seen.count("A-ASSOCIATE-RQ") == 1


@ensureDeferred
async def test_an_association_that_is_lost_while_the_pixels_are_decoded_is_opened_again() -> None:
    pacs = PACS()
    async with Running(pacs) as running:
        workers = in_process(running)
        workers.held = []
        reply, _ = await running.ask(Store(stream_of(compressed())))
        storing_it = Deferred.fromCoroutine(anext(reply.result))
        pacs.connections[0].reset()
        await pacs.saw("closed")
        await turn()
        workers.held[0].callback(None)
        assert (await storing_it).status == 0
        assert pacs.seen.count("A-ASSOCIATE-RQ") == 2


@pytest.mark.parametrize(
    ("which", "held", "made"),
    [
        ("auto", EXPLICIT, (IMPLICIT,)),
        ("never", BIG_ENDIAN, (EXPLICIT, IMPLICIT)),
        ("auto", JPEG_LS, (JPEG_2000, RLE, EXPLICIT, IMPLICIT)),
        ("auto", JPEG_BASELINE, (JPEG_LS, JPEG_2000, RLE, EXPLICIT, IMPLICIT)),
        ("lossless", JPEG_BASELINE, ()),
        ("auto", MPEG4, ()),
        ("auto", "1.3.6.1.4.1.1", ()),
    ],
)
def test_what_is_made_of_a_transfer_syntax(which: str, held: str, made: tuple[str, ...]) -> None:
    options = settings(104, store_transcoding=which).options
    assert ReEncoding(options, reactor).alternatives(held) == made
