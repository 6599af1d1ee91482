"""What an HTTP status of a DICOMweb server means: the only place where it is decided.

It becomes an error of `errors`, and the endpoint makes of that the status of its own protocol
(`endpoints/dicom_scp/statuses.py` for DIMSE). What a server says of an instance that it was to store stands in its
response and not in the HTTP status: see `storing`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from harmonygw import errors
from harmonygw.dicom.dimse.statuses import OUT_OF_RESOURCES

LONGEST_RETRY_AFTER: Final = 3600
"""Seconds that a server can ask us to wait at most. Default an hour: who is told more gives up anyway."""

USUAL_RETRY_AFTER: Final = 5
"""Seconds to wait when a busy server does not say."""


class Meaning(NamedTuple):
    """What becomes of an HTTP status."""

    error: type[errors.HarmonyError]
    sentence: str
    """What the server did, in the words of an Error Comment."""
    status: int | None = None
    """The DIMSE status, of a `RejectedError` for which there is a better one than that for any of its kind."""


STATUSES: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        400: Meaning(errors.BadRequest, "does not understand the request"),
        # The gateway's credentials are not the client's, but the client learns no more than that it may not.
        401: Meaning(errors.Denied, "wants other credentials"),
        403: Meaning(errors.Denied, "does not allow it"),
        404: Meaning(errors.NotFound, "has no such resource"),
        405: Meaning(errors.RejectedError, "lacks this transaction"),
        406: Meaning(errors.NotAcceptable, "has no acceptable form of it"),
        407: Meaning(errors.Denied, "has a proxy that refuses us"),
        408: Meaning(errors.TimedOut, "did not get the request in time"),
        409: Meaning(errors.Conflict, "has a conflict"),
        410: Meaning(errors.NotFound, "has it no longer"),
        413: Meaning(errors.TooLarge, "finds the request too large"),
        414: Meaning(errors.TooLarge, "finds the URL too long"),
        415: Meaning(errors.NotAcceptable, "does not take this media type"),
        422: Meaning(errors.BadRequest, "cannot process the request"),
        429: Meaning(errors.Busy, "wants fewer requests"),
        431: Meaning(errors.TooLarge, "finds the header too large"),
        500: Meaning(errors.RejectedError, "failed"),
        501: Meaning(errors.RejectedError, "lacks this transaction"),
        502: Meaning(errors.TransportError, "is not reached by its proxy"),
        503: Meaning(errors.Busy, "is busy"),
        504: Meaning(errors.TimedOut, "does not answer its proxy"),
        507: Meaning(errors.RejectedError, "has no room left", OUT_OF_RESOURCES),
    }
)
"""By status. Others by their class: see `meaning_of`."""


def meaning_of(status: int) -> Meaning:
    """Return what a status means that is not the answer asked for."""
    known = STATUSES.get(status)
    if known is not None:
        return known
    if 300 <= status < 400:
        # Whoever follows it could be led anywhere, with the gateway's credentials.
        return Meaning(errors.RejectedError, "redirects elsewhere")
    if 400 <= status < 500:
        return Meaning(errors.BadRequest, "refuses the request")
    if status >= 500:
        return Meaning(errors.RejectedError, "failed")
    return Meaning(errors.PeerError, "answers something else")


def error_of(status: int, *, retry_after: str = "", log_detail: str = "") -> errors.HarmonyError:
    """Return the error that a reply with this status is; `retry_after` is that header field."""
    meaning = meaning_of(status)
    detail = f"the DICOMweb server {meaning.sentence} (HTTP {status})"
    if issubclass(meaning.error, errors.Busy):
        return meaning.error(detail, retry_after=seconds_of(retry_after), log_detail=log_detail)
    if issubclass(meaning.error, errors.RejectedError):
        return meaning.error(detail, status=meaning.status, log_detail=log_detail)
    return meaning.error(detail, log_detail=log_detail)


def seconds_of(retry_after: str) -> int:
    """Return the seconds that a Retry-After field asks for (RFC 9110 §10.2.3), from 1 to `LONGEST_RETRY_AFTER`.

    A date would have to be held against a clock that may differ from the server's: it counts as `USUAL_RETRY_AFTER`.
    """
    value = retry_after.strip()
    if value.isascii() and value.isdigit():
        return max(1, min(int(value[:9]), LONGEST_RETRY_AFTER))
    return USUAL_RETRY_AFTER
