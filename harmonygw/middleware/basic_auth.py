"""The `basic_auth` middleware: who has no valid user name and password goes no further (RFC 7617)."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from harmonygw.errors import ConfigurationError, Denied, Unauthenticated
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.authentication.refusals import Refusals
from harmonygw.middleware.authentication.users import Users
from harmonygw.middleware.authentication.verification import Passwords, Threads
from harmonygw.pipeline import Context, IMiddleware, Proceed

CHALLENGE = 'Basic realm="harmonygw", charset="UTF-8"'
"""What a refusal asks for (RFC 7617 §2)."""


@implementer(IMiddleware)
class BasicAuth:
    """Raises `Unauthenticated` without valid credentials; with them, the request has a principal, the user's name.

    Users are those of a file, the one that the configuration names, or both: then the file may come later. An
    association carries no user name that could be checked here: it is refused.
    """

    def __init__(self, context: Context, run: "Callable[..., Deferred[Any]] | None" = None) -> None:
        """`run` calls a function in a thread, in the place of threads of our own."""
        options = context.options
        username, password, file = options.username, options.password, options.token_path
        table = context.configuration.authentications.get(context.settings.authentication or "")
        if table is not None:
            username, password, file = table.options.username, table.options.password, table.options.credentials_path
        if not (username and password) and not file:
            raise ConfigurationError((f"middleware.{context.name}: give username and password, or a file of users",))
        self._expected = (_digest(username), _digest(password)) if username and password else None
        self._refusals = Refusals(context.name, context.reactor)
        self._threads: Threads | None = None
        self._users: Users | None = None
        if file:
            if run is None:
                self._threads = Threads(context.reactor, f"passwords of {context.name}")
                run = self._threads.run
            self._users = Users(file, run, context.reactor, may_be_absent=self._expected is not None)
            self._passwords = Passwords(run, context.reactor)

    def start(self) -> None:
        """Begin to look for changes of the file of users."""
        if self._users is not None:
            if self._threads is not None:
                self._threads.start()
            self._users.start()

    def stop(self) -> "Deferred[None]":
        """Look no more; fires when no password is being checked any more."""
        if self._users is None:
            return succeed(None)
        self._users.stop()
        return succeed(None) if self._threads is None else self._threads.stop()

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Proceed as the user whose credentials came along; raises `Busy` when too many are being checked."""
        origin = request.origin
        if not isinstance(origin, HTTPOrigin):
            raise Denied("not authorized", log_detail="basic_auth: an association brings no credentials")
        authorization = origin.headers.get("authorization", "")
        username, password = _credentials(authorization)
        if not await self._fits(username, password, request.peer):
            if authorization:
                self._refusals.log(request.peer, "no user has this name and password")
            raise Unauthenticated("A valid user name and password are needed.", challenge=CHALLENGE)
        request.record.principal = username
        return await proceed(replace(request, principal=username))

    async def _fits(self, username: str, password: str, peer: str) -> bool:
        # Both are always compared, and by digests of one length: the time says neither which was wrong nor how far.
        if self._expected is not None and compare_digest(_digest(username), self._expected[0]) & compare_digest(
            _digest(password), self._expected[1]
        ):
            return True
        if self._users is None or not self._users.hashes or not username:
            return False
        return await self._passwords.check(self._users.hashes, username, password, peer)


def _credentials(authorization: str) -> tuple[str, str]:
    """Return user name and password of an Authorization field, both empty when it is none of Basic, or when one has
    control characters (RFC 7617 §2)."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        username, _, password = base64.b64decode(token.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", ""
    if any(ord(one) < 32 or ord(one) == 127 for one in username + password):
        return "", ""
    return username, password


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
