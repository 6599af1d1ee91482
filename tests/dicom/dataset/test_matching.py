"""Attribute matching, one kind of PS3.4 §C.2.2.2 after the other."""

import time
from typing import Any

import pytest

from harmonygw.dicom.dataset.matching import Matcher, definite_mismatch, matches, matches_element


def element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def pn(alphabetic: str = "", ideographic: str = "", phonetic: str = "") -> dict[str, str]:
    groups = {"Alphabetic": alphabetic, "Ideographic": ideographic, "Phonetic": phonetic}
    return {name: text for name, text in groups.items() if text}


def match(vr: str, key: Any, value: Any) -> bool:
    return matches_element(element(vr, key), element(vr, value))


# Universal and empty value matching, and what is missing


@pytest.mark.parametrize(
    "key",
    [
        element("LO"),
        element("LO", ""),
        element("LO", None),
        element("LO", "*"),
        element("LO", "A", "*"),
        element("PN", pn("*")),
        element("PN", pn("^^")),
        element("PN", {}),
        element("DA", "*"),
        element("SQ"),
        element("SQ", {}),
        element("SQ", {"00080060": element("CS")}),
        element("OB", "x"),
        {"vr": "UN", "InlineBinary": "QUJD"},
    ],
)
def test_a_key_without_constraint_matches_everything_and_nothing(key: dict[str, Any]) -> None:
    assert matches_element(key, None)
    assert matches_element(key, element("LO"))
    assert matches_element(key, element("LO", "whatever"))


@pytest.mark.parametrize(
    "key",
    [
        element("LO", "A"),
        element("LO", "A*"),
        element("PN", pn("Doe")),
        element("DA", "20240101-"),
        element("SQ", {"00080060": element("CS", "CT")}),
    ],
)
def test_a_key_with_a_constraint_does_not_match_what_is_missing_or_empty(key: dict[str, Any]) -> None:
    assert not matches_element(key, None)
    assert not matches_element(key, element(key["vr"]))
    assert not matches_element(key, element(key["vr"], ""))


@pytest.mark.parametrize(
    "key", [element("LO", '""'), element("PN", pn('""')), element("PN", '""'), element("DA", '""')]
)
def test_two_quotes_match_what_has_no_value(key: dict[str, Any]) -> None:
    assert matches_element(key, None)
    assert matches_element(key, element(key["vr"], ""))
    assert not matches_element(key, element(key["vr"], "20240101"))


def test_two_quotes_beside_a_value_match_both() -> None:
    key = element("CS", '""', "CT")
    assert matches_element(key, None)
    assert matches_element(key, element("CS", "CT"))
    assert not matches_element(key, element("CS", "MR"))


# Single values, lists, wildcards


@pytest.mark.parametrize(
    ("vr", "key", "value", "expected"),
    [
        ("LO", "ABC", "ABC", True),
        ("LO", " ABC", "ABC ", True),
        ("LO", "ABC", "abc", False),
        ("CS", "CT", "CTA", False),
        ("UI", "1.2.3", "1.2.3\0", True),
        ("UI", "1.2.3", "1.2.30", False),
        ("UI", "1.2.*", "1.2.3", False),
        ("UI", "1.2.?", "1.2.3", False),
        ("AS", "01?Y", "010Y", False),
        ("AT", "0020000d", "0020000D", True),
        ("AT", "0020000D", "0020000E", False),
        ("SH", "A.C", "ABC", False),
        ("SH", "A*", "ABC", True),
        ("SH", "*C", "ABC", True),
        ("SH", "A*C", "AC", True),
        ("SH", "A?C", "ABC", True),
        ("SH", "A?C", "AC", False),
        ("SH", "A?", "A\n", True),
        ("SH", "*B*", "ABC", True),
        ("SH", "*B*C*B*", "ABCAB", True),
        ("SH", "*B*C*B*", "ABCA", False),
        ("SH", "*AB", "AAB", True),
        ("SH", "a*", "ABC", False),
        ("SH", "A**C", "AXXC", True),
        ("LO", "[A]*", "[A]B", True),
        ("LO", "[A]*", "AB", False),
        ("UR", "http*", "http://pacs/1", True),
        ("", "A", "A", True),
    ],
)
def test_single_values_and_wildcards(vr: str, key: str, value: str, expected: bool) -> None:
    assert match(vr, key, value) is expected


