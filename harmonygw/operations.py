"""The words both protocols translate to: what is asked of an archive, without saying how.

DICOMweb and DIMSE meet here. `dicomweb_bridge` makes an operation of an HTTP request, a `dicom_scp` endpoint makes
one of a DIMSE request, and every backend that holds or reaches images takes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from harmonygw.dicom.dataset.references import Reference
from harmonygw.dicom.web.attributes import Level
from harmonygw.streams import InstanceStream, Match, Stream

__all__ = [
    "ANY_TRANSFER_SYNTAX",
    "CheckCommitment",
    "Commitment",
    "ContestedMatch",
    "DataSet",
    "Echo",
    "Find",
    "FindWorklist",
    "InstanceStream",
    "Level",
    "Matches",
    "Move",
    "MoveResult",
    "Operation",
    "Reference",
    "RequestCommitment",
    "Retrieve",
    "Store",
    "StoreResult",
]

DataSet = Mapping[str, Any]
"""A data set in the DICOM JSON model (PS3.18 F.2): upper-case hexadecimal tag to `{"vr": …, "Value": […]}`."""

ANY_TRANSFER_SYNTAX = "*"
"""As the archive holds it."""


@dataclass(frozen=True, slots=True)
class Echo:
    """Verification: does the other side answer?"""


@dataclass(frozen=True, slots=True)
class Find:
    """A query. The reply's result is `Matches`.

    `keys` are the matching keys with their values, `return_keys` the attributes asked for (no `Value`); together
    they are the identifier of a C-FIND. The unique keys of the levels above belong to `keys`. A backend may return
    more than was asked and match more loosely than asked; who needs certainty checks.

    `limit` is the number of matches after which the reader will stop, None for all: a hint; the reader stops by
    closing the stream, and the C-FIND is cancelled.
    """

    level: Level
    keys: DataSet = field(default_factory=dict)
    return_keys: DataSet = field(default_factory=dict)
    limit: int | None = None
    fuzzy_matching: bool = False
    relational: bool = False
    """Whether `keys` hold more of the upper levels than their unique keys, or less (PS3.4 §C.4.1.3.2.1).

    A backend whose archive has no relational queries raises `NotAcceptable` before it asks anything.
    """


class Matches(Stream[Match], Protocol):
    """The result of a Find: its matches, and what the reader should be warned of once it has read them."""

    warnings: list[str]
    """Sentences, complete at the end of the stream: what was asked and not done."""


class ContestedMatch(dict[str, Any]):
    """A match of a study whose UID several archives give to different patients: it belongs to `source` alone.

    Whoever asks on about what it names asks that source (the attribute `exchange.SOURCE` of a request), and whoever
    joins it with another match looks whether both name the same PatientID and IssuerOfPatientID, which it always has.
    """

    def __init__(self, row: Match, source: str) -> None:
        super().__init__(row)
        self.source = source
        """The AE title of where it comes from."""


@dataclass(frozen=True, slots=True)
class Retrieve:
    """A retrieval of whole instances. The reply's result is an `InstanceStream`.

    `level` is STUDY, SERIES or IMAGE, and the unique keys down to it are given; IMAGE takes several instances.
    `transfer_syntaxes` are acceptable ones in order of preference; `("*",)` is whatever the archive holds. Instances
    may come in another native syntax than an acceptable native one: the reader converts those as they flow.
    """

    level: Level
    study_instance_uid: str
    series_instance_uid: str = ""
    sop_instance_uids: tuple[str, ...] = ()
    """Asked for in this order: who awaits some of them puts those first. Most archives send them so, none must."""
    transfer_syntaxes: tuple[str, ...] = (ANY_TRANSFER_SYNTAX,)
    without_bulk_data: bool = False
    """Whether pixels, waveforms and the like may be left out (PS3.4 §Z.1.3). An archive that cannot sends instances
    whole: `Instance.without_bulk_data` says of each how it came."""
    patient_id: str = ""
    """Needed by a Patient Root model only."""
    random_access: bool = False
    """Whether the reader wants to read parts of the instances: a cache gives each when it lies whole in a file, with
    `Instance.file`. A backend takes no notice."""
    whole_otherwise: bool = True
    """Whether instances may come whole when they are wanted `without_bulk_data`; if not, an archive that cannot leave
    it out raises `NotAcceptable`, and sends none."""
    service: Literal["", "get", "move"] = ""
    """C-GET or C-MOVE where the request names it; empty for whichever the backend has (`dimse_retrieve_mode`). A
    backend that does not speak DIMSE takes no notice."""


@dataclass(frozen=True, slots=True)
class Move:
    """Let an archive send instances to somebody else, whom it knows by an AE title. The reply's result is a
    `MoveResult`.

    A backend raises `RejectedError` when any sub-operation failed, `NotFound` when there were none, and
    `NotAcceptable` when it moves nothing to anybody.
    """

    level: Level
    study_instance_uid: str
    destination: str
    """The AE title, Move Destination (0000,0600)."""
    series_instance_uid: str = ""
    sop_instance_uids: tuple[str, ...] = ()
    patient_id: str = ""
    """Needed by a Patient Root model only."""


@dataclass(frozen=True, slots=True)
class MoveResult:
    """What became of the sub-operations of a `Move`, by the archive's count (PS3.4 §C.4.2.1.6); None untold."""

    completed: int | None
    warning: int | None


@dataclass(frozen=True, slots=True)
class Store:
    """Storage of instances. The reply's result is a `Stream` of `StoreResult`, one an instance, in their order."""

    instances: InstanceStream


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What became of one instance: `status` as of a C-STORE-RSP (PS3.4 Table B.2-1), 0x0000 for stored."""

    sop_class_uid: str
    sop_instance_uid: str
    status: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FindWorklist:
    """A query for scheduled procedure steps (PS3.4 Annex K). The reply's result is `Matches`.

    `identifier` has the matching keys with their values, and without one what else is asked for; `limit` is a hint, as
    of a `Find`.
    """

    identifier: DataSet
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class RequestCommitment:
    """A request for the safekeeping of instances (PS3.4 Annex J). The reply's result is a `Commitment`."""

    transaction_uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class CheckCommitment:
    """The question what became of a `RequestCommitment`. The reply's result is a `Commitment`."""

    transaction_uid: str


@dataclass(frozen=True, slots=True)
class Commitment:
    """What is known of a transaction."""

    references: tuple[Reference, ...]
    """What was requested."""
    failures: Mapping[str, int] | None = None
    """Failure Reason (0008,1197) by SOP Instance UID: all others are committed. None while the archive has not said."""


Operation = Echo | Find | Retrieve | Move | Store | FindWorklist | RequestCommitment | CheckCommitment
