"""Which instances the archive lists of a series."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from harmonygw.exchange import Record, Request
from harmonygw.middleware.cache.store import SeriesKey
from harmonygw.operations import Find, Level
from harmonygw.pipeline import Proceed


async def uids_of(request: Request, proceed: Proceed, key: SeriesKey) -> AsyncGenerator[str, None]:
    """Yield the SOP Instance UIDs of a series as the archive lists them, one maybe twice; raises what a Find raises."""
    study, series = key
    keys = {"0020000D": {"vr": "UI", "Value": [study]}, "0020000E": {"vr": "UI", "Value": [series]}}
    find = Find(Level.IMAGE, keys, {"00080018": {"vr": "UI"}})
    reply = await proceed(replace(request, operation=find, record=Record()))
    async with aclosing(reply.result) as matches:
        async for match in matches:
            for uid in match.get("00080018", {}).get("Value", ()):
                if isinstance(uid, str) and uid:
                    yield uid
