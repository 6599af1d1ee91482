"""Instances on their way to another application entity: what is proposed for them, and how each goes out.

An instance goes out as it is held when the peer accepted that transfer syntax, else in another one that can be made of
it: a native one of a native one, as it flows. Its first bytes are there before its C-STORE-RQ is sent, so that what
cannot be read at all costs that instance and not the association.
"""

from collections.abc import Callable, Iterable
from typing import Final

from harmonygw.dicom.dataset.conversion import Conversion
from harmonygw.dicom.dataset.transfer_syntaxes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    NATIVE,
    describe,
)
from harmonygw.dicom.upperlayer.negotiation import MAX_PRESENTATION_CONTEXTS, AcceptedContext, ProposedContext
from harmonygw.errors import Incomplete, NotAcceptable
from harmonygw.streams import Instance, Pieces, Stream

Kind = tuple[str, str]
"""What decides on which presentation context an instance can go: its SOP class and its transfer syntax."""

Alternatives = Callable[[str], tuple[str, ...]]
"""Tells the transfer syntaxes that can be made of one, the best first; it is not among them."""

MADE_OF_NATIVE: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""The native transfer syntaxes that are proposed for an object in another one; every archive has the second."""


def native_alternatives(transfer_syntax_uid: str) -> tuple[str, ...]:
    """Return what can be made of an object without a look at its pixels."""
    if transfer_syntax_uid not in NATIVE:
        return ()
    return tuple(uid for uid in MADE_OF_NATIVE if uid != transfer_syntax_uid)


class StorageContexts:
    """The presentation contexts that are proposed to one peer for what is stored at it.

    What is coming is not known beforehand: what has come before is likely to come again. Each SOP class is proposed in
    the transfer syntax in which it was held, and in those that can be made of that one, a context each. When an
    association has no room for more, the kinds that came least lately are left out.
    """

    def __init__(self, alternatives: Alternatives = native_alternatives) -> None:
        self._alternatives = alternatives
        self._kinds: dict[Kind, None] = {}
        self.proposed: tuple[ProposedContext, ...] = ()
        """What to propose."""

    def include(self, kind: Kind) -> bool:
        """Let what is proposed include a kind; return whether it did already."""
        included = kind in self._kinds
        self._kinds.pop(kind, None)
        self._kinds[kind] = None
        if not included:
            while len(pairs := self._pairs()) > MAX_PRESENTATION_CONTEXTS:
                del self._kinds[next(iter(self._kinds))]
            self.proposed = tuple(
                ProposedContext(2 * index + 1, sop_class, (syntax,)) for index, (sop_class, syntax) in enumerate(pairs)
            )
        return included

    def _pairs(self) -> dict[Kind, None]:
        pairs: dict[Kind, None] = {}
        for sop_class, held in self._kinds:
            for syntax in (held, *self._alternatives(held)):
                pairs[sop_class, syntax] = None
        return pairs


def contexts_for(
    instance: Instance, contexts: Iterable[AcceptedContext], alternatives: Alternatives = native_alternatives
) -> list[AcceptedContext]:
    """Return the contexts on which an instance can go, the best first; `NotAcceptable` when there is none."""
    held = instance.transfer_syntax_uid
    of_class = {
        one.transfer_syntax: one for one in contexts if one.abstract_syntax == instance.sop_class_uid and one.as_scu
    }
    # Deflated is never proposed for something else, but may have been for an object that was held in it.
    deflated = (DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,) if held in NATIVE else ()
    usable = [of_class[uid] for uid in dict.fromkeys((held, *alternatives(held), *deflated)) if uid in of_class]
    if not usable:
        raise NotAcceptable(
            f"no presentation context was accepted for SOP class {instance.sop_class_uid} in {describe(held).name}"
        )
    return usable


class OutgoingData:
    """The data set of an instance on its way out, converted as it flows."""

    def __init__(self, source: Stream[Pieces], conversion: Conversion | None = None) -> None:
        self._source = source
        self._conversion = conversion
        self._ahead: Pieces | None = None
        self._ended = False
        self.size = 0
        """Bytes that have gone out."""

    @classmethod
    async def of(cls, instance: Instance, transfer_syntax_uid: str) -> "OutgoingData":
        """Begin to read an instance that goes out in the same or another native transfer syntax.

        Raises what `begin` raises.
        """
        held = instance.transfer_syntax_uid
        conversion = Conversion(held, transfer_syntax_uid) if held != transfer_syntax_uid else None
        data_set = cls(instance.data_set, conversion)
        await data_set.begin()
        return data_set

    async def begin(self) -> None:
        """Wait for the first bytes; raises what their source raises, and `Incomplete` when there are none."""
        try:
            self._ahead = await self._next()
        except StopAsyncIteration as end:
            raise Incomplete("an instance came without a data set") from end

    def __aiter__(self) -> "OutgoingData":
        return self

    async def __anext__(self) -> Pieces:
        pieces, self._ahead = self._ahead, None
        if pieces is None:
            pieces = await self._next()
        self.size += sum(map(len, pieces))
        return pieces

    async def aclose(self) -> None:
        """Give the source up."""
        self._ahead = None
        await self._source.aclose()

    async def _next(self) -> Pieces:
        if self._conversion is None:
            return await self._source.__anext__()
        while not self._ended:
            try:
                pieces = self._conversion.feed(await self._source.__anext__())
            except StopAsyncIteration:
                self._ended = True
                pieces = self._conversion.finish()
            if pieces:
                return pieces
        raise StopAsyncIteration
