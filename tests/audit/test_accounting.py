from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.audit import participants
from harmonygw.audit.account import Account, Tally
from harmonygw.audit.accounting import Accounting
from harmonygw.errors import Busy, NotFound, RejectedError, TransportError
from harmonygw.exchange import Reply, Request
from harmonygw.operations import (
    CheckCommitment,
    Echo,
    Find,
    FindWorklist,
    Level,
    Move,
    MoveResult,
    Operation,
    Retrieve,
    Store,
    StoreResult,
)
from harmonygw.streams import Body, Instance
from tests.audit.parts import CT, dimse, http, instance

RETRIEVE = Retrieve(Level.STUDY, "1.2", patient_id="P1")


class Witness:
    """What the step tells the trail."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str, bool]] = []
        self.admits = True
        self.records = True

    def admit(self) -> None:
        if not self.admits:
            raise Busy("no")

    def begin(self, request: Request, tally: Tally, *, storing: bool) -> None:
        if not self.records:
            raise Busy("no")
        self.begun.append((tally.study_instance_uid, tally.patient.patient_id, storing))


class Instances:
    """A stream that has more than items, and tells that it was closed."""

    warnings = ("one",)

    def __init__(self, *items: Any) -> None:
        self.items = list(items)
        self.closed = False

    def __aiter__(self) -> "Instances":
        return self

    async def __anext__(self) -> Any:
        if not self.items:
            raise StopAsyncIteration
        item = self.items.pop(0)
        if isinstance(item, BaseException):
            raise item
        return item

    async def aclose(self) -> None:
        self.closed = True


def result_of(work: Awaitable[Any]) -> Any:
    results: list[Any] = []

    async def run() -> None:
        results.append(await work)

    failures: list[Any] = []
    Deferred.fromCoroutine(run()).addErrback(failures.append)
    if failures:
        failures[0].raiseException()
    [result] = results
    return result


class Exchange:
    """One request through the step, and what it asked of what is behind."""

    def __init__(
        self, request: Request, answer: "Reply | BaseException | Callable[[Request], Awaitable[Reply]]"
    ) -> None:
        self.witness = Witness()
        self.request = request
        self.asked: list[Request] = []
        self._answer = answer

    def run(self) -> Reply:
        async def answer(request: Request) -> Reply:
            self.asked.append(request)
            if isinstance(self._answer, Reply):
                return self._answer
            if isinstance(self._answer, BaseException):
                raise self._answer
            return await self._answer(request)

        step = Accounting(self.witness, "pacs, other")
        reply: Reply = result_of(step.intercept(self.request, lambda one: Deferred.fromCoroutine(answer(one))))
        return reply

    @property
    def account(self) -> Account:
        account: Account = self.request.record.audit
        return account

    def counts(self, *, whole: bool) -> list[tuple[str, dict[str, int], dict[str, int]]]:
        return [
            (one.study_instance_uid, one.whole, one.broken) for one in self.account.settled(whole=whole, not_taken={})
        ]


def asking(operation: Operation | None, name: str = "Retrieve") -> Request:
    return replace(http(name, "studies/1.2"), operation=operation)


async def read(stream: Any, count: int | None = None) -> list[Any]:
    taken = []
    while count is None or len(taken) < count:
        try:
            taken.append(await anext(stream))
        except StopAsyncIteration:
            break
    return taken


@pytest.mark.parametrize("operation", [Find(Level.STUDY), FindWorklist({})])
def test_the_first_query_is_noted(operation: Find | FindWorklist) -> None:
    exchange = Exchange(asking(operation, "C-FIND"), Reply(result="rows"))
    assert exchange.run().result == "rows"
    exchange.request = replace(exchange.request, operation=Find(Level.IMAGE))
    exchange.run()
    assert exchange.account.query is operation
    assert exchange.witness.begun == []


def test_an_echo_passes() -> None:
    exchange = Exchange(asking(Echo()), Reply())
    exchange.witness.admits = False
    exchange.run()
    assert exchange.request.record.audit is None


def test_what_has_no_event_passes() -> None:
    exchange = Exchange(asking(CheckCommitment("1.2.9"), "Check Storage Commitment Result"), Reply(result="known"))
    assert exchange.run().result == "known"
    assert exchange.account == Account()


def test_nothing_is_asked_while_nothing_can_be_recorded() -> None:
    exchange = Exchange(asking(RETRIEVE), Reply())
    exchange.witness.admits = False
    with pytest.raises(Busy):
        exchange.run()
    assert exchange.asked == []


def test_instances_are_counted_as_they_are_asked_for() -> None:
    stream = Instances(instance(number=1), instance(number=2), instance("1.3", PatientID="P2"))
    exchange = Exchange(asking(RETRIEVE), Reply(result=stream))
    passing = exchange.run().result
    assert passing.warnings == ("one",)
    assert aiter(passing) is passing
    assert exchange.witness.begun == []
    first = result_of(read(passing, 1))
    assert [one.sop_instance_uid for one in first] == ["1.2.1"]
    assert exchange.witness.begun == [("1.2", "P1", False)]
    assert len(result_of(read(passing))) == 2
    assert exchange.witness.begun == [("1.2", "P1", False), ("1.3", "P2", False)]
    assert exchange.counts(whole=False) == [("1.2", {CT: 2}, {}), ("1.3", {CT: 1}, {})]
    assert exchange.account.asked == {"1.2": "P1"}


def test_an_instance_in_whose_midst_it_ends_is_broken() -> None:
    stream = Instances(instance(number=1), instance(number=2), instance(number=3))
    exchange = Exchange(asking(RETRIEVE), Reply(result=stream))
    passing = exchange.run().result
    result_of(read(passing, 2))
    result_of(passing.aclose())
    assert stream.closed
    assert exchange.counts(whole=False) == [("1.2", {CT: 1}, {CT: 1})]


def test_what_went_out_before_the_archive_failed_was_whole() -> None:
    exchange = Exchange(asking(RETRIEVE), Reply(result=Instances(instance(), TransportError("gone"))))
    passing = exchange.run().result
    with pytest.raises(TransportError):
        result_of(read(passing))
    assert exchange.counts(whole=False) == [("1.2", {CT: 1}, {})]


def test_no_instance_goes_out_whose_transfer_cannot_be_told_of() -> None:
    stream = Instances(instance(), instance())
    exchange = Exchange(asking(RETRIEVE), Reply(result=stream))
    exchange.witness.records = False
    passing = exchange.run().result
    with pytest.raises(Busy):
        result_of(read(passing))
    assert stream.closed
    assert len(stream.items) == 1


def test_of_what_is_accessed_no_transfer_begins() -> None:
    exchange = Exchange(asking(RETRIEVE, "Retrieve Metadata"), Reply(result=Instances(instance())))
    exchange.witness.records = False
    assert len(result_of(read(exchange.run().result))) == 1
    assert exchange.counts(whole=True) == [("1.2", {CT: 1}, {})]


def test_a_retrieval_without_a_result_is_asked_for_all_the_same() -> None:
    exchange = Exchange(asking(RETRIEVE), Reply(304))
    assert exchange.run().status == 304
    failing = Exchange(asking(RETRIEVE), NotFound("nothing"))
    with pytest.raises(NotFound):
        failing.run()
    assert exchange.account.asked == failing.account.asked == {"1.2": "P1"}


async def stored(request: Request) -> Reply:
    """Store all but the second."""
    assert isinstance(request.operation, Store)
    instances = request.operation.instances

    async def results() -> AsyncGenerator[StoreResult, None]:
        number = 0
        async for one in instances:
            number += 1
            yield StoreResult(one.sop_class_uid, one.sop_instance_uid, 0xA700 if number == 2 else 0)

    return Reply(result=results())


def test_stored_is_what_the_archive_says_is_stored() -> None:
    given = Instances(instance(), instance(), instance("1.3"))
    exchange = Exchange(asking(Store(given), "Store Instances"), stored)
    passing = exchange.run().result
    assert [one.status for one in result_of(read(aiter(passing)))] == [0, 0xA700, 0]
    assert exchange.witness.begun == [("1.2", "P1", True), ("1.3", "P1", True)]
    assert exchange.counts(whole=False) == [("1.2", {CT: 1}, {CT: 1}), ("1.3", {CT: 1}, {})]


def test_nothing_is_stored_whose_transfer_cannot_be_told_of() -> None:
    exchange = Exchange(asking(Store(Instances(instance())), "Store Instances"), stored)
    exchange.witness.records = False
    with pytest.raises(Busy):
        result_of(read(exchange.run().result))
    assert exchange.counts(whole=False) == [("1.2", {}, {})]


def test_a_store_without_results() -> None:
    exchange = Exchange(asking(Store(Instances()), "Store Instances"), Reply())
    assert exchange.run().result is None


MOVE = Move(Level.STUDY, "1.2", "WORKSTATION", patient_id="P1")


def test_what_the_archive_moves_is_what_it_counts() -> None:
    exchange = Exchange(replace(dimse("C-MOVE"), operation=MOVE), Reply(result=MoveResult(5, 1)))
    exchange.run()
    assert exchange.witness.begun == [("1.2", "P1", False)]
    assert exchange.request.record.destination == "WORKSTATION"
    assert exchange.account.is_direct
    assert exchange.counts(whole=True) == [("1.2", {"": 6}, {})]
    assert exchange.account.asked == {"1.2": "P1"}


def test_a_transfer_ends_with_the_archive_that_it_began_with() -> None:
    request = replace(dimse("C-MOVE"), operation=MOVE)
    request.record.target = ""

    async def answer(request: Request) -> Reply:
        request.record.target = "other"
        return Reply(result=MoveResult(5, 1))

    exchange = Exchange(request, answer)
    exchange.run()
    assert participants.archive(exchange.request)[0].user_id == "pacs, other"
    known = Exchange(asking(RETRIEVE), Reply(result=Instances(instance(), instance(number=2))))
    stream = known.run().result
    result_of(read(stream, 1))
    known.request.record.target = "other"
    assert participants.archive(known.request)[0].user_id == "pacs"


def test_a_move_of_which_a_part_failed() -> None:
    error = RejectedError("some failed", status=0xB000)
    error.members = {"completed": 2, "failed": 3}
    exchange = Exchange(replace(dimse("C-MOVE"), operation=replace(MOVE, patient_id="")), error)
    with pytest.raises(RejectedError):
        exchange.run()
    assert exchange.counts(whole=False) == [("1.2", {"": 2}, {"": 3})]


def test_a_move_that_nobody_counts() -> None:
    exchange = Exchange(replace(dimse("C-MOVE"), operation=MOVE), Reply(result=MoveResult(None, None)))
    exchange.run()
    assert [one.counted for one in exchange.account.tallies.values()] == [False]


# What goes on as it was


def passed_on(path: str, reply: Reply, **changes: Any) -> Exchange:
    return Exchange(http("", path, **changes), reply)


def test_of_what_is_passed_on_the_study_is_known_by_the_path() -> None:
    exchange = passed_on("studies/1.2", Reply(200, body=Body.of(b"bytes")))
    assert exchange.run().body is not None
    assert exchange.witness.begun == [("1.2", "", False)]
    assert [one.counted for one in exchange.account.tallies.values()] == [False]
    assert exchange.account.is_passed_on


@pytest.mark.parametrize(
    ("path", "reply"),
    [
        ("studies/1.2", Reply(404, body=Body.of(b"nothing"))),
        ("studies/1.2", Reply(304)),
        ("studies/1.2/metadata", Reply(200, body=Body.of(b"[]"))),
        ("studies", Reply(200, body=Body.of(b"[]"))),
        ("anything", Reply(200, body=Body.of(b"bytes"))),
    ],
)
def test_no_transfer_begins_of_what_is_none(path: str, reply: Reply) -> None:
    exchange = passed_on(path, reply)
    assert exchange.run() is reply
    assert exchange.witness.begun == []


def test_no_reply_is_passed_on_whose_transfer_cannot_be_told_of() -> None:
    body = Body.of(b"bytes")
    exchange = passed_on("studies/1.2", Reply(200, body=body))
    exchange.witness.records = False
    with pytest.raises(Busy):
        exchange.run()
    with pytest.raises(Exception, match="gave the stream up"):
        result_of(read(aiter(body)))


def test_a_store_that_is_passed_on_begins_before_it_is() -> None:
    exchange = passed_on("studies", Reply(200), method="POST")
    exchange.run()
    assert exchange.witness.begun == [("", "", True)]
    refusing = passed_on("studies/1.2", Reply(200), method="POST")
    refusing.witness.records = False
    with pytest.raises(Busy):
        refusing.run()
    assert refusing.asked == []


def test_a_cancelled_reader_is_cancelled() -> None:
    exchange = Exchange(asking(RETRIEVE), Reply(result=Instances(CancelledError())))
    passing = exchange.run().result
    with pytest.raises(CancelledError):
        result_of(read(passing))


def test_what_passes_is_what_came() -> None:
    one: Instance = instance()
    exchange = Exchange(asking(RETRIEVE), Reply(result=Instances(one)))
    [passed] = result_of(read(exchange.run().result))
    assert passed is one
