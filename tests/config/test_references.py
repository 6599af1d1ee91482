"""Names between tables: what is missing, what is assumed, what this build lacks."""

import pytest

from harmonygw.config.model import Route
from harmonygw.config.options import BACKENDS, ENDPOINTS, MIDDLEWARE, RULES, Availability, DicomSCPOptions
from tests.config.conftest import Configure, Problems

BASE = """\
[proxy]
id = "x"
[network.n.http]
bind_address = "127.0.0.1"
[pipelines.p]
networks = ["n"]
endpoints = ["e"]
middleware = ["m"]
backends = ["b"]
[endpoints.e]
service = "dicomweb"
[middleware.m]
type = "passthru"
[backends.b]
service = "storage"
"""
"""A right configuration to spoil; lines 5 to 15 are the pipeline's."""


def test_the_base_is_right_and_silent(configure: Configure) -> None:
    assert configure(BASE).warnings == ()


@pytest.mark.parametrize(
    ("was", "becomes", "problem"),
    [
        (
            'networks = ["n"]',
            'networks = ["m"]',
            'config.toml:6: pipelines.p.networks[0]: there is no network "m"; known: n',
        ),
        ('networks = ["n"]', "", 'config.toml:5: pipelines.p: "networks" is missing or empty; one at least is needed'),
        (
            'endpoints = ["e"]',
            "endpoints = []",
            'config.toml:5: pipelines.p: "endpoints" is missing or empty; one at least is needed',
        ),
        (
            'endpoints = ["e"]',
            'endpoints = ["e", "f"]',
            'config.toml:7: pipelines.p.endpoints[1]: there is no endpoint "f"; known: e',
        ),
        (
            'middleware = ["m"]',
            'middleware = ["passthrough"]',
            (
                "config.toml:8: pipelines.p.middleware[0]: there is no middleware and no middleware type"
                ' "passthrough"; did you mean "passthru"?'
            ),
        ),
        ('middleware = ["m"]', 'middleware = "m"', "config.toml:8: pipelines.p.middleware: must be a list, not text"),
        (
            'middleware = ["m"]',
            'middleware = ["path_filter"]',
            'config.toml:8: pipelines.p.middleware[0]: "rules" is missing',
        ),
        (
            'backends = ["b"]',
            'backends = ["bb"]',
            'config.toml:9: pipelines.p.backends[0]: there is no backend "bb"; did you mean "b"?',
        ),
        (
            'backends = ["b"]',
            "",
            'config.toml:5: pipelines.p: "backends" is missing or empty; endpoint "e" (dicomweb) needs one',
        ),
        (
            'service = "dicomweb"',
            'service = "dicom_web"',
            'config.toml:11: endpoints.e.service: there is no endpoint service "dicom_web"; did you mean "dicomweb"?',
        ),
        (
            'service = "dicomweb"',
            'service = "dicomweb"\noptions = { path_prefix = "a?b" }',
            "config.toml:12: endpoints.e.options.path_prefix: 'a?b' is not a path prefix such as '/dicom'",
        ),
        (
            'service = "dicomweb"',
            'service = "dicomweb"\nauthentication = "authentications.staff"',
            'config.toml:12: endpoints.e.authentication: there is no authentication "staff"',
        ),
        (
            'service = "dicomweb"',
            'service = "dicom_scp"\npeer_ref = "q"',
            'config.toml:12: endpoints.e.peer_ref: there is no peer "q"',
        ),
        (
            'type = "passthru"',
            'type = "pass"',
            'config.toml:13: middleware.m.type: there is no middleware type "pass"; did you mean "passthru"?',
        ),
        (
            'type = "passthru"',
            'type = "passthru"\noptions = { a = 1 }',
            "config.toml:14: middleware.m.options.a: unknown key",
        ),
        (
            'service = "storage"',
            'service = "dicom_scu"\ntarget_ref = "t"',
            'config.toml:16: backends.b.target_ref: there is no target "t"',
        ),
        (
            'service = "storage"',
            'service = "dicom_scu"',
            (
                "config.toml:14: backends.b: nothing says where it is: give target_ref, connection.host"
                " or a host in options"
            ),
        ),
        (
            'service = "storage"',
            'servise = "storage"',
            'config.toml:15: backends.b.servise: unknown key; did you mean "service"?',
        ),
        (
            "[proxy]\n",
            '[management]\nenabled = true\nnetwork = "o"\n[proxy]\n',
            'config.toml:3: management.network: there is no network "o"; known: n',
        ),
        (
            "[proxy]\n",
            "[management]\nenabled = true\n[proxy]\n",
            'config.toml:1: management: "network" is missing: an enabled management API needs one',
        ),
    ],
)
def test_a_name_that_leads_nowhere_is_reported_where_it_stands(
    problems: Problems, was: str, becomes: str, problem: str
) -> None:
    assert problems(BASE.replace(was, becomes, 1)) == [problem]


