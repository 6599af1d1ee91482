"""Searches across the levels, by the Finds that they cost."""

import pytest

from harmonygw.dicom.web.attributes import Level
from harmonygw.errors import PeerError, RejectedError, TooLarge
from harmonygw.middleware.dicomweb_bridge import walking
from tests.middleware.dicomweb_bridge.archive import (
    Archive,
    Entity,
    Gateway,
    body_of,
    image,
    series,
    study,
    warnings_of,
)


def hospital(**options: object) -> Archive:
    return Archive(
        study("1", series("1.1", image("1.1.1"), image("1.1.2")), series("1.2", image("1.2.1"), Modality="MR")),
        study("2", series("2.1", image("2.1.1"), Modality="MR"), StudyDate="20240101"),
        study("3", series("3.1", image("3.1.1"), Modality="US")),
        **options,  # type: ignore[arg-type]
    )


# Relational queries


@pytest.mark.parametrize(
    ("target", "keyword", "uids", "finds"),
    [
        ("series", "SeriesInstanceUID", ["1.1", "1.2", "2.1", "3.1"], ["SERIES*"]),
        ("series?PatientID=P1", "SeriesInstanceUID", ["1.1", "1.2"], ["SERIES* PatientID=P1"]),
        ("series?StudyInstanceUID=1,3", "SeriesInstanceUID", ["1.1", "1.2", "3.1"], ["SERIES* StudyInstanceUID=1+3"]),
        ("studies/1/instances", "SOPInstanceUID", ["1.1.1", "1.1.2", "1.2.1"], ["IMAGE* StudyInstanceUID=1"]),
        ("instances?Modality=MR", "SOPInstanceUID", ["1.2.1", "2.1.1"], ["IMAGE* Modality=MR"]),
        ("studies?Modality=MR", "StudyInstanceUID", ["1", "2"], ["SERIES* Modality=MR"]),
        ("studies?SOPInstanceUID=2.1.1,1.1.2", "StudyInstanceUID", ["1", "2"], ["IMAGE* SOPInstanceUID=2.1.1+1.1.2"]),
        (
            "series?ModalitiesInStudy=US,MR&PatientName=Doe*",
            "SeriesInstanceUID",
            ["3.1", "1.1", "1.2", "2.1"],
            [
                "SERIES* ModalitiesInStudy=US PatientName=Doe*",
                "SERIES* ModalitiesInStudy=MR PatientName=Doe*",
            ],
        ),
    ],
)
def test_an_archive_with_relational_queries_is_asked_at_once(
    target: str, keyword: str, uids: list[str], finds: list[str]
) -> None:
    archive = hospital(relational=True)
    assert Gateway(archive).uids(target, keyword) == uids
    assert archive.log == finds


@pytest.mark.parametrize(
    "target", ["studies", "studies/1/series", "studies/1/series/1.1/instances", "studies?PatientID=P1"]
)
def test_what_one_level_answers_is_not_asked_relationally(target: str) -> None:
    archive = hospital(relational=True)
    assert Gateway(archive).search(target)
    assert [find.relational for find in archive.asked] == [False]


def test_a_study_found_by_its_series_shows_nothing_of_them() -> None:
    archive = hospital(relational=True)
    (match,) = Gateway(archive).search("studies?Modality=CT")
    assert match["00100020"]["Value"] == ["P1"]
    assert not {"00080060", "0020000E"} & set(match)
    assert archive.asked[0].limit is None


def test_relational_matches_that_the_archive_got_wrong_are_dropped() -> None:
    archive = hospital(relational=True, ignores=["Modality", "StudyDate"])
    gateway = Gateway(archive)
    assert gateway.uids("studies?Modality=MR&StudyDate=20240101") == ["2"]
    assert gateway.uids("series?Modality=MR&StudyDate=20250101-", "SeriesInstanceUID") == ["1.2"]


