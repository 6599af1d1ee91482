"""Storage commitment by the archive: transactions from request to report, on whatever association that comes.

A report may come on the association of the request, or on one that the archive opens, minutes or hours later (PS3.4
§J.3.3). Each transaction is remembered for `TRANSACTION_SECS`; its report is believed when it comes from the AE title
that was asked.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from harmonygw.dicom.dataset.references import Reference
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commitment import (
    REQUEST_STORAGE_COMMITMENT,
    STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
    Report,
    action_information,
)
from harmonygw.dicom.dimse.statuses import describe
from harmonygw.errors import Busy, Conflict, NotFound, RejectedError
from harmonygw.exchange import Request
from harmonygw.net.association.action import ActionOperation
from harmonygw.net.association.requestor import Association
from harmonygw.operations import CheckCommitment, Commitment, RequestCommitment

log = Logger()

TRANSACTION_SECS = 86_400.0
"""Seconds that a transaction is remembered: an archive that copies to tape at night reports in the morning."""

MAX_TRANSACTIONS = 1_000
"""Transactions that are remembered; beyond it those whose report has been here longest go, and when none has, 503."""

MAX_REMEMBERED = 1_000_000
"""Instances of all of them, for each takes some hundred bytes."""

NOT_REPORTED = statuses.PROCESSING_FAILURE
"""The Failure Reason of an instance that the report leaves out: it names every one (PS3.4 §J.3.3.1.2)."""

ANY_SCP = "ANY-SCP"
"""A called AE title that nobody answers with."""


@dataclass(slots=True, eq=False)
class Transaction:
    """One request, and what is known of it."""

    references: tuple[Reference, ...]
    principal: str | None
    expires: float
    commitment: Commitment
    waiting: list["Deferred[None]"] = field(default_factory=list)


class Commitments:
    """The transactions with one archive."""

    def __init__(self, called_ae_title: str, clock: Any, *, wait: float) -> None:
        self._called_ae_title = called_ae_title
        self._clock = clock
        self._wait = wait
        self._transactions: OrderedDict[str, Transaction] = OrderedDict()
        self._remembered = 0

    @property
    def pending(self) -> int:
        """Transactions whose report has not come."""
        return sum(one.commitment.failures is None for one in self._transactions.values())

    async def request(self, request: Request, wanted: RequestCommitment, association: Association) -> Commitment:
        """Ask for safekeeping, and wait a while for the report: what is returned may be without it.

        Raises `Conflict` for a Transaction UID that is in use, `Busy` when too many are, and `RejectedError` when the
        archive refuses; and what the association raises. The association is not to be used again: a report may come
        late.
        """
        transaction = self._begin(wanted, request.principal)
        operation: ActionOperation | None = None
        try:
            operation = association.action(
                STORAGE_COMMITMENT,
                STORAGE_COMMITMENT_INSTANCE,
                REQUEST_STORAGE_COMMITMENT,
                action_information(wanted.transaction_uid, wanted.references),
                partial(self.take, asked_here=True),
            )
            outcome = await operation.done
            request.record.dimse_status = outcome.status
            if outcome.status != statuses.SUCCESS:
                raise RejectedError(
                    f"the archive refused storage commitment with status {describe(outcome.status)}",
                    status=outcome.status,
                    log_detail=outcome.error_comment,
                )
        except BaseException:
            self._forget(wanted.transaction_uid)
            if operation is not None:
                association.abort()
            raise
        try:
            await self._reported(transaction)
        finally:
            operation.finish()
        return transaction.commitment

    def check(self, request: Request, wanted: CheckCommitment) -> Commitment:
        """Return what is known; raises `NotFound` for a transaction that is not, or that is somebody else's."""
        self._expire()
        transaction = self._transactions.get(wanted.transaction_uid)
        if transaction is None or transaction.principal != request.principal:
            raise NotFound("There is no such transaction, or it was forgotten.")
        return transaction.commitment

    def knows(self, transaction_uid: str) -> bool:
        """Whether a transaction is one of these."""
        return transaction_uid in self._transactions

    def take(self, peer_ae_title: str, report: Report, *, asked_here: bool = False) -> int:
        """Take a report, and return the status of the response; `asked_here` says that it came where it was due."""
        transaction = self._transactions.get(report.transaction_uid)
        trusted = asked_here or self._called_ae_title in (peer_ae_title, ANY_SCP)
        if transaction is None or not trusted:
            log.warn(
                "refused a storage commitment report of {calling_ae_title}: {reason}",
                calling_ae_title=peer_ae_title,
                reason="nobody awaits it" if transaction is None else f"{self._called_ae_title} was asked",
            )
            return statuses.INVALID_ARGUMENT_VALUE
        if transaction.commitment.failures is None:
            failures = {
                one.sop_instance_uid: report.failures.get(one.sop_instance_uid, NOT_REPORTED)
                for one in transaction.references
                if one.sop_instance_uid not in report.committed
            }
            transaction.commitment = Commitment(transaction.references, failures)
            waiting, transaction.waiting = transaction.waiting, []
            for waiter in waiting:
                waiter.callback(None)
        return statuses.SUCCESS

    # What happens inside

    def _begin(self, wanted: RequestCommitment, principal: str | None) -> Transaction:
        self._expire()
        if wanted.transaction_uid in self._transactions:
            raise Conflict("The Transaction UID is in use already.")
        self._make_room(len(wanted.references))
        transaction = Transaction(
            wanted.references,
            principal,
            self._clock.seconds() + TRANSACTION_SECS,
            Commitment(wanted.references),
        )
        self._transactions[wanted.transaction_uid] = transaction
        self._remembered += len(wanted.references)
        return transaction

    def _make_room(self, needed: int) -> None:
        while len(self._transactions) >= MAX_TRANSACTIONS or self._remembered + needed > MAX_REMEMBERED:
            done = (uid for uid, one in self._transactions.items() if one.commitment.failures is not None)
            oldest = next(done, None)
            if oldest is None:
                raise Busy("too many storage commitments are under way (MAX_TRANSACTIONS, MAX_REMEMBERED)")
            self._forget(oldest)

    def _expire(self) -> None:
        now = self._clock.seconds()
        while self._transactions and next(iter(self._transactions.values())).expires <= now:
            self._forget(next(iter(self._transactions)))

    def _forget(self, transaction_uid: str) -> None:
        forgotten = self._transactions.pop(transaction_uid, None)
        if forgotten is not None:
            self._remembered -= len(forgotten.references)

    async def _reported(self, transaction: Transaction) -> None:
        """Wait for the report, for as long as a client waits."""
        if transaction.commitment.failures is not None:
            return
        waiter: Deferred[None] = Deferred(transaction.waiting.remove)
        transaction.waiting.append(waiter)
        timer = self._clock.callLater(self._wait, self._give_up, transaction, waiter)
        try:
            await waiter
        finally:
            if timer.active():
                timer.cancel()

    def _give_up(self, transaction: Transaction, waiter: "Deferred[None]") -> None:
        transaction.waiting.remove(waiter)
        waiter.callback(None)
