"""What stands for a target that is disabled."""

from typing import Final

from zope.interface import implementer

from harmonygw.config.model import Backend
from harmonygw.errors import Busy
from harmonygw.exchange import Reply, Request
from harmonygw.pipeline import IBackend

DISABLED_RETRY_SECS: Final = 60
"""Seconds after which a client may ask a disabled target again: whoever disabled it is at work."""


@implementer(IBackend)
class Disabled:
    """Stands in for a backend whose target is disabled: opens nothing, and answers nothing."""

    def __init__(self, settings: Backend) -> None:
        self._settings = settings

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def state(self) -> dict[str, object]:
        """Say that the target is disabled."""
        return {"target": self._settings.target, "ready": False, "enabled": False}

    async def respond(self, request: Request) -> Reply:
        """Raise `Busy`."""
        request.record.target = self._settings.name
        raise Busy(f"{self._settings.target}: the target is disabled", retry_after=DISABLED_RETRY_SECS)
