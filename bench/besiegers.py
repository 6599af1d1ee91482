"""Clients that take as much of a gateway as they can with as little of their own.

`python -m bench.besiegers <port> <clients>` prints the port when all are connected, and goes on until its standard
input ends.
"""

import selectors
import socket
import sys
import time
from contextlib import ExitStack, suppress
from typing import Any, Final

from bench.synthetic import Study

ADDRESSES: Final = tuple(f"127.0.1.{number}" for number in range(1, 11))
"""Where they come from: of one address a gateway takes 200 at most."""

STUDY: Final = Study(instances=400, frames=1)
"""What is asked for and not read: 200 MB."""

TURN_SECS: Final = 0.5
"""Between two bytes of a client that sends one at a time."""

HOST: Final = "Host: gateway\r\n"

SAID: Final[dict[str, bytes]] = {
    "silent": b"",
    "header trickle": f"GET /healthz HTTP/1.1\r\n{HOST}X-Slow: ".encode(),
    "body trickle": (
        f"POST /synthetic/studies HTTP/1.1\r\n{HOST}Content-Type: application/dicom\r\nContent-Length: 1000000\r\n\r\n"
    ).encode(),
    "never reads": (
        f'GET /synthetic/studies/{STUDY.uid} HTTP/1.1\r\n{HOST}Accept: multipart/related; type="application/dicom"; '
        "transfer-syntax=*\r\n\r\n"
    ).encode(),
    "kept": f"GET /healthz HTTP/1.1\r\n{HOST}\r\n".encode(),
}
"""What each kind says first."""

TRICKLES: Final = frozenset({"header trickle", "body trickle"})
RECEIVE_BYTES: Final = 4096
"""Of the socket of one that never reads."""

ESTABLISHED: Final = 1
"""What Linux calls the state of a connection that neither side has closed, in the first byte of `struct tcp_info`."""


class Besieger:
    """One client, which comes again when it was closed."""

    def __init__(self, port: int, kind: str, address: str, selector: selectors.BaseSelector) -> None:
        self.kind = kind
        self._port = port
        self._address = address
        self._selector = selector
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.socket()
        if self.kind == "never reads":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self._socket.bind((self._address, 0))
        self._socket.settimeout(30)
        self._socket.connect(("127.0.0.1", self._port))
        self._socket.sendall(SAID[self.kind])
        self._socket.setblocking(False)
        if self.kind != "never reads":
            self._selector.register(self._socket, selectors.EVENT_READ, self)

    def trickle(self) -> None:
        """Send a byte, if this is one that does; any other is looked at for its end."""
        try:
            if self.kind in TRICKLES:
                self._socket.send(b"x")
            elif self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED:
                self._again()
        except BlockingIOError:
            pass
        except OSError:
            self._again()

    def read(self) -> None:
        """Take what has come, and come again when it is the end."""
        try:
            if not self._socket.recv(65536):
                self._again()
        except BlockingIOError:
            pass
        except OSError:
            self._again()

    def close(self) -> None:
        """Go away."""
        with suppress(KeyError):
            self._selector.unregister(self._socket)
        self._socket.close()

    def _again(self) -> None:
        self.close()
        self._connect()


def besiege(port: int, count: int, until: Any) -> None:
    """Have `count` clients there until something can be read from `until`."""
    kinds = tuple(SAID)
    with selectors.DefaultSelector() as selector, ExitStack() as leaving:
        selector.register(until, selectors.EVENT_READ, None)
        clients = [
            Besieger(port, kinds[number % len(kinds)], ADDRESSES[number // len(kinds) % len(ADDRESSES)], selector)
            for number in range(count)
        ]
        for client in clients:
            leaving.callback(client.close)
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        due = time.monotonic()
        while True:
            for key, _ in selector.select(max(0.0, due - time.monotonic())):
                if key.data is None:
                    return
                key.data.read()
            if time.monotonic() >= due:
                due = time.monotonic() + TURN_SECS
                for client in clients:
                    client.trickle()


def main() -> None:
    """Besiege until the standard input ends."""
    besiege(int(sys.argv[1]), int(sys.argv[2]), sys.stdin)


if __name__ == "__main__":
    main()
