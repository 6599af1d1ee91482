import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harmonygw.backends.storage.index import NO_NUMBER, Entry, Index, Place
from tests.backends.storage.objects import keys


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    result = Index(tmp_path / "index.sqlite3")
    yield result
    result.close()


def entry(name: str = "a", **attributes: tuple[str, Any]) -> Entry:
    """An instance in the file `name`; its attributes by keyword, with VR and value."""
    values = {
        "SOPClassUID": ("UI", "1.2.840.10008.5.1.4.1.1.2"),
        "SOPInstanceUID": ("UI", "1.2.3.4"),
        "StudyInstanceUID": ("UI", "1.2"),
        "SeriesInstanceUID": ("UI", "1.2.3"),
        **attributes,
    }
    return Entry(keys(values), "1.2.840.10008.1.2", "MODALITY", Place(name, f"staged-{name}"), 332, 1000, 42)


def rows(index: Index, question: str) -> list[tuple[Any, ...]]:
    with index.reading() as connection:
        return connection.execute(question).fetchall()


def test_a_new_index_is_empty(index: Index) -> None:
    assert index.is_empty()
    assert not index.contains("1.2.3.4")


def test_an_instance_is_there_once_it_is_added(index: Index) -> None:
    assert index.add(entry()) is None

    assert not index.is_empty()
    assert index.contains("1.2.3.4")
    assert index.is_taken("a")
    assert index.path_of("staged-a") == "a"
    assert index.path_of("staged-b") is None


def test_adding_it_again_tells_which_file_is_replaced_until_that_is_forgotten(index: Index) -> None:
    index.add(entry("a"))

    assert index.add(entry("b")) == Place("a", "staged-a")
    assert index.replaced() == [Place("a", "staged-a")]
    assert index.is_taken("a")
    index.forget(Place("a", "staged-a"))
    assert index.replaced() == []
    assert not index.is_taken("a")


def test_what_fails_changes_nothing(index: Index) -> None:
    index.add(entry("a"))
    with pytest.raises(sqlite3.IntegrityError):
        index.add(entry("a", SOPInstanceUID=("UI", "1.9"), StudyInstanceUID=("UI", "9"), PatientID=("LO", "P9")))

    assert rows(index, "SELECT study_instance_uid FROM study") == [("1.2",)]
    assert rows(index, "SELECT count(*) FROM patient") == [(1,)]
    index.add(entry("b", SOPInstanceUID=("UI", "1.9")))


def test_later_objects_complete_what_is_known_of_a_study(index: Index) -> None:
    index.add(entry("a", StudyDate=("DA", None)))
    index.add(entry("b", SOPInstanceUID=("UI", "1.5"), StudyDate=("DA", "20250102"), Modality=("CS", "CT")))
    index.add(entry("c", SOPInstanceUID=("UI", "1.6"), StudyDate=("DA", None), SeriesNumber=("IS", 3)))

    assert rows(index, "SELECT study_date FROM study") == [("20250102",)]
    assert rows(index, "SELECT modality, series_number FROM series") == [("CT", 3)]


@pytest.mark.parametrize(("written", "kept"), [("20250102", "20250102"), ("2025.01.02", ""), ("2025", "")])
def test_only_a_plain_date_is_left_to_sql(index: Index, written: str, kept: str) -> None:
    index.add(entry(StudyDate=("DA", written)))

    assert rows(index, "SELECT study_date FROM study") == [(kept,)]


def test_a_series_without_a_number_stands_behind_those_that_have_one(index: Index) -> None:
    index.add(entry(InstanceNumber=("IS", "not a number")))

    assert rows(index, "SELECT series_number, instance_number FROM series, instance") == [(NO_NUMBER, NO_NUMBER)]


def test_the_same_patient_identifier_of_two_issuers_is_two_patients(index: Index) -> None:
    index.add(entry("a", PatientID=("LO", "1"), IssuerOfPatientID=("LO", "NORTH")))
    index.add(entry("b", PatientID=("LO", "1"), IssuerOfPatientID=("LO", "SOUTH"), SOPInstanceUID=("UI", "1.5")))

    assert rows(index, "SELECT issuer FROM patient ORDER BY id") == [("NORTH",), ("SOUTH",)]
    assert rows(index, "SELECT count(*) FROM study") == [(2,)]


def test_a_reader_does_not_wait_for_the_writer(index: Index) -> None:
    index.add(entry())
    with index.reading() as connection:
        snapshot = connection.execute("SELECT sop_instance_uid FROM instance")
        index.add(entry("b", SOPInstanceUID=("UI", "1.5")))
        seen = snapshot.fetchall()

    assert ("1.2.3.4",) in seen
    assert index.contains("1.5")
