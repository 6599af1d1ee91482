"""The body of a retrieval: what is made of an `InstanceStream`, and gives it up when it is given up."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from harmonygw.streams import InstanceStream, Pieces


class Relay:
    """Pieces made of instances. A generator alone, given up before its first piece, would never tell its source."""

    def __init__(self, instances: InstanceStream, pieces: AsyncGenerator[Pieces, None]) -> None:
        self._instances = instances
        self._pieces = pieces

    def __aiter__(self) -> "Relay":
        return self

    async def __anext__(self) -> Pieces:
        return await self._pieces.__anext__()

    async def aclose(self) -> None:
        """Give the instances up, and what was made of them."""
        async with aclosing(self._instances):
            await self._pieces.aclose()
