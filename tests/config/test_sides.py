"""Which of two lists' steps stands around which."""

import pytest

from harmonygw.config.sides import placed


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [
        ("", "", ""),
        ("ab", "ba", "<a> <b>"),
        ("ab", "", "<a <b"),
        ("", "ab", "b> a>"),
        ("ab", "b", "<a <b>"),
        ("b", "ab", "<b> a>"),
        ("ab", "ab", "b> <a> <b"),
    ],
)
def test_from_the_outside_inwards(left: str, right: str, order: str) -> None:
    found = [f"{'<' * one.is_on_left}{one.step}{'>' * one.is_on_right}" for one in placed(left, right)]
    assert " ".join(found) == order
