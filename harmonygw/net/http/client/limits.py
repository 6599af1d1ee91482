"""What a server may cost us: bytes, time and places, each with its reason."""

from dataclasses import dataclass
from typing import Final

MAX_HEADER_BYTES: Final = 32 * 1024
"""Bytes of a response's header, of its trailers, and of a chunk's first line. Servers behind a login page send 8 KiB
of cookies; what is larger is 502."""

MAX_HEADER_FIELDS: Final = 200
"""Header fields of a response; more is 502."""

MAX_INFORMATIONAL: Final = 20
"""Informational responses (1xx) before the final one; a server that sends more is not answering."""

MAX_EVENTS: Final = 1000
"""Chunks of a body that are taken apart before the reactor has its turn: 5 ms. A server that sends chunks of one byte
could hold everybody up for a tenth of a second with every read."""

WINDOW_BYTES: Final = 256 * 1024
"""Bytes of a response's body that wait for whoever reads it, before the server is slowed down through TCP."""

READ_BYTES: Final = 128 * 1024
"""Bytes that one read of the socket brings at most (Twisted: 64 KiB), and that wait for it before a request's body is
held back: half as many turns of the reactor, and still one piece of what a reply writes at a time."""

MAX_WAITING: Final = 1000
"""Requests that wait for a connection; more are refused at once."""

FIRST_BACKOFF: Final = 0.1
"""Seconds before a request is tried again; each further time doubles it."""

LONGEST_BACKOFF: Final = 2.0
"""Seconds between two tries at most: somebody waits for the answer."""


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """The limits of one server; a backend's options map onto it. Times are in seconds."""

    connect_secs: float = 10
    """In which a connection, its TLS included, must be there."""
    answer_secs: float = 30
    """From the end of a request to the end of its response's header. The whole header has this time, so that a
    trickle gains nothing."""
    silence_secs: float = 60
    """Without a byte of a response's body that we are ready to read, or of a request's body that the server takes."""
    max_connections: int = 32
    """Connections at a time. A viewer asks for a hundred frames at once; the rest wait."""
    idle_secs: float = 30
    """That an unused connection is kept open."""
    queue_secs: float = 30
    """That a request waits for a connection."""
    max_retries: int = 3
    """How often a request that nothing has come of is sent again."""