def test_relational_matches_have_the_uids_of_the_path() -> None:
    archive = hospital(relational=True, leaves_out=["StudyInstanceUID"])
    matches = Gateway(archive).search("studies/1/instances")
    assert {match["0020000D"]["Value"][0] for match in matches} == {"1"}
    assert all(match["00081190"]["Value"][0].endswith(match["00080018"]["Value"][0]) for match in matches)


def test_a_relational_page_is_cancelled_as_any_other() -> None:
    archive = hospital(relational=True)
    assert Gateway(archive).uids("instances?limit=2", "SOPInstanceUID") == ["1.1.1", "1.1.2"]
    assert (archive.asked[0].limit, archive.taken, archive.cancelled) == (2, [2], [True])


# The hierarchy


@pytest.mark.parametrize(
    ("target", "keyword", "uids", "finds"),
    [
        (
            "series?PatientID=P1",
            "SeriesInstanceUID",
            ["1.1", "1.2"],
            ["STUDY PatientID=P1", "SERIES StudyInstanceUID=1"],
        ),
        (
            "series?StudyInstanceUID=1,3",
            "SeriesInstanceUID",
            ["1.1", "1.2", "3.1"],
            ["STUDY StudyInstanceUID=1+3", "SERIES StudyInstanceUID=1", "SERIES StudyInstanceUID=3"],
        ),
        (
            "studies/1/instances?SeriesInstanceUID=1.1,1.2",
            "SOPInstanceUID",
            ["1.1.1", "1.1.2", "1.2.1"],
            [
                "SERIES SeriesInstanceUID=1.1+1.2 StudyInstanceUID=1",
                "IMAGE SeriesInstanceUID=1.1 StudyInstanceUID=1",
                "IMAGE SeriesInstanceUID=1.2 StudyInstanceUID=1",
            ],
        ),
        (
            "studies/1/series/1.1/instances?SOPInstanceUID=1.1.1,1.1.2",
            "SOPInstanceUID",
            ["1.1.1", "1.1.2"],
            ["IMAGE SOPInstanceUID=1.1.1+1.1.2 SeriesInstanceUID=1.1 StudyInstanceUID=1"],
        ),
        (
            "instances?Modality=MR&StudyDate=20250101-",
            "SOPInstanceUID",
            ["1.2.1"],
            [
                "STUDY StudyDate=20250101-",
                "SERIES Modality=MR StudyInstanceUID=1",
                "IMAGE SeriesInstanceUID=1.2 StudyInstanceUID=1",
                "SERIES Modality=MR StudyInstanceUID=3",
            ],
        ),
        (
            "studies/1/series?PatientName=Doe*",
            "SeriesInstanceUID",
            ["1.1", "1.2"],
            ["STUDY PatientName=Doe* StudyInstanceUID=1", "SERIES StudyInstanceUID=1"],
        ),
        (
            "studies/1/series?PatientName=Nobody",
            "SeriesInstanceUID",
            [],
            ["STUDY PatientName=Nobody StudyInstanceUID=1"],
        ),
        (
            "studies?Modality=MR",
            "StudyInstanceUID",
            ["1", "2"],
            [
                "STUDY",
                "SERIES Modality=MR StudyInstanceUID=1",
                "SERIES Modality=MR StudyInstanceUID=2",
                "SERIES Modality=MR StudyInstanceUID=3",
            ],
        ),
        (
            "studies?PatientID=P1&SOPInstanceUID=1.2.1",
            "StudyInstanceUID",
            ["1"],
            [
                "STUDY PatientID=P1",
                "SERIES StudyInstanceUID=1",
                "IMAGE SOPInstanceUID=1.2.1 SeriesInstanceUID=1.1 StudyInstanceUID=1",
                "IMAGE SOPInstanceUID=1.2.1 SeriesInstanceUID=1.2 StudyInstanceUID=1",
            ],
        ),
        (
            "studies?PatientID=P2&SOPInstanceUID=9",
            "StudyInstanceUID",
            [],
            [
                "STUDY PatientID=P2",
                "SERIES StudyInstanceUID=2",
                "IMAGE SOPInstanceUID=9 SeriesInstanceUID=2.1 StudyInstanceUID=2",
            ],
        ),
        (
            "series?PatientID=P2&SOPInstanceUID=2.1.1",
            "SeriesInstanceUID",
            ["2.1"],
            [
                "STUDY PatientID=P2",
                "SERIES StudyInstanceUID=2",
                "IMAGE SOPInstanceUID=2.1.1 SeriesInstanceUID=2.1 StudyInstanceUID=2",
            ],
        ),
        (
            "studies/1/series?InstanceNumber=7",
            "SeriesInstanceUID",
            [],
            [
                "SERIES StudyInstanceUID=1",
                "IMAGE InstanceNumber=7 SeriesInstanceUID=1.1 StudyInstanceUID=1",
                "IMAGE InstanceNumber=7 SeriesInstanceUID=1.2 StudyInstanceUID=1",
            ],
        ),
    ],
)
def test_an_archive_without_relational_queries_is_walked(
    target: str, keyword: str, uids: list[str], finds: list[str]
) -> None:
    archive = hospital()
    assert Gateway(archive).uids(target, keyword) == uids
    asked_first = [] if archive.log[0] != "relational?" else ["relational?"]
    assert archive.log == [*asked_first, *finds]


