"""Who sent a request, and to which host: reverse proxies that are trusted, and everybody else."""

from ipaddress import ip_network
from typing import Any

import pytest
from twisted.web.resource import Resource

from harmonygw.net.http.forwarded import Forwarded, authority
from harmonygw.net.http.tree import ToHTTPS
from tests.net.http.asking import Told, ask

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))


def told(*fields: str, peer: str = "10.0.0.1") -> dict[str, Any]:
    document: dict[str, Any] = ask(Forwarded(Told(), TRUSTED), "/a", *fields, peer=peer).document
    return document


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("198.51.100.1, 192.0.2.7", "192.0.2.7"),
        ("192.0.2.7, 10.1.1.1", "192.0.2.7"),
        ("192.0.2.7, 10.1.1.1, 2001:db8::1", "192.0.2.7"),
        ("10.1.1.1", "10.1.1.1"),
        ("2001:db9::7", "2001:db9::7"),
        ("unknown", "10.0.0.1"),
        ("192.0.2.7, unknown, 10.1.1.1", "10.1.1.1"),
        (" , ", "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(value: str, client: str) -> None:
    assert told(f"X-Forwarded-For: {value}")["client"] == client


def test_a_list_may_be_sent_in_several_fields() -> None:
    assert told("X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 192.0.2.7")["client"] == "192.0.2.7"


@pytest.mark.parametrize(
    ("fields", "host", "secure"),
    [
        (["X-Forwarded-Proto: https"], "h", True),
        (["X-Forwarded-Proto: HTTPS", "X-Forwarded-Host: g.example"], "g.example", True),
        (["X-Forwarded-Proto: https", "X-Forwarded-Host: g.example:8443"], "g.example:8443", True),
        (["X-Forwarded-Host: evil.example, g.example"], "g.example", False),
        (["X-Forwarded-Proto: gopher", "X-Forwarded-Host: [::1]:8080"], "[::1]:8080", False),
        (["X-Forwarded-Host: <script>"], "h", False),
        (["Host: h:8081"], "h:8081", False),
        ([], "h", False),
    ],
)
def test_host_and_scheme_are_those_that_the_client_used(fields: list[str], host: str, secure: bool) -> None:
    found = told(*fields)
    assert (found["host"], found["secure"]) == (host, secure)


def test_nobody_else_is_believed() -> None:
    fields = ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example")
    found = told(*fields, peer="192.0.2.1")
    assert (found["client"], found["host"], found["secure"]) == ("192.0.2.1", "h", False)


def test_a_peer_without_an_address_is_nobody() -> None:
    assert told("X-Forwarded-For: 203.0.113.9", peer="socket")["client"] == "socket"


def test_what_a_proxy_received_over_tls_is_not_redirected() -> None:
    root = Forwarded(ToHTTPS(Told()), TRUSTED)
    assert ask(root, "/", "X-Forwarded-Proto: https", peer="10.0.0.1").status == 200
    assert ask(root, "/", peer="10.0.0.1").status == 301


def test_the_resource_beneath_is_found_by_its_path() -> None:
    root = Resource()
    root.putChild(b"a", Told("a"))
    assert ask(Forwarded(root, TRUSTED), "/a/b", peer="10.0.0.1").document["postpath"] == ["b"]


@pytest.mark.parametrize("host", ["h", "h:80", "a.b-c.example.", "10.0.0.1:8081", "[::1]", "[fe80::1]:1", "x_y:"])
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    class Request:
        def getHeader(self, name: bytes) -> bytes:
            return host.encode()

    assert authority(Request()) == host


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "a@b", "-a", "h:123456", "h:x", "[::1", "ä", "h\r\nx: y", "a" * 300]
)
def test_what_is_neither_is_no_host(host: str) -> None:
    class Request:
        def getHeader(self, name: bytes) -> bytes:
            return host.encode()

    assert authority(Request()) == ""
