"""The test stand: peers and gateway, running for as long as measurements do."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.gateway import Gateway
from bench.peers import Peers


@dataclass(frozen=True, slots=True)
class Stand:
    """What a measurement works with."""

    peers: Peers
    gateway: Gateway


@contextmanager
def stand() -> Iterator[Stand]:
    """Set everything up in a temporary folder, and leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="harmonygw-bench-") as folder:
        peers = Peers(Path(folder))
        try:
            with Gateway(peers) as gateway:
                yield Stand(peers, gateway)
        finally:
            peers.close()
