"""Whole configurations: the published ones, and one with everything wrong."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from harmonygw.config.model import ListeningAddress, MiddlewareSettings, Route, Rule
from harmonygw.config.options import (
    Availability,
    DicomSCPOptions,
    DicomSCUOptions,
    DICOMwebBridgeOptions,
    DICOMwebEndpointOptions,
    IPOptions,
    MethodOptions,
    PoliciesOptions,
    StorageOptions,
)
from tests.config.conftest import Configure, Problems

EXAMPLE_MAIN = """\
[proxy]
id = "radiology-gateway"
pipelines_path = "pipelines"

[network.default.http]
bind_address = "0.0.0.0"
bind_port = 8081

[targets.archive]
connection.host = "pacs.hospital.local"
connection.port = 104
connection.protocol = "dicom"
timeout_secs = 60
"""

EXAMPLE_PIPELINE = """\
[pipelines.web]
networks = ["default"]
endpoints = ["viewer_access"]
middleware = ["bridge", "guard"]
backends = ["archive_scu"]

[endpoints.viewer_access]
service = "dicomweb"
options = { path_prefix = "/dicomweb" }

[middleware.bridge]
type = "dicomweb_bridge"

[middleware.guard]
type = "policies"
options = { policies = ["inside"] }

[policies.inside]
id = "inside"
name = "Hospital networks, reading only"
rules = ["wards", "reading"]

[rules.wards]
id = "wards"
type = "ip_allow"
weight = 90
options = { ip_addresses = ["10.0.0.0/8", "127.0.0.1/32"] }

[rules.reading]
id = "reading"
type = "method"
weight = 80
options = { mode = "allow", methods = ["GET"] }

[backends.archive_scu]
service = "dicom_scu"
target_ref = "archive"
options = { aet = "ARCHIVE", local_aet = "GATEWAY" }
"""

SEED_SNIPPET = """\
# pipelines/my-dicomweb.toml
[pipelines.dicomweb_gateway]
description = "DICOMweb gateway to PACS"
networks = ["default"]
endpoints = ["dicomweb_endpoint"]
middleware = ["dicomweb_processor"]
backends = ["pacs_backend"]

[backends.pacs_backend]
service = "dicom_scu"
target_ref = "my_pacs"

