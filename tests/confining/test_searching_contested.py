"""Find, of a study that several archives give to several patients: each match is judged by itself."""

import pytest

from harmonygw.exchange import SOURCE, Reply, Request
from harmonygw.operations import ContestedMatch, Find, Level
from harmonygw.streams import Match
from tests.confining.archive import STUDIES, Keeper, confined, elements, image, keys, series, study, tag
from tests.middleware.dicomweb_bridge.archive import Found


class Contested(Keeper):
    """Two archives that give one study to two patients."""

    async def _respond(self, request: Request) -> Reply:
        find = request.operation
        assert isinstance(find, Find)
        source = request.attributes.get(SOURCE)
        rows = [
            ContestedMatch({**row, **elements(PatientID=patient, IssuerOfPatientID="")}, title)
            for title, patient in (("ONE", "A"), ("TWO", "B"))
            if source in (None, title)
            for row in self._matches(find)
        ]
        self.asked.append(find)
        return Reply(result=Found(rows, []))


@pytest.mark.parametrize("patient", ["A", "B"])
def test_of_a_contested_study_the_one_that_complies_is_shown(patient: str) -> None:
    archive = Contested(study("1", series("1.1", image("1.1.1"))), ignores=["PatientID"])
    somebody = confined(archive, PatientID=patient)
    source = {"A": "ONE", "B": "TWO"}[patient]
    (row,) = somebody.rows(STUDIES)
    assert row.source == source  # type: ignore[attr-defined]
    assert {tag("PatientID"), tag("IssuerOfPatientID")} <= row.keys(), "which a contested match always has"
    below = Find(Level.SERIES, keys(StudyInstanceUID="1"))
    assert somebody.rows(below) == [], "who does not say which he means"
    for title in ("ONE", "TWO"):
        (found, deep) = (
            somebody.rows(one, attributes={SOURCE: title})
            for one in (below, Find(Level.IMAGE, keys(StudyInstanceUID="1", SeriesInstanceUID="1.1")))
        )
        assert [one.source for one in (*found, *deep)] == ([title] * 2 if title == source else [])  # type: ignore[attr-defined]


def test_series_of_a_contested_study_are_asked_of_its_source() -> None:
    archive = Contested(study("1", series("1.1", image("1.1.1"), InstitutionName="Main")), ignores=["PatientID"])
    somebody = confined(archive, InstitutionName="Main", PatientID="B")
    (row,) = somebody.rows(STUDIES)
    assert row.source == "TWO"  # type: ignore[attr-defined]
    deep = Find(Level.IMAGE, keys(StudyInstanceUID="1", SeriesInstanceUID="1.1"))
    assert len(somebody.rows(deep, attributes={SOURCE: "TWO"})) == 1


class Split(Keeper):
    """Two archives with a study, which is of one patient until the second comes."""

    titles: tuple[tuple[str, str], ...] = (("ONE", "his"),)

    async def _respond(self, request: Request) -> Reply:
        find = request.operation
        assert isinstance(find, Find)
        source = request.attributes.get(SOURCE)
        self.asked.append(find)
        rows: list[Match] = []
        for title, number in self.titles:
            if source in (None, title):
                own = elements(AccessionNumber=number) if tag("AccessionNumber") in find.return_keys else {}
                found = [{**row, **own} for row in self._matches(find)]
                rows += found if len(self.titles) == 1 else [ContestedMatch(row, title) for row in found]
        return Reply(result=Found(rows, []))


@pytest.mark.parametrize("level", [Level.SERIES, Level.IMAGE])
@pytest.mark.parametrize("more", [{}, {"Modality": "CT"}])
def test_a_study_that_is_remembered_and_has_become_contested_is_looked_at_again(
    level: Level, more: dict[str, str]
) -> None:
    archive = Split(study("1", series("1.1", image("1.1.1"))))
    somebody = confined(archive, AccessionNumber="his", **more)
    named = keys(StudyInstanceUID="1", **({"SeriesInstanceUID": "1.1"} if level is Level.IMAGE else {}))
    assert len(somebody.rows(Find(level, named))) == 1
    archive.titles = (("ONE", "his"), ("TWO", "another's"))
    assert [row.source for row in somebody.rows(Find(level, named))] == ["ONE"]  # type: ignore[attr-defined]
