"""How a Store uses associations, and what becomes of instances that do not go as they are."""

import gc
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from harmonygw.backends.dicom_scu import storing
from harmonygw.backends.dicom_scu.re_encoding import ReEncoding
from harmonygw.dicom.dimse.commands import CStoreRSP
from harmonygw.errors import Busy, Incomplete, PeerError, RejectedError, RenderingFailed, TimedOut, TransportError
from harmonygw.operations import Store, StoreResult
from harmonygw.streams import Feed, Instance, Pieces
from tests.backends.dicom_scu.backends import Running, settings, stream_of, to_store
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, EXPLICIT, IMPLICIT, MR, Held
from tests.interop.pacs import PACS, silence
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


def answer(connection: Connection, asked: Asked, status: int = 0) -> None:
    command = asked.command
    connection.pacs.received.append(command.affected_sop_instance_uid)
    connection.send(
        asked.context_id,
        CStoreRSP(command.message_id, command.affected_sop_class_uid, command.affected_sop_instance_uid, status),
    )


def compressed(name: str = "MR_small_jp2klossless.dcm", syntax: str = "", sop: str = "1.2.3.4") -> Instance:
    held = held_file(name)
    return Instance(CT, sop, syntax or held.syntax, feed_of((held.data,)))


def proposed(pacs: PACS) -> list[tuple[str, str]]:
    [connection] = pacs.connections
    assert connection.rq is not None
    return [(one.abstract_syntax, syntax) for one in connection.rq.contexts for syntax in one.transfer_syntaxes]


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


async def gone(running: Running) -> None:
    """Wait until every connection is gone."""
    while running.backend.pool.places:
        await turn()


async def turn(seconds: float = 0.0) -> None:
    await deferLater(reactor, seconds)


# Associations


@ensureDeferred
async def test_an_instance_of_another_class_ends_the_association_and_opens_one_for_both() -> None:
    pacs = PACS()
    async with Running(pacs) as running:
        results = await running.result(Store(stream_of(to_store("1"), to_store("2", MR), to_store("3"))))
        assert [one.status for one in results] == [0, 0, 0]
        assert pacs.seen.count("A-ASSOCIATE-RQ") == 2
        assert pacs.seen.count("A-RELEASE-RQ") == 1
        assert proposed(pacs) == [(CT, EXPLICIT), (CT, IMPLICIT), (MR, EXPLICIT), (MR, IMPLICIT)]
        # What was stored before is likely to come again: one association does from now on.
        assert len(await running.result(Store(stream_of(to_store("4", MR), to_store("5"))))) == 2
        assert pacs.seen.count("A-ASSOCIATE-RQ") == 2
        assert running.backend.pool.state()["associations"] == 1


@ensureDeferred
async def test_the_association_that_is_ended_keeps_its_place_for_the_next_one() -> None:
    pacs = PACS()
    async with Running(pacs, max_associations=1) as running:
        reply, _ = await running.ask(Store(stream_of(to_store("1"), to_store("2", MR))))
        waiting = Deferred.fromCoroutine(running.result(Store(stream_of(to_store("3")))))
        assert [one.status async for one in reply.result] == [0, 0]
        assert [one.status for one in await waiting] == [0]
        assert pacs.received == ["1", "2", "3"]


@ensureDeferred
async def test_a_store_of_nothing_opens_no_association() -> None:
    async with Running(PACS()) as running:
        assert await running.result(Store(stream_of())) == []
        assert running.pacs.seen == []


@ensureDeferred
async def test_a_pacs_that_is_not_there_is_an_error_of_the_store_and_not_of_each_instance() -> None:
    pacs = PACS()
    await pacs.refuse_connections()
    first = to_store("1")
    instances = stream_of(first, to_store("2"))
    async with Running(pacs) as running:
        with pytest.raises(TransportError, match="archive: the connection was refused"):
            await running.ask(Store(instances))
        assert first.data_set.done  # type: ignore[attr-defined]
        assert [one async for one in instances] == []
        assert running.backend.pool.state()["associations"] == 0


@ensureDeferred
async def test_a_pacs_that_rejects_the_association_is_an_error_of_the_store() -> None:
    async def reject(connection: Connection) -> None:
        connection.reject(1, 1, 7)

    async with Running(PACS(associate=reject)) as running:
        with pytest.raises(RejectedError, match="called AE title not recognized"):
            await running.ask(Store(stream_of(to_store("1"))))


