"""What the cache holds of a series: an entry for each instance, and whether that is all."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from harmonygw.files import HeldFile, InstanceFile
from harmonygw.streams import Instance


@dataclass(frozen=True, slots=True)
class Entry:
    """One instance: who it is, and its file."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source_ae_title: str
    receiving_ae_title: str
    leading: Mapping[str, str]
    default_character_set: tuple[str, ...]
    file: InstanceFile | HeldFile

    @classmethod
    def of(cls, instance: Instance, file: InstanceFile | HeldFile) -> "Entry":
        """Return the entry of an instance that has been written."""
        return cls(
            instance.study_instance_uid,
            instance.series_instance_uid,
            instance.sop_class_uid,
            instance.sop_instance_uid,
            instance.transfer_syntax_uid,
            instance.source_ae_title,
            instance.receiving_ae_title,
            instance.leading,
            instance.default_character_set,
            file,
        )

    def instance(self) -> Instance:
        """Return the instance, its data set yet to be read."""
        return Instance(
            self.sop_class_uid,
            self.sop_instance_uid,
            self.transfer_syntax_uid,
            self.file.pieces(),
            study_instance_uid=self.study_instance_uid,
            series_instance_uid=self.series_instance_uid,
            source_ae_title=self.source_ae_title,
            receiving_ae_title=self.receiving_ae_title,
            leading=self.leading,
            default_character_set=self.default_character_set,
            file=self.file,
        )


@dataclass(slots=True)
class Series:
    """What is here of one series."""

    study_instance_uid: str
    series_instance_uid: str
    entries: dict[str, Entry] = field(default_factory=dict)
    """By SOP Instance UID, in the order in which they came."""
    complete: bool = False
    """Whether these were all that the archive listed, when it was asked."""
    listed_at: float = float("-inf")
    """When it was asked last, in seconds of the reactor's clock."""
    expires_in: float = 0.0
    """Seconds after which the oldest of what was loaded is too old."""
    expires_at: float = float("inf")
    """The same in seconds of the reactor's clock."""
