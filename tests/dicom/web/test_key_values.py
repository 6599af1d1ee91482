from typing import Any

import pytest

from harmonygw.dicom.dataset.dictionary import resolve_vr, tag_of, vr_of
from harmonygw.dicom.web.key_values import MAX_TEXT_LENGTH, key_values
from harmonygw.errors import BadRequest


def values(name: str, *texts: str, several: bool = False, empty_allowed: bool = False) -> list[Any]:
    """The values of the key of that keyword."""
    tag = tag_of(name)
    assert tag is not None
    return key_values(name, resolve_vr(vr_of(tag)), texts, several=several, empty_allowed=empty_allowed)


# Lists (PS3.4 §C.2.2.2.2, §C.2.2.2.8)


def test_a_value_is_taken_once() -> None:
    assert values("StudyInstanceUID", "1.2,1.3", "1.2") == ["1.2", "1.3"]
    assert values("PatientID", "P1", "P1") == ["P1"]


def test_several_values_are_for_keys_that_can_have_them() -> None:
    assert values("StudyInstanceUID", "1.2\\1.3") == ["1.2", "1.3"]
    assert values("ImageType", "ORIGINAL\\PRIMARY", several=True) == ["ORIGINAL", "PRIMARY"]
    assert values("OtherPatientNames", "A", "B", several=True) == [{"Alphabetic": "A"}, {"Alphabetic": "B"}]
    for name, text, several in (("ImageType", "A\\B", False), ("PixelSpacing", "1\\2", True)):
        with pytest.raises(BadRequest, match=f"{name} has several values; only one"):
            values(name, text, several=several)


def test_several_values_have_neither_wildcards_nor_the_empty_one() -> None:
    with pytest.raises(BadRequest, match=r"ImageType.*wildcards"):
        values("ImageType", "CT,M?", several=True)
    with pytest.raises(BadRequest, match=r"OtherPatientNames.*empty"):
        values("OtherPatientNames", "A", '""', several=True, empty_allowed=True)


def test_a_comma_or_backslash_in_text_is_text() -> None:
    assert values("PatientID", "1,2") == ["1,2"]
    assert values("PatientComments", "a\\b, c") == ["a\\b, c"]


def test_an_empty_value_is_asked_for_with_two_quotes_where_it_is_allowed() -> None:
    assert values("StudyDate", '""', empty_allowed=True) == ['""']
    assert values("PatientName", '""', empty_allowed=True) == [{"Alphabetic": '""'}]
    assert values("PatientID", '""') == ['""']
    for name, allowed in (("StudyDate", False), ("StudyInstanceUID", True), ("Rows", True)):
        with pytest.raises(BadRequest, match=name):
            values(name, '""', empty_allowed=allowed)


def test_asterisks_alone_match_everything() -> None:
    assert values("PatientName", "**") == []
    assert values("PatientName", "*^*") == [{"Alphabetic": "*^*"}]
    assert values("PatientName", "") == []


# Values by VR (PS3.5 §6.2, PS3.4 §C.2.2.2)

