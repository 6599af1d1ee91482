"""Leading attributes: every encoding, every splitting, and how far a scan looks."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmonygw.dicom.dataset.header_scan import (
    FEW_PIECES,
    HEADER_SCAN_LIMIT,
    MAX_NESTING_DEPTH,
    SMALL_PIECE,
    HeaderScan,
)
from harmonygw.errors import PeerError
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, JPEG_BASELINE
from tests.dicom.dataset.scanned import VALUES, Encoder, arrival, deflate, identity, rich, scan

SYNTAXES = [IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN, JPEG_BASELINE, "1.2.3.unknown"]


@pytest.mark.parametrize("transfer_syntax_uid", SYNTAXES)
@pytest.mark.parametrize("size", [1, 2, 7, 64, 1 << 16])
def test_only_the_top_level_counts_in_every_encoding_and_splitting(transfer_syntax_uid: str, size: int) -> None:
    data = arrival(transfer_syntax_uid)
    result = scan(transfer_syntax_uid, data, size)
    assert (result.values, result.done, result.truncated) == (VALUES, True, False)
    assert result.raw["PatientID"] == b" M\xfcller-7 "
    assert data.startswith(b"".join(result.gathered))


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), max_size=12), st.sampled_from(SYNTAXES))
def test_the_result_does_not_depend_on_the_pieces(cuts: list[int], transfer_syntax_uid: str) -> None:
    data, result = arrival(transfer_syntax_uid), HeaderScan(transfer_syntax_uid)
    edges = [0, *sorted(cuts), len(data)]
    for start, stop in pairwise(edges):
        if not result.done:
            result.feed(data[start:stop])
    assert result.values == VALUES


def test_pieces_are_held_and_not_copied() -> None:
    data = memoryview(arrival(EXPLICIT))
    result = HeaderScan(EXPLICIT)
    pieces = [data[:100], data[100:130], data[130:]]
    assert [result.feed(piece) for piece in pieces] == [False, False, True]
    assert all(held is piece for held, piece in zip(result.gathered, pieces, strict=True))


def test_many_small_pieces_are_joined() -> None:
    data = memoryview(arrival(EXPLICIT))
    result = HeaderScan(EXPLICIT)
    for at in range(len(data)):
        if result.feed(data[at : at + 1]):
            break
    assert b"".join(result.gathered) == data[: at + 1]
    assert len(result.gathered) == FEW_PIECES
    assert {len(piece) for piece in result.gathered[:-1]} == {1}
    assert len(result.gathered[-1]) < SMALL_PIECE + 1


def test_of_a_deflated_object_the_deflated_bytes_are_held_and_only_the_header_is_inflated() -> None:
    data = deflate(rich(Encoder(EXPLICIT)) + Encoder(EXPLICIT).element(0x7FE00010, "OB", bytes(10_000_000)))
    result = HeaderScan(DEFLATED)
    assert result.feed(data)
    assert result.gathered == [data]
    assert result.values == VALUES


def test_empty_pieces_are_not_held() -> None:
    result = HeaderScan(EXPLICIT)
    assert not any(result.feed(memoryview(b"")) for _ in range(10))
    assert result.gathered == []


def test_feeding_a_scan_that_is_done_is_refused() -> None:
    result = scan(EXPLICIT, arrival(EXPLICIT))
    with pytest.raises(RuntimeError, match="the scan is done"):
        result.feed(b"more")


@pytest.mark.parametrize("transfer_syntax_uid", [IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN])
def test_a_data_set_may_end_before_the_last_attribute(transfer_syntax_uid: str) -> None:
    data = identity(Encoder(transfer_syntax_uid))["StudyInstanceUID"]
    result = HeaderScan(transfer_syntax_uid)
    result.feed(deflate(data) if transfer_syntax_uid == DEFLATED else data)
    assert not result.done
    result.end()
    assert (result.done, result.truncated, result.values) == (True, False, {"StudyInstanceUID": "1.2.5"})
    result.end()


def test_the_order_of_elements_does_not_matter_up_to_the_first_behind_the_last() -> None:
    elements = list(identity(Encoder(EXPLICIT)).values())
    assert scan(EXPLICIT, b"".join(reversed(elements))).values == VALUES
    late = Encoder(EXPLICIT).element(0x00200010, "SH", b"1 ") + elements[-1]
    assert "SeriesInstanceUID" not in scan(EXPLICIT, b"".join(elements[:-1]) + late).values


def test_what_only_the_audit_trail_wants_may_occur_twice() -> None:
    encoder = Encoder(EXPLICIT)
    twice = [encoder.element(0x00080050, "SH", value) for value in (b"A1", b"A2")]
    twice += [encoder.element(0x00100010, "PN", value) for value in (b"Name^First ", b"Other^One ")]
    result = scan(EXPLICIT, b"".join(twice) + encoder.element(0x00200010, "SH", b"1 "))
    assert result.values == {"AccessionNumber": "A1", "PatientName": "Name^First"}


def test_an_empty_uid_is_an_empty_string() -> None:
    encoder = Encoder(EXPLICIT)
    data = encoder.element(0x0020000D, "UI") + encoder.element(0x0020000E, "UI", b"\0\0")
    assert scan(EXPLICIT, data).values == {"StudyInstanceUID": "", "SeriesInstanceUID": ""}


# Limits


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_the_scan_looks_as_far_as_its_limit_and_no_further(size: int) -> None:
    encoder = Encoder(EXPLICIT)
    wanted = identity(encoder)["StudyInstanceUID"] + identity(encoder)["SeriesInstanceUID"]
    data = encoder.element(0x00091001, "OB", bytes(1000)) + wanted + encoder.element(0x7FE00010, "OB", bytes(500))
    needed = 1012 + len(wanted) + 8
    found = scan(EXPLICIT, data, size, limit=needed)
    assert (found.values["StudyInstanceUID"], found.truncated) == ("1.2.5", False)
    short = scan(EXPLICIT, data, size, limit=1012 + len(wanted) - 1)
    assert (short.values, short.done, short.truncated) == ({"StudyInstanceUID": "1.2.5"}, True, True)
    none = scan(EXPLICIT, data, size, limit=1012)
    assert (none.values, none.truncated) == ({}, True)


def test_no_more_is_held_than_the_limit_and_the_rest_of_the_last_piece() -> None:
    result = HeaderScan(EXPLICIT)
    data = Encoder(EXPLICIT).element(0x00091001, "OB", b"", length=1 << 30)
    fed = 0
    while not result.done:
        result.feed(data + bytes(1000 - len(data)))
        data, fed = b"", fed + 1000
    assert HEADER_SCAN_LIMIT <= fed < HEADER_SCAN_LIMIT + 1000
    assert sum(map(len, result.gathered)) == fed
    assert result.truncated


def test_a_deflated_object_is_inflated_up_to_the_limit() -> None:
    encoder = Encoder(EXPLICIT)
    data = deflate(encoder.element(0x00091001, "OB", bytes(50_000_000)) + rich(encoder))
    result = scan(DEFLATED, data)
    assert (result.truncated, result.values) == (True, {})


def test_deflated_bytes_that_inflate_to_nothing_are_limited_too() -> None:
    result = HeaderScan(DEFLATED, limit=1000)
    while not result.feed(b"\0\0\0\xff\xff" * 20):
        assert sum(map(len, result.gathered)) < 1000
    assert result.truncated


def nested(encoder: Encoder, depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = encoder.sequence(0x00081140, encoder.item(data, defined=False), defined=False)
    return data + identity(encoder)["StudyInstanceUID"] + encoder.element(0x00280002, "US", b"\0\0")


def test_sequences_nest_as_deep_as_the_limit_and_no_deeper() -> None:
    assert scan(EXPLICIT, nested(Encoder(EXPLICIT), MAX_NESTING_DEPTH)).values == {"StudyInstanceUID": "1.2.5"}
    with pytest.raises(PeerError, match=r"\(0008,1140\) at byte .*MAX_NESTING_DEPTH \(32\)"):
        scan(EXPLICIT, nested(Encoder(EXPLICIT), MAX_NESTING_DEPTH + 1))


def test_ten_thousand_levels_are_refused_and_not_followed() -> None:
    with pytest.raises(PeerError, match="MAX_NESTING_DEPTH"):
        scan(IMPLICIT, nested(Encoder(IMPLICIT), 10_000), limit=1 << 20)
