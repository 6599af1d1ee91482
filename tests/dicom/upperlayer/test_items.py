from struct import pack

import pytest

from harmonygw.dicom.upperlayer.items import (
    A_ASSOCIATE_AC_ITEMS,
    A_ASSOCIATE_RQ_ITEMS,
    MAX_REPEATED_ITEMS,
    recognised,
)
from harmonygw.errors import PeerError
from tests.dicom.upperlayer.scripts import CT, IMPLICIT, item

UID = CT.encode()


def context(*sub_items: bytes) -> bytes:
    return item(0x20, b"\1\0\0\0" + b"".join(sub_items))


def counted(value: bytes) -> bytes:
    return pack(">H", len(value)) + value


def user(*sub_items: bytes) -> bytes:
    return item(0x50, b"".join(sub_items))


def test_unrecognised_items_are_skipped_at_every_level() -> None:
    field = item(0x99, b"x") + context(item(0x98, b"yy"), item(0x30, UID)) + user(item(0x57, b"zzz"))
    assert recognised(field, A_ASSOCIATE_RQ_ITEMS) == context(item(0x30, UID)) + user()


@pytest.mark.parametrize("padded", [UID + b"\0", UID + b" ", UID + b"\0\0", b" " + UID])
def test_padding_around_a_uid_is_removed(padded: bytes) -> None:
    field = context(item(0x30, padded), item(0x40, padded)) + user(
        item(0x52, padded), item(0x54, counted(padded) + b"\1\1"), item(0x56, counted(padded) + b"info")
    )
    assert recognised(field, A_ASSOCIATE_RQ_ITEMS) == context(item(0x30, UID), item(0x40, UID)) + user(
        item(0x52, UID), item(0x54, counted(UID) + b"\1\1"), item(0x56, counted(UID) + b"info")
    )


@pytest.mark.parametrize(("result", "kept"), [(0, item(0x40, b"1.2")), (1, b""), (2, b""), (3, b""), (4, b"")])
def test_the_transfer_syntax_of_a_rejected_context_is_not_looked_at(result: int, kept: bytes) -> None:
    syntax = item(0x40, b"1.2") if result == 0 else b"\x40\0\xff\xffgarbage"
    field = item(0x21, bytes((1, 0, result, 0)) + syntax)
    assert recognised(field, A_ASSOCIATE_AC_ITEMS) == item(0x21, bytes((1, 0, result, 0)) + kept)


def test_several_transfer_syntaxes_in_a_rejected_result_are_left_out() -> None:
    field = item(0x21, b"\1\0\4\0" + item(0x40, b"1.2") + item(0x40, b"1.3"))
    assert recognised(field, A_ASSOCIATE_AC_ITEMS) == item(0x21, b"\1\0\4\0")


@pytest.mark.parametrize(
    "informing", [item(0x52, b"not a uid"), item(0x55, b"more than sixteen letters"), item(0x55, b"\xe9")]
)
def test_a_malformed_implementation_name_does_not_cost_the_association(informing: bytes) -> None:
    assert recognised(user(informing), A_ASSOCIATE_AC_ITEMS) == user()


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (b"\x10\0\0", "header is cut short"),
        (b"\x10\0\0\x05abcd", "overruns"),
        (context(b"\x30\0\xff\xff"), "overruns"),
        (item(0x20, b"\1\0\0"), "has 3 bytes"),
        (item(0x10, b""), "a UID is"),
        (context(item(0x30, b"1." * 33)), "a UID is"),
        (context(item(0x40, b"../etc")), "a UID is"),
        (user(item(0x51, b"\0\0\1")), "four bytes has 3"),
        (user(item(0x53, bytes(5))), "four bytes has 5"),
        (user(item(0x54, b"\0")), "ends before a length"),
        (user(item(0x54, b"\0\5" + b"1.2")), "overruns its item"),
        (user(item(0x54, counted(UID) + b"\1")), "two roles"),
        (user(item(0x54, counted(UID) + b"\1\1\1")), "two roles"),
        (user(item(0x56, b"\xff\xff" + UID)), "overruns its item"),
        (user(item(0x58, b"\1\0\0")), "ends before a length"),
        (user(item(0x58, b"\1\0" + counted(b"") + counted(b""))), "is empty"),
        (user(item(0x58, b"\1\0" + counted(b"me"))), "ends before a length"),
        (user(item(0x58, b"\1\0" + counted(b"me") + counted(b"") + b"x")), "longer than its fields"),
    ],
)
def test_a_length_or_value_that_does_not_fit_is_an_invalid_parameter(field: bytes, said: str) -> None:
    with pytest.raises(PeerError, match=said) as caught:
        recognised(field, A_ASSOCIATE_RQ_ITEMS)
    assert (caught.value.source, caught.value.reason) == (2, 6)


def test_a_user_identity_response_fills_its_item() -> None:
    assert recognised(user(item(0x59, counted(b"ok"))), A_ASSOCIATE_AC_ITEMS) == user(item(0x59, counted(b"ok")))
    with pytest.raises(PeerError, match="longer than its field"):
        recognised(user(item(0x59, counted(b"ok") + b"x")), A_ASSOCIATE_AC_ITEMS)


@pytest.mark.parametrize("field", [item(0x10, UID) * 2, user() * 2, user(item(0x51, bytes(4)) * 2)])
def test_an_item_that_comes_twice_and_may_not_is_an_unexpected_parameter(field: bytes) -> None:
    with pytest.raises(PeerError, match="too many") as caught:
        recognised(field, A_ASSOCIATE_RQ_ITEMS)
    assert caught.value.reason == 5


def test_repeated_items_are_bounded() -> None:
    syntax = item(0x40, IMPLICIT.encode())
    assert recognised(context(syntax * MAX_REPEATED_ITEMS), A_ASSOCIATE_RQ_ITEMS) == context(
        syntax * MAX_REPEATED_ITEMS
    )
    with pytest.raises(PeerError, match="too many items of type 40H"):
        recognised(context(syntax * (MAX_REPEATED_ITEMS + 1)), A_ASSOCIATE_RQ_ITEMS)
