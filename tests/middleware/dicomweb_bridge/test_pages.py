import pytest
from twisted.internet.task import Clock

from harmonygw.middleware.dicomweb_bridge import pages
from harmonygw.middleware.dicomweb_bridge.pages import MAX_ANSWERS, Answer, PageMemory


def answer(*matches: str, **others: object) -> Answer:
    return Answer(matches={one: one.encode() for one in matches}, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "complete", "offset", "needed", "covered"),
    [
        (0, False, 0, 3, True),
        (0, False, 0, 4, False),
        (0, True, 0, 4, True),
        (0, True, 9, 12, True),
        (1, True, 0, 2, False),
        (1, False, 1, 3, True),
    ],
)
def test_an_answer_covers_what_it_holds_or_what_there_is(
    first: int, complete: bool, offset: int, needed: int, covered: bool
) -> None:
    assert answer("a", "b", "c", first=first, complete=complete).covers(offset, needed) is covered


def test_a_page_is_a_part_of_an_answer() -> None:
    known = answer("a", "b", "c")
    assert known.page(1, 1) == [b"b"]
    assert known.page(2, 5) == [b"c"]
    assert known.page(3, 5) == []


def test_a_copy_grows_alone() -> None:
    known = answer("a", first=0, rejected={"x"}, warnings={"w": None})
    copy = known.copy()
    assert copy == known
    copy.matches["b"] = b"b"
    copy.rejected.add("y")
    copy.warnings["v"] = None
    assert known == answer("a", first=0, rejected={"x"}, warnings={"w": None})


def test_an_answer_is_kept_for_its_time() -> None:
    clock = Clock()
    memory = PageMemory(clock, 5.0)
    memory.remember(("k",), answer("a"))
    clock.advance(4.9)
    assert memory.recall(("k",)) == answer("a")
    assert memory.recall(("other",)) is None
    clock.advance(0.1)
    assert memory.recall(("k",)) is None


def test_a_new_answer_replaces_the_old_one_and_begins_its_time_anew() -> None:
    clock = Clock()
    memory = PageMemory(clock, 5.0)
    memory.remember(("k",), answer("a"))
    memory.remember(("l",), answer("x"))
    clock.advance(4)
    memory.remember(("k",), answer("b"))
    clock.advance(4)
    assert memory.recall(("k",)) == answer("b")
    assert memory.recall(("l",)) is None


def test_no_time_is_no_memory() -> None:
    memory = PageMemory(Clock(), 0.0)
    memory.remember(("k",), answer("a"))
    assert memory.recall(("k",)) is None


def test_so_many_answers_are_kept() -> None:
    memory = PageMemory(Clock(), 5.0)
    for number in range(MAX_ANSWERS + 1):
        memory.remember((number,), answer("a"))
    assert memory.recall((0,)) is None
    assert memory.recall((1,)) is not None


def test_so_many_bytes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_BYTES", 10)
    memory = PageMemory(Clock(), 5.0)
    memory.remember(("k",), answer("aa", "b", rejected={"cccc"}))  # each match twice: its identity and itself
    assert memory.recall(("k",)) is not None
    memory.remember(("l",), answer("d"))
    assert memory.recall(("k",)) is None
    assert memory.recall(("l",)) is not None
    memory.remember(("m",), answer("aaa", "b", rejected={"ccc"}))
    assert memory.recall(("m",)) is None
    assert memory.recall(("l",)) is not None
