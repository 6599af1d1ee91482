"""The `echo` backend: answers with what has come through the pipeline, to see what middleware has made of it."""

from typing import Final

from zope.interface import implementer

from harmonygw.errors import NotAcceptable
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.net.http.echoing import echo
from harmonygw.operations import Echo
from harmonygw.pipeline import Context, IBackend

TARGET: Final = "echo"


@implementer(IBackend)
class EchoBackend:
    """Reaches nobody."""

    def __init__(self, context: Context) -> None:
        self._name = context.name
        self._hold_bytes: int = context.configuration.proxy.content_limits.max_body_size

    def start(self) -> None:
        """Do nothing: there is nothing to open."""

    def stop(self) -> None:
        """Do nothing."""

    def state(self) -> dict[str, object]:
        """Say that it is there."""
        return {"target": TARGET, "ready": True}

    async def respond(self, request: Request) -> Reply:
        """Return an HTTP request's body, or a description of one without it; an `Echo` succeeds.

        Raises `NotAcceptable` for any other operation: it has no objects.
        """
        request.record.target = self._name
        if isinstance(request.operation, Echo):
            return Reply()
        if request.operation is None and isinstance(request.origin, HTTPOrigin):
            request.record.operation = request.record.operation or "echo"
            return await echo(request, request.origin, hold_bytes=self._hold_bytes)
        raise NotAcceptable("the echo backend has no DICOM objects; of DIMSE it answers C-ECHO alone")
