"""The host that a request is for."""

import pytest

from harmonygw.net.http.authority import authority


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
