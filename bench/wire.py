"""The few words of PS3.8 and PS3.7 that the ends of a measurement speak, on plain blocking sockets.

They are written apart from the gateway's own, so that what one side gets wrong does not pass for right on the other.
Every text is ASCII, and every peer is one that this package has started: nothing here is meant for a stranger.
"""

import socket
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct

ASSOCIATE_RQ, ASSOCIATE_AC, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = 1, 2, 4, 5, 6, 7

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID = "2.25.311416320731174838410341418112930210424"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"

C_STORE_RQ, C_GET_RQ, C_FIND_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0010, 0x0020, 0x0030, 0x0FFF
RESPONSE = 0x8000
SUCCESS, PENDING, CANCELLED = 0x0000, 0xFF00, 0xFE00
NO_DATA_SET, DATA_SET = 0x0101, 0x0001

AFFECTED_SOP_CLASS_UID, COMMAND_FIELD, MESSAGE_ID, RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
PRIORITY, DATA_SET_TYPE, STATUS, AFFECTED_SOP_INSTANCE_UID = 0x0700, 0x0800, 0x0900, 0x1000
REMAINING, COMPLETED, FAILED, WARNING = 0x1020, 0x1021, 0x1022, 0x1023

MAX_PDU_LENGTH = 65_536
"""Bytes of the longest P-DATA-TF that the ends take: the gateway's default, so that nobody has an advantage."""

READ_SIZE = 262_144
"""Bytes asked of a socket in one read: the gateway's."""

TIMEOUT = 120.0
"""Seconds that a socket of a measurement waits before the measurement fails."""

_PDU_HEADER = Struct(">BxI")
_ITEM_HEADER = Struct(">BxH")
_PDV_HEADER = Struct(">IBB")
_ELEMENT = Struct("<HHI")


@dataclass(frozen=True, slots=True)
class Context:
    """A proposed presentation context."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Association:
    """What an A-ASSOCIATE-RQ or -AC says."""

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[Context, ...] = ()
    max_pdu_length: int = MAX_PDU_LENGTH
    roles: Mapping[str, tuple[int, int]] | None = None
    """SOP class UID to the requestor's (SCU, SCP) roles (PS3.7 §D.3.3.4)."""


class Connection:
    """A socket read a PDU at a time."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(TIMEOUT)
        self.socket = connection
        self._buffer = bytearray()
        self._fragments: deque[tuple[int, bool, bool, bytes]] = deque()

    def pdu(self) -> tuple[int, bytes]:
        """Return type and variable field of the next PDU; raises ConnectionError when the peer is gone."""
        self._need(_PDU_HEADER.size)
        pdu_type, length = _PDU_HEADER.unpack_from(self._buffer)
        end = _PDU_HEADER.size + length
        self._need(end)
        body = bytes(memoryview(self._buffer)[_PDU_HEADER.size : end])
        del self._buffer[:end]
        return pdu_type, body

    def message(self) -> tuple[int, dict[int, bytes]]:
        """Return context and command set of the next message, whose data set is left for `fragments`.

        Raises ConnectionError when a release or an abort comes instead; a release is answered.
        """
        while True:
            context_id, is_command, _, data = self._next_fragment()
            if is_command:
                return context_id, dict(elements(data))

    def fragments(self) -> Iterator[bytes]:
        """Yield the data set that follows, a fragment at a time."""
        is_last = False
        while not is_last:
            _, _, is_last, data = self._next_fragment()
            yield data

    def send(self, *pieces: bytes) -> None:
        """Send pieces in one system call, or in as few as it takes."""
        sent = self.socket.sendmsg(pieces)
        for piece in pieces:
            if sent < len(piece):
                self.socket.sendall(memoryview(piece)[sent:])
            sent = max(0, sent - len(piece))

    def close(self) -> None:
        self.socket.close()

    def _need(self, size: int) -> None:
        while len(self._buffer) < size:
            data = self.socket.recv(READ_SIZE)
            if not data:
                raise ConnectionError("the peer closed the connection")
            self._buffer += data

    def _next_fragment(self) -> tuple[int, bool, bool, bytes]:
        while not self._fragments:
            pdu_type, body = self.pdu()
            if pdu_type == RELEASE_RQ:
                self.send(pdu(RELEASE_RP, bytes(4)))
            if pdu_type != P_DATA_TF:
                raise ConnectionError(f"the peer sent a PDU of type {pdu_type}")
            self._fragments.extend(_pdvs(body))
        return self._fragments.popleft()


def pdu(pdu_type: int, body: bytes) -> bytes:
    return _PDU_HEADER.pack(pdu_type, len(body)) + body


def p_data(context_id: int, data: bytes, *, is_command: bool, max_length: int) -> list[bytes]:
    """Return P-DATA-TF PDUs, each with one presentation data value of `max_length` bytes at most."""
    room = max_length - _PDV_HEADER.size
    pdus = []
    for at in range(0, max(len(data), 1), room):
        fragment = data[at : at + room]
        control = is_command | 2 * (at + room >= len(data))
        pdus.append(pdu(P_DATA_TF, _PDV_HEADER.pack(len(fragment) + 2, context_id, control) + fragment))
    return pdus


def element(tag: int, value: bytes | str | int) -> bytes:
    """Return an element in Implicit VR Little Endian; a text is padded with a space, a UID must be padded already."""
    if isinstance(value, int):
        value = value.to_bytes(2, "little")
    elif isinstance(value, str):
        value = value.encode("ascii")
        value += b" " * (len(value) % 2)
    return _ELEMENT.pack(tag >> 16, tag & 0xFFFF, len(value)) + value


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the elements of a data set in Implicit VR Little Endian that has no sequences of undefined length."""
    at = 0
    while at < len(data):
        group, number, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        yield group << 16 | number, data[at : at + length]
        at += length


