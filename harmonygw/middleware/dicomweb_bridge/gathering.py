"""A Retrieve that is answered once its end is known (`partial = "report"`): all of it, or some and what is missing.

Its parts wait in a spool. When some instances do not come, the answer is 206 (PS3.18 §10.4.3) with those that did, each
whole, and a Warning that says how many the archive lists besides, and which: a part that is no DICOM file would break
the clients that read every part as one.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from harmonygw.dicom.web.attributes import UNIQUE_KEYS
from harmonygw.dicom.web.resources import Resource
from harmonygw.errors import HarmonyError, Incomplete, PeerError
from harmonygw.exchange import Record, Request
from harmonygw.middleware.dicomweb_bridge.checking import text
from harmonygw.middleware.dicomweb_bridge.inquiry import Inquiry
from harmonygw.middleware.dicomweb_bridge.relaying import Relay
from harmonygw.middleware.dicomweb_bridge.spooling import Spool
from harmonygw.operations import Find, Level
from harmonygw.pipeline import Proceed
from harmonygw.streams import Body, Pieces

MAX_NAMED: Final = 32
"""SOP Instance UIDs that the Warning names. Default 32, 2 KiB: reverse proxies take 4 KiB of header by default."""

MAX_LISTED: Final = 20_000
"""Entities that the archive may list at a level, to be held against what came. Default 20,000, more than any series
has: of more there is no 206."""

PARTIAL_CONTENT: Final = 206


class Gathering:
    """The parts of one reply, up to `max_bytes`, in a spool that ends with it."""

    def __init__(self, spool: Spool, *, max_bytes: int) -> None:
        self._spool = spool
        self._max_bytes = max_bytes
        self._came: set[str] = set()
        self._whole_bytes = 0

    def note_whole(self, sop_instance_uid: str) -> None:
        """Note that the part of an instance has been taken to its end."""
        self._came.add(sop_instance_uid)
        self._whole_bytes = self._spool.size

    async def take(self, parts: Relay[Pieces]) -> bool:
        """Take parts to their end, or until `max_bytes` have come; return whether it was the end.

        Raises what they raise, and `TransportError` when there is no room for them.
        """
        async for pieces in parts:
            for piece in pieces:
                self._spool.add(piece)
            await self._spool.settle()
            if self._spool.size > self._max_bytes:
                return False
        return True

    async def missing(self, request: Request, resource: Resource, proceed: Proceed, error: Incomplete) -> list[str]:
        """Return the SOP Instance UIDs that the archive lists and that did not come.

        Raises `error`, which ended the parts, when nothing came whole, and when the archive does not say what is
        missing.
        """
        if not self._came:
            raise error
        inquiry = Inquiry(replace(request, record=Record()), proceed)
        try:
            series = [resource.series] if resource.series else await _listed(inquiry, resource.study)
            listed = [uid for one in series for uid in await _listed(inquiry, resource.study, one)]
        except HarmonyError as failure:
            raise error from failure
        missing = [uid for uid in listed if uid not in self._came]
        if not missing:
            raise error
        return missing

    def sentence(self, missing: list[str]) -> str:
        """Return what is said of it."""
        named = ", ".join(missing[:MAX_NAMED])
        more = f", and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        return f"{len(missing)} of {len(missing) + len(self._came)} instances are missing: {named}{more}"

    def all(self) -> Body:
        """Return all that was taken."""
        return Body(self._pieces(self._spool.size, b""), length=self._spool.size)

    def whole_parts(self, closing: bytes) -> Body:
        """Return the parts that came to their end, and what ends the multipart."""
        return Body(self._pieces(self._whole_bytes, closing), length=self._whole_bytes + len(closing))

    def followed_by(self, parts: Relay[Pieces]) -> Body:
        """Return what was taken, and then what comes of the parts."""
        return Body(Relay(parts, self._then(parts)))

    async def _then(self, parts: Relay[Pieces]) -> AsyncGenerator[Pieces, None]:
        async with aclosing(self._pieces(self._spool.size, b"")) as taken:
            async for pieces in taken:
                yield pieces
        async for pieces in parts:
            yield pieces

    async def _pieces(self, length: int, closing: bytes) -> AsyncGenerator[Pieces, None]:
        try:
            async with aclosing(self._spool.pieces(0, length)) as taken:
                async for pieces in taken:
                    yield pieces
            if closing:
                yield (closing,)
        finally:
            self.close()

    def close(self) -> None:
        """Give everything up."""
        self._spool.close()


async def _listed(inquiry: Inquiry, study: str, series: str = "") -> list[str]:
    """Return the series that the archive lists of a study, or the instances of one; raises what a Find raises."""
    level = Level.IMAGE if series else Level.SERIES
    above = {Level.STUDY: study, **({Level.SERIES: series} if series else {})}
    keys = {UNIQUE_KEYS[one]: {"vr": "UI", "Value": [uid]} for one, uid in above.items()}
    found: dict[str, None] = {}
    async with aclosing(inquiry.matches(Find(level, keys, {UNIQUE_KEYS[level]: {"vr": "UI"}}))) as matches:
        async for match in matches:
            if uid := text(match, UNIQUE_KEYS[level]):
                found[uid] = None
            if len(found) > MAX_LISTED:
                raise PeerError(f"the archive lists more than {MAX_LISTED} at level {level} (MAX_LISTED)", source=0)
    return list(found)
