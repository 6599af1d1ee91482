"""Several archives behind one who is confined: what each has is his or is not, and no merging shows more."""

from typing import Any

import pytest

from harmonygw.errors import NotFound
from harmonygw.exchange import SOURCE, Request
from harmonygw.operations import ContestedMatch, Find, Level, Retrieve
from harmonygw.streams import Instance
from tests.confining.archive import confined, elements, image, keys, object_of, series, study, tag
from tests.several.archives import PACS, Hospital


class Holding(PACS):
    """An archive with objects."""

    def instances_of(self, retrieve: Retrieve) -> list[Instance]:
        rows = {row[tag("SOPInstanceUID")]["Value"][0]: row for row in self._rows(2)}
        found = super().instances_of(retrieve)
        wanted = {
            tag(name) for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Modality")
        }
        return [
            object_of({name: value for name, value in rows[one.sop_instance_uid].items() if name in wanted})
            for one in found
        ]


def archives() -> dict[str, PACS]:
    return {
        "ONE": Holding(
            study("1", series("1.1", image("1.1.1")), PatientID="A"),
            study("3", series("3.1", image("3.1.1")), PatientID="B"),
        ),
        "TWO": Holding(
            study("1", series("1.2", image("1.2.1")), PatientID="B"),
            study("2", series("2.1", image("2.1.1")), PatientID="B"),
            study("3", series("3.2", image("3.2.1"), Modality="US"), PatientID="B"),
        ),
    }


def somebody(**restriction: Any) -> confined:
    hospital = Hospital(archives())
    hospital.proceed = hospital._proceed  # type: ignore[attr-defined]
    return confined(hospital, **restriction)  # type: ignore[arg-type]


STUDIES = Find(Level.STUDY, {}, elements(StudyInstanceUID=None))


def test_of_a_contested_study_the_one_that_is_his_is_shown() -> None:
    who = somebody(PatientID="B")
    rows = who.rows(STUDIES)
    found = sorted((row[tag("StudyInstanceUID")]["Value"][0], getattr(row, "source", "")) for row in rows)
    assert found == [("1", "TWO"), ("2", ""), ("3", "")]
    for uid, title, sent in (("1", "TWO", ["1.2.1"]), ("2", "", ["2.1.1"]), ("3", "", ["3.1.1", "3.2.1"])):
        source = {SOURCE: title} if title else {}
        assert sorted(who.sent(Retrieve(Level.STUDY, uid), attributes=source)) == sent
        series_found = who.uids(Find(Level.SERIES, keys(StudyInstanceUID=uid)), "SeriesInstanceUID", attributes=source)
        assert [f"{one}.1" for one in sorted(series_found)] == sent


@pytest.mark.parametrize("source", [{}, {SOURCE: "ONE"}])
def test_and_the_other_is_not_whoever_is_asked(source: dict[str, str]) -> None:
    who = somebody(PatientID="B")
    with pytest.raises(NotFound):
        who.reply(Retrieve(Level.STUDY, "1"), attributes=source)
    assert who.rows(Find(Level.SERIES, keys(StudyInstanceUID="1")), attributes=source) == []
    with pytest.raises(NotFound, match="nothing under these UIDs"):
        who.reply(Retrieve(Level.STUDY, "1"), attributes={SOURCE: "NOWHERE"})


def test_a_study_in_parts_is_shown_in_the_parts_that_comply() -> None:
    who = somebody(Modality="US")
    assert who.uids(STUDIES) == ["3"]
    assert who.sent(Retrieve(Level.STUDY, "3")) == ["3.2.1"]
    assert who.uids(Find(Level.SERIES, keys(StudyInstanceUID="3")), "SeriesInstanceUID") == ["3.2"]


def test_the_request_that_is_passed_on_is_held_to_nothing_more() -> None:
    who = somebody(PatientID="B")
    seen: list[Request] = []

    def proceed(request: Request) -> Any:
        seen.append(request)
        return who.archive.proceed(request)

    who.reply(STUDIES, proceed)
    assert [one.restrictions for one in seen] == [()]
    assert issubclass(ContestedMatch, dict)
