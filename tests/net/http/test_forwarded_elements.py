"""The elements of Forwarded, RFC 7239."""

from ipaddress import ip_address

import pytest

from harmonygw.net.http.forwarded_elements import MAX_ELEMENT_LENGTH, address_of, elements


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", []),
        (" , ,", []),
        (";", []),
        ("for=a", [{"for": "a"}]),
        ("for=a, for=b;by=c", [{"for": "b", "by": "c"}, {"for": "a"}]),
        ("For=A ; PROTO=https;", [{"for": "A", "proto": "https"}]),
        ('host="a,b;c=d"', [{"host": "a,b;c=d"}]),
        (r'host="a\"b\\", for=c', [{"for": "c"}, {"host": 'a"b\\'}]),
        (r'host="a, for=\"b\""', [{"host": 'a, for="b"'}]),
        ("for=[::1]:80;host=h:81", [{"for": "[::1]:80", "host": "h:81"}]),
        (",for=a", [{"for": "a"}]),
    ],
)
def test_the_last_element_comes_first(value: str, found: list[dict[str, str]]) -> None:
    assert list(elements(value)) == found


@pytest.mark.parametrize(
    "malformed",
    ["for", "for=", "=a", "for= a", 'for="a', 'for=a"', "for=a;for=b", "for=a b", "\xff=a", ",for", "fo r=a"],
)
def test_nothing_is_read_beyond_what_is_malformed(malformed: str) -> None:
    assert list(elements(f"for=spoof,{malformed},for=a")) == [{"for": "a"}]
    assert list(elements(malformed)) == []


def test_an_open_quote_of_the_client_does_not_swallow_what_the_proxy_says() -> None:
    assert list(elements('for="x, for=a;host="h"')) == [{"for": "a", "host": "h"}]


def test_an_element_has_a_length_at_most() -> None:
    longest = "for=" + "a" * (MAX_ELEMENT_LENGTH - 4)
    assert list(elements(f"{longest},for=b")) == [{"for": "b"}, {"for": longest[4:]}]
    assert list(elements(f"for=c,{longest}a,for=b")) == [{"for": "b"}]


@pytest.mark.parametrize(
    ("node", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:80", "192.0.2.7"),
        ("192.0.2.7:_port", "192.0.2.7"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
    ],
)
def test_a_node_has_an_address(node: str, address: str) -> None:
    assert address_of(node) == ip_address(address)


@pytest.mark.parametrize(
    "node",
    ["unknown", "_hidden", "", "2001:db8::1", "[192.0.2.7]", "192.0.2", "192.0.2.7:123456", "192.0.2.7 ", "[::1%1]"],
)
def test_what_names_no_address_has_none(node: str) -> None:
    assert address_of(node) is None