[targets.my_pacs]
connection.host = "pacs.hospital.local"
connection.port = 104
connection.protocol = "dicom"
"""

THIS_BUILD = Availability(
    {"dicomweb", "dicom_scp", "management"},
    {"dicom_scu", "storage"},
    {"dicomweb_bridge", "policies", "passthru"},
    {"ip_allow", "method"},
)


def test_the_whole_example_of_the_dialect(configure: Configure) -> None:
    configuration = configure(EXAMPLE_MAIN, {"web.toml": EXAMPLE_PIPELINE}, available=THIS_BUILD)
    assert configuration.proxy.id == configuration.proxy.name == "radiology-gateway"
    assert configuration.networks["default"].bind_address == "0.0.0.0"
    assert configuration.networks["default"].bind_port == 8081
    assert not configuration.networks["default"].uses_tls
    assert configuration.targets["archive"].connection.host == "pacs.hospital.local"
    pipeline = configuration.pipelines["web"]
    assert pipeline.networks == ("default",)
    assert pipeline.endpoints == ("viewer_access",)
    assert pipeline.middleware == pipeline.middleware_names == ("bridge", "guard")
    assert (pipeline.left, pipeline.right, pipeline.backends) == ((), (), ("archive_scu",))
    endpoint = configuration.endpoints["viewer_access"]
    assert (endpoint.service, endpoint.options) == ("dicomweb", DICOMwebEndpointOptions("/dicomweb"))
    assert configuration.routes == {"default": (Route("/dicomweb", "web", "viewer_access"),)}
    backend = configuration.backends["archive_scu"]
    assert backend.options == DicomSCUOptions(aet="ARCHIVE", local_aet="GATEWAY")
    assert (backend.service, backend.host, backend.port) == ("dicom_scu", "pacs.hospital.local", 104)
    assert (backend.target, backend.called_ae_title, backend.use_tls) == ("archive", "ARCHIVE", False)
    assert (backend.timeout_secs, backend.max_retries, backend.enabled) == (60.0, 3, True)
    assert configuration.middleware == {
        "bridge": MiddlewareSettings("bridge", "dicomweb_bridge", DICOMwebBridgeOptions(), None),
        "guard": MiddlewareSettings("guard", "policies", PoliciesOptions(("inside",)), None),
    }
    assert configuration.policies["inside"].rules == ("wards", "reading")
    assert configuration.rules == {
        "wards": Rule("wards", "ip_allow", 90, True, IPOptions((ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32")))),
        "reading": Rule("reading", "method", 80, True, MethodOptions(("GET",), "allow")),
    }
    assert configuration.files == (Path("config.toml"), Path("pipelines/web.toml"))
    assert configuration.unauthenticated == ("web",)
    assert configuration.warnings == (
        "pipelines/web.toml:1: pipelines.web: whoever reaches 0.0.0.0:8081 uses it without authentication",
    )


def test_the_seeds_own_snippet(configure: Configure) -> None:
    main = '[proxy]\nid = "seed"\n[network.default.http]\nbind_address = "127.0.0.1"\nbind_port = 8081\n'
    configuration = configure(main, {"my-dicomweb.toml": SEED_SNIPPET}, available=THIS_BUILD)
    assert configuration.routes == {"default": (Route("/dicom", "dicomweb_gateway", "dicomweb_endpoint"),)}
    assert configuration.networks["default"].bind_port == 8081
    bridge = configuration.middleware["dicomweb_processor"]
    assert (bridge.type, bridge.options) == ("dicomweb_bridge", DICOMwebBridgeOptions())
    backend = configuration.backends["pacs_backend"]
    assert (backend.host, backend.port, backend.called_ae_title) == ("pacs.hospital.local", 104, "my_pacs")
    assert backend.options.local_aet == "HARMONYGW"
    assert configuration.unauthenticated == ()
    assert configuration.warnings == (
        "pipelines/my-dicomweb.toml:5: pipelines.dicomweb_gateway.endpoints[0]: no table defines endpoint"
        ' "dicomweb_endpoint"; assumed: service "dicomweb" with path_prefix "/dicom"',
        "pipelines/my-dicomweb.toml:9: backends.pacs_backend: options.aet is missing;"
        ' assumed: called AE title "my_pacs", the target\'s name',
    )


def test_a_harmony_style_archive_that_takes_associations(configure: Configure) -> None:
    main = """\
        [proxy]
        id = "ingest"
        log_level = "debug"
        primary_provider = "cloud"
        [provider.cloud]
        api = "https://cloud.example.org"
        [network.dicom_net]
        enable_wireguard = false
        interface = "wg0"
        [network.dicom_net.tcp_config]
        bind_address = "127.0.0.1"
        bind_port = 11113
        [network.dicom_net.http3]
        bind_port = 443
        [services.dicom_scp]
        module = ""
        [services.fhir]
        module = ""
        id = "fhir-service-v1"
        [peers.listener]
        connection.port = 11114
        protocol = "dicom"
        [pipelines.ingest]
        networks = ["dicom_net"]
        endpoints = ["listener"]
        backends = ["files"]
        middleware = []
        [endpoints.listener]
        service = "dicom_scp"
        peer_ref = "listener"
        [endpoints.listener.options]
        aet = "INGEST"
        enable_store = true
        aet_table.MODALITY = { host = "10.1.1.1", port = 104 }
        [backends.files]
        service = "storage"
        options = { root = "data/archive", write_pattern = "{PatientID}/{uuid}.dcm" }
        """
    configuration = configure(main)
    endpoint = configuration.endpoints["listener"]
    assert isinstance(endpoint.options, DicomSCPOptions)
    assert (endpoint.options.local_aet, endpoint.options.enable_store) == ("INGEST", True)
    assert endpoint.options.aet_table["MODALITY"].port == 104
    assert endpoint.addresses == (ListeningAddress("127.0.0.1", 11114),)
    assert configuration.backends["files"].options == StorageOptions(
        root="data/archive", write_pattern="{PatientID}/{uuid}.dcm"
    )
    assert configuration.routes == {}
    assert configuration.logging.log_level == "debug"
    assert configuration.warnings == (
        "config.toml:5: provider: accepted, but no cloud provider is contacted and no mesh is joined",
        'config.toml:4: proxy.primary_provider: there is no provider "cloud" here; the files are all there is',
        "config.toml:13: network.dicom_net.http3: HTTP/3 is not served",
        'config.toml:17: services.fhir: nothing built in is called "fhir"; known: dicom, dicom_scp,'
        " dicom_scu, dicomweb, dimse, echo, http, management, storage, viewer",
    )


def test_everything_that_is_wrong_is_said_at_once(problems: Problems) -> None:
    main = """\
