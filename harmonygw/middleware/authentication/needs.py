"""What a request is about to do, in the terms of FHIR's interactions that scopes of SMART App Launch grant."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from harmonygw.dicom.web.resources import TRANSACTIONS, URI_TRANSACTION, Kind, parse
from harmonygw.errors import BadRequest, NotFound
from harmonygw.exchange import HTTPOrigin, Request
from harmonygw.operations import (
    CheckCommitment,
    Echo,
    Find,
    FindWorklist,
    Move,
    Operation,
    RequestCommitment,
    Retrieve,
    Store,
)


class Need(Enum):
    """What must be granted, and the least scope that grants it."""

    NOTHING = ""
    """Whoever has a token may ask whether and how the service is there."""
    SEARCH = "patient/ImagingStudy.s"
    RETRIEVE = "patient/ImagingStudy.r"
    STORE = "patient/ImagingStudy.c"
    WORKLIST = "patient/*.s"
    """Scheduled procedure steps are no ImagingStudy, and FHIR has no one resource for them."""
    UNKNOWN = "?"
    """Nothing grants what is not understood."""


_OF_KINDS: Final[Mapping[Kind, Need]] = MappingProxyType(
    {
        Kind.CAPABILITIES: Need.NOTHING,
        Kind.SEARCH_STUDIES: Need.SEARCH,
        Kind.SEARCH_SERIES: Need.SEARCH,
        Kind.SEARCH_INSTANCES: Need.SEARCH,
        Kind.METADATA: Need.SEARCH,
        Kind.SEARCH_WORKLIST: Need.WORKLIST,
        Kind.STORE: Need.STORE,
        Kind.REQUEST_COMMITMENT: Need.STORE,
        Kind.CHECK_COMMITMENT: Need.STORE,
        **dict.fromkeys((Kind.RETRIEVE, Kind.WADO_URI, Kind.BULKDATA, Kind.PIXELDATA, Kind.FRAMES), Need.RETRIEVE),
        **dict.fromkeys((Kind.RENDERED, Kind.THUMBNAIL), Need.RETRIEVE),
    }
)

_METHODS: Final = {(one.kind, one.method) for one in (*TRANSACTIONS, URI_TRANSACTION)}

_OF_OPERATIONS: Final[Mapping[type[Operation], Need]] = MappingProxyType(
    {
        Echo: Need.NOTHING,
        Find: Need.SEARCH,
        FindWorklist: Need.WORKLIST,
        Retrieve: Need.RETRIEVE,
        Move: Need.RETRIEVE,
        Store: Need.STORE,
        RequestCommitment: Need.STORE,
        CheckCommitment: Need.STORE,
    }
)


def need_of(request: Request) -> Need:
    """Return what a request needs: by its operation when it has one, else by method and path of DICOMweb.

    A path or method that DICOMweb does not have is `UNKNOWN`, whoever would answer it.
    """
    if request.operation is not None:
        return _OF_OPERATIONS.get(type(request.operation), Need.UNKNOWN)
    origin = request.origin
    if not isinstance(origin, HTTPOrigin):
        return Need.UNKNOWN
    method = "GET" if origin.method in {"HEAD", "OPTIONS"} else origin.method
    try:
        kind = parse(origin.path, method=method, query=origin.query).kind
    except (NotFound, BadRequest):
        return Need.UNKNOWN
    # A retrieval by URI has the path of the description, which OPTIONS is answered with.
    if origin.method == "OPTIONS" and kind is not Kind.WADO_URI:
        return Need.NOTHING
    # For a method that a path does not have, `parse` answers as for GET.
    return _OF_KINDS[kind] if (kind, method) in _METHODS else Need.UNKNOWN
