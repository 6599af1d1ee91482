"""Processes that a measurement needs: started here, ended here by their process id, whatever happens."""

import atexit
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

START_SECS = 30.0
"""Seconds that a process has until it listens."""

STOP_SECS = 20.0
"""Seconds that a process has to end before it is killed."""

NO_DELAY = {**os.environ, "TCP_NODELAY": "1"}
"""What DCMTK needs, in Orthanc too: without it Nagle's algorithm and delayed ACKs are what is measured."""


class Process:
    """One process, its output in a file, or its first line read by us."""

    def __init__(self, arguments: Sequence[str], *, log: Path) -> None:
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=NO_DELAY
            )
        self.log = log
        atexit.register(self.end)

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise RuntimeError when it has ended."""
        if self._process.poll() is not None:
            output = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.returncode}:\n{output}")

    def wait_for_port(self, port: int) -> None:
        """Wait until it listens on `port`."""
        deadline = time.monotonic() + START_SECS
        while time.monotonic() < deadline:
            self.check()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{self._process.args!r} does not listen on port {port}")

    def announced_port(self) -> int:
        """Wait for the first line of its output, which is its port."""
        deadline = time.monotonic() + START_SECS
        while time.monotonic() < deadline:
            self.check()
            line, complete, _ = self.log.read_text().partition("\n")
            if complete:
                return int(line)
            time.sleep(0.02)
        raise RuntimeError(f"{self._process.args!r} does not say its port")

    def end(self) -> None:
        """End it; may be called again."""
        atexit.unregister(self.end)
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def module(name: str, *arguments: str, log: Path) -> Process:
    """Start a module of this package."""
    return Process([sys.executable, "-m", name, *arguments], log=log)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
