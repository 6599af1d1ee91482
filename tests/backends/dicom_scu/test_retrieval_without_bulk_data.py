"""Retrievals without bulk data (PS3.4 Annex Z): what is asked for, and what is retrieved whole all the same."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.backends.dicom_scu import contexts, retrieval
from harmonygw.backends.dicom_scu.contexts import LOSSLESS, LOSSY, NATIVE, VIDEO
from harmonygw.backends.dicom_scu.expectation import Expectation
from harmonygw.backends.dicom_scu.retrieval import NotOfferedError
from harmonygw.errors import Incomplete, PeerError, TimedOut, TransportError
from harmonygw.net.association.operations import Outcome
from harmonygw.operations import Level, Retrieve
from harmonygw.streams import Instance
from tests.backends.dicom_scu.archive import Archive, instance, series
from tests.backends.dicom_scu.retrieving import (
    CT,
    EXPLICIT,
    MR,
    NO_CONTEXT,
    PATIENT,
    SOME_FAILED,
    STUDY,
    STUDY_KEYS,
    SUCCESS,
    TWO,
    Retrieving,
    Script,
    came,
)

EVERY = (*NATIVE, *LOSSLESS, *LOSSY, *VIDEO)
NOT_OFFERED = NotOfferedError("no C-GET of that kind")
IMAGES = Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4", "1.2.3.5"))
WHOLE = ("1.2.3.4", "1.2.3.5", SUCCESS)


class Both:
    """A retrieval with two scripts: without bulk data, and whole."""

    def __init__(
        self, without: Script, whole: Script, retrieve: Retrieve = IMAGES, archive: Archive | None = None, **more: Any
    ) -> None:
        without.without_bulk_data = True
        expectation = more.pop("expectation", Expectation(PATIENT, STUDY_KEYS, classes=(CT,), count=2))
        self.retrieving = Retrieving(
            whole,
            archive or Archive([], [series()], TWO),
            retrieve,
            expectation,
            begin_without_bulk_data=without.begin,
            **more,
        )
        self.whole = whole

    async def run(self) -> list[tuple[str, bool]]:
        return [(one.sop_instance_uid, one.without_bulk_data) async for one in self.retrieving.retrieval.instances()]


@ensureDeferred
async def test_listed_instances_come_without_bulk_data_and_say_so() -> None:
    without = Script(WHOLE)
    both = Both(without, Script())
    assert await both.run() == [("1.2.3.4", True), ("1.2.3.5", True)]
    assert without.begun == [(Level.IMAGE, ("1.2.3.4", "1.2.3.5"), (CT,), EVERY)]
    assert both.retrieving.archive.asked == []


@ensureDeferred
async def test_only_acceptable_lossy_syntaxes_are_proposed() -> None:
    without = Script(WHOLE)
    await Both(
        without, Script(), Retrieve(Level.IMAGE, "1.2", "1.2.3", IMAGES.sop_instance_uids, (EXPLICIT, LOSSY[0]))
    ).run()
    assert without.begun[0][3] == (*NATIVE, LOSSY[0])


@ensureDeferred
async def test_a_study_is_asked_for_by_its_instances_series_by_series_in_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrieval, "BATCH", 2)
    archive = Archive(
        [],
        [series(), series("1.2.4", "MR"), series("1.2.5", "SR")],
        {"1.2.3": [instance(uid) for uid in "123"], "1.2.4": [instance("4", "")], "1.2.5": []},
    )
    without = Script(("1", "2", SUCCESS), ("3", SUCCESS), (came("4", series_uid="1.2.4"), SUCCESS))
    expectation = Expectation(PATIENT, STUDY_KEYS, count=4)
    assert await Both(without, Script(), STUDY, archive, expectation=expectation).run() == [
        (uid, True) for uid in "1234"
    ]
    assert [(level, uids, classes) for level, uids, classes, _ in without.begun] == [
        (Level.IMAGE, ("1", "2"), (CT,)),
        (Level.IMAGE, ("3",), (CT,)),
        (Level.IMAGE, ("4",), contexts.likely_classes(("MR",))),
    ]


@pytest.mark.parametrize(
    "answers",
    [
        [(NOT_OFFERED,)],
        [(NO_CONTEXT,)],
        [(SUCCESS,)],
        [(SOME_FAILED,)],
        [(Outcome(0xA900),)],
        [(TimedOut("nothing came"),)],
        [(TransportError("lost"),)] * 2,
    ],
)
@ensureDeferred
async def test_what_fails_before_its_first_object_is_retrieved_whole(answers: list[Any]) -> None:
    both = Both(Script(*answers), Script(WHOLE))
    assert await both.run() == [("1.2.3.4", False), ("1.2.3.5", False)]
    assert both.whole.begun == [(Level.IMAGE, ("1.2.3.4", "1.2.3.5"), (CT,), (*NATIVE, *LOSSLESS))]


@ensureDeferred
async def test_a_reason_that_is_none_of_negotiation_is_noted() -> None:
    both = Both(Script((TimedOut("nothing came"),)), Script(WHOLE))
    await both.run()
    assert both.retrieving.record.notes == ["not retrieved without bulk data: nothing came"]


@ensureDeferred
async def test_a_whole_retrieval_that_finds_no_context_is_not_judged_by_the_one_before() -> None:
    both = Both(Script((Outcome(0xA900),)), Script((NO_CONTEXT,), WHOLE))
    assert await both.run() == [("1.2.3.4", False), ("1.2.3.5", False)]


@pytest.mark.parametrize("end", [SUCCESS, SOME_FAILED])
@ensureDeferred
async def test_what_does_not_come_in_that_way_is_retrieved_whole(end: Outcome) -> None:
    both = Both(Script(("1.2.3.4", end)), Script(("1.2.3.5", SUCCESS)))
    assert await both.run() == [("1.2.3.4", True), ("1.2.3.5", False)]
    assert [uids for _, uids, _, _ in both.whole.begun] == [("1.2.3.5",)]


@ensureDeferred
async def test_a_second_series_that_is_not_offered_is_retrieved_whole() -> None:
    rows = {"1.2.3": [instance("1")], "1.2.4": [instance("2", MR)]}
    archive = Archive([], [series(), series("1.2.4", "MR")], rows)
    both = Both(Script(("1", SUCCESS), (NO_CONTEXT,)), Script((came("2", series_uid="1.2.4"), SUCCESS)), STUDY, archive)
    assert await both.run() == [("1", True), ("2", False)]


@ensureDeferred
async def test_fewer_than_the_study_has_are_not_taken_for_all() -> None:
    expectation = Expectation(PATIENT, STUDY_KEYS, count=3)
    both = Both(Script(WHOLE), Script(), STUDY, expectation=expectation)
    await both.run()
    assert len(both.retrieving.archive.asked) == 4  # listed once more, and nothing was missing


@ensureDeferred
async def test_a_study_of_which_nothing_is_listed_is_asked_for_whole() -> None:
    expectation = Expectation(PATIENT, STUDY_KEYS, classes=(CT,))
    both = Both(Script(), Script(("1.2.3.4", SUCCESS)), STUDY, Archive([], [], {}), expectation=expectation)
    assert await both.run() == [("1.2.3.4", False)]


@ensureDeferred
async def test_a_loss_after_the_first_object_is_an_error() -> None:
    both = Both(Script(("1.2.3.4", TransportError("lost"))), Script())
    with pytest.raises(TransportError, match="lost"):
        await both.run()


@ensureDeferred
async def test_more_instances_than_can_be_listed_are_retrieved_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "MAX_LEFT_OUT", 1)
    both = Both(Script(), Script(WHOLE), STUDY)
    assert await both.run() == [("1.2.3.4", False), ("1.2.3.5", False)]


@ensureDeferred
async def test_what_lacks_in_both_ways_is_incomplete() -> None:
    both = Both(Script(("1.2.3.4", SOME_FAILED)), Script(*[(SOME_FAILED,)] * 27))
    with pytest.raises(Incomplete, match="1 of 2 instances"):
        await both.run()


@pytest.mark.parametrize("wrong", [came("1.2.3.4", study_uid="9.9"), came("1.2.3.4", PatientID="P2"), came("9.9")])
@ensureDeferred
async def test_what_comes_is_checked_all_the_same(wrong: Instance) -> None:
    both = Both(Script((wrong, SUCCESS)), Script())
    with pytest.raises(PeerError, match="not asked for"):
        await both.run()
