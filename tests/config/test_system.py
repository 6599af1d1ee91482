"""The tables that describe the gateway: what their keys demand of one another."""

from ipaddress import ip_network
from typing import Any

import pytest

from harmonygw.config.binding import INVALID, bind
from harmonygw.config.system import (
    Authentication,
    Limits,
    Management,
    Network,
    StorageSettings,
    Target,
    TCPSettings,
)


def bound(cls: type, table: dict[str, object]) -> tuple[Any, list[str]]:
    found: list[str] = []
    value = bind(cls, table, (), lambda path, sentence: found.append(f"{'.'.join(map(str, path))}: {sentence}"))
    return value, found


@pytest.mark.parametrize("name", ["tcp_config", "http"])
def test_a_networks_address_stands_under_either_name(name: str) -> None:
    network, found = bound(Network, {name: {"bind_address": "::1", "cert_path": "c", "key_path": "k"}})
    assert found == []
    assert (network.bind_address, network.bind_port, network.uses_tls, network.is_loopback) == ("::1", 8080, True, True)


def test_a_networks_defaults() -> None:
    network, found = bound(Network, {"trusted_proxies": ["10.0.0.1"]})
    assert found == []
    assert network == Network(TCPSettings("0.0.0.0", 8080), Limits(), (ip_network("10.0.0.1/32"),))
    assert not network.is_loopback
    assert network.limits == Limits(20.0, 30.0, 60.0, 60.0, 2000, 200, 16384, None)


@pytest.mark.parametrize(
    ("cls", "table", "problem"),
    [
        (TCPSettings, {"cert_path": "c"}, ': "key_path" is missing: a certificate and its key go together'),
        (TCPSettings, {"key_path": "k"}, ': "cert_path" is missing: a certificate and its key go together'),
        (TCPSettings, {"client_ca_path": "a"}, 'client_ca_path: needs TLS: "cert_path" and "key_path"'),
        (
            TCPSettings,
            {"cert_path": "c", "key_path": "k", "force_https": True},
            "force_https: is for a network without certificates",
        ),
        (Network, {"http": {}, "tcp_config": {}}, 'http: says the same as "tcp_config"; give one of them'),
        (
            Network,
            {"enable_wireguard": True},
            "enable_wireguard: cannot be true: setting up WireGuard is the operating system's job; bind to its address",
        ),
        (Limits, {"max_connections": 0}, "max_connections: must be 1 or more, not 0"),
        (Limits, {"header_timeout_secs": 0}, "header_timeout_secs: must be 0.001 to 86400, not 0"),
        (Limits, {"max_request_bytes": -1}, "max_request_bytes: must be 0 or more, not -1"),
        (Management, {"enabled": True}, ': "network" is missing: an enabled management API needs one'),
        (StorageSettings, {"backend": "s3"}, "backend: s3 is not in this build yet"),
        (
            Target,
            {"type": "http", "connection": {"protocol": "dicom"}},
            'type: must be that of "connection", dicom',
        ),
        (Target, {"timeout_secs": 0.9}, "timeout_secs: must be 1 to 300, not 0.9"),
        (Target, {"max_retries": 11}, "max_retries: must be 0 to 10, not 11"),
        (Target, {"connection": {"port": 0}}, "connection.port: must be 1 to 65535, not 0"),
        (Authentication, {}, ': "method" is missing'),
        (
            Authentication,
            {"method": "jwt"},
            'method: jwt needs discovery, jwks_uri, public_key_path or use_hs256 in "options"',
        ),
        (
            Authentication,
            {"method": "basic", "options": {"username": "u"}},
            'method: basic needs username and password, or credentials_path in "options"',
        ),
        (Authentication, {"method": "api_key"}, 'method: api_key needs token in "options"'),
        (
            Authentication,
            {"method": "none", "options": {"use_hs256": True, "hs256_secret": "s" * 31}},
            'options.use_hs256: needs an "hs256_secret" of 32 bytes or more',
        ),
        (
            Authentication,
            {"method": "none", "options": {"algorithms": ["HS256"]}},
            'options.algorithms: has HS256, which needs "use_hs256" = true',
        ),
    ],
)
def test_what_does_not_go_together_is_one_problem(cls: type, table: dict[str, object], problem: str) -> None:
    assert bound(cls, table)[1] == [problem]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"method": "jwt", "options": {"jwks_uri": "https://issuer/keys"}}, True),
        ({"method": "jwt", "options": {"use_hs256": True, "hs256_secret": "s" * 32, "algorithms": ["HS256"]}}, True),
        ({"method": "basic", "options": {"credentials_path": "users"}}, False),
        ({"method": "mutual_tls"}, False),
    ],
)
def test_methods_that_know_enough(table: dict[str, object], key: bool) -> None:
    authentication, found = bound(Authentication, table)
    assert found == []
    assert authentication.options.has_key == key


@pytest.mark.parametrize(("written", "path"), [("admin", "/admin"), ("/admin/", "/admin"), ("a/b", "/a/b")])
def test_the_management_path_may_have_slashes_or_not(written: str, path: str) -> None:
    assert bound(Management, {"base_path": written})[0].base_path == path


@pytest.mark.parametrize(
    ("seconds", "fits"), [(1, True), (1.0, True), (300, True), (300.5, False), (0, False), (True, False)]
)
def test_seconds_are_whole_or_broken_numbers_within_bounds(seconds: object, fits: bool) -> None:
    target, found = bound(Target, {"timeout_secs": seconds})
    assert (found == []) == fits
    assert not fits or type(target.timeout_secs) is float


def test_what_is_invalid_cannot_be_looked_at() -> None:
    assert bound(Authentication, {})[0] is INVALID
