"""Attributes by name: what a name may be, and what a value."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.dicom.dataset.dictionary import VR_BY_TAG, keyword_of
from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.errors import BadRequest, TooLarge
from harmonygw.middleware.dimse_over_http import names
from harmonygw.middleware.dimse_over_http.names import MAX_DEPTH, Identifier, find_tag, snake_case


def identifier(**values: Any) -> dict[str, Any]:
    made = Identifier()
    for name, value in values.items():
        made.add(name, value)
    return made.data_set


@pytest.mark.parametrize(
    ("keyword", "name"),
    [
        ("PatientID", "patient_id"),
        ("StudyInstanceUID", "study_instance_uid"),
        ("SOPInstanceUID", "sop_instance_uid"),
        ("SOPClassesInStudy", "sop_classes_in_study"),
        ("NumberOfStudyRelatedInstances", "number_of_study_related_instances"),
        ("ICCProfile", "icc_profile"),
        ("Rows", "rows"),
    ],
)
def test_a_keyword_in_small_letters_names_the_same_attribute(keyword: str, name: str) -> None:
    assert snake_case(keyword) == name
    assert find_tag(name) == find_tag(keyword) is not None


def test_no_two_keywords_have_one_name() -> None:
    keywords = {keyword_of(tag) for tag in VR_BY_TAG} - {""}
    assert len({snake_case(keyword) for keyword in keywords}) == len(keywords)


@pytest.mark.parametrize("name", ["", "Patient", "patientid", "PATIENT_ID", "0010", "00020010", "00000100", "FFFEE000"])
def test_what_is_no_attribute_of_a_data_set_has_no_tag(name: str) -> None:
    assert find_tag(name) is None


def test_a_tag_is_hexadecimal_in_any_case() -> None:
    assert find_tag("0020000d") == find_tag("0020000D") == 0x0020000D


@pytest.mark.parametrize(
    ("name", "value", "element"),
    [
        ("PatientID", "P1", {"vr": "LO", "Value": ["P1"]}),
        ("patient_name", "Doe^J*", {"vr": "PN", "Value": [{"Alphabetic": "Doe^J*"}]}),
        (
            "PatientName",
            {"Alphabetic": "A", "Phonetic": "C"},
            {"vr": "PN", "Value": [{"Alphabetic": "A", "Phonetic": "C"}]},
        ),
        ("StudyDate", "20250101-", {"vr": "DA", "Value": ["20250101-"]}),
        ("Rows", 512, {"vr": "US", "Value": [512]}),
        ("SliceThickness", 1.5, {"vr": "DS", "Value": ["1.5"]}),
        ("ModalitiesInStudy", ["CT", "MR"], {"vr": "CS", "Value": ["CT", "MR"]}),
        ("StudyInstanceUID", ["1.2", "1.3"], {"vr": "UI", "Value": ["1.2", "1.3"]}),
        ("study_instance_uid", "1.2\\1.3", {"vr": "UI", "Value": ["1.2", "1.3"]}),
        ("00100020", "P1", {"vr": "LO", "Value": ["P1"]}),
        ("PatientID", None, {"vr": "LO"}),
        ("PatientID", "", {"vr": "LO"}),
        ("PatientID", [], {"vr": "LO"}),
        ("PatientID", "*", {"vr": "LO"}),
        ("StudyInstanceUID", "*", {"vr": "UI"}),
        ("00100020", {"vr": "LO", "Value": ["P1"]}, {"vr": "LO", "Value": ["P1"]}),
        ("00100020", {"vr": "LO"}, {"vr": "LO"}),
        ("00100020", {"vr": "LO", "Value": [None, ""]}, {"vr": "LO"}),
        ("00091001", {"vr": "LO", "Value": ["x"]}, {"vr": "LO", "Value": ["x"]}),
        ("00420011", {"vr": "OB", "InlineBinary": "AA=="}, {"vr": "OB", "InlineBinary": "AA=="}),
    ],
)
def test_a_value_becomes_an_attribute(name: str, value: Any, element: Any) -> None:
    [(_, made)] = identifier(**{name: value}).items()
    assert made == element


def test_a_sequence_takes_the_keys_of_its_item() -> None:
    made = identifier(RequestAttributesSequence={"RequestedProcedureID": "R1", "scheduled_procedure_step_id": ""})
    item = {"00401001": {"vr": "SH", "Value": ["R1"]}, "00400009": {"vr": "SH"}}
    assert made == {"00400275": {"vr": "SQ", "Value": [item]}}


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PatientsName", "x", "'PatientsName' is neither.*PatientName"),
        ("patient_nmae", "x", "PatientName"),
        ("StudyDate", "yesterday", "is not a DA"),
        ("Rows", "many", "is not a US"),
        ("Rows", True, "takes text, a number"),
        ("PatientID", {"a": 1}, "takes text, a number"),
        ("PatientName", {"Alphabetic": 1}, "takes text, a number"),
        ("PatientID", [["P1"]], "takes text, a number"),
        ("StudyInstanceUID", "../1", "characters"),
        ("PatientID", "a\x00b", "control character"),
        ("StudyDate", ["20250101", "20250102"], "several values"),
        ("00091001", "x", "in no dictionary"),
        ("PixelData", "x", "cannot be matched"),
        ("RequestAttributesSequence", "x", "takes one object"),
        ("RequestAttributesSequence", [{}, {}], "takes one object"),
        ("00100020", {"vr": 1}, "is not a VR"),
        ("00100020", {"vr": "LO", "Value": "P1"}, "is a list"),
        ("00420011", {"vr": "OB", "BulkDataURI": "http://a/"}, "BulkDataURI"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(name: str, value: Any, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        identifier(**{name: value})


def test_an_attribute_is_given_once() -> None:
    with pytest.raises(BadRequest, match="'00100020' is given twice"):
        identifier(patient_id="P1", **{"00100020": {"vr": "LO"}})


def nested(depth: int) -> Any:
    value: Any = {"PatientID": "x"}
    for _ in range(depth):
        value = {"RequestAttributesSequence": value}
    return value["RequestAttributesSequence"]


def test_sequences_are_as_deep_as_the_limit_and_no_deeper() -> None:
    identifier(RequestAttributesSequence=nested(MAX_DEPTH))
    with pytest.raises(BadRequest, match="MAX_DEPTH"):
        identifier(RequestAttributesSequence=nested(MAX_DEPTH + 1))


def test_attributes_are_counted_those_of_items_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MAX_ATTRIBUTES", 3)
    identifier(PatientID="x", RequestAttributesSequence={"RequestedProcedureID": "x"})
    with pytest.raises(TooLarge, match="MAX_ATTRIBUTES"):
        identifier(PatientID="x", RequestAttributesSequence={"RequestedProcedureID": "x", "PatientID": "x"})


@pytest.mark.parametrize(
    ("value", "names_it"), [("", True), (None, True), ({"vr": "LO"}, True), ("P1", False), ("*", False)]
)
def test_what_is_only_to_be_returned_is_told_apart(value: Any, names_it: bool) -> None:
    made = Identifier()
    made.add("PatientID", value)
    assert made.names_returned is names_it


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["vr", "Value", "PatientID", "Alphabetic", "00400275"]) | st.text(), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(["PatientID", "PatientName", "Rows", "00400275", "StudyDate", "00091001", "PixelData"]), JSON)
def test_whatever_json_holds_is_an_identifier_or_refused(name: str, value: Any) -> None:
    made = Identifier()
    try:
        made.add(name, value)
        from_json(made.data_set)
    except BadRequest:
        pass
