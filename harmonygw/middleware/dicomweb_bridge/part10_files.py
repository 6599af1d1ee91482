"""An instance as a DICOM file (PS3.10 §7.1) in the transfer syntax in which it goes out, made while it comes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.rendering.data_sets import in_transfer_syntax
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
        async with aclosing(in_transfer_syntax(instance, syntax, self._workers, client=client)) as data_set:
            async for pieces in data_set:
                if start:
                    pieces, start = (start, *pieces), b""
                yield pieces
        if start:
            yield (start,)
