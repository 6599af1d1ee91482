"""How a Store uses associations and memory, and when it looks at the next instance."""

import gc
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.backends.dicom_scu import storing
from harmonygw.errors import RejectedError, TransportError
from harmonygw.operations import Store, StoreResult
from harmonygw.streams import Feed, Instance, Pieces
from tests.backends.dicom_scu.backends import Running, stream_of, to_store
from tests.backends.dicom_scu.storing import answer, gone, turn
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, EXPLICIT, IMPLICIT, MR, Held
from tests.interop.pacs import PACS


def proposed(pacs: PACS) -> list[tuple[str, str]]:
    [connection] = pacs.connections
    assert connection.rq is not None
    return [(one.abstract_syntax, syntax) for one in connection.rq.contexts for syntax in one.transfer_syntaxes]


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
