"""What the tests in `test_searching.py` and beside it share."""

from typing import Any

from tests.middleware.dicomweb_bridge.archive import (
    Entity,
    image,
    series,
    study,
)

COUNTS = ("ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances")
WITHOUT_COUNTS = (*COUNTS, "NumberOfSeriesRelatedInstances")
OHIF = "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*; transfer-syntax=*"


def warning(sentence: str) -> str:
    return f'299 harmonygw "{sentence}"'


def studies(count: int, **attributes: Any) -> list[Entity]:
    return [study(str(number), series(f"{number}.1"), **attributes) for number in range(1, count + 1)]


def two_studies() -> list[Entity]:
    return [
        study(
            "1",
            series("1.1", image("1.1.1", Rows=512), image("1.1.2"), SeriesNumber=1),
            series("1.2", image("1.2.1"), Modality="MR"),
        ),
        study("2", series("2.1", image("2.1.1"), Modality="MR"), StudyDate="20240101"),
    ]
