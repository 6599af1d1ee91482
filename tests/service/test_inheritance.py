"""Parts that go on: by their foundation, under their name or another."""

from types import SimpleNamespace
from typing import Any

from harmonygw.service.inheritance import Inheritance


class Kept:
    def __init__(self, context: Any) -> None:
        self.renewed: list[Any] = []

    @staticmethod
    def foundation(context: Any) -> object:
        return context.settings

    def renew(self, context: Any) -> None:
        self.renewed.append(context)


class Other(Kept):
    """Another kind."""


class Quiet:
    """A part that need not be told."""

    def __init__(self, context: Any) -> None:
        pass

    @staticmethod
    def foundation(context: Any) -> object:
        return context.settings


class Fresh:
    """A part that says nothing of its foundation."""

    def __init__(self, context: Any) -> None:
        pass


def context(settings: Any) -> Any:
    return SimpleNamespace(settings=settings)


def test_what_is_built_from_the_same_goes_on_and_is_told_when_that_is_settled() -> None:
    before = Inheritance()
    part = before.part("backends.a", Kept, context(1))
    after, now = Inheritance(before), context(1)
    assert after.part("backends.a", Kept, now) is part
    assert part.renewed == []
    after.renew()
    after.renew()
    assert part.renewed == [now]


def test_what_is_built_from_something_else_is_another() -> None:
    before = Inheritance()
    parts = [before.part("backends.a", kind, context(1)) for kind in (Kept,)]
    after = Inheritance(before)
    for kind, settings in ((Kept, 2), (Other, 1), (Kept, None)):
        assert after.part("backends.a", kind, context(settings)) not in parts


def test_what_says_nothing_or_that_nothing_is_equal_is_made_anew() -> None:
    before = Inheritance()
    parts = [before.part("backends.a", Fresh, context(1)), before.part("backends.b", Kept, context(None))]
    after = Inheritance(before)
    assert after.part("backends.a", Fresh, context(1)) is not parts[0]
    assert after.part("backends.b", Kept, context(None)) is not parts[1]


def test_another_name_in_the_same_table_is_no_other_part() -> None:
    before = Inheritance()
    part = before.part("middleware.a", Kept, context(1))
    assert Inheritance(before).part("middleware.b", Kept, context(1)) is part
    assert Inheritance(before).part("backends.a", Kept, context(1)) is not part


def test_a_part_goes_on_once_and_under_its_own_name_first() -> None:
    before = Inheritance()
    first, second = (before.part(f"backends.{name}", Kept, context(1)) for name in "ab")
    after = Inheritance(before)
    assert after.part("backends.b", Kept, context(1)) is second
    assert after.part("backends.c", Kept, context(1)) is first
    assert after.part("backends.d", Kept, context(1)) not in (first, second)


def test_a_house_that_is_not_moved_into_takes_nothing_away() -> None:
    before = Inheritance()
    part = before.part("backends.a", Kept, context(1))
    Inheritance(before).part("backends.a", Kept, context(1))
    assert Inheritance(before).part("backends.a", Kept, context(1)) is part
    assert part.renewed == []


def test_generations_follow_one_another() -> None:
    house = Inheritance()
    part = house.part("backends.a", Kept, context(1))
    for _ in range(3):
        house = Inheritance(house)
        assert house.part("backends.a", Kept, context(1)) is part
        house.renew()
    assert len(part.renewed) == 3
    assert house._left == {}


def test_a_part_need_not_want_to_be_told() -> None:
    before = Inheritance()
    part = before.part("backends.a", Quiet, context(1))
    after = Inheritance(before)
    assert after.part("backends.a", Quiet, context(1)) is part
    after.renew()


class Crashing(Kept):
    def renew(self, context: Any) -> None:
        raise ZeroDivisionError


def test_one_that_cannot_change_does_not_keep_the_others_from_it(log: list[str]) -> None:
    before = Inheritance()
    before.part("backends.a", Crashing, context(1))
    part = before.part("backends.b", Kept, context(1))
    after, now = Inheritance(before), context(1)
    now.name = "a"
    after.part("backends.a", Crashing, now)
    after.part("backends.b", Kept, now)
    after.renew()
    assert part.renewed == [now]
    assert log == ["critical: a goes on as it was configured before (ZeroDivisionError)"]
