import sys
from array import array
from struct import pack

import pytest

from harmonygw.dicom.dataset import frames as module
from harmonygw.dicom.dataset.frames import (
    EncapsulatedFrames,
    Fragments,
    FrameTable,
    NativeFrames,
    UntoldFrames,
    begins_codestream,
    frame_table_from_bytes,
    offsets_in,
    realign,
)
from harmonygw.errors import NotFound, PeerError
from tests.dicom.dataset.encoded import JPEG_BASELINE
from tests.dicom.dataset.pixel_files import MPEG2, RLE

SOI = b"\xff\xd8\xff\xe0"
J2K = b"\xff\x4f\xff\x51"
JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"


def gathered(*fragments: bytes, table: bytes = b"", base: int = 100, size: int = 4) -> Fragments:
    gathering = Fragments()
    at = base - 8 - len(table)
    for content in (table, *fragments):
        gathering.begin(at, len(content))
        for start in range(0, len(content), size):
            gathering.value(content[start : start + size])
        at += len(content) + 8
    gathering.end()
    return gathering


def table(*offsets: int) -> bytes:
    return pack(f"<{len(offsets)}L", *offsets)


def extended(*offsets: int) -> bytes:
    return pack(f"<{len(offsets)}Q", *offsets)


def located(frames: FrameTable) -> list[tuple[tuple[int, int], ...]]:
    return [frames.locate(number) for number in range(1, frames.count + 1)]


def test_native_frames_follow_each_other() -> None:
    frames = NativeFrames(1000, 13, 4 * 8, 3)
    assert located(frames) == [((1000, 4),), ((1004, 4),), ((1008, 4),)]
    assert [frames.bit_offset(number) for number in (1, 2, 3)] == [0, 0, 0]
    assert frames.all_ranges() == ((1000, 13),)
    assert not frames.encapsulated


@pytest.mark.parametrize("number", [0, -1, 4])
def test_there_are_no_other_frames(number: int) -> None:
    fragments = gathered(b"ab", b"cd", b"ef")
    for frames in (NativeFrames(0, 12, 32, 3), fragments.frames(3, RLE), gathered(b"ab").frames(3, RLE)):
        with pytest.raises(NotFound, match=rf"no frame {number}: the instance has 3"):
            frames.locate(number)


def test_a_native_frame_that_is_cut_short_is_refused() -> None:
    frames = NativeFrames(1000, 11, 32, 3)
    assert frames.locate(2) == ((1004, 4),)
    with pytest.raises(
        PeerError, match="frame 3 of 3 is not whole: it ends at byte 12 of the pixel data, which has 11"
    ):
        frames.locate(3)


def test_frames_of_single_bits_share_bytes() -> None:
    frames = NativeFrames(10, 3, 9, 2)
    assert located(frames) == [((10, 2),), ((11, 2),)]
    assert [frames.bit_offset(number) for number in (1, 2)] == [0, 1]
    data = bytes([0b10101011, 0b11001101, 0b00000010])
    assert realign(data[0:2], 0, 9) == bytes([0b10101011, 1])
    assert realign(data[1:3], 1, 9) == bytes([0b01100110, 1])


@pytest.mark.parametrize("bits", [1, 7, 8, 9, 64, 65])
@pytest.mark.parametrize("bit_offset", range(8))
def test_bits_are_realigned(bit_offset: int, bits: int) -> None:
    stream = [(position * 7 % 5) % 2 for position in range(80)]
    data = bytes(sum(stream[at + bit] << bit for bit in range(8)) for at in range(0, 80, 8))
    wanted = stream[bit_offset : bit_offset + bits] + [0] * 7
    expected = bytes(sum(wanted[at + bit] << bit for bit in range(8)) for at in range(0, bits, 8))
    assert realign(data, bit_offset, bits) == expected
    assert realign(memoryview(data), bit_offset, bits) == expected


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [(SOI, True), (J2K, True), (JP2, True), (SOI[:2], False), (J2K[:3], False), (JP2[:11], False), (b"", False)],
)
def test_a_codestream_is_known_by_its_beginning(beginning: bytes, expected: bool) -> None:
    assert begins_codestream(memoryview(beginning)) is expected
    assert begins_codestream(beginning + b"and so on, and so on") is expected


def test_an_offset_table_that_is_no_whole_number_of_offsets_holds_none() -> None:
    assert list(offsets_in(table(1, 2))) == [1, 2]
    assert list(offsets_in(extended(1, 2), extended=True)) == [1, 2]
    assert list(offsets_in(table(1, 2, 3), extended=True)) == []
    assert list(offsets_in(b"abcde")) == []


