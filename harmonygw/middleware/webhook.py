"""The `webhook` middleware: a description of each exchange to a URL, which no exchange waits for."""

from typing import Any, Final

import orjson
from twisted.internet.defer import Deferred
from zope.interface import implementer

from harmonygw.errors import ConfigurationError
from harmonygw.exchange import Reply, Request
from harmonygw.middleware.deliveries import Deliveries
from harmonygw.middleware.redaction import Redaction, secret_patterns
from harmonygw.middleware.watching import Watching
from harmonygw.net.http.credentials import credentials
from harmonygw.net.http.fields import Fields
from harmonygw.pipeline import Context, IMiddleware, Proceed

MAX_BODY_BYTES: Final = 65_536
"""Bytes of a JSON body, or of matches, that are in a description."""

EXTRA: Final = "webhook."
"""What the name of the metadata begins with that is sent as `extra`; the name of the middleware follows."""

MAX_EXTRA: Final = 65_536
"""Characters of that metadata."""


@implementer(IMiddleware)
class Webhook:
    """Sends the request (left), the reply with how it went (right), or each, by POST; and changes nothing."""

    def __init__(self, context: Context, agent: Any = None) -> None:
        """`agent` sends in the place of a client of our own."""
        options = context.options
        redaction = Redaction(options, secret_patterns(context.configuration))
        self._name = context.name
        self._deliveries = Deliveries(
            options.endpoint,
            _credentials(context),
            timeout=options.timeout_secs,
            name=context.name,
            reactor=context.reactor,
            agent=agent,
        )
        self._watching = Watching(redaction, options.apply, MAX_BODY_BYTES, context.reactor, self._send)

    def start(self) -> None:
        """Begin to send."""
        self._deliveries.start()

    def stop(self) -> "Deferred[None]":
        """Send what is waiting, for a short time, and end."""
        return self._deliveries.stop()

    def state(self) -> dict[str, object]:
        """Say how many descriptions were delivered, failed, were dropped, and wait."""
        return self._deliveries.state()

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Proceed, and send."""
        return await self._watching.intercept(request, proceed)

    def _send(self, told: dict[str, Any]) -> None:
        extra = told["request"]["metadata"].get(EXTRA + self._name)
        self._deliveries.send(
            orjson.dumps({"middleware": "webhook", "name": self._name, **told, "extra": _document_of(extra)})
        )


def _document_of(text: str | None) -> Any:
    """Return the JSON in a text, or the text."""
    if text is None or len(text) > MAX_EXTRA:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _credentials(context: Context) -> Fields:
    """Return the header fields that say who we are; raises `ConfigurationError` for a method that has none."""
    name = context.settings.authentication
    own = credentials(name or "", context.configuration.authentications.get(name))
    if own.cert_path:
        sentence = "a webhook shows no certificate; it takes basic, bearer or api_key"
        raise ConfigurationError((f'middleware.{context.name}.authentication: "{name}": {sentence}',))
    return own.fields
