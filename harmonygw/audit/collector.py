"""What whoever takes messages looks like to the delivery."""

from collections.abc import Callable, Sequence
from typing import Protocol

from harmonygw.errors import HarmonyError

Lost = Callable[[HarmonyError], None]
"""Told, at most once after each `open`, that nothing goes out any more."""


class Collector(Protocol):
    """Takes messages in order. Syslog acknowledges nothing: see `taken` and `settle_secs`."""

    name: str
    """For the log and the state."""

    @property
    def batch_bytes(self) -> int:
        """Bytes that it is best given at a time."""

    @property
    def settle_secs(self) -> float:
        """Seconds for which it must not be lost after a message was taken, for the message to have been delivered."""

    async def open(self, lost: Lost) -> None:
        """Reach it; raises `HarmonyError`."""

    async def send(self, messages: Sequence[bytes]) -> list[bytes]:
        """Send messages, and return when there is room for more; raises `HarmonyError`.

        Those that are returned it will never take: they are too long for it.
        """

    def taken(self) -> int:
        """Return how many messages since `open` have left this machine, as far as can be told."""

    async def close(self) -> bool:
        """End in an orderly way; whether everything that was sent has arrived beyond doubt."""

    def abort(self) -> None:
        """End at once."""
