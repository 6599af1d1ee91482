"""From an exchange and its account to the messages of it: pure, and told once the exchange has ended or begins.

What succeeded and what did not are never in one message (PS3.15 Table A.5.2-1, EventOutcomeIndicator), nor are two
patients.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

import orjson

from harmonygw.audit import kinds, participants
from harmonygw.audit.account import Account, Tally
from harmonygw.dicom.audit import codes, events
from harmonygw.dicom.audit.events import AuditedPatient, AuditedStudy, Circumstances
from harmonygw.dicom.audit.message import Action, ActiveParticipant, AuditMessage, AuditSourceIdentification, Outcome
from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from harmonygw.dicom.dimse.statuses import Category, category
from harmonygw.errors import HarmonyError
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Request
from harmonygw.journal import Alert, Ending
from harmonygw.operations import Find, FindWorklist, Level

STUDIES_A_MESSAGE: Final = 8
"""Studies of a patient in one message; there is another one for further studies. Default 8: with `MAX_CLASSES` SOP
classes each it is within the 32768 bytes that a collector has to take (PS3.15 §A.6)."""

MAX_QUERY_STRING: Final = 4096
"""Bytes of the path and the query of a request that are told beside an identifier. Default 4 KiB."""

OUTCOMES: Final = {
    "complete": Outcome.SUCCESS,
    "not_modified": Outcome.SUCCESS,
    "refused": Outcome.MINOR_FAILURE,
    "client_gone": Outcome.MINOR_FAILURE,
    "failed": Outcome.SERIOUS_FAILURE,
    "aborted": Outcome.SERIOUS_FAILURE,
}
"""The journal's words for the end of an exchange; any other is a serious failure."""

ALERTS: Final = {
    "association_rejected": (codes.NODE_AUTHENTICATION, Outcome.MINOR_FAILURE),
    "denied": (codes.RESTRICTED_FUNCTION, Outcome.MINOR_FAILURE),
    "rate_limited": (codes.RATE_LIMITED, Outcome.MINOR_FAILURE),
    "hostile_bytes": (codes.HOSTILE_BYTES, Outcome.SERIOUS_FAILURE),
    "unsolicited_object": (codes.UNSOLICITED_OBJECT, Outcome.SERIOUS_FAILURE),
    "patients_differ": (codes.PATIENTS_DIFFER, Outcome.SERIOUS_FAILURE),
    "recording_resumed": (codes.AUDIT_RECORDING_STARTED, Outcome.SERIOUS_FAILURE),
}
"""Kinds of alerts to EventTypeCode and severity: in all of them the harm was prevented (PS3.15 §A.5.3.11)."""

NOT_ALL: Final = "some instances were not transferred"

PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
MODALITY_WORKLIST_FIND: Final = "1.2.840.10008.5.1.4.31"

_LEVEL: Final = "00080052"