@pytest.mark.skipif(sys.byteorder == "big", reason="it makes this machine one of the other order")
@pytest.mark.parametrize(("code", "is_extended"), [("I", False), ("Q", True)])
def test_offsets_are_swapped_where_memory_is_big_endian(
    monkeypatch: pytest.MonkeyPatch, code: str, is_extended: bool
) -> None:
    monkeypatch.setattr(module.sys, "byteorder", "big")
    # Little endian to a big-endian machine is what big endian is to this one.
    assert list(offsets_in(pack(f">2{code}", 1, 258), extended=is_extended)) == [1, 258]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("signature", [b"", SOI])
def test_the_basic_offset_table_tells_the_frames(signature: bytes, size: int) -> None:
    first = signature + b"ab"
    fragments = gathered(
        first, b"cdef", signature, b"", signature + b"gh", table=table(0, 22 + len(signature)), size=size
    )
    frames = fragments.frames(2, JPEG_BASELINE)
    one, two = len(first), len(signature)
    second = 100 + one + 8
    third = second + 4 + 8
    fifth = third + two + 8 + 8
    assert frames.locate(1) == ((100, one), (second, 4))
    assert frames.locate(2) == tuple(place for place in ((third, two), (fifth, two + 2)) if place[1])
    assert frames.all_ranges() == frames.locate(1) + frames.locate(2)
    assert frames.bit_offset(2) == 0
    assert frames.encapsulated
    assert fragments.ranges() == frames.all_ranges()


@pytest.mark.parametrize(
    "lying",
    [
        table(0, 9),
        table(0, 11),
        table(0, 0),
        table(10, 0),
        table(10, 20),
        table(0, 20_000_000),
        table(0),
        table(0, 10, 20),
        table(0, 0xFFFFFFFF),
        b"\0",
        bytes(7),
    ],
)
def test_a_basic_offset_table_that_lies_is_not_believed(lying: bytes) -> None:
    frames = gathered(b"ab", b"cd", table=lying).frames(2, JPEG_BASELINE)
    assert located(frames) == [((100, 2),), ((110, 2),)]
    with pytest.raises(PeerError, match="the 2 frames of the instance cannot be told apart in 3 fragments"):
        gathered(b"ab", b"cd", b"ef", table=lying if lying != table(10, 20) else b"").frames(2, JPEG_BASELINE).locate(1)


def test_a_table_by_which_frames_begin_without_a_codestream_is_not_believed() -> None:
    lying = table(0, 12)
    frames = gathered(SOI, b"more", SOI, table=lying).frames(2, JPEG_BASELINE)
    assert located(frames) == [((100, 4), (112, 4)), ((124, 4),)]


def test_the_extended_offset_table_comes_first() -> None:
    fragments = gathered(b"abc\0", b"defg", b"hi", table=table(0, 12))
    assert located(fragments.frames(2, RLE)) == [((100, 4),), ((112, 4), (124, 2))]
    frames = fragments.frames(2, RLE, extended_offsets=extended(0, 24), extended_lengths=extended(7, 2))
    assert located(frames) == [((100, 4), (112, 3)), ((124, 2),)]


@pytest.mark.parametrize(
    ("offsets", "lengths"),
    [
        (extended(0, 13), extended(3, 4)),
        (extended(0, 1 << 60), extended(3, 4)),
        (extended(0, 12), extended(2, 4)),
        (extended(0, 12), extended(3, 5)),
        (extended(0, 12), extended(3, 1 << 63)),
        (extended(0, 12), extended(3)),
        (extended(0, 12), b""),
        (extended(0), extended(3)),
        (b"", extended(3, 4)),
    ],
)
def test_an_extended_offset_table_that_lies_is_not_believed(offsets: bytes, lengths: bytes) -> None:
    frames = gathered(b"abc\0", b"defg").frames(2, RLE, extended_offsets=offsets, extended_lengths=lengths)
    assert located(frames) == [((100, 4),), ((112, 4),)]


def test_padding_is_not_taken_from_an_empty_fragment() -> None:
    fragments = gathered(b"abc\0", b"")
    frames = fragments.frames(1, RLE, extended_offsets=extended(0), extended_lengths=extended(3))
    assert located(frames) == [((100, 4),)]


def test_without_a_table_there_is_a_fragment_for_each_frame() -> None:
    assert located(gathered(b"ab", b"cd", b"ef").frames(3, RLE)) == [((100, 2),), ((110, 2),), ((120, 2),)]


@pytest.mark.parametrize("offsets", [b"", table(0), table(4)])
def test_one_frame_is_all_fragments(offsets: bytes) -> None:
    for first in (SOI, b"abcd"):
        frames = gathered(first, b"cdef", b"", b"gh", table=offsets).frames(1, JPEG_BASELINE)
        assert located(frames) == [((100, 4), (112, 4), (132, 2))]


def test_several_codestreams_are_not_one_frame() -> None:
    with pytest.raises(
        PeerError, match=r"the 1 frames .* in 2 fragments, in which 2 codestreams begin, with 0 offsets"
    ):
        gathered(SOI, SOI).frames(1, JPEG_BASELINE).locate(1)
    assert gathered(SOI, SOI, table=table(0)).frames(1, JPEG_BASELINE).locate(1) == ((100, 4), (112, 4))


