"""The `dicomweb` endpoint: HTTP requests below a path prefix become exchanges, and replies go out as they come.

Klein's routes say which paths and methods there are; what a request means is for the pipeline to say. What no route
takes goes down the pipeline too, as settled, past all middleware but that for every request. The resource can be
mounted in anybody's `twisted.web` site: see `resource()`.
"""
# mypy: allow-untyped-calls

from dataclasses import replace
from typing import Any

from klein import Klein
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from zope.interface import implementer

from harmonygw import errors
from harmonygw.dicom.web.resources import AETS, SERVED, TRANSACTIONS, Kind, source_url
from harmonygw.endpoints.http_exchanges import EndpointOverHTTP
from harmonygw.endpoints.http_exchanges.arrival import Arrival
from harmonygw.endpoints.http_exchanges.problems import Settled, listed, unless_allowed
from harmonygw.exchange import SOURCE, SOURCES
from harmonygw.net.http.authority import authority
from harmonygw.pipeline import EndpointContext


class DICOMwebEndpoint(EndpointOverHTTP):
    """One DICOMweb service."""

    def __init__(self, context: EndpointContext) -> None:
        super().__init__(context)
        self._any_path = getattr(context.backend, "answers_any_path", False)
        self._sources = context.sources

    def resource(self) -> IResource:
        """Return the resource, to be put below any path of a `twisted.web` site.

        In an `HTTPSite` it has our limits, and bodies stream in; elsewhere those of that site hold.
        """
        app = Klein()
        app.url_map.redirect_defaults = False  # no rule has defaults: werkzeug would look through all of them each time
        entrance = _Entrance(self, app.resource())
        routes = _routes()

        def route(http_request: Any, **variables: str) -> IResource:
            if http_request.method == b"OPTIONS" and not (arrival := _arrival_of(http_request)).origin.path:
                arrival.request.common_headers.append(("Allow", listed(routes[""])))
            if "bulk_path" not in variables and (shape := _shape_of(http_request)):
                entrance.known.add(shape)
            return entrance.passing_on

        def no_route(request: Any, failure: Any) -> Any:
            settled = _settled(request.method, failure.value)
            # A server may give bulk data any URL of its own (PS3.18 §F.2.2), and its links lead here.
            if self._any_path and isinstance(settled, errors.NotFound) and request.method in (b"GET", b"HEAD"):
                return entrance.passing_on
            return _Leaf(self, settled)

        for path, methods in routes.items():
            app.route(_klein_rule(path), methods=methods, strict_slashes=False)(route)
        app.handle_errors(HTTPException)(no_route)
        return entrance

    def arrived(self, http_request: Any, host: str) -> Arrival:
        """Return what an HTTP request asks `host`.

        A path below `aets/{AE title}` loses that, as if one archive were all there is: so what middleware says of paths
        holds there too. The title of an archive that there is not stays, and leads nowhere.
        """
        source = self._source_of(http_request)
        arrival = super().arrived(http_request, host)
        if not source and len(self._sources) < 2:
            return arrival
        origin = replace(arrival.origin, base_url=source_url(arrival.origin.base_url, source))
        attributes: dict[str, Any] = {}
        if len(self._sources) > 1:
            attributes[SOURCES] = self._sources
            if source:
                attributes[SOURCE] = source
        return replace(arrival, request=replace(arrival.request, origin=origin, attributes=attributes), origin=origin)

    def _source_of(self, http_request: Any) -> str:
        """Return the AE title that a path begins with, and take it away; empty when there is none."""
        path = http_request.postpath
        if len(path) < 2 or path[0] != AETS.encode():
            return ""
        named = path[1].decode("utf-8", "replace").strip(" ")
        if named not in self._sources:
            return ""
        del path[:2]
        return str(named)


@implementer(IResource)
class _Entrance(Resource):
    """Takes in every request below the prefix, and answers itself what Klein would answer in its own words."""

    isLeaf = True

    def __init__(self, endpoint: DICOMwebEndpoint, routes: IResource) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._routes = routes
        self.passing_on = _Leaf(endpoint)
        self.known: set[Shape] = set()
        """The shapes of paths whose GET Klein has led to `passing_on`; as finite as the table of routes."""

    def render(self, http_request: Any) -> Any:
        """Let Klein find the route, unless the request makes no sense."""
        endpoint = self._endpoint
        http_request.postpath = [segment for segment in http_request.postpath if segment]
        host = authority(http_request)
        http_request.harmonygw_arrival = endpoint.arrived(http_request, host)
        fault = endpoint.fault_of(http_request, host)
        if fault:
            return _Leaf(endpoint, errors.BadRequest(fault)).render(http_request)
        # Klein takes a tenth of what a frame costs, and would lead this request where it led others of this shape.
        if _shape_of(http_request) in self.known:
            return self.passing_on.render(http_request)
        http_request.postpath = http_request.postpath or [b""]  # no segment at all is not Klein's root
        return self._routes.render(http_request)


@implementer(IResource)
class _Leaf(Resource):
    """Where a route ends: an exchange begins, which ends the HTTP request. Klein leaves such a resource alone."""

    isLeaf = True

    def __init__(self, endpoint: DICOMwebEndpoint, settled: Settled = None) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._settled = settled

    def render(self, http_request: Any) -> int:
        """Begin."""
        self._endpoint.begin(_arrival_of(http_request), self._settled)
        return NOT_DONE_YET


def _arrival_of(http_request: Any) -> Arrival:
    """Return what the entrance left for the end of the route; as a component it would be found ten times as slowly."""
    arrival: Arrival = http_request.harmonygw_arrival
    return arrival


def _settled(method: bytes, error: HTTPException) -> Settled:
    """Return what is said to a request that no route takes; OPTIONS asks which methods there are."""
    if not isinstance(error, MethodNotAllowed):
        return errors.NotFound("There is no such resource in a DICOMweb service.")
    allowed = tuple(error.valid_methods or ())
    return unless_allowed(method.decode("latin-1"), allowed, "The resource does not answer this method.")


def _routes() -> dict[str, list[str]]:
    """Return the methods that this build serves, of every path that it serves."""
    routes: dict[str, list[str]] = {}
    for transaction in TRANSACTIONS:
        if transaction.kind in SERVED:
            methods = routes.setdefault(transaction.path, [])
            methods.append(transaction.method)
            if transaction.kind is Kind.CAPABILITIES:
                methods.append("OPTIONS")
    return routes


Shape = tuple[int | str, ...]
"""What tells which route a path takes: how many segments it has, and those that a template spells out."""


def _shape_of(http_request: Any) -> Shape:
    """Return the shape of a GET's path; () where Klein is to be asked each time.

    In every template but that of bulk data each second segment is a variable, and all others are spelt out. An encoded
    slash is a plain one to Klein.
    """
    if http_request.method != b"GET" or b"%" in http_request.path:
        return ()
    path = _arrival_of(http_request).origin.path
    return (len(path), *path[::2])


def _klein_rule(path: str) -> str:
    """Return the Klein rule of a path template: `studies/{study}` is `/studies/<study_>`."""
    segments = []
    for segment in path.split("/") if path else ():
        if segment == "{bulk_path}":
            segment = "<path:bulk_path>"
        elif segment.startswith("{"):
            segment = f"<{segment[1:-1]}_>"  # "instance" alone is a parameter of Klein's own
        segments.append(segment)
    return "/" + "/".join(segments)
