"""The end of a house that another one has followed: in which order, within which times, and what is spared."""

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from harmonygw.service.leaving import Leaving
from harmonygw.service.life import Life


class Part:
    """A part, entrance or door that does what it is asked when it is let."""

    def __init__(self, diary: list[str], name: str, *asked: str, waits: tuple[str, ...] = ()) -> None:
        self.name = name
        self.waiting: dict[str, Deferred[None]] = {}
        for one in asked:
            setattr(self, one, lambda one=one: self._do(diary, one, one in waits))

    def start(self) -> None:
        """Begin."""

    def _do(self, diary: list[str], what: str, waits: bool) -> Any:
        diary.append(f"{self.name} {what}")
        if waits:
            self.waiting[what] = Deferred()
            return self.waiting[what]
        return None


class Site:
    def __init__(self, diary: list[str]) -> None:
        self.connections = self
        self._diary = diary

    def drain(self) -> "Deferred[None]":
        self._diary.append("site drain")
        return Deferred()

    def abort(self) -> None:
        self._diary.append("site abort")


class House:
    """A house with an entrance, a door, a part of its own, and one that is in another house too."""

    def __init__(self, **waits: tuple[str, ...]) -> None:
        self.diary: list[str] = []
        self.clock = Clock()
        self.life = Life(self.clock)
        proxy = SimpleNamespace(reload_drain_timeout_secs=100, drain_timeout_secs=10)
        self.configuration = SimpleNamespace(proxy=proxy)

        def part(name: str, *asked: str) -> Part:
            return Part(self.diary, name, *asked, waits=waits.get(name, ()))

        self.entrance = part("entrance", "drain", "stop")
        self.door = part("door", "retire", "drain", "stop")
        self.own = part("own", "drain", "stop", "finish")
        self.shared = part("shared", "drain", "stop", "finish")
        self.entrances, self.doors = [self.entrance], {"door": self.door}
        self.others: list[Any] = [SimpleNamespace(parts=lambda: [("backends.shared", self.shared)])]
        Deferred.fromCoroutine(self.life.start(self.parts()))
        self.sites: list[Any] = []

    def parts(self) -> list[tuple[str, Any]]:
        return [("backends.own", self.own), ("backends.shared", self.shared), ("endpoints.door", self.door)]

    def leave(self) -> Leaving:
        house: Any = self
        self.leaving = Leaving(house, self.sites, lambda: self.others, self.life, self.clock)
        self.ended = self.leaving.begin()
        return self.leaving


def test_nothing_under_way_is_over_at_once() -> None:
    house = House()
    house.leave()
    assert house.diary == [
        *("entrance drain", "door retire", "entrance stop"),
        *("shared finish", "own drain", "door stop", "own stop"),
    ]
    assert house.ended.called
    assert house.leaving.when_ended().called
    assert house.clock.getDelayedCalls() == []
    assert house.life.has(house.shared)


def test_one_of_before_may_have_begun_something_in_it() -> None:
    older, house = House(door=("retire",)), House()
    leaving: Any = older.leave()
    subject: Any = house
    ended = Leaving(subject, [], lambda: house.others, house.life, house.clock, older=[leaving]).begin()
    assert house.diary == ["entrance drain", "door retire"]
    older.door.waiting["retire"].callback(None)
    assert older.ended.called
    assert ended.called


def test_each_step_waits_for_the_one_before() -> None:
    house = House(entrance=("drain",), door=("retire",), shared=("finish",), own=("drain",))
    house.leave()
    house.entrance.waiting["drain"].callback(None)
    assert house.diary[-1] == "door retire"
    house.door.waiting["retire"].callback(None)
    assert house.diary[-2:] == ["entrance stop", "shared finish"]
    house.shared.waiting["finish"].callback(None)
    assert house.diary[-1] == "own drain"
    house.own.waiting["drain"].callback(None)
    assert house.diary[-2:] == ["door stop", "own stop"]
    assert house.ended.called
    assert house.clock.getDelayedCalls() == []


def test_what_does_not_end_by_itself_is_told_to_and_then_broken_off(log: list[str]) -> None:
    house = House(entrance=("drain",), door=("retire", "drain"), own=("drain",))
    house.sites = [Site(house.diary)]
    house.leave()
    house.clock.advance(99.9)
    assert house.diary == ["site drain", "entrance drain", "door retire"]
    house.clock.advance(0.1)
    assert house.diary[3:] == ["site drain", "entrance drain", "door drain"]
    house.clock.advance(9.9)
    assert len(house.diary) == 6
    house.clock.advance(0.1)
    assert house.diary[6:] == ["entrance stop", "site abort", "shared finish", "own drain"]
    house.clock.advance(10)
    assert house.diary[10:] == ["door stop", "own stop"]
    assert house.ended.called
    assert log == [
        "info: exchanges of a configuration of before are told to end",
        "warn: exchanges of a configuration of before have not ended; they are broken off",
    ]


def test_one_that_is_hastened_has_only_the_shorter_time() -> None:
    house = House(entrance=("drain",), shared=("finish",))
    leaving = house.leave()
    leaving.hasten()
    leaving.hasten()
    assert house.diary[-1] == "door drain"
    house.clock.advance(10)
    assert house.diary[-5:] == ["entrance stop", "shared finish", "own drain", "door stop", "own stop"]
    assert house.ended.called


def test_one_that_is_hastened_while_it_waits_for_nobody_goes_on() -> None:
    house = House(own=("drain",))
    leaving = house.leave()
    leaving.hasten()
    house.own.waiting["drain"].callback(None)
    assert house.ended.called


def test_a_shared_part_that_takes_its_time_is_not_waited_for_for_ever() -> None:
    house = House(shared=("finish",))
    house.leave()
    house.clock.advance(99.9)
    assert not house.ended.called
    house.clock.advance(0.1)
    assert house.ended.called


def test_a_part_is_stopped_with_the_last_house_that_has_it() -> None:
    house = House(shared=("finish",))
    house.leave()
    house.others.clear()
    house.shared.waiting["finish"].callback(None)
    assert house.diary[-3:] == ["door stop", "shared stop", "own stop"]


@pytest.mark.parametrize("waits", [{"entrance": ("drain",)}, {"shared": ("finish",)}, {"own": ("drain",)}])
def test_one_that_is_abandoned_leaves_its_parts_and_no_timer(waits: Any) -> None:
    house = House(**waits)
    leaving = house.leave()
    leaving.abandon()
    assert house.ended.called
    assert "entrance stop" in house.diary
    assert house.life.has(house.own)
    assert house.clock.getDelayedCalls() == []
