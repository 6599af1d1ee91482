from itertools import pairwise
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.dicom.upperlayer.events import Fragment
from harmonygw.dicom.upperlayer.reader import (
    MAX_ASSOCIATE_PDU_LENGTH,
    PDU,
    PDU_LENGTH_SLACK,
    PDUReader,
)
from harmonygw.errors import PeerError
from tests.dicom.upperlayer.scripts import RELEASE_RQ, abort, p_data, pdv

BEGINS = PDU(4, b"")


def reader() -> PDUReader:
    made = PDUReader(16384)
    made.contexts = {1, 3}
    return made


def read(data: bytes) -> list[Fragment | PDU]:
    return list(reader().read(data))


def test_a_value_is_a_slice_of_what_was_read() -> None:
    data = p_data(pdv(b"payload", 3, 2))
    begins, fragment = reader().read(data)
    assert begins == BEGINS
    assert fragment == Fragment(3, False, True, memoryview(b"payload"))
    assert isinstance(fragment, Fragment)
    assert fragment.data.obj is data


@pytest.mark.parametrize("control", range(8))
def test_only_the_two_low_bits_of_the_message_control_header_count(control: int) -> None:
    _, fragment = read(p_data(pdv(b"x", 1, control)))
    assert fragment == Fragment(1, control in (1, 3, 5, 7), control in (2, 3, 6, 7), memoryview(b"x"))


def test_a_value_in_two_reads_is_last_on_its_last_piece_only() -> None:
    cut = reader()
    data = p_data(pdv(b"payload", 1, 3))
    assert list(cut.read(data[:15])) == [BEGINS, Fragment(1, True, False, memoryview(b"pay"))]
    assert list(cut.read(data[15:])) == [Fragment(1, True, True, memoryview(b"load"))]


def test_an_empty_value_still_says_that_it_is_last() -> None:
    assert read(p_data(pdv(b"", 1, 2))) == [BEGINS, Fragment(1, False, True, memoryview(b""))]


def test_a_memoryview_may_be_read() -> None:
    assert list(reader().read(memoryview(p_data(pdv(b"x"))))) == read(p_data(pdv(b"x")))


def invalid(data: bytes) -> PeerError:
    with pytest.raises(PeerError) as caught:
        read(data)
    assert caught.value.source == 2
    return caught.value


@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_pdu_without_a_value_is_an_invalid_parameter(length: int) -> None:
    assert invalid(pack(">BxI", 4, length) + bytes(length)).reason == 6


@pytest.mark.parametrize("length", [0, 1])
def test_a_value_shorter_than_its_own_header_is_an_invalid_parameter(length: int) -> None:
    assert invalid(pack(">BxIIBB", 4, 6, length, 1, 0)).reason == 6


def test_a_value_may_not_overrun_its_pdu() -> None:
    assert len(read(pack(">BxIIBB", 4, 9, 5, 1, 0) + b"abc")) == 2
    assert invalid(pack(">BxIIBB", 4, 9, 6, 1, 0) + b"abcd").reason == 6
    assert invalid(pack(">BxIIBB", 4, 9, 0xFFFFFFFF, 1, 0)).reason == 6


def test_what_follows_a_value_in_its_pdu_is_another_value() -> None:
    assert invalid(pack(">BxIIBB", 4, 14, 5, 1, 0)).reason == 6
    assert len(read(pack(">BxIIBB", 4, 15, 5, 1, 0) + b"abc" + pdv(b""))) == 3


@pytest.mark.parametrize("context_id", [0, 2, 5, 255])
def test_a_context_that_was_not_accepted_is_an_invalid_parameter(context_id: int) -> None:
    error = invalid(p_data(pdv(b"x", context_id)))
    assert error.reason == 6
    assert f"context {context_id} was not accepted" in error.detail


@pytest.mark.parametrize("pdu_type", [0, 8, 255])
def test_an_unknown_type_is_an_unrecognized_pdu(pdu_type: int) -> None:
    assert invalid(pack(">BxI", pdu_type, 4)).reason == 1


def test_a_pdu_longer_than_announced_is_refused_at_its_header() -> None:
    assert read(pack(">BxI", 4, 16384 + PDU_LENGTH_SLACK)) == [BEGINS]
    assert invalid(pack(">BxI", 4, 16384 + PDU_LENGTH_SLACK + 1)).reason == 6
    assert invalid(pack(">BxI", 4, 0xFFFFFFFF)).reason == 6


