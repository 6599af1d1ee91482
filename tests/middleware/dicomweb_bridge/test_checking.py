from typing import Any

import pytest

from harmonygw.dicom.web.attributes import Level
from harmonygw.middleware.dicomweb_bridge.checking import Check, first, identity, lacks, take_apart, text, united
from tests.middleware.dicomweb_bridge.archive import element, elements


def keys(**values: Any) -> dict[str, Any]:
    return elements(**values)


def parts(given: dict[str, Any], *, empty_values: bool = False, every_value: bool = False) -> Any:
    return take_apart(given, empty_values=empty_values, every_value=every_value)


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), ([], None), (["", None, "x"], "x"), ([0], 0), ([{}], {}), (["a", "b"], "a")]
)
def test_the_first_value_is_the_first_that_is_not_empty(value: Any, expected: Any) -> None:
    row = {"00100020": {"vr": "LO"} if value is None else {"vr": "LO", "Value": value}}
    assert first(row, "00100020") == expected
    assert lacks(row, "00100020") is (expected is None)
    assert text(row, "00100020") == ("" if expected is None else str(expected))
    assert first({}, "00100020") is None


def test_matches_are_told_apart_by_their_unique_keys_and_their_patient() -> None:
    row = elements(StudyInstanceUID="1", SeriesInstanceUID="1.1", PatientID="P", IssuerOfPatientID="A")
    assert identity(row, Level.STUDY) == "1\nP\nA"
    assert identity(row, Level.SERIES) == "1\n1.1\nP\nA"
    assert identity(elements(SOPInstanceUID="1.1.1"), Level.IMAGE) == "\n\n1.1.1\n\n"


def test_keys_that_mean_what_they_say_are_asked_as_they_are() -> None:
    given = keys(Modality="CT", PatientName="D*", StudyInstanceUID=["1", "2"], ModalitiesInStudy=["CT", "MR"])
    taken = parts(given)
    assert taken.asked == given
    assert taken.check.checkable == ("00080060", "0020000D", "00080061")
    assert taken.check.fits(elements(Modality="CT", PatientName="X", StudyInstanceUID="2", ModalitiesInStudy="MR"))
    assert not taken.check.fits(elements(StudyInstanceUID="3"))
    assert taken.check.unknown(elements(Modality="CT", StudyInstanceUID="1")) == ["00080061"]
    assert taken.unperformed == set()


def test_text_alone_cannot_be_checked() -> None:
    check = parts(keys(PatientName="D*", PatientID="1")).check
    assert not check.selective
    assert check.fits(elements(PatientName="X", PatientID="2"))


def test_every_value_is_checked_where_that_can_be_done() -> None:
    taken = parts(keys(ModalitiesInStudy=["CT", "PT"], StudyInstanceUID=["1", "2"]), every_value=True)
    assert taken.asked == keys(ModalitiesInStudy=["CT"], StudyInstanceUID=["1", "2"])
    assert taken.check.fits(elements(ModalitiesInStudy=["PT", "SR", "CT"], StudyInstanceUID="2"))
    assert not taken.check.fits(elements(ModalitiesInStudy=["CT", "SR"]))
    assert not taken.check.fits(elements(ModalitiesInStudy=["PT"]))
    assert taken.unperformed == set()
    assert parts(keys(OtherPatientNames=["A", "B"]), every_value=True).unperformed == {"multiplevaluematching"}


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "StudyDate"])
def test_an_empty_value_is_not_asked_for_but_checked(keyword: str) -> None:
    given = keys(**{keyword: '""'})
    (tag,) = given
    taken = parts(given, empty_values=True)
    assert (taken.asked, taken.check.empty, taken.check.selective) == ({}, (tag,), True)
    assert taken.check.fits({tag: {"vr": "LO"}})
    assert taken.check.fits({tag: {"vr": "LO", "Value": [""]}})
    assert not taken.check.fits({tag: {"vr": "LO", "Value": ["x"]}})
    assert (taken.check.unknown({tag: {"vr": "LO"}}), taken.check.unknown({})) == ([], [tag])
    assert parts(given).asked == given


@pytest.mark.parametrize(
    ("inner", "empty_values", "every_value", "unperformed"),
    [
        (element("RequestedProcedureID", '""'), True, False, {"emptyvaluematching"}),
        (element("RequestedProcedureID", '""'), False, True, set()),
        (element("RequestedProcedureID", ["1", "2"]), True, True, {"multiplevaluematching"}),
        (element("RequestedProcedureID", ["1", "2"]), True, False, set()),
        (element("StudyInstanceUID", ["1", "2"]), True, True, set()),
        (element("RequestedProcedureID", None), True, True, set()),
        ({"vr": "SQ"}, True, True, set()),
    ],
)
@pytest.mark.parametrize("depth", [1, 2])
def test_within_a_sequence_all_is_left_to_the_archive(
    inner: dict[str, Any], empty_values: bool, every_value: bool, unperformed: set[str], depth: int
) -> None:
    for _ in range(depth):
        inner = {"vr": "SQ", "Value": [{"00400275": inner}]}
    taken = parts({"00400275": inner}, empty_values=empty_values, every_value=every_value)
    assert taken.asked == {"00400275": inner}
    assert taken.unperformed == unperformed


def test_united_checks_are_all_of_them() -> None:
    both = united((parts(keys(Modality="CT")).check, parts(keys(PatientSex='""'), empty_values=True).check))
    assert both.fits(elements(Modality="CT"))
    assert not both.fits(elements(Modality="MR"))
    assert not both.fits(elements(Modality="CT", PatientSex="F"))
    assert both.unknown({}) == ["00080060", "00100040"]
    assert united(()) == Check()
