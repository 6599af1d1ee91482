from dataclasses import asdict
from itertools import count
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.dicom.web.pixel_media_types import negotiate_frames
from harmonygw.errors import NotAcceptable, NotFound, PeerError, RenderingFailed
from harmonygw.middleware.dicomweb_bridge import pixels
from harmonygw.middleware.dicomweb_bridge.access import Readable
from harmonygw.middleware.dicomweb_bridge.pixels import (
    choose,
    description,
    frame_table,
    frames,
    is_aligned,
    stored_frame,
    stored_pieces,
)
from tests.dicom.dataset.encoded import EXPLICIT, IMPLICIT, element
from tests.middleware.dicomweb_bridge.archive import result_of
from tests.middleware.dicomweb_bridge.holding import (
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    Held,
    InProcess,
    encapsulated,
    native,
)

FOUR = bytes(range(16))
"""Four frames of two by two."""


def readable(syntax: str, data: bytes) -> Readable:
    held = Held(syntax, data)
    assert held.file.layout is not None
    return Readable(held.instance(), held.file, held.file.layout)


def four() -> Readable:
    return readable(EXPLICIT, native(FOUR, 2, 2, frames=4))


# Which form


@pytest.mark.parametrize(
    ("accept", "stored", "media_type", "outgoing", "as_it_is"),
    [
        (None, EXPLICIT, "application/octet-stream", EXPLICIT, True),
        (None, IMPLICIT, "application/octet-stream", EXPLICIT, True),
        (None, JPEG_LS, "application/octet-stream", EXPLICIT, False),
        (None, "1.2.840.10008.1.2.4.58", "application/octet-stream", EXPLICIT, None),
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", JPEG_LS, "", JPEG_LS, True),
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", "1.2.3", "", "1.2.3", True),
        ("multipart/related; type=image/jls", EXPLICIT, "image/jls", JPEG_LS, False),
        ("multipart/related; type=image/jls", RLE, "image/jls", JPEG_LS, False),
        ("multipart/related; type=image/jls", JPEG_LS, "image/jls", JPEG_LS, True),
        ("multipart/related; type=image/jpeg", JPEG_BASELINE, "image/jpeg", JPEG_BASELINE, True),
        ("multipart/related; type=image/jpeg", JPEG_LOSSLESS, "image/jpeg", JPEG_LOSSLESS, True),
        ("multipart/related; type=image/jpeg", EXPLICIT, "image/jpeg", JPEG_LOSSLESS, None),
        ("multipart/related; type=image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50", JPEG_LS, "", "", None),
        ("image/jls, */*;q=0.1", "1.2.840.10008.1.2.4.102", "", "", None),
    ],
)
def test_the_form_is_the_first_that_can_be_made(
    accept: str | None, stored: str, media_type: str, outgoing: str, as_it_is: bool | None
) -> None:
    forms = negotiate_frames(accept, one_part=True)
    if as_it_is is None:
        with pytest.raises(NotAcceptable, match=r"transfer-syntax=\*"):
            choose(forms, stored)
        return
    form = choose(forms, stored)
    assert (form.outgoing, form.stored) == (outgoing, as_it_is)
    assert form.form.media_type == (media_type or "application/octet-stream")


# Stored frames


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_stored_frame_is_its_bytes(number: int) -> None:
    one = four()
    assert result_of(stored_frame(one, number)) == FOUR[number * 4 - 4 : number * 4]
    assert one.file.reads == [(frame_table(one).locate(number)[0])]  # type: ignore[attr-defined]


def test_a_frame_of_several_fragments_is_joined() -> None:
    table = (0).to_bytes(4, "little") + (8 + 2 + 8 + 2).to_bytes(4, "little")
    one = readable(JPEG_LS, encapsulated([b"ab", b"cd", b"ef"], 2, 2, frames=2, table=table))
    assert result_of(stored_frame(one, 1)) == b"abcd"
    assert result_of(stored_frame(one, 2)) == b"ef"


def test_frames_of_bits_are_realigned() -> None:
    one = readable(EXPLICIT, native(bytes([0b10110101, 0b00011010]), 1, 5, bits=1, frames=3))
    assert not is_aligned(one)
    assert [result_of(stored_frame(one, number)) for number in (1, 2, 3)] == [b"\x15", b"\x15", b"\x06"]
    assert result_of(gathered(stored_pieces(one, 2))) == b"\x15"


def test_frames_without_a_description_are_there_when_they_are_encapsulated() -> None:
    one = readable(JPEG_LS, encapsulated([b"ab"], 0, 0))
    assert result_of(stored_frame(one, 1)) == b"ab"
    assert is_aligned(one)
    with pytest.raises(PeerError, match="Rows is missing"):
        description(one)


@pytest.mark.parametrize(
    ("data", "why"),
    [(element(0x00280010, "US", b"\1\0"), "no pixel data"), (native(b"ab", 0, 0), "Rows is missing")],
)
def test_where_there_are_no_frames_it_is_said_why(data: bytes, why: str) -> None:
    with pytest.raises(NotFound, match=why):
        frame_table(readable(EXPLICIT, data))


def test_a_frame_that_is_not_there_and_one_that_is_not_whole_are_told_apart() -> None:
    with pytest.raises(NotFound, match="no frame 5"):
        result_of(stored_frame(four(), 5))
    with pytest.raises(PeerError, match="frame 4 of 4 is not whole"):
        result_of(stored_frame(readable(EXPLICIT, native(FOUR[:-2], 2, 2, frames=4)), 4))


