"""The log: the line of an exchange, who gets it, and that nobody can write a line of their own."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher, globalLogPublisher
from twisted.python.failure import Failure

from harmonygw import journal
from harmonygw.config.model import Logging
from harmonygw.errors import Denied
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Record, Request
from harmonygw.journal import Ending, json_line, observer, text_line

REQUEST = Request(
    origin=HTTPOrigin(
        "GET",
        ("studies", "1.2", "series"),
        query=(("PatientName", "DOE^JANE"), ("PatientID", "4711"), ("00100030", "19700101")),
        headers={"authorization": "Basic c2VjcmV0"},
    ),
    peer="192.0.2.1",
    correlation_id="0123abcd",
    principal="anna",
)
ENDING = Ending(outcome="complete", status=200, size=1234, started=10.0, first_byte=10.0123, ended=11.5)


def record(**fields: Any) -> Record:
    return Record(operation="search_series", target="pacs", **fields)


def event(**fields: Any) -> dict[str, Any]:
    return {"log_time": 1767323045.678, "log_level": LogLevel.info, "log_namespace": "test", **fields}


@pytest.fixture
def written() -> Iterator[list[Any]]:
    """Events that the journal writes."""
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


@pytest.fixture
def stdout(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    written = io.BytesIO()
    monkeypatch.setattr(journal, "sys", SimpleNamespace(stdout=SimpleNamespace(buffer=written)))
    return written


class TestTheLineOfAnExchange:
    def test_of_who_was_authenticated_on_the_way(self, written: list[Any]) -> None:
        journal.write(replace(REQUEST, record=record(principal="berta")), ENDING)
        assert written[0]["exchange"]["principal"] == "berta"

    def test_nothing_of_the_audit_trail(self, written: list[Any]) -> None:
        journal.write(replace(REQUEST, record=record(audit="Doe^Jane", destination="D")), ENDING)
        assert "Doe" not in str(written[0]["exchange"])

    def test_in_text(self, written: list[Any]) -> None:
        request = replace(REQUEST, record=record(dimse_status=0xB000, instances=2, matches=3, notes=["one", "two"]))
        journal.write(request, ENDING)
        line = text_line({**written[0], "log_time": 1767323045.678})
        assert line.decode() == (
            "2026-01-02T03:04:05.678+00:00 info  correlation_id=0123abcd peer=192.0.2.1 principal=anna "
            "operation=search_series target=pacs outcome=complete status=200 dimse_status=B000H instances=2 "
            'matches=3 bytes=1234 first_byte_ms=12.3 duration_ms=1500.0 notes="one; two" method=GET '
            "path=/studies/1.2/series\n"
        )

    def test_in_json(self, written: list[Any]) -> None:
        journal.write(replace(REQUEST, record=record()), replace(ENDING, first_byte=None))
        line = json_line({**written[0], "log_time": 1767323045.678})
        assert line.endswith(b"}\n")
        assert json.loads(line) == {
            "time": "2026-01-02T03:04:05.678+00:00",
            "level": "info",
            "namespace": "harmonygw.exchange",
            "correlation_id": "0123abcd",
            "peer": "192.0.2.1",
            "principal": "anna",
            "operation": "search_series",
            "target": "pacs",
            "outcome": "complete",
            "status": 200,
            "instances": 0,
            "matches": 0,
            "bytes": 1234,
            "duration_ms": 1500.0,
            "method": "GET",
            "path": "/studies/1.2/series",
        }

    @pytest.mark.parametrize("line", [text_line, json_line])
    def test_query_and_headers_never_get_there(self, written: list[Any], line: Callable[[Any], bytes]) -> None:
        journal.write(REQUEST, ENDING)
        for patient in (b"Patient", b"DOE", b"JANE", b"4711", b"19700101", b"c2VjcmV0", b"?"):
            assert patient not in line(written[0])

    def test_of_an_association_has_its_calling_ae_title(self, written: list[Any]) -> None:
        journal.write(replace(REQUEST, origin=AssociationOrigin("CT 1", "GATEWAY")), replace(ENDING, status=None))
        line = text_line(written[0]).decode()
        assert 'calling_ae_title="CT 1"' in line
        assert " method=" not in line
        assert " status=" not in line

    @pytest.mark.parametrize(
        ("outcome", "level"),
        [
            ("complete", LogLevel.info),
            ("not_modified", LogLevel.info),
            ("refused", LogLevel.info),
            ("client_gone", LogLevel.info),
            ("failed", LogLevel.warn),
            ("aborted", LogLevel.warn),
        ],
    )
    def test_is_a_warning_when_it_is_our_side_that_failed(
        self, written: list[Any], outcome: str, level: LogLevel
    ) -> None:
        journal.write(REQUEST, replace(ENDING, outcome=outcome, reason="TransportError: lost"))
        assert written[0]["log_level"] is level
        assert b'reason="TransportError: lost"' in text_line(written[0])


class TestForgery:
    """What clients and archives choose cannot look like a line, or a field, of ours."""

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ("anna", "anna"),
            ("Änne", "Änne"),
            ("a b", '"a b"'),
            ("a outcome=complete", '"a outcome=complete"'),
            ("a=b", '"a=b"'),
            ('a" outcome="complete', '"a\\" outcome=\\"complete"'),
            ("a\\", '"a\\\\"'),
            ("a\nb", '"a\\nb"'),
            ("a\r\nb", '"a\\r\\nb"'),
            ("a\u2028b\u0085c", '"a\\u2028b\\x85c"'),
            ("\x1b[2K\x9b2K\x7f", '"\\x1b[2K\\x9b2K\\x7f"'),
            ("a\u202eb", '"a\\u202eb"'),
            ("a\udcffb", '"a\\udcffb"'),
        ],
    )
    def test_a_value_in_text(self, value: str, shown: str) -> None:
        line = text_line(event(exchange={"principal": value, "outcome": "refused"})).decode()
        assert line.endswith(f"info  principal={shown} outcome=refused\n")

    def test_a_value_in_json(self) -> None:
        value = 'a", "outcome": "complete"}\n\u2028\udcff'
        line = json_line(event(exchange={"principal": value}))
        assert json.loads(line)["principal"] == value
        assert line.isascii()

    def test_a_message(self) -> None:
        line = text_line(event(log_format="{who} said", who="x\n2026-01-02 info  outcome=complete"))
        assert line.count(b"\n") == 1
        assert b"info  x\\n2026-01-02 info  outcome=complete said\n" in line

    @given(st.text(), st.text())
    def test_one_event_is_one_line(self, one: str, other: str) -> None:
        for made in (
            event(exchange={"a": one, "notes": [one, other]}),
            event(log_format="{one} {other}", one=one, other=other),
        ):
            for line in (text_line(made), json_line(made)):
                assert len(line.decode().splitlines()) == 1
                assert line.endswith(b"\n")


class TestOtherEvents:
    def test_a_failure_brings_its_traceback_in_the_same_line(self) -> None:
        try:
            raise Denied("no\nentry")
        except Denied:
            failed = event(log_format="it failed", log_failure=Failure())
        assert json.loads(json_line(failed))["traceback"].endswith("harmonygw.errors.Denied: no\nentry\n")
        assert text_line(failed).count(b"\n") == 1
        assert b' it failed traceback="' in text_line(failed)

    def test_an_event_without_message_is_its_time_and_level(self) -> None:
        assert text_line(event()) == b"2026-01-02T03:04:05.678+00:00 info \n"

    def test_what_json_does_not_know_is_given_as_text(self) -> None:
        assert json.loads(json_line(event(exchange={"path": Path("/a")})))["path"] == "/a"


class TestObserver:
    def log(self, settings: Logging) -> Logger:
        return Logger(namespace="test", observer=LogPublisher(observer(settings)))

    def test_it_is_one(self, stdout: io.BytesIO) -> None:
        assert ILogObserver.providedBy(observer(Logging()))

    @pytest.mark.parametrize(
        ("level", "expected"),
        [
            ("trace", "debug info warn error critical"),
            ("debug", "debug info warn error critical"),
            ("info", "info warn error critical"),
            ("warn", "warn error critical"),
            ("error", "error critical"),
        ],
    )
    def test_less_severe_events_are_left_out(self, stdout: io.BytesIO, level: Any, expected: str) -> None:
        log = self.log(Logging(log_level=level))
        for name in ("debug", "info", "warn", "error", "critical"):
            log.emit(LogLevel.lookupByName(name), "message")
        assert [line.split()[1].decode() for line in stdout.getvalue().splitlines()] == expected.split()

    def test_it_writes_text_unless_json_is_wanted(self, stdout: io.BytesIO) -> None:
        self.log(Logging()).info("ready, {name}", name="pacs")
        assert stdout.getvalue().endswith(b" info  ready, pacs\n")
        self.log(Logging(format="json")).info("ready, {name}", name="pacs")
        assert json.loads(stdout.getvalue().splitlines()[1])["message"] == "ready, pacs"

    def test_it_writes_to_a_file_too_whose_folder_it_makes(self, stdout: io.BytesIO, tmp_path: Path) -> None:
        path = tmp_path / "log" / "harmonygw.log"
        log = self.log(Logging(log_to_file=True, log_file_path=str(path)))
        assert path.read_bytes() == b""
        log.info("first")
        log.info("second")
        assert path.read_bytes() == stdout.getvalue()
        assert path.read_bytes().count(b"\n") == 2

    def test_a_file_that_was_moved_away_is_begun_anew(self, stdout: io.BytesIO, tmp_path: Path) -> None:
        path = tmp_path / "harmonygw.log"
        log = self.log(Logging(log_to_file=True, log_file_path=str(path)))
        log.info("first")
        path.rename(tmp_path / "harmonygw.log.1")
        log.info("second")
        assert path.read_bytes().endswith(b" second\n")
        assert path.read_bytes().count(b"\n") == 1

    @pytest.mark.parametrize(("level", "expected"), [("debug", [b"info", b"warn"]), ("info", [b"warn"])])
    def test_what_the_web_client_says_of_each_connection_is_for_debugging(
        self, stdout: io.BytesIO, level: Any, expected: list[bytes]
    ) -> None:
        publisher = LogPublisher(observer(Logging(log_level=level)))
        log = Logger(namespace="twisted.web.client._HTTP11ClientFactory", observer=publisher)
        log.info("Starting factory")
        log.warn("something is wrong")
        assert [line.split()[1] for line in stdout.getvalue().splitlines()] == expected

    def test_a_file_that_cannot_be_written_is_an_error_at_once(self, stdout: io.BytesIO, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="Is a directory"):
            observer(Logging(log_to_file=True, log_file_path=str(tmp_path)))


def test_an_alert_is_a_line_of_its_own_and_can_be_listened_for() -> None:
    """What is due in the audit trail stands in the log too, as a warning with its kind and whom it is about."""
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        what = journal.Alert("unsolicited_object", "nobody asked for 1.2.3", peer="10.0.0.9", correlation_id="")
        journal.alert(what)
    finally:
        globalLogPublisher.removeObserver(events.append)
    (event,) = events
    assert event["alert"] == what
    assert event["log_namespace"] == "harmonygw.alert"
    fields = json.loads(json_line(event))
    assert fields["level"] == "warn"
    assert {name: fields[name] for name in ("message", "alert", "peer")} == {
        "message": "nobody asked for 1.2.3",
        "alert": "unsolicited_object",
        "peer": "10.0.0.9",
    }
    assert "correlation_id" not in fields
