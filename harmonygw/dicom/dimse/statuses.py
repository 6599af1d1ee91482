"""The statuses of DIMSE responses: their five categories and their names.

PS3.7 Annex C has the general ones, PS3.4 Tables B.2-1, C.4-1, C.4-2 and C.4-3 those of Storage, C-FIND,
C-MOVE and C-GET. Some codes mean different things to different services; `describe` then gives both.
"""

from enum import Enum
from typing import Final


class Category(Enum):
    """What a status says of its operation (PS3.7 §C.1 to §C.5)."""

    SUCCESS = "success"
    """It is done."""
    PENDING = "pending"
    """It goes on, and more responses follow."""
    CANCEL = "cancel"
    """It ended because it was cancelled."""
    WARNING = "warning"
    """It is done, not quite as asked."""
    FAILURE = "failure"
    """It is not done."""


SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
PENDING_WARNING: Final = 0xFF01
"""Pending, and an optional key is not supported (PS3.4 Table C.4-1)."""
CANCEL: Final = 0xFE00

ATTRIBUTE_LIST_ERROR: Final = 0x0107
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_SOP_INSTANCE: Final = 0x0111
NO_SUCH_ARGUMENT: Final = 0x0114
INVALID_ARGUMENT_VALUE: Final = 0x0115
ATTRIBUTE_VALUE_OUT_OF_RANGE: Final = 0x0116
INVALID_SOP_INSTANCE: Final = 0x0117
NO_SUCH_SOP_CLASS: Final = 0x0118
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
NOT_AUTHORIZED: Final = 0x0124
DUPLICATE_INVOCATION: Final = 0x0210
UNRECOGNIZED_OPERATION: Final = 0x0211
RESOURCE_LIMITATION: Final = 0x0213

OUT_OF_RESOURCES: Final = 0xA700
UNABLE_TO_CALCULATE_MATCHES: Final = 0xA701
UNABLE_TO_PERFORM_SUB_OPERATIONS: Final = 0xA702
MOVE_DESTINATION_UNKNOWN: Final = 0xA801
DATA_SET_DOES_NOT_MATCH: Final = 0xA900
"""Of C-STORE."""
IDENTIFIER_DOES_NOT_MATCH: Final = 0xA900
"""Of C-FIND, C-GET and C-MOVE."""
SUB_OPERATIONS_WARNING: Final = 0xB000
"""Of C-GET and C-MOVE; of C-STORE: elements were coerced."""
CANNOT_UNDERSTAND: Final = 0xC000
"""Of C-STORE."""
UNABLE_TO_PROCESS: Final = 0xC000
"""Of C-FIND, C-GET and C-MOVE."""

_NAMES: Final = {
    SUCCESS: "Success",
    PENDING: "Pending",
    PENDING_WARNING: "Pending: an optional key is not supported",
    CANCEL: "Cancelled",
    0x0001: "Warning: requested optional attributes are not supported",
    0x0105: "No such attribute",
    0x0106: "Invalid attribute value",
    ATTRIBUTE_LIST_ERROR: "Warning: attribute list error",
    PROCESSING_FAILURE: "Processing failure",
    DUPLICATE_SOP_INSTANCE: "Duplicate SOP instance",
    0x0112: "No such SOP instance",
    0x0113: "No such event type",
    NO_SUCH_ARGUMENT: "No such argument",
    INVALID_ARGUMENT_VALUE: "Invalid argument value",
    ATTRIBUTE_VALUE_OUT_OF_RANGE: "Warning: attribute value out of range",
    INVALID_SOP_INSTANCE: "Invalid SOP instance",
    NO_SUCH_SOP_CLASS: "No such SOP class",
    0x0119: "Class-instance conflict",
    0x0120: "Missing attribute",
    0x0121: "Missing attribute value",
    SOP_CLASS_NOT_SUPPORTED: "Refused: SOP class not supported",
    0x0123: "No such action type",
    NOT_AUTHORIZED: "Refused: not authorized",
    DUPLICATE_INVOCATION: "Duplicate invocation",
    UNRECOGNIZED_OPERATION: "Unrecognized operation",
    0x0212: "Mistyped argument",
    RESOURCE_LIMITATION: "Resource limitation",
    UNABLE_TO_CALCULATE_MATCHES: "Refused: Out of Resources, unable to calculate the number of matches",
    UNABLE_TO_PERFORM_SUB_OPERATIONS: "Refused: Out of Resources, unable to perform sub-operations",
    MOVE_DESTINATION_UNKNOWN: "Refused: Move Destination unknown",
    0xAA00: "None of the frames requested were found",
    0xAA01: "Unable to create a new object for this SOP class",
    0xAA02: "Unable to extract frames",
    0xAA03: "Time-based request for an original object that is not time-based",
    0xAA04: "Invalid request",
    SUB_OPERATIONS_WARNING: "Warning: elements were coerced, or sub-operations failed or had warnings",
    0xB006: "Warning: elements discarded",
    0xB007: "Warning: data set does not match SOP class",
}

_NAMES_OF_RANGES: Final = (
    (0xA700, 0xA7FF, "Refused: Out of Resources"),
    (0xA900, 0xA9FF, "Data set or identifier does not match SOP class"),
    (0xC000, 0xCFFF, "Cannot understand, or unable to process"),
)


def category(status: int) -> Category:
    """Return what `status` says of its operation; a code that no table has is a failure (PS3.7 §C.4)."""
    if status == SUCCESS:
        return Category.SUCCESS
    if status in (PENDING, PENDING_WARNING):
        return Category.PENDING
    if status == CANCEL:
        return Category.CANCEL
    if status in (0x0001, ATTRIBUTE_LIST_ERROR, ATTRIBUTE_VALUE_OUT_OF_RANGE) or 0xB000 <= status <= 0xBFFF:
        return Category.WARNING
    return Category.FAILURE


def describe(status: int) -> str:
    """Return `status` for a log or a problem document, as in `A700H (Refused: Out of Resources)`."""
    name = _NAMES.get(status)
    if name is None:
        name = next((name for first, last, name in _NAMES_OF_RANGES if first <= status <= last), None)
    if name is None:
        name = "Warning" if category(status) is Category.WARNING else "Unknown failure"
    return f"{status:04X}H ({name})"
