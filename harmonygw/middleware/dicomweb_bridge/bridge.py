"""Which translation a DICOMweb request takes."""

from zope.interface import implementer

from harmonygw.dicom.web import capabilities, media_types
from harmonygw.dicom.web.resources import Kind, parse
from harmonygw.errors import ConfigurationError, NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge.metadata import retrieve_metadata
from harmonygw.middleware.dicomweb_bridge.retrieving import retrieve_instances
from harmonygw.middleware.dicomweb_bridge.searching import SearchTransaction
from harmonygw.pipeline import Context, IMiddleware, Proceed
from harmonygw.streams import Body

NOT_YET = (("partial", "report"), ("metadata_source", "without_bulk_data"))
"""Options with values that the dialect has and this build does not."""


@implementer(IMiddleware)
class DICOMwebBridge:
    """DICOMweb on its left side, operations on its right."""

    def __init__(self, context: Context) -> None:
        self._options = context.options
        problems = tuple(
            f'middleware.{context.name}: {option} = "{value}" is not in this build yet'
            for option, value in NOT_YET
            if getattr(self._options, option) == value
        )
        if problems:
            raise ConfigurationError(problems)
        self._search = SearchTransaction(self._options, context.reactor)

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Translate a DICOMweb request; what did not begin as HTTP is an operation already and passes."""
        origin = request.origin
        if not isinstance(origin, HTTPOrigin):
            return await proceed(request)
        resource = parse(origin.path, method=origin.method, query=origin.query)
        request.record.operation = resource.kind.value
        match resource.kind:
            case Kind.SEARCH_STUDIES | Kind.SEARCH_SERIES | Kind.SEARCH_INSTANCES:
                return await self._search.run(request, origin, resource, proceed)
            case Kind.RETRIEVE:
                return await retrieve_instances(request, origin, resource, proceed)
            case Kind.METADATA:
                return await retrieve_metadata(request, origin, resource, proceed, self._options)
            case Kind.CAPABILITIES:
                return _capabilities(origin)
        raise NotFound(f"The transaction {resource.kind.value} is not served by this version of the gateway.")


def _capabilities(origin: HTTPOrigin) -> Reply:
    media_type = media_types.negotiate_capabilities(
        origin.headers.get("accept"), media_types.accept_parameters(origin.query)
    )
    describe = capabilities.as_wadl if media_type == media_types.WADL else capabilities.as_json
    return Reply(headers=(("Content-Type", media_type),), body=Body.of(describe(origin.base_url)))
