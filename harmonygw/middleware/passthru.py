"""The `passthru` middleware: nothing, under a name that a pipeline can list."""

from zope.interface import implementer

from harmonygw.exchange import Reply, Request
from harmonygw.pipeline import Context, IMiddleware, Proceed


@implementer(IMiddleware)
class Passthru:
    """Changes neither request nor reply."""

    def __init__(self, context: Context) -> None:
        pass

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Proceed."""
        return await proceed(request)
