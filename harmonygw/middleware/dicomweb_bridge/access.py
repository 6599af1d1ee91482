"""Instances that can be read by parts: as a cache gives them, or written to a temporary file first."""

import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from harmonygw.dicom.dataset.conversion import Conversion
from harmonygw.dicom.dataset.element_writer import LONGEST_SHORT_VALUE
from harmonygw.dicom.dataset.layout import Layout, LayoutScan
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, NATIVE, describe
from harmonygw.dicom.web.resources import Resource
from harmonygw.disk import Disk
from harmonygw.errors import NotFound, PeerError, TransportError
from harmonygw.exchange import Reply, Request
from harmonygw.middleware.dicomweb_bridge.retrieving import NOTHING, operation_for
from harmonygw.middleware.dicomweb_bridge.spooling import Spool
from harmonygw.operations import ANY_TRANSFER_SYNTAX, InstanceStream
from harmonygw.pipeline import Proceed
from harmonygw.streams import Instance, Pieces, RandomAccess
from harmonygw.writing import spool

THREADS: Final = 4
"""Threads for temporary files. Default 4: requests without a cache behind them wait for the archive, not for these."""


class Readable(NamedTuple):
    """An instance that can be read by parts."""

    instance: Instance
    file: RandomAccess
    layout: Layout
    headers: tuple[tuple[str, str], ...] = ()
    """What is said of it on its way: a cache's Warning."""


class Access:
    """Makes instances readable by parts."""

    def __init__(self, reactor: Any, *, folder: str, bulk_threshold: int) -> None:
        self._disk = Disk(reactor, threads=THREADS, name="bridge-spool")
        self._parent = folder or None
        self._bulk_threshold = min(bulk_threshold, LONGEST_SHORT_VALUE)
        self._folder: Path | None = None
        self._sequence = 0

    def start(self) -> None:
        """Make a folder for temporary files; raises `OSError` when that cannot be."""
        self._folder = Path(tempfile.mkdtemp(prefix="harmonygw-", dir=self._parent))
        self._disk.start()

    async def stop(self) -> None:
        """Remove it."""
        await self._disk.stop()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def new_spool(self) -> Spool:
        """Return room for what has to wait; raises `TransportError` when the gateway starts or stops."""
        return Spool(self._disk, self._open_folder)

    async def one(self, request: Request, resource: Resource, proceed: Proceed) -> Readable:
        """Return the instance that a resource names or lies in; raises what a Retrieve raises."""
        reply = await self.retrieve(request, resource, proceed)
        instances: InstanceStream = reply.result
        async with aclosing(instances):
            async for instance in instances:
                return (await self.readable(instance))._replace(headers=reply.headers)
        raise NotFound(NOTHING)

    async def retrieve(self, request: Request, resource: Resource, proceed: Proceed) -> Reply:
        """Ask for what a resource names, to be read by parts."""
        operation = replace(operation_for(resource, (ANY_TRANSFER_SYNTAX,)), random_access=True)
        return await proceed(replace(request, operation=operation))

    async def each(self, instances: InstanceStream) -> AsyncGenerator[Readable, None]:
        """Yield instances as they become readable."""
        async with aclosing(instances):
            async for instance in instances:
                yield await self.readable(instance)

    async def readable(self, instance: Instance) -> Readable:
        """Return an instance that can be read by parts, in Little Endian and not deflated.

        Raises `PeerError` when it is malformed, and `TransportError` when there is no room for it.
        """
        file = instance.file
        if file is not None and file.layout is not None and file.layout.random_access:
            return Readable(instance, file, file.layout)
        if file is not None and file.layout is None:
            raise PeerError("the object is malformed, and can only be had as it is", source=0)
        syntax = describe(instance.transfer_syntax_uid)
        if instance.transfer_syntax_uid in NATIVE and (syntax.deflated or not syntax.little_endian):
            converted = _converted(instance)
            instance = replace(instance, data_set=converted, transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN)
        spooled = await spool(instance, self._path(), self._disk, bulk_threshold=self._bulk_threshold)
        if spooled.layout is None:
            raise PeerError("the object is malformed, and can only be had as it is", source=0)
        return Readable(instance, spooled, spooled.layout)

    async def measured(self, readable: Readable) -> Readable:
        """Return an instance with the places of all values that metadata made here gives by reference.

        A cache knows nothing of this bridge's threshold: where its own is another, the file is read again.
        """
        if readable.layout.bulk_threshold == self._bulk_threshold:
            return readable
        instance = readable.instance
        scan = LayoutScan(instance.transfer_syntax_uid, bulk_threshold=self._bulk_threshold)
        async with aclosing(readable.file.pieces()) as data_set:
            async for pieces in data_set:
                scan.feed(pieces)
        return readable._replace(layout=scan.finish(default_character_set=instance.default_character_set))

    def _path(self) -> Path:
        self._sequence += 1
        return self._open_folder / f"{self._sequence:x}.part"

    @property
    def _open_folder(self) -> Path:
        if self._folder is None:
            raise TransportError("there is no room for the object: the gateway starts or stops")
        return self._folder


async def _converted(instance: Instance) -> AsyncGenerator[Pieces, None]:
    conversion = Conversion(instance.transfer_syntax_uid, EXPLICIT_VR_LITTLE_ENDIAN)
    async for pieces in instance.data_set:
        if converted := conversion.feed(pieces):
            yield converted
    if rest := conversion.finish():
        yield rest
