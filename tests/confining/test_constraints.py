"""What has to hold: restrictions taken together, by level, and values compared as they stand."""

from typing import Any

import pytest

from harmonygw.confining.constraints import Constraints, Judgement, comparable, uid_of, value_of
from harmonygw.exchange import Restriction
from tests.confining.archive import element, elements, tag

COMPLIES, LACKS, FAILS = Judgement.COMPLIES, Judgement.LACKS, Judgement.FAILS


def constraints(*restrictions: dict[str, tuple[str, ...]]) -> Constraints:
    return Constraints(
        Restriction({tag(name): values for name, values in one.items()}, f"reason {number}")
        for number, one in enumerate(restrictions)
    )


def test_restrictions_hold_together() -> None:
    found = constraints(
        {"PatientID": ("A", "B")}, {"PatientID": ("B", "C"), "Modality": (" US ",)}, {"Modality": ("US",)}
    )
    assert found.allowed == {tag("PatientID"): {"B"}, tag("Modality"): {"US"}}
    assert found.reasons == "reason 0, reason 1, reason 2"
    assert found
    assert not constraints()
    assert not constraints({})
    assert constraints({"PatientID": ()}), "nothing is allowed"


def test_attributes_are_known_where_their_level_is() -> None:
    names = ("IssuerOfPatientID", "StudyDescription", "InstitutionName", "BurnedInAnnotation")
    found = constraints(dict.fromkeys((*names, "00091001"), ("x",)))
    assert found.study == tuple(map(tag, names[:2]))
    assert found.series == (tag(names[2]),)
    assert found.image == (tag(names[3]), "00091001"), "of a private attribute nobody can know"


def test_two_that_allow_the_same_are_one() -> None:
    assert constraints({"Modality": ("US", "CT")}).key == constraints({"Modality": ("CT", "US", " CT")}).key
    assert constraints({"Modality": ("US",)}).key != constraints({"Modality": ("CT",)}).key


@pytest.mark.parametrize(
    ("row", "judged"),
    [
        (elements(PatientID="A", Modality="US"), COMPLIES),
        (elements(PatientID="A ", Modality="US\0"), COMPLIES),
        (elements(PatientID="A"), LACKS),
        (elements(PatientID="A", Modality=None), LACKS),
        (elements(PatientID="A", Modality=""), LACKS),
        (elements(PatientID="A", Modality=["US", "US"]), LACKS),
        ({**elements(PatientID="A"), tag("Modality"): {"vr": "CS", "Value": "US"}}, LACKS),
        ({**elements(PatientID="A"), tag("Modality"): None}, LACKS),
        (elements(PatientID="A", Modality="CT"), FAILS),
        (elements(PatientID="B"), FAILS),
        (elements(PatientID="a", Modality="US"), FAILS),
    ],
)
def test_a_match_is_judged_by_what_it_says(row: Any, judged: Judgement) -> None:
    one = constraints({"Modality": ("US",), "PatientID": ("A",)})
    assert one.judge(row, one.allowed) is judged
    one = constraints({"PatientID": ("A",), "Modality": ("US",)})
    assert one.judge(row, one.allowed) is judged


def test_nothing_allowed_is_never_met() -> None:
    one = constraints({"PatientID": ()})
    for row in (elements(PatientID=""), elements(PatientID="A"), {}):
        assert one.judge(row, one.allowed) is not COMPLIES
    assert one.fails_as_instance({tag("PatientID"): ""}, one.allowed)
    nobody = constraints({"IssuerOfPatientID": ()})
    assert nobody.judge({}, nobody.allowed) is not COMPLIES


@pytest.mark.parametrize(
    ("value", "vr", "compared"),
    [
        (" a b ", "LO", "a b"),
        ("a\0", "UI", "a"),
        ("Mu\u0308ller", "LO", "M\u00fcller"),
        ("A^B==", "PN", "A^B"),
        ("A==", "LO", "A=="),
    ],
)
def test_a_value_is_compared_without_what_means_nothing(value: str, vr: str, compared: str) -> None:
    assert comparable(value, vr) == compared


def test_a_name_is_all_its_groups() -> None:
    name = {"Alphabetic": "A^B", "Phonetic": "C"}
    assert value_of({tag("PatientName"): {"vr": "PN", "Value": [name]}}, tag("PatientName")) == "A^B==C"
    (key,) = constraints({"ReferringPhysicianName": ("A^B==C",)}).matching((tag("ReferringPhysicianName"),)).values()
    assert key == {"vr": "PN", "Value": [name]}


def test_a_uid_that_is_not_said_is_the_one_that_was_asked_for() -> None:
    name = tag("StudyInstanceUID")
    assert uid_of({name: element(name, "1")}, name, ("2",)) == "1"
    assert uid_of({}, name, ("2",)) == "2"
    assert uid_of({}, name, ("2", "3")) == ""
    assert uid_of({name: {"vr": "UI"}}, name, ("2",)) == "", "an archive that says it has none has none"


def test_what_would_stand_behind_the_pixels_is_not_looked_for() -> None:
    assert Constraints([Restriction({"7FE00010": ("x",), "00100020": ("A",)}, "")]).numbers == {0x00100020}
