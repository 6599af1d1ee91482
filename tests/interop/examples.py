"""The examples of `etc/examples` in a scratch clone, on free ports; and the commands of their READMEs."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import split
from textwrap import dedent

from tests.interop.processes import NO_DELAY, ROOT, START_SECS, free_port, running

EXAMPLES = ROOT / "etc" / "examples"
NAMES = sorted(folder.name for folder in EXAMPLES.iterdir() if folder.is_dir())

STAND_IN = "pipelines/stand-in.toml"

_COMMAND = re.compile(r"^\.\. code-block:: shell\n\n((?:   .*\n)+)", re.MULTILINE)
_PORT = re.compile(r"^[^#\n]*port = (\d{4,5})\b|://[\d.]+:(\d{4,5})/", re.MULTILINE)


def commands(name: str) -> list[str]:
    """Return the commands of an example's README."""
    readme = (EXAMPLES / name / "README.rst").read_text(encoding="utf-8")
    return [dedent(found).strip() for found in _COMMAND.findall(readme)]


def ports(name: str) -> set[int]:
    """Return the ports that an example's files name: what it listens on, and where it sends to."""
    texts = [file.read_text(encoding="utf-8") for file in (EXAMPLES / name).rglob("*.toml")]
    return {int(port) for text in texts for found in _PORT.findall(text) for port in found if port}


class Example:
    """One example below `root`, which stands for a clone's root: `.venv` is there, and what the READMEs send."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.folder = root / "etc" / "examples" / name
        self.ports = {port: free_port() for port in ports(name)}
        self.commands = [self._here(command) for command in commands(name)]
        shutil.copytree(EXAMPLES / name, self.folder)
        shutil.copy(EXAMPLES / "image.dcm", self.folder.parent)
        shutil.copy(ROOT / "LICENSE", root)
        (root / ".venv").symlink_to(sys.prefix)
        (root / ".curlrc").write_text("silent\n")
        for file in self.folder.rglob("*.toml"):
            file.write_text(self._here(file.read_text(encoding="utf-8")), encoding="utf-8")
        self._log = root / "log"

    def _here(self, text: str) -> str:
        """Return a text with this run's ports for the example's own."""
        return re.sub(r"(?<![\w.])\d{4,5}(?![\w.])", lambda found: str(self._port(found[0])), text)

    def _port(self, written: str) -> int | str:
        return self.ports.get(int(written), written)

    @property
    def log(self) -> str:
        """What the gateway has said so far."""
        return self._log.read_text(encoding="utf-8")

    def edit(self, file: str, old: str, new: str) -> None:
        """Change a file as a reader would; what is changed is there."""
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text, text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def in_front_of(self, theirs: int, stand_in: int) -> None:
        """Leave the stand-in, whose port is `stand_in` as written, for a peer that is there."""
        (self.folder / STAND_IN).unlink()
        self.edit("config.toml", f"connection.port = {self.ports[stand_in]}", f"connection.port = {theirs}")

    @contextmanager
    def started(self) -> Iterator[None]:
        """Run the first command until the test has ended."""
        [port] = re.findall(r"^bind_port = (\d+)", (self.folder / "config.toml").read_text(), re.MULTILINE)
        with running(split(self.commands[0]), int(port), log=self._log, cwd=self.root):
            deadline = time.monotonic() + START_SECS
            while not re.search(r" ready$", self.log, re.MULTILINE):
                assert time.monotonic() < deadline, self.log
                time.sleep(0.05)
            yield

    def use(self) -> str:
        """Run the second command; return what it says."""
        return self.run(self.commands[1])

    def see(self) -> str:
        """Run the third command; return what it says."""
        return self.run(self.commands[2])

    def run(self, command: str, *, fails: bool = False) -> str:
        """Run a command in a shell; return what it says."""
        # Its progress is for people: curl shows it whenever its output goes elsewhere.
        environment = {**NO_DELAY, "CURL_HOME": str(self.root)}
        done = subprocess.run(
            command, shell=True, cwd=self.root, env=environment, capture_output=True, timeout=60, check=False
        )
        said = (done.stdout + done.stderr).decode("utf-8", "replace").replace("\0", "")
        assert (done.returncode != 0) == fails, f"{command}\n{said}\n{self.log}"
        return said
