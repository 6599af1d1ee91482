"""What the tests of the audit trail share: what it has logged, and system calls that fail when they are told to."""

import os
from collections.abc import Callable, Iterator

import pytest
from twisted.logger import LogEvent, globalLogPublisher

from harmonygw.audit import spool as spool_module
from tests.audit.spooled import Failing


@pytest.fixture
def logged() -> Iterator[Callable[[], list[str]]]:
    events: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == "harmonygw.audit":
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield lambda: [event["log_format"].format(**event) for event in events]
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch) -> Failing:
    failing = Failing(os.write)
    monkeypatch.setattr(spool_module.os, "write", failing)
    return failing


@pytest.fixture
def sync(monkeypatch: pytest.MonkeyPatch) -> Failing:
    failing = Failing(os.fdatasync)
    monkeypatch.setattr(spool_module.os, "fdatasync", failing)
    return failing
