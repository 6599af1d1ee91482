"""The data set of an instance in another transfer syntax, made while it comes (PS3.5 §8, §A)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import Final

from harmonygw.dicom.dataset.conversion import Conversion
from harmonygw.dicom.dataset.transcoding import StoredFrame, Transcoding
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, NATIVE
from harmonygw.rendering.workers import Workers
from harmonygw.streams import Instance, Piece, Pieces, Stream

MAX_HELD_BYTES: Final = 1024 * 1024
"""Bytes before the first frame that wait for it, so that an object whose pixels cannot be decoded is refused before
anything of it is sent. Default 1 MiB: all that stands before the pixels, of all but the longest multi-frame objects."""


async def in_transfer_syntax(
    instance: Instance, transfer_syntax_uid: str, workers: Workers, *, client: str = ""
) -> AsyncGenerator[Pieces, None]:
    """Yield the data set of `instance` in a transfer syntax; frames are decoded and encoded by `workers`.

    `client` is who waits for the frames. Raises `NotAcceptable` when the pixels cannot be brought into that syntax,
    and `PeerError` for a malformed object.
    """
    stored = instance.transfer_syntax_uid
    if stored == transfer_syntax_uid or {stored, transfer_syntax_uid} <= NATIVE:
        source: Stream[Pieces] = instance.data_set
        conversion = Conversion(stored, transfer_syntax_uid)
    elif transfer_syntax_uid in NATIVE:
        source = _transcoded(instance, EXPLICIT_VR_LITTLE_ENDIAN, workers, client)
        conversion = Conversion(EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax_uid)
    else:
        source = _transcoded(instance, transfer_syntax_uid, workers, client)
        conversion = Conversion(transfer_syntax_uid, transfer_syntax_uid)
    try:
        async for pieces in source:
            if converted := conversion.feed(pieces):
                yield converted
        if rest := conversion.finish():
            yield rest
    finally:
        if source is not instance.data_set:
            await source.aclose()


async def _transcoded(instance: Instance, syntax: str, workers: Workers, client: str) -> AsyncGenerator[Pieces, None]:
    transcoding = Transcoding(instance.transfer_syntax_uid, syntax)
    held: list[Piece] = []
    waiting = True
    async with aclosing(_each(transcoding, instance.data_set)) as each:
        async for told in each:
            for made in told:
                if not isinstance(made, StoredFrame):
                    held.append(made)
                    continue
                frame = await _frame(made, instance.transfer_syntax_uid, syntax, workers, client)
                held += transcoding.encoded(made, frame)
                waiting = False
                if held:
                    yield held
                    held = []
            if held and (not waiting or sum(map(len, held)) > MAX_HELD_BYTES):
                yield held
                held, waiting = [], False
    if held:
        yield held


async def _frame(frame: StoredFrame, stored: str, syntax: str, workers: Workers, client: str) -> bytes:
    job = "decode" if syntax == EXPLICIT_VR_LITTLE_ENDIAN else "transcode"
    source = EXPLICIT_VR_LITTLE_ENDIAN if stored in NATIVE else stored
    parameters = {"transfer_syntax": source, "pixels": asdict(frame.pixels), "target": syntax}
    _, made = await workers.run(job, parameters, (frame.data,), client=client)
    return made


async def _each(transcoding: Transcoding, data_set: Stream[Pieces]) -> AsyncGenerator[list[Piece | StoredFrame], None]:
    async for pieces in data_set:
        yield transcoding.feed(pieces)
    yield transcoding.finish()
