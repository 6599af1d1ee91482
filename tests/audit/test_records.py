"""Records: what is whole is found, whatever stands around it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.audit import records
from harmonygw.audit.records import HEADER_LENGTH, MARK, MAX_RECORD_BYTES, Read, encode, read, time_of
from harmonygw.config.audit import MAX_MESSAGE_BYTES

ONE, TWO, THREE = encode(b"one", 1.0), encode(b"second", 2.5), encode(b"", 3.0)
WHOLE = ONE + TWO + THREE
ENDS = [len(ONE), len(ONE + TWO), len(WHOLE)]


def test_a_record_is_a_mark_a_length_a_check_a_time_and_the_message() -> None:
    assert bytes.fromhex("ff4847fe 00000003 bac1fd08 00000000000003e8") + b"one" == ONE


@pytest.mark.parametrize("to_the_end", [False, True])
def test_records_follow_one_another(to_the_end: bool) -> None:
    assert read(WHOLE, to_the_end=to_the_end) == Read([b"one", b"second", b""], ENDS, len(WHOLE), 0)
    assert read(b"", to_the_end=to_the_end) == Read([], [], 0, 0)


@pytest.mark.parametrize("cut", range(1, len(TWO)))
def test_a_record_that_is_cut_off_waits_for_more_or_is_torn(cut: int) -> None:
    part = ONE + TWO[:cut]
    assert read(part, to_the_end=False) == Read([b"one"], [len(ONE)], len(ONE), 0)
    assert read(part, to_the_end=True) == Read([b"one"], [len(ONE)], len(part), cut)


@pytest.mark.parametrize("at", range(len(TWO)))
@pytest.mark.parametrize("to_the_end", [False, True])
def test_one_wrong_byte_costs_one_record(at: int, to_the_end: bool) -> None:
    wrong = bytearray(WHOLE)
    wrong[len(ONE) + at] ^= 0x01
    found = read(bytes(wrong), to_the_end=True)
    assert found == Read([b"one", b""], [ENDS[0], ENDS[2]], len(WHOLE), len(TWO))
    early = read(bytes(wrong) + bytes(MAX_RECORD_BYTES), to_the_end=False)
    assert early.messages == [b"one", b""]


def test_a_length_beyond_the_limit_is_none() -> None:
    assert MAX_RECORD_BYTES == HEADER_LENGTH + MAX_MESSAGE_BYTES
    longest = encode(bytes(MAX_MESSAGE_BYTES), 0.0)
    assert read(longest, to_the_end=False).ends == [MAX_RECORD_BYTES]
    beyond = MARK + (MAX_MESSAGE_BYTES + 1).to_bytes(4) + bytes(12)
    assert read(beyond + ONE, to_the_end=False) == Read([b"one"], [len(beyond + ONE)], len(beyond + ONE), len(beyond))


def test_what_may_be_the_beginning_of_a_mark_is_left_for_the_next_part() -> None:
    part = b"rubbish" * 9 + MARK[:3]
    found = read(part, to_the_end=False)
    assert (found.length, found.damaged, found.messages) == (63, 63, [])
    assert read(part[63:] + MARK[3:] + ONE[4:], to_the_end=False).messages == [b"one"]
    assert read(b"x", to_the_end=False) == Read([], [], 0, 0)


@given(st.lists(st.binary(max_size=40), max_size=6), st.binary(max_size=60), st.booleans())
def test_whatever_follows_what_is_whole_is_found(messages: list[bytes], tail: bytes, to_the_end: bool) -> None:
    whole = b"".join(encode(message, 0.0) for message in messages)
    found = read(whole + tail, to_the_end=to_the_end)
    assert found.messages[: len(messages)] == messages
    assert found.length <= len(whole + tail)
    assert not to_the_end or found.length == len(whole + tail)


def test_a_header_tells_its_time() -> None:
    assert time_of(TWO) == 2.5
    assert time_of(TWO[: HEADER_LENGTH - 1]) is None
    assert time_of(b"x" + TWO) is None
    assert records.HEADER_LENGTH == 20
