"""The `basic_auth` middleware: who has no valid user name and password goes no further (RFC 7617)."""

import base64
import binascii
from dataclasses import replace
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

from twisted.logger import Logger
from zope.interface import implementer

from harmonygw.errors import ConfigurationError, Denied, Unauthenticated
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.pipeline import Context, IMiddleware, Proceed

log = Logger()

CHALLENGE = 'Basic realm="harmonygw", charset="UTF-8"'
"""What a refusal asks for (RFC 7617 §2)."""


@implementer(IMiddleware)
class BasicAuth:
    """Raises `Unauthenticated` without valid credentials; with them, the request has a principal.

    An association carries no user name that could be checked here: it is refused.
    """

    def __init__(self, context: Context) -> None:
        options = context.options
        username, password, file = options.username, options.password, options.token_path
        table = context.configuration.authentications.get(context.settings.authentication or "")
        if table is not None:
            username, password, file = table.options.username, table.options.password, table.options.credentials_path
        if not (username and password):
            raise ConfigurationError(
                (f"middleware.{context.name}: files of users are not in this build yet: give username and password",)
            )
        if file:
            there = "is not in this build yet" if Path(file).exists() else "is not there"
            log.warn(
                "middleware.{name}: the file of users {file} {there}; only {username} is let in",
                name=context.name,
                file=file,
                there=there,
                username=username,
            )
        self._username = username
        self._expected = _digest(username), _digest(password)

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Proceed as the user whose credentials came along."""
        origin = request.origin
        if not isinstance(origin, HTTPOrigin):
            raise Denied("not authorized", log_detail="basic_auth: an association brings no credentials")
        username, password = _credentials(origin.headers.get("authorization", ""))
        # Both are always compared, and by digests of one length: the time says neither which was wrong nor how far.
        fits = compare_digest(_digest(username), self._expected[0]) & compare_digest(
            _digest(password), self._expected[1]
        )
        if not fits:
            raise Unauthenticated("A valid user name and password are needed.", challenge=CHALLENGE)
        return await proceed(replace(request, principal=self._username))


def _credentials(authorization: str) -> tuple[str, str]:
    """Return user name and password of an Authorization field, both empty when it is none of Basic."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        username, _, password = base64.b64decode(token.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return username, password


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
