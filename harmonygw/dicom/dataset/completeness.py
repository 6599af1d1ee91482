"""Whether a data set that passes by ends where it should: within nothing.

What is cut short looks like any other stream of bytes to whoever passes it on. Its lengths and delimiters tell.
"""

from collections.abc import Sequence

from harmonygw.dicom.dataset.deflation import Inflation
from harmonygw.dicom.dataset.limits import DEFAULT_LIMITS, Limits
from harmonygw.dicom.dataset.tokens import LONGEST_WHOLE_VALUE, Piece, Tokenizer
from harmonygw.dicom.dataset.transfer_syntaxes import describe
from harmonygw.errors import PeerError


class Completeness:
    """Reads along with one data set, without preamble and file meta information.

    It judges the end only. A data set that is malformed on the way is for whoever gets it to judge: then there is no
    telling where it should end.
    """

    def __init__(self, transfer_syntax_uid: str, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._inflation = Inflation(limits=limits) if describe(transfer_syntax_uid).deflated else None
        self._tokenizer: Tokenizer | None = Tokenizer(
            transfer_syntax_uid, _Passing(), limits=limits, longest_verbatim=LONGEST_WHOLE_VALUE
        )

    def feed(self, pieces: Sequence[Piece]) -> None:
        """Read on."""
        if self._tokenizer is None:
            return
        try:
            for piece in pieces:
                if self._inflation is None:
                    self._tokenizer.feed(piece)
                else:
                    for inflated in self._inflation.feed(piece):
                        self._tokenizer.feed(inflated)
        except PeerError:
            self._tokenizer = None

    def finish(self) -> None:
        """Say that there is no more; raises `PeerError` when something was cut short."""
        if self._tokenizer is not None:
            if self._inflation is not None:
                self._inflation.finish()
            self._tokenizer.finish()


class _Passing:
    """A `Visitor` to whom nothing matters."""

    def element(self, tag: int, vr: str, value: memoryview) -> None: ...

    def verbatim(self, run: memoryview) -> None: ...

    def begin_value(self, tag: int, vr: str, length: int) -> None: ...

    def value(self, piece: memoryview) -> None: ...

    def begin_sequence(self, tag: int) -> None: ...

    def end_sequence(self) -> None: ...

    def begin_item(self) -> None: ...

    def end_item(self) -> None: ...

    def encapsulated(self, tag: int, vr: str, offset: int) -> None: ...

    def fragment(self, offset: int, length: int) -> None: ...

    def fragment_value(self, piece: memoryview) -> None: ...

    def end_encapsulated(self) -> None: ...
