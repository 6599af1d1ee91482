"""Every fault has tests, and the page for operators says what they hold."""

import ast
from functools import cache

import pytest

from tests.interop.fault_rows import Row
from tests.interop.matrix import PAGE, SECTIONS, TESTS, page

ROWS = [row for rows in SECTIONS.values() for row in rows]


@cache
def functions_of(path: str) -> dict[str, ast.AsyncFunctionDef | ast.FunctionDef]:
    """The tests of a file that assert something, by name."""
    module = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    functions = (one for one in module.body if isinstance(one, ast.AsyncFunctionDef | ast.FunctionDef))
    return {one.name: one for one in functions if one.name.startswith("test_")}


def asserts(test: ast.AST) -> bool:
    return any(
        isinstance(one, ast.Assert) or (isinstance(one, ast.Attribute) and one.attr in ("raises", "expect"))
        for one in ast.walk(test)
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
def test_each_fault_has_tests_that_are_there_and_assert_something(row: Row) -> None:
    assert row.tests
    for name in row.tests:
        path, _, test = name.partition("::")
        assert test in functions_of(path), name
        assert asserts(functions_of(path)[test]), name


def test_no_fault_is_named_twice() -> None:
    assert len({row.fault for row in ROWS}) == len(ROWS)


def test_the_page_for_operators_is_what_is_tested() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
