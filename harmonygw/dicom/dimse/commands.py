"""Command sets of DIMSE messages (PS3.7 §9.3, §10.3): messages to bytes and back.

A command set is Implicit VR Little Endian (PS3.7 §6.3.1). What a peer sends is read as far as it can be read
without guessing: the group length is not relied upon, elements nobody knows and those of other groups than 0000 are
passed over, and where the standard makes an attribute of a response optional its absence shows as
None or as an empty string. Anything else raises `PeerError` with source 2 and reason 6, service provider and
invalid PDU parameter value (PS3.8 Table 9-26), and a sentence that says what is wrong.
"""

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import Final

from harmonygw.dicom.dataset.part10 import MAX_AE_TITLE_LENGTH, decode_uid
from harmonygw.dicom.dimse.command_elements import (
    ACTION_TYPE_ID,
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    COMPLETED_SUB_OPERATIONS,
    ERROR_COMMENT,
    EVENT_TYPE_ID,
    FAILED_SUB_OPERATIONS,
    MESSAGE_ID,
    MESSAGE_ID_BEING_RESPONDED_TO,
    MOVE_DESTINATION,
    MOVE_ORIGINATOR_AE_TITLE,
    MOVE_ORIGINATOR_MESSAGE_ID,
    NO_DATA_SET,
    NUMBERS,
    OFFENDING_ELEMENT,
    PRIORITY,
    REMAINING_SUB_OPERATIONS,
    REQUESTED_SOP_CLASS_UID,
    REQUESTED_SOP_INSTANCE_UID,
    STATUS,
    WARNING_SUB_OPERATIONS,
    Elements,
    describe,
    invalid,
    read_elements,
)
from harmonygw.dicom.dimse.command_encoding import encode_command
from harmonygw.dicom.dimse.primitives import (
    PRIORITY_MEDIUM,
    CCancelRQ,
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CFindRSP,
    CGetRQ,
    CGetRSP,
    CMoveRQ,
    CMoveRSP,
    Command,
    CStoreRQ,
    CStoreRSP,
    NActionRQ,
    NActionRSP,
    NEventReportRQ,
    NEventReportRSP,
    UnknownCommand,
)
from harmonygw.errors import PeerError

__all__ = [
    "CCancelRQ",
    "CEchoRQ",
    "CEchoRSP",
    "CFindRQ",
    "CFindRSP",
    "CGetRQ",
    "CGetRSP",
    "CMoveRQ",
    "CMoveRSP",
    "CStoreRQ",
    "CStoreRSP",
    "Command",
    "NActionRQ",
    "NActionRSP",
    "NEventReportRQ",
    "NEventReportRSP",
    "UnknownCommand",
    "decode_command",
    "encode_command",
]

Buffer = bytes | bytearray | memoryview

_RESPONSE_BIT: Final = 0x8000
"""The bit of a Command Field that makes it a response."""


# The decoders take for granted that what they need is there and has the right length; where it is
# not, `decode_command` looks up what was wrong. A good command set pays for no check that way.

_US: Final = Struct("<H")
_AT: Final = Struct("<HH")
_us: Final = _US.unpack

_class_uid: Final = lru_cache(maxsize=256)(decode_uid)
"""The few SOP classes of an association come again with every message; instances do not."""


def decode_command(data: Buffer) -> Command:
    """Read one whole command set; raises `PeerError` as the module says."""
    elements = read_elements(bytes(data))
    try:
        (command_field,) = _us(elements[COMMAND_FIELD])
        decode = _DECODERS.get(command_field)
        return _unknown(elements, command_field) if decode is None else decode(elements)
    except KeyError as missing:
        raise invalid(f"{describe(missing.args[0])} is missing") from missing
    except StructError as error:
        element = next(one for one in NUMBERS if len(elements.get(one, b"\0\0")) != _US.size)
        raise invalid(f"{describe(element)} has {len(elements[element])} bytes instead of 2") from error


def _number(elements: Elements, element: int) -> int | None:
    value = elements.get(element)
    return _us(value)[0] if value else None


def _has_data_set(elements: Elements) -> bool:
    data_set_type: int = _us(elements[COMMAND_DATA_SET_TYPE])[0]
    return data_set_type != NO_DATA_SET


