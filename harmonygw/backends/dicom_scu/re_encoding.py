"""What can be made of an instance that the PACS does not take as it is, and the worker processes that make it."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any, Final

from harmonygw.config.backend_options import DicomSCUOptions
from harmonygw.dicom.dataset.transfer_syntaxes import NATIVE, describe
from harmonygw.errors import NotAcceptable
from harmonygw.net.association.outgoing import MADE_OF_NATIVE, OutgoingData, native_alternatives
from harmonygw.rendering.data_sets import in_transfer_syntax
from harmonygw.rendering.limits import WorkerLimits
from harmonygw.rendering.transfer_syntaxes import DECODABLE, JPEG_2000_LOSSLESS, JPEG_LS_LOSSLESS, RLE_LOSSLESS
from harmonygw.rendering.workers import Workers
from harmonygw.streams import Instance, Pieces, Stream

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

    async def begin(self, instance: Instance, transfer_syntaxes: Sequence[str], client: str) -> Instance:
        """Begin to make an instance in the first of these alternatives that its pixels can be brought into.

        What was read for one is kept until its first bytes are made, which is up to the first frame, and then let go.
        `client` is who waits. Raises `NotAcceptable` when its pixels can be brought into none, `PeerError` for a
        malformed object, and `RenderingFailed` or `Busy` when the worker processes do not do it; so does reading on.
        """
        if not self._started and instance.transfer_syntax_uid not in NATIVE:
            self._started = True
            self._workers.start()
        source = _Repeatable(instance.data_set)
        *others, last = transfer_syntaxes
        for uid in others:
            try:
                return await self._begin(instance, source, uid, client)
            except NotAcceptable:  # JPEG-LS has no samples of 32 bits, for one
                continue
        return await self._begin(instance, source, last, client)

    async def _begin(self, instance: Instance, source: "_Repeatable", uid: str, client: str) -> Instance:
        held = replace(instance, data_set=source.read())
        made = OutgoingData(in_transfer_syntax(held, uid, self._workers, client=client))
        try:
            await made.begin()
        except BaseException:
            await made.aclose()
            raise
        source.forget()
        return replace(instance, transfer_syntax_uid=uid, data_set=made)

    async def stop(self) -> None:
        """End the worker processes."""
        await self._workers.stop()

    def state(self) -> dict[str, int]:
        """Describe the worker processes."""
        return self._workers.state()


class _Repeatable:
    """A data set that can be read from its beginning again, until that is forgotten."""

    def __init__(self, source: Stream[Pieces]) -> None:
        self._source = source
        self._kept: list[Pieces] | None = []

    async def read(self) -> AsyncGenerator[Pieces, None]:
        """Yield all of it."""
        for pieces in tuple(self._kept or ()):
            yield pieces
        async for pieces in self._source:
            if self._kept is not None:
                self._kept.append(pieces)
            yield pieces

    def forget(self) -> None:
        """Keep no more of it: whoever reads now reads to the end."""
        self._kept = None
