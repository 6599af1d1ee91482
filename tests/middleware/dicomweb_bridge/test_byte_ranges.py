import pytest

from harmonygw.errors import RangeNotSatisfiable
from harmonygw.exchange import HTTPOrigin, Reply
from harmonygw.files import DamagedFile
from harmonygw.middleware.dicomweb_bridge import byte_ranges
from harmonygw.middleware.dicomweb_bridge.access import Readable
from tests.dicom.dataset.encoded import EXPLICIT
from tests.middleware.dicomweb_bridge.archive import body_of, headers_of, result_of
from tests.middleware.dicomweb_bridge.holding import Held

TAG = '"tag"'
RANGES = ((10, 5), (20, 0), (30, 5))
"""Two pieces of a value, and nothing between them."""
VALUE = b"\x0a\x0b\x0c\x0d\x0e\x1e\x1f\x20\x21\x22"


def readable() -> Readable:
    held = Held(EXPLICIT, bytes(range(100)))
    return Readable(held.instance(), held.file, None)  # type: ignore[arg-type]


def by_itself(**headers: str) -> Reply:
    origin = HTTPOrigin("GET", (), headers={name.replace("_", "-"): value for name, value in headers.items()})
    coming = byte_ranges.by_itself(origin, readable(), RANGES, "video/mp4", TAG, (("Cache-Control", "no-cache"),))
    return result_of(coming)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"range": "bytes=0-1,3-4"},
        {"range": "lines=0-1"},
        {"range": "bytes=5-2"},
        {"range": "bytes=" + "9" * 400 + "-"},
        {"range": "bytes=0-1", "if_range": '"another"'},
        {"range": "bytes=0-1", "if_range": "Fri, 27 Nov 2026 20:56:06 GMT"},
    ],
)
def test_a_value_comes_whole_unless_one_range_is_asked_for(headers: dict[str, str]) -> None:
    reply = by_itself(**headers)
    assert reply.status == 200
    assert headers_of(reply) == {
        "Content-Type": "video/mp4",
        "ETag": TAG,
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
    }
    assert body_of(reply) == VALUE
    assert reply.body is not None
    assert reply.body.length == 10


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-", 0, 9),
        ("bytes=0-0", 0, 0),
        ("bytes=4-4", 4, 4),
        ("bytes=4-5", 4, 5),
        ("bytes=5-", 5, 9),
        ("bytes=9-", 9, 9),
        ("bytes=2-7", 2, 7),
        ("bytes=8-99", 8, 9),
        ("bytes=-3", 7, 9),
        ("bytes=-99", 0, 9),
    ],
)
@pytest.mark.parametrize("if_range", [None, TAG])
def test_a_range_is_the_bytes_that_are_asked_for(asked: str, first: int, last: int, if_range: str | None) -> None:
    reply = by_itself(range=asked, **({"if_range": if_range} if if_range else {}))
    assert reply.status == 206
    assert headers_of(reply)["Content-Range"] == f"bytes {first}-{last}/10"
    assert headers_of(reply)["Content-Type"] == "video/mp4"
    assert reply.body is not None
    assert reply.body.length == last - first + 1
    assert body_of(reply) == VALUE[first : last + 1]


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused_with_the_length(asked: str) -> None:
    with pytest.raises(RangeNotSatisfiable, match="10 bytes") as caught:
        by_itself(range=asked)
    assert caught.value.length == 10


def test_a_value_without_a_byte_is_sent() -> None:
    reply = result_of(byte_ranges.by_itself(HTTPOrigin("GET", ()), readable(), (), "a/b", TAG))
    assert (reply.status, body_of(reply), reply.body.length) == (200, b"", 0)


def test_a_damaged_file_is_found_before_the_reply_begins() -> None:
    one = readable()
    one.file.damaged = True  # type: ignore[attr-defined]
    with pytest.raises(DamagedFile):
        result_of(byte_ranges.by_itself(HTTPOrigin("GET", ()), one, RANGES, "a/b", TAG))
    with pytest.raises(DamagedFile):
        result_of(byte_ranges.verify(one, RANGES))


@pytest.mark.parametrize("length", range(11))
@pytest.mark.parametrize("first", range(11))
def test_a_cut_is_the_slice(first: int, length: int) -> None:
    data = bytes(range(100))
    found = byte_ranges.cut(RANGES, first, length)
    assert b"".join(data[start : start + size] for start, size in found) == VALUE[first : first + length]
    assert all(size for _, size in found)
