"""What cannot be seen in a Search; the rest is in `test_searching`."""

import pytest
from twisted.internet.defer import Deferred

from harmonygw.dicom.web.attributes import Level
from harmonygw.exchange import AssociationOrigin, Request
from harmonygw.middleware.dicomweb_bridge.inquiry import Inquiry
from harmonygw.middleware.dicomweb_bridge.synthesis import LEFT_OUT, SYNTHESISED, Synthesis
from tests.middleware.dicomweb_bridge.archive import Archive, elements, image, result_of, series, study

MODALITIES, SERIES, INSTANCES = SYNTHESISED[Level.STUDY]


def synthesis_of(archive: Archive, budget: int = 10) -> tuple[Synthesis, Request]:
    request = Request(AssociationOrigin("A", "B"), "", "id")
    return Synthesis(Inquiry(request, archive.proceed), budget), request


def one_study() -> Archive:
    return Archive(study("1", series("1.2", image("1.2.1")), series("1.1", image("1.1.1"), Modality="CR")))


@pytest.mark.parametrize(
    ("tags", "asked", "made"),
    [
        ((), None, {}),
        ((MODALITIES,), {"00080060", "0020000E"}, elements(ModalitiesInStudy=["CR", "CT"])),
        ((SERIES,), {"0020000E"}, elements(NumberOfStudyRelatedSeries=2)),
        ((INSTANCES, "00100010"), {"0020000E", "00201209"}, elements(NumberOfStudyRelatedInstances=2)),
    ],
)
def test_no_more_is_asked_than_is_lacking(tags: tuple[str, ...], asked: set[str] | None, made: object) -> None:
    archive = one_study()
    row = elements(StudyInstanceUID="1")
    result_of(synthesis_of(archive)[0].complete(row, Level.STUDY, tags))
    assert row == {**elements(StudyInstanceUID="1"), **made}  # type: ignore[dict-item]
    assert [set(find.return_keys) for find in archive.asked] == ([] if asked is None else [asked])


def test_what_is_there_stays() -> None:
    archive = one_study()
    row = elements(StudyInstanceUID="1", ModalitiesInStudy="OT", NumberOfStudyRelatedSeries=0)
    result_of(synthesis_of(archive)[0].complete(row, Level.STUDY, (MODALITIES, SERIES)))
    assert row == elements(StudyInstanceUID="1", ModalitiesInStudy="OT", NumberOfStudyRelatedSeries=0)
    assert archive.asked == []


def test_a_match_without_its_uid_cannot_be_completed() -> None:
    archive = one_study()
    synthesis, request = synthesis_of(archive)
    row = elements(PatientID="P")
    result_of(synthesis.complete(row, Level.STUDY, SYNTHESISED[Level.STUDY]))
    assert (row, archive.asked, request.record.notes) == (elements(PatientID="P"), [], [LEFT_OUT])


def test_an_image_has_nothing_below_it() -> None:
    archive = one_study()
    result_of(synthesis_of(archive)[0].complete({}, Level.IMAGE, SYNTHESISED[Level.STUDY]))
    assert archive.asked == []


def test_the_queries_end_when_the_request_is_cancelled() -> None:
    synthesis = Synthesis(Inquiry(Request(AssociationOrigin("A", "B"), "", "id"), lambda request: waiting), 10)
    waiting: Deferred[object] = Deferred()
    completing = Deferred.fromCoroutine(
        synthesis.complete(elements(StudyInstanceUID="1"), Level.STUDY, SYNTHESISED[Level.STUDY])
    )
    failures: list[object] = []
    completing.addErrback(failures.append)
    completing.cancel()
    assert len(failures) == 1
    assert waiting.called
