"""What a peer does on an association that whoever answers for security should hear of: told here, and nowhere else."""

from dataclasses import dataclass
from typing import Literal

from twisted.logger import Logger

log = Logger()

Kind = Literal["association_rejected", "hostile_bytes"]


@dataclass(frozen=True, slots=True)
class Misconduct:
    """One such thing; the sentence names AE titles and UIDs, and no patient."""

    kind: Kind
    sentence: str
    peer: str
    """The IP address of whom it is about, or the AE title of an archive of ours."""


def report(misconduct: Misconduct) -> None:
    """Write a line; its event has the whole as `misconduct`."""
    log.warn("{sentence}", sentence=misconduct.sentence, misconduct=misconduct)
