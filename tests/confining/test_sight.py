"""What complies is asked of the archive, level by level, within limits; remembered for a moment, for who asked."""

import pytest

from harmonygw.confining import sight
from harmonygw.errors import RejectedError, TooLarge
from harmonygw.operations import Find, Level
from tests.confining.archive import (
    STUDIES,
    Keeper,
    Lax,
    confined,
    elements,
    hospital,
    image,
    keys,
    mixed,
    series,
    study,
)


def test_what_was_remembered_is_asked_again_in_time() -> None:
    archive = hospital()
    somebody = confined(archive, IssuerOfPatientID="west")
    below = Find(Level.SERIES, keys(StudyInstanceUID="2"))
    assert len(somebody.rows(below)) == 1
    archive.studies[1].attributes.update(elements(IssuerOfPatientID="east"))
    somebody.clock.advance(sight.REMEMBER_SECS - 0.1)
    assert len(somebody.rows(below)) == 1
    somebody.clock.advance(0.1)
    assert somebody.rows(below) == []


def test_one_does_not_profit_from_what_is_remembered_of_another() -> None:
    archive = hospital()
    somebody, other = confined(archive, PatientID="B"), confined(archive, PatientID="A")
    other.confinement = somebody.confinement
    below = Find(Level.SERIES, keys(StudyInstanceUID="2"))
    assert (len(somebody.rows(below)), len(other.rows(below))) == (1, 0)


def test_too_many_studies_are_not_looked_at() -> None:
    named = [f"1.{number}" for number in range(sight.MAX_STUDIES)]
    somebody = confined(Keeper(), PatientID="B")
    assert somebody.rows(Find(Level.SERIES, keys(StudyInstanceUID=named))) == []
    with pytest.raises(TooLarge, match="MAX_STUDIES"):
        somebody.rows(Find(Level.SERIES, keys(StudyInstanceUID=[*named, "2"])))


def test_an_archive_that_lists_a_study_over_and_over_is_not_believed() -> None:
    archive = Keeper(*(study("1", PatientID="B") for _ in range(sight.ROWS_A_STUDY + 1)))
    with pytest.raises(TooLarge):
        confined(archive, PatientID="B").rows(Find(Level.SERIES, keys(StudyInstanceUID="1")))


def test_what_can_be_found_nowhere_is_hidden() -> None:
    somebody = confined(mixed(leaves_out=["InstitutionName"]), InstitutionName="St Elsewhere")
    assert somebody.rows(STUDIES) == []
    assert somebody.request is not None
    assert somebody.request.record.notes == ["the archive does not say of instances what it leaves out of series"]
    assert somebody.rows(Find(Level.SERIES, keys(StudyInstanceUID="1"))) == []


def test_an_archive_that_has_no_room_now_is_not_taken_for_one_that_knows_nothing() -> None:
    archive = mixed(leaves_out=["InstitutionName"])
    full = RejectedError("full", status=0xA700)
    plain = archive._judge

    def judge(find: Find) -> None:
        if find.level is Level.IMAGE:
            raise full
        plain(find)

    archive._judge = judge  # type: ignore[method-assign]
    with pytest.raises(RejectedError, match="full"):
        confined(archive, InstitutionName="Main").rows(STUDIES)


def test_two_matches_under_one_series_uid_count_both() -> None:
    archive = mixed()
    archive.studies[2].children.append(series("3.1", image("3.1.9"), Modality="CT"))
    somebody = confined(archive, InstitutionName="Main")
    assert somebody.uids(STUDIES) == ["1"]
    assert somebody.rows(Find(Level.IMAGE, keys(StudyInstanceUID="3", SeriesInstanceUID="3.1"))) == []
    archive.studies[2].children[1].attributes.update(elements(InstitutionName="Elsewhere"))
    somebody.clock.advance(sight.REMEMBER_SECS)
    assert somebody.uids(STUDIES) == ["1"]


def test_what_cannot_be_looked_at_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sight, "MAX_LOOKS", 2)
    somebody = confined(mixed(), InstitutionName=["St Elsewhere", "Main"])
    assert somebody.uids(STUDIES) == ["1", "2"]
    assert somebody.request is not None
    assert somebody.request.record.notes == [sight.BEYOND]
    somebody = confined(mixed(), InstitutionName=["St Elsewhere", "Main"])
    asked = Find(Level.STUDY, {}, elements(StudyInstanceUID=None, ModalitiesInStudy=None))
    assert somebody.uids(asked) == ["1", "2"]
    monkeypatch.setattr(sight, "MAX_LOOKS", 4)
    assert confined(Lax(*mixed().studies), InstitutionName="Main").uids(STUDIES) == ["1"]


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_matches_under_one_series_uid_the_worse_counts_whichever_comes_first(first: int) -> None:
    twins = [series("1.1", image("1.1.1"), Modality=modality) for modality in ("US", "CT")]
    archive = Keeper(study("1", twins[first], twins[1 - first]), leaves_out=["ModalitiesInStudy"])
    somebody = confined(archive, Modality="US")
    assert somebody.rows(STUDIES) == []
    assert somebody.rows(Find(Level.IMAGE, keys(StudyInstanceUID="1", SeriesInstanceUID="1.1"))) == []


