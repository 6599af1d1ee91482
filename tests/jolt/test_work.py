"""What a transformation may cost."""

from typing import Any

import pytest

from harmonygw.errors import TooMuchWork, Untransformable
from harmonygw.jolt.work import MAX_DEPTH, MISSING, TEXT_STEP, Work


def nested(depth: int) -> Any:
    document: Any = []
    for _ in range(depth - 1):
        document = {"a": document} if isinstance(document, list) else [document]
    return document


def test_the_last_step_may_be_taken_and_none_after_it() -> None:
    work = Work(2)
    work.spend()
    work.spend()
    with pytest.raises(TooMuchWork, match=r"^the transformation takes more than 2 steps$"):
        work.spend()


@pytest.mark.parametrize(
    ("value", "steps"), [("a" * TEXT_STEP, 2), ("", 1), ([1, 2], 3), ({"a": 1}, 2), (1, 0), (None, 0)]
)
def test_what_a_value_costs(value: Any, steps: int) -> None:
    Work(steps).spend_on(value)
    if steps:
        with pytest.raises(TooMuchWork):
            Work(steps - 1).spend_on(value)


def test_a_copy_shares_nothing() -> None:
    document = {"a": [{"b": 1}]}
    copy = Work().copied(document)
    copy["a"][0]["b"] = 2
    assert document == {"a": [{"b": 1}]}


def test_what_is_in_a_document_twice_is_measured_twice() -> None:
    part = ["a" * TEXT_STEP]
    Work(9).measure([part, part])
    with pytest.raises(TooMuchWork):
        Work(8).measure([part, part])
    with pytest.raises(TooMuchWork):
        Work(2).measure({"k" * TEXT_STEP: None})


def test_a_document_has_a_depth() -> None:
    Work().copied(nested(MAX_DEPTH))
    Work().measure(nested(MAX_DEPTH))
    for act in (Work().copied, Work().measure):
        with pytest.raises(Untransformable, match="nested deeper than 100"):
            act(nested(MAX_DEPTH + 1))


def test_missing_says_so() -> None:
    assert repr(MISSING) == "MISSING"
