import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.backends.storage.patterns import (
    MAX_COMPONENT_LENGTH,
    MAX_VALUE_LENGTH,
    ReadPattern,
    WritePattern,
    beside,
    reduced,
    reduced_file_name,
)
from harmonygw.errors import ConfigurationError

NOW = datetime(2025, 6, 14, 10, 15, 30, 42, tzinfo=UTC)
UID = "1.2.840.1"
HASH = hashlib.sha256(UID.encode()).hexdigest()


def path(pattern: str, **values: str) -> str:
    return WritePattern(pattern).path(UID, lambda keyword: values.get(keyword, ""), NOW)


@pytest.mark.parametrize("pattern", ["", "{file}"])
def test_by_default_the_hash_of_the_uid_names_the_file_in_two_levels_of_folders(pattern: str) -> None:
    assert path(pattern) == f"{HASH[:2]}/{HASH[2:4]}/{HASH}.dcm"


def test_a_uuid_is_new_for_every_file() -> None:
    first, second = path("{uuid}.dcm"), path("{uuid}.dcm")

    assert first != second
    assert re.fullmatch(r"[0-9a-f-]{36}\.dcm", first)


def test_a_timestamp_is_utc_to_the_microsecond() -> None:
    assert path("{timestamp}.dcm") == "20250614T101530.000042Z.dcm"


def test_metadata_names_become_folders() -> None:
    assert path("{PatientID}/{Modality}/{file}", PatientID="P1", Modality="CT") == f"P1/CT/{HASH}.dcm"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Doe^Jane", "Doe_Jane"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "_"),
        (".hidden", "hidden"),
        ("", "_"),
        ("a\0b\nc", "a_b_c"),
        ("山田^太郎", "_"),
        ("C:\\x", "C_x"),
        ("-rf", "-rf"),
        ("x" * 129, "x" * 128),
    ],
)
def test_a_value_is_reduced_to_what_a_file_name_may_hold(value: str, expected: str) -> None:
    assert reduced(value) == expected


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_value_leaves_the_root_or_hides_a_file(patient_id: str, uid: str) -> None:
    pattern = WritePattern("{PatientID}/{StudyInstanceUID}.{PatientID}/{file}")
    result = pattern.path(uid, lambda keyword: patient_id if keyword == "PatientID" else uid, NOW)
    parts = PurePosixPath(result).parts

    assert Path("/archive", result).resolve().is_relative_to("/archive")
    assert len(parts) == 3
    assert not any(part.startswith(".") for part in parts)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", part) and len(part) <= MAX_COMPONENT_LENGTH for part in parts)


def test_a_long_name_is_cut_and_keeps_its_extension() -> None:
    name = path("{PatientName}{StudyDescription}{file}", PatientName="n" * 200, StudyDescription="d" * 200)

    assert name == "n" * MAX_VALUE_LENGTH + "d" * (MAX_COMPONENT_LENGTH - MAX_VALUE_LENGTH - 4) + ".dcm"


def test_a_long_folder_is_cut() -> None:
    assert path("{PatientName}{PatientID}/x", PatientName="n" * 200, PatientID="p" * 200) == (
        "n" * MAX_VALUE_LENGTH + "p" * (MAX_COMPONENT_LENGTH - MAX_VALUE_LENGTH) + "/x"
    )


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("{PatientIdent}.dcm", "{PatientIdent} is neither"),
        ("../{file}", "do not begin with a dot"),
        ("a/../../{file}", "do not begin with a dot"),
        ("/etc/{file}", "relative path"),
        ("a//{file}", "not empty"),
        ("a/", "not empty"),
        (".harmonygw/{file}", "do not begin with a dot"),
        ("a b", "letters, digits"),
        ("{uuid", "letters, digits"),
        ("a\0", "letters, digits"),
        ("{uuid!r}", "letters, digits"),
    ],
)
def test_a_pattern_that_could_leave_the_root_or_names_nothing_is_a_configuration_error(
    pattern: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        WritePattern(pattern)


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ("a/b.dcm", r"a/b-[0-9a-f]{16}\.dcm"),
        ("a.b/c", r"a\.b/c-[0-9a-f]{16}"),
        ("plain", r"plain-[0-9a-f]{16}"),
    ],
)
def test_a_name_beside_a_taken_one_keeps_its_folder_and_extension(taken: str, expected: str) -> None:
    assert re.fullmatch(expected, beside(taken))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("scan.pdf", "scan.pdf"),
        ("a/b\\c.txt", "c.txt"),
        ("..", ""),
        ("///", ""),
        ("山田", ""),
        (".bashrc", "bashrc"),
        ("x" * 300, "x" * 128),
        ("x" * 300 + ".tar.gz", "x" * 125 + ".gz"),
        ("x." + "y" * 300, "x." + "y" * 126),
    ],
)
def test_the_name_of_an_upload_is_reduced_and_keeps_its_extension(given: str, expected: str) -> None:
    assert reduced_file_name(given) == expected


@given(st.text(max_size=300))
def test_no_name_of_an_upload_leaves_the_root(given_name: str) -> None:
    name = reduced_file_name(given_name)
    assert name == "" or re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", name)
    result = WritePattern("in/{file}").path_of_file(name or "x", lambda keyword: given_name, NOW)
    assert Path("/archive", result).resolve().is_relative_to("/archive/in")


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("", ("a", "b.txt"), "a/b.txt"),
        ("in/{file}", ("b.txt",), "in/b.txt"),
        ("{PatientID}/{file}.dcm", ("x",), "P1/x.dcm"),
        ("{uuid}", ("x",), "_"),
        ("", (), None),
        ("", ("..", "x"), None),
        ("", ("a b",), None),
        ("", ("x" * 129,), None),
    ],
)
def test_a_read_pattern_leads_a_name_to_a_path(pattern: str, name: tuple[str, ...], expected: str | None) -> None:
    values = {"PatientID": "P1"}
    assert ReadPattern(pattern).path(name, lambda keyword: values.get(keyword, "")) == expected


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("", "a/b.txt", "a/b.txt"),
        ("in/{file}", "in/b.txt", "b.txt"),
        ("in/{file}.dcm", "in/b.dcm", "b"),
        ("in/{file}", "out/b.txt", None),
        ("{PatientID}/{file}", "P1/x", None),
        ("{uuid}", "x", None),
        ("in/{file}", "in/", None),
    ],
)
def test_a_path_has_the_name_that_leads_to_it(pattern: str, path: str, expected: str | None) -> None:
    assert ReadPattern(pattern).name_of(path) == expected
    if expected is not None:
        assert ReadPattern(pattern).path(tuple(expected.split("/")), lambda keyword: "") == path


def test_a_wrong_read_pattern_is_named_by_its_key() -> None:
    with pytest.raises(ConfigurationError, match=r"read_pattern '\.\./x'"):
        ReadPattern("../x")
