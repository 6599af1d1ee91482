"""The `token_auth` middleware: who has not the one token, or key, goes no further (RFC 6750)."""

from dataclasses import replace
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from zope.interface import implementer

from harmonygw.errors import ConfigurationError, Denied, Unauthenticated
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.authentication import bearer
from harmonygw.middleware.authentication.refusals import Refusals
from harmonygw.pipeline import Context, IMiddleware, Proceed

KEY_CHALLENGE: Final = 'ApiKey realm="harmonygw", header="{header}"'
"""What a refusal asks for where a key is wanted. No scheme is registered for keys, but a 401 must name one (RFC 9110
§11.6.1); Bearer would be wrong."""


@implementer(IMiddleware)
class TokenAuth:
    """Raises `Unauthenticated` without the token; with it, the principal is the name of the table that has it.

    A key goes no further than here. An association brings neither: it is refused.
    """

    def __init__(self, context: Context) -> None:
        name = context.settings.authentication or ""
        table = context.configuration.authentications.get(name)
        if table is None or table.method not in {"bearer", "api_key"} or not table.options.token:
            raise ConfigurationError(
                (f"middleware.{context.name}: give an authentication of method bearer or api_key",)
            )
        token = table.options.token
        if table.method == "bearer" and not bearer.is_token(token):
            problem = f"{bearer.MAX_TOKEN_BYTES} letters, digits and -._~+/ at most, and = at its end"
            raise ConfigurationError((f"authentications.{name}: a token that a client can send has {problem}",))
        self._principal = name
        self._expected = _digest(token)
        self._header = table.options.header if table.method == "api_key" else ""
        self._refusals = Refusals(context.name, context.reactor)

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Proceed as the one who has the token; raises `AmbiguousCredentials` when it comes in two ways."""
        origin = request.origin
        if not isinstance(origin, HTTPOrigin):
            raise Denied("not authorized", log_detail="token_auth: an association brings no token")
        try:
            token = self._key(origin) if self._header else bearer.token_of(origin)
            if not compare_digest(_digest(token), self._expected):
                raise self._refusal()
        except Unauthenticated as error:
            # A request that brings nothing is no failed login: clients ask first and are told what is wanted.
            if error.challenge != bearer.CHALLENGE and (not self._header or self._header.lower() in origin.headers):
                self._refusals.log(request.peer, "the token is not valid")
            raise
        if self._header:
            kept = {name: value for name, value in origin.headers.items() if name != self._header.lower()}
            request = replace(request, origin=replace(origin, headers=kept))
        request.record.principal = self._principal
        return await proceed(replace(request, principal=self._principal))

    def _key(self, origin: HTTPOrigin) -> str:
        key = origin.headers.get(self._header.lower(), "")
        if not key:
            raise self._refusal()
        return key

    def _refusal(self) -> Unauthenticated:
        if not self._header:
            return bearer.refusal()
        return Unauthenticated("A valid key is needed.", challenge=KEY_CHALLENGE.format(header=self._header))


def _digest(token: str) -> bytes:
    """Return bytes of one length, so that comparing tells nothing of how long the token is."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
