"""A ZIP archive of instances (PS3.18 Table 8.7.3-1), made while they come and never held."""

import re
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import gmtime
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from harmonygw.errors import NotFound
from harmonygw.middleware.dicomweb_bridge import retrieving
from harmonygw.middleware.dicomweb_bridge.part10_files import Files
from harmonygw.streams import InstanceStream, Pieces


async def archive(
    instances: InstanceStream, accepted: Sequence[str], files: Files, client: str
) -> AsyncGenerator[Pieces, None]:
    """Yield the archive: a folder for each series, a file for each instance. Broken off, it lacks its directory.

    Raises `NotFound` when there is nothing, and what the instances raise.
    """
    out = _Output()
    now = gmtime()[:6]
    known: Counter[str] = Counter()
    with ZipFile(out, "w", ZIP_STORED, allowZip64=True) as archived:  # type: ignore[call-overload]
        async with aclosing(instances):
            async for instance in instances:
                syntax = retrieving.outgoing(instance.transfer_syntax_uid, accepted)
                name = f"{harmless(instance.series_instance_uid)}/{harmless(instance.sop_instance_uid)}"
                known[name] += 1
                name += f"_{known[name]}.dcm" if known[name] > 1 else ".dcm"
                with archived.open(ZipInfo(name, now), "w", force_zip64=True) as member:
                    async with aclosing(files.file(instance, syntax, client)) as file:
                        async for pieces in file:
                            for piece in pieces:
                                member.write(piece)
                            yield out.take()
        if not archived.namelist():
            raise NotFound(retrieving.NOTHING)
    yield out.take()


def harmless(uid: str) -> str:
    """Return a name for a file of what bears a UID; UIDs that archives have given can hold anything (PS3.5 §9.1)."""
    return re.sub("[^0-9A-Za-z.-]", "-", uid).strip(".") or "-"


class _Output:
    """What a ZipFile writes to: it cannot be sought in, so that lengths follow the data."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: Any) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: what is written is taken."""

    def take(self) -> Pieces:
        written, self._written = self._written, []
        return written