@ensureDeferred
async def test_a_pacs_that_goes_away_midway_costs_the_instances_that_come_after() -> None:
    pacs = PACS()
    async with Running(pacs) as running:
        reply, request = await running.ask(Store(stream_of(*(to_store(str(number)) for number in range(5)))))
        assert (await anext(reply.result)).status == 0
        await pacs.refuse_connections()
        for connection in list(pacs.connections):
            connection.reset()
        await gone(running)
        rest = [(one.status, one.detail) async for one in reply.result]
        assert [status for status, _ in rest] == [0x0110, 0x0110, 0x0110, 0xA700]
        assert "refused" in rest[0][1]
        assert (request.record.instances, request.record.dimse_status) == (1, 0xA700)


@ensureDeferred
async def test_an_association_that_the_pacs_ends_between_two_instances_is_opened_again() -> None:
    async def one_each(connection: Connection, asked: Asked, data: bytes) -> None:
        answer(connection, asked)
        connection.abort()

    pacs = PACS(stored=one_each)
    async with Running(pacs) as running:
        reply, _ = await running.ask(Store(stream_of(to_store("1"), to_store("2"), to_store("3"))))
        results: list[StoreResult] = []
        async for one in reply.result:
            results.append(one)
            await gone(running)
        assert [one.status for one in results] == [0, 0, 0]
        assert pacs.seen.count("A-ASSOCIATE-RQ") == 3


@ensureDeferred
@pytest.mark.parametrize("pdu", [bytes.fromhex("0500 00000004 00000000"), bytes.fromhex("0700 00000004 00000000")])
async def test_an_association_that_ends_with_a_response_in_one_read_is_opened_again(pdu: bytes) -> None:
    async def one_each(connection: Connection, asked: Asked, data: bytes) -> None:
        write, sent = connection.write, bytearray()
        connection.write = sent.extend  # type: ignore[method-assign,assignment]
        answer(connection, asked)
        write(bytes(sent) + pdu)

    pacs = PACS(stored=one_each)
    async with Running(pacs) as running:
        results = await running.result(Store(stream_of(to_store("1"), to_store("2"), to_store("3"))))
        assert [one.status for one in results] == [0, 0, 0]
        assert pacs.seen.count("A-ASSOCIATE-RQ") == 3


@ensureDeferred
async def test_a_place_is_not_held_for_who_brings_no_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "HOLD_SECS", 0.05)
    arrives: Deferred[Instance] = Deferred()

    async def slow() -> AsyncGenerator[Instance, None]:
        yield to_store("1")
        yield await arrives

    pacs = PACS()
    async with Running(pacs, max_associations=1) as running:
        reply, _ = await running.ask(Store(slow()))
        assert (await anext(reply.result)).status == 0
        second = Deferred.fromCoroutine(anext(reply.result))
        assert [one.status for one in await running.result(Store(stream_of(to_store("9"))))] == [0]
        arrives.callback(to_store("2"))
        assert (await second).status == 0
        assert pacs.received == ["1", "9", "2"]
        assert pacs.seen.count("A-ASSOCIATE-RQ") == 1


@ensureDeferred
async def test_a_place_is_not_held_for_who_does_not_read_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "HOLD_SECS", 0.02)
    async with Running(PACS()) as running:
        reply, _ = await running.ask(Store(stream_of(to_store("1"))))
        assert running.backend.pool.state()["idle"] == 0
        await turn(0.05)
        assert running.backend.pool.state()["idle"] == 1
        await reply.result.aclose()


@ensureDeferred
async def test_giving_the_results_up_gives_the_association_back_and_the_instances_up() -> None:
    first, ended = to_store("1"), []

    async def instances() -> AsyncGenerator[Instance, None]:
        try:
            yield first
            yield to_store("2")
        finally:
            ended.append(True)

    async with Running(PACS()) as running:
        reply, _ = await running.ask(Store(instances()))
        await reply.result.aclose()
        assert first.data_set.done  # type: ignore[attr-defined]
        assert (ended, running.backend.pool.state()["idle"]) == ([True], 1)


@ensureDeferred
async def test_who_gives_up_in_the_middle_of_an_instance_leaves_no_half_of_it() -> None:
    half: Feed[Pieces] = Feed(limit=1 << 20)
    half.put((Held(sop="1", size=100_000).data_set(),))
    async with Running(PACS()) as running:
        reply, _ = await running.ask(Store(stream_of(Instance(CT, "1", EXPLICIT, half))))
        waiting = Deferred.fromCoroutine(anext(reply.result))
        await running.pacs.saw("C-STORE-RQ")
        waiting.cancel()
        with pytest.raises(CancelledError):
            await waiting
        await running.pacs.saw("A-ABORT 0 0")
        await gone(running)
        assert half.done
        assert running.pacs.received == []


