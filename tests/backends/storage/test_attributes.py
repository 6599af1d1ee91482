from typing import Any

import pytest

from harmonygw.backends.storage.attributes import (
    IMAGE,
    PATIENT,
    SERIES,
    STUDY,
    SUPPORTED,
    SYNTHESISED,
    answer,
    down_to,
    merged,
    number_of,
    tag_of,
    text_of,
)
from harmonygw.operations import Level

NUMBER = tag_of("InstanceNumber")


def test_a_word_that_is_no_keyword_has_no_tag() -> None:
    with pytest.raises(ValueError, match="PatientIdent is no keyword"):
        tag_of("PatientIdent")


def test_no_attribute_belongs_to_two_levels() -> None:
    tables = [PATIENT, STUDY, SERIES, IMAGE, *SYNTHESISED.values()]

    assert sum(map(len, tables)) == len(frozenset().union(*tables))


def test_a_level_supports_the_keys_of_the_levels_above() -> None:
    assert down_to(Level.SERIES) == (Level.PATIENT, Level.STUDY, Level.SERIES)
    assert SUPPORTED[Level.PATIENT] < SUPPORTED[Level.STUDY] < SUPPORTED[Level.SERIES] < SUPPORTED[Level.IMAGE]


@pytest.mark.parametrize(
    ("element", "text"),
    [
        (None, ""),
        ({"vr": "LO"}, ""),
        ({"vr": "LO", "Value": []}, ""),
        ({"vr": "LO", "Value": [None, "b"]}, ""),
        ({"vr": "LO", "Value": ["a", "b"]}, "a"),
        ({"vr": "IS", "Value": [7]}, "7"),
        ({"vr": "PN", "Value": [{"Alphabetic": "A", "Ideographic": "B"}]}, "A"),
        ({"vr": "PN", "Value": [{"Ideographic": "B"}]}, "B"),
        ({"vr": "SQ", "Value": [{}]}, ""),
    ],
)
def test_the_first_value_of_an_attribute_as_text(element: dict[str, Any] | None, text: str) -> None:
    assert text_of({} if element is None else {NUMBER: element}, NUMBER) == text


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7),
        ("12", 12),
        ("1.0", 1),
        ("x", 99),
        (None, 99),
        ("1e400", 99),
        ("nan", 99),
        (-5, -5),
        (100, 99),
        (-100, 99),
    ],
)
def test_a_number_that_is_none_or_too_large_is_the_default(value: Any, number: int) -> None:
    assert number_of({NUMBER: {"vr": "IS", "Value": [value]}}, NUMBER, 99) == number


def test_a_newer_value_wins_unless_it_is_empty() -> None:
    old = {"00100010": {"vr": "PN", "Value": ["old"]}, "00100040": {"vr": "CS", "Value": ["F"]}}
    new = {"00100010": {"vr": "PN", "Value": ["new"]}, "00100040": {"vr": "CS"}, "00101010": {"vr": "AS"}}

    assert merged(old, new) == {**old, "00100010": {"vr": "PN", "Value": ["new"]}, "00101010": {"vr": "AS"}}


def test_an_answer_leaves_out_what_belongs_to_the_exchange() -> None:
    asked = {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "00080054": {"vr": "AE"}, "00080050": {"vr": "SH"}}

    assert answer(asked, {"00080054": {"vr": "AE", "Value": ["X"]}}) == {"00080050": {"vr": "SH"}}


def test_a_key_without_a_vr_gets_unknown() -> None:
    assert answer({"00080050": {}}, {}) == {"00080050": {"vr": "UN"}}
