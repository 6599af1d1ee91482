"""Inflating and deflating a data set as it passes (PS3.5 §A.5, RFC 1951), within limits.

A deflated object is the one place where a peer can make a little input cost much: a thousandfold is what the
algorithm allows. So the output comes in bounded steps, and both its total and its ratio to the input are limited.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from harmonygw.dicom.dataset.limits import DEFAULT_LIMITS, INFLATION_ALLOWANCE, Limits
from harmonygw.errors import PeerError

Piece = bytes | memoryview

_INPUT_STEP: Final = 16 * 1024
_OUTPUT_STEP: Final = 256 * 1024
_RAW_DEFLATE: Final = -zlib.MAX_WBITS


class Inflation:
    """Raw DEFLATE in, the data set out, both in pieces.

    What follows the end of the compressed stream, such as the NULL that makes its length even, is ignored.
    """

    def __init__(self, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._inflater = zlib.decompressobj(_RAW_DEFLATE)
        self._limits = limits
        self._taken = 0
        self._given = 0

    def feed(self, data: Piece) -> Iterator[bytes]:
        """Yield what `data` inflates to, at most 256 KiB at a time.

        Raises `PeerError` when the stream is corrupt, and when a limit is exceeded, naming it.
        """
        view = memoryview(data)
        for start in range(0, len(view), _INPUT_STEP):
            compressed: Piece = view[start : start + _INPUT_STEP]
            self._taken += len(compressed)
            while not self._inflater.eof:
                try:
                    inflated = self._inflater.decompress(compressed, _OUTPUT_STEP)
                except zlib.error as error:
                    raise PeerError(
                        f"the deflated data set is corrupt near its byte {self._taken}: {error}", source=0
                    ) from error
                if inflated:
                    self._count(len(inflated))
                    yield inflated
                compressed = self._inflater.unconsumed_tail
                if not compressed and len(inflated) < _OUTPUT_STEP:
                    break

    def finish(self) -> None:
        """Say that there is no more input; raises `PeerError` when the compressed stream has not ended."""
        if not self._inflater.eof:
            raise PeerError(f"the deflated data set is cut short after {self._taken} bytes", source=0)

    def _count(self, length: int) -> None:
        self._given += length
        most, ratio = self._limits.max_inflated_bytes, self._limits.max_inflation_ratio
        if self._given > most:
            raise PeerError(f"the deflated data set exceeds MAX_INFLATED_BYTES ({most} bytes)", source=0)
        if self._given > INFLATION_ALLOWANCE and self._given > ratio * self._taken:
            raise PeerError(f"the deflated data set exceeds MAX_INFLATION_RATIO ({ratio} to 1)", source=0)


class Deflation:
    """The data set in, raw DEFLATE out, both in pieces; padded to an even length (PS3.5 §A.5)."""

    def __init__(self) -> None:
        self._deflater = zlib.compressobj(wbits=_RAW_DEFLATE)
        self._given = 0

    def feed(self, data: Piece) -> bytes:
        """Return what can be said so far; often nothing."""
        deflated = self._deflater.compress(data)
        self._given += len(deflated)
        return deflated

    def finish(self) -> bytes:
        """Return the rest."""
        deflated = self._deflater.flush()
        return deflated + b"\0" if (self._given + len(deflated)) % 2 else deflated
