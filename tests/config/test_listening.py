"""Listening addresses, collisions, and what is open."""

import pytest

from harmonygw.config.model import Route
from tests.config.conftest import Configure, Problems

PEERS = '[peers.full]\nconnection.host = "10.0.0.2"\nconnection.port = 2\n[peers.bare]\n'


def scp(endpoint: str, *, http: bool = False) -> str:
    return (
        '[proxy]\nid = "x"\n'
        '[network.n.http]\nbind_address = "127.0.0.1"\nbind_port = 9\n'
        '[pipelines.p]\nnetworks = ["n"]\nendpoints = ["e"]\nbackends = ["b"]\n'
        f'[endpoints.e]\nservice = "dicom_scp"\n{endpoint}\n'
        '[backends.b]\nservice = "storage"\n'
        + PEERS
        + (
            '[pipelines.h]\nnetworks = ["n"]\nendpoints = ["echo"]\n[endpoints.echo]\nservice = "echo"\n'
            if http
            else ""
        )
    )


@pytest.mark.parametrize(
    ("endpoint", "http", "address"),
    [
        (
            (
                'options = { bind_addr = "10.0.0.4", port = 4 }\nconnection = { host = "10.0.0.3", port'
                ' = 3 }\npeer_ref = "full"'
            ),
            False,
            ("10.0.0.4", 4),
        ),
        ('connection = { host = "10.0.0.3", port = 3 }\npeer_ref = "full"', False, ("10.0.0.3", 3)),
        ('peer_ref = "full"', False, ("10.0.0.2", 2)),
        ('connection.port = 3\npeer_ref = "full"', False, ("10.0.0.2", 3)),
        ('peer_ref = "bare"', False, ("127.0.0.1", 9)),
        ("", False, ("127.0.0.1", 9)),
        ("", True, ("127.0.0.1", 11112)),
        ("options.port = 4", True, ("127.0.0.1", 4)),
        ("options.port = 0", False, ("127.0.0.1", 0)),
    ],
)
def test_the_nearest_place_that_says_it_counts(
    configure: Configure, endpoint: str, http: bool, address: tuple[str, int]
) -> None:
    assert configure(scp(endpoint, http=http)).endpoints["e"].addresses == (address,)


def test_an_scp_without_address_of_its_own_is_on_each_network(configure: Configure) -> None:
    text = scp("").replace('networks = ["n"]', 'networks = ["n", "m"]') + '[network.m.http]\nbind_address = "::1"\n'
    assert configure(text).endpoints["e"].addresses == (("127.0.0.1", 9), ("::1", 8080))


def http(*pipelines: str, networks: str = "") -> str:
    endpoints = "".join(
        f'[endpoints.{name}]\nservice = "{service}"\noptions = {{ path_prefix = "{prefix}" }}\n'
        for name, service, prefix in (
            ("a", "dicomweb", "/a"),
            ("ab", "http", "a/b/"),
            ("root", "http", "/"),
            ("z", "echo", "a"),
        )
    )
    text = f'[proxy]\nid = "x"\n{networks or "[network.n]"}\n{endpoints}[backends.b]\nservice = "storage"\n'
    return text + "".join(
        f'[pipelines.{name}]\nnetworks = ["n"]\nendpoints = [{", ".join(map(repr, listed))}]\nbackends = ["b"]\n'
        for name, _, some in (one.partition("=") for one in pipelines)
        for listed in [some.split()]
    )


def test_routes_have_the_longest_prefix_first(configure: Configure) -> None:
    assert configure(http("p=root a", "q=ab")).routes == {
        "n": (Route("/a/b", "q", "ab"), Route("/a", "p", "a"), Route("", "p", "root"))
    }


def test_two_endpoints_with_one_prefix_on_a_network_are_a_problem(problems: Problems) -> None:
    assert problems(http("p=a", "q=root z")) == [
        'config.toml:24: pipelines.q.endpoints[1]: path prefix "/a" on network "n" is already that of'
        ' endpoint "a" of pipelines.p'
    ]


def test_so_is_one_with_the_prefix_of_the_management_api(problems: Problems) -> None:
    text = http("p=a") + '[management]\nenabled = true\nbase_path = "a"\nnetwork = "n"\n'
    assert problems(text) == [
        'config.toml:20: pipelines.p.endpoints[0]: path prefix "/a" on network "n" is already that of management'
    ]


@pytest.mark.parametrize(
    ("first", "second", "collide"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "localhost", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "::1", False),
        ("::", "127.0.0.1", True),
        ("::1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.2", False),
    ],
)
def test_networks_that_serve_http_may_not_share_address_and_port(
    configure: Configure, problems: Problems, first: str, second: str, collide: bool
) -> None:
    networks = f'[network.n.http]\nbind_address = "{first}"\n[network.m.http]\nbind_address = "{second}"\n'
    text = http("p=a", networks=networks).replace('networks = ["n"]', 'networks = ["n", "m"]')
    if collide:
        assert problems(text) == [
            "config.toml:5: network.m: listens on port 8080, and so does network.n (config.toml:3)"
        ]
    else:
        assert set(configure(text).routes) == {"n", "m"}