@dataclass(frozen=True, slots=True)
class Telling:
    """Makes the messages of one gateway."""

    source: AuditSourceIdentification
    ae_titles: tuple[str, ...]
    """Ours."""
    now: Callable[[], datetime]

    # The gateway's life

    def started(self) -> AuditMessage:
        """Tell that the gateway has started."""
        return events.application_started(self._circumstances(), self._gateway())

    def stopped(self) -> AuditMessage:
        """Tell that the gateway stops."""
        return events.application_stopped(self._circumstances(), self._gateway())

    # An exchange

    def begins(self, request: Request, tally: Tally, *, storing: bool) -> AuditMessage:
        """Tell that instances of a study are about to flow."""
        return events.begin_transferring(
            self._circumstances(), *self._ends(request, storing=storing), [tally.study({})], tally.patient
        )

    def ended(self, request: Request, ending: Ending) -> Iterator[AuditMessage]:
        """Tell of an exchange that has ended; of many there is nothing to tell."""
        record = request.record
        account: Account = record.audit or Account()
        name = kinds.name_of(request)
        outcome = OUTCOMES.get(ending.outcome, Outcome.SERIOUS_FAILURE)
        circumstances = self._circumstances(outcome, ending.reason)
        if name in kinds.QUERIES:
            yield self._query(request, account, circumstances)
            return
        tallies = account.settled(whole=outcome is Outcome.SUCCESS, not_taken=record.not_taken)
        if tallies and kinds.is_access(request):
            yield from self._accessed(request, circumstances, Action.READ, _by_patient(_all(tallies)))
        elif tallies:
            if _is_nothing(request, account, ending) and name not in kinds.STORES:
                for tally in tallies:
                    tally.none_went()
            yield from self._transferred(request, circumstances, tallies, storing=name in kinds.STORES)
        elif account.asked or name in kinds.TRANSFERS | kinds.STORES | kinds.ACCESSES:
            action = Action.CREATE if name in kinds.STORES else Action.READ
            yield from self._accessed(request, circumstances, action, _by_patient(_asked(request, account)))
        elif name == kinds.DELETION:
            if study := _deleted(request.origin):
                yield from self._accessed(request, circumstances, Action.DELETE, {AuditedPatient(): [study]})
        elif account.query is not None:
            yield self._query(request, account, circumstances)

    def refusal(self, request: Request, ending: Ending) -> Alert | None:
        """Return the alert that a refusal is, by a policy or by an archive; None for any other reply."""
        denied = ending.status == 403 or request.record.dimse_status == _NOT_AUTHORIZED
        if ending.outcome != "refused" or not (denied or ending.status == 429):
            return None
        kind = "denied" if denied else "rate_limited"
        return Alert(kind, f"{_asked_for(request)}: {ending.reason}", request.peer, request.correlation_id)

    def logged_in(self, request: Request) -> AuditMessage:
        """Tell that somebody has been authenticated."""
        return events.login(self._circumstances(), participants.client(request), self._gateway())

    def not_logged_in(self, request: Request, reason: str) -> AuditMessage:
        """Tell that somebody has not."""
        circumstances = self._circumstances(Outcome.MINOR_FAILURE, reason)
        return events.login(circumstances, participants.claimed(request), self._gateway())

    # Alerts

    def alert(self, alert: Alert, request: Request | None = None) -> AuditMessage:
        """Tell of an alert; `request` is the one in which it happened, where that is known."""
        kind, outcome = ALERTS.get(alert.kind, (codes.OTHER_ALERT, Outcome.SERIOUS_FAILURE))
        performers = [participants.client(request)] if request is not None else []
        if request is None and alert.peer:
            performers = [ActiveParticipant(alert.peer, access_point=alert.peer)]
        exchange = f" ({alert.correlation_id})" if alert.correlation_id else ""
        return events.security_alert(
            self._circumstances(outcome, alert.kind),
            kind,
            self._gateway(),
            performers,
            subject=alert.peer or participants.UNKNOWN,
            description=alert.sentence + exchange,
        )

    # What these are made of

    def _circumstances(self, outcome: Outcome = Outcome.SUCCESS, reason: str = "") -> Circumstances:
        description = "" if outcome is Outcome.SUCCESS else reason
        return Circumstances(self.now(), self.source, outcome, description)

    def _gateway(self, request: Request | None = None) -> ActiveParticipant:
        titles = self.ae_titles
        if request is not None and isinstance(request.origin, AssociationOrigin):
            titles = (request.origin.called_ae_title,)
        return participants.gateway(self.source.source_id, titles)

    def _ends(
        self, request: Request, *, storing: bool
    ) -> tuple[ActiveParticipant, ActiveParticipant, tuple[ActiveParticipant, ...]]:
        """Return who sends, who receives, and who else takes part."""
        client, gateway, archive = participants.client(request), self._gateway(request), participants.archive(request)
        record = request.record
        if storing:
            return client, gateway, archive
        if not record.destination:
            return gateway, client, archive
        receiver = participants.destination(record.destination)
        account: Account | None = record.audit
        if account is not None and account.is_direct:
            sender = archive[0] if archive else ActiveParticipant(participants.UNKNOWN)
            return sender, receiver, (client, gateway)
        return gateway, receiver, (client, *archive)

    def _query(self, request: Request, account: Account, circumstances: Circumstances) -> AuditMessage:
        client, gateway, archive = participants.client(request), self._gateway(request), participants.archive(request)
        query, origin = account.query, request.origin
        if query is None and isinstance(origin, HTTPOrigin):
            path, parameters = _uri(origin)
            return events.uri_query(circumstances, client, gateway, archive, path=path, parameters=parameters)
        details = []
        if isinstance(origin, HTTPOrigin):
            path, parameters = _uri(origin)
            details.append(("Query String", (path.encode("utf-8", "replace") + b"?" + parameters)[:MAX_QUERY_STRING]))
        sop_class_uid, identifier, more = _identifier(query)
        return events.query(
            circumstances,
            client,
            gateway,
            archive,
            sop_class_uid=sop_class_uid,
            transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN,
            identifier=identifier,
            details=(*details, *more),
        )

    def _accessed(
        self,
        request: Request,
        circumstances: Circumstances,
        action: Action,
        studies: Mapping[AuditedPatient, list[AuditedStudy]],
    ) -> Iterator[AuditMessage]:
        who = (participants.client(request), self._gateway(request))
        for patient, some in _messages(studies):
            yield events.instances_accessed(circumstances, action, who, some, patient)

    def _transferred(
        self, request: Request, circumstances: Circumstances, tallies: list[Tally], *, storing: bool
    ) -> Iterator[AuditMessage]:
        ends = self._ends(request, storing=storing)
        succeeded = circumstances.outcome is Outcome.SUCCESS
        whole = [(one, one.study(one.whole)) for one in tallies if _has(one, one.whole, uncounted=succeeded)]
        broken = [(one, one.study(one.broken)) for one in tallies if _has(one, one.broken, uncounted=not succeeded)]
        if not broken and not (succeeded and _is_whole(request)):
            broken = [(tallies[-1], tallies[-1].study({}))]  # it ended between two instances
        good = replace(circumstances, outcome=Outcome.SUCCESS, description="")
        for patient, some in _messages(_by_patient(whole)):
            yield events.instances_transferred(good, *ends, some, patient)
        bad = circumstances
        if succeeded:
            bad = replace(circumstances, outcome=Outcome.SERIOUS_FAILURE, description=NOT_ALL)
        for patient, some in _messages(_by_patient(broken)):
            yield events.instances_transferred(bad, *ends, some, patient)


