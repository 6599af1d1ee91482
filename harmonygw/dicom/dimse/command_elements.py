"""The elements of a command set: their numbers in group 0000, reading and writing them (PS3.7 §6.3.1).

A command set is Implicit VR Little Endian. It should hold elements of group 0000 only, and all that is written here
does; what is read may have others behind them, which are passed over: DCMTK appends its status detail to the command
set of a response that failed, such as the Failed SOP Instance UID List (0008,0058) that belongs into the identifier.
"""

from collections.abc import Mapping
from struct import Struct
from struct import error as StructError
from typing import Final

from pydicom.datadict import keyword_for_tag

from harmonygw.errors import PeerError

AFFECTED_SOP_CLASS_UID: Final = 0x0002
REQUESTED_SOP_CLASS_UID: Final = 0x0003
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x0120
MOVE_DESTINATION: Final = 0x0600
PRIORITY: Final = 0x0700
COMMAND_DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
OFFENDING_ELEMENT: Final = 0x0901
ERROR_COMMENT: Final = 0x0902
AFFECTED_SOP_INSTANCE_UID: Final = 0x1000
REQUESTED_SOP_INSTANCE_UID: Final = 0x1001
EVENT_TYPE_ID: Final = 0x1002
ACTION_TYPE_ID: Final = 0x1008
REMAINING_SUB_OPERATIONS: Final = 0x1020
COMPLETED_SUB_OPERATIONS: Final = 0x1021
FAILED_SUB_OPERATIONS: Final = 0x1022
WARNING_SUB_OPERATIONS: Final = 0x1023
MOVE_ORIGINATOR_AE_TITLE: Final = 0x1030
MOVE_ORIGINATOR_MESSAGE_ID: Final = 0x1031

NO_DATA_SET: Final = 0x0101
"""The Command Data Set Type (0000,0800) when no data set follows; with any other value one does."""

NUMBERS: Final = (
    COMMAND_FIELD,
    MESSAGE_ID,
    MESSAGE_ID_BEING_RESPONDED_TO,
    PRIORITY,
    COMMAND_DATA_SET_TYPE,
    STATUS,
    EVENT_TYPE_ID,
    ACTION_TYPE_ID,
    REMAINING_SUB_OPERATIONS,
    COMPLETED_SUB_OPERATIONS,
    FAILED_SUB_OPERATIONS,
    WARNING_SUB_OPERATIONS,
    MOVE_ORIGINATOR_MESSAGE_ID,
)
"""The elements of VR US, of two bytes each."""

Elements = Mapping[int, bytes]
"""Element number to value, of the elements that have one."""

_HEADER: Final = Struct("<HHI")
"""Group, element and length (PS3.5 Table 7.1-3)."""
_NUMBER: Final = Struct("<HHIH")
"""The same with a value of VR US."""

_unpack_header: Final = _HEADER.unpack_from


def invalid(detail: str) -> PeerError:
    """Return the error of a malformed command set: source 2 and reason 6, invalid PDU parameter value."""
    return PeerError(f"command set: {detail}", source=2, reason=6)


def describe(element: int, group: int = 0) -> str:
    """Return keyword and tag of an element for a message."""
    return f"{keyword_for_tag(group << 16 | element)} ({group:04X},{element:04X})".lstrip()


def read_elements(data: bytes) -> Elements:
    """Read a command set up to its end, whatever its group length says; elements of other groups are passed over.

    Raises `PeerError` for an element that is cut short.
    """
    values: dict[int, bytes] = {}
    unpack, offset, end, group, element = _unpack_header, 0, len(data), 0, 0
    try:
        while offset < end:
            group, element, length = unpack(data, offset)
            start = offset + 8
            offset = start + length
            if length and not group:
                values[element] = data[start:offset]
    except StructError as error:
        raise invalid(f"the header of an element is cut short at byte {offset}") from error
    if offset != end:
        raise invalid(f"{describe(element, group)} is cut short")
    return values


def number_element(element: int, number: int) -> bytes:
    """Return an element of VR US; raises `struct.error` when `number` is out of range."""
    return _NUMBER.pack(0, element, 2, number)


def other_element(element: int, value: bytes) -> bytes:
    """Return an element whose value is encoded already, and of even length."""
    return _HEADER.pack(0, element, len(value)) + value
