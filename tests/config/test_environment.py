"""Variables in strings."""

import pytest

from harmonygw.config.environment import Noted, named, substitute

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


def test_what_is_taken_of_the_environment_is_noted_and_named_where_it_would_be_told() -> None:
    taken: dict[str, str] = {}
    environ = Noted({"A": "se'cret\n", "LONGER": "se'cret\n too", "FEW": "abc", "BLANK": "     ", "OTHER": "x"}, taken)
    substitute(["${A}", "${LONGER:-x}", "${FEW}", "${BLANK}", "${NOWHERE:-y}"], environ, lambda *problem: None)
    assert taken.keys() == {"A", "LONGER", "FEW", "BLANK"}
    assert (set(environ), len(environ)) == ({"A", "LONGER", "FEW", "BLANK", "OTHER"}, 5)
    sentence = f"not {environ['A']!r} nor se'cret nor {environ['LONGER']} of abc"
    assert named(sentence, taken) == 'not "${A}" nor ${A} nor ${LONGER} of abc'