def test_any_value_of_a_list_may_match_any_value_of_the_attribute() -> None:
    key = element("CS", "CT", "MR")
    assert matches_element(key, element("CS", "SR", "MR"))
    assert not matches_element(key, element("CS", "SR", "US"))
    assert matches_element(element("UI", "1.2", "1.3"), element("UI", "1.3"))


def test_a_pattern_of_many_asterisks_takes_no_time() -> None:
    begin = time.perf_counter()
    assert not match("LT", "*a" * 500 + "b", "a" * 10_000)
    assert time.perf_counter() - begin < 1


# Person names


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (pn("Doe^John"), pn("DOE^JOHN"), True),
        (pn("Doe^John"), pn("Doe^John^^^"), True),
        (pn("Doe^John^"), pn("Doe ^ John"), True),
        (pn("Doe"), pn("Doe^John"), False),
        (pn("Doe*"), pn("Doe^John"), True),
        (pn("D?e^*"), pn("doe^john"), True),
        (pn("Doe^*"), pn("Doe"), True),
        (pn("*^John"), pn("Doe^Jane"), False),
        (pn("山田^太郎"), pn("Yamada^Tarou", "山田^太郎", "やまだ^たろう"), True),
        (pn("yama*"), pn("Yamada^Tarou", "山田^太郎"), True),
        (pn("Yamada*", "鈴木*"), pn("Yamada^Tarou", "山田^太郎"), False),
        (pn("Yamada*", "山田*"), pn("Yamada^Tarou", "山田^太郎"), True),
        (pn("Yamada*", "山田*"), pn("Yamada^Tarou"), True),
        (pn("Yamada*", "山田*"), pn(phonetic="やまだ^たろう"), False),
        ("Doe^John", "doe^john", True),
        ("Yamada^Tarou=山田^太郎", pn("Yamada^Tarou", "山田^太郎"), True),
        (pn("MÜLLER"), pn("Müller"), True),
        (pn("Doe"), {}, False),
    ],
)
def test_person_names(key: Any, value: Any, expected: bool) -> None:
    assert match("PN", key, value) is expected


# Numbers


@pytest.mark.parametrize(
    ("vr", "key", "value", "expected"),
    [
        ("IS", "7", 7, True),
        ("IS", 7, "07", True),
        ("IS", 7, 8, False),
        ("DS", "1.50", 1.5, True),
        ("DS", "1.9.10.0", "1.9.10.0", True),
        ("DS", "1.9.10.0", 1.9, False),
        ("DS", 1.9, "1.9.10.0", False),
        ("DS", "NaN", "NaN", True),
        ("UV", "18446744073709551615", 18446744073709551614, False),
        ("US", "1*", 12, False),
    ],
)
def test_numbers_are_compared_as_numbers_where_both_are(vr: str, key: Any, value: Any, expected: bool) -> None:
    assert match(vr, key, value) is expected


# Dates and times


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("20240115", "20240115", True),
        ("20240115", "20240116", False),
        ("20240101-20240131", "20240101", True),
        ("20240101-20240131", "20240131", True),
        ("20240101-20240131", "20240201", False),
        ("20240101-", "20240101", True),
        ("20240101-", "20231231", False),
        ("-20240101", "20240101", True),
        ("-20240101", "20240102", False),
        ("20240131-20240101", "20240115", False),
        ("19971121", "1997.11.21", True),
        ("1997.11.01-1997.11.30", "19971121", True),
        ("2024", "20240517", True),
        ("20240115", "202401", True),
        ("20240115", "not a date", False),
        ("not a date", "not a date", True),
        ("-", "20240101", False),
        ("2024*", "20240101", False),
    ],
)
def test_dates(key: str, value: str, expected: bool) -> None:
    assert match("DA", key, value) is expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("10", "100000", True),
        ("10", "105959.999999", True),
        ("10", "110000", False),
        ("1030", "10", True),
        ("10:20:30", "102030", True),
        ("102030", "10:20:30", True),
        ("102030", "102030.5", True),
        ("102030.5", "102030.51", True),
        ("102030.5", "102030.6", False),
        ("1000-1100", "105500", True),
        ("1000-1100", "110059", True),
        ("1000-1100", "110100", False),
        ("2300-0100", "2330", False),
        ("-0800", "075959", True),
        ("0800-", "075959", False),
        ("2359", "235960", True),
        ("10.5", "105000", False),
    ],
)
def test_times(key: str, value: str, expected: bool) -> None:
    assert match("TM", key, value) is expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("20240115", "20240115103000", True),
        ("20240115103000-20240115110000", "20240115104500.25", True),
        ("20240115103000-20240115110000", "20240115110001", False),
        ("2020-2024", "20220101", True),
        ("2020-2024", "2019", False),
        ("20240115120000+0200", "20240115100000+0000", True),
        ("20240115120000+0200", "20240115120000+0000", False),
        ("20240115120000+0200", "20240115120000+0200", True),
        ("20240115120000+0200", "20240115120000", True),
        ("20240115120000-0500", "20240115170000+0000", True),
        ("20240115120000-0530", "20240115173000+0000", True),
        ("20240115120000-0500-20240115130000-0500", "20240115173000+0000", True),
        ("20240115120000-0500-20240115130000-0500", "20240115183000+0000", False),
        ("20240115120000-0500-", "20240115165959+0000", False),
        ("-20240115120000-0500", "20240115165959+0000", True),
        ("202402+0000", "20240229235959+0100", True),
        ("00010101+1400", "00010101+0000", True),
        ("20241301+0100", "20241301+0000", True),
    ],
)
def test_date_times(key: str, value: str, expected: bool) -> None:
    assert match("DT", key, value) is expected