@pytest.mark.parametrize("first", [0, 1])
def test_and_one_that_lacks_something_is_looked_at(first: int) -> None:
    twins = [series("1.1", image("1.1.1"), **one) for one in ({"InstitutionName": "Main"}, {})]
    archive = Keeper(study("1", twins[first], twins[1 - first]))
    assert confined(archive, InstitutionName="Main").rows(STUDIES) == []
    twins[1].attributes.update(elements(InstitutionName="Main"))
    assert confined(archive, InstitutionName="Main").uids(STUDIES) == ["1"]


def test_series_and_instances_of_another_study_show_none() -> None:
    """An archive that ignores the unique keys answers with what belongs elsewhere."""
    archive = mixed(ignores=["StudyInstanceUID", "SeriesInstanceUID"], leaves_out=["ModalitiesInStudy"])
    assert confined(archive, Modality="US").uids(STUDIES) == ["1", "3"]
    lax = Lax(*mixed().studies, ignores=["StudyInstanceUID", "SeriesInstanceUID"])
    assert confined(lax, InstitutionName="St Elsewhere").uids(STUDIES) == ["1", "2"]
    somebody = confined(lax, InstitutionName="St Elsewhere")
    assert somebody.rows(Find(Level.IMAGE, keys(StudyInstanceUID="1", SeriesInstanceUID="1.1"))) == []


def test_the_study_that_was_asked_for_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sight, "MAX_REMEMBERED", 2)
    archive = hospital()
    somebody = confined(archive, IssuerOfPatientID=["east", "west"])

    def asked(uid: str) -> int:
        archive.asked.clear()
        somebody.rows(Find(Level.SERIES, keys(StudyInstanceUID=uid)))
        return len([one for one in archive.asked if one.level is Level.STUDY])

    archive.studies[2].attributes.update(elements(IssuerOfPatientID="east"))
    assert [asked(uid) for uid in ("1", "2", "1", "2", "3", "2", "1")] == [1, 1, 0, 0, 1, 0, 1]


def test_a_series_whose_instances_could_not_be_looked_at_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sight, "MAX_LOOKS", 1)
    somebody = confined(Lax(*mixed().studies), InstitutionName=["Main", "St Elsewhere"])
    assert somebody.uids(Find(Level.SERIES, keys(StudyInstanceUID="1")), "SeriesInstanceUID") == ["1.1"]
    assert somebody.request is not None
    assert somebody.request.record.notes == [sight.BEYOND]


def test_a_series_that_complies_in_another_study_shows_no_study() -> None:
    archive = Keeper(
        study("1", series("1.1", image("1.1.1"), Modality="CT")),
        study("2", series("2.1", image("2.1.1"), Modality="US")),
        ignores=["StudyInstanceUID"],
        leaves_out=["ModalitiesInStudy"],
    )
    somebody = confined(archive, Modality="US")
    assert somebody.uids(STUDIES) == ["2"]
    assert somebody.rows(Find(Level.IMAGE, keys(StudyInstanceUID="1", SeriesInstanceUID="2.1"))) == []


@pytest.mark.parametrize(("limit", "restriction"), [("MAX_SERIES", {"InstitutionName": "Main"}), ("MAX_INSTANCES", {})])
def test_an_archive_that_lists_too_much_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, limit: str, restriction: dict[str, str]
) -> None:
    restriction = restriction or {"BurnedInAnnotation": "NO"}
    archive = Keeper(study("1", *(series(f"1.{n}", image(f"1.{n}.1"), image(f"1.{n}.2")) for n in (1, 2))))
    monkeypatch.setattr(sight, limit, 2)
    assert confined(archive, **restriction).rows(STUDIES) == []
    monkeypatch.setattr(sight, limit, 1)
    with pytest.raises(TooLarge):
        confined(archive, **restriction).rows(STUDIES)


def test_what_is_remembered_is_remembered_for_who_asked() -> None:
    """A server behind may answer by who asks."""
    archive = hospital()
    somebody = confined(archive, PatientID="B")
    for principal in ("anna", "anna", "ben"):
        somebody.rows(Find(Level.SERIES, keys(StudyInstanceUID="2")), principal=principal)
    assert archive.log.count("STUDY StudyInstanceUID=2") == 2
