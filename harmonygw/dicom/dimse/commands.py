"""DIMSE-C command sets (PS3.7 §9.3): messages to bytes and back.

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
from typing import Any, Final

from harmonygw.dicom.dataset.part10 import MAX_AE_TITLE_LENGTH, decode_uid, encode_ae_title, encode_uid
from harmonygw.dicom.dimse.command_elements import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    COMPLETED_SUB_OPERATIONS,
    ERROR_COMMENT,
    FAILED_SUB_OPERATIONS,
    MESSAGE_ID,
    MESSAGE_ID_BEING_RESPONDED_TO,
    MOVE_DESTINATION,
    MOVE_ORIGINATOR_AE_TITLE,
    MOVE_ORIGINATOR_MESSAGE_ID,
    NUMBERS,
    OFFENDING_ELEMENT,
    PRIORITY,
    REMAINING_SUB_OPERATIONS,
    STATUS,
    WARNING_SUB_OPERATIONS,
    Elements,
    describe,
    invalid,
    number_element,
    other_element,
    read_elements,
)
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
    UnknownCommand,
)
from harmonygw.errors import BadRequest, PeerError

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
    "UnknownCommand",
    "decode_command",
    "encode_command",
]

Buffer = bytes | bytearray | memoryview

MAX_ERROR_COMMENT_LENGTH: Final = 64
"""Characters of an Error Comment that are sent, as its VR LO has it; what a peer sends may be longer."""

NO_DATA_SET: Final = 0x0101
"""The Command Data Set Type (0000,0800) when no data set follows; with any other value one does."""

_RESPONSE_BIT: Final = 0x8000
"""The bit of a Command Field that makes it a response."""


# Decoding. The decoders take for granted that what they need is there and has the right length; where it is
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


def _sop_class(elements: Elements) -> str:
    uid = _class_uid(elements[AFFECTED_SOP_CLASS_UID])
    if uid is None:
        raise _not_a_uid(elements, AFFECTED_SOP_CLASS_UID)
    return uid


def _sop_instance(elements: Elements) -> str:
    uid = decode_uid(elements[AFFECTED_SOP_INSTANCE_UID])
    if uid is None:
        raise _not_a_uid(elements, AFFECTED_SOP_INSTANCE_UID)
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
}


# Encoding. Elements stand in the order of their tags, and only those that have a value.

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


def _encode_response(command: CEchoRSP | CStoreRSP | CFindRSP | CGetRSP | CMoveRSP) -> bytes:
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
    if command.error_comment:
        comment = command.error_comment[:MAX_ERROR_COMMENT_LENGTH].replace("\\", "?")
        value = "".join(one if one.isprintable() else "?" for one in comment).encode("ascii", "replace")
        errors += other_element(ERROR_COMMENT, value + b" " if len(value) % 2 else value)
    return errors


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
}
