"""N-ACTION of an SCU, and the events that follow it (PS3.7 §10.1.4, §10.1.1)."""

from twisted.internet.defer import Deferred

from harmonygw.dicom.dimse.commands import Command, NActionRSP, NEventReportRQ
from harmonygw.errors import HarmonyError, PeerError
from harmonygw.net.association.event_reports import EventReportReceiver
from harmonygw.net.association.operations import UNEXPECTED_PDU, Invocation, Operation, Outcome


class ActionOperation(Operation[NActionRSP]):
    """N-ACTION (PS3.7 §10.1.4), and the event that may be reported on the same association afterwards.

    `done` fires with the status. The operation goes on until `finish()`: the peer may report as long as it lasts.
    """

    name = "N-ACTION"
    response = NActionRSP

    def __init__(self, invocation: Invocation, events: EventReportReceiver) -> None:
        super().__init__(invocation)
        self._events = events
        self.done: Deferred[Outcome] = Deferred()

    def command(self, context_id: int, command: Command) -> None:
        """Take an event, or the response."""
        if isinstance(command, NEventReportRQ) and context_id == self.context_id and self.done.called:
            self._events.command(context_id, command)
        else:
            super().command(context_id, command)

    def fragment(self, data: memoryview, is_last: bool) -> None:
        """Take a part of an event, or of an Action Reply, which says nothing."""
        self._events.fragment(data, is_last)

    def lost(self, reason: HarmonyError) -> None:
        """Fail, unless the response has come."""
        super().lost(reason)
        if not self.done.called:
            self.done.errback(reason)

    def finish(self) -> None:
        """End it: whoever waits for the event waits no longer."""
        if not self.ended:
            self._end()

    def _responded(self, response: NActionRSP) -> None:
        if self.done.called:
            raise PeerError("N-ACTION was answered twice", reason=UNEXPECTED_PDU)
        self._answered()
        self._protocol.expect(False)
        self.done.callback(Outcome(response.status, error_comment=response.error_comment))
