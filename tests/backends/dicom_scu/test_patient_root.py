from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.backends.dicom_scu import patient_root
from harmonygw.backends.dicom_scu.patient_root import PatientRootMatches
from harmonygw.errors import Conflict, TooLarge
from harmonygw.operations import Find, Level
from harmonygw.streams import Match
from tests.backends.dicom_scu.archive import row, study

NAME = {"vr": "PN"}
UID = {"vr": "UI", "Value": ["1.2"]}


def patient_id(value: str) -> dict[str, Any]:
    return {"vr": "LO", "Value": [value]}


class Answer:
    """The matches of one C-FIND."""

    def __init__(self, rows: list[Match], warnings: list[str]) -> None:
        self._rows = iter(rows)
        self.warnings = warnings
        self.closed = False

    def __aiter__(self) -> "Answer":
        return self

    async def __anext__(self) -> Match:
        for one in self._rows:
            return one
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


class Archive:
    """Patients, and what is below each."""

    def __init__(self, patients: list[Match], below: dict[str, list[Match]], warnings: tuple[str, ...] = ()) -> None:
        self.patients = patients
        self.below = below
        self.warnings = warnings
        self.asked: list[Find] = []
        self.answers: list[Answer] = []

    async def ask(self, find: Find) -> Any:
        self.asked.append(find)
        rows = self.patients if find.level is Level.PATIENT else self.below[find.keys["00100020"]["Value"][0]]
        self.answers.append(Answer(rows, list(self.warnings)))
        return self.answers[-1]


JANE = row(_00100020="P1", _00100010="Jane", _00080005="ISO_IR 192")
JOHN = row(_00100020="P2", _00100010="John")


@ensureDeferred
async def test_a_named_patient_costs_one_query() -> None:
    archive = Archive([], {"P1": [{"0020000D": UID}]})
    find = Find(Level.STUDY, {"00100020": patient_id("P1"), "0020000D": UID}, {"00080020": {"vr": "DA"}})
    rows = [match async for match in PatientRootMatches(find, archive.ask)]
    assert archive.asked == [find]
    assert rows == [{"0020000D": UID, "00100020": patient_id("P1")}]


@ensureDeferred
async def test_what_is_asked_of_the_patient_is_asked_at_patient_level_and_the_rest_below_each() -> None:
    archive = Archive([JANE, JOHN], {"P1": [study("1.2"), study("1.3")], "P2": [study("1.4", "P2")]})
    name = {"vr": "PN", "Value": [{"Alphabetic": "J*"}]}
    find = Find(Level.STUDY, {"00100010": name, "0020000D": UID}, {"00100020": {"vr": "LO"}, "00080020": {"vr": "DA"}})
    rows = [match async for match in PatientRootMatches(find, archive.ask)]
    assert archive.asked == [
        Find(Level.PATIENT, {"00100010": name}, {"00100020": {"vr": "LO"}}),
        Find(Level.STUDY, {"0020000D": UID, "00100020": patient_id("P1")}, {"00080020": {"vr": "DA"}}),
        Find(Level.STUDY, {"0020000D": UID, "00100020": patient_id("P2")}, {"00080020": {"vr": "DA"}}),
    ]
    assert [(one["0020000D"]["Value"], one["00100010"]["Value"]) for one in rows] == [
        (["1.2"], ["Jane"]),
        (["1.3"], ["Jane"]),
        (["1.4"], ["John"]),
    ]
    assert "00080005" not in rows[0]


@pytest.mark.parametrize("wild", ["P*", "P?"])
@ensureDeferred
async def test_a_patient_id_with_a_wildcard_is_resolved_first(wild: str) -> None:
    archive = Archive([JANE], {"P1": [study()]})
    find = Find(Level.SERIES, {"00100020": patient_id(wild)})
    assert len([match async for match in PatientRootMatches(find, archive.ask)]) == 1
    assert [one.level for one in archive.asked] == [Level.PATIENT, Level.SERIES]


@ensureDeferred
async def test_a_row_of_another_patient_than_was_asked_for_is_left_out() -> None:
    archive = Archive([], {"P1": [study("1.2"), study("1.3", "P2")]})
    find = Find(Level.STUDY, {"00100020": patient_id("P1")})
    assert [one["0020000D"]["Value"] async for one in PatientRootMatches(find, archive.ask)] == [["1.2"]]


@ensureDeferred
async def test_patients_without_an_id_are_warned_of_once() -> None:
    nobody = row(_00100010="X")
    archive = Archive([nobody, nobody, JANE], {"P1": [study()]}, ("The archive said so.",))
    matches = PatientRootMatches(Find(Level.STUDY, return_keys={"00100010": NAME}), archive.ask)
    assert len([match async for match in matches]) == 1
    assert matches.warnings == ["Patients without a Patient ID could not be searched.", "The archive said so."]


@ensureDeferred
async def test_two_patients_with_one_id_are_not_told_apart() -> None:
    archive = Archive([JANE, row(_00100020="P1", _00100010="Mary")], {})
    with pytest.raises(Conflict, match="several patients with one Patient ID"):
        await PatientRootMatches(Find(Level.STUDY), archive.ask).__anext__()


@pytest.mark.parametrize(("count", "refused"), [(2, False), (3, True)])
@ensureDeferred
async def test_no_more_patients_are_walked_than_the_bound(
    count: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient_root, "MAX_PATIENTS", 2)
    ids = [f"P{number}" for number in range(count)]
    archive = Archive([row(_00100020=one) for one in ids], {one: [study("1.2", one)] for one in ids})
    matches = PatientRootMatches(Find(Level.STUDY), archive.ask)
    if refused:
        with pytest.raises(TooLarge, match="MAX_PATIENTS"):
            await matches.__anext__()
        assert archive.answers[0].closed
    else:
        assert len([match async for match in matches]) == count


@ensureDeferred
async def test_giving_up_closes_the_query_under_way() -> None:
    archive = Archive([], {"P1": [study("1.2"), study("1.3")]})
    matches = PatientRootMatches(Find(Level.STUDY, {"00100020": patient_id("P1")}), archive.ask)
    await matches.__anext__()
    await matches.aclose()
    assert archive.answers[0].closed
