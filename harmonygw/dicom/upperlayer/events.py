"""What the upper layer tells its user: the indication and confirmation primitives of PS3.8 §7."""

from dataclasses import dataclass, field
from typing import NamedTuple

from harmonygw.dicom.upperlayer.negotiation import AssociateAC, AssociateRJ, AssociateRQ


class Fragment(NamedTuple):
    """A run of bytes of one presentation data value (P-DATA indication, PS3.8 §7.6 and Annex E).

    `data` is a slice of what was received. A presentation data value that came in several reads gives several
    fragments; `is_last` is true only on the one that ends the command set or data set.
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


@dataclass(frozen=True, slots=True)
class AssociateIndication:
    """The peer asks for an association: answer with `accept` or `reject`."""

    rq: AssociateRQ


@dataclass(frozen=True, slots=True)
class AssociateConfirm:
    """The peer accepted the association; what it accepted in detail is in `UpperLayer.contexts`."""

    ac: AssociateAC


@dataclass(frozen=True, slots=True)
class AssociateRejected:
    """The peer rejected the association."""

    rj: AssociateRJ


@dataclass(frozen=True, slots=True)
class ReleaseIndication:
    """The peer asks to release the association: answer with `release_response`."""


@dataclass(frozen=True, slots=True)
class ReleaseConfirm:
    """The peer agreed to the release."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """The association is gone (A-ABORT and A-P-ABORT indication, PS3.8 §7.3 and §7.4).

    `source` and `reason` are those of the A-ABORT PDU that was received, or sent in answer to the peer's
    error (PS3.8 §9.3.8). `provider` is true for A-P-ABORT: a service provider, not a user, gave up.
    `detail` is for the log. `timed_out` is true when the peer did not answer an A-ASSOCIATE-RQ within the
    association time-out, `by_peer` when the peer ended it, by an A-ABORT or by closing the connection.
    """

    source: int
    reason: int
    provider: bool
    detail: str
    timed_out: bool = False
    by_peer: bool = field(default=False, compare=False)


Event = (
    AssociateIndication | AssociateConfirm | AssociateRejected | Fragment | ReleaseIndication | ReleaseConfirm | Aborted
)
