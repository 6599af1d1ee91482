"""Find: what is shown to whom, whatever the archive matches, says and leaves out."""

from typing import Any

import pytest

from harmonygw.confining import searching
from harmonygw.errors import Denied, HarmonyError, NotAcceptable, RejectedError, TooLarge
from harmonygw.exchange import SOURCE, Reply, Request
from harmonygw.operations import ContestedMatch, Find, Level
from harmonygw.streams import Match
from tests.confining.archive import Keeper, confined, elements, image, keys, result_of, rows_of, series, study, tag
from tests.middleware.dicomweb_bridge.archive import Found

STUDIES = Find(Level.STUDY, {}, elements(StudyInstanceUID=None, PatientName=None))


def hospital(**others: Any) -> Keeper:
    return Keeper(
        study("1", series("1.1", image("1.1.1")), PatientID="A", IssuerOfPatientID="east"),
        study("2", series("2.1", image("2.1.1")), PatientID="B", IssuerOfPatientID="west"),
        study("3", series("3.1", image("3.1.1")), PatientID="C"),
        **others,
    )


def mixed(**others: Any) -> Keeper:
    """One study with ultrasound and CT, one of each alone."""
    return Keeper(
        study(
            "1",
            series("1.1", image("1.1.1"), Modality="CT", InstitutionName="Main"),
            series("1.2", image("1.2.1"), image("1.2.2"), Modality="US", InstitutionName="St Elsewhere"),
        ),
        study("2", series("2.1", image("2.1.1"), Modality="CT", InstitutionName="St Elsewhere")),
        study("3", series("3.1", image("3.1.1"), Modality="US", InstitutionName="Main")),
        **others,
    )


# What is known of a study


def test_the_archive_is_asked_for_what_complies_and_is_asked_once() -> None:
    archive = hospital()
    somebody = confined(archive, IssuerOfPatientID="west")
    (row,) = somebody.rows(STUDIES)
    assert archive.log == ["STUDY IssuerOfPatientID=west"]
    assert row[tag("StudyInstanceUID")]["Value"] == ["2"]
    assert tag("IssuerOfPatientID") not in row, "what was asked for to check only"


def test_who_asks_for_the_attribute_gets_it() -> None:
    somebody = confined(hospital(), IssuerOfPatientID="west")
    (row,) = somebody.rows(Find(Level.STUDY, {}, elements(StudyInstanceUID=None, IssuerOfPatientID=None)))
    assert row[tag("IssuerOfPatientID")]["Value"] == ["west"]


def test_an_archive_that_ignores_the_key_is_checked() -> None:
    assert confined(hospital(ignores=["IssuerOfPatientID"]), IssuerOfPatientID="west").uids(STUDIES) == ["2"]


@pytest.mark.parametrize("values", [["east", "west"], [" west ", "EAST", "east"]])
def test_several_values_are_asked_for_and_checked(values: list[str]) -> None:
    archive = hospital()
    assert confined(archive, IssuerOfPatientID=values).uids(STUDIES) == ["1", "2"]
    assert archive.log == ["STUDY"]


def test_what_an_archive_leaves_out_is_hidden() -> None:
    somebody = confined(
        hospital(ignores=["IssuerOfPatientID"], leaves_out=["IssuerOfPatientID"]), IssuerOfPatientID="west"
    )
    assert somebody.rows(STUDIES) == []


@pytest.mark.parametrize("value", ["WEST", "west2", "wes", ["west", "east"], "west\\east", ""])
def test_only_the_one_value_as_it_stands_complies(value: Any) -> None:
    archive = Keeper(study("1", IssuerOfPatientID=value), ignores=["IssuerOfPatientID"])
    assert confined(archive, IssuerOfPatientID="west").rows(STUDIES) == []


def test_a_wildcard_is_a_character() -> None:
    archive = hospital()
    assert confined(archive, IssuerOfPatientID="*").rows(STUDIES) == []


def test_a_name_is_compared_with_all_its_groups_and_cases() -> None:
    archive = Keeper(
        study("1", ReferringPhysicianName="Smith^John"),
        study("2", ReferringPhysicianName="smith^john"),
        study("3", ReferringPhysicianName="Smith^John^^^"),
    )
    archive.studies[0].attributes[tag("ReferringPhysicianName")]["Value"][0]["Phonetic"] = ""
    assert confined(archive, ReferringPhysicianName="Smith^John=").uids(STUDIES) == ["1"]


@pytest.mark.parametrize("patient", ["A", "B", "*"])
def test_a_clients_own_key_widens_nothing(patient: str) -> None:
    archive = hospital(ignores=["PatientID"])
    found = confined(archive, PatientID="B").uids(Find(Level.STUDY, keys(PatientID=patient), STUDIES.return_keys))
    assert found == ["2"]
    assert archive.log == [f"STUDY PatientID={patient}"]


