"""The resources of a DICOMweb service: path segments to a `Resource`, and back to a URL (PS3.18 §10.1).

One table, `TRANSACTIONS`, says which methods and paths there are; the parser and the capabilities
description are both made of it. `SERVED` says which of them this build answers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import quote

from harmonygw.dicom.dataset.part10 import MAX_UID_LENGTH
from harmonygw.dicom.web.attributes import Level
from harmonygw.errors import BadRequest, NotFound

AETS: Final = "aets"
"""The first segment of a path that names one of several archives, by the AE title that follows."""

MAX_FRAMES: Final = 4096
"""Frame numbers in one list. A viewer asks for one, a client for batches of some dozens."""

MAX_FRAME_DIGITS: Final = 10
"""Digits of a frame number: NumberOfFrames is an IS of at most 2^31 - 1 (PS3.5 Table 6.2-1)."""

_USUAL_UID: Final = re.compile(rf"(?=.{{1,{MAX_UID_LENGTH}}}\Z)[0-9]+(?:\.[0-9]+)*").fullmatch
"""What needs no closer look."""

_USUAL_FRAME: Final = re.compile(rf"[1-9][0-9]{{0,{MAX_FRAME_DIGITS - 1}}}").fullmatch

_NOT_IN_A_UID: Final = frozenset('/\\*?,"')


class Kind(Enum):
    """What a request on a resource asks for."""

    CAPABILITIES = "Retrieve Capabilities"
    WADO_URI = "Retrieve by URI"
    SEARCH_STUDIES = "Search for Studies"
    SEARCH_SERIES = "Search for Series"
    SEARCH_INSTANCES = "Search for Instances"
    RETRIEVE = "Retrieve"
    METADATA = "Retrieve Metadata"
    BULKDATA = "Retrieve Bulkdata"
    PIXELDATA = "Retrieve Pixel Data"
    FRAMES = "Retrieve Frames"
    RENDERED = "Retrieve Rendered"
    THUMBNAIL = "Retrieve Thumbnail"
    STORE = "Store Instances"
    SEARCH_WORKLIST = "Search for Modality Scheduled Procedure Steps"
    REQUEST_COMMITMENT = "Request Storage Commitment"
    CHECK_COMMITMENT = "Check Storage Commitment Result"


SEARCHES: Final = frozenset({Kind.SEARCH_STUDIES, Kind.SEARCH_SERIES, Kind.SEARCH_INSTANCES})
"""The Search transaction, PS3.18 §10.6."""

SERVED: Final = frozenset(Kind)
"""What this build answers; the rest is recognised, so that it can be refused by its name."""


class Transaction(NamedTuple):
    """A method on a path. `path` names its variables in braces; `{bulk_path}` stands for all that follows."""

    method: str
    path: str
    kind: Kind


_STUDY = "studies/{study}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"
_FRAMES = f"{_INSTANCE}/frames/{{frames}}"
_COMMITMENT = "commitment-requests/{transaction}"

TRANSACTIONS: Final = (
    Transaction("GET", "", Kind.CAPABILITIES),
    Transaction("GET", "studies", Kind.SEARCH_STUDIES),
    Transaction("POST", "studies", Kind.STORE),
    Transaction("GET", "series", Kind.SEARCH_SERIES),
    Transaction("GET", "instances", Kind.SEARCH_INSTANCES),
    Transaction("GET", _STUDY, Kind.RETRIEVE),
    Transaction("POST", _STUDY, Kind.STORE),
    Transaction("GET", f"{_STUDY}/series", Kind.SEARCH_SERIES),
    Transaction("GET", f"{_STUDY}/instances", Kind.SEARCH_INSTANCES),
    Transaction("GET", _SERIES, Kind.RETRIEVE),
    Transaction("GET", f"{_SERIES}/instances", Kind.SEARCH_INSTANCES),
    Transaction("GET", _INSTANCE, Kind.RETRIEVE),
    *(
        Transaction("GET", f"{entity}/{ending}", kind)
        for entity in (_STUDY, _SERIES, _INSTANCE)
        for ending, kind in (
            ("metadata", Kind.METADATA),
            ("bulkdata", Kind.BULKDATA),
            ("pixeldata", Kind.PIXELDATA),
            ("rendered", Kind.RENDERED),
            ("thumbnail", Kind.THUMBNAIL),
        )
    ),
    Transaction("GET", f"{_INSTANCE}/bulkdata/{{bulk_path}}", Kind.BULKDATA),
    Transaction("GET", _FRAMES, Kind.FRAMES),
    Transaction("GET", f"{_FRAMES}/rendered", Kind.RENDERED),
    Transaction("GET", f"{_FRAMES}/thumbnail", Kind.THUMBNAIL),
    Transaction("GET", "modality-scheduled-procedure-steps", Kind.SEARCH_WORKLIST),
    Transaction("POST", _COMMITMENT, Kind.REQUEST_COMMITMENT),
    Transaction("GET", _COMMITMENT, Kind.CHECK_COMMITMENT),
)
"""Every transaction of the Studies service, PS3.18 §10.4.1.1, §10.5.1.1, §10.6.1.1; §8.9, §13.3 and §14.3.