def test_a_frame_too_long_to_be_held_is_refused_and_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MAX_WHOLE_FRAME_BYTES", 4)
    assert result_of(stored_frame(four(), 1)) == FOUR[:4]
    monkeypatch.setattr(pixels, "MAX_WHOLE_FRAME_BYTES", 3)
    with pytest.raises(NotAcceptable, match=r"Frame 1 has 4 bytes.*MAX_WHOLE_FRAME_BYTES \(3\)"):
        result_of(stored_frame(four(), 1))
    assert result_of(gathered(stored_pieces(four(), 2))) == FOUR[4:8]


async def gathered(pieces: Any) -> bytes:
    return b"".join([bytes(piece) async for some in pieces for piece in some])


# Frames that are made


def made(one: Readable, numbers: Any, workers: InProcess, outgoing: str = RLE) -> Any:
    return frames(one, numbers, outgoing, workers, "client")  # type: ignore[arg-type]


@pytest.mark.parametrize("ahead", [1, 2, 3, 9])
def test_frames_come_in_the_order_asked_whatever_is_made_ahead(monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    monkeypatch.setattr(pixels, "FRAMES_AHEAD", ahead)

    async def all_of_them() -> list[bytes]:
        return [one async for one in made(four(), (4, 1, 1, 3), InProcess(None, None), RLE)]

    last, first, again, third = result_of(all_of_them())
    assert first == again
    assert len({last, first, third}) == 3


def test_numbers_of_frames_are_not_gathered() -> None:
    frame = result_of(anext(made(four(), count(2), InProcess(None, None), EXPLICIT)))
    assert frame == FOUR[4:8]


def test_the_worker_is_told_how_a_frame_is_stored_and_what_it_is_to_become() -> None:
    workers = InProcess(None, None)
    one = four()
    result_of(anext(made(one, (2,), workers)))
    described = asdict(description(one))
    assert workers.done == [("transcode", {"transfer_syntax": EXPLICIT, "pixels": described, "target": RLE}, 1)]
    result_of(anext(made(one, (2,), workers, EXPLICIT)))
    assert workers.jobs == ["transcode", "decode"]


def begin(generator: Any) -> "Deferred[bytes]":
    return Deferred.fromCoroutine(anext(generator))


@pytest.mark.parametrize("change", [-1, 1])
def test_a_decoded_frame_that_is_too_short_or_too_long_is_not_passed_on(change: int) -> None:
    class Lying(InProcess):
        async def run(self, *arguments: Any, **more: Any) -> Any:
            result, data = await super().run(*arguments, **more)
            return result, (data + b"\0")[: len(data) + change]

    with pytest.raises(RenderingFailed, match=f"frame 2 has {4 + change} bytes when decoded, but should have 4"):
        result_of(anext(made(four(), (2,), Lying(None, None), EXPLICIT)))


@pytest.mark.parametrize(("limit", "at_a_time"), [(12, 3), (11, 2), (8, 2), (7, 1), (1, 1)])
def test_few_frames_are_made_at_a_time_and_fewer_large_ones(
    monkeypatch: pytest.MonkeyPatch, limit: int, at_a_time: int
) -> None:
    monkeypatch.setattr(pixels, "MAX_BYTES_AHEAD", limit)
    workers = InProcess(None, None)
    workers.held = []
    generator = made(four(), (1, 2, 3, 4), workers)
    first = begin(generator)
    assert len(workers.held) == at_a_time
    workers.held[0].callback(None)
    assert first.called
    assert len(workers.held) == at_a_time
    second = begin(generator)
    assert len(workers.held) == min(at_a_time + 1, 4)
    for one in workers.held:
        if not one.called:
            one.callback(None)
    assert second.called
    result_of(generator.aclose())


def test_frames_that_nobody_waits_for_are_cancelled() -> None:
    workers = InProcess(None, None)
    workers.held = []
    generator = made(four(), (1, 2, 3, 4), workers)
    first = begin(generator)
    workers.held[0].callback(None)
    assert first.called
    result_of(generator.aclose())
    assert workers.cancelled == 2


def test_a_wait_that_is_cancelled_cancels_all() -> None:
    workers = InProcess(None, None)
    workers.held = []
    first = begin(made(four(), (1, 2, 3, 4), workers))
    first.cancel()
    failures: list[Any] = []
    first.addErrback(failures.append)
    assert failures[0].check(CancelledError)
    assert workers.cancelled == 3


def test_a_frame_that_fails_fails_in_its_turn_and_nothing_is_left() -> None:
    workers = InProcess(None, None)
    workers.held = []
    generator = made(four(), (1, 2, 3), workers)
    first = begin(generator)
    workers.held[1].errback(RenderingFailed("crashed"))
    workers.held[2].errback(RenderingFailed("crashed too"))
    workers.held[0].callback(None)
    assert first.called
    with pytest.raises(RenderingFailed, match=r"crashed$"):
        result_of(anext(generator))


def test_frames_given_up_before_the_first_begin_nothing() -> None:
    workers = InProcess(None, None)
    result_of(made(four(), (1, 2), workers).aclose())
    assert workers.done == []