def test_a_walk_ends_with_the_page() -> None:
    archive = hospital()
    assert Gateway(archive).uids("instances?limit=1", "SOPInstanceUID") == ["1.1.1"]
    assert archive.log == [
        "relational?",
        "STUDY",
        "SERIES StudyInstanceUID=1",
        "IMAGE SeriesInstanceUID=1.1 StudyInstanceUID=1",
    ]
    assert archive.cancelled == [False, False, True]


def test_one_child_is_enough_to_tell() -> None:
    archive = hospital()
    assert Gateway(archive).uids("studies?SOPClassUID=1.2.840.10008.5.1.4.1.1.2&limit=1") == ["1"]
    assert archive.taken[-1:] == [1]
    assert archive.cancelled[-1:] == [True]


@pytest.mark.parametrize("target", ["studies?Modality=MR", "series?Modality=MR"])
def test_levels_that_the_archive_got_wrong_are_checked(target: str) -> None:
    archive = hospital(ignores=["Modality"])
    assert Gateway(archive).uids(target) == ["1", "2"]


def test_children_of_another_parent_are_dropped() -> None:
    archive = hospital(ignores=["StudyInstanceUID"])
    assert Gateway(archive).uids("studies/2/series", "SeriesInstanceUID") == ["2.1"]


def test_parents_that_lack_their_modalities_are_completed_and_checked() -> None:
    archive = hospital(ignores=["ModalitiesInStudy"], leaves_out=["ModalitiesInStudy"])
    reply = Gateway(archive).reply("series?ModalitiesInStudy=US")
    assert warnings_of(reply) == []
    assert b"3.1" in body_of(reply)
    assert archive.log == [
        "relational?",
        "STUDY ModalitiesInStudy=US",
        *(f"SERIES StudyInstanceUID={uid}" for uid in ("1", "2", "3", "3")),
    ]


def test_parents_that_cannot_be_checked_are_walked_with_a_warning() -> None:
    archive = hospital(ignores=["StudyDate"], leaves_out=["StudyDate"])
    reply = Gateway(archive).reply("series?StudyDate=20240101&PatientID=P1")
    assert body_of(reply).count(b"/series/1.") == 2
    sentence = "Some matches lack (0008,0020); whether they match it is not known."
    assert warnings_of(reply) == [f'299 harmonygw "{sentence}"']


def test_children_that_cannot_be_checked_count_with_a_warning() -> None:
    archive = hospital(ignores=["Modality"], leaves_out=["Modality"])
    reply = Gateway(archive).reply("studies?Modality=US&PatientID=P1")
    assert body_of(reply).count(b"/studies/1") == 1
    assert len(warnings_of(reply)) == 1


