"""Fragments into messages and back: scripts of what arrives and what must come of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.dicom.dimse.commands import CEchoRQ, CFindRSP, CStoreRQ, encode_command
from harmonygw.dicom.dimse.messages import (
    LONGEST_FRAGMENT,
    MAX_COMMAND_SET_LENGTH,
    PDV,
    CommandReceived,
    DataSetFragment,
    MessageReader,
    OutgoingDataSet,
    pdvs,
)
from harmonygw.errors import PeerError

ECHO = CEchoRQ(1, "1.2.840.10008.1.1")
STORE = CStoreRQ(2, "1.2.840.10008.5.1.4.1.1.2", "1.2.3")
ECHO_BYTES = memoryview(encode_command(ECHO))
STORE_BYTES = memoryview(encode_command(STORE))
DATA = memoryview(b"0123456789")


def test_a_command_without_data_set_is_followed_by_the_next_command() -> None:
    reader = MessageReader()
    assert reader.feed(1, True, True, ECHO_BYTES) == CommandReceived(1, ECHO)
    assert reader.feed(3, True, True, ECHO_BYTES) == CommandReceived(3, ECHO)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_command_set_is_gathered_from_fragments_of_any_size(size: int) -> None:
    reader = MessageReader()
    for _ in range(2):
        for offset in range(0, len(ECHO_BYTES), size):
            assert reader.feed(1, True, False, ECHO_BYTES[offset : offset + size]) is None
        assert reader.feed(1, True, True, memoryview(b"")) == CommandReceived(1, ECHO)


def test_data_set_fragments_are_passed_on_at_once_and_not_copied() -> None:
    reader = MessageReader()
    assert reader.feed(5, True, True, STORE_BYTES) == CommandReceived(5, STORE)
    first = reader.feed(5, False, False, DATA[:4])
    assert first == DataSetFragment(5, DATA[:4], False)
    assert first.data.obj is DATA.obj
    assert reader.feed(5, False, True, DATA[4:]) == DataSetFragment(5, DATA[4:], True)
    assert reader.feed(7, True, True, ECHO_BYTES) == CommandReceived(7, ECHO)


def test_a_data_set_may_end_with_an_empty_fragment() -> None:
    reader = MessageReader()
    reader.feed(1, True, True, STORE_BYTES)
    assert reader.feed(1, False, True, DATA[:0]) == DataSetFragment(1, DATA[:0], True)


def test_a_response_says_itself_whether_a_data_set_follows() -> None:
    reader = MessageReader()
    pending = CFindRSP(1, "1.2", 0xFF00, True)
    final = CFindRSP(1, "1.2", 0, False)
    assert reader.feed(1, True, True, memoryview(encode_command(pending))) == CommandReceived(1, pending)
    assert reader.feed(1, False, True, DATA) == DataSetFragment(1, DATA, True)
    assert reader.feed(1, True, True, memoryview(encode_command(final))) == CommandReceived(1, final)


def assert_out_of_order(reader: MessageReader, context_id: int, is_command: bool, data: memoryview) -> None:
    with pytest.raises(PeerError, match="out of order") as caught:
        reader.feed(context_id, is_command, True, data)
    assert (caught.value.source, caught.value.reason) == (2, 5)


def test_a_data_set_without_its_command_is_out_of_order() -> None:
    assert_out_of_order(MessageReader(), 1, False, DATA)


def test_a_data_set_after_a_command_that_announces_none_is_out_of_order() -> None:
    reader = MessageReader()
    reader.feed(1, True, True, ECHO_BYTES)
    assert_out_of_order(reader, 1, False, DATA)


def test_a_data_set_amid_a_command_set_is_out_of_order() -> None:
    reader = MessageReader()
    reader.feed(1, True, False, ECHO_BYTES[:10])
    assert_out_of_order(reader, 1, False, DATA)


def test_a_command_before_the_data_set_ended_is_out_of_order() -> None:
    reader = MessageReader()
    reader.feed(1, True, True, STORE_BYTES)
    reader.feed(1, False, False, DATA)
    assert_out_of_order(reader, 1, True, ECHO_BYTES)


def test_another_context_amid_a_message_is_out_of_order() -> None:
    reader = MessageReader()
    reader.feed(1, True, True, STORE_BYTES)
    assert_out_of_order(reader, 3, False, DATA)
    reader = MessageReader()
    reader.feed(1, True, False, ECHO_BYTES[:10])
    assert_out_of_order(reader, 3, True, ECHO_BYTES[10:])


def command_set_of(length: int) -> memoryview:
    filler = length - len(ECHO_BYTES) - 8
    return memoryview(bytes(ECHO_BYTES) + b"\0\0\x77\x77" + filler.to_bytes(4, "little") + bytes(filler))


def test_a_command_set_may_be_as_long_as_the_limit_and_no_longer() -> None:
    longest = command_set_of(MAX_COMMAND_SET_LENGTH)
    assert MessageReader().feed(1, True, True, longest) == CommandReceived(1, ECHO)
    reader = MessageReader()
    assert reader.feed(1, True, False, longest) is None
    with pytest.raises(PeerError, match="MAX_COMMAND_SET_LENGTH") as caught:
        reader.feed(1, True, False, memoryview(b"x"))
    assert (caught.value.source, caught.value.reason) == (2, 6)
    with pytest.raises(PeerError, match="MAX_COMMAND_SET_LENGTH"):
        MessageReader().feed(1, True, True, command_set_of(MAX_COMMAND_SET_LENGTH + 2))


def test_a_message_is_split_into_even_fragments_that_fit() -> None:
    assert list(pdvs(3, b"0123456789", is_command=False, max_length=11)) == [
        PDV(3, False, False, DATA[0:4]),
        PDV(3, False, False, DATA[4:8]),
        PDV(3, False, True, DATA[8:10]),
    ]


def test_a_message_that_fits_exactly_is_one_fragment() -> None:
    assert list(pdvs(3, DATA, is_command=True, max_length=16)) == [PDV(3, True, True, DATA)]
    assert [len(pdv.data) for pdv in pdvs(3, DATA, is_command=True, max_length=14)] == [8, 2]


def test_fragments_are_views_of_the_message() -> None:
    data = bytes(100)
    assert all(pdv.data.obj is data for pdv in pdvs(1, data, is_command=False, max_length=20))


def test_no_data_is_one_empty_last_fragment() -> None:
    assert list(pdvs(1, b"", is_command=False, max_length=16)) == [PDV(1, False, True, memoryview(b""))]


def test_the_smallest_maximum_length_leaves_room_for_two_bytes() -> None:
    assert len(list(pdvs(1, DATA, is_command=False, max_length=8))) == 5
    with pytest.raises(PeerError, match="maximum PDU length of 7"):
        list(pdvs(1, DATA, is_command=False, max_length=7))


def test_what_was_split_is_read_again() -> None:
    reader = MessageReader()
    arrived = [
        reader.feed(*pdv)
        for part, is_command in ((STORE_BYTES, True), (DATA, False))
        for pdv in pdvs(9, part, is_command=is_command, max_length=12)
    ]
    assert [event for event in arrived if isinstance(event, CommandReceived)] == [CommandReceived(9, STORE)]
    fragments = [event for event in arrived if isinstance(event, DataSetFragment)]
    assert b"".join(fragment.data for fragment in fragments) == DATA
    assert [fragment.is_last for fragment in fragments] == [False, True]


# A data set that is cut while it comes


def test_a_data_set_is_cut_into_full_fragments_and_the_last_is_kept_until_it_is_known_to_be_the_last() -> None:
    outgoing = OutgoingDataSet(max_length=10)
    assert outgoing.feed([b"abc"]) == []
    assert outgoing.feed([b"d"]) == []
    assert outgoing.held == 4
    assert [list(map(bytes, one)) for one in outgoing.feed([b"efghi", b"", b"j"])] == [[b"abc", b"d"], [b"efgh"]]
    assert list(map(bytes, outgoing.finish())) == [b"i", b"j"]
    assert outgoing.finish() == []


def test_the_pieces_of_fragments_are_views_of_what_came() -> None:
    data = bytes(100)
    outgoing = OutgoingDataSet(max_length=20)
    (first,), *_ = outgoing.feed([data])
    assert isinstance(first, memoryview)
    assert first.obj is data


def test_a_data_set_of_nothing_is_one_empty_last_fragment() -> None:
    outgoing = OutgoingDataSet(max_length=10)
    assert outgoing.feed([b"", b""]) == []
    assert outgoing.finish() == []


def test_a_fragment_is_no_longer_than_the_limit_whatever_the_peer_takes() -> None:
    outgoing = OutgoingDataSet(max_length=1 << 20)
    assert outgoing.feed([bytes(LONGEST_FRAGMENT)]) == []
    [fragment] = outgoing.feed([b"ab"])
    assert sum(map(len, fragment)) == LONGEST_FRAGMENT


def test_a_peer_that_takes_less_than_two_bytes_is_refused() -> None:
    OutgoingDataSet(max_length=8)
    with pytest.raises(PeerError, match="leaves no room"):
        OutgoingDataSet(max_length=7)


@given(st.lists(st.lists(st.binary(max_size=30), min_size=1), max_size=8), st.integers(8, 40))
def test_whatever_the_reads_the_fragments_are_the_data_set_and_all_but_the_last_are_full(
    reads: list[list[bytes]], max_length: int
) -> None:
    outgoing = OutgoingDataSet(max_length)
    full = [b"".join(fragment) for pieces in reads for fragment in outgoing.feed(pieces)]
    last = b"".join(outgoing.finish())
    room = (max_length - 6) & ~1
    assert {len(fragment) for fragment in full} <= {room}
    assert len(last) <= room
    assert bool(last) is any(map(any, reads))
    assert b"".join((*full, last)) == b"".join(map(b"".join, reads))
