"""The DIMSE status of every error: the only place where it is decided."""

from enum import IntEnum

from harmonygw import errors
from harmonygw.dicom.dimse.statuses import (
    CANNOT_UNDERSTAND,
    IDENTIFIER_DOES_NOT_MATCH,
    MOVE_DESTINATION_UNKNOWN,
    NOT_AUTHORIZED,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    UNABLE_TO_PERFORM_SUB_OPERATIONS,
    UNABLE_TO_PROCESS,
    Category,
    category,
)


class Service(IntEnum):
    """The services whose tables of statuses differ: columns below (PS3.4 Tables B.2-1, C.4-1, C.4-2 and C.4-3; for
    verification the general ones of PS3.7 Annex C)."""

    STORAGE = 0
    FIND = 1
    RETRIEVE = 2
    VERIFICATION = 3


STATUSES: tuple[tuple[type[errors.HarmonyError], tuple[int, int, int, int]], ...] = (
    (errors.Denied, (NOT_AUTHORIZED, NOT_AUTHORIZED, NOT_AUTHORIZED, NOT_AUTHORIZED)),
    # Nothing found is an answer: no match, no sub-operation.
    (errors.NotFound, (CANNOT_UNDERSTAND, SUCCESS, SUCCESS, PROCESSING_FAILURE)),
    (errors.TooLarge, (OUT_OF_RESOURCES, OUT_OF_RESOURCES, UNABLE_TO_PERFORM_SUB_OPERATIONS, PROCESSING_FAILURE)),
    (errors.BadRequest, (CANNOT_UNDERSTAND, IDENTIFIER_DOES_NOT_MATCH, IDENTIFIER_DOES_NOT_MATCH, PROCESSING_FAILURE)),
    (errors.Conflict, (CANNOT_UNDERSTAND, IDENTIFIER_DOES_NOT_MATCH, IDENTIFIER_DOES_NOT_MATCH, PROCESSING_FAILURE)),
    (
        errors.NotAcceptable,
        (CANNOT_UNDERSTAND, IDENTIFIER_DOES_NOT_MATCH, UNABLE_TO_PERFORM_SUB_OPERATIONS, PROCESSING_FAILURE),
    ),
    (errors.Busy, (OUT_OF_RESOURCES, OUT_OF_RESOURCES, UNABLE_TO_PERFORM_SUB_OPERATIONS, RESOURCE_LIMITATION)),
    # A modality keeps what was refused for lack of resources and sends it again; what could not be understood it
    # may give up.
    (errors.TimedOut, (OUT_OF_RESOURCES, UNABLE_TO_PROCESS, UNABLE_TO_PROCESS, PROCESSING_FAILURE)),
    (errors.TransportError, (OUT_OF_RESOURCES, UNABLE_TO_PROCESS, UNABLE_TO_PROCESS, PROCESSING_FAILURE)),
    (errors.HarmonyError, (PROCESSING_FAILURE, UNABLE_TO_PROCESS, UNABLE_TO_PROCESS, PROCESSING_FAILURE)),
)
"""Of each error the status as of storage, query, retrieval and verification, the first row that fits."""

UNFORESEEN = (PROCESSING_FAILURE, UNABLE_TO_PROCESS, UNABLE_TO_PROCESS, PROCESSING_FAILURE)
"""Of an exception that is none of `errors`."""


REFUSALS = frozenset({NOT_AUTHORIZED, SOP_CLASS_NOT_SUPPORTED, MOVE_DESTINATION_UNKNOWN, IDENTIFIER_DOES_NOT_MATCH})
"""Statuses of requests that were wrong, or not allowed: nothing of ours failed."""


def status_of(error: errors.HarmonyError, service: Service) -> int:
    """Return the status of a response that `error` prevented; a failure that the archive gave is passed on."""
    given = error.status if isinstance(error, errors.RejectedError) else None
    if given is not None and category(given) is Category.FAILURE:
        return given
    return next(statuses[service] for kind, statuses in STATUSES if isinstance(error, kind))


def comment_of(error: errors.HarmonyError) -> str:
    """Return the Error Comment (0000,0902) for `error`; what a policy forbids is not explained."""
    return "not authorized" if isinstance(error, errors.Denied) else error.detail
