"""Which kind of event an exchange is, by the name that its record has for what was asked."""

from typing import Final

from harmonygw.dicom.web.media_types import DICOM
from harmonygw.dicom.web.resources import SEARCHES, Kind, Resource, parse
from harmonygw.errors import HarmonyError
from harmonygw.exchange import HTTPOrigin, Request

QUERIES: Final = frozenset({*(kind.value for kind in SEARCHES), Kind.SEARCH_WORKLIST.value, "C-FIND"})
"""What is a Query (PS3.15 §A.5.3.10)."""

TRANSFERS: Final = frozenset({Kind.RETRIEVE.value, "C-GET", "C-MOVE"})
"""What gives whole instances away: Begin Transferring, and Instances Transferred (PS3.15 §A.5.3.3, §A.5.3.7)."""

STORES: Final = frozenset({Kind.STORE.value, "C-STORE"})
"""What takes them in: the same."""

ACCESSES: Final = frozenset(
    kind.value
    for kind in (
        Kind.METADATA,
        Kind.BULKDATA,
        Kind.PIXELDATA,
        Kind.FRAMES,
        Kind.RENDERED,
        Kind.THUMBNAIL,
        Kind.WADO_URI,
    )
)
"""What gives away something of instances: Instances Accessed (PS3.15 §A.5.3.6)."""

DELETION: Final = "management"
"""What a DELETE of a study's cached copies is called: Instances Accessed too, since the archive has them still."""

_KINDS: Final = frozenset(kind.value for kind in Kind)

_NO_EVENT: Final = frozenset({Kind.CAPABILITIES, Kind.REQUEST_COMMITMENT, Kind.CHECK_COMMITMENT})


def resource_of(request: Request) -> Resource | None:
    """Return the DICOMweb resource that a request names, None when it is none with an event."""
    origin = request.origin
    if not isinstance(origin, HTTPOrigin):
        return None
    try:
        resource = parse(origin.path, method=origin.method, query=origin.query)
    except HarmonyError:
        return None
    return None if resource.kind in _NO_EVENT else resource


def name_of(request: Request) -> str:
    """Return the name of what was asked; of what is passed on unread, that of its DICOMweb resource, if it is one."""
    name = request.record.operation
    account = request.record.audit
    if name not in _KINDS and account is not None and account.is_passed_on:
        resource = resource_of(request)
        return "" if resource is None else resource.kind.value
    return name


def is_access(request: Request) -> bool:
    """Whether only something of the instances goes out that are retrieved, and not they themselves."""
    name = request.record.operation
    if name == Kind.WADO_URI.value and isinstance(request.origin, HTTPOrigin):
        return all(
            (parameter.lower(), value.strip().lower()) != ("contenttype", DICOM)
            for parameter, value in request.origin.query
        )
    return name in ACCESSES
