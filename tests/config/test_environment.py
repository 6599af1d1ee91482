"""Variables in strings."""

import pytest

from harmonygw.config.environment import substitute

ENVIRON = {"NAME": "value", "EMPTY": "", "DOLLAR": "${NAME}"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${NAME}", "value"),
        ("a ${NAME} b ${NAME}", "a value b value"),
        ("${NAME:-other}", "value"),
        ("${UNSET:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY}", ""),
        ("${UNSET:-}", ""),
        ("${UNSET:-a:-b}", "a:-b"),
        ("${DOLLAR}", "${NAME}"),
        ("$NAME {uuid} $", "$NAME {uuid} $"),
    ],
)
def test_variables_are_replaced(written: str, meant: str) -> None:
    found: list[object] = []
    assert substitute(written, ENVIRON, lambda *problem: found.append(problem)) == meant
    assert found == []


def test_only_string_values_are_looked_at_but_at_any_depth() -> None:
    document = {"${NAME}": [1, True, {"k": ["${NAME}"]}]}
    assert substitute(document, ENVIRON, lambda *problem: None) == {"${NAME}": [1, True, {"k": ["value"]}]}


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (
            "${UNSET}",
            "the environment variable UNSET is not set, and there is no default; ${UNSET:-…} gives one",
        ),
        ("${1X}", "'${1X}' is not a variable: write ${NAME} or ${NAME:-default}"),
        ("${NAME", "'${NAME' is not a variable: write ${NAME} or ${NAME:-default}"),
        ("${}", "'${}' is not a variable: write ${NAME} or ${NAME:-default}"),
    ],
)
def test_what_cannot_be_replaced_is_reported_with_its_path(written: str, sentence: str) -> None:
    found: list[object] = []
    assert substitute({"a": [written]}, ENVIRON, lambda *problem: found.append(problem)) == {"a": [written]}
    assert found == [(("a", 0), sentence)]
