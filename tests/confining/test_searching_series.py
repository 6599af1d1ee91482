"""Find, when what is known of series and instances decides: also for the studies above them."""

from typing import Any

import pytest

from harmonygw.confining import searching
from harmonygw.errors import Denied, HarmonyError, NotAcceptable, RejectedError, TooLarge
from harmonygw.operations import Find, Level
from harmonygw.streams import Match
from tests.confining.archive import STUDIES, Keeper, Lax, confined, elements, image, keys, mixed, series, study, tag

# What is known of a series


def test_a_study_is_shown_for_its_modalities_without_further_queries() -> None:
    archive = mixed()
    somebody = confined(archive, Modality="US")
    assert somebody.uids(STUDIES) == ["1", "3"]
    assert archive.log == ["STUDY ModalitiesInStudy=US"]


def test_modalities_that_are_hidden_are_not_told() -> None:
    archive = mixed()
    for one in archive.studies:
        one.attributes.update(elements(SOPClassesInStudy="1.2"))
    archive.adds = ["NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "SOPClassesInStudy"]
    asked = Find(Level.STUDY, {}, elements(StudyInstanceUID=None, ModalitiesInStudy=None))
    (first, _) = confined(archive, Modality="US").rows(asked)
    assert first[tag("ModalitiesInStudy")]["Value"] == ["US"]
    assert not {tag(name) for name in archive.adds} & first.keys()
    archive.adds.append("ModalitiesInStudy")
    (first, _) = confined(archive, Modality="US").rows(STUDIES)
    assert tag("ModalitiesInStudy") not in first


@pytest.mark.parametrize(("modality", "found"), [("US", ["1", "3"]), ("CT", []), ("*", ["1", "3"])])
def test_nobody_finds_a_study_by_a_modality_that_is_hidden(modality: str, found: list[str]) -> None:
    somebody = confined(mixed(), Modality="US")
    assert somebody.uids(Find(Level.STUDY, keys(ModalitiesInStudy=modality), STUDIES.return_keys)) == found


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ({"NumberOfStudyRelatedSeries": 2}, Denied),
        ({"NumberOfStudyRelatedInstances": 2}, Denied),
        ({"SOPClassesInStudy": "1.2"}, Denied),
        ({"SeriesDescription": "head"}, NotAcceptable),
        ({"Modality": "CT"}, NotAcceptable),
    ],
)
def test_nobody_finds_a_study_by_what_is_hidden_in_it(key: dict[str, Any], error: type[HarmonyError]) -> None:
    with pytest.raises(error):
        confined(mixed(), Modality="US").rows(Find(Level.STUDY, keys(**key)))


def test_nor_a_series_by_what_is_told_of_its_study() -> None:
    somebody = confined(mixed(), Modality="US")
    with pytest.raises(Denied):
        somebody.rows(Find(Level.SERIES, keys(StudyInstanceUID="1", ModalitiesInStudy="CT")))


@pytest.mark.parametrize("lax", [{}, {"leaves_out": ["ModalitiesInStudy"]}, {"ignores": ["ModalitiesInStudy"]}])
def test_without_modalities_the_series_are_asked(lax: dict[str, Any]) -> None:
    archive = mixed(**lax)
    somebody = confined(archive, Modality="US")
    assert somebody.uids(STUDIES) == ["1", "3"]
    asked = Find(Level.STUDY, {}, elements(StudyInstanceUID=None, ModalitiesInStudy=None))
    assert [row[tag("ModalitiesInStudy")]["Value"] for row in somebody.rows(asked)] == [["US"], ["US"]]


def test_an_institution_is_looked_for_in_the_series() -> None:
    archive = mixed()
    somebody = confined(archive, InstitutionName="St Elsewhere")
    assert somebody.uids(STUDIES) == ["1", "2"]
    assert archive.log == ["STUDY", *(f"SERIES StudyInstanceUID={uid}" for uid in "123")]
    archive.asked.clear()
    assert somebody.uids(STUDIES) == ["1", "2"]
    assert archive.log == ["STUDY"], "it is remembered"


def test_a_series_has_to_comply_in_everything_at_once() -> None:
    archive = mixed()
    somebody = confined(archive, InstitutionName="Main", Modality="US")
    assert somebody.uids(STUDIES) == ["3"], "study 1 has both, but in two series"
    with_modalities = Find(Level.STUDY, keys(ModalitiesInStudy="US"), STUDIES.return_keys)
    assert somebody.uids(with_modalities) == ["3"]


def test_modalities_of_an_institution_are_those_of_its_series() -> None:
    somebody = confined(mixed(), InstitutionName="St Elsewhere")
    asked = Find(Level.STUDY, {}, elements(StudyInstanceUID=None, ModalitiesInStudy=None))
    told = [row[tag("ModalitiesInStudy")]["Value"] for row in somebody.rows(asked)]
    assert told == [["US"], ["CT"]]
    assert somebody.uids(Find(Level.STUDY, keys(ModalitiesInStudy="CT"), STUDIES.return_keys)) == ["2"]


def test_series_are_not_asked_of_a_study_that_has_no_such_modality() -> None:
    archive = mixed()
    assert confined(archive, InstitutionName="St Elsewhere", Modality="US").uids(STUDIES) == ["1"]
    assert archive.log == ["STUDY ModalitiesInStudy=US", "SERIES StudyInstanceUID=1", "SERIES StudyInstanceUID=3"]
    archive = mixed(ignores=["ModalitiesInStudy"])
    assert confined(archive, InstitutionName="St Elsewhere", Modality="US").uids(STUDIES) == ["1"]
    assert archive.log[1:] == ["SERIES StudyInstanceUID=1", "SERIES StudyInstanceUID=3"]


