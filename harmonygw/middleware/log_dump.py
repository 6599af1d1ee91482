"""The `log_dump` middleware: what passes, to the log, redacted. A tool to find out what a pipeline does."""

from typing import Any

import orjson
from twisted.logger import Logger
from zope.interface import implementer

from harmonygw.exchange import Reply, Request
from harmonygw.middleware.redaction import Redaction, secret_patterns
from harmonygw.middleware.watching import Watching
from harmonygw.pipeline import Context, IMiddleware, Proceed

log = Logger(namespace="harmonygw.dump")


@implementer(IMiddleware)
class LogDump:
    """Writes an entry for the request (left), for the reply (right), or for each; and changes nothing.

    The entry of a body is written when the body has ended, or when it is longer than `max_bytes`.
    """

    def __init__(self, context: Context) -> None:
        options = context.options
        redaction = Redaction(options, secret_patterns(context.configuration))
        self._label = options.label or context.name
        self._format = orjson.OPT_INDENT_2 if options.pretty else 0
        self._watching = Watching(redaction, options.apply, options.max_bytes, context.reactor, self._write)

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Proceed, and write."""
        return await self._watching.intercept(request, proceed)

    def _write(self, told: dict[str, Any]) -> None:
        fields: dict[str, Any] = {"dump": self._label, **told}
        del fields["time"]  # the line has one
        for part in ("request", "response"):
            if part in fields:
                fields[part] = orjson.dumps(fields[part], option=self._format).decode()
        log.info("{dump[dump]} {dump[side]}", dump=fields)
