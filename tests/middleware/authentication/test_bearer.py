"""Bearer tokens in requests."""

import pytest

from harmonygw.errors import AmbiguousCredentials, Unauthenticated
from harmonygw.exchange import HTTPOrigin
from harmonygw.middleware.authentication.bearer import MAX_TOKEN_BYTES, insufficient_scope, is_token, token_of


def origin(authorization: str | None, *query: tuple[str, str]) -> HTTPOrigin:
    headers = {} if authorization is None else {"authorization": authorization}
    return HTTPOrigin("GET", ("studies",), query, headers)


@pytest.mark.parametrize("authorization", ["Bearer abc", "bEaReR abc", "Bearer   abc "])
def test_the_token_is_behind_the_scheme(authorization: str) -> None:
    assert token_of(origin(authorization)) == "abc"


@pytest.mark.parametrize(
    ("authorization", "query"),
    [(None, ()), ("", ()), ("Basic YTpi", ()), ("Digest a=b, c=d", ()), (None, (("access_token", "abc"),))],
)
def test_without_a_token_it_is_asked_for_and_no_error_is_named(
    authorization: str | None, query: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(Unauthenticated) as refused:
        token_of(origin(authorization, *query))
    assert refused.value.challenge == 'Bearer realm="harmonygw"'


@pytest.mark.parametrize("token", ["", "a b", "=", "abc=d", "ä", "a\x00", "a" * (MAX_TOKEN_BYTES + 1)])
def test_what_is_no_token_is_an_invalid_one(token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        token_of(origin(f"Bearer {token}"))
    assert refused.value.challenge == 'Bearer realm="harmonygw", error="invalid_token"'


def test_a_token_is_so_long_at_most() -> None:
    assert is_token("a" * MAX_TOKEN_BYTES)
    assert not is_token("a" * (MAX_TOKEN_BYTES + 1))


@pytest.mark.parametrize(
    ("authorization", "query"),
    [
        ("Bearer abc, Bearer abc", ()),
        ("Basic YTpi, Bearer abc", ()),
        ("Bearer abc", (("access_token", "abc"),)),
    ],
)
def test_two_ways_at_once_are_an_invalid_request(authorization: str, query: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(AmbiguousCredentials) as refused:
        token_of(origin(authorization, *query))
    assert refused.value.challenge == 'Bearer realm="harmonygw", error="invalid_request"'


@pytest.mark.parametrize(
    ("scope", "said"),
    [("", ""), ("patient/ImagingStudy.r", ', scope="patient/ImagingStudy.r"'), ("a b", ', scope="a b"')],
)
def test_what_a_token_does_not_allow_names_the_scope_that_would(scope: str, said: str) -> None:
    refused = insufficient_scope(scope, "why")
    assert refused.challenge == f'Bearer realm="harmonygw", error="insufficient_scope"{said}'
    assert (refused.log_detail, str(refused)) == ("why", "The token does not allow it.")
