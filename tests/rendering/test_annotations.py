from typing import Any

import numpy as np
import pytest

from harmonygw.rendering.annotations import LONGEST_LINE, annotate, line, unknown
from harmonygw.rendering.frame_attributes import FrameAttributes, read_attributes
from tests.rendering.images import EXPLICIT, attributes_of, data_set, encoded

DEFAULT = ("ISO_IR 6",)


def said(keyword: str, default: tuple[str, ...] = DEFAULT, frame: int = 1, **attributes: Any) -> str:
    return line(keyword, attributes_of(**attributes), frame=frame, default_character_set=default)


def test_the_patient_is_named() -> None:
    patient = {"PatientName": "Doe^Jane^^Dr", "PatientID": "123 ", "PatientBirthDate": "19700102"}
    assert said("patient", **patient) == "Doe Jane Dr, ID 123, born 19700102"
    assert said("patient") == ""


def test_the_technique_is_described() -> None:
    technique = {"Modality": "CT", "StudyDate": "20200102", "SeriesNumber": "4", "InstanceNumber": "17"}
    assert said("technique", frame=3, **technique) == "CT, 20200102, series 4, image 17, frame 3"
    assert said("technique") == "frame 1"


@pytest.mark.parametrize(
    ("name", "terms", "expected"),
    [
        ("Müller^Jörg", "ISO_IR 100", "Muller Jorg"),
        ("Yamada^Tarou=山田^太郎", "ISO_IR 192", "Yamada Tarou"),
        ("Люкceмбypг", "ISO_IR 144", "???ce??yp?"),
    ],
)
def test_text_is_decoded_and_then_in_ascii(name: str, terms: str, expected: str) -> None:
    assert said("patient", SpecificCharacterSet=terms, PatientName=name) == expected


def test_the_default_character_set_is_for_data_sets_without_one() -> None:
    raw = encoded(data_set(PatientID="x")).replace(b"x", b"\xfc")
    attributes = FrameAttributes(read_attributes(raw, EXPLICIT), 1, transfer_syntax_uid=EXPLICIT)
    assert line("patient", attributes, frame=1, default_character_set=("ISO_IR 100",)) == "ID u"
    assert line("patient", attributes, frame=1, default_character_set=DEFAULT) == "ID ?"


def test_a_line_has_longest_line_characters() -> None:
    assert said("patient", PatientID="1" * 64, PatientName="N" * 64) == "N" * 64 + ", ID " + "1" * (LONGEST_LINE - 69)


def test_an_element_that_cannot_be_read_is_not_shown() -> None:
    # A value of length zero and of no VR.
    raw = encoded(data_set(PatientID="", Modality="CT")).replace(b"LO\x00\x00", b"??\x00\x00")
    attributes = FrameAttributes(read_attributes(raw, EXPLICIT), 1, transfer_syntax_uid=EXPLICIT)
    assert line("patient", attributes, frame=1, default_character_set=DEFAULT) == ""


def test_control_characters_are_not_drawn() -> None:
    assert said("patient", PatientID="a\x1b[2Jb") == "ID a?[2Jb"


def test_unknown_keywords_are_told() -> None:
    assert unknown(["patient", "technique"]) == []
    assert unknown(["patient", "dose", "Patient"]) == ["dose", "Patient"]


@pytest.mark.parametrize("shape", [(200, 200), (200, 200, 3)])
def test_the_patient_is_at_the_top_and_the_technique_at_the_bottom(shape: tuple[int, ...]) -> None:
    plain = np.full(shape, 90, np.uint8)
    attributes = attributes_of(PatientID="1", Modality="CT")

    def rows(*annotation: str) -> list[int]:
        drawn = annotate(plain, annotation, attributes, frame=1, default_character_set=DEFAULT)
        assert drawn.shape == shape
        assert drawn.dtype == np.uint8
        changed: list[int] = np.flatnonzero((drawn != 90).reshape(200, -1).any(axis=1)).tolist()
        return changed

    assert min(rows("patient")) >= 0
    assert max(rows("patient")) < 30
    assert min(rows("technique")) > 170
    assert rows() == rows("dose") == []
    assert set(rows("patient", "technique")) == {*rows("patient"), *rows("technique")}


def test_text_is_white_with_a_black_outline() -> None:
    plain = np.full((100, 100), 90, np.uint8)
    drawn = annotate(plain, ["patient"], attributes_of(PatientID="1"), frame=1, default_character_set=DEFAULT)
    assert drawn.max() > 200
    assert drawn.min() == 0


def test_a_tiny_picture_can_be_annotated() -> None:
    drawn = annotate(
        np.zeros((2, 3), np.uint8), ["patient"], attributes_of(PatientID="1"), frame=1, default_character_set=DEFAULT
    )
    assert drawn.shape == (2, 3)
