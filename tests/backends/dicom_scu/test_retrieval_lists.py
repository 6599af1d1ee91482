"""Retrievals of instances by their UIDs: the order, the batches, and lists that were not looked up beforehand."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.backends.dicom_scu import retrieval
from harmonygw.backends.dicom_scu.contexts import LOSSLESS, NATIVE
from harmonygw.backends.dicom_scu.expectation import Expectation
from harmonygw.errors import Incomplete, NotFound, RejectedError
from harmonygw.net.association.operations import Outcome
from harmonygw.operations import Level, Retrieve
from tests.backends.dicom_scu.archive import Archive, instance, series
from tests.backends.dicom_scu.retrieving import (
    CT,
    NO_CONTEXT,
    PATIENT,
    SOME_FAILED,
    STUDY_KEYS,
    SUCCESS,
    Retrieving,
    Script,
)

REFUSED = Outcome(0xA900)
HELD = Archive([], [series()], {"1.2.3": [instance(uid) for uid in "12345"]})


def of(*uids: str, listed: bool = True, **more: Any) -> Expectation:
    return Expectation(PATIENT, STUDY_KEYS, (CT,), count=len(uids), instances=uids, is_listed=listed, **more)


def wanted(*uids: str) -> Retrieve:
    return Retrieve(Level.IMAGE, "1.2", "1.2.3", uids)


def retrieving(script: Script, *uids: str, expectation: Expectation, **more: Any) -> Retrieving:
    archive = Archive([], [series()], {"1.2.3": [instance(uid) for uid in "12345"]})
    return Retrieving(script, archive, wanted(*uids), expectation, **more)


@ensureDeferred
async def test_instances_are_asked_for_in_the_order_given_and_a_batch_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrieval, "BATCH", 2)
    script = Script(("4", "2", SUCCESS), ("5", "1", SUCCESS), ("3", SUCCESS))
    one = retrieving(script, *"42513", expectation=of(*"42513"))
    assert await one.run() == list("42513")
    assert script.begun == [
        (Level.IMAGE, uids, (CT,), (*NATIVE, *LOSSLESS)) for uids in (("4", "2"), ("5", "1"), ("3",))
    ]
    assert (one.archive.asked, one.record.notes) == ([], [])


@ensureDeferred
async def test_each_batch_is_counted_and_the_others_are_asked_for_with_what_it_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrieval, "BATCH", 2)
    script = Script(("4", SUCCESS), ("2", "5", SUCCESS))
    one = retrieving(script, *"425", expectation=of(*"425"))
    assert await one.run() == list("425")
    assert [uids for _, uids, _, _ in script.begun] == [("4", "2"), ("2", "5")]
    assert one.record.notes[0] == "the archive reported success with 1 of 2 instances"


@ensureDeferred
async def test_what_the_archive_does_not_list_is_not_asked_for() -> None:
    script = Script(("1", SUCCESS))
    assert await retrieving(script, "9", "1", expectation=of("1")).run() == ["1"]
    assert [uids for _, uids, _, _ in script.begun] == [("1",)]


@ensureDeferred
async def test_a_list_that_was_not_looked_up_is_looked_up_when_something_does_not_come() -> None:
    forgotten: list[int] = []
    script = Script(("1", SUCCESS), ("2", SUCCESS))
    one = retrieving(script, *"129", expectation=of(*"129", listed=False), forget=lambda: forgotten.append(1))
    assert await one.run() == ["1", "2"]
    assert [find.keys.get("00080018", {}).get("Value") for find in one.archive.asked] == [None, ["2", "9"]]
    assert forgotten == [1]


@ensureDeferred
async def test_of_a_list_that_was_not_looked_up_what_does_not_exist_is_not_missing() -> None:
    one = retrieving(Script(("1", SOME_FAILED)), *"19", expectation=of(*"19", listed=False))
    assert await one.run() == ["1"]


@ensureDeferred
async def test_all_that_exist_have_come_when_a_warning_says_that_some_failed() -> None:
    one = retrieving(Script(("1", SOME_FAILED)), "1", expectation=of("1", listed=False))
    assert await one.run() == ["1"]
    assert [find.level for find in one.archive.asked] == [Level.SERIES]


@pytest.mark.parametrize("answer", [(SUCCESS,), (SOME_FAILED,), (REFUSED,)])
@ensureDeferred
async def test_what_neither_comes_nor_is_listed_is_not_found(answer: Any) -> None:
    one = retrieving(Script(answer), "9", expectation=of("9", listed=False))
    await one.failing(NotFound, "no such instance in the series")


@ensureDeferred
async def test_a_refusal_is_the_reason_when_what_was_not_looked_up_is_listed() -> None:
    one = retrieving(Script((REFUSED,)), "1", expectation=of("1", listed=False))
    await one.failing(RejectedError, "refused the retrieval with status A900H")


@ensureDeferred
async def test_without_a_context_what_was_not_looked_up_is_tried_as_what_was() -> None:
    one = retrieving(Script((NO_CONTEXT,), ("1", SUCCESS)), "1", expectation=of("1", listed=False))
    assert await one.run() == ["1"]


@ensureDeferred
async def test_what_was_not_looked_up_and_is_missing_in_the_end_makes_it_incomplete() -> None:
    script = Script(("1", SUCCESS), *[(SOME_FAILED,)] * 27)
    await retrieving(script, "1", "2", expectation=of("1", "2", listed=False)).failing(Incomplete, "1 of 2 instances")
