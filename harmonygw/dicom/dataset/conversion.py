"""An object on its way from one uncompressed transfer syntax to another (PS3.5 §A.1 to §A.5).

Only what differs is touched: element headers between Implicit and Explicit VR, words of values out of Big Endian, the
whole between deflated and not. Long values flow through as the views that came in, and nothing is held but a header or
a short value that is not yet whole, and what the deflate algorithm keeps.
"""

from collections.abc import Iterable, Sequence

from harmonygw.dicom.dataset.deflation import Deflation, Inflation
from harmonygw.dicom.dataset.element_writer import ElementWriter
from harmonygw.dicom.dataset.limits import DEFAULT_LIMITS, Limits
from harmonygw.dicom.dataset.tokens import Piece, Tokenizer
from harmonygw.dicom.dataset.transfer_syntaxes import NATIVE, describe
from harmonygw.errors import NotAcceptable


class Conversion:
    """Converts one data set, without preamble and file meta information, as it passes.

    `source_ts` and `target_ts` are UIDs. Equal ones pass everything through untouched; otherwise both must be in
    `NATIVE`, and the target not Explicit VR Big Endian, which is retired: else `NotAcceptable`.

    Where element headers are rewritten, group lengths go, sequences and items get undefined length, UN of undefined
    length becomes SQ, and in Explicit VR an element too long for its VR's 16-bit length becomes UN (PS3.5 §6.2.2), as
    does one whose VR is not known. Values stay what they are.
    """

    def __init__(self, source_ts: str, target_ts: str, *, limits: Limits = DEFAULT_LIMITS) -> None:
        source, target = describe(source_ts), describe(target_ts)
        self._inflation: Inflation | None = None
        self._tokenizer: Tokenizer | None = None
        self._deflation: Deflation | None = None
        if source_ts == target_ts:
            return
        if not {source_ts, target_ts} <= NATIVE or not target.little_endian:
            raise NotAcceptable(f"an object in {source.name} is not converted to {target.name} here")
        if source.deflated:
            self._inflation = Inflation(limits=limits)
        if source.explicit is not target.explicit or not source.little_endian:
            self._writer = ElementWriter(explicit=target.explicit)
            self._tokenizer = Tokenizer(source_ts, self._writer, limits=limits)
        if target.deflated:
            self._deflation = Deflation()

    @property
    def held(self) -> int:
        """Bytes of input that are kept until an element header or a short value is whole."""
        return self._tokenizer.held if self._tokenizer is not None else 0

    def feed(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return what `pieces` make of the object, often views of them; maybe nothing yet.

        Out of a deflated source the result is at most the ratio's multiple of `pieces`, or a MiB. Raises `PeerError`
        when the object is malformed or exceeds a limit.
        """
        converted: list[Piece] = []
        for piece in pieces:
            if self._inflation is None:
                converted += self._convert(piece)
            else:
                for inflated in self._inflation.feed(piece):
                    converted += self._convert(inflated)
        return converted

    def finish(self) -> list[Piece]:
        """Return the end of the object; raises `PeerError` when it was cut short."""
        if self._inflation is not None:
            self._inflation.finish()
        if self._tokenizer is not None:
            self._tokenizer.finish()
        return [self._deflation.finish()] if self._deflation is not None else []

    def _convert(self, piece: Piece) -> Iterable[Piece]:
        rewritten: Sequence[Piece] = (piece,)
        if self._tokenizer is not None:
            self._tokenizer.feed(piece)
            rewritten = self._writer.take()
        if self._deflation is None:
            return rewritten
        return filter(None, map(self._deflation.feed, rewritten))
