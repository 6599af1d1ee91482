"""The audit trail of one gateway: what it is told of, and what becomes of that when it cannot be recorded."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from zope.interface import implementer

from harmonygw import journal
from harmonygw.audit.account import Tally
from harmonygw.audit.flood import Flood
from harmonygw.audit.logins import Logins
from harmonygw.audit.telling import Telling
from harmonygw.dicom.audit.message import AuditMessage, AuditSourceIdentification, write
from harmonygw.errors import Busy, HarmonyError
from harmonygw.exchange import Request
from harmonygw.journal import Alert, Ending

log = Logger()

RETRY_SECS: Final = 30
"""Seconds after which a client may ask again that was refused because nothing can be recorded."""

LOGIN: Final = "login"
"""The kind of a failed login, where these are counted."""

UNRECORDED: Final = "Nothing is answered while the audit trail cannot be written."


class Repository(Protocol):
    """Where messages go."""

    @property
    def accepting(self) -> bool:
        """Whether a message would be taken."""

    def start(self) -> Any:
        """Begin; may return a Deferred."""

    def stop(self) -> Any:
        """End; may return a Deferred."""

    def put(self, message: bytes) -> None:
        """Take a message, durably; raises `HarmonyError` or `OSError` when it cannot."""


@implementer(ILogObserver)
class Trail:
    """Tells of exchanges, of logins and of alerts, wherever in the gateway these are raised.

    With `fail_closed` nothing is asked of an archive while nothing can be recorded, and no instance is given out whose
    transfer could not be told of before. Without it the loss is logged, and counted.
    """

    def __init__(
        self,
        delivery: Repository,
        clock: IReactorTime,
        *,
        source: AuditSourceIdentification,
        ae_titles: Sequence[str] = (),
        fail_closed: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        publisher: Any = globalLogPublisher,
    ) -> None:
        self._delivery = delivery
        self._fail_closed = fail_closed
        self._publisher = publisher
        self._telling = Telling(source, tuple(ae_titles), now)
        self._flood = Flood(clock, self._summarise)
        self._logins = Logins(clock)
        self._failing = False
        self._refusing = False
        self._told = 0
        self._unrecorded = 0

    # Its life

    async def start(self) -> None:
        """Begin to record: first of all that the gateway starts."""
        await maybeDeferred(self._delivery.start)
        self._publisher.addObserver(self)
        self._tell(self._telling.started())

    async def stop(self) -> None:
        """Record that the gateway stops, and no more."""
        self._publisher.removeObserver(self)
        self._flood.stop()
        self._tell(self._telling.stopped())
        await maybeDeferred(self._delivery.stop)

    def renew(self, ae_titles: Sequence[str]) -> None:
        """Tell by these AE titles of ours from now on."""
        self._telling = replace(self._telling, ae_titles=tuple(ae_titles))

    def state(self) -> dict[str, object]:
        """Describe it for management."""
        delivery: dict[str, object] = getattr(self._delivery, "state", dict)()
        return {
            **delivery,
            "accepting": self._delivery.accepting,
            "fail_closed": self._fail_closed,
            "messages": self._told,
            "unrecorded": self._unrecorded,
            "left_out": self._flood.left_out,
        }

    # What an exchange asks before it goes on

    def admit(self) -> None:
        """Raise `Busy` when it has to be recorded what happens, and cannot."""
        if not self._fail_closed:
            return
        if self._failing and self._delivery.accepting:
            self._resume()
        refusing = self._failing or not self._delivery.accepting
        if refusing and not self._refusing:
            log.error("the audit trail takes no more: requests are refused (fail_closed)")
        elif self._refusing and not refusing:
            log.info("the audit trail takes messages again: requests are answered")
        self._refusing = refusing
        if refusing:
            raise Busy(UNRECORDED, retry_after=RETRY_SECS)

    def begin(self, request: Request, tally: Tally, *, storing: bool) -> None:
        """Record that instances of a study are about to flow; raises `Busy` when it cannot and must."""
        if not self._tell(self._telling.begins(request, tally, storing=storing)) and self._fail_closed:
            raise Busy(UNRECORDED, retry_after=RETRY_SECS)

    # What it is told

    def ended(self, request: Request, ending: Ending) -> None:
        """Write the line of an exchange in the log, and record what there is to record of it."""
        journal.write(request, ending)
        try:
            self._record(request, ending)
        except Exception:  # noqa: BLE001 - an exchange that has ended cannot fail any more
            self._unrecorded += 1
            log.failure("an exchange could not be recorded ({correlation_id})", correlation_id=request.correlation_id)

    def __call__(self, event: LogEvent) -> None:
        """Record an alert; any other event of the log is none of its business."""
        alert = event.get("alert")
        if isinstance(alert, Alert):
            self._alert(alert)

    def _record(self, request: Request, ending: Ending) -> None:
        telling = self._telling
        principal = request.record.principal or request.principal
        if principal and ending.status != 401 and self._logins.is_new(principal, request.peer):
            self._tell(telling.logged_in(request))
        if ending.status == 401 and self._flood.admits(LOGIN, request.peer):
            self._tell(telling.not_logged_in(request, ending.reason))
        for message in telling.ended(request, ending):
            self._tell(message)
        refusal = telling.refusal(request, ending)
        if refusal is not None:
            self._alert(refusal, request)

    def _alert(self, alert: Alert, request: Request | None = None) -> None:
        if self._flood.admits(alert.kind, alert.peer):
            self._tell(self._telling.alert(alert, request))

    def _summarise(self, kind: str, peer: str, left_out: int) -> None:
        self._tell(self._telling.alert(Alert(kind, f"{left_out} more of the kind {kind} within a minute", peer)))

    def _tell(self, message: AuditMessage) -> bool:
        """Deliver a message; return whether it was taken."""
        try:
            self._delivery.put(write(message))
        except (HarmonyError, OSError) as error:
            self._unrecorded += 1
            if not self._failing:
                self._failing = True
                log.error("the audit trail cannot be written: {error}", error=journal.describe(error))
            return False
        self._told += 1
        if self._failing:
            self._resume()
        return True

    def _resume(self) -> None:
        """Tell that messages can be recorded again, if they can."""
        lost = f"the audit trail is written again; {self._unrecorded} messages were lost since the start"
        try:
            self._delivery.put(write(self._telling.alert(Alert("recording_resumed", lost))))
        except (HarmonyError, OSError):
            return
        self._told += 1
        self._failing = False
        log.info("{lost}", lost=lost)