def command(fields: Mapping[int, bytes | str | int]) -> bytes:
    """Return a command set with its group length (PS3.7 §6.3.1)."""
    body = b"".join(element(tag, fields[tag]) for tag in sorted(fields))
    return element(0x0000, len(body).to_bytes(4, "little")) + body


def uid(text: str) -> bytes:
    """Return a UID's value, padded with a null (PS3.5 §9.1)."""
    value = text.encode("ascii")
    return value + b"\0" * (len(value) % 2)


def text(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii")


def number(value: bytes) -> int:
    return int.from_bytes(value, "little")


def associate_rq(association: Association) -> bytes:
    contexts = b"".join(
        _item(
            0x20,
            bytes((context.context_id, 0, 0, 0))
            + _item(0x30, context.abstract_syntax.encode())
            + b"".join(_item(0x40, one.encode()) for one in context.transfer_syntaxes),
        )
        for context in association.contexts
    )
    return pdu(ASSOCIATE_RQ, _fixed(association) + contexts + _user_information(association))


def associate_ac(request: Association, accepted: Mapping[int, str]) -> bytes:
    """Answer a request: `accepted` has a transfer syntax for each context that is, the others are not."""
    contexts = b"".join(
        _item(
            0x21,
            bytes((context.context_id, 0, 0 if context.context_id in accepted else 4, 0))
            + _item(0x40, accepted.get(context.context_id, context.transfer_syntaxes[0]).encode()),
        )
        for context in request.contexts
    )
    answer = Association(request.called_ae_title, request.calling_ae_title, roles=request.roles)
    return pdu(ASSOCIATE_AC, _fixed(answer) + contexts + _user_information(answer))


def read_associate(body: bytes) -> Association:
    """Read an A-ASSOCIATE-RQ or -AC; of an -AC the contexts are those accepted, without an abstract syntax."""
    contexts = []
    roles: dict[str, tuple[int, int]] = {}
    max_pdu_length = 0
    for item_type, item in _items(body[68:]):
        if item_type == 0x20:
            names = list(_items(item[4:]))
            contexts.append(Context(item[0], names[0][1].decode(), tuple(name.decode() for _, name in names[1:])))
        elif item_type == 0x21 and item[2] == 0:
            contexts.append(Context(item[0], "", tuple(name.decode() for _, name in _items(item[4:]))))
        elif item_type == 0x50:
            for sub_type, sub_item in _items(item):
                if sub_type == 0x51:
                    max_pdu_length = int.from_bytes(sub_item, "big")
                elif sub_type == 0x54:
                    length = int.from_bytes(sub_item[:2], "big")
                    roles[sub_item[2 : 2 + length].decode()] = (sub_item[2 + length], sub_item[3 + length])
    titles = body[4:20].decode().strip(), body[20:36].decode().strip()
    return Association(*titles, tuple(contexts), max_pdu_length or MAX_PDU_LENGTH, roles)


def _fixed(association: Association) -> bytes:
    titles = association.called_ae_title.ljust(16) + association.calling_ae_title.ljust(16)
    return b"\0\1\0\0" + titles.encode() + bytes(32) + _item(0x10, APPLICATION_CONTEXT.encode())


def _user_information(association: Association) -> bytes:
    items = [
        _item(0x51, association.max_pdu_length.to_bytes(4, "big")),
        _item(0x52, IMPLEMENTATION_CLASS_UID.encode()),
    ]
    for sop_class, (scu, scp) in (association.roles or {}).items():
        name = sop_class.encode()
        items.append(_item(0x54, len(name).to_bytes(2, "big") + name + bytes((scu, scp))))
    return _item(0x50, b"".join(items))


def _item(item_type: int, body: bytes) -> bytes:
    return _ITEM_HEADER.pack(item_type, len(body)) + body


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        item_type, length = _ITEM_HEADER.unpack_from(data, at)
        at += _ITEM_HEADER.size
        yield item_type, data[at : at + length]
        at += length


def _pdvs(body: bytes) -> Iterator[tuple[int, bool, bool, bytes]]:
    at = 0
    while at < len(body):
        length, context_id, control = _PDV_HEADER.unpack_from(body, at)
        yield context_id, bool(control & 1), bool(control & 2), body[at + 6 : at + 4 + length]
        at += 4 + length
