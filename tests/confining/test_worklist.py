"""FindWorklist: steps of those who comply; what a worklist does not say is refused."""

from typing import Any

import pytest

from harmonygw.errors import Denied
from harmonygw.operations import FindWorklist
from harmonygw.streams import Match
from tests.confining.archive import Keeper, confined, elements, tag

STEPS = tag("ScheduledProcedureStepSequence")


def step(patient: str, *modalities: str, **others: Any) -> Match:
    items = [elements(Modality=modality, ScheduledProcedureStepID="s") for modality in modalities]
    return {**elements(PatientID=patient, **others), STEPS: {"vr": "SQ", "Value": items}}


def worklist() -> Keeper:
    archive = Keeper()
    archive.worklist = [step("A", "US"), step("B", "CT"), step("B", "US", "CT"), step("B"), step("A", "")]
    return archive


def test_steps_of_who_complies_are_shown() -> None:
    archive = worklist()
    found = confined(archive, PatientID="B").reply(FindWorklist(elements(PatientID=None), limit=1))
    somebody = confined(archive, PatientID="B")
    rows = somebody.rows(FindWorklist(elements(PatientID=None)))
    assert len(rows) == 3
    assert archive.worklist_asked == [elements(PatientID=None)] * 2
    assert found.result.warnings == []


def test_what_was_not_asked_for_is_not_given() -> None:
    archive = worklist()
    rows = confined(archive, PatientID="B", Modality="CT").rows(FindWorklist(elements(PatientName=None)))
    assert rows == [{}]
    (asked,) = archive.worklist_asked
    expected = {**elements(PatientName=None, PatientID=None), STEPS: {"vr": "SQ", "Value": [elements(Modality=None)]}}
    assert asked == expected


def test_a_modality_is_asked_of_the_step() -> None:
    archive = worklist()
    identifier = {STEPS: {"vr": "SQ", "Value": [elements(ScheduledProcedureStepID=None)]}}
    (row,) = confined(archive, Modality="US").rows(FindWorklist(identifier))
    assert row[STEPS]["Value"] == [elements(ScheduledProcedureStepID="s")]
    (asked,) = archive.worklist_asked
    assert asked[STEPS]["Value"] == [elements(ScheduledProcedureStepID=None, Modality=None)]


@pytest.mark.parametrize("asked", [[], [elements(Modality="US")]])
def test_a_step_that_is_asked_for_whole_is_given_whole(asked: list[Match]) -> None:
    archive = worklist()
    identifier = {STEPS: {"vr": "SQ", **({"Value": asked} if asked else {})}}
    (row,) = confined(archive, Modality="US").rows(FindWorklist(identifier))
    assert row[STEPS]["Value"] == [elements(Modality="US", ScheduledProcedureStepID="s")]
    assert archive.worklist_asked == [identifier]


def test_steps_without_what_is_demanded_are_hidden() -> None:
    archive = Keeper()
    archive.worklist = [elements(PatientName="x"), step("", "CT")]
    assert confined(archive, PatientID="B").rows(FindWorklist({})) == []
    assert confined(archive, Modality="CT").rows(FindWorklist({})) == [elements(PatientID="")]
    assert confined(archive, Modality="US").rows(FindWorklist({})) == []


@pytest.mark.parametrize("key", ["InstitutionName", "StudyDescription"])
def test_what_a_worklist_does_not_say_is_refused(key: str) -> None:
    archive = worklist()
    with pytest.raises(Denied) as caught:
        confined(archive, **{key: "x", "PatientID": "B"}).rows(FindWorklist({}))
    assert caught.value.log_detail == "a test"
    assert archive.served == []
