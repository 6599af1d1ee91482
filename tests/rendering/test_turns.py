import pytest

from harmonygw.rendering.turns import Turns


def test_first_come_first_served_within_a_client() -> None:
    turns: Turns[int] = Turns()
    for number in (1, 2, 3):
        turns.append("a", number)
    assert [turns.pop() for _ in range(3)] == [1, 2, 3]
    assert len(turns) == 0


def test_clients_take_turns() -> None:
    turns: Turns[str] = Turns()
    for item in ("a1", "a2", "b1", "b2", "c1", "a3"):
        turns.append(item[0], item)
    assert [turns.pop() for _ in range(6)] == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_who_waits_no_more_has_no_turn() -> None:
    turns: Turns[str] = Turns()
    for item in ("a1", "b1", "b2"):
        turns.append(item[0], item)
    turns.remove("a", "a1")
    turns.remove("b", "b1")
    assert len(turns) == 1
    assert turns.pop() == "b2"


def test_nobody_has_a_turn_where_nobody_waits() -> None:
    with pytest.raises(LookupError):
        Turns[str]().pop()