[proxy]
idd = "x"
log_level = "inf"
required_env_vars = ["SITE"]
[network.default]
enable_wireguard = true
[network.default.http]
bind_port = true
cert_path = "chain.pem"
[network.b]
tcp_config = { bind_port = 70000, bind_address = "${SITE_ADDRESS}" }
[loging]
format = "json"
[targets]
x.connection.prt = 3
x.timeout_secs = 400
"""
    pipeline = """\
[pipelines.a]
networks = ["defalt"]
endpoints = ["dicomweb_endpoint", "nothing"]
middleware = { left = ["dicomweb_brige"], rigth = [] }
backends = ["p"]
[backends.p]
service = "dicom_scu"
options = { dimse_retrieve_mode = "move", max_pdu = 5 }
[backends.q]
service = "dicomscu"
"""
    assert problems(main, {"a.toml": pipeline}) == [
        'config.toml:1: proxy: "id" is missing (or "name")',
        'config.toml:2: proxy.idd: unknown key; did you mean "id"?',
        'config.toml:3: proxy.log_level: must be one of "trace", "debug", "info", "warn", "error", not "inf";'
        ' did you mean "info"?',
        "config.toml:4: proxy.required_env_vars[0]: the environment variable SITE is not set",
        "config.toml:6: network.default.enable_wireguard: cannot be true: setting up WireGuard is the operating"
        " system's job; bind to its address",
        'config.toml:7: network.default.http: "key_path" is missing: a certificate and its key go together',
        "config.toml:8: network.default.http.bind_port: must be a whole number, not true or false",
        "config.toml:11: network.b.tcp_config.bind_address: the environment variable SITE_ADDRESS is not set, and"
        " there is no default; ${SITE_ADDRESS:-…} gives one",
        "config.toml:11: network.b.tcp_config.bind_port: must be 0 to 65535, not 70000",
        'config.toml:12: loging: unknown key; did you mean "logging"?',
        'config.toml:15: targets.x.connection.prt: unknown key; did you mean "port"?',
        "config.toml:16: targets.x.timeout_secs: must be 1 to 300, not 400",
        'pipelines/a.toml:2: pipelines.a.networks[0]: there is no network "defalt"; did you mean "default"?',
        'pipelines/a.toml:3: pipelines.a.endpoints[1]: there is no endpoint "nothing"',
        'pipelines/a.toml:4: pipelines.a.middleware.rigth: unknown key; did you mean "right"?',
        "pipelines/a.toml:4: pipelines.a.middleware.left[0]: there is no middleware and no middleware type"
        ' "dicomweb_brige"; did you mean "dicomweb_bridge"?',
        "pipelines/a.toml:8: backends.p.options.max_pdu: must be 16384 to 131072, not 5",
        'pipelines/a.toml:8: backends.p.options.dimse_retrieve_mode: move needs "incoming_store_port", for what the'
        " PACS sends",
        'pipelines/a.toml:10: backends.q.service: there is no backend service "dicomscu"; did you mean "dicom_scu"?',
    ]


def test_a_file_that_cannot_be_read_does_not_make_its_names_missing(problems: Problems) -> None:
    main = EXAMPLE_MAIN + '[pipelines.p]\nnetworks = ["n"]\nendpoints = ["e"]\nbackends = ["b"]\nmiddleware = ["m"]\n'
    assert problems(main, {"web.toml": "[backends.b]\nservice = \n"}) == [
        "pipelines/web.toml:2: is not TOML: Invalid value (column 11)"
    ]


def test_no_file_at_all_is_one_problem(problems: Problems, tmp_path: Path) -> None:
    assert problems("\x00") == ["config.toml:1: is not TOML: Invalid statement (column 1)"]


@pytest.mark.parametrize(
    ("tables", "level"),
    [
        ("[proxy]\nid = 'x'\n", "info"),
        ("[proxy]\nid = 'x'\nlog_level = 'debug'\n", "debug"),
        ("[proxy]\nid = 'x'\nlog_level = 'debug'\n[logging]\nlog_to_file = true\n", "debug"),
        ("[proxy]\nid = 'x'\nlog_level = 'debug'\n[logging]\nlog_level = 'warn'\n", "warn"),
    ],
)
def test_the_old_place_of_the_log_level_counts_when_the_new_one_is_silent(
    configure: Configure, tables: str, level: str
) -> None:
    assert configure(tables, {"none.toml": ""}).logging.log_level == level


def test_without_pipelines_a_warning_says_so(configure: Configure) -> None:
    assert configure("[proxy]\nname = 'x'\n", {"none.toml": ""}).warnings == (
        "config.toml: pipelines: there is none: nothing is served",
    )


def test_the_name_stands_for_the_identifier(configure: Configure) -> None:
    proxy = configure("[proxy]\nname = 'x'\nrequired_env_vars = ['A']\n", {"none.toml": ""}, {"A": ""}).proxy
    assert (proxy.id, proxy.name) == ("x", "x")


def test_without_proxy_table_it_is_the_main_file_that_lacks_it(problems: Problems) -> None:
    assert problems("", {"none.toml": ""}) == ['config.toml: proxy: "id" is missing (or "name")']


def test_variables_reach_values_and_secrets_stay_out_of_representations(configure: Configure) -> None:
    text = "[proxy]\nid = 'x-${SITE:-home}'\n[authentications.a]\nmethod = 'bearer'\noptions.token = '${TOKEN}'\n"
    configuration = configure(text, {"none.toml": ""}, {"TOKEN": "secret"})
    assert configuration.proxy.id == "x-home"
    assert configuration.authentications["a"].options.token == "secret"
    assert "secret" not in repr(configuration)


MANAGED = """
[proxy]
id = "x"
[management]
enabled = true
network = "n"
authentication = "AUTHENTICATION"
[network.n.http]
bind_address = "0.0.0.0"
[authentications.operator]
method = "METHOD"
options = { token = "t" }
"""


@pytest.mark.parametrize("name", ["operator", "authentications.operator"])
def test_a_management_api_that_checks_who_asks_is_not_open(configure: Configure, name: str) -> None:
    text = MANAGED.replace("AUTHENTICATION", name).replace("METHOD", "bearer")
    configuration = configure(text, {"none.toml": ""})
    assert configuration.management.authentication == "operator"
    assert not any("open to others" in one for one in configuration.warnings)


@pytest.mark.parametrize(
    ("name", "method", "problem"),
    [
        ("nobody", "bearer", 'there is no authentication "nobody"; known: operator'),
        ("operator", "mutual_tls", 'mutual_tls needs tcp_config.client_ca_path of network "n"'),
    ],
)
def test_what_a_management_api_cannot_check_is_a_problem(
    problems: Problems, name: str, method: str, problem: str
) -> None:
    text = MANAGED.replace("AUTHENTICATION", name).replace("METHOD", method)
    if method == "mutual_tls":
        text = text.replace('options = { token = "t" }\n', "")
    assert problems(text, {"none.toml": ""}) == [f"config.toml:7: management.authentication: {problem}"]


@pytest.mark.parametrize(
    ("address", "open_to_others"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True)],
)
def test_an_open_management_api_is_a_warning(configure: Configure, address: str, open_to_others: bool) -> None:
    text = (
        "[proxy]\nid = 'x'\n[management]\nenabled = true\nnetwork = 'n'\nbase_path = 'manage/'\n"
        f"[network.n.http]\nbind_address = '{address}'\n"
    )
    configuration = configure(text, {"none.toml": ""})
    assert configuration.routes == {"n": (Route("/manage", "", "management"),)}
    sentence = 'config.toml:5: management.network: network "n" is open to others'
    assert (sentence in configuration.warnings) == open_to_others


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            'method = "${SECRET}"',
            'must be one of "jwt", "basic", "bearer", "api_key", "mutual_tls", "none", not "${SECRET}"',
        ),
        (
            'method = "none"\noptions = { jwks_uri = "ftp://${SECRET}" }',
            "'ftp://${SECRET}' is not an absolute http or https",
        ),
    ],
)
def test_no_problem_tells_what_was_taken_of_the_environment(problems: Problems, line: str, problem: str) -> None:
    """Whoever asks for a reload by HTTP, and whoever reads the log, may not be who keeps the environment."""
    found = problems(
        f'[proxy]\nid = "x"\n[pipelines]\n[authentications.a]\n{line}\n', environ={"SECRET": "hunter2-hunter2"}
    )
    assert any(problem in one for one in found)
    assert not any("hunter2" in one for one in found)
