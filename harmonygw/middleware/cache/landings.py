"""What a retrieve brings, who wants what of it, and how far each has come."""

from collections.abc import Container
from dataclasses import dataclass

from harmonygw.middleware.cache.entries import Entry
from harmonygw.streams import Instance
from harmonygw.writing import Writing


@dataclass(slots=True)
class Landing:
    """An instance that is coming, or has come."""

    instance: Instance
    writing: Writing | None
    """None once it has landed."""
    entry: Entry | None = None
    kept: bool = True
    let_go: bool = False


@dataclass(slots=True, eq=False)
class Reader:
    """How far somebody has come in what lands."""

    position: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants of a retrieve."""

    names: tuple[str, ...] = ()
    """SOP Instance UIDs, each once; none for all there are."""
    series_instance_uid: str = ""
    """Of this series only."""
    but: Container[str] = ()
    """SOP Instance UIDs that he has already."""

    def takes(self, instance: Instance) -> bool:
        """Whether an instance is wanted."""
        if self.names:
            return instance.sop_instance_uid in self.names
        if self.series_instance_uid not in ("", instance.series_instance_uid):
            return False
        return instance.sop_instance_uid not in self.but
