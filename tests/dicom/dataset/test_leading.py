"""Leading attributes of what is text already: the same as those that a scan of the encoded object finds."""

from typing import Any

import pytest

from harmonygw.dicom.dataset.header_scan import HeaderScan
from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dataset.leading import leading_of_model, leading_of_text
from harmonygw.dicom.dataset.patient import Patient

EXPLICIT = "1.2.840.10008.1.2.1"
NAME = {"Alphabetic": "Kim^Minsu", "Ideographic": "金^珉秀", "Phonetic": "김^민수"}
MODEL: dict[str, Any] = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
    "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
    "00080018": {"vr": "UI", "Value": ["1.2.3"]},
    "00080050": {"vr": "SH"},
    "00100010": {"vr": "PN", "Value": [NAME]},
    "00100020": {"vr": "LO", "Value": ["Łódź-1"]},
    "00100021": {"vr": "LO", "Value": ["Krankenhaus Süd"]},
    "0020000D": {"vr": "UI", "Value": ["1.2"]},
    "0020000E": {"vr": "UI", "Value": ["1.2.1"]},
    "00200013": {"vr": "IS", "Value": [1]},
}


def test_they_are_those_of_the_object_that_is_written() -> None:
    scan = HeaderScan(EXPLICIT)
    scan.feed(from_json(MODEL, EXPLICIT))
    scan.end()
    assert leading_of_model(MODEL) == {one: value for one, value in scan.values.items() if value}
    assert leading_of_model(MODEL)["SpecificCharacterSet"] == "ISO_IR 192"


def test_whose_it_is_can_be_compared_whatever_its_letters() -> None:
    row = Patient.of_row(MODEL)
    assert Patient.of_instance(leading_of_model(MODEL), ("ISO_IR 6",)) == row == Patient("Łódź-1", "Krankenhaus Süd")
    assert Patient.of_instance(leading_of_text({"PatientID": "Łódź-1"}), ("ISO_IR 6",)) == Patient("Łódź-1")


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        (None, None),
        ("P1", None),
        ({"Value": "P1"}, None),
        ({"Value": [True]}, None),
        ({"Value": [4711]}, "4711"),
        ({"Value": [{"Alphabetic": 1, "Ideographic": "x"}]}, "=x"),
        ({"Value": ["A", None]}, "A\\"),
        ({"Value": [" P1 \0"]}, "P1"),
        ({"Value": ["\ud800"]}, "?"),
    ],
)
def test_what_does_not_keep_to_the_model_is_not_there(attribute: Any, expected: str | None) -> None:
    assert leading_of_model({"00100020": attribute}).get("PatientID") == expected
