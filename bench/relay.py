"""A plain blocking relay: `recv`, then `sendall`, one connection after another. Nothing in Python is simpler.

`python -m bench.relay <port>` prints the port that it listens on, and serves until its standard input ends.
"""

import socket
import sys
from contextlib import suppress
from threading import Thread

from bench import wire


def serve(listener: socket.socket, port: int) -> None:
    """Relay to `port` until the listener is closed: one read of the request, then whatever comes back."""
    with suppress(OSError):
        while True:
            reader, _ = listener.accept()
            with reader, socket.create_connection(("127.0.0.1", port), timeout=wire.TIMEOUT) as source:
                for end in (reader, source):
                    end.settimeout(None)
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                source.sendall(reader.recv(4096))
                while data := source.recv(wire.READ_SIZE):
                    reader.sendall(data)


def main() -> None:
    """Serve until standard input ends, which it does when whoever started this is gone."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=16)
    print(listener.getsockname()[1], flush=True)
    Thread(target=serve, args=(listener, int(sys.argv[1])), daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
