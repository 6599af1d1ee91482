"""An instance as a DICOM file (PS3.10 §7.1) in the transfer syntax in which it goes out, made while it comes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import Final

from harmonygw.dicom.dataset.conversion import Conversion
from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.dicom.dataset.transcoding import StoredFrame, Transcoding
from harmonygw.dicom.dataset.transfer_syntaxes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    NATIVE,
)
from harmonygw.rendering.workers import Workers
from harmonygw.streams import Instance, Piece, Pieces, Stream

MAX_HELD_BYTES: Final = 1024 * 1024
"""Bytes before the first frame that wait for it, so that an object whose pixels cannot be decoded is refused before
anything of it is sent. Default 1 MiB: all that stands before the pixels, of all but the longest multi-frame objects."""


class Files:
    """Makes files of instances; frames are decoded and encoded by `workers`."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def file(
        self, instance: Instance, syntax: str, client: str, *, start: bytes = b""
    ) -> AsyncGenerator[Pieces, None]:
        """Yield `start`, the Part 10 header and the data set in `syntax`, the first piece with its header.

        Raises `NotAcceptable` when the pixels cannot be brought into that syntax, and `PeerError` for a malformed
        object.
        """
        start += file_header(
            instance.sop_class_uid,
            instance.sop_instance_uid,
            syntax,
            source_ae_title=instance.receiving_ae_title,
            sending_ae_title=instance.source_ae_title,
        )
        async with aclosing(self._data_set(instance, syntax, client)) as data_set:
            async for pieces in data_set:
                if start:
                    pieces, start = (start, *pieces), b""
                yield pieces
        if start:
            yield (start,)

    async def _data_set(self, instance: Instance, syntax: str, client: str) -> AsyncGenerator[Pieces, None]:
        stored = instance.transfer_syntax_uid
        if stored == syntax or {stored, syntax} <= NATIVE:
            conversion = Conversion(stored, syntax)
            async for pieces in instance.data_set:
                if converted := conversion.feed(pieces):
                    yield converted
            if rest := conversion.finish():
                yield rest
            return
        if syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
            deflating = Conversion(EXPLICIT_VR_LITTLE_ENDIAN, syntax)
            async with aclosing(self._transcoded(instance, EXPLICIT_VR_LITTLE_ENDIAN, client)) as transcoded:
                async for pieces in transcoded:
                    if converted := deflating.feed(pieces):
                        yield converted
            yield deflating.finish()
            return
        async with aclosing(self._transcoded(instance, syntax, client)) as transcoded:
            async for pieces in transcoded:
                yield pieces

    async def _transcoded(self, instance: Instance, syntax: str, client: str) -> AsyncGenerator[Pieces, None]:
        transcoding = Transcoding(instance.transfer_syntax_uid, syntax)
        held: list[Piece] = []
        waiting = True
        async with aclosing(_each(transcoding, instance.data_set)) as each:
            async for told in each:
                for made in told:
                    if not isinstance(made, StoredFrame):
                        held.append(made)
                        continue
                    frame = await self._frame(made, instance.transfer_syntax_uid, syntax, client)
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

    async def _frame(self, frame: StoredFrame, stored: str, syntax: str, client: str) -> bytes:
        job = "decode" if syntax == EXPLICIT_VR_LITTLE_ENDIAN else "transcode"
        source = EXPLICIT_VR_LITTLE_ENDIAN if stored in NATIVE else stored
        parameters = {"transfer_syntax": source, "pixels": asdict(frame.pixels), "target": syntax}
        _, made = await self._workers.run(job, parameters, (frame.data,), client=client)
        return made


async def _each(transcoding: Transcoding, data_set: Stream[Pieces]) -> AsyncGenerator[list[Piece | StoredFrame], None]:
    async for pieces in data_set:
        yield transcoding.feed(pieces)
    yield transcoding.finish()