def test_an_endpoint_may_need_no_backend(configure: Configure) -> None:
    text = BASE.replace('service = "dicomweb"', 'service = "echo"').replace('backends = ["b"]', "")
    assert configure(text).routes == {"n": (Route("/echo", "p", "e"),)}


@pytest.mark.parametrize(
    ("name", "service", "assumption"),
    [
        ("my_dicomweb", "dicomweb", 'service "dicomweb" with path_prefix "/dicom"'),
        ("http_api", "http", 'service "http" with path_prefix "/"'),
        ("dicom_scp", "dicom_scp", 'service "dicom_scp"'),
    ],
)
def test_an_undefined_endpoint_is_the_service_in_its_name(
    configure: Configure, name: str, service: str, assumption: str
) -> None:
    configuration = configure(BASE.replace('endpoints = ["e"]', f'endpoints = ["{name}"]'))
    assert configuration.endpoints[name].service == service
    assert configuration.warnings == (
        f'config.toml:7: pipelines.p.endpoints[0]: no table defines endpoint "{name}"; assumed: {assumption}',
    )


def test_a_misspelt_endpoint_is_not_assumed_when_what_was_meant_lies_unused(problems: Problems) -> None:
    text = BASE.replace('["e"]', '["dicomweb_endpiont"]').replace("[endpoints.e]", "[endpoints.dicomweb_endpoint]")
    assert problems(text) == [
        'config.toml:7: pipelines.p.endpoints[0]: there is no endpoint "dicomweb_endpiont";'
        ' did you mean "dicomweb_endpoint"?'
    ]


def test_the_two_sides_of_the_middleware_may_be_listed_apart(configure: Configure) -> None:
    text = BASE.replace('middleware = ["m"]', 'middleware = { left = ["m", "json"], right = ["cache", "m"] }')
    configuration = configure(text)
    pipeline = configuration.pipelines["p"]
    assert pipeline.middleware is None
    assert (pipeline.left, pipeline.right) == (("m", "json"), ("cache", "m"))
    assert pipeline.middleware_names == ("m", "json", "cache")
    assert configuration.middleware["json"].type == "json_extractor"


def test_middleware_may_be_absent(configure: Configure) -> None:
    assert configure(BASE.replace('middleware = ["m"]', "")).pipelines["p"].middleware == ()


LACKING = Availability(
    set(ENDPOINTS.options) - {"dicomweb"},
    set(BACKENDS.options) - {"storage"},
    set(MIDDLEWARE.options) - {"passthru", "basic_auth"},
    set(RULES.options) - {"allow_all"},
)


def test_what_this_build_lacks_is_refused_where_a_pipeline_uses_it(problems: Problems) -> None:
    text = BASE.replace('["m"]', '["m", "q", "passthru"]') + (
        '[middleware.q]\ntype = "policies"\noptions.policies = ["x"]\n'
        '[policies.x]\nrules = ["r", "s"]\n[rules.r]\ntype = "allow_all"\n'
        '[rules.s]\ntype = "allow_all"\nenabled = false\n'
    )
    assert problems(text, available=LACKING) == [
        'config.toml:8: pipelines.p.middleware[2]: middleware type "passthru" is not in this build yet',
        'config.toml:11: endpoints.e.service: endpoint service "dicomweb" is not in this build yet',
        'config.toml:13: middleware.m.type: middleware type "passthru" is not in this build yet',
        'config.toml:15: backends.b.service: backend service "storage" is not in this build yet',
        'config.toml:22: rules.r.type: rule type "allow_all" is not in this build yet',
    ]


def test_what_this_build_lacks_may_be_defined_and_is_still_checked(configure: Configure, problems: Problems) -> None:
    unused = BASE.replace("[pipelines.p]", "[pipelines.q]\nnetworks=['n']\nendpoints=['echo']\n[mesh.p]")
    assert configure(unused, available=LACKING).backends["b"].service == "storage"
    assert problems(unused + "options.rot = 1\n", available=LACKING) == [
        'config.toml:19: backends.b.options.rot: unknown key; did you mean "root"?'
    ]