def _sop_class(elements: Elements, element: int = AFFECTED_SOP_CLASS_UID) -> str:
    uid = _class_uid(elements[element])
    if uid is None:
        raise _not_a_uid(elements, element)
    return uid


def _sop_instance(elements: Elements, element: int = AFFECTED_SOP_INSTANCE_UID) -> str:
    uid = decode_uid(elements[element])
    if uid is None:
        raise _not_a_uid(elements, element)
    return uid


def _not_a_uid(elements: Elements, element: int) -> PeerError:
    return invalid(f"{describe(element)} is not a UID: {elements[element][:80]!r}")


def _ae_title(elements: Elements, element: int) -> str:
    ae_title = elements[element].strip(b"\0 ").decode("latin-1")
    if len(ae_title) > MAX_AE_TITLE_LENGTH or not ae_title.isprintable():
        raise invalid(f"{describe(element)} is not an AE title: {elements[element][:80]!r}")
    return ae_title


def _error_comment(elements: Elements) -> str:
    """Return the Error Comment, for logs: what does not print shows as U+FFFD."""
    text = elements[ERROR_COMMENT].strip(b"\0 ").decode("ascii", "replace")
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _offending_elements(elements: Elements) -> tuple[int, ...]:
    """Return the tags of the Offending Element, as far as they are whole."""
    value = elements[OFFENDING_ELEMENT]
    whole = len(value) - len(value) % _AT.size
    return tuple(group << 16 | element for group, element in _AT.iter_unpack(value[:whole]))


def _request(elements: Elements) -> tuple[int, str, int]:
    """Return message ID, SOP class and priority of a request with an identifier."""
    if not _has_data_set(elements):
        raise invalid("a request that needs a data set announces none")
    return (
        _us(elements[MESSAGE_ID])[0],
        _sop_class(elements),
        _number(elements, PRIORITY) or PRIORITY_MEDIUM,
    )


def _response(elements: Elements) -> tuple[int, str, int]:
    """Return message ID being responded to, SOP class and status of a response."""
    return (
        _us(elements[MESSAGE_ID_BEING_RESPONDED_TO])[0],
        _sop_class(elements) if AFFECTED_SOP_CLASS_UID in elements else "",
        _us(elements[STATUS])[0],
    )


def _errors(elements: Elements) -> tuple[str, tuple[int, ...]]:
    """Return error comment and offending elements."""
    return (
        _error_comment(elements) if ERROR_COMMENT in elements else "",
        _offending_elements(elements) if OFFENDING_ELEMENT in elements else (),
    )


def _c_store_rq(elements: Elements) -> CStoreRQ:
    message_id, sop_class_uid, priority = _request(elements)
    if MOVE_ORIGINATOR_AE_TITLE not in elements and MOVE_ORIGINATOR_MESSAGE_ID not in elements:
        return CStoreRQ(message_id, sop_class_uid, _sop_instance(elements), priority)
    return CStoreRQ(
        message_id,
        sop_class_uid,
        _sop_instance(elements),
        priority,
        _ae_title(elements, MOVE_ORIGINATOR_AE_TITLE) if MOVE_ORIGINATOR_AE_TITLE in elements else "",
        _number(elements, MOVE_ORIGINATOR_MESSAGE_ID),
    )


def _c_store_rsp(elements: Elements) -> CStoreRSP:
    message_id, sop_class_uid, status = _response(elements)
    sop_instance_uid = _sop_instance(elements) if AFFECTED_SOP_INSTANCE_UID in elements else ""
    return CStoreRSP(message_id, sop_class_uid, sop_instance_uid, status, *_errors(elements))


def _c_find_rq(elements: Elements) -> CFindRQ:
    return CFindRQ(*_request(elements))


def _c_find_rsp(elements: Elements) -> CFindRSP:
    return CFindRSP(*_response(elements), _has_data_set(elements), *_errors(elements))


def _c_get_rq(elements: Elements) -> CGetRQ:
    return CGetRQ(*_request(elements))


def _c_move_rq(elements: Elements) -> CMoveRQ:
    message_id, sop_class_uid, priority = _request(elements)
    return CMoveRQ(message_id, sop_class_uid, _ae_title(elements, MOVE_DESTINATION), priority)