# What goes wrong with an instance


@ensureDeferred
async def test_an_instance_that_breaks_off_costs_its_association_and_the_next_goes_on_another() -> None:
    broken: Feed[Pieces] = Feed(limit=1 << 20)
    broken.put((Held(sop="1", size=100_000).data_set()[:50_000],))
    async with Running(PACS()) as running:
        store = Store(stream_of(Instance(CT, "1", EXPLICIT, broken), to_store("2")))
        reply, _ = await running.ask(store)
        first = Deferred.fromCoroutine(anext(reply.result))
        await running.pacs.saw("C-STORE-RQ")
        broken.fail(Incomplete("the client broke off"))
        assert await first == StoreResult(CT, "1", 0x0110, "the client broke off")
        assert (await anext(reply.result)).status == 0
        assert running.pacs.seen.count("A-ABORT 0 0") == 1
        assert running.pacs.received == ["2"]


@ensureDeferred
async def test_an_instance_that_cannot_be_read_at_all_costs_no_association() -> None:
    async with Running(PACS()) as running:
        store = Store(stream_of(to_store("1", error=Incomplete("damaged")), to_store("2")))
        assert [(one.status, one.detail) for one in await running.result(store)] == [(0x0110, "damaged"), (0, "")]
        assert running.pacs.seen.count("A-ASSOCIATE-RQ") == 1


@ensureDeferred
async def test_who_keeps_the_pacs_waiting_amid_an_instance_loses_it() -> None:
    slow: Feed[Pieces] = Feed(limit=1 << 20)
    slow.put((Held(sop="1", size=100_000).data_set(),))
    async with Running(PACS(), store_stall_secs=0.1) as running:
        reply, _ = await running.ask(Store(stream_of(Instance(CT, "1", EXPLICIT, slow), to_store("2"))))
        waiting = Deferred.fromCoroutine(anext(reply.result))
        await running.pacs.saw("A-ABORT 0 0")
        await gone(running)
        slow.put((b"at last",))
        result = await waiting
        assert result.status == 0x0110
        assert result.detail == "less than 16384 bytes of an instance came in 0.1 s (store_stall_secs)"
        assert slow.done
        assert (await anext(reply.result)).status == 0


@ensureDeferred
async def test_a_trickle_of_bytes_is_no_progress_and_enough_of_them_is() -> None:
    trickle: Feed[Pieces] = Feed(limit=1 << 20)
    trickle.put((Held(sop="1", size=1_000_000).data_set()[:100_000],))
    async with Running(PACS(), store_stall_secs=0.2) as running:
        reply, _ = await running.ask(Store(stream_of(Instance(CT, "1", EXPLICIT, trickle))))
        waiting = Deferred.fromCoroutine(anext(reply.result))
        for _ in range(10):
            trickle.put((bytes(storing.STALL_BYTES),))
            await turn(0.05)
        assert not waiting.called
        began = reactor.seconds()
        while not waiting.called:
            trickle.put((bytes(2),))
            await turn(0.01)
        assert reactor.seconds() - began < 1
        assert (await waiting).status == 0x0110


@ensureDeferred
async def test_a_slow_pacs_is_not_held_against_who_brings_the_instance() -> None:
    async def slow(connection: Connection, asked: Asked, data: bytes) -> None:
        await turn(0.3)
        answer(connection, asked)

    async with Running(PACS(stored=slow), store_stall_secs=0.1) as running:
        assert [one.status for one in await running.result(Store(stream_of(to_store("1"))))] == [0]


@ensureDeferred
async def test_a_response_that_never_comes_is_a_failure_of_its_instance_and_the_association_is_aborted() -> None:
    async with Running(PACS(stored=silence), silence_timeout_secs=0.1) as running:
        [result] = await running.result(Store(stream_of(to_store("1"))))
        assert result.status == 0x0110
        assert "silence_timeout_secs" in result.detail
        assert running.backend.pool.state()["idle"] == 0


