"""Passwords checked in a few threads, and for a short time remembered as right."""

import hmac
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from harmonygw.errors import Busy
from harmonygw.joining import Joining
from harmonygw.middleware.authentication.hashes import MAX_PASSWORD_BYTES, verify
from harmonygw.net.http.addresses import network_of

THREADS: Final = 2
"""Threads that hash. Default 2: a hash is a core for a tenth of a second, and the gateway has other work."""

MAX_VERIFICATIONS: Final = 32
"""Verifications that are at work or wait for a thread. Default 32, a few seconds of work; one more is 503."""

MAX_OF_ONE_ADDRESS: Final = 8
"""Of these, those that one client address may have. Default 8, a quarter: whoever guesses leaves room for others."""

MAX_OF_ONE_NETWORK: Final = 16
"""Of these, those that the addresses of one /64 of IPv6 may have together. Default 16, half: whoever guesses may have
all of its addresses."""

REMEMBERED_SECS: Final = 60.0
"""Seconds that a password which was right is right without hashing. Default 60: a viewer asks for a study in one."""

MAX_REMEMBERED: Final = 4096
"""Users whose password is remembered so. Default 4096, a large hospital at a time; the oldest is forgotten."""

_KEY: Final = secrets.token_bytes(32)
"""Makes what is remembered worthless outside of this process."""


class Threads:
    """The threads that hash."""

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, THREADS, name=name)

    def start(self) -> None:
        """Take work."""
        self._pool.start()

    def stop(self) -> "Deferred[None]":
        """Take no more; fires when what was begun is done."""
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._pool.stop)

    def run(self, function: Callable[..., Any], *arguments: Any) -> "Deferred[Any]":
        """Call a function in a thread."""
        return deferToThreadPool(self._reactor, self._pool, function, *arguments)


class Passwords:
    """Checks passwords against hashes.

    Whether a user is known is told neither by the answer nor by the time it takes: a name that nobody has is verified
    against the hash of somebody, always the same one, so that it costs what a user of this file costs.
    """

    def __init__(self, run: Callable[..., "Deferred[Any]"], clock: Any) -> None:
        """`run` calls a function in a thread."""
        self._run = run
        self._clock = clock
        self._verifications = 0
        self._at_work: Counter[str] = Counter()
        """By address, and by network."""
        self._joining: Joining[bytes, bool] = Joining()
        self._remembered: OrderedDict[bytes, float] = OrderedDict()

    async def check(self, users: Mapping[str, str], username: str, password: str, peer: str) -> bool:
        """Return whether a user has a password; raises `Busy` beyond `MAX_VERIFICATIONS`, `MAX_OF_ONE_ADDRESS`
        and `MAX_OF_ONE_NETWORK`.

        `peer` is the client's address.
        """
        secret = password.encode("utf-8", "surrogatepass")
        if len(secret) > MAX_PASSWORD_BYTES:
            return False
        hashed = users.get(username)
        known = hashed is not None
        if hashed is None:
            hashed = _somebody(tuple(users.values()), username)
        # The hash is in the key: a password that was changed is forgotten with it.
        key = _digest(username.encode("utf-8", "surrogatepass"), secret, hashed.encode())
        if known and self._is_remembered(key):
            return True
        fits = await self._joining.wait(key, lambda: self._verify(hashed, secret, peer))
        if fits and known:
            self._remember(key)
        return fits and known

    async def _verify(self, hashed: str, secret: bytes, peer: str) -> bool:
        network = network_of(peer)
        if (
            self._verifications >= MAX_VERIFICATIONS
            or self._at_work[peer] >= MAX_OF_ONE_ADDRESS
            or (network and self._at_work[network] >= MAX_OF_ONE_NETWORK)
        ):
            limits = f"{MAX_VERIFICATIONS} verifications, {MAX_OF_ONE_ADDRESS} of one address"
            raise Busy("Too many passwords are being checked.", log_detail=f"more than {limits} wait")
        self._verifications += 1
        self._at_work.update(filter(None, (peer, network)))
        outcome: Deferred[bool] = Deferred()
        # Not awaited itself: a client that goes must not free the place of a thread that still hashes for it.
        self._run(verify, hashed, secret).addBoth(self._ended, peer, outcome)
        return await outcome

    def _ended(self, result: "bool | Failure", peer: str, outcome: "Deferred[bool]") -> None:
        self._verifications -= 1
        self._at_work.subtract(filter(None, (peer, network_of(peer))))
        self._at_work = +self._at_work
        if outcome.called:
            return
        if isinstance(result, Failure):
            outcome.errback(result)
        else:
            outcome.callback(result)

    def _is_remembered(self, key: bytes) -> bool:
        until = self._remembered.get(key)
        if until is not None and until <= self._clock.seconds():
            del self._remembered[key]
            return False
        return until is not None

    def _remember(self, key: bytes) -> None:
        self._remembered.pop(key, None)
        self._remembered[key] = self._clock.seconds() + REMEMBERED_SECS
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)


def _somebody(hashes: Sequence[str], username: str) -> str:
    number = int.from_bytes(_digest(username.encode("utf-8", "surrogatepass"))[:8])
    return hashes[number % len(hashes)]


def _digest(*parts: bytes) -> bytes:
    """Return a keyed digest of some values, each with its length, so that none can pass for two."""
    mac = hmac.new(_KEY, digestmod="sha256")
    for part in parts:
        mac.update(len(part).to_bytes(8))
        mac.update(part)
    return mac.digest()
