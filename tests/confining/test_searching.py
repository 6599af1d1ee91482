"""Find: what is shown to whom, whatever the archive matches, says and leaves out."""

from typing import Any

import pytest

from harmonygw.errors import Denied, NotAcceptable
from harmonygw.operations import Find, Level
from tests.confining.archive import (
    STUDIES,
    Keeper,
    confined,
    elements,
    hospital,
    image,
    keys,
    result_of,
    rows_of,
    series,
    study,
    tag,
)

# What is known of a study


def test_the_archive_is_asked_for_what_complies_and_is_asked_once() -> None:
    archive = hospital()
    somebody = confined(archive, IssuerOfPatientID="west")
    (row,) = somebody.rows(STUDIES)
    assert archive.log == ["STUDY IssuerOfPatientID=west"]
    assert row[tag("StudyInstanceUID")]["Value"] == ["2"]
    assert tag("IssuerOfPatientID") not in row, "what was asked for to check only"


def test_who_asks_for_the_attribute_gets_it() -> None:
    somebody = confined(hospital(), IssuerOfPatientID="west")
    (row,) = somebody.rows(Find(Level.STUDY, {}, elements(StudyInstanceUID=None, IssuerOfPatientID=None)))
    assert row[tag("IssuerOfPatientID")]["Value"] == ["west"]


def test_an_archive_that_ignores_the_key_is_checked() -> None:
    assert confined(hospital(ignores=["IssuerOfPatientID"]), IssuerOfPatientID="west").uids(STUDIES) == ["2"]


@pytest.mark.parametrize("values", [["east", "west"], [" west ", "EAST", "east"]])
def test_several_values_are_asked_for_and_checked(values: list[str]) -> None:
    archive = hospital()
    assert confined(archive, IssuerOfPatientID=values).uids(STUDIES) == ["1", "2"]
    assert archive.log == ["STUDY"]


def test_what_an_archive_leaves_out_is_hidden() -> None:
    somebody = confined(
        hospital(ignores=["IssuerOfPatientID"], leaves_out=["IssuerOfPatientID"]), IssuerOfPatientID="west"
    )
    assert somebody.rows(STUDIES) == []


@pytest.mark.parametrize("value", ["WEST", "west2", "wes", ["west", "east"], "west\\east", ""])
def test_only_the_one_value_as_it_stands_complies(value: Any) -> None:
    archive = Keeper(study("1", IssuerOfPatientID=value), ignores=["IssuerOfPatientID"])
    assert confined(archive, IssuerOfPatientID="west").rows(STUDIES) == []


def test_a_wildcard_is_a_character() -> None:
    archive = hospital()
    assert confined(archive, IssuerOfPatientID="*").rows(STUDIES) == []


def test_a_name_is_compared_with_all_its_groups_and_cases() -> None:
    archive = Keeper(
        study("1", ReferringPhysicianName="Smith^John"),
        study("2", ReferringPhysicianName="smith^john"),
        study("3", ReferringPhysicianName="Smith^John^^^"),
    )
    archive.studies[0].attributes[tag("ReferringPhysicianName")]["Value"][0]["Phonetic"] = ""
    assert confined(archive, ReferringPhysicianName="Smith^John=").uids(STUDIES) == ["1"]


@pytest.mark.parametrize("patient", ["A", "B", "*"])
def test_a_clients_own_key_widens_nothing(patient: str) -> None:
    archive = hospital(ignores=["PatientID"])
    found = confined(archive, PatientID="B").uids(Find(Level.STUDY, keys(PatientID=patient), STUDIES.return_keys))
    assert found == ["2"]
    assert archive.log == [f"STUDY PatientID={patient}"]


def test_a_contradicting_key_finds_nothing() -> None:
    assert confined(hospital(), PatientID="B").rows(Find(Level.STUDY, keys(PatientID="A"))) == []


def test_a_key_without_value_is_replaced_by_what_complies() -> None:
    archive = hospital()
    assert confined(archive, PatientID="B").rows(Find(Level.STUDY, elements(PatientID=None)))
    assert archive.log == ["STUDY PatientID=B"]


def test_all_restrictions_hold_together() -> None:
    somebody = confined(hospital(), IssuerOfPatientID=["east", "west"])
    somebody.restrictions += confined(hospital(), IssuerOfPatientID=["west", "north"]).restrictions
    assert somebody.uids(STUDIES) == ["2"]
    somebody.restrictions += confined(hospital(), IssuerOfPatientID=["east"]).restrictions
    assert somebody.uids(STUDIES) == []
    somebody.restrictions = confined(hospital(), IssuerOfPatientID=[]).restrictions
    assert somebody.uids(STUDIES) == []


def test_a_limit_does_not_make_a_page_empty() -> None:
    archive = hospital(ignores=["IssuerOfPatientID"])
    assert confined(archive, IssuerOfPatientID="west").uids(Find(Level.STUDY, {}, STUDIES.return_keys, limit=1)) == [
        "2"
    ]
    assert archive.asked[0].limit is None


def test_patients_are_not_counted() -> None:
    archive = hospital()
    archive.studies[1].attributes.update(elements(NumberOfPatientRelatedStudies=7))
    archive.adds = ["NumberOfPatientRelatedStudies"]
    archive.studies = archive.studies[1:2]
    (row,) = confined(archive, PatientID="B").rows(STUDIES)
    assert tag("NumberOfPatientRelatedStudies") not in row
    with pytest.raises(Denied):
        confined(archive, PatientID="B").rows(Find(Level.STUDY, keys(NumberOfPatientRelatedStudies=2)))