@ensureDeferred
@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0x0111, 0xA700, 0xA900, 0xC001, 0x0117])
async def test_what_the_pacs_says_is_passed_on(status: int) -> None:
    async def say(connection: Connection, asked: Asked, data: bytes) -> None:
        answer(connection, asked, status)

    async with Running(PACS(stored=say)) as running:
        reply, request = await running.ask(Store(stream_of(to_store("1"))))
        assert [one.status async for one in reply.result] == [status]
        assert request.record.instances == (1 if 0xB000 <= status <= 0xBFFF else 0)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Busy("no place"), 0xA700),
        (PeerError("the object is malformed", source=0), 0xC000),
        (PeerError("the PACS talks nonsense"), 0x0110),
        (TimedOut("late"), 0x0110),
        (RenderingFailed("the codec crashed"), 0x0110),
    ],
)
@ensureDeferred
async def test_what_ails_the_data_set_says_the_status(error: Exception, status: int) -> None:
    async with Running(PACS()) as running:
        results = await running.result(Store(stream_of(to_store("1", error=error), to_store("2"))))
        assert [one.status for one in results] == [status, 0]


# In another transfer syntax


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


# Memory


@ensureDeferred
async def test_an_instance_of_any_length_flows_through_a_window() -> None:
    """200 MB to a PACS that takes them as it likes: what is read and not sent stays small."""
    size, piece = 200_000_000, memoryview(bytes(400_000))
    header = Held(sop="1", size=size).header()
    received = 0

    async def data_set() -> AsyncGenerator[Pieces, None]:
        yield (header,)
        for _ in range(size // len(piece)):
            yield (piece,)

    async def count(connection: Connection, asked: Asked, data: bytes) -> None:
        nonlocal received
        received = len(data)
        answer(connection, asked)

    async with Running(PACS(stored=count)) as running:
        reply, _ = await running.ask(Store(stream_of(Instance(CT, "1", EXPLICIT, data_set()))))
        waiting = Deferred.fromCoroutine(anext(reply.result))
        most = 0
        while not waiting.called:
            [association] = running.backend.pool._leased
            transport: Any = association.protocol.transport
            most = max(most, len(transport.dataBuffer) + transport._tempDataLen)
            await turn()
        assert (await waiting).status == 0
        assert received == len(header) + size
        assert most < 2_000_000
    gc.collect()


# The next one


@ensureDeferred
async def test_the_next_instance_is_looked_at_while_the_pacs_deals_with_the_one_before() -> None:
    second = to_store("2")

    async def wait(connection: Connection, asked: Asked, data: bytes) -> None:
        await connection.pacs.told()
        answer(connection, asked)

    pacs = PACS(stored=wait)
    async with Running(pacs) as running:
        reply, _ = await running.ask(Store(stream_of(to_store("1"), second)))
        first = Deferred.fromCoroutine(anext(reply.result))
        while second.data_set.held:  # type: ignore[attr-defined]
            await turn()
        assert not first.called
        pacs.behave()
        pacs.tell()
        assert (await first).sop_instance_uid == "1"
        assert (await anext(reply.result)).sop_instance_uid == "2"
        with pytest.raises(StopAsyncIteration):
            await anext(reply.result)


@ensureDeferred
async def test_what_was_looked_at_is_given_up_with_the_results() -> None:
    second, gone_on = to_store("2"), []

    async def instances() -> AsyncGenerator[Instance, None]:
        yield to_store("1")
        yield second
        gone_on.append(True)

    async with Running(PACS()) as running:
        reply, _ = await running.ask(Store(instances()))
        await anext(reply.result)
        await reply.result.aclose()
        assert second.data_set.done  # type: ignore[attr-defined]
        assert not gone_on


@ensureDeferred
async def test_who_brings_no_next_instance_is_let_go_with_the_results() -> None:
    never: Deferred[Instance] = Deferred()

    async def instances() -> AsyncGenerator[Instance, None]:
        yield to_store("1")
        yield await never

    async with Running(PACS()) as running:
        reply, _ = await running.ask(Store(instances()))
        assert (await anext(reply.result)).status == 0
        await reply.result.aclose()
        assert never.called
        assert running.backend.pool.state()["idle"] == 1


@ensureDeferred
async def test_a_result_is_told_before_the_error_that_ends_the_instances() -> None:
    async def instances() -> AsyncGenerator[Instance, None]:
        yield to_store("1")
        raise TransportError("the client has gone")

    async with Running(PACS()) as running:
        reply, _ = await running.ask(Store(instances()))
        assert (await anext(reply.result)).status == 0
        with pytest.raises(TransportError, match="the client has gone"):
            await anext(reply.result)
