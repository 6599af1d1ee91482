"""An instance as a DICOM file (PS3.10 §7.1) in the transfer syntax in which it goes out, made while it comes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict

from harmonygw.dicom.dataset.conversion import Conversion
from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.dicom.dataset.transcoding import StoredFrame, Transcoding
from harmonygw.dicom.dataset.transfer_syntaxes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    NATIVE,
)
from harmonygw.rendering.workers import Workers
from harmonygw.streams import Instance, Pieces


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

        async def made(told: "list[bytes | memoryview | StoredFrame]") -> AsyncGenerator[Pieces, None]:
            for one in told:
                if isinstance(one, StoredFrame):
                    frame = await self._frame(one, instance.transfer_syntax_uid, syntax, client)
                    yield transcoding.encoded(one, frame)
                elif one:
                    yield (one,)

        async for pieces in instance.data_set:
            async with aclosing(made(transcoding.feed(pieces))) as some:
                async for piece in some:
                    yield piece
        async with aclosing(made(transcoding.finish())) as some:
            async for piece in some:
                yield piece

    async def _frame(self, frame: StoredFrame, stored: str, syntax: str, client: str) -> bytes:
        job = "decode" if syntax == EXPLICIT_VR_LITTLE_ENDIAN else "transcode"
        source = EXPLICIT_VR_LITTLE_ENDIAN if stored in NATIVE else stored
        parameters = {"transfer_syntax": source, "pixels": asdict(frame.pixels), "target": syntax}
        _, made = await self._workers.run(job, parameters, (frame.data,), client=client)
        return made