def test_a_study_that_was_not_asked_for_is_not_shown() -> None:
    archive = hospital(ignores=["StudyInstanceUID"])
    assert confined(archive, IssuerOfPatientID=["east", "west"]).uids(
        Find(Level.STUDY, keys(StudyInstanceUID="2"))
    ) == ["2"]


@pytest.mark.parametrize("find", [Find(Level.PATIENT), Find(Level.IMAGE, relational=True)])
def test_neither_patients_nor_what_is_relational_can_be_asked(find: Find) -> None:
    archive = hospital(relational=True)
    with pytest.raises(NotAcceptable):
        confined(archive, PatientID="B").reply(find)
    assert archive.asked == []


# Below a study


@pytest.mark.parametrize("uid", ["1", "2", "3", "9"])
@pytest.mark.parametrize("echoes", [True, False])
def test_series_and_instances_are_shown_with_their_study(uid: str, echoes: bool) -> None:
    archive = hospital(echoes_upper_keys=echoes)
    somebody = confined(archive, IssuerOfPatientID="west")
    found = somebody.uids(Find(Level.SERIES, keys(StudyInstanceUID=uid)), "SeriesInstanceUID")
    assert found == (["2.1"] if uid == "2" else [])
    below = Find(Level.IMAGE, keys(StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1"))
    assert somebody.uids(below, "SOPInstanceUID") == (["2.1.1"] if uid == "2" else [])
    shown = [f"STUDY StudyInstanceUID={uid}", f"SERIES StudyInstanceUID={uid}"]
    shown.append(f"IMAGE SeriesInstanceUID={uid}.1 StudyInstanceUID={uid}")
    assert archive.log == (shown if uid == "2" else shown[:1] * 2), "asked once in a while, and for what is shown only"


def test_a_study_of_two_patients_is_hidden_where_it_is_not_told_whose_it_is() -> None:
    archive = hospital()
    archive.studies.append(study("2", series("2.2", image("2.2.1")), PatientID="X"))
    somebody = confined(archive, PatientID="B")
    assert somebody.rows(Find(Level.SERIES, keys(StudyInstanceUID="2"))) == []
    assert somebody.uids(STUDIES) == ["2"], "each match by itself"


@pytest.mark.parametrize(
    "find",
    [
        Find(Level.SERIES),
        Find(Level.SERIES, elements(SeriesInstanceUID="2.1")),
        Find(Level.IMAGE, elements(StudyInstanceUID="2")),
        Find(Level.IMAGE, elements(StudyInstanceUID=None, SeriesInstanceUID="2.1")),
    ],
)
def test_the_unique_keys_above_have_to_be_named(find: Find) -> None:
    with pytest.raises(NotAcceptable):
        confined(hospital(), PatientID="B").reply(find)


def test_series_of_another_study_or_patient_are_not_shown() -> None:
    archive = hospital(ignores=["StudyInstanceUID", "SeriesInstanceUID"])
    somebody = confined(archive, PatientID="B")
    assert somebody.uids(Find(Level.SERIES, keys(StudyInstanceUID="2")), "SeriesInstanceUID") == ["2.1"]
    below = Find(Level.IMAGE, keys(StudyInstanceUID="2", SeriesInstanceUID="2.1"))
    assert somebody.uids(below, "SOPInstanceUID") == ["2.1.1"]
    archive.studies[1].children[0].attributes.update(elements(PatientID="A"))
    archive.adds = ["PatientID"]
    assert somebody.rows(Find(Level.SERIES, keys(StudyInstanceUID="2"))) == []


def test_another_series_than_was_asked_for_is_not_shown() -> None:
    archive = Keeper(
        study("2", series("2.1", image("2.1.1")), series("2.2", image("2.2.1"))), ignores=["SeriesInstanceUID"]
    )
    below = Find(Level.IMAGE, keys(StudyInstanceUID="2", SeriesInstanceUID="2.1"))
    assert confined(archive, PatientID="P2").uids(below, "SOPInstanceUID") == ["2.1.1"]


# What the archive says besides, and what is given up


def test_warnings_are_those_of_the_archive() -> None:
    archive = hospital(warnings=["not all keys"])
    reply = confined(archive, PatientID="B").reply(STUDIES)
    assert reply.result.warnings == []
    rows_of(reply)
    assert reply.result.warnings == ["not all keys"]
    nothing = confined(archive, PatientID="B").reply(Find(Level.SERIES, keys(StudyInstanceUID="1")))
    assert (rows_of(nothing), nothing.result.warnings) == ([], [])


def test_what_is_given_up_is_given_up_at_the_archive() -> None:
    archive = hospital()
    for read in (False, True):
        reply = confined(archive, IssuerOfPatientID=["east", "west"]).reply(STUDIES)
        if read:
            result_of(anext(aiter(reply.result)))
        result_of(reply.result.aclose())
        assert not archive.answers[-1].open
    nothing = confined(archive, PatientID="B").reply(Find(Level.SERIES, keys(StudyInstanceUID="1")))
    result_of(nothing.result.aclose())
