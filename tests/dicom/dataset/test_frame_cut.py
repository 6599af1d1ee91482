from struct import pack

import pytest

from harmonygw.dicom.dataset import frame_cut as module
from harmonygw.dicom.dataset.frame_cut import EncapsulatedCut, NativeCut
from harmonygw.errors import PeerError

SOI = b"\xff\xd8\xff\xe0"
SIZES = [1, 3, 100]


def table(*offsets: int) -> bytes:
    return pack(f"<{len(offsets)}L", *offsets)


def extended(*offsets: int) -> bytes:
    return pack(f"<{len(offsets)}Q", *offsets)


def cut(
    count: int, *fragments: bytes, offsets: bytes = b"", size: int = 100, limit: int = 1000, **options: object
) -> list[bytes]:
    cutting = EncapsulatedCut(count, limit, **options)  # type: ignore[arg-type]
    frames, at = [], 92 - len(offsets)
    for content in (offsets, *fragments):
        frames += cutting.begin(at, len(content))
        for start in range(0, len(content), size):
            cutting.value(content[start : start + size])
        at += len(content) + 8
    return frames + cutting.finish()


@pytest.mark.parametrize("size", SIZES)
def test_native_frames_are_cut_and_what_follows_is_ignored(size: int) -> None:
    cutting = NativeCut(4 * 8, 3)
    data = b"aaaabbbbcccc\0more"
    frames = [frame for at in range(0, len(data), size) for frame in cutting.feed(data[at : at + size])]
    assert frames == [b"aaaa", b"bbbb", b"cccc"]
    assert cutting.left == 0


@pytest.mark.parametrize("size", SIZES)
def test_frames_of_single_bits_are_realigned(size: int) -> None:
    cutting = NativeCut(9, 2)
    data = bytes([0b10101011, 0b11001101, 0b11111110])
    frames = [frame for at in range(0, 3, size) for frame in cutting.feed(memoryview(data)[at : at + size])]
    assert frames == [bytes([0b10101011, 1]), bytes([0b01100110, 1])]


def test_a_native_frame_is_given_as_soon_as_it_is_whole() -> None:
    cutting = NativeCut(16, 2)
    assert list(cutting.feed(b"a")) == []
    assert list(cutting.feed(b"bc")) == [b"ab"]
    assert cutting.left == 1


@pytest.mark.parametrize("size", SIZES)
def test_the_offset_table_tells_the_frames(size: int) -> None:
    assert cut(2, b"ab", b"cdef", b"gh", offsets=table(0, 22), size=size) == [b"abcdef", b"gh"]
    assert cut(2, b"ab", b"cdef", b"gh", offsets=table(0, 10), size=size) == [b"ab", b"cdefgh"]
    assert cut(2, SOI, b"more", SOI, offsets=table(0, 24), size=size) == [SOI + b"more", SOI]


@pytest.mark.parametrize("size", SIZES)
def test_the_extended_offset_table_comes_first_and_tells_the_padding(size: int) -> None:
    options = {"extended_offsets": extended(0, 24), "extended_lengths": extended(7, 2)}
    assert cut(2, b"abc\0", b"def\0", b"gh", offsets=table(0, 12), size=size, **options) == [b"abc\0def", b"gh"]
    options = {"extended_offsets": extended(0, 12), "extended_lengths": extended(3)}
    assert cut(2, b"abc\0", b"def\0", **options) == [b"abc\0", b"def\0"]
    options = {"extended_offsets": extended(0, 12), "extended_lengths": extended(9, 3)}
    assert cut(2, b"abc\0", b"def\0", **options) == [b"abc\0", b"def"]


@pytest.mark.parametrize("size", SIZES)
def test_without_a_table_a_fragment_is_a_frame_or_begins_with_a_codestream(size: int) -> None:
    assert cut(3, b"ab", b"cd", b"ef", size=size) == [b"ab", b"cd", b"ef"]
    assert cut(2, SOI, b"ab", SOI, b"cd", size=size) == [SOI + b"ab", SOI + b"cd"]
    assert cut(1, b"ab", b"cd", b"ef", size=size) == [b"abcdef"]
    assert cut(3, SOI, b"ab", SOI, one_fragment_each=True, size=size) == [SOI, b"ab", SOI]


@pytest.mark.parametrize("lying", [table(0, 9), table(4, 10), table(0), table(0, 10, 20), b"abc", table(0, 0)])
def test_a_table_that_lies_is_given_up(lying: bytes) -> None:
    assert cut(2, b"ab", b"cd", offsets=lying) == [b"ab", b"cd"]
    if len(lying) == 8:
        assert cut(2, SOI, b"abcd", SOI, offsets=table(0, 12)) == [SOI + b"abcd", SOI]


def test_a_table_that_lies_too_late_is_refused() -> None:
    with pytest.raises(PeerError, match="the 3 frames of the instance cannot be told apart as it passes"):
        cut(3, b"ab", b"cd", b"ef", b"gh", offsets=table(0, 20, 29))
    assert cut(3, b"ab", b"cd", b"ef", offsets=table(0, 10, 19)) == [b"ab", b"cd", b"ef"]


@pytest.mark.parametrize(
    ("count", "fragments", "offsets"),
    [
        (1, (), b""),
        (3, (b"ab", b"cd"), b""),
        (2, (b"ab", b"cd", b"ef"), b""),
        (3, (SOI, b"ab", SOI), b""),
        (2, (SOI, SOI, SOI), b""),
        (2, (b"ab", b"cd"), table(0, 1000)),
        (1, (SOI, SOI), b""),
        (1, (b"ab", b"cd"), table(0, 10)),
    ],
)
def test_frames_that_cannot_be_told_apart_are_refused(count: int, fragments: tuple[bytes, ...], offsets: bytes) -> None:
    with pytest.raises(PeerError, match="cannot be told apart"):
        cut(count, *fragments, offsets=offsets)


def test_one_frame_with_its_own_offset_is_all_fragments() -> None:
    assert cut(1, SOI, SOI, offsets=table(0)) == [SOI + SOI]
    assert cut(1, b"ab", b"cd", offsets=table(0, 4)) == [b"abcd"]


def test_a_frame_without_bytes_is_refused() -> None:
    for fragments in ((b"", b"ab"), (b"ab", b"")):
        with pytest.raises(PeerError, match=r"frame \d of 2 has no bytes"):
            cut(2, *fragments)


def test_a_frame_has_a_limit() -> None:
    assert cut(2, SOI, b"abcd", SOI, b"abcd", limit=8) == [SOI + b"abcd"] * 2
    for fragments in ((SOI, b"abcde", SOI), (SOI, b"abcd", b"e", SOI), (b"x" * 9, b"y")):
        with pytest.raises(PeerError, match=r"exceeds MAX_FRAME_BYTES \(8 bytes\)"):
            cut(2, *fragments, limit=8)


def test_a_fragment_is_refused_before_it_has_come() -> None:
    cutting = EncapsulatedCut(1, 8)
    cutting.begin(0, 0)
    with pytest.raises(PeerError, match="MAX_FRAME_BYTES"):
        cutting.begin(8, 9)


def test_a_table_that_is_too_long_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for longest, expected in ((8, [b"ab", b"cdef"]), (7, None)):
        monkeypatch.setattr(module, "LONGEST_OFFSET_TABLE", longest)
        if expected is None:
            with pytest.raises(PeerError, match="cannot be told apart"):
                cut(2, b"ab", b"cd", b"ef", offsets=table(0, 10))
        else:
            assert cut(2, b"ab", b"cd", b"ef", offsets=table(0, 10)) == expected
