import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from harmonygw.net.http.addresses import network_of, plain, plain_peer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_an_address_of_ipv4_in_ipv6s_form_is_one_of_ipv4(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize("text", ["", "a", "192.0.2.1:80", "[::1]", "1.2.3", "::ffff:1.2.3.4.5"])
def test_what_is_no_address_raises(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        plain(text)


def test_a_peer_keeps_its_port() -> None:
    assert plain_peer(IPv6Address("TCP", "::ffff:192.0.2.1", 7)) == IPv4Address("TCP", "192.0.2.1", 7)
    for peer in (IPv6Address("TCP", "2001:db8::1", 7), IPv4Address("TCP", "192.0.2.1", 7), UNIXAddress("/x")):
        assert plain_peer(peer) is peer


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", ""),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("nobody", ""),
        ("no:body", ""),
    ],
)
def test_an_address_of_ipv6_is_in_a_network(host: str, expected: str) -> None:
    assert network_of(host) == expected