def _sub_operations(elements: Elements) -> tuple[int | None, int | None, int | None, int | None]:
    """Return remaining, completed, failed and warning; which ones failed stands in the identifier."""
    return (
        _number(elements, REMAINING_SUB_OPERATIONS),
        _number(elements, COMPLETED_SUB_OPERATIONS),
        _number(elements, FAILED_SUB_OPERATIONS),
        _number(elements, WARNING_SUB_OPERATIONS),
    )


def _c_get_rsp(elements: Elements) -> CGetRSP:
    return CGetRSP(*_response(elements), _has_data_set(elements), *_sub_operations(elements), *_errors(elements))


def _c_move_rsp(elements: Elements) -> CMoveRSP:
    return CMoveRSP(*_response(elements), _has_data_set(elements), *_sub_operations(elements), *_errors(elements))


def _c_echo_rq(elements: Elements) -> CEchoRQ:
    return CEchoRQ(_us(elements[MESSAGE_ID])[0], _sop_class(elements))


def _c_echo_rsp(elements: Elements) -> CEchoRSP:
    return CEchoRSP(*_response(elements))


def _c_cancel_rq(elements: Elements) -> CCancelRQ:
    return CCancelRQ(_us(elements[MESSAGE_ID_BEING_RESPONDED_TO])[0])


def _n_action_rq(elements: Elements) -> NActionRQ:
    if not _has_data_set(elements):
        raise invalid("a request that needs a data set announces none")
    return NActionRQ(
        _us(elements[MESSAGE_ID])[0],
        _sop_class(elements, REQUESTED_SOP_CLASS_UID),
        _sop_instance(elements, REQUESTED_SOP_INSTANCE_UID),
        _us(elements[ACTION_TYPE_ID])[0],
    )


def _n_event_report_rq(elements: Elements) -> NEventReportRQ:
    return NEventReportRQ(
        _us(elements[MESSAGE_ID])[0],
        _sop_class(elements),
        _sop_instance(elements),
        _us(elements[EVENT_TYPE_ID])[0],
        _has_data_set(elements),
    )


def _n_response(elements: Elements, type_id: int) -> tuple[int, str, str, int, int | None, bool, str]:
    message_id, sop_class_uid, status = _response(elements)
    return (
        message_id,
        sop_class_uid,
        _sop_instance(elements) if AFFECTED_SOP_INSTANCE_UID in elements else "",
        status,
        _number(elements, type_id),
        _has_data_set(elements),
        _error_comment(elements) if ERROR_COMMENT in elements else "",
    )


def _n_action_rsp(elements: Elements) -> NActionRSP:
    return NActionRSP(*_n_response(elements, ACTION_TYPE_ID))


def _n_event_report_rsp(elements: Elements) -> NEventReportRSP:
    return NEventReportRSP(*_n_response(elements, EVENT_TYPE_ID))


def _unknown(elements: Elements, command_field: int) -> UnknownCommand:
    message_id = MESSAGE_ID_BEING_RESPONDED_TO if command_field & _RESPONSE_BIT else MESSAGE_ID
    return UnknownCommand(command_field, _us(elements[message_id])[0], _has_data_set(elements))


_DECODERS: Final[dict[int, Callable[[Elements], Command]]] = {
    CStoreRQ.command_field: _c_store_rq,
    CStoreRSP.command_field: _c_store_rsp,
    CFindRQ.command_field: _c_find_rq,
    CFindRSP.command_field: _c_find_rsp,
    CGetRQ.command_field: _c_get_rq,
    CGetRSP.command_field: _c_get_rsp,
    CMoveRQ.command_field: _c_move_rq,
    CMoveRSP.command_field: _c_move_rsp,
    CEchoRQ.command_field: _c_echo_rq,
    CEchoRSP.command_field: _c_echo_rsp,
    CCancelRQ.command_field: _c_cancel_rq,
    NActionRQ.command_field: _n_action_rq,
    NActionRSP.command_field: _n_action_rsp,
    NEventReportRQ.command_field: _n_event_report_rq,
    NEventReportRSP.command_field: _n_event_report_rsp,
}