def test_a_contradicting_key_finds_nothing() -> None:
    assert confined(hospital(), PatientID="B").rows(Find(Level.STUDY, keys(PatientID="A"))) == []


def test_a_key_without_value_is_replaced_by_what_complies() -> None:
    archive = hospital()
    assert confined(archive, PatientID="B").rows(Find(Level.STUDY, elements(PatientID=None)))
    assert archive.log == ["STUDY PatientID=B"]


def test_all_restrictions_hold_together() -> None:
    somebody = confined(hospital(), IssuerOfPatientID=["east", "west"])
    somebody.restrictions += confined(hospital(), IssuerOfPatientID=["west", "north"]).restrictions
    assert somebody.uids(STUDIES) == ["2"]
    somebody.restrictions += confined(hospital(), IssuerOfPatientID=["east"]).restrictions
    assert somebody.uids(STUDIES) == []
    somebody.restrictions = confined(hospital(), IssuerOfPatientID=[]).restrictions
    assert somebody.uids(STUDIES) == []


def test_a_limit_does_not_make_a_page_empty() -> None:
    archive = hospital(ignores=["IssuerOfPatientID"])
    assert confined(archive, IssuerOfPatientID="west").uids(Find(Level.STUDY, {}, STUDIES.return_keys, limit=1)) == [
        "2"
    ]
    assert archive.asked[0].limit is None


def test_patients_are_not_counted() -> None:
    archive = hospital()
    archive.studies[1].attributes.update(elements(NumberOfPatientRelatedStudies=7))
    archive.adds = ["NumberOfPatientRelatedStudies"]
    archive.studies = archive.studies[1:2]
    (row,) = confined(archive, PatientID="B").rows(STUDIES)
    assert tag("NumberOfPatientRelatedStudies") not in row
    with pytest.raises(Denied):
        confined(archive, PatientID="B").rows(Find(Level.STUDY, keys(NumberOfPatientRelatedStudies=2)))


def test_a_study_that_was_not_asked_for_is_not_shown() -> None:
    archive = hospital(ignores=["StudyInstanceUID"])
    assert confined(archive, IssuerOfPatientID=["east", "west"]).uids(
        Find(Level.STUDY, keys(StudyInstanceUID="2"))
    ) == ["2"]


@pytest.mark.parametrize("find", [Find(Level.PATIENT), Find(Level.IMAGE, relational=True)])
def test_neither_patients_nor_what_is_relational_can_be_asked(find: Find) -> None:
    archive = hospital(relational=True)
    with pytest.raises(NotAcceptable):
        confined(archive, PatientID="B").reply(find)
    assert archive.asked == []


# Below a study