def test_a_parent_without_unique_key_cannot_be_walked() -> None:
    archive = Archive(Entity({}, []), leaves_out=["StudyInstanceUID"])
    with pytest.raises(PeerError, match="STUDY without its unique key"):
        Gateway(archive).reply("series")


def test_a_parent_that_is_given_twice_is_walked_once() -> None:
    one = study("1", series("1.1"))
    archive = Archive(one, one)
    assert Gateway(archive).uids("series", "SeriesInstanceUID") == ["1.1"]
    assert archive.log == ["relational?", "STUDY", "SERIES StudyInstanceUID=1"]


# Bounds


@pytest.mark.parametrize(("limit", "fits"), [(3, True), (2, False), (0, False)])
@pytest.mark.parametrize("target", ["series", "studies?Modality=MR"])
def test_so_many_parents_are_walked_and_no_more(target: str, limit: int, fits: bool) -> None:
    gateway = Gateway(hospital(), hierarchy_limit=limit)
    if fits:
        assert gateway.search(target)
    else:
        with pytest.raises(TooLarge, match=rf"{limit} matches.*hierarchy_limit.*StudyInstanceUID"):
            gateway.reply(target)


@pytest.mark.parametrize(("limit", "fits"), [(7, True), (6, False)])
def test_the_bound_is_that_of_all_levels_together(limit: int, fits: bool) -> None:
    gateway = Gateway(hospital(), hierarchy_limit=limit)
    if fits:
        assert len(gateway.search("instances")) == 5
    else:
        with pytest.raises(TooLarge):
            gateway.reply("instances")


def test_children_beyond_the_bound_are_told_of() -> None:
    archive = Archive(study("1", *(series(f"1.{number}", image(f"1.{number}.1")) for number in range(3))))
    with pytest.raises(TooLarge):
        Gateway(archive, hierarchy_limit=2).reply("studies?SOPInstanceUID=9")
    archive = Archive(study("1", *(series(f"1.{number}") for number in range(2))))
    with pytest.raises(TooLarge):
        Gateway(archive, hierarchy_limit=1).reply("studies?SOPInstanceUID=9")


def test_a_page_that_is_full_before_the_bound_is_answered() -> None:
    archive = hospital()
    gateway = Gateway(archive, hierarchy_limit=2)
    assert gateway.uids("series?limit=3", "SeriesInstanceUID") == ["1.1", "1.2", "2.1"]
    assert gateway.uids("studies?Modality=MR&limit=2") == ["1", "2"]


def test_a_search_without_parents_has_no_such_bound() -> None:
    assert len(Gateway(hospital(), hierarchy_limit=0).search("studies")) == 3


# Several values


def test_uids_are_asked_for_so_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "MAX_UIDS", 2)
    archive = hospital()
    assert Gateway(archive).uids("studies?StudyInstanceUID=3,2,1") == ["2", "3", "1"]
    assert archive.log == ["STUDY StudyInstanceUID=3+2", "STUDY StudyInstanceUID=1"]


def test_combinations_of_values_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "MAX_UIDS", 1)
    monkeypatch.setattr(walking, "MAX_ALTERNATIVES", 4)
    archive = hospital()
    assert Gateway(archive).uids("studies?StudyInstanceUID=1,2&ModalitiesInStudy=CT,US") == ["1"]
    assert archive.log == [
        "STUDY ModalitiesInStudy=CT StudyInstanceUID=1",
        "STUDY ModalitiesInStudy=US StudyInstanceUID=1",
        "STUDY ModalitiesInStudy=CT StudyInstanceUID=2",
        "STUDY ModalitiesInStudy=US StudyInstanceUID=2",
    ]
    with pytest.raises(TooLarge, match="6 combinations of values; at most 4"):
        Gateway(archive).reply("studies?StudyInstanceUID=1,2,3&ModalitiesInStudy=CT,US")


def test_a_failure_ends_the_walk() -> None:
    archive = hospital(refuses=[Level.SERIES])
    with pytest.raises(RejectedError):
        Gateway(archive).reply("series")
    assert [find.level for find in archive.asked[1:]] == [Level.STUDY, Level.SERIES]
