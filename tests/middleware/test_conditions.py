"""Several answers as one: what cannot be told is neither yes nor no."""

from collections.abc import Iterator

import pytest

from harmonygw.middleware.conditions import all_of, any_of


@pytest.mark.parametrize(
    ("answers", "any_", "all_"),
    [
        ((), False, False),
        ((True,), True, True),
        ((False,), False, False),
        ((None,), None, None),
        ((True, False), True, False),
        ((False, True), True, False),
        ((True, None), True, None),
        ((None, True), True, None),
        ((None, True, True), True, None),
        ((False, None), None, False),
        ((None, False), None, False),
        ((None, False, False), None, False),
        ((True, True), True, True),
    ],
)
def test_several_answers_are_one(answers: tuple[bool | None, ...], any_: bool | None, all_: bool | None) -> None:
    assert any_of(answers) is any_
    assert all_of(answers) is all_


def test_no_more_is_asked_than_is_needed() -> None:
    def then_nothing(answer: bool) -> Iterator[bool]:
        yield answer
        raise AssertionError("was asked for more")

    assert any_of(then_nothing(True)) is True
    assert all_of(then_nothing(False)) is False
