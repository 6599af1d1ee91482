"""What is in a wheel: the house and its plugin, and nothing that only its builders need."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
BUILT_FROM = ("harmonygw", "twisted", "tests", "docs", "etc", "bench")
FILES = ("setup.cfg", "pyproject.toml", "README.rst", "LICENSE", "MANIFEST.in")


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of a wheel that is built of a copy, so that nothing is left in the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, source)
    for name in BUILT_FROM:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_plugin_is_in_it_and_no_package_beside_it(contents: set[str]) -> None:
    assert {name for name in contents if name.startswith("twisted/")} == {"twisted/plugins/harmonygw_plugin.py"}


def test_every_module_is_in_it(contents: set[str]) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "harmonygw").rglob("*.py")}
    assert modules <= contents
    assert {name for name in contents if name.startswith("harmonygw/")} - modules == {"harmonygw/py.typed"}


def test_nothing_else_is_in_it(contents: set[str]) -> None:
    assert {name.split("/")[0].partition("-")[0] for name in contents} == {"harmonygw", "twisted"}