def test_a_network_that_serves_nothing_takes_no_port(configure: Configure) -> None:
    text = http("p=a", networks="[network.n]\n[network.m]\n")
    assert list(configure(text).routes) == ["n"]


def test_ports_that_the_system_chooses_never_collide(configure: Configure) -> None:
    text = http("p=a", networks="[network.n]\nhttp.bind_port = 0\n[network.m]\nhttp.bind_port = 0\n")
    assert set(configure(text.replace('networks = ["n"]', 'networks = ["n", "m"]')).routes) == {"n", "m"}


def test_an_scp_may_not_be_on_the_port_of_an_http_network(problems: Problems) -> None:
    assert problems(scp("options.port = 9", http=True)) == [
        "config.toml:10: endpoints.e: listens on port 9, and so does network.n (config.toml:3)"
    ]


def test_the_port_of_sub_operations_may_be_an_scps_but_not_an_http_networks(
    configure: Configure, problems: Problems
) -> None:
    scu = 'service = "dicom_scu"\noptions = { host = "h", aet = "H", incoming_store_port = 9 }\n'
    other = scu.replace('"H"', '"C"')
    text = scp("").replace('service = "storage"', scu) + f"[backends.c]\n{other}"
    shared = text.replace('backends = ["b"]', 'backends = ["b", "c"]\noptions.strategy = "federate"')
    assert configure(shared).backends["b"].options.incoming_store_port == 9
    served = text + '[endpoints.f]\nservice = "echo"\n[network.o.http]\nbind_port = 9\n'
    served = served.replace('endpoints = ["e"]', 'endpoints = ["f"]').replace('["n"]', '["o"]')
    assert problems(served) == [
        "config.toml:15: backends.b.options.incoming_store_port: listens on port 9, and so does network.o"
        " (config.toml:26)"
    ]


TLS = 'cert_path = "c"\nkey_path = "k"\n'


@pytest.mark.parametrize(
    ("network", "endpoint", "middleware", "is_open"),
    [
        ('bind_address = "127.0.0.1"', "", "", False),
        ('bind_address = "::1"', "", "", False),
        ('bind_address = "pacs.local"', "", "", True),
        ("", "", "", True),
        (TLS, "", "", True),
        (TLS + 'client_ca_path = "a"', "", "", False),
        ("", 'authentication = "known"', "", False),
        ("", 'authentication = "nobody"', "", True),
        ("", "", '"guard"', False),
        ("", "", '"passthru"', True),
    ],
)
def test_a_pipeline_is_open_when_others_reach_it_and_nobody_asks_who_they_are(
    configure: Configure, network: str, endpoint: str, middleware: str, is_open: bool
) -> None:
    configuration = configure(
        f'[proxy]\nid = "x"\n[network.n.http]\n{network}\n'
        f'[pipelines.p]\nnetworks = ["n"]\nendpoints = ["e"]\nmiddleware = [{middleware}]\nbackends = ["b"]\n'
        f'[endpoints.e]\nservice = "dicomweb"\n{endpoint}\n[backends.b]\nservice = "storage"\n'
        '[middleware.guard]\ntype = "basic_auth"\noptions = { username = "u", password = "p" }\n'
        '[authentications.nobody]\nmethod = "none"\n'
        '[authentications.known]\nmethod = "basic"\noptions.credentials_path = "users"\n'
    )
    assert configuration.unauthenticated == (("p",) if is_open else ())
    assert len([one for one in configuration.warnings if "without authentication" in one]) == is_open


@pytest.mark.parametrize("service", ["http", "echo", "management", "viewer"])
def test_every_service_over_http_is_as_open_as_its_network(configure: Configure, service: str) -> None:
    configuration = configure(
        '[proxy]\nid = "x"\n[network.n.http]\n'
        '[pipelines.p]\nnetworks = ["n"]\nendpoints = ["e"]\nbackends = ["b"]\n'
        f'[endpoints.e]\nservice = "{service}"\n[backends.b]\nservice = "echo"\n'
    )
    assert configuration.unauthenticated == ("p",)
    assert "whoever reaches 0.0.0.0:8080" in configuration.warnings[0]


def test_an_scp_that_demands_certificates_is_not_open(configure: Configure) -> None:
    certificates = 'cert_path = "c"\nkey_path = "k"\n'
    where = '[endpoints.e.options]\nbind_addr = "0.0.0.0"\n' + certificates
    assert configure(scp(where)).unauthenticated == ("p",)
    assert configure(scp(where + 'client_ca_path = "a"\n')).unauthenticated == ()


def test_an_open_scp_is_named_with_its_own_address(configure: Configure) -> None:
    configuration = configure(scp('options.bind_addr = "0.0.0.0"'))
    assert configuration.unauthenticated == ("p",)
    assert configuration.warnings == (
        "config.toml:6: pipelines.p: whoever reaches 0.0.0.0:9 uses it without authentication",
    )