# Sequences and data sets

CODE = "00321064"
CODE_VALUE = "00080100"


def test_a_sequence_matches_when_all_of_one_item_matches() -> None:
    key = element("SQ", {CODE_VALUE: element("SH", "A*"), "00080102": element("SH", "L")})
    assert matches_element(
        key,
        element(
            "SQ",
            {CODE_VALUE: element("SH", "B")},
            {CODE_VALUE: element("SH", "A1"), "00080102": element("SH", "L")},
        ),
    )
    assert not matches_element(
        key,
        element(
            "SQ",
            {CODE_VALUE: element("SH", "A1"), "00080102": element("SH", "X")},
            {CODE_VALUE: element("SH", "B"), "00080102": element("SH", "L")},
        ),
    )


CANDIDATE = {
    "00080020": element("DA", "20240115"),
    "00080061": element("CS", "CT", "SR"),
    "00100010": element("PN", pn("Doe^John")),
    "00100020": element("LO", "42"),
    "0020000D": element("UI", "1.2.3"),
}


def test_every_key_must_match() -> None:
    keys = {"00100020": element("LO", "4*"), "00080061": element("CS", "SR"), "00081030": element("LO")}
    assert matches(keys, CANDIDATE)
    assert not matches({**keys, "00080020": element("DA", "2023")}, CANDIDATE)
    assert matches({}, CANDIDATE)


def test_level_and_character_set_are_no_keys() -> None:
    identifier = {
        "00080005": element("CS", "ISO_IR 192"),
        "00080052": element("CS", "STUDY"),
        "00080053": element("CS", "CLASSIC"),
        "00080201": element("SH", "+0100"),
    }
    assert matches(identifier, CANDIDATE)
    assert definite_mismatch(identifier, {**CANDIDATE, "00080052": element("CS", "SERIES")}) == ()


def test_a_definite_mismatch_is_one_of_a_uid_a_code_or_a_date() -> None:
    keys = {
        "00080020": element("DA", "20230101-20231231"),
        "00080061": element("CS", "MR"),
        "00100010": element("PN", pn("Roe")),
        "00100020": element("LO", "43"),
        "0020000D": element("UI", "1.2.4"),
    }
    assert definite_mismatch(keys, CANDIDATE) == ("00080020", "00080061", "0020000D")


def test_what_the_candidate_lacks_is_no_mismatch() -> None:
    keys = {"00080020": element("DA", "2023"), "00080061": element("CS", "MR"), "0020000D": element("UI", "1.2.4")}
    assert definite_mismatch(keys, {}) == ()
    assert definite_mismatch(keys, {tag: element(key["vr"]) for tag, key in keys.items()}) == ()


def test_what_is_no_date_is_no_definite_mismatch() -> None:
    assert definite_mismatch({"00080020": element("DA", "2023")}, {"00080020": element("DA", "unknown")}) == ()
    assert definite_mismatch({"00080020": element("DA", "last week")}, CANDIDATE) == ()


def test_what_matches_is_no_mismatch() -> None:
    keys = {
        "00080020": element("DA", "202401"),
        "00080061": element("CS", "C?"),
        "0020000D": element("UI", "1", "1.2.3"),
    }
    matcher = Matcher(keys)
    assert matcher.definite_mismatches(CANDIDATE) == ()
    assert matcher.matches(CANDIDATE)
