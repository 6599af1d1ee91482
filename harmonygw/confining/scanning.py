"""What an object says of itself, read from the object while it arrives: nobody's word is taken for it.

`Instance.leading` may be what an archive's index says, or what a cache remembers. What stands in the object goes out.
"""

from collections.abc import Mapping

from harmonygw.confining.constraints import Constraints, values_of_instance
from harmonygw.dicom.dataset.header_scan import HeaderScan
from harmonygw.errors import PeerError
from harmonygw.streams import Instance, Piece, Pieces, Stream


class Rejoined:
    """A data set of which the beginning has been read, with the beginning."""

    def __init__(self, beginning: Pieces, rest: Stream[Pieces]) -> None:
        self._beginning = beginning
        self._rest = rest

    def __aiter__(self) -> "Rejoined":
        return self

    async def __anext__(self) -> Pieces:
        if self._beginning:
            beginning, self._beginning = self._beginning, ()
            return beginning
        return await self._rest.__anext__()

    async def aclose(self) -> None:
        """Give it up."""
        self._beginning = ()
        await self._rest.aclose()


class Watched:
    """A data set on its way to be stored, of which nothing that identifies it or is constrained stands there twice.

    Elements stand in ascending order, each once (PS3.5 §7.1). Where one does not, an archive may go by the second, of
    which `look` has seen nothing. Raises `PeerError` before the second goes on, for what is malformed, and for what is
    too long to be looked at whole.
    """

    def __init__(self, instance: Instance, constraints: Constraints) -> None:
        self._data_set = instance.data_set
        self._scan = HeaderScan(instance.transfer_syntax_uid, also=constraints.numbers, whole=True)

    def __aiter__(self) -> "Watched":
        return self

    async def __anext__(self) -> Pieces:
        try:
            pieces = await self._data_set.__anext__()
        except StopAsyncIteration:
            self._scan.end()
            raise
        for piece in pieces:
            if self._scan.feed(piece):
                raise PeerError("the data set is too long to be looked at whole", source=0)
        self._scan.gathered.clear()
        return pieces

    async def aclose(self) -> None:
        """Give it up."""
        await self._data_set.aclose()


async def look(instance: Instance, constraints: Constraints) -> tuple[str, Mapping[str, str]]:
    """Return an object's own StudyInstanceUID, and what it says of the attributes constrained, by tag.

    Its data set is still whole afterwards. At most `HEADER_SCAN_LIMIT` bytes, and what has come with them, are held: an
    attribute that has not come by then is as if it were not there. Raises `PeerError` when the object is malformed.
    """
    scan = HeaderScan(instance.transfer_syntax_uid, also=constraints.numbers)
    held: list[Piece] = []
    rest = instance.data_set
    instance.data_set = Rejoined((), rest)
    while not scan.done:
        try:
            pieces = await rest.__anext__()
        except StopAsyncIteration:
            scan.end()
            break
        held += pieces
        for piece in pieces:
            if scan.feed(piece):
                break
    instance.data_set = Rejoined(tuple(held), rest)
    return scan.values.get("StudyInstanceUID", ""), values_of_instance(scan.values, instance, constraints.allowed)