@pytest.mark.parametrize(
    ("method", "options", "problem"),
    [
        (
            "basic",
            "username='a', password='b'",
            'checking method "basic" at an endpoint is not in this build yet',
        ),
        ("bearer", "token='a'", 'checking method "bearer" at an endpoint is not in this build yet'),
        ("mutual_tls", "", 'mutual_tls needs tcp_config.client_ca_path of network "n"'),
    ],
)
def test_an_endpoint_never_looks_protected_without_being_so(
    problems: Problems, method: str, options: str, problem: str
) -> None:
    text = BASE.replace('service = "dicomweb"', 'service = "dicomweb"\nauthentication = "a"')
    text += f'[authentications.a]\nmethod = "{method}"\noptions = {{ {options} }}\n'
    available = Availability(ENDPOINTS.options, BACKENDS.options, {"passthru"}, RULES.options)
    assert problems(text, available=available) == [f"config.toml:12: endpoints.e.authentication: {problem}"]


def test_third_parties_types_are_taken_with_their_options_as_they_are(configure: Configure) -> None:
    text = BASE.replace('type = "passthru"', 'type = "mine"\noptions = { depth = 3 }') + (
        '[middleware_types.mine]\nmodule = "hospital.rules:Mine"\n[services.ours]\nmodule = "hospital.ends:Ours"\n'
        '[backends.c]\nservice = "ours"\noptions.colour = "red"\n[endpoints.f]\nservice = "ours"\n'
    )
    nothing = Availability({"dicomweb"}, {"storage"}, set(), set())
    configuration = configure(text, available=nothing)
    assert configuration.middleware["m"].type == "mine"
    assert configuration.middleware["m"].options == {"depth": 3}
    assert configuration.middleware_types["mine"].module == "hospital.rules:Mine"
    assert configuration.backends["c"].options == {"colour": "red"}
    assert configuration.endpoints["f"].service == "ours"


def test_a_registration_of_something_unknown_is_a_warning(configure: Configure) -> None:
    text = BASE + '[middleware_types.dicomweb_brige]\nmodule = ""\n[middleware_types.jwtauth]\nmodule = ""\n'
    assert configure(text).warnings == (
        'config.toml:16: middleware_types.dicomweb_brige: nothing built in is called "dicomweb_brige";'
        ' did you mean "dicomweb_bridge"?',
    )


@pytest.mark.parametrize(
    ("table", "title", "warning"),
    [
        ('options = { host = "h" }', "ANY-SCP", 'called AE title "ANY-SCP", for want of a target'),
        ('target_ref = "pacs"', "pacs", 'called AE title "pacs", the target\'s name'),
        ('target_ref = "named"', "NAMED", 'called AE title "NAMED", the target\'s name'),
        (
            'target_ref = "archive_of_the_hospital"',
            "ANY-SCP",
            'called AE title "ANY-SCP", because the target\'s name is no AE title',
        ),
        ('target_ref = "pacs"\noptions = { aet = "ARCHIVE" }', "ARCHIVE", None),
    ],
)
def test_the_called_ae_title(configure: Configure, table: str, title: str, warning: str | None) -> None:
    text = BASE.replace('service = "storage"', f'service = "dimse"\n{table}') + (
        '[targets]\npacs.connection.host = "h"\nnamed = { connection.host = "h", name = "NAMED" }\n'
        'archive_of_the_hospital.connection.host = "h"\n'
    )
    configuration = configure(text)
    assert configuration.backends["b"].service == "dicom_scu"
    assert configuration.backends["b"].called_ae_title == title
    expected = () if warning is None else (f"config.toml:14: backends.b: options.aet is missing; assumed: {warning}",)
    assert configuration.warnings == expected


