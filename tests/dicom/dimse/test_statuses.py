"""Status codes held against pynetdicom's tables."""

import pytest
from pynetdicom.status import (
    GENERAL_STATUS,
    QR_FIND_SERVICE_CLASS_STATUS,
    QR_GET_SERVICE_CLASS_STATUS,
    QR_MOVE_SERVICE_CLASS_STATUS,
    STORAGE_SERVICE_CLASS_STATUS,
)

from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.statuses import Category, category, describe

KNOWN = {
    status: row[0]
    for table in (
        GENERAL_STATUS,
        STORAGE_SERVICE_CLASS_STATUS,
        QR_FIND_SERVICE_CLASS_STATUS,
        QR_GET_SERVICE_CLASS_STATUS,
        QR_MOVE_SERVICE_CLASS_STATUS,
    )
    for status, row in table.items()
}


def test_every_known_status_has_the_category_that_pynetdicom_gives_it() -> None:
    assert {status: category(status).value for status in KNOWN} == {
        status: name.lower() for status, name in KNOWN.items()
    }


def test_every_known_status_has_a_name() -> None:
    assert [status for status in KNOWN if "Unknown" in describe(status)] == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (statuses.SUCCESS, Category.SUCCESS),
        (statuses.PENDING, Category.PENDING),
        (statuses.PENDING_WARNING, Category.PENDING),
        (statuses.CANCEL, Category.CANCEL),
        (statuses.SUB_OPERATIONS_WARNING, Category.WARNING),
        (0xBFFF, Category.WARNING),
        (0x0001, Category.WARNING),
        (statuses.OUT_OF_RESOURCES, Category.FAILURE),
        (0xAFFF, Category.FAILURE),
        (0xC000, Category.FAILURE),
        (0xFF02, Category.FAILURE),
        (0x0002, Category.FAILURE),
    ],
)
def test_a_status_has_one_category(status: int, expected: Category) -> None:
    assert category(status) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, "0000H (Success)"),
        (0xA700, "A700H (Refused: Out of Resources)"),
        (0xA7FF, "A7FFH (Refused: Out of Resources)"),
        (0xA801, "A801H (Refused: Move Destination unknown)"),
        (0xC123, "C123H (Cannot understand, or unable to process)"),
        (0xB123, "B123H (Warning)"),
        (0xD000, "D000H (Unknown failure)"),
    ],
)
def test_a_status_is_described_by_code_and_name(status: int, expected: str) -> None:
    assert describe(status) == expected
