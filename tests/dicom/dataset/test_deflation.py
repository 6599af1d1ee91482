import zlib

import pytest

from harmonygw.dicom.dataset.deflation import Deflation, Inflation
from harmonygw.dicom.dataset.limits import INFLATION_ALLOWANCE, MAX_INFLATION_RATIO, Limits
from harmonygw.errors import PeerError
from tests.dicom.dataset.encoded import split

TEXT = b"".join(b"element %d\n" % number for number in range(50_000))


def deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, wbits=-15)
    return deflater.compress(data) + deflater.flush()


def inflate(data: bytes, size: int = 0, limits: Limits = Limits()) -> bytes:  # noqa: B008
    inflation = Inflation(limits=limits)
    inflated = b"".join(out for piece in split(data, size) for out in inflation.feed(piece))
    inflation.finish()
    return inflated


@pytest.mark.parametrize("size", [1, 13, 4096, 0])
def test_any_splitting_inflates_to_the_same(size: int) -> None:
    assert inflate(deflate(TEXT), size) == TEXT


def test_one_step_gives_256_kib_at_most() -> None:
    steps = [len(out) for out in Inflation().feed(deflate(bytes(1 << 20)))]
    assert max(steps) == 256 * 1024
    assert sum(steps) == 1 << 20


def test_what_follows_the_end_is_ignored() -> None:
    assert inflate(deflate(b"ab") + b"\0") == b"ab"
    assert inflate(deflate(TEXT) + bytes(100_000), 5000) == TEXT


def test_a_stream_cut_short_is_refused() -> None:
    with pytest.raises(PeerError, match="cut short after 5 bytes"):
        inflate(deflate(TEXT)[:5])


def test_a_corrupt_stream_is_refused() -> None:
    with pytest.raises(PeerError, match="corrupt near its byte 4"):
        inflate(b"\xff\xff\xff\xff")


def test_the_total_is_limited() -> None:
    limits = Limits(max_inflated_bytes=len(TEXT))
    assert inflate(deflate(TEXT), limits=limits) == TEXT
    with pytest.raises(PeerError, match=r"MAX_INFLATED_BYTES \(\d+ bytes\)"):
        inflate(deflate(TEXT + b"."), limits=limits)


def test_a_thousandfold_is_refused_once_it_exceeds_the_allowance() -> None:
    inflate(deflate(bytes(INFLATION_ALLOWANCE)))
    with pytest.raises(PeerError, match=r"MAX_INFLATION_RATIO \(500 to 1\)"):
        inflate(deflate(bytes(2 * INFLATION_ALLOWANCE)))


def test_the_ratio_is_that_of_all_so_far() -> None:
    blank = deflate(bytes(2 * INFLATION_ALLOWANCE))
    ratio = 2 * INFLATION_ALLOWANCE // len(blank) + 1
    assert ratio > MAX_INFLATION_RATIO
    assert not any(inflate(blank, limits=Limits(max_inflation_ratio=ratio)))
    with pytest.raises(PeerError, match="MAX_INFLATION_RATIO"):
        inflate(blank, limits=Limits(max_inflation_ratio=ratio - 1))


@pytest.mark.parametrize("data", [b"", b"a", b"ab", TEXT])
def test_what_is_deflated_has_even_length_and_inflates_again(data: bytes) -> None:
    deflation = Deflation()
    deflated = b"".join(map(deflation.feed, split(data, 1000) if data else ())) + deflation.finish()
    assert len(deflated) % 2 == 0
    assert inflate(deflated) == data
