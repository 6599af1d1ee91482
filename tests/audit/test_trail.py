from base64 import b64decode
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, LogPublisher, capturedLogs

from harmonygw.audit.flood import MAX_MESSAGES, PERIOD_SECS
from harmonygw.audit.logins import SESSION_SECS
from harmonygw.audit.telling import Telling
from harmonygw.audit.trail import Trail
from harmonygw.errors import Busy
from harmonygw.journal import Alert
from tests.audit.parts import COMPLETE, Kept, dimse, http, instance, refused, trail
from tests.audit.test_telling import account
from tests.dicom.audit.schema import event_of, users_of

DENIED = replace(COMPLETE, outcome="refused", status=403, reason="Denied: not authorized")
UNAUTHENTICATED = replace(COMPLETE, outcome="refused", status=401, reason="Unauthenticated")


def run(work: Any) -> None:
    failures: list[Any] = []
    Deferred.fromCoroutine(work).addErrback(failures.append)
    assert failures == []


def events(delivery: Kept) -> list[tuple[str, str, str]]:
    return [event_of(one) for one in delivery.take()]


def descriptions(messages: list[Any]) -> list[str]:
    return [b64decode(one.find(".//ParticipantObjectDetail").get("value")).decode() for one in messages]


def test_it_tells_that_the_gateway_starts_and_stops() -> None:
    delivery = Kept()
    one = trail(delivery)
    run(one.start())
    assert delivery.diary == ["start"]
    assert [root.find(".//EventTypeCode").get("csd-code") for root in delivery.take()] == ["110120"]
    run(one.stop())
    assert delivery.diary == ["start", "stop"]
    assert [root.find(".//EventTypeCode").get("csd-code") for root in delivery.take()] == ["110121"]


def test_an_exchange_has_its_line_and_its_messages() -> None:
    delivery = Kept()
    with capturedLogs() as lines:
        trail(delivery).ended(http("Retrieve", "studies/1.2", account=account(instance())), COMPLETE)
    assert events(delivery) == [("110104", "R", "0")]
    [line] = lines
    assert line["exchange"]["operation"] == "Retrieve"


def test_who_is_seen_for_the_first_time_has_logged_in() -> None:
    delivery, clock = Kept(), Clock()
    one = trail(delivery, clock)
    request = http("echo")
    request.record.principal = "doctor"
    for _ in range(2):
        one.ended(request, COMPLETE)
    assert events(delivery) == [("110114", "E", "0")]
    clock.advance(SESSION_SECS)
    one.ended(request, COMPLETE)
    one.ended(http("echo", principal="CN=ws"), COMPLETE)
    one.ended(http("echo"), COMPLETE)
    assert [users_of(root)[0] for root in delivery.take()] == ["doctor", "CN=ws"]


def test_who_is_not_let_in_has_not_logged_in() -> None:
    delivery, clock = Kept(), Clock()
    one = trail(delivery, clock)
    one.ended(http(principal="CN=ws"), UNAUTHENTICATED)
    assert events(delivery) == [("110114", "E", "4")]
    for _ in range(MAX_MESSAGES + 6):
        one.ended(http(), UNAUTHENTICATED)
    assert len(delivery.take()) == MAX_MESSAGES - 1
    clock.advance(PERIOD_SECS)
    messages = delivery.take()
    assert [event_of(root)[0] for root in messages] == ["110113"]
    assert descriptions(messages) == ["7 more of the kind login within a minute"]
    assert one.state()["left_out"] == 7


def test_a_refusal_is_an_alert_and_many_are_one() -> None:
    delivery, clock = Kept(), Clock()
    one = trail(delivery, clock)
    for _ in range(MAX_MESSAGES + 1):
        one.ended(http("", "studies/1.2"), DENIED)
    assert events(delivery) == [("110113", "E", "4")] * MAX_MESSAGES
    clock.advance(PERIOD_SECS)
    assert descriptions(delivery.take()) == ["1 more of the kind denied within a minute"]


def test_a_refusal_of_what_was_understood_is_told_as_that_too() -> None:
    delivery = Kept()
    trail(delivery).ended(http("Retrieve", "studies/1.2"), DENIED)
    assert events(delivery) == [("110103", "R", "4"), ("110113", "E", "4")]


