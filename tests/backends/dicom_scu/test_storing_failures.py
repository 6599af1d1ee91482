"""What goes wrong with an instance of a Store, and what becomes of its association and of the next one."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred

from harmonygw.backends.dicom_scu import storing
from harmonygw.errors import Busy, Incomplete, PeerError, RenderingFailed, TimedOut
from harmonygw.operations import Store, StoreResult
from harmonygw.streams import Feed, Instance, Pieces
from tests.backends.dicom_scu.backends import Running, stream_of, to_store
from tests.backends.dicom_scu.storing import answer, gone, turn
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, EXPLICIT, Held
from tests.interop.pacs import PACS, silence

reactor: Any = _reactor


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
