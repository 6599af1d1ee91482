"""What an `authentications` table shows a server."""

import pytest

from harmonygw.config.model import Authentication, AuthenticationOptions
from harmonygw.errors import ConfigurationError
from harmonygw.net.http.credentials import Credentials, credentials


def made(method: str, **options: object) -> Credentials:
    return credentials("a", Authentication(method, AuthenticationOptions(**options)))  # type: ignore[arg-type]


def test_each_method_has_its_field() -> None:
    assert made("basic", username="Aladdin", password="open sesame").fields == (
        ("Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
    )
    assert made("basic", username="ü", password="ü").fields == (("Authorization", "Basic w7w6w7w="),)
    assert made("bearer", token="t").fields == (("Authorization", "Bearer t"),)
    assert made("api_key", token="k").fields == (("X-API-Key", "k"),)
    assert made("api_key", token="k", header="Ocp-Key").fields == (("Ocp-Key", "k"),)
    own = made("mutual_tls", cert_path="c", key_path="k")
    assert (own.fields, own.cert_path, own.key_path, own.any) == ((), "c", "k", True)


def test_none_is_none() -> None:
    assert not credentials("", None).any
    assert not made("none").any


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(made("bearer", token="secret"))


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("basic", {"credentials_path": "f"}, "username and password"),
        ("basic", {"username": "a:b", "password": "c"}, "colon"),
        ("bearer", {"token": "a\r\nX: y"}, "characters"),
        ("bearer", {"token": " a"}, None),
        ("api_key", {"token": "ü"}, "characters"),
        ("api_key", {"token": " k"}, "characters"),
        ("mutual_tls", {}, "cert_path and key_path"),
        ("mutual_tls", {"cert_path": "c"}, "cert_path and key_path"),
        ("jwt", {"public_key_path": "p"}, "takes bearer"),
    ],
)
def test_what_cannot_be_shown_is_an_error(method: str, options: dict[str, object], sentence: str | None) -> None:
    if sentence is None:
        made(method, **options)
        return
    with pytest.raises(ConfigurationError, match=sentence) as refused:
        made(method, **options)
    assert str(refused.value).startswith("authentications.a: ")
