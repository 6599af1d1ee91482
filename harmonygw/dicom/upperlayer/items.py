"""The items inside A-ASSOCIATE PDUs: which there are, how long they must be, how often they may come.

`recognised` walks the variable field of an A-ASSOCIATE PDU before pynetdicom decodes it, which trusts every
length. What comes out is canonical: unrecognised items are left out (PS3.8 §9.3.1), the transfer syntax of
a rejected context too (§9.3.3.2), UIDs lose the padding that some peers give them, and what only informs
(implementation class UID and version name, PS3.7 §D.3.3.2) is dropped when it is malformed instead of
costing the association.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from struct import Struct
from typing import Final, NamedTuple

from harmonygw.errors import PeerError

MAX_REPEATED_ITEMS: Final = 128
"""How often an item that may be repeated may come within the one around it.

There are 128 presentation contexts at most, hence at most as many role selections and extended
negotiations, and fewer transfer syntaxes are registered. It bounds the work that one unauthenticated PDU
can cause.
"""

UNEXPECTED_PARAMETER: Final = 5
INVALID_PARAMETER_VALUE: Final = 6

PRESENTATION_CONTEXT: Final = 0x20
"""The type of the item of a proposed context (PS3.8 §9.3.2.2)."""
ABSTRACT_SYNTAX: Final = 0x30
"""The type of the item within it that names its SOP class (PS3.8 §9.3.2.2.1)."""

ITEM_HEADER: Final = Struct(">BxH")
"""Type and length of an item."""
_UINT16: Final = Struct(">H")
_UID: Final = re.compile(rb"[0-9.]{1,64}")
_VERSION_NAME: Final = re.compile(rb"[\x20-\x5b\x5d-\x7e]{1,16}")


def _invalid(detail: str) -> PeerError:
    return PeerError(detail, reason=INVALID_PARAMETER_VALUE)


def _uid(body: bytes) -> bytes:
    uid = body.strip(b" \0")
    if not _UID.fullmatch(uid):
        raise _invalid("a UID is empty, too long, or not of digits and periods")
    return uid


def _informing_uid(body: bytes) -> bytes | None:
    uid = body.strip(b" \0")
    return uid if _UID.fullmatch(uid) else None


def _version_name(body: bytes) -> bytes | None:
    name = body.strip(b" \0")
    return name if _VERSION_NAME.fullmatch(name) else None


def _four_bytes(body: bytes) -> bytes:
    if len(body) != 4:
        raise _invalid(f"an item of four bytes has {len(body)}")
    return body


def _counted(body: bytes, at: int) -> int:
    """Return where the value ends whose two-byte length stands at `at`."""
    if len(body) < at + 2:
        raise _invalid("an item ends before a length that it must hold")
    end: int = at + 2 + _UINT16.unpack_from(body, at)[0]
    if end > len(body):
        raise _invalid("a value overruns its item")
    return end


def _uid_and_rest(body: bytes) -> tuple[bytes, bytes]:
    end = _counted(body, 0)
    return _uid(body[2:end]), body[end:]


def _role_selection(body: bytes) -> bytes:
    uid, roles = _uid_and_rest(body)
    if len(roles) != 2:
        raise _invalid("a role selection does not end with two roles")
    return _UINT16.pack(len(uid)) + uid + roles


def _extended_negotiation(body: bytes) -> bytes:
    uid, information = _uid_and_rest(body)
    return _UINT16.pack(len(uid)) + uid + information


def _user_identity(body: bytes) -> bytes:
    primary_end = _counted(body, 2)
    if primary_end == 4:
        raise _invalid("a user identity is empty")
    if _counted(body, primary_end) != len(body):
        raise _invalid("a user identity is longer than its fields")
    return body


def _user_identity_response(body: bytes) -> bytes:
    if _counted(body, 0) != len(body):
        raise _invalid("a user identity response is longer than its field")
    return body


class Rule(NamedTuple):
    """How one type of item is treated.

    `canonical` returns the body to hand on, None to leave the item out, or raises PeerError. An item with
    `items` holds sub-items after `fixed` bytes of its own.
    """

    canonical: Callable[[bytes], bytes | None] = bytes
    fixed: int = 0
    items: Mapping[int, "Rule"] | None = None
    repeatable: bool = False


def _context_result(body: bytes) -> bytes:
    accepted = len(body) > 2 and body[2] == 0
    return body if accepted else body[:4]


_USER_DATA: Final = {
    0x51: Rule(_four_bytes),  # Maximum Length
    0x52: Rule(_informing_uid),  # Implementation Class UID
    0x54: Rule(_role_selection, repeatable=True),
    0x55: Rule(_version_name),  # Implementation Version Name
    0x56: Rule(_extended_negotiation, repeatable=True),
}

A_ASSOCIATE_RQ_ITEMS: Final[Mapping[int, Rule]] = {
    0x10: Rule(_uid),  # Application Context
    0x20: Rule(fixed=4, repeatable=True, items={0x30: Rule(_uid), 0x40: Rule(_uid, repeatable=True)}),
    0x50: Rule(items=_USER_DATA | {0x53: Rule(_four_bytes), 0x58: Rule(_user_identity)}),
}
"""Items of an A-ASSOCIATE-RQ (PS3.8 §9.3.2, PS3.7 §D.3.3) that are used here."""

A_ASSOCIATE_AC_ITEMS: Final[Mapping[int, Rule]] = {
    0x21: Rule(_context_result, fixed=4, repeatable=True, items={0x40: Rule(_uid)}),
    0x50: Rule(items=_USER_DATA | {0x59: Rule(_user_identity_response)}),
}
"""Items of an A-ASSOCIATE-AC (PS3.8 §9.3.3, PS3.7 §D.3.3) that are used here."""


def recognised(variable_field: bytes, rules: Mapping[int, Rule]) -> bytes:
    """Return the items that `rules` knows, each in canonical form.

    Raises PeerError with reason 6 for a length that does not fit or a malformed value, and with reason 5
    for an item that comes twice and may not.
    """
    return b"".join(_recognised(variable_field, rules))


def _recognised(data: bytes, rules: Mapping[int, Rule]) -> Iterator[bytes]:
    seen = dict.fromkeys(rules, 0)
    for item_type, item in items_in(data):
        rule = rules.get(item_type)
        if rule is None:
            continue
        seen[item_type] += 1
        if seen[item_type] > (MAX_REPEATED_ITEMS if rule.repeatable else 1):
            raise PeerError(f"too many items of type {item_type:02X}H", reason=UNEXPECTED_PARAMETER)
        body = rule.canonical(item)
        if body is None:
            continue
        if rule.items is not None:
            if len(body) < rule.fixed:
                raise _invalid(f"an item of type {item_type:02X}H has {len(body)} bytes")
            body = body[: rule.fixed] + recognised(body[rule.fixed :], rule.items)
        yield ITEM_HEADER.pack(item_type, len(body)) + body


def items_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each item; raises PeerError with reason 6 for a length that does not fit."""
    at = 0
    while at < len(data):
        if len(data) - at < ITEM_HEADER.size:
            raise _invalid("an item header is cut short")
        item_type, length = ITEM_HEADER.unpack_from(data, at)
        at += ITEM_HEADER.size
        if at + length > len(data):
            raise _invalid(f"an item of type {item_type:02X}H overruns what holds it")
        yield item_type, data[at : at + length]
        at += length
