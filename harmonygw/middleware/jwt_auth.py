"""The `jwt_auth` middleware: who has no valid JSON Web Token goes no further (RFC 7519, RFC 6750), nor who has one
whose scopes do not allow what is asked."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from operator import is_
from types import MappingProxyType
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from harmonygw.config.tokens import TokenOptions, is_safe
from harmonygw.errors import ConfigurationError, Denied, Unauthenticated
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.authentication import bearer, signed_tokens
from harmonygw.middleware.authentication.claims import Claims
from harmonygw.middleware.authentication.discovery import discovered, metadata_url, published
from harmonygw.middleware.authentication.fetching import fetch as fetch_document
from harmonygw.middleware.authentication.key_set import KeySet
from harmonygw.middleware.authentication.keys import (
    VerificationKey,
    check_algorithms,
    public_key,
    shared_secret,
)
from harmonygw.middleware.authentication.refusals import Refusals
from harmonygw.middleware.authentication.scopes import Grants, Scopes
from harmonygw.pipeline import Context, IMiddleware, Proceed

log = Logger(namespace="harmonygw.authentication")

ATTRIBUTE: Final = "claims"
"""The name of the metadata that the claims of a token are left in, for later middleware."""

MAX_VERIFIED: Final = 1024
"""Tokens whose signature is not verified again while the keys are the same. Default 1024, of a hospital's viewers at a
time; the oldest is forgotten. Their dates are looked at each time."""


@dataclass(frozen=True, slots=True, repr=False)
class _Verified:
    """What is remembered of a token that has a good signature."""

    keys: tuple[VerificationKey, ...]
    """Those that this was found with."""
    issuer: str
    kid: str
    claims: Mapping[str, Any]
    grants: Grants


@implementer(IMiddleware)
class JWTAuth:
    """Raises `Unauthenticated` without a valid token, and `InsufficientScope` when its scopes do not allow what is
    asked.

    With one that does, the request's principal is the token's subject, its claims are in
    `request.attributes["claims"]`, and what its scopes are confined to is in `request.restrictions`.

    An association brings no token: it is refused.
    """

    def __init__(
        self,
        context: Context,
        fetch: "Callable[[str], Deferred[bytes]] | None" = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`fetch` brings what a URL has in the place of a client of our own; `now` is the wall clock, in seconds
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
        self._key_sets: dict[str, KeySet] = {}
        """By issuer; by the empty text where one set is for all."""
        self._is_by_issuer = options.discovery != "none"
        if sum(map(bool, (self._is_by_issuer, options.jwks_uri, options.public_key_path, options.use_hs256))) != 1:
            # Keys of two origins are two ways in, of which one is forgotten.
            raise ConfigurationError(("give one of discovery, jwks_uri, public_key_path and use_hs256",))
        bring = fetch or partial(fetch_document, reactor=context.reactor)
        allowed = options.algorithms
        if options.discovery != "none":
            for issuer in options.issuers:
                keys_of = partial(discovered, issuer, options.discovery, bring, allowed)
                url = metadata_url(issuer, options.discovery)
                self._key_sets[issuer] = KeySet(url, keys_of, context.reactor)
        elif options.jwks_uri:
            keys_of = partial(published, options.jwks_uri, bring, allowed)
            self._key_sets[""] = KeySet(options.jwks_uri, keys_of, context.reactor)
        elif options.public_key_path:
            self._keys = (public_key(options.public_key_path, allowed),)
        elif allowed and "HS256" not in allowed:
            raise ConfigurationError(("use_hs256: HS256 is not in algorithms",))
        else:
            self._keys = (shared_secret(options.hs256_secret),)
        self._types = frozenset(map(signed_tokens.plain_type, options.token_types))
        self._claims = Claims(options, now)
        self._scopes = Scopes(options)
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        """By the digest of a token."""
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
        if self._jwks_uri and not is_safe(self._jwks_uri):
            log.warn("{name}: the issuer's keys come without TLS: who is between can send others", name=self._name)
        for key_set in self._key_sets.values():
            key_set.start()

    def stop(self) -> None:
        """Break off what is being fetched."""
        for key_set in self._key_sets.values():
            key_set.stop()

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Proceed as the token's subject.

        Raises `AmbiguousCredentials` too, and `TransportError` when the issuer's keys are not to be had.
        """
        origin = request.origin
        if not isinstance(origin, HTTPOrigin):
            raise Denied("not authorized", log_detail="jwt_auth: an association brings no token")
        try:
            verified = await self._signed(bearer.token_of(origin))
            subject = self._claims.subject(verified.claims)
        except Unauthenticated as error:
            # A request that brings nothing is no failed login: clients ask first and are told what is wanted.
            if error.challenge != bearer.CHALLENGE:
                self._refusals.log(request.peer, error.log_detail)
            raise
        request.record.principal = subject
        restrictions = (*request.restrictions, *self._scopes.check(verified.grants, request))
        attributes = {**request.attributes, ATTRIBUTE: MappingProxyType(verified.claims)}
        return await proceed(replace(request, principal=subject, attributes=attributes, restrictions=restrictions))

    async def _signed(self, text: str) -> _Verified:
        """Return what a token claims, its signature being good; whether the claims are is not known yet."""
        digest = sha256(text.encode()).digest()
        known = self._verified.get(digest)
        if known is not None:
            keys = await self._keys_of(known.issuer, known.kid)
            if len(keys) == len(known.keys) and all(map(is_, keys, known.keys)):
                return known
        token = signed_tokens.read(text)
        if token.type not in self._types:
            raise bearer.refusal("its type is none that is taken (typ)")
        issuer = token.issuer if self._is_by_issuer else ""
        keys = await self._keys_of(issuer, token.kid)
        claims = token.claims(keys)
        self._verified[digest] = verified = _Verified(keys, issuer, token.kid, claims, self._scopes.grants(claims))
        if len(self._verified) > MAX_VERIFIED:
            self._verified.popitem(last=False)
        return verified

    async def _keys_of(self, issuer: str, kid: str) -> tuple[VerificationKey, ...]:
        if not self._key_sets:
            return tuple(self._keys)
        key_set = self._key_sets.get(issuer)
        if key_set is None:
            raise bearer.refusal("its issuer (iss) is none that is trusted")
        return tuple(await key_set.keys(kid))
