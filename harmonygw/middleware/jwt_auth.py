"""The `jwt_auth` middleware: who has no valid JSON Web Token goes no further (RFC 7519, RFC 6750)."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from operator import is_
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from harmonygw.config.system import TokenOptions, is_loopback
from harmonygw.errors import ConfigurationError, Denied, Unauthenticated
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.authentication import bearer, signed_tokens
from harmonygw.middleware.authentication.claims import Claims
from harmonygw.middleware.authentication.fetching import fetch as fetch_document
from harmonygw.middleware.authentication.key_set import KeySet
from harmonygw.middleware.authentication.keys import (
    VerificationKey,
    check_algorithms,
    key_set,
    public_key,
    shared_secret,
)
from harmonygw.middleware.authentication.refusals import Refusals
from harmonygw.pipeline import Context, IMiddleware, Proceed

log = Logger(namespace="harmonygw.authentication")

ATTRIBUTE: Final = "claims"
"""The name of the metadata that the claims of a token are left in, for later middleware."""

MAX_VERIFIED: Final = 1024
"""Tokens whose signature is not verified again while the keys are the same. Default 1024, of a hospital's viewers at a
time; the oldest is forgotten. Their dates are looked at each time."""


@implementer(IMiddleware)
class JWTAuth:
    """Raises `Unauthenticated` without a valid token; with one, the request's principal is the token's subject, and its
    claims are in `request.attributes["claims"]`.

    An association brings no token: it is refused.
    """

    def __init__(
        self,
        context: Context,
        fetch: "Callable[[], Deferred[bytes]] | None" = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`fetch` brings the issuer's keys in the place of a client of our own; `now` is the wall clock, in seconds
        since 1970."""
        options: TokenOptions = context.options
        table = context.configuration.authentications.get(context.settings.authentication or "")
        if table is not None:
            options = table.options
        check_algorithms(options.algorithms)
        self._name = context.name
        self._audience = options.audience
        self._jwks_uri = options.jwks_uri or ""
        self._keys: Sequence[VerificationKey] = ()
        self._key_set: KeySet | None = None
        if sum(map(bool, (options.jwks_uri, options.public_key_path, options.use_hs256))) != 1:
            # Keys of two origins are two ways in, of which one is forgotten.
            raise ConfigurationError(("give one of jwks_uri, public_key_path and use_hs256",))
        if options.jwks_uri:
            bring = fetch or partial(fetch_document, options.jwks_uri, context.reactor)
            parse = partial(key_set, allowed=options.algorithms)
            self._key_set = KeySet(options.jwks_uri, bring, parse, context.reactor)
        elif options.public_key_path:
            self._keys = (public_key(options.public_key_path, options.algorithms),)
        elif options.algorithms and "HS256" not in options.algorithms:
            raise ConfigurationError(("use_hs256: HS256 is not in algorithms",))
        else:
            self._keys = (shared_secret(options.hs256_secret),)
        self._claims = Claims(options, now)
        self._verified: OrderedDict[bytes, tuple[tuple[VerificationKey, ...], Mapping[str, Any]]] = OrderedDict()
        """By the digest of a token that has a good signature: the keys that this was found with, and its claims."""
        self._refusals = Refusals(context.name, context.reactor)

    @staticmethod
    def foundation(context: Context) -> object:
        """Return what the middleware is built from; None where that is in a file too, which is read again."""
        table = context.configuration.authentications.get(context.settings.authentication or "")
        options = context.options if table is None else table.options
        return None if options.public_key_path else (context.settings, table)

    def start(self) -> None:
        """Begin to fetch the issuer's keys, and warn of what lets in more than it seems to."""
        if not self._audience:
            log.warn("{name}: without an audience, tokens for other services are taken too", name=self._name)
        if self._jwks_uri.startswith("http:") and not is_loopback(urlsplit(self._jwks_uri).hostname or ""):
            log.warn("{name}: the issuer's keys come without TLS: who is between can send others", name=self._name)
        if self._key_set is not None:
            self._key_set.start()

    def stop(self) -> None:
        """Break off what is being fetched."""
        if self._key_set is not None:
            self._key_set.stop()

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Proceed as the token's subject.

        Raises `AmbiguousCredentials`, and `TransportError` when the issuer's keys are not to be had.
        """
        origin = request.origin
        if not isinstance(origin, HTTPOrigin):
            raise Denied("not authorized", log_detail="jwt_auth: an association brings no token")
        try:
            claims = await self._signed(bearer.token_of(origin))
            subject = self._claims.subject(claims)
        except Unauthenticated as error:
            # A request that brings nothing is no failed login: clients ask first and are told what is wanted.
            if error.challenge != bearer.CHALLENGE:
                self._refusals.log(request.peer, error.log_detail)
            raise
        attributes = {**request.attributes, ATTRIBUTE: MappingProxyType(claims)}
        return await proceed(replace(request, principal=subject, attributes=attributes))

    async def _signed(self, text: str) -> Mapping[str, Any]:
        """Return what a token claims, its signature being good; whether the claims are is not known yet."""
        token = signed_tokens.read(text)
        keys = tuple(self._keys if self._key_set is None else await self._key_set.keys(token.kid))
        digest = sha256(text.encode()).digest()
        verified_by, claims = self._verified.get(digest, ((), None))
        if claims is not None and len(keys) == len(verified_by) and all(map(is_, keys, verified_by)):
            return claims
        claims = token.claims(keys)
        self._verified[digest] = keys, claims
        if len(self._verified) > MAX_VERIFIED:
            self._verified.popitem(last=False)
        return claims
