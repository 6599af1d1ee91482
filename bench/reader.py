"""The client of every retrieval: a process of its own that reads into one buffer, so that it is never what limits.

`read` starts it and returns what it saw. It takes a list of requests as JSON on its standard input, makes each at its
time on a connection of its own, and prints what became of them. Times are of the system's monotonic clock, which all
processes share.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from bench.processes import ROOT

BUFFER_SIZE = 1 << 20
"""Bytes that one read may bring."""

TIMEOUT = 120.0
"""Seconds without a byte before a reading fails."""

MAX_HEADER = 65_536
"""Bytes of a response's header."""

_END_OF_MULTIPART = b"--\r\n\r\n0\r\n\r\n"
_TAIL = 64


@dataclass(frozen=True, slots=True)
class Demand:
    """A request to be made."""

    port: int
    path: str = ""
    """Of an HTTP GET; unless `raw` is given."""
    raw: str = ""
    """The study of a raw transfer from the synthetic source, by way of the relay."""
    client: str = "127.0.0.1"
    """The loopback address that it comes from."""
    delay: float = 0.0
    """Seconds after the others' zero."""
    rate: int = 0
    """Bytes a second that are read at most; 0 for as many as come."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of it; times in seconds of the monotonic clock."""

    begun: float
    first: float
    """When the first byte of the body was there."""
    ended: float
    size: int
    """Bytes read."""
    complete: bool
    """Whether it ended as a complete reply ends."""

    @property
    def seconds(self) -> float:
        return self.ended - self.begun

    @property
    def to_first_byte(self) -> float:
        return self.first - self.begun


class IncompleteError(Exception):
    """A reply was broken off, or was no success."""


def read(*demands: Demand) -> list[Reading]:
    """Make requests in a process of their own; raises IncompleteError unless every reply is complete."""
    finished = subprocess.run(
        [sys.executable, "-m", "bench.reader"],
        input=json.dumps([asdict(demand) for demand in demands]).encode(),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=True,
    )
    readings = [Reading(**one) for one in json.loads(finished.stdout)]
    for demand, reading in zip(demands, readings, strict=True):
        if not reading.complete:
            raise IncompleteError(f"{demand} came to {reading}")
    return readings


def perform(demand: Demand, zero: float) -> Reading:
    """Make one request and read its reply to the end."""
    time.sleep(max(0.0, zero + demand.delay - time.monotonic()))
    begun = time.monotonic()
    with socket.create_connection(
        ("127.0.0.1", demand.port), timeout=TIMEOUT, source_address=(demand.client, 0)
    ) as connection:
        if demand.raw:
            connection.sendall(f"RAW {demand.raw}\n".encode())
            return _read_on(connection, demand, begun)
        connection.sendall(
            f"GET {demand.path} HTTP/1.1\r\nHost: 127.0.0.1:{demand.port}\r\n"
            f'Accept: multipart/related; type="application/dicom"; transfer-syntax=*\r\n'
            "Connection: close\r\n\r\n".encode()
        )
        return _read_on(connection, demand, begun)


def _read_on(connection: socket.socket, demand: Demand, begun: float) -> Reading:
    buffer = memoryview(bytearray(BUFFER_SIZE))
    receive = connection.recv_into
    head, after = b"", b""
    if not demand.raw:
        while not after and len(head) < MAX_HEADER and (count := receive(buffer)):
            head += buffer[:count]
            after = head.partition(b"\r\n\r\n")[2]
    size = len(after)
    tail = after[-_TAIL:]
    first = time.monotonic() if after else 0.0
    step = BUFFER_SIZE // 16 if demand.rate else BUFFER_SIZE
    while count := receive(buffer, step):
        if not first:
            first = time.monotonic()
        size += count
        tail = (tail + buffer[max(0, count - _TAIL) : count])[-_TAIL:]
        if demand.rate:
            time.sleep(max(0.0, begun + size / demand.rate - time.monotonic()))
    ended = time.monotonic()
    complete = bool(size) if demand.raw else head.startswith(b"HTTP/1.1 200 ") and tail.endswith(_END_OF_MULTIPART)
    return Reading(begun, first, ended, size, complete)


def perform_all(demands: Sequence[Demand]) -> list[Reading]:
    """Make requests, a thread each when there are several."""
    zero = time.monotonic() + 0.01
    with ThreadPoolExecutor(len(demands)) as threads:
        return list(threads.map(lambda demand: perform(demand, zero), demands))


if __name__ == "__main__":
    print(json.dumps([asdict(reading) for reading in perform_all([Demand(**one) for one in json.load(sys.stdin)])]))
