"""Frames out of a readable instance: as they are stored, decoded, or encoded anew, in a form that the client takes."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from itertools import islice
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred

from harmonygw.dicom.dataset.frames import FrameTable, realign
from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.dicom.dataset.transcoding import decoded_pixels
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, NATIVE, describe
from harmonygw.dicom.web.pixel_media_types import FrameForm
from harmonygw.errors import NotAcceptable, NotFound, PeerError, RenderingFailed
from harmonygw.middleware.dicomweb_bridge import byte_ranges
from harmonygw.middleware.dicomweb_bridge.access import Readable
from harmonygw.rendering.transfer_syntaxes import DECODABLE, ENCODABLE
from harmonygw.rendering.workers import Workers
from harmonygw.streams import Pieces

FRAMES_AHEAD: Final = 3
"""Frames of one request that are made at a time. Default 3: one on its way, and one for each of two workers."""

MAX_BYTES_AHEAD: Final = 64 * 1024 * 1024
"""Decoded bytes of one request's frames that are made at a time, unless it is one frame. Default 64 MiB: three
mammograms."""

MAX_WHOLE_FRAME_BYTES: Final = 256 * 1024 * 1024
"""Bytes of a stored frame that is read whole, to be decoded. Default 256 MiB, as `transcoding.MAX_FRAME_BYTES`."""


class Form(NamedTuple):
    """The form that was chosen."""

    form: FrameForm
    outgoing: str
    """The transfer syntax in which the frames go out."""
    stored: bool
    """Whether they go out as they are."""


def forms_of(forms: Sequence[FrameForm], stored: str) -> Iterator[Form]:
    """Yield the forms that frames stored in a transfer syntax can be brought into."""
    for form in forms:
        outgoing = form.outgoing(stored)
        if outgoing is None:
            continue
        if outgoing == stored or (outgoing == EXPLICIT_VR_LITTLE_ENDIAN and stored in NATIVE):
            yield Form(form, outgoing, True)
        elif stored in DECODABLE and (outgoing == EXPLICIT_VR_LITTLE_ENDIAN or outgoing in ENCODABLE):
            yield Form(form, outgoing, False)


def choose(forms: Sequence[FrameForm], stored: str) -> Form:
    """Return the first of those forms; raises `NotAcceptable` when there is none."""
    for form in forms_of(forms, stored):
        return form
    raise NotAcceptable(
        f"The frames are stored as {describe(stored).name}, of which nothing that the request accepts can be made. "
        "application/octet-stream; transfer-syntax=* asks for what is stored."
    )


def frame_table(readable: Readable) -> FrameTable:
    """Return where the frames lie; raises `NotFound` when there are none."""
    table = readable.layout.frames
    if table is None:
        raise NotFound(f"There are no frames: {readable.layout.pixels_problem or 'the instance has no pixel data'}.")
    return table


def description(readable: Readable) -> PixelDescription:
    """Return what the data set says of its pixels; raises `PeerError` when that is not enough."""
    if readable.layout.pixels is None:
        raise PeerError(readable.layout.pixels_problem, source=0)
    return readable.layout.pixels


def is_aligned(readable: Readable) -> bool:
    """Tell whether every frame begins and ends with a byte: those of one bit a sample need not (PS3.5 §8.1.1)."""
    table, pixels = frame_table(readable), readable.layout.pixels
    return table.encapsulated or pixels is None or not pixels.frame_bits % 8


async def stored_frame(readable: Readable, number: int) -> bytes:
    """Return one frame as it is stored.

    Raises `NotFound`, `PeerError` when it is not whole, and `NotAcceptable` when it is too long to be read at once.
    """
    table = frame_table(readable)
    ranges = table.locate(number)
    length = byte_ranges.length_of(ranges)
    if length > MAX_WHOLE_FRAME_BYTES:
        raise NotAcceptable(
            f"Frame {number} has {length} bytes; those of more than MAX_WHOLE_FRAME_BYTES ({MAX_WHOLE_FRAME_BYTES}) "
            "are only to be had as they are stored, with transfer-syntax=*."
        )
    data = await readable.file.read(*ranges)
    frame = data[0] if len(data) == 1 else b"".join(data)
    pixels = readable.layout.pixels
    if pixels is not None and not is_aligned(readable):
        return realign(frame, table.bit_offset(number), pixels.frame_bits)
    return frame


async def stored_views(readable: Readable, number: int) -> Pieces:
    """Return one frame as it is stored, not copied where that can be; raises what `stored_frame` raises."""
    if not is_aligned(readable):
        return (await stored_frame(readable, number),)
    return await readable.file.views(*frame_table(readable).locate(number))


async def stored_pieces(readable: Readable, number: int) -> AsyncGenerator[Pieces, None]:
    """Yield one frame as it is stored, a piece at a time; raises what `stored_frame` raises."""
    if not is_aligned(readable):
        yield (await stored_frame(readable, number),)
        return
    async with aclosing(byte_ranges.value(readable, frame_table(readable).locate(number))) as pieces:
        async for some in pieces:
            yield some


async def frames(
    readable: Readable, numbers: Iterable[int], outgoing: str, workers: Workers, client: str
) -> AsyncGenerator[bytes, None]:
    """Yield frames decoded, or encoded anew, in another transfer syntax; a few are made at a time."""
    pixels = description(readable)
    at_a_time = max(1, min(FRAMES_AHEAD, MAX_BYTES_AHEAD // pixels.frame_length))
    coming: list[Deferred[bytes]] = []
    left = iter(numbers)  # not a list: what the data set says of its frames may be any number
    try:
        while True:
            for number in islice(left, at_a_time - len(coming)):
                making = _frame(readable, number, pixels, outgoing, workers, client)
                coming.append(Deferred.fromCoroutine(making))
            if not coming:
                break
            yield await coming.pop(0)
    finally:
        for one in coming:
            one.addErrback(lambda _: None)
            one.cancel()


async def _frame(
    readable: Readable, number: int, pixels: PixelDescription, outgoing: str, workers: Workers, client: str
) -> bytes:
    data = await stored_frame(readable, number)
    parameters: dict[str, Any] = {
        "transfer_syntax": readable.instance.transfer_syntax_uid,
        "pixels": asdict(pixels),
        "target": outgoing,
    }
    if outgoing != EXPLICIT_VR_LITTLE_ENDIAN:
        _, made = await workers.run("transcode", parameters, (data,), client=client)
        return made
    _, made = await workers.run("decode", parameters, (data,), client=client)
    due = decoded_pixels(readable.instance.transfer_syntax_uid, pixels).frame_length
    if len(made) != due:
        raise RenderingFailed(f"frame {number} has {len(made)} bytes when decoded, but should have {due}")
    return made
