"""What can be made of an instance that the PACS does not take as it is, and the worker processes that make it."""

from collections.abc import AsyncGenerator
from typing import Any, Final

from harmonygw.config.backend_options import DicomSCUOptions
from harmonygw.dicom.dataset.transfer_syntaxes import NATIVE, describe
from harmonygw.net.association.outgoing import MADE_OF_NATIVE, native_alternatives
from harmonygw.rendering.data_sets import in_transfer_syntax
from harmonygw.rendering.limits import WorkerLimits
from harmonygw.rendering.transfer_syntaxes import DECODABLE, JPEG_2000_LOSSLESS, JPEG_LS_LOSSLESS, RLE_LOSSLESS
from harmonygw.rendering.workers import Workers
from harmonygw.streams import Instance, Pieces

RE_ENCODED: Final = (JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS, RLE_LOSSLESS)
"""The lossless transfer syntaxes that are made here, in the order in which they are preferred: the first takes a fifth
of the time of the second, and the third compresses least."""


class ReEncoding:
    """Makes of instances in one transfer syntax those in another, never with loss."""

    def __init__(self, options: DicomSCUOptions, reactor: Any) -> None:
        self._which = options.store_transcoding
        self._workers = Workers(reactor, WorkerLimits(processes=options.transcoding_processes))
        self._started = False

    def alternatives(self, transfer_syntax_uid: str) -> tuple[str, ...]:
        """Return what can be made of a transfer syntax, the best first: lossless ones, then native ones."""
        if transfer_syntax_uid in NATIVE:
            return native_alternatives(transfer_syntax_uid)
        if transfer_syntax_uid not in DECODABLE or self._which == "never":
            return ()
        if self._which == "lossless" and not describe(transfer_syntax_uid).lossless:
            return ()
        return (*(uid for uid in RE_ENCODED if uid != transfer_syntax_uid), *MADE_OF_NATIVE)

    def data_set(self, instance: Instance, transfer_syntax_uid: str, client: str) -> AsyncGenerator[Pieces, None]:
        """Return the data set of an instance in one of the alternatives, made while it is read.

        Reading it raises `NotAcceptable` when the pixels cannot be brought into it, `PeerError` for a malformed object,
        and `RenderingFailed` or `Busy` when the worker processes do not do it.
        """
        if not self._started and instance.transfer_syntax_uid not in NATIVE:
            self._started = True
            self._workers.start()
        return in_transfer_syntax(instance, transfer_syntax_uid, self._workers, client=client)

    async def stop(self) -> None:
        """End the worker processes."""
        await self._workers.stop()

    def state(self) -> dict[str, int]:
        """Describe the worker processes."""
        return self._workers.state()