def test_alerts_are_heard_from_anywhere_while_it_runs() -> None:
    delivery, publisher = Kept(), LogPublisher()
    one = trail(delivery, publisher=publisher)
    log = Logger(observer=publisher)
    alert = Alert("unsolicited_object", "nobody asked for 1.2", "PACS")
    log.warn("before", alert=alert)
    run(one.start())
    delivery.take()
    log.warn("{sentence}", sentence=alert.sentence, alert=alert)
    log.warn("of another kind", alert="a text")
    log.info("no alert")
    [message] = delivery.take()
    assert descriptions([message]) == ["nobody asked for 1.2"]
    run(one.stop())
    log.warn("after", alert=alert)
    assert events(delivery) == [("110100", "E", "0")]


def test_a_flood_of_alerts_is_summed_up_at_the_end_too() -> None:
    delivery, publisher = Kept(), LogPublisher()
    one = trail(delivery, publisher=publisher)
    run(one.start())
    for _ in range(MAX_MESSAGES + 2):
        Logger(observer=publisher).warn("x", alert=Alert("hostile_bytes", "nonsense", "192.0.2.9"))
    run(one.stop())
    kinds = [event_of(root)[0] for root in delivery.take()]
    assert kinds == ["110100", *["110113"] * (MAX_MESSAGES + 1), "110100"]


# What cannot be recorded


@pytest.mark.parametrize("error", [refused(), OSError(28, "No space left on device")])
def test_what_is_lost_is_logged_once_and_counted(error: Exception) -> None:
    delivery = Kept()
    one = trail(delivery)
    delivery.error = error
    with capturedLogs() as lines:
        for _ in range(3):
            one.ended(dimse("C-FIND"), COMPLETE)
        delivery.error = None
        for _ in range(2):
            one.ended(dimse("C-FIND"), COMPLETE)
    said = [line["log_level"] for line in lines if "exchange" not in line]
    assert said == [LogLevel.error, LogLevel.info]
    messages = delivery.messages
    assert [event_of(root)[0] for root in messages] == ["110112", "110113", "110112"]
    assert messages[1].find(".//EventTypeCode").get("csd-code") == "110134"
    lost = "the audit trail is written again; 3 messages were lost since the start"
    assert descriptions([messages[1]]) == [lost]
    assert one.state() == {
        "accepting": True,
        "fail_closed": False,
        "messages": 3,
        "unrecorded": 3,
        "left_out": 0,
    }


def begin(one: Trail) -> None:
    noted = account(instance())
    [tally] = noted.tallies.values()
    one.begin(http("Retrieve", account=noted), tally, storing=False)


def test_without_fail_closed_everything_goes_on() -> None:
    delivery = Kept()
    one = trail(delivery)
    begin(one)
    assert events(delivery) == [("110102", "E", "0")]
    delivery.accepting, delivery.error = False, refused()
    one.admit()
    begin(one)
    assert one.state()["unrecorded"] == 1


def test_with_fail_closed_nothing_goes_on_that_cannot_be_recorded() -> None:
    delivery = Kept()
    one = trail(delivery, fail_closed=True)
    one.admit()
    begin(one)
    delivery.accepting = False
    with pytest.raises(Busy) as raised:
        one.admit()
    assert raised.value.retry_after == 30
    delivery.accepting, delivery.error = True, refused()
    one.admit()
    with pytest.raises(Busy):
        begin(one)
    with pytest.raises(Busy):
        one.admit()
    delivery.error = None
    one.ended(dimse("C-FIND"), replace(COMPLETE, outcome="refused"))
    one.admit()


def test_the_first_exchange_is_answered_when_recording_is_possible_again() -> None:
    delivery = Kept()
    one = trail(delivery, fail_closed=True)
    delivery.error = refused()
    with pytest.raises(Busy):
        begin(one)
    for _ in range(3):
        with pytest.raises(Busy):
            one.admit()
    delivery.error = None
    one.admit()
    [resumed] = delivery.messages
    assert resumed.find(".//EventTypeCode").get("csd-code") == "110134"
    assert (one.state()["messages"], one.state()["unrecorded"]) == (1, 1)


def test_that_requests_are_refused_and_answered_again_is_logged_once() -> None:
    delivery = Kept()
    one = trail(delivery, fail_closed=True)
    with capturedLogs() as lines:
        for accepting in (True, False, False, True, True):
            delivery.accepting = accepting
            with suppress(Busy):
                one.admit()
    assert [line["log_level"] for line in lines] == [LogLevel.error, LogLevel.info]


def test_an_exchange_that_cannot_be_told_of_is_counted_and_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("nobody foresaw this")

    monkeypatch.setattr(Telling, "ended", fail)
    delivery = Kept()
    one = trail(delivery)
    with capturedLogs() as lines:
        one.ended(dimse("C-FIND"), COMPLETE)
    assert [line["log_level"] for line in lines] == [LogLevel.info, LogLevel.critical]
    assert one.state()["unrecorded"] == 1
