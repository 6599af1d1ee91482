"""Requests, endings and instances for tests of the audit trail; and a delivery that keeps what it gets."""

from datetime import UTC, datetime
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogPublisher

from harmonygw.audit.account import Account
from harmonygw.audit.trail import Trail
from harmonygw.dicom.audit.message import AuditSourceIdentification
from harmonygw.errors import Busy
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Record, Request
from harmonygw.journal import Ending
from harmonygw.streams import Feed, Instance
from tests.dicom.audit.schema import validated

NOW = datetime(2026, 11, 28, 2, 37, tzinfo=UTC)
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
COMPLETE = Ending("complete", 200, 100, 0.0, 0.1, 0.2)


class Kept:
    """A delivery in memory; every message is valid."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.accepting = True
        self.error: BaseException | None = None
        self.diary: list[str] = []

    def start(self) -> None:
        self.diary.append("start")

    def stop(self) -> None:
        self.diary.append("stop")

    def put(self, message: bytes) -> None:
        if self.error is not None:
            raise self.error
        validated(message)
        assert len(message) < 32_000
        self.written.append(message)

    @property
    def messages(self) -> list[Any]:
        return [validated(one) for one in self.written]

    def take(self) -> list[Any]:
        taken, self.written = self.messages, []
        return taken


def trail(delivery: Kept, clock: Clock | None = None, **options: Any) -> Trail:
    options = {
        "source": AuditSourceIdentification("gateway"),
        "publisher": LogPublisher(),
        "now": lambda: NOW,
        **options,
    }
    return Trail(delivery, clock or Clock(), **options)


def http(operation: str = "", path: str = "", **changes: Any) -> Request:
    """Return a request over HTTP that is called `operation`."""
    method, query = changes.pop("method", "GET"), changes.pop("query", ())
    origin = HTTPOrigin(method, tuple(filter(None, path.split("/"))), query, changes.pop("headers", {}))
    account: Account | None = changes.pop("account", None)
    record = Record(operation=operation, target=changes.pop("target", "pacs"), audit=account)
    return Request(origin, "192.0.2.1", "c1", record=record, **changes)


def dimse(operation: str, **changes: Any) -> Request:
    """Return a request on an association."""
    record = Record(operation=operation, target="pacs", **changes)
    return Request(AssociationOrigin("MODALITY", "HARMONYGW"), "192.0.2.2", "c2", record=record)


def instance(study: str = "1.2", sop_class: str = CT, number: int = 1, **leading: str) -> Instance:
    """Return an instance without a byte."""
    body: Feed[Any] = Feed(limit=1)
    body.end()
    return Instance(
        sop_class,
        f"{study}.{number}",
        EXPLICIT,
        body,
        study,
        f"{study}.0",
        leading={"PatientID": "P1", "PatientName": "Doe^Jane", **leading},
    )


def refused() -> Busy:
    return Busy("the disk is full")