def test_series_that_do_not_comply_are_not_shown_and_nor_are_their_instances() -> None:
    archive = mixed(ignores=["Modality"])
    somebody = confined(archive, Modality="US")
    assert somebody.uids(Find(Level.SERIES, keys(StudyInstanceUID="1")), "SeriesInstanceUID") == ["1.2"]
    for uid, found in (("1.1", []), ("1.2", ["1.2.1", "1.2.2"]), ("1.9", [])):
        below = Find(Level.IMAGE, keys(StudyInstanceUID="1", SeriesInstanceUID=uid))
        assert somebody.uids(below, "SOPInstanceUID") == found
    both = Find(Level.IMAGE, keys(StudyInstanceUID="1", SeriesInstanceUID=["1.1", "1.2"]))
    with pytest.raises(RejectedError):  # of the archive, which was asked for the one that complies only by the other
        confined(archive, Modality=["US", "CT"]).rows(both)
    assert somebody.uids(both, "SOPInstanceUID") == ["1.2.1", "1.2.2"]


def test_what_series_leave_out_is_looked_for_in_instances() -> None:
    archive = Lax(*mixed().studies)
    somebody = confined(archive, InstitutionName="St Elsewhere")
    assert somebody.uids(STUDIES) == ["1", "2"]
    assert somebody.uids(Find(Level.SERIES, keys(StudyInstanceUID="1")), "SeriesInstanceUID") == ["1.2"]
    below = Find(Level.IMAGE, keys(StudyInstanceUID="1", SeriesInstanceUID="1.2"))
    assert somebody.uids(below, "SOPInstanceUID") == ["1.2.1", "1.2.2"]
    assert somebody.rows(Find(Level.IMAGE, keys(StudyInstanceUID="1", SeriesInstanceUID="1.1"))) == []
    archive.studies[0].children[1].children[0].attributes.update(elements(InstitutionName="Main"))
    assert somebody.uids(below, "SOPInstanceUID") == ["1.2.2"], "each instance by itself"


def test_a_query_with_too_many_matches_has_to_be_restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MAX_WAITING", 3)
    assert confined(mixed(), InstitutionName="Main").uids(STUDIES) == ["1", "3"]
    monkeypatch.setattr(searching, "MAX_WAITING", 2)
    with pytest.raises(TooLarge, match="MAX_WAITING"):
        confined(mixed(), InstitutionName="Main").rows(STUDIES)


def test_a_study_without_uid_is_hidden_when_its_series_count() -> None:
    archive = mixed()
    del archive.studies[0].attributes[tag("StudyInstanceUID")]
    assert confined(archive, InstitutionName="Main").uids(STUDIES) == ["3"]


def test_a_series_without_uid_is_hidden_when_it_cannot_be_judged() -> None:
    archive = mixed(leaves_out=["SeriesInstanceUID", "InstitutionName"])
    assert confined(archive, InstitutionName="Main").rows(Find(Level.SERIES, keys(StudyInstanceUID="1"))) == []


def test_matches_come_in_the_archives_order_whatever_they_wait_for() -> None:
    archive = mixed()
    plain = archive._matches

    def matches(find: Find) -> list[Match]:
        rows = plain(find)
        if find.level is Level.STUDY:
            rows[0].pop(tag("ModalitiesInStudy"))
        return rows

    archive._matches = matches  # type: ignore[method-assign]
    assert confined(archive, Modality="US").uids(STUDIES) == ["1", "3"]


def test_a_series_that_is_listed_once_only_is_looked_at_by_what_was_listed() -> None:
    """An archive that gives a series to a client's query, and not to ours."""
    archive = Lax(study("1", series("1.1", image("1.1.1"), InstitutionName="Main")))
    plain = archive._matches
    archive._matches = lambda find: plain(find) if tag("Modality") not in find.return_keys else []  # type: ignore[method-assign]
    found = confined(archive, InstitutionName="Main").uids(
        Find(Level.SERIES, keys(StudyInstanceUID="1")), "SeriesInstanceUID"
    )
    assert found == ["1.1"]


# What is known of an instance


def test_instances_decide_for_series_and_studies() -> None:
    archive = mixed()
    archive.studies[0].children[1].children[1].attributes.update(elements(BurnedInAnnotation="NO"))
    somebody = confined(archive, BurnedInAnnotation="NO")
    assert somebody.uids(STUDIES) == ["1"]
    archive.adds = ["NumberOfSeriesRelatedInstances"]
    (row,) = somebody.rows(Find(Level.SERIES, keys(StudyInstanceUID="1")))
    assert row[tag("SeriesInstanceUID")]["Value"] == ["1.2"]
    assert tag("NumberOfSeriesRelatedInstances") not in row
    archive.adds = []
    below = Find(Level.IMAGE, keys(StudyInstanceUID="1", SeriesInstanceUID="1.2"))
    assert somebody.uids(below, "SOPInstanceUID") == ["1.2.2"]


def test_of_several_studies_each_instance_is_judged_by_its_own_series() -> None:
    archive = Lax(
        study("1", series("9.1", image("1.1.1"), InstitutionName="Main")),
        study("2", series("9.1", image("2.1.1"), InstitutionName="Other")),
    )
    archive.leaves_out = set()
    archive._matches = lambda find: Keeper._matches(archive, find)  # type: ignore[method-assign]
    below = Find(Level.IMAGE, keys(StudyInstanceUID=["1", "2"], SeriesInstanceUID="9.1"))
    assert confined(archive, InstitutionName="Main").uids(below, "SOPInstanceUID") == ["1.1.1"]
