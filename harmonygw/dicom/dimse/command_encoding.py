"""Messages to command sets: elements in the order of their tags, and only those that have a value (PS3.7 §6.3.1)."""

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import Any, Final

from harmonygw.dicom.dataset.part10 import encode_ae_title, encode_uid
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
    OFFENDING_ELEMENT,
    PRIORITY,
    REMAINING_SUB_OPERATIONS,
    REQUESTED_SOP_CLASS_UID,
    REQUESTED_SOP_INSTANCE_UID,
    STATUS,
    WARNING_SUB_OPERATIONS,
    number_element,
    other_element,
)
from harmonygw.dicom.dimse.primitives import (
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
)
from harmonygw.errors import BadRequest

MAX_ERROR_COMMENT_LENGTH: Final = 64
"""Characters of an Error Comment that are sent, as its VR LO has it; what a peer sends may be longer."""

_AT: Final = Struct("<HH")

_GROUP_LENGTH: Final = Struct("<HHII")
_END_OF_REQUEST: Final = Struct("<HHIHHHIH")
"""Priority and Command Data Set Type."""
_MIDDLE_OF_RESPONSE: Final = Struct("<HHIHHHIHHHIH")
"""Message ID Being Responded To, Command Data Set Type and Status."""

_SOME_DATA_SET: Final = 0x0001


def encode_command(command: Command) -> bytes:
    """Return the command set of `command`, group length first.

    An empty UID or AE title, and a number that is None, is left out. An Error Comment is cut to
    `MAX_ERROR_COMMENT_LENGTH`, with `?` for what VR LO does not take in the default repertoire. Raises
    `BadRequest` for a UID, AE title or number that cannot be encoded, and for an `UnknownCommand`.
    """
    try:
        body = _ENCODERS[type(command)](command)
    except StructError as error:
        raise BadRequest(f"a number is out of range: {command}") from error
    except KeyError as error:
        raise BadRequest(f"cannot encode {command}") from error
    return _GROUP_LENGTH.pack(0, 0x0000, 4, len(body)) + body


@lru_cache(maxsize=256)
def _beginning(command_field: int, sop_class_uid: str) -> bytes:
    """Return Affected SOP Class UID and Command Field."""
    field = number_element(COMMAND_FIELD, command_field)
    return other_element(AFFECTED_SOP_CLASS_UID, encode_uid(sop_class_uid)) + field if sop_class_uid else field


def _encode_request(command: CStoreRQ | CFindRQ | CGetRQ | CMoveRQ, destination: bytes = b"") -> bytes:
    return b"".join(
        (
            _beginning(command.command_field, command.affected_sop_class_uid),
            number_element(MESSAGE_ID, command.message_id),
            destination,
            _END_OF_REQUEST.pack(*(0, PRIORITY, 2, command.priority), *(0, COMMAND_DATA_SET_TYPE, 2, _SOME_DATA_SET)),
        )
    )


def _encode_c_store_rq(command: CStoreRQ) -> bytes:
    body = _encode_request(command)
    body += other_element(AFFECTED_SOP_INSTANCE_UID, encode_uid(command.affected_sop_instance_uid))
    if command.move_originator_ae_title:
        body += other_element(MOVE_ORIGINATOR_AE_TITLE, encode_ae_title(command.move_originator_ae_title))
    if command.move_originator_message_id is not None:
        body += number_element(MOVE_ORIGINATOR_MESSAGE_ID, command.move_originator_message_id)
    return body


def _encode_c_move_rq(command: CMoveRQ) -> bytes:
    return _encode_request(command, other_element(MOVE_DESTINATION, encode_ae_title(command.move_destination)))


def _encode_response(
    command: CEchoRSP | CStoreRSP | CFindRSP | CGetRSP | CMoveRSP | NActionRSP | NEventReportRSP,
) -> bytes:
    data_set_type = _SOME_DATA_SET if command.has_data_set else NO_DATA_SET
    return _beginning(command.command_field, command.affected_sop_class_uid) + _MIDDLE_OF_RESPONSE.pack(
        *(0, MESSAGE_ID_BEING_RESPONDED_TO, 2, command.message_id_being_responded_to),
        *(0, COMMAND_DATA_SET_TYPE, 2, data_set_type),
        *(0, STATUS, 2, command.status),
    )


def _encode_errors(command: CStoreRSP | CFindRSP | CGetRSP | CMoveRSP) -> bytes:
    errors = b""
    if command.offending_elements:
        tags = [_AT.pack(tag >> 16, tag & 0xFFFF) for tag in command.offending_elements]
        errors += other_element(OFFENDING_ELEMENT, b"".join(tags))
    return errors + _encode_error_comment(command.error_comment)


