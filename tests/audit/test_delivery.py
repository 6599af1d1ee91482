"""The delivery, by a clock: what goes to the collector when, what goes again, and what is said about it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from harmonygw.audit import delivery as module
from harmonygw.audit.collector import Lost
from harmonygw.audit.delivery import (
    FIRST_BACKOFF,
    LONGEST_BACKOFF,
    LOOK_SECS,
    MAX_UNSETTLED_BYTES,
    STALL_SECS,
    STOP_SECS,
    Delivery,
    collector_for,
)
from harmonygw.audit.file_writer import FileWriter
from harmonygw.audit.syslog import WARNING
from harmonygw.audit.tls_collector import TLSCollector
from harmonygw.audit.udp_collector import UDPCollector
from harmonygw.config.audit import Audit
from harmonygw.errors import ConfigurationError, HarmonyError, TransportError, Unrecorded

AWAY = TransportError("the connection was refused")
SETTLE = 5.0


class Immediately:
    """A disk whose work is done at once."""

    def start(self) -> None:
        self.running = True

    def stop(self) -> Deferred[None]:
        self.running = False
        return succeed(None)

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        if not self.running:
            raise TransportError("the disk is not open: the gateway starts or stops")
        done: Deferred[Any] = Deferred()
        try:
            done.callback(function(*args, **kwargs))
        except BaseException:  # noqa: BLE001 - what a thread raises comes back so
            done.errback()
        return done

    tidy = run


class Recorder:
    """A collector that does as it is told, and keeps what it is sent."""

    name = "recorder"
    batch_bytes = 1000
    settle_secs = SETTLE

    def __init__(self) -> None:
        self.openings: list[Deferred[None] | HarmonyError] = []
        self.opened = 0
        self.sent: list[bytes] = []
        self.since = 0
        self.acknowledged: int | None = None
        self.room: Deferred[None] | None = None
        self.unfit: list[bytes] = []
        self.closing: Deferred[bool] = succeed(False)
        self.ended: list[str] = []
        self.lost: Lost = lambda error: None

    async def open(self, lost: Lost) -> None:
        self.opened += 1
        self.since = 0
        self.lost = lost
        if self.openings:
            opening = self.openings.pop(0)
            if isinstance(opening, HarmonyError):
                raise opening
            await opening

    async def send(self, messages: Sequence[bytes]) -> list[bytes]:
        self.sent += [message.partition(b"\xef\xbb\xbf")[2] for message in messages]
        self.since += len(messages)
        if self.room is not None:
            await self.room
        unfit, self.unfit = self.unfit, []
        return unfit

    def taken(self) -> int:
        return self.since if self.acknowledged is None else self.acknowledged

    async def close(self) -> bool:
        self.ended.append("close")
        return await self.closing

    def abort(self) -> None:
        self.ended.append("abort")
        room, self.room = self.room, None
        if room is not None and not room.called:
            room.errback(AWAY)


class House:
    """A delivery with everything around it."""

    def __init__(self, folder: Path, collector: Recorder | None = None, **more: Any) -> None:
        self.clock = Clock()
        self.collector = collector or Recorder()
        self.folder = folder / "spool"
        settings = Audit(enabled=True, host="collector", spool_path=str(self.folder), **more)
        self.delivery = Delivery(
            settings,
            self.clock,
            disk=Immediately(),  # type: ignore[arg-type]
            collector=self.collector,
            hostname="gateway",
            now=lambda: 1_767_323_045.0 + self.clock.seconds(),
            chance=lambda low, high: high,
        )

    def start(self) -> "House":
        done(Deferred.fromCoroutine(self.delivery.start()))
        return self

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.delivery.stop())

    def put(self, *texts: str) -> None:
        for text in texts:
            self.delivery.put(text.encode())

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.25)):
            self.clock.advance(0.25)

    def __getitem__(self, key: str) -> Any:
        return self.delivery.state()[key]


def done(deferred: Deferred[Any]) -> None:
    results: list[Any] = []
    deferred.addBoth(results.append)
    (result,) = results
    if result is not None:
        result.raiseException()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_message_goes_out_at_once_and_leaves_the_spool_when_it_has_settled(house: House) -> None:
    house.start()
    assert (house["connected"], house["waiting"], house["oldest"]) == (True, 0, None)
    house.put("one", "two")
    assert house.collector.sent == [b"one", b"two"]
    house.pass_time(2)
    assert (house["waiting"], house["oldest"]) == (2, "2026-01-02T03:04:05+00:00")
    house.pass_time(SETTLE - 2)
    assert house["waiting"] == 2
    house.pass_time(LOOK_SECS)
    assert (house["waiting"], house["oldest"]) == (0, None)
    done(house.stop())
    assert house.clock.getDelayedCalls() == []


def test_what_needs_not_settle_leaves_the_spool_at_once(house: House) -> None:
    house.collector.settle_secs = 0.0
    house.start()
    house.put("one", "two")
    assert (house.collector.sent, house["waiting"]) == ([b"one", b"two"], 0)


def test_what_is_put_is_a_syslog_message(house: House) -> None:
    messages: list[bytes] = []

    async def send(some: Sequence[bytes]) -> list[bytes]:
        messages.extend(some)
        return []

    house.collector.send = send  # type: ignore[method-assign]
    house.start()
    house.delivery.put(b"<A/>")
    house.delivery.put(b"<B/>", WARNING)
    assert messages[0].startswith(b"<85>1 2026-01-02T03:04:05.000Z gateway harmonygw ")
    assert messages[0].endswith(b" DICOM+RFC3881 - \xef\xbb\xbf<A/>")
    assert messages[1].startswith(b"<84>1 ")


def test_what_was_not_settled_goes_again_after_a_loss_in_order(house: House) -> None:
    house.start()
    house.put("one")
    house.pass_time(SETTLE + LOOK_SECS)
    house.put("two", "three")
    house.collector.lost(TransportError("the collector closed the connection"))
    house.put("four")
    assert house.collector.sent == [b"one", b"two", b"three"]
    assert (house["connected"], house["failure"]) == (
        False,
        "TransportError: the collector closed the connection",
    )
    house.pass_time(FIRST_BACKOFF)
    assert house.collector.sent == [b"one", b"two", b"three", b"two", b"three", b"four"]
    house.pass_time(SETTLE + LOOK_SECS)
    assert (house["waiting"], house["connected"], house["failure"]) == (0, True, "")


def test_what_was_not_taken_does_not_settle(house: House) -> None:
    house.start()
    house.collector.acknowledged = 1
    house.put("one")
    house.put("two")
    house.pass_time(SETTLE + LOOK_SECS)
    assert house["waiting"] == 1
    house.collector.acknowledged = 2
    house.pass_time(SETTLE)
    assert house["waiting"] == 1
    house.pass_time(LOOK_SECS)
    assert house["waiting"] == 0


def test_a_collector_that_is_away_is_told_of_once_and_so_is_its_return(house: House, logged: Any) -> None:
    house.collector.openings = [AWAY] * 6
    house.start()
    house.put("one")
    for opened, wait in enumerate((1.0, 2.0, 4.0, 8.0, 16.0, 32.0), start=1):
        assert house.collector.opened == opened
        house.pass_time(wait - 0.25)
        assert house.collector.opened == opened
        house.pass_time(0.25)
    assert house.collector.sent == [b"one"]
    assert not house["connected"], "it has to prove itself"
    house.pass_time(SETTLE)
    assert house["connected"]
    assert logged() == [
        f"audit: recorder is away: TransportError: the connection was refused; records wait in {house.folder}",
        "audit: recorder is there again",
    ]
    house.collector.lost(AWAY)
    house.pass_time(FIRST_BACKOFF)
    assert house.collector.opened == 8, "the waits begin anew"


def test_the_waits_have_an_end_and_are_left_to_chance_by_half(house: House) -> None:
    house.collector.openings = [AWAY] * 50
    chances: list[tuple[float, float]] = []
    house.delivery._chance = lambda low, high: chances.append((low, high)) or low  # type: ignore[func-returns-value]
    house.start()
    house.pass_time(0.5 * (1 + 2 + 4 + 8 + 16 + 32))
    before = house.collector.opened
    house.pass_time(LONGEST_BACKOFF / 2 * 3)
    assert house.collector.opened == before + 3
    assert set(chances) == {(0.5, 1)}


def test_a_collector_that_is_lost_before_it_has_proved_itself_is_not_back(house: House, logged: Any) -> None:
    house.collector.openings = [AWAY]
    house.start()
    house.put("one")
    house.pass_time(1)
    for wait in (2, 4):
        house.collector.lost(AWAY)
        house.pass_time(wait)
    assert house.collector.sent == [b"one"] * 3
    assert len(logged()) == 1


def test_a_collector_that_is_lost_while_it_takes_nothing_is_not_back_either(house: House) -> None:
    house.collector.openings = [AWAY]
    house.start()
    house.collector.room = Deferred()
    house.put("one")
    house.pass_time(1)
    assert house.collector.sent == [b"one"]
    house.collector.lost(AWAY)
    house.pass_time(SETTLE)
    assert not house["connected"]
    house.collector.abort()
    house.pass_time(2 + SETTLE)
    assert house["connected"]


def test_a_collector_that_takes_nothing_is_lost(house: House, logged: Any) -> None:
    house.start()
    house.collector.acknowledged = 0
    house.collector.room = Deferred()
    house.put("one")
    house.pass_time(STALL_SECS - 0.25)
    assert "abort" not in house.collector.ended
    house.clock.advance(LOOK_SECS)
    assert not house["connected"]
    assert house["failure"] == "TimedOut: the collector has taken nothing for 60 seconds"
    house.collector.acknowledged = None
    house.pass_time(1)
    assert house.collector.sent == [b"one", b"one"]
    house.pass_time(SETTLE + 1)
    assert house["waiting"] == 0


def test_what_stalls_after_it_was_sent_is_lost_too(house: House, logged: Any) -> None:
    house.start()
    house.pass_time(3 * STALL_SECS)
    house.collector.acknowledged = 0
    house.put("one")
    house.pass_time(STALL_SECS - LOOK_SECS)
    assert house["connected"]
    house.pass_time(LOOK_SECS)
    assert not house["connected"]
    assert house["failure"] == "TimedOut: the collector has taken nothing for 60 seconds"


def test_so_much_may_be_sent_again_and_no_more(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_UNSETTLED_BYTES == 64 * 1024 * 1024
    monkeypatch.setattr(module, "MAX_UNSETTLED_BYTES", 300)
    house.start()
    for number in range(9):
        house.put(f"{number}")
    assert len(house.collector.sent) < 9
    house.pass_time(20)
    assert house.collector.sent == [b"%d" % number for number in range(9)]
    assert house["waiting"] == 0


def test_a_message_that_the_collector_never_takes_is_set_aside_and_delivery_goes_on(house: House) -> None:
    house.collector.unfit = [b"<85>1 long"]
    house.start()
    house.put("long")
    house.put("next")
    house.pass_time(SETTLE + LOOK_SECS)
    assert (house["set_aside"], house["waiting"], house["lost"]) == (1, 0, 0)
    assert (house.folder / "set-aside").read_bytes() == b"<85>1 long\n"


def test_a_message_that_is_too_long_is_refused_and_told(tmp_path: Path, logged: Any) -> None:
    house = House(tmp_path, max_message_bytes=2048).start()
    longest = b"x" * house.delivery.max_xml_bytes
    house.delivery.put(longest)
    with pytest.raises(Unrecorded) as refused:
        house.delivery.put(longest + b"x")
    assert refused.value.log_detail == "a message of 2049 bytes is longer than max_message_bytes"
    assert refused.value.detail == "the audit trail takes no record"
    assert (house["lost"], house["waiting"], house["accepting"]) == (1, 1, True)
    assert logged() == ["audit: a message of 2049 bytes is longer than max_message_bytes: it is lost"]


def test_a_full_spool_accepts_nothing_until_something_was_delivered(tmp_path: Path) -> None:
    house = House(tmp_path, max_spool_bytes=1 << 20)
    house.collector.openings = [AWAY]
    house.start()
    refused = 0
    for _ in range(40):
        try:
            house.delivery.put(b"x" * 30_000)
        except Unrecorded:
            refused += 1
    assert (house.delivery.accepting, house["accepting"]) == (False, False)
    assert (house["lost"], house["waiting"]) == (refused, 40 - refused)
    assert refused > 0
    assert house["refusal"] == "the spool is full (max_spool_bytes)"
    house.pass_time(1 + SETTLE + 1)
    assert (house["waiting"], house.delivery.accepting) == (0, True)
    house.put("again")


def test_what_an_earlier_process_left_goes_first(tmp_path: Path, logged: Any) -> None:
    first = House(tmp_path)
    first.collector.openings = [AWAY]
    first.start()
    first.put("one", "two")
    done(first.stop())
    assert first.clock.getDelayedCalls() == []
    second = House(tmp_path).start()
    second.put("three")
    assert second.collector.sent == [b"one", b"two", b"three"]
    assert "audit: 2 records wait since before the start" in logged()


# The stop


@pytest.mark.parametrize(("answered", "waiting"), [(True, 0), (False, 2)])
def test_at_the_stop_what_the_collector_says_it_has_read_is_delivered(
    tmp_path: Path, answered: bool, waiting: int
) -> None:
    house = House(tmp_path).start()
    house.put("one", "two")
    house.collector.closing = Deferred()
    stopped = house.stop()
    assert house.collector.ended == ["close"]
    assert not stopped.called
    house.collector.closing.callback(answered)
    done(stopped)
    assert house.clock.getDelayedCalls() == []
    again = House(tmp_path).start()
    assert again["waiting"] == waiting


def test_the_stop_waits_so_long_and_no_longer(tmp_path: Path) -> None:
    house = House(tmp_path).start()
    house.collector.room = Deferred()
    house.put("one")
    stopped = house.stop()
    house.pass_time(STOP_SECS - 0.25)
    assert not stopped.called
    house.pass_time(0.25)
    done(stopped)
    assert house.collector.ended == ["abort"]
    with pytest.raises(Unrecorded):
        house.put("late")
    assert House(tmp_path).start().collector.sent == [b"one"]


def test_a_stop_while_it_is_being_reached_is_at_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.collector.openings = [Deferred()]
    house.start()
    done(house.stop())
    assert house.collector.ended == ["abort"]
    done(house.stop())


def test_a_spool_that_cannot_be_had_ends_the_start(tmp_path: Path) -> None:
    first = House(tmp_path).start()
    second = House(tmp_path)
    with pytest.raises(ConfigurationError, match="in use by another process"):
        second.start()
    done(second.stop())
    done(first.stop())


@pytest.mark.parametrize("error", [ZeroDivisionError("a mistake of ours")])
def test_a_mistake_of_ours_does_not_end_the_trail(house: House, error: Exception, logged: Any) -> None:
    house.collector.openings = [Deferred()]
    opening = house.collector.openings[0]
    house.start()
    assert isinstance(opening, Deferred)
    opening.errback(error)
    assert logged() == ["audit: the delivery failed, and begins again"]
    house.put("one")
    house.pass_time(1)
    assert house.collector.sent == [b"one"]


def test_a_spool_that_cannot_be_read_is_tried_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.start()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", _broken)
        house.put("one")
        assert house["failure"].startswith("Unrecorded: the spool cannot be read (")
    house.pass_time(1)
    assert house.collector.sent == [b"one"]


def _broken(*_: object) -> None:
    raise OSError(5, "broken")


def test_a_transport_is_who_takes_the_messages(tmp_path: Path) -> None:
    disk: Any = Immediately()
    for settings, kind, name in (
        (Audit(transport="file", path="a.log"), FileWriter, "file a.log"),
        (Audit(transport="syslog_udp", host="c"), UDPCollector, "udp c:514"),
        (Audit(host="c", port=7), TLSCollector, "tls c:7"),
    ):
        collector = collector_for(settings, Clock(), disk)
        assert isinstance(collector, kind)
        assert collector.name == name
    with pytest.raises(ConfigurationError, match="not a PEM certificate file"):
        Delivery(Audit(host="c", ca_path=str(tmp_path / "none.pem")), Clock())
