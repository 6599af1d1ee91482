"""The Store operation of the backend, in front of a scripted PACS."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from harmonygw.dicom.dimse.commands import CStoreRSP
from harmonygw.errors import TimedOut, TransportError
from harmonygw.operations import Store
from harmonygw.streams import Instance
from tests.backends.dicom_scu.backends import Running, stream_of, to_store
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, MR
from tests.interop.pacs import PACS


@ensureDeferred
async def test_stored_instances_are_reported_one_by_one_over_one_association() -> None:
    async with Running(PACS()) as running:
        reply, request = await running.ask(Store(stream_of(to_store("1"), to_store("2"))))
        results = [(one.sop_instance_uid, one.status) async for one in reply.result]
        assert results == [("1", 0), ("2", 0)]
        assert running.pacs.received == ["1", "2"]
        assert running.pacs.seen.count("A-ASSOCIATE-RQ") == 1
        assert (request.record.instances, request.record.dimse_status) == (2, 0)


@ensureDeferred
async def test_the_reply_is_there_with_the_association_for_the_first_instance() -> None:
    arrives: Deferred[Instance] = Deferred()

    async def slow() -> AsyncGenerator[Instance, None]:
        yield to_store("1")
        yield await arrives

    async with Running(PACS()) as running:
        reply, _ = await running.ask(Store(slow()))
        assert running.pacs.seen == ["connected", "A-ASSOCIATE-RQ"]
        assert (await reply.result.__anext__()).sop_instance_uid == "1"
        arrives.callback(to_store("2"))
        assert (await reply.result.__anext__()).sop_instance_uid == "2"
        with pytest.raises(StopAsyncIteration):
            await reply.result.__anext__()


@ensureDeferred
async def test_a_failure_status_is_that_of_its_instance_and_the_others_go_on() -> None:
    async def refuse_the_first(connection: Connection, asked: Asked, data: bytes) -> None:
        connection.pacs.behave()
        command = asked.command
        rsp = CStoreRSP(command.message_id, CT, command.affected_sop_instance_uid, 0xA700, error_comment="disk full")
        connection.send(asked.context_id, rsp)

    async with Running(PACS(stored=refuse_the_first)) as running:
        reply, request = await running.ask(Store(stream_of(to_store("1"), to_store("2"))))
        results = [(one.status, one.detail) async for one in reply.result]
        assert results == [(0xA700, "disk full"), (0, "")]
        assert (request.record.instances, request.record.dimse_status) == (1, 0xA700)


@ensureDeferred
async def test_errors_become_statuses_and_the_others_go_on() -> None:
    async def drop_the_first(connection: Connection, asked: Asked, data: bytes) -> None:
        connection.pacs.behave()
        connection.reset()

    no_class = to_store("2", "1.2.3")
    cut = to_store("3", error=TimedOut("the client is slow"))
    async with Running(PACS(stored=drop_the_first)) as running:
        reply, request = await running.ask(Store(stream_of(to_store("1"), no_class, cut, to_store("4", MR))))
        results = [(one.sop_instance_uid, one.status) async for one in reply.result]
        assert results == [("1", 0x0110), ("2", 0x0122), ("3", 0x0110), ("4", 0)]
        assert no_class.data_set.done  # type: ignore[attr-defined]
        assert running.pacs.received == ["4"]
        assert len(request.record.notes) == 3


@ensureDeferred
async def test_a_pacs_that_does_not_answer_a_c_store_is_0110h() -> None:
    async def silence(connection: Connection, asked: Asked, data: bytes) -> None:
        connection.pacs.behave()

    async with Running(PACS(stored=silence), silence_timeout_secs=0.1) as running:
        results = await running.result(Store(stream_of(to_store("1"), to_store("2"))))
        assert [one.status for one in results] == [0x0110, 0]


@ensureDeferred
async def test_a_source_that_fails_ends_the_results_with_its_error() -> None:
    async def broken() -> AsyncGenerator[Instance, None]:
        yield to_store("1")
        raise TransportError("the client has gone")

    async with Running(PACS()) as running:
        reply, _ = await running.ask(Store(broken()))
        async with aclosing(reply.result) as results:
            assert (await results.__anext__()).status == 0
            with pytest.raises(TransportError, match="the client has gone"):
                await results.__anext__()
