"""Hashes of passwords: bcrypt and argon2id, and nothing that is cheaper to guess."""

import re
from typing import Final

MAX_PASSWORD_BYTES: Final = 1024
"""Bytes of a password in UTF-8. Default 1024: more than anybody types, and little enough to hash for a stranger."""

BCRYPT_PASSWORD_BYTES: Final = 72
"""Bytes of a password that bcrypt looks at, and htpasswd keeps: what is behind them never counted."""

MAX_BCRYPT_COST: Final = 16
"""The binary logarithm of the rounds of a bcrypt hash. Default 16, seconds of a core: at 31 it would be a day."""

MAX_ARGON2_KIB: Final = 262_144
"""KiB of memory of an argon2id hash. Default 256 MiB, four times what RFC 9106 §4 recommends for want of memory: each
verification at work takes that much."""

MAX_ARGON2_PASSES: Final = 16
"""Passes over that memory. Default 16, five times what RFC 9106 §4 recommends."""

MAX_ARGON2_LANES: Final = 16
"""Lanes, each a thread of its own while it is verified. Default 16, four times what RFC 9106 §4 recommends."""

_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=([1-9]\d{0,9}),t=([1-9]\d{0,9}),p=([1-9]\d{0,9})\$[A-Za-z0-9+/]{11,128}\$[A-Za-z0-9+/]{16,128}"
)

MIN_BCRYPT_COST: Final = 4
"""The least cost that bcrypt knows."""

MIN_ARGON2_KIB_PER_LANE: Final = 8
"""KiB that each lane has at least (RFC 9106 §3.1)."""


def problem_of(hashed: str) -> str:
    """Return what is wrong with the hash of a password, in half a sentence without the hash; "" for one to use."""
    if match := _BCRYPT.fullmatch(hashed):
        if not MIN_BCRYPT_COST <= int(match[1]) <= MAX_BCRYPT_COST:
            return f"the cost of a bcrypt hash must be {MIN_BCRYPT_COST} to {MAX_BCRYPT_COST}, not {int(match[1])}"
        return ""
    if match := _ARGON2ID.fullmatch(hashed):
        return _argon2_problem(*map(int, match.groups()))
    return f"{_kind(hashed)}; bcrypt ($2y$, $2b$, $2a$) and argon2id are taken"


def verify(hashed: str, password: bytes) -> bool:
    """Return whether a hash is of a password, at the whole cost of the hash. Blocks: for a thread."""
    if hashed.startswith("$2"):
        import bcrypt  # late: what an embedder imports must not load it

        return bcrypt.checkpw(password[:BCRYPT_PASSWORD_BYTES], hashed.encode("ascii"))
    from argon2.exceptions import VerificationError
    from argon2.low_level import Type, verify_secret

    try:
        return verify_secret(hashed.encode("ascii"), password, Type.ID)
    except VerificationError:
        return False


def _argon2_problem(kib: int, passes: int, lanes: int) -> str:
    if lanes > MAX_ARGON2_LANES:
        return f"an argon2id hash must have p={MAX_ARGON2_LANES} at most, not {lanes}"
    if not MIN_ARGON2_KIB_PER_LANE * lanes <= kib <= MAX_ARGON2_KIB:
        return f"an argon2id hash must have m={MIN_ARGON2_KIB_PER_LANE * lanes} to {MAX_ARGON2_KIB} KiB, not {kib}"
    if passes > MAX_ARGON2_PASSES:
        return f"an argon2id hash must have t={MAX_ARGON2_PASSES} at most, not {passes}"
    return ""


def _kind(hashed: str) -> str:
    if hashed.startswith(("$2", "$argon2id$")):
        return "the hash is cut short or damaged"
    for beginning, name in _REFUSED:
        if hashed.startswith(beginning):
            return f"{name} is too easy to guess"
    if len(hashed) == 13:
        return "crypt is too easy to guess"
    return "there is a password in plain text, or a kind of hash that is not known"


_REFUSED: Final = (
    ("$apr1$", "MD5 ($apr1$)"),
    ("$1$", "MD5 ($1$)"),
    ("{SHA}", "SHA-1 ({SHA})"),
    ("{SSHA}", "SHA-1 ({SSHA})"),
    ("$5$", "SHA-256 crypt ($5$)"),
    ("$6$", "SHA-512 crypt ($6$)"),
    ("$argon2i$", "argon2i"),
    ("$argon2d$", "argon2d"),
)
