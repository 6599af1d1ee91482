"""What whoever answers for security has to hear of, from any floor: a line in the log, which the audit trail hears."""

from dataclasses import dataclass

from twisted.logger import Logger

log = Logger(namespace="harmonygw.alert")


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that whoever answers for security has to hear of, within an exchange or outside of any."""

    kind: str
    """`association_rejected`, `hostile_bytes`, `unsolicited_object`, `patients_differ`, or what else a caller has."""
    sentence: str
    """What happened. It names UIDs and AE titles, and nobody's name or identifier: it stands in the log too."""
    peer: str = ""
    """The IP address of whom it is about, or the name of a target."""
    correlation_id: str = ""
    """Of the exchange in which it happened, if it was one."""


def alert(what: Alert) -> None:
    """Write a line of something that is also due in the audit trail, which listens for `event["alert"]`."""
    log.warn("{sentence}", sentence=what.sentence, alert=what)
