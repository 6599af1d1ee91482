"""Who sent a request, and to which host: reverse proxies that are trusted, and everybody else."""

from ipaddress import ip_network
from typing import Any

import pytest
from twisted.web.resource import Resource

from harmonygw.net.http.forwarded import CONFLICT, Forwarded
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


@pytest.mark.parametrize("trusted", ["10.0.0.0/8", "::ffff:10.0.0.0/104"])
@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1"])
def test_a_proxy_is_trusted_in_either_form_of_its_address(trusted: str, peer: str) -> None:
    for name, value in (("X-Forwarded-For", "::ffff:192.0.2.7"), ("Forwarded", 'for="[::ffff:192.0.2.7]"')):
        answer = ask(Forwarded(Told(), [ip_network(trusted)]), "/a", f"{name}: {value}", peer=peer)
        assert answer.document["client"] == "192.0.2.7"


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
        (["X-Forwarded-Host: <script>", "X-Forwarded-Proto: https"], "h", True),
        (["X-Forwarded-Port: 8443"], "h:8443", False),
        (["X-Forwarded-Proto: https", "X-Forwarded-Port: 443"], "h", True),
        (["X-Forwarded-Port: 80, 65535"], "h:65535", False),
        (["X-Forwarded-Port: 65536"], "h", False),
        (["X-Forwarded-Port: 0"], "h", False),
        (["X-Forwarded-Port: 8x"], "h", False),
        (["X-Forwarded-Host: g.example:81", "X-Forwarded-Port: 82"], "g.example:81", False),
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


@pytest.mark.parametrize(
    ("fields", "client"),
    [
        (["Forwarded: for=192.0.2.7"], "192.0.2.7"),
        (['Forwarded: For="192.0.2.7:4711";Proto=https'], "192.0.2.7"),
        (['Forwarded: for="[2001:db9:0::7]:4711"'], "2001:db9::7"),
        (["Forwarded: for=198.51.100.1, for=192.0.2.7"], "192.0.2.7"),
        (["Forwarded: for=198.51.100.1", "Forwarded: for=192.0.2.7"], "192.0.2.7"),
        (["Forwarded: for=192.0.2.7, for=10.1.1.1"], "192.0.2.7"),
        (['Forwarded: for=192.0.2.7, for="[2001:db8::1]", for=10.1.1.1'], "192.0.2.7"),
        (["Forwarded: for=192.0.2.7, for=_hidden, for=10.1.1.1"], "10.1.1.1"),
        (["Forwarded: for=192.0.2.7, proto=https, for=10.1.1.1"], "10.1.1.1"),
        (["Forwarded: for=192.0.2.7, for=unknown"], "10.0.0.1"),
        (["Forwarded: for=192.0.2.7, ="], "10.0.0.1"),
        (['Forwarded: for="', "Forwarded: for=192.0.2.7"], "192.0.2.7"),
        (["Forwarded: proto=https", "X-Forwarded-For: 192.0.2.7"], "192.0.2.7"),
        (["Forwarded: for=192.0.2.7", "X-Forwarded-For: 198.51.100.1, 192.0.2.7"], "192.0.2.7"),
    ],
)
def test_forwarded_names_the_client_by_the_last_element_that_a_trusted_proxy_has_written(
    fields: list[str], client: str
) -> None:
    assert told(*fields)["client"] == client


@pytest.mark.parametrize(
    ("fields", "host", "secure"),
    [
        (["Forwarded: for=192.0.2.7;proto=https;host=g.example"], "g.example", True),
        (['Forwarded: for=192.0.2.7;proto=HTTPS;host="g.example:8443"'], "g.example:8443", True),
        (['Forwarded: proto=http;host="[2001:db8::5]:8080"'], "[2001:db8::5]:8080", False),
        # The proxy at the edge knows what the client asked, and was asked by one nearer to us.
        (
            ["Forwarded: for=192.0.2.7;proto=https;host=g.example, for=10.1.1.1;proto=http;host=inner"],
            "g.example",
            True,
        ),
        (["Forwarded: for=192.0.2.7, for=10.1.1.1;proto=https;host=g.example"], "g.example", True),
        (["Forwarded: for=198.51.100.1;proto=https;host=evil.example, for=192.0.2.7"], "h", False),
        (['Forwarded: proto=gopher;host="<script>"'], "h", False),
        (
            ["Forwarded: proto=https;host=g.example", "X-Forwarded-Proto: http", "X-Forwarded-Host: i"],
            "g.example",
            True,
        ),
        (["Forwarded: for=192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: g.example"], "g.example", True),
        (["Forwarded: proto=https", "X-Forwarded-Port: 81"], "h", True),
    ],
)
def test_forwarded_comes_before_the_others(fields: list[str], host: str, secure: bool) -> None:
    found = told(*fields)
    assert (found["host"], found["secure"]) == (host, secure)


@pytest.mark.parametrize("forwarded", ["for=192.0.2.7", "for=_hidden", "for=10.1.1.1"])
def test_two_fields_that_name_different_clients_are_refused(forwarded: str) -> None:
    answered = ask(
        Forwarded(Told(), TRUSTED), "/a", f"Forwarded: {forwarded}", "X-Forwarded-For: 203.0.113.9", peer="10.0.0.1"
    )
    assert (answered.status, answered.document["detail"]) == (400, CONFLICT)


def test_nobody_else_is_believed_by_forwarded() -> None:
    found = told("Forwarded: for=203.0.113.9;proto=https;host=evil.example", peer="192.0.2.1")
    assert (found["client"], found["host"], found["secure"]) == ("192.0.2.1", "h", False)
