from typing import Any

import pytest

from harmonygw.dicom.web.resources import parse
from harmonygw.errors import NotFound
from harmonygw.exchange import HTTPOrigin, Request
from harmonygw.middleware.dicomweb_bridge import representative as module
from harmonygw.middleware.dicomweb_bridge.representative import representative
from tests.middleware.dicomweb_bridge.archive import Archive, Entity, image, result_of, series, study


def chosen(archive: Archive, target: str) -> Any:
    request = Request(HTTPOrigin("GET", ()), "10.0.0.1", "id")
    return result_of(representative(request, parse(f"{target}/thumbnail".split("/")), archive.proceed))


def stack(uid: str, count: int, **others: Any) -> Entity:
    images = [image(f"{uid}.{number}", InstanceNumber=number) for number in range(count, 0, -1)]
    return series(uid, *images, **others)


def test_an_instance_stands_for_itself_and_nothing_is_asked() -> None:
    archive = Archive()
    resource = chosen(archive, "studies/1/series/1.1/instances/1.1.1/frames/2")
    assert (resource.instance, resource.frames, archive.asked) == ("1.1.1", (2,), [])


@pytest.mark.parametrize(("count", "number"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_the_middle_instance_stands_for_a_series(count: int, number: int) -> None:
    archive = Archive(study("1", stack("1.1", count)))
    assert chosen(archive, "studies/1/series/1.1").instance == f"1.1.{number}"
    assert archive.log == ["IMAGE SeriesInstanceUID=1.1 StudyInstanceUID=1"]


def test_the_first_series_with_pictures_stands_for_a_study() -> None:
    archive = Archive(
        study(
            "1",
            stack("1.1", 1, Modality="SR", SeriesNumber=1),
            stack("1.3", 1, Modality="CT", SeriesNumber=3),
            stack("1.2", 3, Modality="MR", SeriesNumber=2),
            stack("1.4", 1, Modality="CT"),
        )
    )
    resource = chosen(archive, "studies/1")
    assert (resource.study, resource.series, resource.instance) == ("1", "1.2", "1.2.2")
    assert archive.log == ["SERIES StudyInstanceUID=1", "IMAGE SeriesInstanceUID=1.2 StudyInstanceUID=1"]
    assert all(not answer.open for answer in archive.answers)


def test_a_series_without_pictures_stands_for_a_study_that_has_no_other() -> None:
    archive = Archive(study("1", stack("1.1", 1, Modality="SR")))
    assert chosen(archive, "studies/1").instance == "1.1.1"


@pytest.mark.parametrize("number", [None, "x"])
def test_numbers_that_are_none_come_last(number: str | None) -> None:
    archive = Archive(study("1", series("1.1", image("a", InstanceNumber=number), image("b", InstanceNumber=7))))
    assert chosen(archive, "studies/1/series/1.1").instance == "a"
    archive = Archive(study("1", series("1.1", image("a", InstanceNumber=number), *stack("b", 2).children)))
    assert chosen(archive, "studies/1/series/1.1").instance == "b.2"


def test_no_more_rows_than_the_limit_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    archive = Archive(study("1", stack("1.1", 10)))
    assert chosen(archive, "studies/1/series/1.1").instance == "1.1.9"
    assert (archive.taken, archive.cancelled) == ([3], [True])


@pytest.mark.parametrize("target", ["studies/9", "studies/1/series/9", "studies/2"])
def test_what_there_is_nothing_of_is_not_found(target: str) -> None:
    with pytest.raises(NotFound):
        chosen(Archive(study("1", stack("1.1", 1)), study("2", series("2.1"))), target)


def test_a_row_without_its_uid_is_not_found() -> None:
    with pytest.raises(NotFound):
        chosen(Archive(study("1", stack("1.1", 1)), leaves_out=["SOPInstanceUID"]), "studies/1/series/1.1")
