"""The client of every STOW-RS request: a process of its own that sends files from the system's memory as they are.

It takes a JSON object on its standard input: port, path and folder; sends one multipart request with every file of
the folder, and prints what became of it.
"""

import json
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.processes import ROOT

TIMEOUT = 300.0
"""Seconds without progress before it fails."""

MAX_RESPONSE = 16 << 20
"""Bytes of a response."""

_BOUNDARY = "bench-of-storing-0123456789abcdef"
_PART = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
_CLOSE = f"--{_BOUNDARY}--\r\n".encode()
_REFERENCED_SOP_SEQUENCE = "00081199"


@dataclass(frozen=True, slots=True)
class Sending:
    """What is sent."""

    port: int
    path: str
    folder: str


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of it."""

    seconds: float
    """From connecting to the response's last byte."""
    status: int
    stored: int
    """Instances that the response says were stored."""


def send(sending: Sending, instances: int) -> float:
    """Send in a process of its own; return the seconds. Raises RuntimeError unless every instance was stored."""
    finished = subprocess.run(
        [sys.executable, "-m", "bench.sender"],
        input=json.dumps(asdict(sending)).encode(),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=True,
    )
    sent = Sent(**json.loads(finished.stdout))
    if (sent.status, sent.stored) != (200, instances):
        raise RuntimeError(f"{sending} came to {sent}")
    return sent.seconds


def perform(sending: Sending) -> Sent:
    """Send the request, and read the response to its end."""
    paths = sorted(Path(sending.folder).iterdir())
    length = sum(len(_PART) + path.stat().st_size + 2 for path in paths) + len(_CLOSE)
    begun = time.perf_counter()
    with socket.create_connection(("127.0.0.1", sending.port), timeout=TIMEOUT) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(
            f"POST {sending.path} HTTP/1.1\r\nHost: 127.0.0.1:{sending.port}\r\nAccept: application/dicom+json\r\n"
            f'Content-Type: multipart/related; type="application/dicom"; boundary={_BOUNDARY}\r\n'
            f"Content-Length: {length}\r\nConnection: close\r\n\r\n".encode()
        )
        between = b""
        for path in paths:
            connection.sendall(between + _PART)
            with path.open("rb") as file:
                connection.sendfile(file)
            between = b"\r\n"
        connection.sendall(between + _CLOSE)
        response = bytearray()
        while len(response) < MAX_RESPONSE and (data := connection.recv(1 << 16)):
            response += data
    seconds = time.perf_counter() - begun
    head, _, body = bytes(response).partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    stored = 0
    if status < 300:
        chunked = b"transfer-encoding: chunked" in head.lower()
        answer = json.loads(_unchunked(body) if chunked else body)
        stored = len(answer.get(_REFERENCED_SOP_SEQUENCE, {}).get("Value", ()))
    return Sent(seconds, status, stored)


def _unchunked(data: bytes) -> bytes:
    content = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        content += rest[:length]
        data = rest[length + 2 :]
    return content


if __name__ == "__main__":
    print(json.dumps(asdict(perform(Sending(**json.load(sys.stdin))))))
