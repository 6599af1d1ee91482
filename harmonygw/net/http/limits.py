"""What an HTTP connection may cost: time, bytes and places, each with its reason."""

from dataclasses import dataclass
from typing import Final

BACKLOG: Final = 511
"""Connections that wait to be accepted. A viewer opens a hundred at once; Twisted's 50 overflows, and each
SYN that is dropped costs its client a second or more."""

MAX_TARGET_BYTES: Final = 8192
"""Bytes of a request target (RFC 9110 §4.1 asks for 8000 at least): a Search with a hundred UIDs fits. More
is 414."""

MAX_HEADER_FIELDS: Final = 100
"""Header fields of one request. Browsers behind two proxies send about forty. More is 400."""

MAX_FIELD_NAME_BYTES: Final = 128
"""Bytes of a header field's name. The longest that are registered have 40. Twisted remembers the spelling of 10,000
names for good: of the length of a whole header each, they would be 450 MB. More is 431."""

MAX_LENGTH_DIGITS: Final = 18
"""Digits of a Content-Length: an exabyte. Python converts no number of more than 4,300. More is 400."""

REQUESTS_PER_TURN: Final = 16
"""Pipelined requests that one connection has answered before others have their turn: 2 ms, where what one read brings
could be 5,000, and half a second."""

WINDOW_BYTES: Final = 256 * 1024
"""Bytes of a request's body that wait for whoever reads it, before the client is slowed down through TCP."""

BODY_READ_BYTES: Final = 384 * 1024
"""The most that one read of a request's body brings, on top of `WINDOW_BYTES`: an instance of 512 KB comes in two. With
reads of 128 KiB storing took a tenth longer."""

CHUNKED_READ_BYTES: Final = 64 * 1024
"""The same for a chunked body: how long it takes is a matter of how many chunks are in it, and others wait."""

MIN_CHUNK_BYTES: Final = 32
"""Bytes that a request's chunks have on average; less is 400. Each costs 6 µs, however little is in it: of chunks of
2 bytes one client could have all of the processor with a megabyte a second."""

FREE_CHUNKS: Final = 1024
"""Chunks that may be smaller: the beginning of a body that a client writes in small steps."""

MIN_PIECE_COST: Final = 256
"""Bytes of `WINDOW_BYTES` that a piece counts for at least: what the objects around it take."""

BODY_PROGRESS_BYTES: Final = 1024
"""Bytes that have to arrive within `body_timeout_secs`, unless the body ends: a byte now and then is no
progress."""

WRITE_PROGRESS_BYTES: Final = 1024
"""Bytes of a reply that a client has to acknowledge within `write_timeout_secs` while it holds us back: who takes a
byte a minute would hold an association of the archive for years."""

LINGER_BYTES: Final = 1024 * 1024
"""Bytes that are read and thrown away after a reply that came before the request's end. A client that is
still sending then gets to see the reply: closing with unread bytes would reset the connection under it."""

LINGER_SECS: Final = 5.0
"""Seconds for the same. After either, the connection is closed."""

NETWORK_SHARE: Final = 4
"""Times `max_connections_per_address`: what all addresses of one /64 of IPv6 have together."""

MAX_SHED: Final = 100
"""Connections over a limit that may be told so at one time. Those beyond are closed without a word, so that
refusing cannot use up the descriptors that the limit is there to save."""

WRITE_BEHIND_BYTES: Final = 128 * 1024
"""Bytes that wait for the socket before a reply is held back, and the most that one read brings, of a body aside.
With one read on top it is what a client that never reads costs of our memory. More is slower: what gathers is
copied once more before it leaves (measured with reads of 256 KiB: 512 KiB here halves the rate)."""

BODY_LIMIT_KEYS: Final = "limits.max_request_bytes of the network, or else max_body_size"
"""Where the operator says how long a body may be: what a refusal names."""

SEND_BYTES: Final = 1024 * 1024
"""Bytes offered to the socket at a time (Twisted: 128 KiB): what has gathered leaves in one system call."""


@dataclass(frozen=True, slots=True)
class HTTPLimits:
    """The limits of one listener; the configuration's `network.<n>.limits` maps onto it."""

    header_timeout_secs: float = 20
    """From a connection, or a later request's first byte, to the end of its header; then 408. The whole
    header has this time, so that a trickle gains nothing."""
    body_timeout_secs: float = 30
    """Without progress of a request's body that we are ready to read; then reading it raises
    `RequestTimedOut` (408)."""
    write_timeout_secs: float = 60
    """Without the client acknowledging `WRITE_PROGRESS_BYTES` of its reply; then the connection is reset."""
    keepalive_timeout_secs: float = 60
    """From a reply to the next request's first byte; then the connection is closed."""
    max_connections: int = 2000
    """Connections at one time; more get 503 and are closed."""
    max_connections_per_address: int = 200
    """The same for one client address, and four times as many for one /64 of IPv6. Behind a reverse proxy all come
    from one: raise it there."""
    max_header_bytes: int = 16384
    """Bytes of a request line and header together; more is 431."""
    max_request_bytes: int = 0
    """Bytes of a request's body; more raises `TooLarge` (413) where it is read. 0 means no limit: a Store
    streams. An endpoint narrows it with `StreamingRequest.limit_body`."""