def test_several_offsets_are_not_one_frame() -> None:
    with pytest.raises(PeerError, match="with 2 offsets"):
        gathered(b"ab", b"cd", table=table(0, 10)).frames(1, JPEG_BASELINE).locate(1)


@pytest.mark.parametrize("size", [1, 5, 100])
@pytest.mark.parametrize("start", [SOI, J2K, JP2])
def test_frames_begin_where_codestreams_do(start: bytes, size: int) -> None:
    frames = gathered(start, b"ab", b"cd", start, start, b"\xff\xd8", size=size).frames(3, JPEG_BASELINE)
    assert [[length for _, length in ranges] for ranges in located(frames)] == [
        [len(start), 2, 2],
        [len(start)],
        [len(start), 2],
    ]


def test_frames_that_cannot_be_told_apart_are_refused() -> None:
    for fragments, count in (
        (gathered(), 1),
        (gathered(), 2),
        (gathered(b"ab"), 2),
        (gathered(SOI, b"ab", SOI), 4),
        (gathered(b"ab", SOI, SOI), 2),
    ):
        frames = fragments.frames(count, JPEG_BASELINE)
        assert frames.count == count
        assert frames.all_ranges() == fragments.ranges()
        with pytest.raises(PeerError, match="cannot be told apart"):
            frames.locate(1)


def test_a_frame_without_bytes_is_refused() -> None:
    frames = gathered(b"ab", b"").frames(2, RLE)
    assert frames.locate(1) == ((100, 2),)
    with pytest.raises(PeerError, match="frame 2 of 2 has no bytes"):
        frames.locate(2)


def test_a_video_stream_is_one_frame() -> None:
    frames = gathered(b"ab", b"cd", table=table(0, 10)).frames(1000, MPEG2)
    assert (frames.count, frames.locate(1)) == (1, ((100, 2), (110, 2)))
    with pytest.raises(PeerError, match="cannot be told apart"):
        gathered().frames(1000, MPEG2).locate(1)


def test_fragments_are_limited() -> None:
    gathering = Fragments(2)
    for _ in range(3):
        gathering.begin(0, 0)
    assert len(gathering) == 2
    with pytest.raises(PeerError, match=r"more fragments than MAX_FRAGMENTS \(1000000\)"):
        gathering.begin(0, 0)


def test_there_may_be_a_million_fragments() -> None:
    gathering = Fragments()
    gathering.begin(0, 0)
    for number in range(module.MAX_FRAGMENTS):
        gathering.begin(number * 8, 0)
    with pytest.raises(PeerError, match="MAX_FRAGMENTS"):
        gathering.begin(0, 0)


def test_a_basic_offset_table_that_must_be_wrong_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for most, expected in ((2, [((100, 2),), ((110, 2), (120, 2))]), (1, None)):
        monkeypatch.setattr(module, "MAX_FRAGMENTS", most)
        frames = gathered(b"ab", b"cd", b"ef", table=table(0, 10)).frames(2, RLE)
        if expected is None:
            with pytest.raises(PeerError, match="with 2 offsets"):
                frames.locate(1)
        else:
            assert located(frames) == expected


@pytest.mark.parametrize(
    "frames",
    [
        NativeFrames(1 << 40, 13, 4 * 8, 3),
        gathered(SOI, b"ab", SOI).frames(2, JPEG_BASELINE),
        gathered(b"ab", SOI).frames(7, JPEG_BASELINE),
    ],
)
def test_a_table_comes_back_from_its_bytes(frames: FrameTable) -> None:
    back = frame_table_from_bytes(frames.to_bytes())
    assert type(back) is type(frames)
    assert back.to_bytes() == frames.to_bytes()
    assert (back.count, back.all_ranges()) == (frames.count, frames.all_ranges())


def test_a_table_takes_a_few_bytes_a_fragment() -> None:
    thousand = gathered(*[b"ab"] * 1000).frames(1000, RLE)
    assert len(thousand.to_bytes()) <= 1000 * 16 + 20


def test_bytes_that_are_no_table_are_refused() -> None:
    whole = gathered(b"ab", b"cd").frames(2, RLE).to_bytes()
    beyond = EncapsulatedFrames(array("Q", (1,)), array("I", (2,)), array("I", (1,))).to_bytes()
    untold = UntoldFrames(array("Q"), array("I"), 2, "").to_bytes()
    for data in (
        b"",
        b"\7",
        whole[:5],
        whole[:-1],
        whole + b"\0",
        beyond,
        b"\0" + whole,
        untold[:-1],
        untold + b"\xff",
    ):
        with pytest.raises(ValueError, match=r"table|decode"):
            frame_table_from_bytes(data)