@pytest.mark.parametrize("pdu_type", [1, 2])
def test_associate_pdus_have_a_least_and_a_greatest_length(pdu_type: int) -> None:
    assert read(pack(">BxI", pdu_type, 68) + bytes(68)) == [PDU(pdu_type, bytes(68))]
    assert invalid(pack(">BxI", pdu_type, 67)).reason == 6
    longest = bytes(MAX_ASSOCIATE_PDU_LENGTH)
    assert read(pack(">BxI", pdu_type, len(longest)) + longest) == [PDU(pdu_type, longest)]
    assert invalid(pack(">BxI", pdu_type, MAX_ASSOCIATE_PDU_LENGTH + 1)).reason == 6


@pytest.mark.parametrize("pdu_type", [3, 5, 6, 7])
@pytest.mark.parametrize("length", [0, 3, 5])
def test_the_other_pdus_have_four_bytes(pdu_type: int, length: int) -> None:
    assert invalid(pack(">BxI", pdu_type, length)).reason == 6


def test_the_reserved_byte_is_not_tested() -> None:
    assert read(b"\5\xff\0\0\0\4abcd") == [PDU(5, b"abcd")]


def test_a_skipped_pdu_gives_nothing_and_the_next_is_read() -> None:
    skipping = reader()
    items = skipping.read(p_data(pdv(b"dropped", 9)) + p_data(pdv(b"kept")))
    assert next(items) == BEGINS
    skipping.skip()
    assert list(items) == [BEGINS, Fragment(1, False, False, memoryview(b"kept"))]


@pytest.mark.parametrize("cut", range(5, 28))
def test_a_pdu_can_be_skipped_from_wherever_a_read_ended(cut: int) -> None:
    data = p_data(pdv(b"one", 1), pdv(b"two", 3))
    skipping = reader()
    list(skipping.read(data[:cut]))
    skipping.skip()
    rest = list(skipping.read(data[cut:] + RELEASE_RQ))
    if cut >= 6:
        assert rest == [PDU(5, bytes(4))]
    else:
        assert rest[0] == BEGINS


def test_a_long_skipped_pdu_may_come_in_many_reads() -> None:
    skipping = reader()
    data = p_data(pdv(bytes(1000)))
    list(skipping.read(data[:100]))
    skipping.skip()
    assert [list(skipping.read(data[at : at + 100])) for at in range(100, len(data), 100)] == [[]] * 10
    assert list(skipping.read(RELEASE_RQ)) == [PDU(5, bytes(4))]


values = st.tuples(st.binary(max_size=40), st.sampled_from([1, 3]), st.integers(0, 3))
streams = st.lists(
    st.one_of(
        st.lists(values, min_size=1, max_size=3).map(lambda parts: p_data(*(pdv(*part) for part in parts))),
        st.sampled_from([RELEASE_RQ, abort(2, 1), pack(">BxI", 2, 70) + bytes(70)]),
    ),
    max_size=6,
).map(b"".join)


def whole(items: list[Fragment | PDU]) -> list[tuple[int, bool, bool, bytes] | PDU]:
    """Join the pieces of each presentation data value."""
    joined: list[tuple[int, bool, bool, bytes] | PDU] = []
    open_value = False
    for piece in items:
        if isinstance(piece, PDU):
            joined.append(piece)
            open_value = False
            continue
        before = joined[-1]
        if open_value and not isinstance(before, PDU) and before[:2] == piece[:2]:
            joined[-1] = (piece.context_id, piece.is_command, piece.is_last, before[3] + bytes(piece.data))
        else:
            joined.append((piece.context_id, piece.is_command, piece.is_last, bytes(piece.data)))
        open_value = not piece.is_last
    return joined


@given(streams, st.lists(st.integers(0, 400)))
def test_how_a_stream_is_cut_into_reads_does_not_change_what_it_says(stream: bytes, cuts: list[int]) -> None:
    cut = reader()
    items: list[Fragment | PDU] = []
    edges = [0, *sorted(min(at, len(stream)) for at in cuts), len(stream)]
    for start, stop in pairwise(edges):
        items += cut.read(stream[start:stop])
    assert whole(items) == whole(read(stream))


@given(streams)
def test_a_stream_may_come_byte_by_byte(stream: bytes) -> None:
    cut = reader()
    items = [item for at in range(len(stream)) for item in cut.read(stream[at : at + 1])]
    assert whole(items) == whole(read(stream))
