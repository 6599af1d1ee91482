import pytest

from harmonygw.dicom.dataset.patient import Patient

DEFAULT = ("ISO_IR 6",)


def leading(patient_id: bytes, character_set: str = "", issuer: bytes = b"") -> dict[str, str]:
    """Leading attributes as a header scan leaves them: Latin-1, whatever the character set."""
    values = {"PatientID": patient_id, "SpecificCharacterSet": character_set.encode(), "IssuerOfPatientID": issuer}
    return {keyword: value.decode("latin-1") for keyword, value in values.items() if value}


@pytest.mark.parametrize(
    ("character_set", "encoded", "text"),
    [
        ("", b"P1", "P1"),
        ("ISO_IR 100", "Müller-1".encode("latin-1"), "Müller-1"),
        ("ISO_IR 192", "Müller-1".encode(), "Müller-1"),
        ("ISO_IR 192", "Mu\u0308ller-1".encode(), "Müller-1"),
        ("ISO_IR 144", "Люкc".encode("iso8859_5"), "Люкc"),
        ("GB18030", "王小东".encode("gb18030"), "王小东"),
        ("\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B", "山田"),
    ],
)
def test_a_patient_id_is_compared_as_text_whatever_it_is_encoded_in(
    character_set: str, encoded: bytes, text: str
) -> None:
    row = Patient.of_row({"00100020": {"vr": "LO", "Value": [text]}})
    assert Patient.of_instance(leading(encoded, character_set), DEFAULT) == row
    assert row.difference(Patient.of_instance(leading(encoded, character_set), DEFAULT)) == ""


def test_an_object_without_character_set_is_read_by_the_default() -> None:
    assert Patient.of_instance(leading(b"M\xfcller"), ("ISO_IR 100",)).patient_id == "Müller"
    assert Patient.of_instance(leading(b"M\xfcller"), DEFAULT).patient_id == "M\ufffdller"


def test_padding_does_not_count_and_letter_case_does() -> None:
    expected = Patient.of_row({"00100020": {"vr": "LO", "Value": ["P1"]}})
    assert expected.difference(Patient.of_instance(leading(b" P1 \0"), DEFAULT)) == ""
    assert expected.difference(Patient.of_instance(leading(b"p1"), DEFAULT)) == "another patient"


def test_several_values_are_one_identity() -> None:
    row = Patient.of_row({"00100020": {"vr": "LO", "Value": ["A", "B"]}})
    assert row == Patient.of_instance(leading(b"A \\B"), DEFAULT)


@pytest.mark.parametrize(
    ("expected", "came", "difference"),
    [
        (Patient("P1"), Patient(), "it has no PatientID"),
        (Patient("P1"), Patient("P2"), "another patient"),
        (Patient(""), Patient("P2"), "another patient"),
        (Patient("P1", "A"), Patient("P1", "B"), "another issuer of the PatientID"),
        (Patient("P1", "A"), Patient("P1"), ""),
        (Patient("P1"), Patient("P1", "B"), ""),
        (Patient("P1", "A"), Patient("P1", "A"), ""),
    ],
)
def test_what_makes_another_patient(expected: Patient, came: Patient, difference: str) -> None:
    assert expected.difference(came) == difference


def test_a_row_without_patient_is_nobody() -> None:
    assert Patient.of_row({"00100020": {"vr": "LO"}}) == Patient()
