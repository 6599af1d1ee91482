"""A viewer's requests: a process of its own that asks for many things on many connections, as a browser's workers do.

It takes a JSON object on its standard input: port, paths, how many at a time, and the Accept header; and prints what
became of it. Each connection stays open and asks again when its reply has been read; nothing is kept of the bodies.
"""

import json
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.processes import ROOT

FRAMES = "multipart/related; type=application/octet-stream; transfer-syntax=*"
"""What Cornerstone3D sends for a frame, unquoted."""

METADATA = "application/dicom+json"

TIMEOUT = 120.0
"""Seconds without anything happening before it fails."""

_BUFFER_SIZE = 1 << 20
_MAX_HEADER = 65_536
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Viewing:
    """What is asked for."""

    port: int
    paths: tuple[str, ...]
    at_a_time: int = 1
    accept: str = FRAMES


@dataclass(frozen=True, slots=True)
class Viewed:
    """What became of it; times in seconds."""

    seconds: float
    """From the first request's sending to the last reply's last byte."""
    first: float
    """To the last byte of the reply that was complete first."""
    size: int
    """Bytes of all bodies, with their framing."""


def view(viewing: Viewing) -> Viewed:
    """Ask in a process of its own; raises RuntimeError unless every reply is complete."""
    finished = subprocess.run(
        [sys.executable, "-m", "bench.viewer"],
        input=json.dumps(asdict(viewing)).encode(),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(f"not every reply to {viewing.paths[0]} and others was complete")
    return Viewed(**json.loads(finished.stdout))


class _Connection:
    """One connection, and the reply that it reads."""

    def __init__(self, port: int, accept: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = f"Host: 127.0.0.1:{port}\r\nAccept: {accept}\r\n\r\n"
        self.path = ""

    def ask(self, path: str) -> None:
        self.path = path
        self._head = b""
        self._left = -1
        self._tail = b""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\n{self._rest}".encode())

    def read(self, buffer: memoryview) -> tuple[int, bool]:
        """Read on; return the bytes of the body, and whether that was its end."""
        count = self.socket.recv_into(buffer)
        if not count:
            raise ConnectionError(f"the connection closed within the reply to {self.path}")
        if self._left < 0 and not self._tail:
            self._head += buffer[:count]
            head, complete, body = self._head.partition(b"\r\n\r\n")
            if not complete:
                if len(self._head) > _MAX_HEADER:
                    raise ConnectionError("a header without an end")
                return 0, False
            if not head.startswith(b"HTTP/1.1 200 "):
                raise ConnectionError(f"{self.path}: {self._head[:300]!r}")
            length = _LENGTH.search(head)
            self._left = int(length[1]) if length is not None else -1
            if length is None and not _CHUNKED.search(head):
                raise ConnectionError("a reply without a length")
            count = len(body)
            buffer[:count] = body
        if self._left >= 0:
            self._left -= count
            return count, self._left <= 0
        self._tail = (self._tail + buffer[max(0, count - len(_LAST_CHUNK)) : count])[-len(_LAST_CHUNK) :]
        return count, self._tail == _LAST_CHUNK


def perform(viewing: Viewing) -> Viewed:
    """Ask for everything."""
    left = list(reversed(viewing.paths))
    size = 0
    first = 0.0
    selector = selectors.DefaultSelector()
    connections = [_Connection(viewing.port, viewing.accept) for _ in range(min(viewing.at_a_time, len(left)))]
    buffer = memoryview(bytearray(_BUFFER_SIZE))
    begun = time.monotonic()
    for connection in connections:
        connection.ask(left.pop())
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    waiting = len(connections)
    while waiting:
        ready = selector.select(TIMEOUT)
        if not ready:
            raise TimeoutError("nothing came")
        for key, _ in ready:
            count, ended = key.data.read(buffer)
            size += count
            if ended:
                first = first or time.monotonic() - begun
                if left:
                    key.data.ask(left.pop())
                else:
                    selector.unregister(key.fileobj)
                    waiting -= 1
    seconds = time.monotonic() - begun
    for connection in connections:
        connection.socket.close()
    return Viewed(seconds, first, size)


def frame_paths(prefix: str, study: str, instances: Sequence[str], frame: int = 1) -> tuple[str, ...]:
    """Return the path of a frame of each instance; the series of a study is its UID and `.1`."""
    series = f"{prefix}/studies/{study}/series/{study}.1"
    return tuple(f"{series}/instances/{uid}/frames/{frame}" for uid in instances)


if __name__ == "__main__":
    given = json.load(sys.stdin)
    print(json.dumps(asdict(perform(Viewing(**{**given, "paths": tuple(given["paths"])})))))