def _encode_error_comment(error_comment: str) -> bytes:
    if not error_comment:
        return b""
    comment = error_comment[:MAX_ERROR_COMMENT_LENGTH].replace("\\", "?")
    value = "".join(one if one.isprintable() else "?" for one in comment).encode("ascii", "replace")
    return other_element(ERROR_COMMENT, value + b" " if len(value) % 2 else value)


def _encode_c_store_rsp(command: CStoreRSP) -> bytes:
    body = _encode_response(command) + _encode_errors(command)
    if not command.affected_sop_instance_uid:
        return body
    return body + other_element(AFFECTED_SOP_INSTANCE_UID, encode_uid(command.affected_sop_instance_uid))


def _encode_c_find_rsp(command: CFindRSP) -> bytes:
    return _encode_response(command) + _encode_errors(command)


def _encode_sub_operations_rsp(command: CGetRSP | CMoveRSP) -> bytes:
    body = _encode_response(command) + _encode_errors(command)
    for element, number in (
        (REMAINING_SUB_OPERATIONS, command.remaining),
        (COMPLETED_SUB_OPERATIONS, command.completed),
        (FAILED_SUB_OPERATIONS, command.failed),
        (WARNING_SUB_OPERATIONS, command.warning),
    ):
        if number is not None:
            body += number_element(element, number)
    return body


def _encode_c_echo_rq(command: CEchoRQ) -> bytes:
    return (
        _beginning(command.command_field, command.affected_sop_class_uid)
        + number_element(MESSAGE_ID, command.message_id)
        + number_element(COMMAND_DATA_SET_TYPE, NO_DATA_SET)
    )


def _encode_c_cancel_rq(command: CCancelRQ) -> bytes:
    return (
        number_element(COMMAND_FIELD, command.command_field)
        + number_element(MESSAGE_ID_BEING_RESPONDED_TO, command.message_id_being_responded_to)
        + number_element(COMMAND_DATA_SET_TYPE, NO_DATA_SET)
    )


def _encode_n_action_rq(command: NActionRQ) -> bytes:
    return b"".join(
        (
            other_element(REQUESTED_SOP_CLASS_UID, encode_uid(command.requested_sop_class_uid)),
            number_element(COMMAND_FIELD, command.command_field),
            number_element(MESSAGE_ID, command.message_id),
            number_element(COMMAND_DATA_SET_TYPE, _SOME_DATA_SET),
            other_element(REQUESTED_SOP_INSTANCE_UID, encode_uid(command.requested_sop_instance_uid)),
            number_element(ACTION_TYPE_ID, command.action_type_id),
        )
    )


def _encode_n_event_report_rq(command: NEventReportRQ) -> bytes:
    return b"".join(
        (
            _beginning(command.command_field, command.affected_sop_class_uid),
            number_element(MESSAGE_ID, command.message_id),
            number_element(COMMAND_DATA_SET_TYPE, _SOME_DATA_SET if command.has_data_set else NO_DATA_SET),
            other_element(AFFECTED_SOP_INSTANCE_UID, encode_uid(command.affected_sop_instance_uid)),
            number_element(EVENT_TYPE_ID, command.event_type_id),
        )
    )


def _encode_n_response(command: NActionRSP | NEventReportRSP, type_element: int, type_id: int | None) -> bytes:
    body = _encode_response(command) + _encode_error_comment(command.error_comment)
    if command.affected_sop_instance_uid:
        body += other_element(AFFECTED_SOP_INSTANCE_UID, encode_uid(command.affected_sop_instance_uid))
    return body if type_id is None else body + number_element(type_element, type_id)


def _encode_n_action_rsp(command: NActionRSP) -> bytes:
    return _encode_n_response(command, ACTION_TYPE_ID, command.action_type_id)


def _encode_n_event_report_rsp(command: NEventReportRSP) -> bytes:
    return _encode_n_response(command, EVENT_TYPE_ID, command.event_type_id)


_ENCODERS: Final[dict[type[Command], Callable[[Any], bytes]]] = {
    CStoreRQ: _encode_c_store_rq,
    CStoreRSP: _encode_c_store_rsp,
    CFindRQ: _encode_request,
    CFindRSP: _encode_c_find_rsp,
    CGetRQ: _encode_request,
    CGetRSP: _encode_sub_operations_rsp,
    CMoveRQ: _encode_c_move_rq,
    CMoveRSP: _encode_sub_operations_rsp,
    CEchoRQ: _encode_c_echo_rq,
    CEchoRSP: _encode_response,
    CCancelRQ: _encode_c_cancel_rq,
    NActionRQ: _encode_n_action_rq,
    NActionRSP: _encode_n_action_rsp,
    NEventReportRQ: _encode_n_event_report_rq,
    NEventReportRSP: _encode_n_event_report_rsp,
}