@pytest.mark.parametrize("uid", ["1", "2", "3", "9"])
@pytest.mark.parametrize("echoes", [True, False])
def test_series_and_instances_are_shown_with_their_study(uid: str, echoes: bool) -> None:
    archive = hospital(echoes_upper_keys=echoes)
    somebody = confined(archive, IssuerOfPatientID="west")
    found = somebody.uids(Find(Level.SERIES, keys(StudyInstanceUID=uid)), "SeriesInstanceUID")
    assert found == (["2.1"] if uid == "2" else [])
    below = Find(Level.IMAGE, keys(StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1"))
    assert somebody.uids(below, "SOPInstanceUID") == (["2.1.1"] if uid == "2" else [])
    shown = [f"STUDY StudyInstanceUID={uid}", f"SERIES StudyInstanceUID={uid}"]
    shown.append(f"IMAGE SeriesInstanceUID={uid}.1 StudyInstanceUID={uid}")
    assert archive.log == (shown if uid == "2" else shown[:1] * 2), "asked once in a while, and for what is shown only"


def test_a_study_of_two_patients_is_hidden_where_it_is_not_told_whose_it_is() -> None:
    archive = hospital()
    archive.studies.append(study("2", series("2.2", image("2.2.1")), PatientID="X"))
    somebody = confined(archive, PatientID="B")
    assert somebody.rows(Find(Level.SERIES, keys(StudyInstanceUID="2"))) == []
    assert somebody.uids(STUDIES) == ["2"], "each match by itself"


@pytest.mark.parametrize(
    "find",
    [
        Find(Level.SERIES),
        Find(Level.SERIES, elements(SeriesInstanceUID="2.1")),
        Find(Level.IMAGE, elements(StudyInstanceUID="2")),
        Find(Level.IMAGE, elements(StudyInstanceUID=None, SeriesInstanceUID="2.1")),
    ],
)
def test_the_unique_keys_above_have_to_be_named(find: Find) -> None:
    with pytest.raises(NotAcceptable):
        confined(hospital(), PatientID="B").reply(find)


def test_series_of_another_study_or_patient_are_not_shown() -> None:
    archive = hospital(ignores=["StudyInstanceUID", "SeriesInstanceUID"])
    somebody = confined(archive, PatientID="B")
    assert somebody.uids(Find(Level.SERIES, keys(StudyInstanceUID="2")), "SeriesInstanceUID") == ["2.1"]
    below = Find(Level.IMAGE, keys(StudyInstanceUID="2", SeriesInstanceUID="2.1"))
    assert somebody.uids(below, "SOPInstanceUID") == ["2.1.1"]
    archive.studies[1].children[0].attributes.update(elements(PatientID="A"))
    archive.adds = ["PatientID"]
    assert somebody.rows(Find(Level.SERIES, keys(StudyInstanceUID="2"))) == []


def test_another_series_than_was_asked_for_is_not_shown() -> None:
    archive = Keeper(
        study("2", series("2.1", image("2.1.1")), series("2.2", image("2.2.1"))), ignores=["SeriesInstanceUID"]
    )
    below = Find(Level.IMAGE, keys(StudyInstanceUID="2", SeriesInstanceUID="2.1"))
    assert confined(archive, PatientID="P2").uids(below, "SOPInstanceUID") == ["2.1.1"]


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


class Lax(Keeper):
    """An archive that gives everything of an instance, and little of a series."""

    def _judge(self, find: Find) -> None:
        pass

    def _matches(self, find: Find) -> list[Match]:
        self.leaves_out = {tag("InstitutionName")} if find.level is not Level.IMAGE else set()
        return super()._matches(find)


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


# Several archives


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


def test_warnings_are_those_of_the_archive() -> None:
    archive = hospital(warnings=["not all keys"])
    reply = confined(archive, PatientID="B").reply(STUDIES)
    assert reply.result.warnings == []
    rows_of(reply)
    assert reply.result.warnings == ["not all keys"]
    nothing = confined(archive, PatientID="B").reply(Find(Level.SERIES, keys(StudyInstanceUID="1")))
    assert (rows_of(nothing), nothing.result.warnings) == ([], [])


def test_what_is_given_up_is_given_up_at_the_archive() -> None:
    archive = hospital()
    for read in (False, True):
        reply = confined(archive, IssuerOfPatientID=["east", "west"]).reply(STUDIES)
        if read:
            result_of(anext(aiter(reply.result)))
        result_of(reply.result.aclose())
        assert not archive.answers[-1].open
    nothing = confined(archive, PatientID="B").reply(Find(Level.SERIES, keys(StudyInstanceUID="1")))
    result_of(nothing.result.aclose())


def test_series_are_not_asked_of_a_study_that_has_no_such_modality() -> None:
    archive = mixed()
    assert confined(archive, InstitutionName="St Elsewhere", Modality="US").uids(STUDIES) == ["1"]
    assert archive.log == ["STUDY ModalitiesInStudy=US", "SERIES StudyInstanceUID=1", "SERIES StudyInstanceUID=3"]
    archive = mixed(ignores=["ModalitiesInStudy"])
    assert confined(archive, InstitutionName="St Elsewhere", Modality="US").uids(STUDIES) == ["1"]
    assert archive.log[1:] == ["SERIES StudyInstanceUID=1", "SERIES StudyInstanceUID=3"]


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


def test_of_several_studies_each_instance_is_judged_by_its_own_series() -> None:
    archive = Lax(
        study("1", series("9.1", image("1.1.1"), InstitutionName="Main")),
        study("2", series("9.1", image("2.1.1"), InstitutionName="Other")),
    )
    archive.leaves_out = set()
    archive._matches = lambda find: Keeper._matches(archive, find)  # type: ignore[method-assign]
    below = Find(Level.IMAGE, keys(StudyInstanceUID=["1", "2"], SeriesInstanceUID="9.1"))
    assert confined(archive, InstitutionName="Main").uids(below, "SOPInstanceUID") == ["1.1.1"]


def test_a_series_that_is_listed_once_only_is_looked_at_by_what_was_listed() -> None:
    """An archive that gives a series to a client's query, and not to ours."""
    archive = Lax(study("1", series("1.1", image("1.1.1"), InstitutionName="Main")))
    plain = archive._matches
    archive._matches = lambda find: plain(find) if tag("Modality") not in find.return_keys else []  # type: ignore[method-assign]
    found = confined(archive, InstitutionName="Main").uids(
        Find(Level.SERIES, keys(StudyInstanceUID="1")), "SeriesInstanceUID"
    )
    assert found == ["1.1"]
