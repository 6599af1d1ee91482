"""Which translation a DICOMweb request takes."""

from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec

from twisted.logger import Logger
from zope.interface import implementer

from harmonygw.dicom.web import capabilities, media_types
from harmonygw.dicom.web.resources import Kind, Resource, parse
from harmonygw.errors import ConfigurationError
from harmonygw.exchange import SOURCE, SOURCES, HTTPOrigin, Reply, Request
from harmonygw.files import DamagedFile
from harmonygw.middleware.dicomweb_bridge.access import Access
from harmonygw.middleware.dicomweb_bridge.bulk_data import BulkDataTransaction
from harmonygw.middleware.dicomweb_bridge.committing import commit
from harmonygw.middleware.dicomweb_bridge.framing import FramesTransaction
from harmonygw.middleware.dicomweb_bridge.gathering import Gathering
from harmonygw.middleware.dicomweb_bridge.metadata import retrieve_metadata
from harmonygw.middleware.dicomweb_bridge.part10_files import Files
from harmonygw.middleware.dicomweb_bridge.rendering import RenderingTransaction
from harmonygw.middleware.dicomweb_bridge.retrieving import RetrieveTransaction
from harmonygw.middleware.dicomweb_bridge.searching import SearchTransaction
from harmonygw.middleware.dicomweb_bridge.storing import StoreTransaction
from harmonygw.middleware.dicomweb_bridge.wado_uri import URITransaction
from harmonygw.middleware.dicomweb_bridge.worklist import search_worklist
from harmonygw.pipeline import Context, IMiddleware, Proceed
from harmonygw.rendering.limits import PIXELS_EXTRA, WorkerLimits
from harmonygw.rendering.workers import Workers
from harmonygw.streams import Body

log = Logger()

Transaction = Callable[[Request, HTTPOrigin, Resource, Proceed], Awaitable[Reply]]


@implementer(IMiddleware)
class DICOMwebBridge:
    """DICOMweb on its left side, operations on its right."""

    def __init__(self, context: Context) -> None:
        options = self._options = context.options
        self._workers = Workers(
            context.reactor,
            WorkerLimits(
                processes=options.rendering_processes,
                job_timeout_secs=options.rendering_timeout_secs,
                memory_limit_bytes=options.rendering_memory_bytes,
            ),
        )
        self._access = Access(context.reactor, folder=options.spool_path, bulk_threshold=options.bulk_threshold_bytes)
        search = SearchTransaction(options, context.reactor)
        framing = FramesTransaction(self._access, self._workers)
        gathering = self._gathering if options.partial == "report" else None
        retrieving = RetrieveTransaction(Files(self._workers), gathering)
        rendering = RenderingTransaction(self._access, self._workers)
        self._transactions: dict[Kind, Transaction] = {
            Kind.SEARCH_STUDIES: search.run,
            Kind.SEARCH_SERIES: search.run,
            Kind.SEARCH_INSTANCES: search.run,
            Kind.RETRIEVE: retrieving.run,
            Kind.METADATA: self._metadata,
            Kind.FRAMES: framing.frames,
            Kind.PIXELDATA: framing.pixel_data,
            Kind.BULKDATA: BulkDataTransaction(self._access, framing).run,
            Kind.RENDERED: rendering.rendered,
            Kind.THUMBNAIL: rendering.thumbnail,
            Kind.STORE: StoreTransaction(options, self._access).run,
            Kind.WADO_URI: URITransaction(retrieving, rendering).run,
            Kind.SEARCH_WORKLIST: self._search_worklist,
            Kind.REQUEST_COMMITMENT: commit,
            Kind.CHECK_COMMITMENT: commit,
        }

    @staticmethod
    def foundation(context: Context) -> object:
        """Return what the middleware is built from."""
        return context.settings

    def start(self) -> None:
        """Start the worker processes, and make room for temporary files; raises `ConfigurationError`."""
        try:
            self._access.start()
        except OSError as error:
            raise ConfigurationError((f"spool_path: there can be no temporary files: {error}",)) from error
        self._workers.start()
        if not all(map(find_spec, PIXELS_EXTRA)):
            log.warn(
                "pixels are neither decoded nor rendered: the pixels extra is missing (pip install harmonygw[pixels])"
            )

    async def stop(self) -> None:
        """End the worker processes."""
        await self._workers.stop()
        await self._access.stop()

    def state(self) -> dict[str, object]:
        """Describe the worker processes."""
        return {"rendering": self._workers.state()}

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Translate a DICOMweb request; what did not begin as HTTP is an operation already and passes."""
        origin = request.origin
        if not isinstance(origin, HTTPOrigin):
            return await proceed(request)
        resource = parse(origin.path, method=origin.method, query=origin.query)
        request.record.operation = resource.kind.value
        if resource.kind is Kind.CAPABILITIES:
            sources = () if SOURCE in request.attributes else request.attributes.get(SOURCES, ())
            return _capabilities(origin, sources)
        transaction = self._transactions[resource.kind]
        try:
            return await transaction(request, origin, resource, proceed)
        except DamagedFile:
            # By now the cache has removed the file: this time the archive is asked.
            return await transaction(request, origin, resource, proceed)

    def _gathering(self) -> Gathering:
        return Gathering(self._access.new_spool(), max_bytes=self._options.partial_bytes)

    async def _metadata(self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
        return await retrieve_metadata(request, origin, resource, proceed, self._options)

    async def _search_worklist(
        self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed
    ) -> Reply:
        return await search_worklist(request, origin, resource, proceed, self._options)


def _capabilities(origin: HTTPOrigin, sources: Sequence[str]) -> Reply:
    media_type = media_types.negotiate_capabilities(
        origin.headers.get("accept"), media_types.accept_parameters(origin.query)
    )
    describe = capabilities.as_wadl if media_type == media_types.WADL else capabilities.as_json
    return Reply(headers=(("Content-Type", media_type),), body=Body.of(describe(origin.base_url, sources)))