The path of one value of bulk data is ours to choose; it belongs to an instance. `URI_TRANSACTION` is not among them: it
shares its path with the description, and is told by its query.
"""

URI_TRANSACTION: Final = Transaction("GET", "", Kind.WADO_URI)
"""The URI service, PS3.18 §9."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What a request is about. Where the path names no study, series or instance, its UID is empty."""

    kind: Kind
    study: str = ""
    series: str = ""
    instance: str = ""
    frames: tuple[int, ...] = ()
    """Frame numbers in the order asked, from 1."""
    bulk_path: tuple[str, ...] = ()
    """The segments after `bulkdata`."""
    transaction: str = ""
    """The Transaction UID of a storage commitment."""

    @property
    def level(self) -> Level:
        """The level searched, or of what is named; STUDY for the service itself."""
        if self.instance or self.kind is Kind.SEARCH_INSTANCES:
            return Level.IMAGE
        if self.series or self.kind is Kind.SEARCH_SERIES:
            return Level.SERIES
        return Level.STUDY

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels whose attributes a Search answers with, top first (PS3.18 Tables 10.6.3-3 to 10.6.3-5).

        They are the level searched and those above it that the path leaves open.
        """
        levels = (Level.STUDY, Level.SERIES, Level.IMAGE)
        named = bool(self.study) + bool(self.series)
        return levels[min(named, levels.index(self.level)) : levels.index(self.level) + 1]


@dataclass(slots=True)
class _Node:
    """A segment of the table's paths: what may follow it, and what a request that ends here asks for."""

    literals: dict[str, "_Node"] = field(default_factory=dict)
    variable: str = ""
    after_variable: "_Node | None" = None
    kinds: dict[str, Kind] = field(default_factory=dict)

    def child(self, segment: str) -> "_Node":
        """Return what follows `segment` of a template, made on its first use."""
        if not segment.startswith("{"):
            return self.literals.setdefault(segment, _Node())
        if self.after_variable is None:
            self.variable, self.after_variable = segment[1:-1], _Node()
        return self.after_variable


def _tree() -> _Node:
    root = _Node()
    for transaction in TRANSACTIONS:
        node = root
        for segment in transaction.path.split("/") if transaction.path else ():
            node = node.child(segment)
        node.kinds[transaction.method] = transaction.kind
    return root


_ROOT = _tree()


