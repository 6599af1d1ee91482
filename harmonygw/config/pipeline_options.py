"""Options of a pipeline with several backends: how they answer as one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from harmonygw.config.binding import suggestion
from harmonygw.config.constraints import AETitle, Leeway, Name, Seconds
from harmonygw.config.system import no_table
from harmonygw.errors import ConfigurationError

Strategy = Literal["federate", "failover", "route"]

CALLING_AE_TITLE: Final = "calling_ae_title"
CALLED_AE_TITLE: Final = "called_ae_title"

ROUTE_ATTRIBUTES: Final = ("Modality", "PatientID", "IssuerOfPatientID", "StudyDate", "SOPClassUID")
"""Attributes that a route may speak of: those that a query can name, and that stand at the head of every instance."""

ROUTE_KEYS: Final = (*ROUTE_ATTRIBUTES, CALLING_AE_TITLE, CALLED_AE_TITLE)


@dataclass(frozen=True, slots=True)
class SourceRoute:
    """What goes to one backend."""

    backend: Name
    """A name of the pipeline's `backends`."""
    when: Mapping[str, tuple[str, ...]]
    """Conditions, all of which have to hold: `Modality`, `PatientID`, `IssuerOfPatientID`, `StudyDate`,
    `SOPClassUID`, `calling_ae_title`, `called_ae_title`, each with a list of values of which one has to match: with
    `*` and `?`, and for StudyDate a range (`20200101-`). The AE titles are those of a `dicom_scp`'s association."""

    def __post_init__(self) -> None:
        if not self.when:
            raise ConfigurationError(('"when" is empty; one condition at least is needed',))
        for key, values in self.when.items():
            if key not in ROUTE_KEYS:
                raise ConfigurationError((f'"when" has the unknown condition "{key}"{suggestion(key, ROUTE_KEYS)}',))
            if not values or not all(value.strip() for value in values):
                raise ConfigurationError((f'"when" has no value for {key}, or an empty one',))

    @property
    def by_ae_title(self) -> bool:
        """Whether it depends on who asks, and not only on what is asked for."""
        return CALLING_AE_TITLE in self.when or CALLED_AE_TITLE in self.when


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """How several backends answer as one."""

    strategy: Strategy | None = None
    """`federate`: all are asked, and what they find is merged by instance UID. `failover`: the first that can be
    reached. `route`: by rules. Needed when there are several backends; the bridge's `strategy` says the same."""
    on_missing_source: Literal["warn", "fail"] = "warn"
    """When a backend cannot be reached or does not answer: the others' answer with a Warning that names it, or the
    failure. Of `federate` and `route`."""
    source_timeout_secs: Seconds | None = None
    """Seconds that a query may wait for the next thing that a backend says, connecting included. Unless given, the
    backend's `timeout_secs`."""
    remember_secs: Leeway = 60.0
    """Seconds for which it is remembered which backends have a study, and whose it is there; 0 for not at all. A
    study that comes to a further backend meanwhile is seen when they are over."""
    ae_titles: Mapping[str, AETitle] = field(default_factory=no_table)
    """Name of a backend to the AE title that its matches carry (RetrieveAETitle), and that `/aets/<AE title>` names it
    by. Unless given, the called AE title of a `dicom_scu`, and the name of another, or of those that share one."""
    issuers: Mapping[str, Name] = field(default_factory=no_table)
    """Name of a backend to the IssuerOfPatientID that is meant where it gives none: two backends' patients are the
    same only if PatientID and issuer are."""
    store_to: str = ""
    """The backend that instances are stored to, of `federate` and `failover`; unless given, the first."""
    routes: tuple[SourceRoute, ...] = ()
    """Of `route`: the first whose conditions hold decides. A query that does not name what they speak of is asked of
    all that may be meant, and what they find is merged."""
    default: str = ""
    """Of `route`: the backend when no rule holds."""
