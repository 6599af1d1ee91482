"""Whatever several archives hold: every match is of one patient and one source, each once, and none is missing."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmonygw.errors import Conflict
from harmonygw.operations import Level, Retrieve
from tests.several.archives import PACS, Hospital, first, image, series, study

Holding = dict[str, tuple[str, tuple[str, ...]]]
"""By Study Instance UID whose it is, and the numbers of its series."""

HOLDINGS = st.dictionaries(
    st.sampled_from(["1", "2", "3"]),
    st.tuples(st.sampled_from(["P", "Q"]), st.lists(st.sampled_from("123"), unique=True, min_size=1).map(tuple)),
)


def archive(holding: Holding, *, relational: bool) -> PACS:
    return PACS(
        *(
            study(
                uid,
                *(series(f"{uid}.{number}", image(f"{uid}.{number}.1"), Modality=f"M{number}") for number in numbers),
                PatientID=patient,
                PatientName=f"Name^of {patient}",
            )
            for uid, (patient, numbers) in holding.items()
        ),
        relational=relational,
    )


def hospital(holdings: list[Holding], *, relational: bool) -> Hospital:
    return Hospital({title: archive(one, relational=relational) for title, one in zip("ABC", holdings, strict=False)})


def identity(contested: set[str]) -> Callable[[Any], tuple[str, str, str]]:
    """Study, patient, and where it matters the source of a match."""

    def of(row: Any) -> tuple[str, str, str]:
        uid = first(row, "StudyInstanceUID")
        return uid, first(row, "PatientID"), first(row, "RetrieveAETitle") if uid in contested else ""

    return of


def check(row: Any, holdings: list[Holding], contested: set[str]) -> None:
    patient, uid, title = (first(row, key) for key in ("PatientID", "StudyInstanceUID", "RetrieveAETitle"))
    assert first(row, "PatientName")["Alphabetic"] == f"Name^of {patient}"
    assert holdings["ABC".index(title)][uid][0] == patient
    assert (f"/aets/{title}/" in first(row, "RetrieveURL")) is (uid in contested)


@settings(max_examples=60, deadline=None)
@given(st.lists(HOLDINGS, min_size=2, max_size=3), st.booleans())
def test_no_match_is_of_two_patients_none_comes_twice_and_none_is_missing(
    holdings: list[Holding], relational: bool
) -> None:
    whose = {(uid, patient) for one in holdings for uid, (patient, _) in one.items()}
    contested = {uid for uid, _ in whose if {(uid, "P"), (uid, "Q")} <= whose}
    expected = {
        (uid, patient, title if uid in contested else "")
        for title, one in zip("ABC", holdings, strict=False)
        for uid, (patient, _) in one.items()
    }
    one = hospital(holdings, relational=relational)
    rows = one.search("studies?includefield=PatientName")
    assert sorted(map(identity(contested), rows)) == sorted(expected)
    for row in rows:
        check(row, holdings, contested)
        study_uid, _, alone = identity(contested)(row)
        numbers = {
            number
            for title, each in zip("ABC", holdings, strict=False)
            for uid, (_, some) in each.items()
            for number in some
            if uid == study_uid and alone in ("", title)
        }
        assert row["00080061"]["Value"] == [f"M{number}" for number in sorted(numbers)]
        assert first(row, "NumberOfStudyRelatedSeries") == len(numbers)
        assert first(row, "NumberOfStudyRelatedInstances") == len(numbers)
    of_p = {
        (f"{uid}.{number}", title if uid in contested else "")
        for title, each in zip("ABC", holdings, strict=False)
        for uid, (patient, some) in each.items()
        for number in some
        if patient == "P"
    }
    rows = one.search("series?PatientID=P&includefield=PatientName")
    found = [(first(row, "SeriesInstanceUID"), identity(contested)(row)[2]) for row in rows]
    assert sorted(found) == sorted(of_p)
    for row in rows:
        check(row, holdings, contested)
        assert first(row, "PatientID") == "P"


@settings(max_examples=60, deadline=None)
@given(st.lists(HOLDINGS, min_size=2, max_size=3))
def test_a_study_is_retrieved_whole_and_each_instance_once_or_it_is_a_conflict(holdings: list[Holding]) -> None:
    one = hospital(holdings, relational=False)
    for uid in {uid for each in holdings for uid in each}:
        having = [each[uid] for each in holdings if uid in each]
        if len({patient for patient, _ in having}) > 1:
            with pytest.raises(Conflict):
                one.respond(Retrieve(Level.STUDY, uid))
        else:
            expected = {f"{uid}.{number}.1" for _, numbers in having for number in numbers}
            assert sorted(one.retrieved(Retrieve(Level.STUDY, uid))) == sorted(expected)
