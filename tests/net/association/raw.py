"""PDUs and command sets byte by byte, right ones and wrong ones: nothing of ours takes part in writing them."""

from struct import pack

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def pdu(pdu_type: int, body: bytes, length: int | None = None) -> bytes:
    return pack(">BxI", pdu_type, len(body) if length is None else length) + body


def pdv(context_id: int, data: bytes, control: int, length: int | None = None) -> bytes:
    return pack(">IBB", len(data) + 2 if length is None else length, context_id, control) + data


def item(item_type: int, body: bytes, length: int | None = None) -> bytes:
    return pack(">BxH", item_type, len(body) if length is None else length) + body


def context(context_id: int, abstract: str = VERIFICATION, *syntaxes: str) -> bytes:
    names = b"".join(item(0x40, one.encode()) for one in syntaxes or (IMPLICIT,))
    return item(0x20, bytes((context_id, 0, 0, 0)) + item(0x30, abstract.encode()) + names)


def result(context_id: int, answer: int, syntax: str = IMPLICIT) -> bytes:
    return item(0x21, bytes((context_id, 0, answer, 0)) + item(0x40, syntax.encode()))


def user_information(*more: bytes, max_length: int = 16384) -> bytes:
    return item(0x50, item(0x51, pack(">I", max_length)) + item(0x52, b"1.2.3") + b"".join(more))


def associate(
    *contexts: bytes,
    pdu_type: int = 1,
    version: int = 1,
    called: bytes = b"ARCHIVE".ljust(16),
    calling: bytes = b"VIEWER".ljust(16),
    application: bytes = item(0x10, APPLICATION_CONTEXT.encode()),
    user: bytes = user_information(),
) -> bytes:
    fixed = pack(">HH", version, 0) + called + calling + bytes(32)
    return pdu(pdu_type, fixed + application + (b"".join(contexts) or context(1)) + user)


def element(number: int, value: bytes, length: int | None = None) -> bytes:
    return pack("<HHI", 0, number, len(value) if length is None else length) + value


def us(number: int, value: int) -> bytes:
    return element(number, pack("<H", value))


def command_set(*elements: bytes, length: int | None = None) -> bytes:
    body = b"".join(elements)
    return element(0, pack("<I", len(body) if length is None else length)) + body


def uid(number: int, value: bytes) -> bytes:
    return element(number, value + b"\0" * (len(value) % 2))


def command(context_id: int, *elements: bytes, length: int | None = None) -> bytes:
    """Return a whole command set as a PDU."""
    return pdu(4, pdv(context_id, command_set(*elements, length=length), 3))


def echo(message_id: int = 1, **more: int) -> bytes:
    sop_class = uid(2, VERIFICATION.encode())
    return command(1, sop_class, us(0x100, 0x30), us(0x110, message_id), us(0x800, 0x101), **more)
