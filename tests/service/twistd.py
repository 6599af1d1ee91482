"""twistd in a process of its own, as an operator runs it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> list[str]:
    """Return the command line of `twistd` with some arguments."""
    return [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", *arguments]


def options(folder: Path) -> dict[str, Any]:
    """Return what such a process needs: a folder to work in, and where the plugin is."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    environ.pop("NOTIFY_SOCKET", None)
    return {"cwd": folder, "env": environ, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run twistd to its end."""
    return subprocess.run(command(*arguments), timeout=20, check=False, **options(folder))


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start twistd."""
    return subprocess.Popen(command(*arguments), **options(folder))
