"""What the documents promise: the curl lines are those of the demonstration, and every configuration loads."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from harmonygw.config.loading import load
from harmonygw.service import available

ROOT = Path(__file__).parents[1]
README = ROOT / "README.rst"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.rst", *sorted((ROOT / "docs").rglob("*.rst"))]

BLOCK = re.compile(
    r"^(?P<margin> *)\.\. code-block:: (?P<language>\w+)\n"
    r"(?P<options>(?:(?P=margin) +:\w+:.*\n)*)"
    r"(?P<text>(?:\n|(?P=margin)   .*\n)+)",
    re.MULTILINE,
)
"""A code block of reStructuredText, indented by three more than its directive."""

OPEN = "uses it without authentication"
"""The one warning that an example may give: that of a network which others reach."""


def blocks(document: Path, language: str) -> Iterator[tuple[str, str]]:
    """Yield the caption, empty for none, and the text of each block in a language."""
    for found in BLOCK.finditer(document.read_text(encoding="utf-8")):
        if found["language"] == language:
            caption = re.search(r":caption: (.+)", found["options"])
            yield (caption[1] if caption else ""), dedent(found["text"]).strip() + "\n"


def configurations(document: Path) -> Iterator[dict[str, str]]:
    """Yield each configuration as files by name; captioned blocks that follow a `config.toml` belong to it."""
    files: dict[str, str] = {}
    for caption, text in blocks(document, "toml"):
        if files and caption in ("", "config.toml"):
            yield files
            files = {}
        files[caption or "config.toml"] = text
    if files:
        yield files


EXAMPLES = [
    pytest.param(files, id=f"{document.relative_to(ROOT)}-{number}")
    for document in DOCUMENTS
    for number, files in enumerate(configurations(document), 1)
]


def commands(text: str) -> list[str]:
    """Return the curl commands with the comment above each, whatever their margin."""
    return [dedent(found) for found in re.findall(r"^( *# .+\n *curl .+\\\n +-H .+)$", text, re.MULTILINE)]


def test_the_curl_lines_of_the_readme_are_those_that_the_demonstration_prints() -> None:
    printed = commands(runpy.run_path(str(ROOT / "etc" / "demo" / "welcome.py"))["lines"]())
    assert len(printed) == 4
    assert commands(README.read_text(encoding="utf-8")) == printed


ENVIRONMENT = dict.fromkeys(("ARCHIVE_PASSWORD", "ARCHIVE_TOKEN", "CLINIC_KEY", "REPORTS_TOKEN"), "of a reader")
"""What the examples take from the environment: secrets."""


@pytest.mark.parametrize("files", EXAMPLES)
def test_a_configuration_in_the_documents_loads(files: dict[str, str], tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    configuration = load(tmp_path / "config.toml", environ=ENVIRONMENT, available=available())
    assert configuration.pipelines
    assert [warning for warning in configuration.warnings if OPEN not in warning] == []


def test_the_demonstration_loads_and_is_reached_from_this_machine_only() -> None:
    configuration = load(ROOT / "etc" / "demo" / "config.toml", environ={}, available=available())
    assert (configuration.warnings, configuration.unauthenticated) == ((), ())
    assert configuration.endpoints["scp"].addresses[0].host == "127.0.0.1"
    assert all(network.is_loopback for network in configuration.networks.values())


def test_no_configuration_in_the_documents_escapes_these_tests() -> None:
    written = sum(document.read_text(encoding="utf-8").count("code-block:: toml") for document in DOCUMENTS)
    assert sum(len(example.values[0]) for example in EXAMPLES) == written >= 5


def test_the_python_lines_of_the_readme_ask_the_demonstration() -> None:
    [(_, snippet)] = blocks(README, "python")
    compile(snippet, str(README), "exec")
    base_url = runpy.run_path(str(ROOT / "etc" / "demo" / "welcome.py"))["STUDIES"].removesuffix("/studies")
    assert f'DICOMwebClient(url="{base_url}")' in snippet
    assert 'search_filters={"PatientID": "PID123"}' in snippet
