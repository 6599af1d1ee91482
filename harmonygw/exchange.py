"""Request and Reply: what travels down a pipeline and comes back; and the record of how it went."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harmonygw.errors import HarmonyError
from harmonygw.operations import Operation
from harmonygw.streams import Body


@dataclass(frozen=True, slots=True)
class HTTPOrigin:
    """An exchange that began as an HTTP request."""

    method: str
    """Upper case; HEAD stays HEAD."""
    path: tuple[str, ...]
    """The decoded segments after the endpoint's prefix, without empty ones."""
    query: tuple[tuple[str, str], ...] = ()
    """Names and values, decoded, in the order in which they were sent."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case name to value; repeated ones joined by a comma (RFC 9110 §5.3)."""
    base_url: str = ""
    """The absolute URL of the endpoint's prefix as the client sees it, without a final slash."""
    body: Body | None = None
    """What the client sends, as it arrives; None when it sends nothing."""
    repeated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Lower-case name to values, one by one, of the fields that were sent more than once. See `field_lines`."""

    def field_lines(self, name: str) -> tuple[str, ...]:
        """Return the values of a header field by its lower-case name, one for each time it was sent (RFC 9110 §5.2).

        What has changed `headers` since has the last word: its value is then the only one.
        """
        joined = self.headers.get(name)
        if joined is None:
            return ()
        lines = self.repeated.get(name, ())
        return lines if lines and ", ".join(lines) == joined else (joined,)


@dataclass(frozen=True, slots=True)
class AssociationOrigin:
    """An exchange that began as a DIMSE request on an association."""

    calling_ae_title: str
    called_ae_title: str


@dataclass(slots=True)
class Record:
    """How an exchange goes, filled in by whoever knows; the log line at its end is made of it.

    It is mutable, outlives `replace()`, and is never read to make a decision.
    """

    operation: str = ""
    target: str = ""
    dimse_status: int | None = None
    instances: int = 0
    matches: int = 0
    principal: str = ""
    """Who it turned out to be: the request that ends is the one that came, before anybody was authenticated."""
    destination: str = ""
    """The AE title of who gets the instances, where that is not who asked."""
    not_taken: dict[tuple[str, str], int] = field(default_factory=dict)
    """Instances that their receiver refused, by Study Instance UID and SOP Class UID, of the studies asked for."""
    audit: Any = None
    """What the audit trail has noted (`harmonygw.audit`). It names patients, and is never logged."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the operator: what was retried, assumed or left out. At most `MAX_NOTES`; see `note`."""

    def note(self, sentence: str) -> None:
        """Add a sentence, once, unless there are `MAX_NOTES` already."""
        if len(self.notes) < MAX_NOTES and sentence not in self.notes:
            self.notes.append(sentence)


@dataclass(frozen=True, slots=True)
class Restriction:
    """What somebody may see, and store, of an archive: only what has, of each attribute, one of the values allowed."""

    keys: Mapping[str, tuple[str, ...]]
    """Upper-case hexadecimal tag of an attribute with one value to the values allowed, which are compared as they
    stand, without the spaces around them. An attribute without any allows nothing."""
    reason: str
    """Who demands it, for the log: a table of the configuration, a scope."""


SOURCE = "source"
"""Name of an attribute: the AE title of the one archive that a request is for, of several behind its pipeline."""

SOURCES = "sources"
"""Name of an attribute: the AE titles of all of them, in their order; for who describes the service."""

MAX_NOTES = 20
"""Sentences a record keeps: a log line is read by a person, and a peer must not be able to grow it."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an endpoint puts into a pipeline. `dataclasses.replace()` to change it."""

    origin: HTTPOrigin | AssociationOrigin
    peer: str
    """The client's IP address."""
    correlation_id: str
    principal: str | None = None
    """Who it is, once authenticated."""
    operation: Operation | None = None
    """None until an endpoint or a bridge makes one."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Metadata that middleware leaves for later middleware."""
    restrictions: tuple[Restriction, ...] = ()
    """What the principal is confined to: all of them hold. Whoever holds a request to them takes them off it; what
    arrives at the end of a chain with any left over is refused."""
    deadline: float | None = None
    """When waiting for a place ends, in seconds of the reactor's clock; None for the target's own time-outs."""
    record: Record = field(default_factory=Record, compare=False)
    settled: "Reply | HarmonyError | None" = None
    """What the endpoint answers by itself, to a method that a resource lacks for one. The end of the chain returns or
    raises it; on the way only that middleware sees the request which is for every one (`pipeline.IForEveryRequest`)."""
    common_headers: list[tuple[str, str]] = field(default_factory=list, compare=False)
    """Header fields of whatever HTTP reply goes out, that of an error too. Mutable: it outlives `replace()`."""

    @property
    def client(self) -> str:
        """Who shares a queue fairly with whom: the principal, or the address of the unauthenticated."""
        return self.principal or self.peer


@dataclass(frozen=True, slots=True)
class Reply:
    """What comes back. A reply is there when its headers are known, long before its body ends."""

    status: int = 200
    """The HTTP status, where the exchange is HTTP."""
    headers: tuple[tuple[str, str], ...] = ()
    body: Body | None = None
    result: Any = None
    """Of an operation: a MatchStream, an InstanceStream, a stream of StoreResult, or None for an Echo."""
    digest: str = ""
    """What tells the content of the result from any other; empty when that is not known before it is read."""
    of_web_server: bool = False
    """Whether a web server behind us has answered for itself: what a browser is to be told of it is in `headers`."""