LONG = "1" * MAX_TEXT_LENGTH


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("RetrieveAETitle", "A" * 16, "A" * 16),
        ("RetrieveAETitle", "PACS*", "PACS*"),
        ("PatientAge", "045Y", "045Y"),
        ("FrameIncrementPointer", "0018106a", "0018106A"),
        ("Modality", "C?", "C?"),
        ("PatientSex", " M ", "M"),
        ("StudyDate", "20240229", "20240229"),
        ("StudyDate", "20250101-", "20250101-"),
        ("StudyDate", "-20250101", "-20250101"),
        ("StudyDate", "20250101-20251231", "20250101-20251231"),
        ("PatientWeight", "-7.25e1", "-7.25e1"),
        ("AcquisitionDateTime", "2025", "2025"),
        ("AcquisitionDateTime", "20250101120000.000001+0100-2026", "20250101120000.000001+0100-2026"),
        ("AcquisitionDateTime", "-20251231235960-0500", "-20251231235960-0500"),
        ("InstanceNumber", "-2147483648", "-2147483648"),
        ("StudyTime", "09", "09"),
        ("StudyTime", "0930-1015", "0930-1015"),
        ("StudyTime", "235960.123456-", "235960.123456-"),
        ("StudyDescription", "x" * 64, "x" * 64),
        ("StudyDescription", "*" + "é" * 64 + "*", "*" + "é" * 64 + "*"),
        ("AccessionNumber", "x" * 16, "x" * 16),
        ("InstitutionAddress", "x" * 1024, "x" * 1024),
        ("PatientComments", "x" * 10240, "x" * 10240),
        ("StrainDescription", LONG, LONG),
        ("TextValue", LONG, LONG),
        ("CodingSchemeURL", LONG, LONG),
        ("StudyInstanceUID", "1." * 31 + "a2", "1." * 31 + "a2"),
        ("PatientName", "山田　太郎", {"Alphabetic": "山田　太郎"}),
        (
            "PatientName",
            "Yamada^T*=山田^太郎=やまだ",
            {"Alphabetic": "Yamada^T*", "Ideographic": "山田^太郎", "Phonetic": "やまだ"},
        ),
        ("PatientName", "==やまだ", {"Phonetic": "やまだ"}),
        ("Rows", "65535", 65535),
        ("TagAngleSecondAxis", "-32768", -32768),
        ("SimpleFrameList", "4294967295", 4294967295),
        ("ReferencePixelX0", "-2147483648", -(2**31)),
        ("FileLengthInContainer", "18446744073709551615", 2**64 - 1),
        ("SelectorSVValue", "-9223372036854775808", -(2**63)),
        ("DiffusionBValue", "1.5", 1.5),
    ],
)
def test_values_that_their_vr_allows(name: str, text: str, value: Any) -> None:
    assert values(name, text) == [value]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RetrieveAETitle", "A" * 17),
        ("RetrieveAETitle", "PÄCS"),
        ("PatientAge", "45Y"),
        ("PatientAge", "*"),
        ("FrameIncrementPointer", "0018,106A"),
        ("Modality", "ct"),
        ("Modality", "C-T"),
        ("Modality", "C" * 17),
        ("StudyDate", "2025"),
        ("StudyDate", "2025-01-01"),
        ("StudyDate", "20251301"),
        ("StudyDate", "20250229"),
        ("StudyDate", "20250101-20250231"),
        ("StudyDate", "00000101"),
        ("StudyDate", "20250101-20250102-20250103"),
        ("StudyDate", "٢٠٢٥٠١٠١"),
        ("PatientWeight", "1.9.10.0"),
        ("PatientWeight", "1,5"),
        ("PatientWeight", "1" * 17),
        ("AcquisitionDateTime", "20250230120000"),
        ("AcquisitionDateTime", "2025010125"),
        ("AcquisitionDateTime", "2025+1500"),
        ("InstanceNumber", "2147483648"),
        ("InstanceNumber", "1-5"),
        ("InstanceNumber", "0000000000001"),
        ("StudyTime", "9"),
        ("StudyTime", "2400"),
        ("StudyTime", "10:30"),
        ("StudyTime", "1030.5"),
        ("StudyDescription", "x" * 65),
        ("AccessionNumber", "x" * 17),
        ("InstitutionAddress", "x" * 1025),
        ("PatientComments", "x" * 10241),
        ("StrainDescription", LONG + "1"),
        ("StudyInstanceUID", "1" * 65),
        ("StudyInstanceUID", "1.2/3"),
        ("StudyInstanceUID", "1.2,1.2 3"),
        ("PatientName", "a=b=c=d"),
        ("PatientName", "x" * 65),
        ("Rows", "65536"),
        ("Rows", "-1"),
        ("Rows", "5*"),
        ("Rows", "1" * 5000),
        ("DiffusionBValue", "nan"),
        ("DiffusionBValue", "1e999"),
        ("PixelData", "AAAA"),
        ("RequestAttributesSequence", "1"),
    ],
)
def test_values_that_their_vr_does_not_allow_are_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(BadRequest, match=name):
        values(name, text)


@pytest.mark.parametrize("character", ["\x00", "\n", "\x1b", "\x7f", "\x85", chr(0xD800), chr(0xFFFD)])
@pytest.mark.parametrize("name", ["PatientName", "PatientComments", "StudyInstanceUID", "StudyDate", "Rows"])
def test_control_characters_and_what_was_not_utf_8_are_refused(name: str, character: str) -> None:
    with pytest.raises(BadRequest, match=name):
        values(name, f"1{character}2")
