"""Hashes of passwords: which are taken, and what they are of."""

import bcrypt
import pytest
from argon2.low_level import Type, hash_secret

from harmonygw.middleware.authentication.hashes import (
    MAX_ARGON2_KIB,
    MAX_ARGON2_LANES,
    MAX_ARGON2_PASSES,
    MAX_BCRYPT_COST,
    problem_of,
    verify,
)

BCRYPT = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
ARGON2ID = hash_secret(b"secret", b"saltsalt", 1, 8, 1, 32, Type.ID).decode()


@pytest.mark.parametrize("hashed", [BCRYPT, BCRYPT.replace("2b", "2a"), BCRYPT.replace("2b", "2y"), ARGON2ID])
def test_bcrypt_and_argon2id_are_taken_and_of_one_password(hashed: str) -> None:
    assert problem_of(hashed) == ""
    assert verify(hashed, b"secret")
    for wrong in (b"", b"Secret", b"secret ", b"secret\0"):
        assert not verify(hashed, wrong)


def test_bcrypt_looks_at_as_much_of_a_password_as_htpasswd_keeps() -> None:
    hashed = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    assert verify(hashed, b"x" * 73)
    assert not verify(hashed, b"x" * 71)


@pytest.mark.parametrize(
    ("hashed", "problem"),
    [
        ("$apr1$abcdefgh$0123456789012345678901", "MD5 ($apr1$) is too easy to guess"),
        ("$1$abcdefgh$0123456789012345678901", "MD5 ($1$) is too easy to guess"),
        ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1 ({SHA}) is too easy to guess"),
        ("{SSHA}abc", "SHA-1 ({SSHA}) is too easy to guess"),
        ("$5$salt$hash", "SHA-256 crypt ($5$) is too easy to guess"),
        ("$6$salt$hash", "SHA-512 crypt ($6$) is too easy to guess"),
        (ARGON2ID.replace("argon2id", "argon2i"), "argon2i is too easy to guess"),
        (ARGON2ID.replace("argon2id", "argon2d"), "argon2d is too easy to guess"),
        ("rqXexS6ZhobKA", "crypt is too easy to guess"),
        ("secret", "there is a password in plain text, or a kind of hash that is not known"),
        ("", "there is a password in plain text, or a kind of hash that is not known"),
        (BCRYPT[:-1], "the hash is cut short or damaged"),
        (BCRYPT + "x", "the hash is cut short or damaged"),
        (BCRYPT.replace("$2b$", "$2x$"), "the hash is cut short or damaged"),
        (ARGON2ID.replace("v=19", "v=16"), "the hash is cut short or damaged"),
    ],
)
def test_what_is_cheap_to_guess_or_damaged_is_refused(hashed: str, problem: str) -> None:
    assert problem_of(hashed) == f"{problem}; bcrypt ($2y$, $2b$, $2a$) and argon2id are taken"


@pytest.mark.parametrize(
    ("cost", "taken"), [(3, False), (4, True), (MAX_BCRYPT_COST, True), (MAX_BCRYPT_COST + 1, False)]
)
def test_a_bcrypt_hash_has_a_cost_within_bounds(cost: int, taken: bool) -> None:
    hashed = BCRYPT.replace("$04$", f"${cost:02}$")
    sentence = f"the cost of a bcrypt hash must be 4 to {MAX_BCRYPT_COST}, not {cost}"
    assert problem_of(hashed) == ("" if taken else sentence)


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        (f"m={MAX_ARGON2_KIB},t={MAX_ARGON2_PASSES},p={MAX_ARGON2_LANES}", ""),
        (f"m={MAX_ARGON2_KIB + 1},t=1,p=1", f"m=8 to {MAX_ARGON2_KIB} KiB, not {MAX_ARGON2_KIB + 1}"),
        ("m=15,t=1,p=2", f"m=16 to {MAX_ARGON2_KIB} KiB, not 15"),
        (f"m=1024,t={MAX_ARGON2_PASSES + 1},p=1", f"t={MAX_ARGON2_PASSES} at most, not {MAX_ARGON2_PASSES + 1}"),
        (f"m=1024,t=1,p={MAX_ARGON2_LANES + 1}", f"p={MAX_ARGON2_LANES} at most, not {MAX_ARGON2_LANES + 1}"),
    ],
)
def test_an_argon2id_hash_has_costs_within_bounds(parameters: str, problem: str) -> None:
    found = problem_of(ARGON2ID.replace("m=8,t=1,p=1", parameters))
    assert found == (f"an argon2id hash must have {problem}" if problem else "")