def test_a_backend_inherits_from_its_target_what_it_does_not_say(configure: Configure) -> None:
    targets = (
        '[targets.t]\nconnection.host = "h"\ntimeout_secs = 7\nmax_retries = 0\nenabled = false\nauthentication = "a"\n'
        '[authentications.a]\nmethod = "none"\n[authentications.b]\nmethod = "none"\n'
    )
    text = BASE.replace('service = "storage"', 'service = "dicom"\ntarget_ref = "t"\noptions.aet = "T"') + targets
    configuration = configure(text)
    inherited = configuration.backends["b"]
    assert (inherited.timeout_secs, inherited.max_retries, inherited.enabled) == (7.0, 0, False)
    assert inherited.authentication == "a"
    assert configuration.warnings == (
        'config.toml:16: backends.b.target_ref: target "t" is disabled; requests to it fail',
    )
    own = 'target_ref = "t"\ntimeout_secs = 300\nmax_retries = 10\nauthentication = "authentications.b"'
    stated = configure(text.replace('target_ref = "t"', own)).backends["b"]
    assert (stated.timeout_secs, stated.max_retries, stated.authentication) == (300.0, 10, "b")


def test_an_association_goes_to_one_pipeline(problems: Problems) -> None:
    text = BASE.replace('service = "dicomweb"', 'service = "dicom_scp"')
    text += '[pipelines.q]\nnetworks = ["n"]\nendpoints = ["e"]\nbackends = ["b"]\n'
    assert problems(text) == [
        "config.toml:10: endpoints.e: pipelines.p and pipelines.q both name it, but an association goes to one"
    ]


@pytest.mark.parametrize("table", ['connection.protocol = "dicoms"', 'peer_ref = "secure"', 'peer_ref = "old"'])
def test_an_scp_never_listens_in_clear_where_tls_was_asked_for(problems: Problems, table: str) -> None:
    text = BASE.replace('service = "dicomweb"', f'service = "dicom_scp"\n{table}') + (
        '[peers.secure]\nconnection.protocol = "dicoms"\n[peers.old]\ntype = "dicoms"\n'
    )
    assert problems(text) == ['config.toml:10: endpoints.e: dicoms needs "cert_path" and "key_path" in "options"']


@pytest.mark.parametrize(
    ("protocol", "problem"),
    [
        ("dicoms", None),
        ("dicom", 'with "cert_path" it speaks dicoms, and its protocol is dicom'),
        ("https", 'a dicom_scp speaks dicom or dicoms, not "https"'),
    ],
)
def test_an_scp_with_a_certificate_speaks_dicoms(
    configure: Configure, problems: Problems, protocol: str, problem: str | None
) -> None:
    table = f'service = "dicom_scp"\nconnection.protocol = "{protocol}"\n'
    text = BASE.replace('service = "dicomweb"', table + 'options = { cert_path = "c.pem", key_path = "k.pem" }')
    if problem is None:
        assert configure(text).endpoints["e"].options.cert_path == "c.pem"
    else:
        assert problems(text) == [f"config.toml:10: endpoints.e: {problem}"]


def test_an_unused_scp_listens_nowhere(configure: Configure) -> None:
    endpoint = configure(BASE + '[endpoints.f]\nservice = "dicom_scp"\n').endpoints["f"]
    assert isinstance(endpoint.options, DicomSCPOptions)
    assert endpoint.addresses == ()


def test_targets_and_peers_refer_to_credentials_that_exist_used_or_not(problems: Problems) -> None:
    text = BASE + '[targets.t]\nauthentication = "a"\n[peers.q]\nauthentication = "authentications.b"\n'
    assert problems(text) == [
        'config.toml:17: targets.t.authentication: there is no authentication "a"',
        'config.toml:19: peers.q.authentication: there is no authentication "b"',
    ]


MUTUAL = '[authentications.a]\nmethod = "mutual_tls"\n'


def test_client_certificates_are_asked_for_by_the_network(configure: Configure, problems: Problems) -> None:
    text = BASE.replace('service = "dicomweb"', 'service = "dicomweb"\nauthentication = "a"') + MUTUAL
    certificates = '[network.n.http]\ncert_path = "c"\nkey_path = "k"\nclient_ca_path = "a"\n'
    assert configure(text.replace("[network.n.http]\n", certificates)).endpoints["e"].authentication == "a"
    twice = text + '[pipelines.q]\nnetworks = ["n", "m"]\nendpoints = ["e"]\nbackends = ["b"]\n[network.m.http]\n'
    assert problems(twice + "bind_port = 1\n") == [
        'config.toml:12: endpoints.e.authentication: mutual_tls needs tcp_config.client_ca_path of network "n"',
        'config.toml:12: endpoints.e.authentication: mutual_tls needs tcp_config.client_ca_path of network "m"',
        'config.toml:21: pipelines.q.endpoints[0]: path prefix "/dicom" on network "n" is already that of'
        ' endpoint "e" of pipelines.p',
    ]