_NOT_AUTHORIZED: Final = 0x0124


def _has(tally: Tally, counts: Mapping[str, int], *, uncounted: bool) -> bool:
    return any(counts.values()) or (uncounted and not tally.counted)


def _is_whole(request: Request) -> bool:
    """Whether the status of a DIMSE exchange, if it is one, does not warn of sub-operations that failed."""
    status = request.record.dimse_status
    return status is None or category(status) is not Category.WARNING


def _is_nothing(request: Request, account: Account, ending: Ending) -> bool:
    """Whether nothing of what was read for an HTTP client has gone to it: it was gathered first, and then failed."""
    over_http = isinstance(request.origin, HTTPOrigin) and not account.is_direct
    return over_http and ending.status not in (200, 206)


def _all(tallies: Iterable[Tally]) -> Iterator[tuple[Tally, AuditedStudy]]:
    for tally in tallies:
        uids = dict.fromkeys((*tally.whole, *tally.broken))
        yield tally, tally.study({uid: tally.whole.get(uid, 0) + tally.broken.get(uid, 0) for uid in uids})


def _by_patient(studies: Iterable[tuple[Tally, AuditedStudy]]) -> dict[AuditedPatient, list[AuditedStudy]]:
    found: dict[AuditedPatient, list[AuditedStudy]] = {}
    for tally, study in studies:
        found.setdefault(tally.patient, []).append(study)
    return found


def _asked(request: Request, account: Account) -> Iterator[tuple[Tally, AuditedStudy]]:
    """Yield the studies that were asked for: by operations, else by the path, else one without a UID."""
    asked = account.asked
    if not asked:
        resource = kinds.resource_of(request)
        asked = {"" if resource is None else resource.study: ""}
    for study_instance_uid, patient_id in asked.items():
        tally = Tally(study_instance_uid, {"PatientID": patient_id} if patient_id else {})
        yield tally, tally.study({})


def _messages(
    studies: Mapping[AuditedPatient, list[AuditedStudy]],
) -> Iterator[tuple[AuditedPatient, list[AuditedStudy]]]:
    for patient, all_of_them in studies.items():
        for start in range(0, len(all_of_them), STUDIES_A_MESSAGE):
            yield patient, all_of_them[start : start + STUDIES_A_MESSAGE]


def _identifier(query: Find | FindWorklist | None) -> tuple[str, bytes, list[tuple[str, bytes]]]:
    """Return the SOP class and the identifier of a query, and details where it cannot be encoded."""
    if query is None:
        return events.NONE, b"", []
    if isinstance(query, FindWorklist):
        sop_class_uid, keys = MODALITY_WORKLIST_FIND, dict(query.identifier)
    else:
        sop_class_uid = PATIENT_ROOT_FIND if query.level is Level.PATIENT else STUDY_ROOT_FIND
        level = {_LEVEL: {"vr": "CS", "Value": [str(query.level)]}}
        keys = {**query.return_keys, **query.keys, **level}
    try:
        return sop_class_uid, from_json(keys), []
    except HarmonyError:
        return sop_class_uid, b"", [("DICOM JSON", orjson.dumps(keys, default=str)[:MAX_QUERY_STRING])]


def _uri(origin: HTTPOrigin) -> tuple[str, bytes]:
    return "/" + "/".join(origin.path), urlencode(origin.query, errors="replace").encode()


def _deleted(origin: HTTPOrigin | AssociationOrigin) -> AuditedStudy | None:
    """Return the study whose cached copies a management request removes."""
    if isinstance(origin, HTTPOrigin) and origin.method == "DELETE" and len(origin.path) == 4:
        return AuditedStudy(origin.path[3])
    return None


def _asked_for(request: Request) -> str:
    origin = request.origin
    if isinstance(origin, HTTPOrigin):
        return f"{origin.method} /{'/'.join(origin.path)}"
    return f"{request.record.operation} of {origin.calling_ae_title}"
