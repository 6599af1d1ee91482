"""The page of limits says what the code has, names every limit, and names tests that are there."""

import ast
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "generate_limits.py"))
PAGE = (ROOT / "docs" / "reference" / "limits.rst").read_text(encoding="utf-8")
CONSTANTS = {name: test for group in SCRIPT["CONSTANTS"] for name, test in group.tests.items()}
TESTS = {*CONSTANTS.values(), *(test for key in SCRIPT["KEYS"] for test in key.tests.values())}
ROOMS = (
    "dicom/upperlayer",
    "dicom/dimse",
    "dicom/dataset",
    "net/association",
    "backends/dicom_scu",
    "endpoints/dicom_scp",
    "rendering",
)
ELSEWHERE = {
    "dicom.dimse.command_encoding.MAX_ERROR_COMMENT_LENGTH",  # of what we send, as its VR has it
    "net.association.requestor.MAX_MESSAGE_ID",  # that of net.association.destination
}


def defined() -> set[str]:
    """Return each constant of the edge that is a greatest or a least, with its module."""
    found = set()
    for room in ROOMS:
        for path in sorted((ROOT / "harmonygw" / room).glob("*.py")):
            for name in re.findall(
                r"^(M(?:AX|IN|OST)_[A-Z_0-9]+)(?:: [^=]+)? = ", path.read_text("utf-8"), re.MULTILINE
            ):
                found.add(f"{room.replace('/', '.')}.{path.stem}.{name}")
    return found


def test_the_page_is_what_the_script_writes() -> None:
    assert SCRIPT["reference"]() == PAGE


def test_every_limit_is_on_the_page() -> None:
    assert defined() - ELSEWHERE <= set(CONSTANTS)


@pytest.mark.parametrize("name", sorted(CONSTANTS))
def test_a_constant_has_the_value_that_the_page_says(name: str) -> None:
    module, _, constant = name.rpartition(".")
    value = SCRIPT["value_of"](name)
    number = f"{value:,}" if isinstance(value, int) else f"{value:g}"
    assert f"``{constant}`` = {number} (``{module}``)\n" in PAGE


@pytest.mark.parametrize("test", sorted(TESTS))
def test_the_test_at_its_edge_is_there(test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    assert name in {one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
