import pytest

from harmonygw import errors
from harmonygw.endpoints.dicom_scp.statuses import Service, status_of
from harmonygw.middleware.dicom_to_dicomweb.statuses import (
    LONGEST_RETRY_AFTER,
    STATUSES,
    USUAL_RETRY_AFTER,
    error_of,
    meaning_of,
    seconds_of,
)

SERVICES = (Service.STORAGE, Service.FIND, Service.RETRIEVE)


@pytest.mark.parametrize(
    ("status", "kind", "dimse"),
    [
        # As of C-STORE, C-FIND, and C-GET or C-MOVE.
        (400, errors.BadRequest, "C000 A900 A900"),
        (401, errors.Denied, "0124 0124 0124"),
        (403, errors.Denied, "0124 0124 0124"),
        (404, errors.NotFound, "C000 0000 0000"),
        (405, errors.RejectedError, "0110 C000 C000"),
        (406, errors.NotAcceptable, "C000 A900 A702"),
        (408, errors.TimedOut, "A700 C000 C000"),
        (409, errors.Conflict, "C000 A900 A900"),
        (410, errors.NotFound, "C000 0000 0000"),
        (413, errors.TooLarge, "A700 A700 A702"),
        (415, errors.NotAcceptable, "C000 A900 A702"),
        (418, errors.BadRequest, "C000 A900 A900"),
        (429, errors.Busy, "A700 A700 A702"),
        (500, errors.RejectedError, "0110 C000 C000"),
        (502, errors.TransportError, "A700 C000 C000"),
        (503, errors.Busy, "A700 A700 A702"),
        (504, errors.TimedOut, "A700 C000 C000"),
        (507, errors.RejectedError, "A700 A700 A700"),
        (599, errors.RejectedError, "0110 C000 C000"),
        (302, errors.RejectedError, "0110 C000 C000"),
        (201, errors.PeerError, "0110 C000 C000"),
    ],
)
def test_an_http_status_becomes_an_error_and_that_a_dimse_status(
    status: int, kind: type[errors.HarmonyError], dimse: str
) -> None:
    error = error_of(status, log_detail="said")
    assert type(error) is kind
    assert error.log_detail == "said"
    assert f"(HTTP {status})" in error.detail
    assert " ".join(f"{status_of(error, service):04X}" for service in SERVICES) == dimse


def test_every_sentence_fits_an_error_comment() -> None:
    # (0000,0902) is an LO of 64 characters (PS3.7 Annex E).
    for status in (*STATUSES, 302, 418, 599, 201):
        assert len(error_of(status).detail) <= 64, meaning_of(status)


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("7", 7),
        (" 0 ", 1),
        ("99999999999999999999", LONGEST_RETRY_AFTER),
        ("", USUAL_RETRY_AFTER),
        ("-1", USUAL_RETRY_AFTER),
        ("Wed, 21 Oct 2026 07:28:00 GMT", USUAL_RETRY_AFTER),
        ("²", USUAL_RETRY_AFTER),
    ],
)
def test_a_busy_server_says_how_long_to_wait(field: str, seconds: int) -> None:
    assert seconds_of(field) == seconds
    error = error_of(503, retry_after=field)
    assert isinstance(error, errors.Busy)
    assert error.retry_after == seconds