def parse(segments: Sequence[str], *, method: str = "GET", query: Sequence[tuple[str, str]] = ()) -> Resource:
    """Return the resource of a request.

    `segments` are the decoded path segments after the endpoint's prefix, without empty ones; `query` the
    decoded names and values, in which a WADO-URI request on the prefix names what it wants (PS3.18 §9.1), a GET or
    HEAD. A method that the path does not have gives the path's GET resource.

    Raises NotFound for a path that is not in `TRANSACTIONS`, or a frame number that no frame can have;
    BadRequest for a malformed UID or frame list.
    """
    if not segments and method in ("GET", "HEAD"):
        for name, value in query:
            if name.lower() == "requesttype":
                return _wado_uri(value, query)
    node = _ROOT
    variables: dict[str, str] = {}
    bulk_path: tuple[str, ...] = ()
    for index, segment in enumerate(segments):
        following = node.literals.get(segment)
        if following is None:
            following = node.after_variable
            if following is None:
                raise NotFound("There is no such resource in a DICOMweb service.")
            if node.variable == "bulk_path":
                bulk_path = tuple(segments[index:])
                node = following
                break
            variables[node.variable] = segment
        node = following
    if not node.kinds:
        raise NotFound("There is no such resource in a DICOMweb service.")
    return Resource(
        node.kinds.get(method, node.kinds["GET"]),
        study=_uid(variables, "study", "StudyInstanceUID"),
        series=_uid(variables, "series", "SeriesInstanceUID"),
        instance=_uid(variables, "instance", "SOPInstanceUID"),
        frames=_frames(variables["frames"]) if "frames" in variables else (),
        bulk_path=bulk_path,
        transaction=_uid(variables, "transaction", "TransactionUID"),
    )


def check_uid(uid: str, name: str) -> str:
    """Return `uid`; raises BadRequest naming `name` unless it can be a UID that some archive has given.

    PS3.5 §9.1 allows digits and dots. Archives hold others, with letters among them, and their objects must
    be reachable: so every printable ASCII character is let through but those that would end a path segment,
    start a list or a wildcard, or hide a blank.
    """
    if _USUAL_UID(uid):
        return uid
    if not uid:
        raise BadRequest(f"{name} is empty.")
    if len(uid) > MAX_UID_LENGTH:
        raise BadRequest(f"{name} has {len(uid)} characters; a UID has at most {MAX_UID_LENGTH}.")
    if not uid.isascii() or any(character <= " " or character == "\x7f" for character in uid):
        raise BadRequest(f"{name} has a blank, a control character or one that is not ASCII.")
    if not _NOT_IN_A_UID.isdisjoint(uid):
        raise BadRequest(f'{name} has one of the characters / \\ * ? , " which no UID can have.')
    if ".." in uid or uid == ".":
        raise BadRequest(f"{name} has an empty component.")
    return uid


def url(base_url: str, study: str, series: str | None = None, instance: str | None = None, *rest: str) -> str:
    """Return the absolute URL of a study, series or instance, and of what lies below it.

    `base_url` is that of the endpoint's prefix, without a final slash. What follows is percent-encoded, so
    that `parse` of the decoded segments gives the same UIDs back.
    """
    segments = ["studies", study]
    if series is not None:
        segments += ["series", series]
    if instance is not None:
        segments += ["instances", instance]
    return "/".join([base_url, *(quote(segment, safe="") for segment in (*segments, *rest))])


def source_url(base_url: str, ae_title: str) -> str:
    """Return the URL of the service that one archive alone is, of several behind `base_url`; that itself for none."""
    return f"{base_url}/{AETS}/{quote(ae_title, safe='')}" if ae_title else base_url


def _uid(variables: dict[str, str], variable: str, name: str) -> str:
    return check_uid(variables[variable], name) if variable in variables else ""


def _frames(text: str) -> tuple[int, ...]:
    if _USUAL_FRAME(text):
        return (int(text),)
    numbers = text.split(",")
    if len(numbers) > MAX_FRAMES:
        raise BadRequest(f"The frame list has {len(numbers)} numbers; at most {MAX_FRAMES} are answered at once.")
    return tuple(map(_frame, numbers))


def _frame(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise BadRequest("The frame list is not a comma-separated list of numbers.")
    if len(text) > MAX_FRAME_DIGITS or (number := int(text)) == 0:
        raise NotFound("There is no such frame; frames are numbered from 1.")
    return number


def _wado_uri(request_type: str, query: Sequence[tuple[str, str]]) -> Resource:
    if request_type.upper() != "WADO":
        raise BadRequest("requestType can only be WADO.")
    given = {name.lower(): value for name, value in query}
    return Resource(
        Kind.WADO_URI,
        study=check_uid(given.get("studyuid", ""), "studyUID"),
        series=check_uid(given.get("seriesuid", ""), "seriesUID"),
        instance=check_uid(given.get("objectuid", ""), "objectUID"),
    )
