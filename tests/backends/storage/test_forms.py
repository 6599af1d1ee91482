from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred

from harmonygw.backends.storage.forms import Event, Field, FileBegins, FileEnds, events, is_form
from harmonygw.errors import BadRequest, HarmonyError, TooLarge
from harmonygw.streams import Body, Feed, Pieces

FORM = "multipart/form-data; boundary=XX"


def body_of(*pieces: bytes) -> Body:
    feed: Feed[Pieces] = Feed(limit=1 << 30)
    for piece in pieces:
        feed.put((piece,))
    feed.end()
    return Body(feed)


def read(*pieces: bytes, content_type: str = FORM) -> list[Event]:
    """What a form consists of; everything has arrived, so that nothing waits."""
    found: list[Event] = []

    async def run() -> None:
        found.extend([event async for event in events(body_of(*pieces), content_type)])

    running: Any = run()
    with pytest.raises(StopIteration):
        running.send(None)
    return found


def joined(found: list[Event]) -> list[Any]:
    """The same with what came of a file in pieces put together."""
    whole: list[Any] = []
    for event in found:
        if isinstance(event, bytes) and isinstance(whole[-1], bytes):
            whole[-1] += event
        else:
            whole.append(event)
    return whole


PART = st.tuples(
    st.booleans(),
    st.text(st.characters(codec="ascii", categories=("L", "N")), max_size=8),
    st.binary(max_size=60).map(lambda data: data.replace(b"--XX", b"--xx")),
)


@settings(deadline=None)
@given(st.lists(PART, min_size=1, max_size=4), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_a_form_is_the_same_in_whatever_pieces_it_comes(parts: list[tuple[bool, str, bytes]], sizes: list[int]) -> None:
    sent = b""
    expected: list[Any] = []
    for is_file, name, data in parts:
        filename = f'; filename="{name}"' if is_file else ""
        head = f'--XX\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'
        sent += head.encode() + data + b"\r\n"
        if is_file:
            expected += [FileBegins(name), *([data] if data else []), FileEnds()]
        else:
            expected.append(Field(name, data.decode("utf-8", "replace")))
    sent += b"--XX--\r\n"
    pieces, at, turn = [], 0, 0
    while at < len(sent):
        size = sizes[turn % len(sizes)]
        pieces.append(sent[at : at + size])
        at, turn = at + size, turn + 1
    assert joined(read(*pieces)) == expected


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_junk_is_a_bad_request_and_nothing_else(pieces: list[bytes]) -> None:
    with pytest.raises(BadRequest):
        read(*pieces)


@settings(deadline=None)
@given(st.integers(0, 70))
def test_a_form_that_is_cut_is_never_whole(length: int) -> None:
    whole = b'--XX\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\ndata\r\n--XX--'
    with pytest.raises(BadRequest):
        read(whole[: min(length, len(whole) - 1)])


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("multipart/form-data; boundary=x", True),
        ("Multipart/Form-Data;boundary=x", True),
        ("multipart/related; boundary=x", False),
        ("application/octet-stream", False),
        ("", False),
    ],
)
def test_a_form_is_told_by_its_media_type(content_type: str, expected: bool) -> None:
    assert is_form(content_type) is expected


@pytest.mark.parametrize(("length", "fits"), [(4000, True), (5000, False)])
def test_a_header_of_a_part_has_a_greatest_length(length: int, fits: bool) -> None:
    head = b'--XX\r\nContent-Disposition: form-data; name="f"; filename="a"\r\nX-Long: ' + b"x" * length
    sent = head + b"\r\n\r\ndata\r\n--XX--"
    if fits:
        assert FileEnds() in read(sent)
    else:
        with pytest.raises(TooLarge):
            read(sent)


@ensureDeferred
async def test_what_breaks_the_body_off_breaks_the_form_off() -> None:
    feed: Feed[Pieces] = Feed(limit=10)
    feed.fail(HarmonyError("gone"))
    with pytest.raises(HarmonyError, match="gone"):
        async for _ in events(Body(feed), FORM):
            pass
