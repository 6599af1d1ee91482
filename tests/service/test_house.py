"""From a configuration to parts: what is built, what is shared, and what is refused before anything begins."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from harmonygw.errors import Busy, ConfigurationError, Denied, NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.basic_auth import CHALLENGE
from harmonygw.net.ports import Ports, Upcoming
from harmonygw.operations import Find, Level
from harmonygw.pipeline import BACKENDS, MIDDLEWARE, Context, Proceed
from harmonygw.service import Gateway, available
from harmonygw.service.disabled import DISABLED_RETRY_SECS
from harmonygw.service.house import Ground, House
from tests.certificates import identity
from tests.middleware.authentication.issuer import signed
from tests.net.http.asking import ask
from tests.service.conftest import Build, Configure
from tests.service.parts import MAIN, web

REQUEST = Request(HTTPOrigin("GET", ("studies",)), "192.0.2.1", "c")

BRIDGED = """
[pipelines.web]
networks = ["default"]
endpoints = ["web"]
middleware = {middleware}
backends = ["archive"]

[endpoints.web]
service = "dicomweb"

[backends.archive]
service = "storage"
options = {{ root = "archive" }}

[middleware.bridge]
type = "dicomweb_bridge"

[middleware.mine]
type = "signing"
"""


def result(deferred: "Deferred[Any]") -> Any:
    found: list[Any] = []
    deferred.addBoth(found.append)
    return found[0]


@pytest.fixture
def problems(configure: Configure, memory: MemoryReactorClock) -> Callable[..., tuple[str, ...]]:
    def found(*texts: str, **more: Any) -> tuple[str, ...]:
        with pytest.raises(ConfigurationError) as caught:
            Gateway(configure(*texts, **more), memory)
        return caught.value.problems

    return found


def test_this_build_has_what_its_registries_name() -> None:
    assert available().backends == set(BACKENDS)
    assert available().middleware == set(MIDDLEWARE)


def test_a_backend_is_shared_by_its_pipelines_and_answers_each(build: Build, diary: list[str]) -> None:
    second = """
[pipelines.other]
networks = ["default"]
endpoints = ["other"]
middleware = ["mine"]
backends = ["archive"]

[endpoints.other]
service = "dicomweb"
options = { path_prefix = "/other" }

[middleware.mine]
type = "signing"
"""
    gateway = build(web(), second)
    assert diary == ["archive is built"]
    root = gateway.resource("default")
    assert ask(root, "/dicom/studies").document["seen_by"] == ""
    answered = ask(root, "/other/studies")
    assert (answered.document["seen_by"], answered.document["base_url"]) == ("mine", "http://h/other")
    assert answered.header["x-signed"] == "mine"


def test_the_two_sides_of_the_middleware_may_be_listed_apart(build: Build) -> None:
    gateway = build(
        web().replace("backends =", 'middleware = { left = ["a", "b"], right = ["b"] }\nbackends ='),
        '[middleware.a]\ntype = "signing"\n[middleware.b]\ntype = "signing"',
    )
    answered = ask(gateway.resource("default"), "/dicom/studies")
    assert (answered.document["seen_by"], answered.header["x-signed"]) == ("ab", "b")


def test_an_endpoint_is_on_every_network_of_its_pipeline_with_that_networks_limits(build: Build) -> None:
    gateway = build(
        '[network.second.http]\nbind_address = "127.0.0.1"\nbind_port = 0',
        "[network.second.limits]\nwrite_timeout_secs = 7",
        '[pipelines.web]\nnetworks = ["default", "second"]\nendpoints = ["page"]\nbackends = ["archive"]',
        '[endpoints.page]\nservice = "page"\noptions = { path_prefix = "/page/" }',
        '[backends.archive]\nservice = "telling"',
    )
    assert ask(gateway.resource("default"), "/page").document == {"write_timeout": 60}
    assert ask(gateway.resource("second"), "/page").document == {"write_timeout": 7}


def test_an_endpoint_that_demands_credentials_is_guarded_in_front_of_its_pipeline(build: Build) -> None:
    gateway = build(
        web().replace('service = "dicomweb"', 'service = "dicomweb"\nauthentication = "ward"'),
        '[authentications.ward]\nmethod = "basic"\noptions = { username = "ward", password = "secret" }',
    )
    root = gateway.resource("default")
    refused = ask(root, "/dicom/studies")
    assert (refused.status, refused.header["www-authenticate"]) == (401, CHALLENGE)
    assert refused.document["detail"] == "A valid user name and password are needed."
    credentials = "Authorization: Basic " + b64encode(b"ward:secret").decode()
    assert ask(root, "/dicom/studies", credentials).status == 200
    assert gateway.configuration.unauthenticated == ()


@pytest.mark.parametrize(
    ("method", "options", "credentials", "challenge"),
    [
        ("bearer", 'token = "abc"', "Authorization: Bearer abc", 'Bearer realm="harmonygw"'),
        (
            "api_key",
            'token = "abc", header = "X-Clinic"',
            "X-Clinic: abc",
            'ApiKey realm="harmonygw", header="X-Clinic"',
        ),
    ],
)
def test_an_endpoint_may_demand_a_token(
    build: Build, method: str, options: str, credentials: str, challenge: str
) -> None:
    root = build(
        web().replace('service = "dicomweb"', 'service = "dicomweb"\nauthentication = "viewer"'),
        f'[authentications.viewer]\nmethod = "{method}"\noptions = {{ {options} }}',
    ).resource("default")
    refused = ask(root, "/dicom/studies")
    assert (refused.status, refused.header["www-authenticate"]) == (401, challenge)
    assert ask(root, "/dicom/studies", credentials).status == 200


def test_an_endpoint_may_demand_a_json_web_token(build: Build) -> None:
    secret = "s" * 32
    root = build(
        web().replace('service = "dicomweb"', 'service = "dicomweb"\nauthentication = "staff"'),
        f'[authentications.staff]\nmethod = "jwt"\noptions = {{ use_hs256 = true, hs256_secret = "{secret}" }}',
    ).resource("default")
    refused = ask(root, "/dicom/studies")
    assert (refused.status, refused.header["www-authenticate"]) == (401, 'Bearer realm="harmonygw"')
    refused = ask(root, "/dicom/studies", "Authorization: Bearer a.b.c")
    expected = (401, 'Bearer realm="harmonygw", error="invalid_token"')
    assert (refused.status, refused.header["www-authenticate"]) == expected
    token = signed(secret.encode(), "HS256", {"sub": "ward", "exp": 9_999_999_999})
    assert ask(root, "/dicom/studies", f"Authorization: Bearer {token}").status == 200


def test_a_token_in_two_ways_is_a_bad_request_that_says_so(build: Build) -> None:
    root = build(
        web().replace('service = "dicomweb"', 'service = "dicomweb"\nauthentication = "viewer"'),
        '[authentications.viewer]\nmethod = "bearer"\noptions = { token = "abc" }',
    ).resource("default")
    refused = ask(root, "/dicom/studies?access_token=abc", "Authorization: Bearer abc")
    expected = (400, 'Bearer realm="harmonygw", error="invalid_request"')
    assert (refused.status, refused.header["www-authenticate"]) == expected


def test_what_guards_an_endpoint_is_one_for_all_pipelines_and_starts_before_the_doors(
    build: Build, tmp_path: Path
) -> None:
    (tmp_path / "users").write_text("ward:$2y$05$" + "." * 53 + "\n")
    second = '[pipelines.other]\nnetworks = ["second"]\nendpoints = ["web"]\nbackends = ["archive"]'
    house = build(
        web().replace('service = "dicomweb"', 'service = "dicomweb"\nauthentication = "ward"'),
        '[authentications.ward]\nmethod = "basic"\noptions = { credentials_path = "users" }',
        second,
        '[network.second.http]\nbind_address = "127.0.0.1"\nbind_port = 0',
    )._house
    parts = dict(house.parts())
    assert parts["endpoints.web.authentication"] is house.guards["endpoints.web"]
    assert list(house.guards) == ["endpoints.web"]


def test_credentials_of_http_cannot_be_demanded_of_an_association(problems: Any, configure: Configure) -> None:
    with pytest.raises(ConfigurationError, match='brings nothing that method "basic" could check'):
        configure(
            BRIDGED.format(middleware="[]").replace(
                'service = "dicomweb"', 'service = "dicom_scp"\nauthentication = "w"'
            ),
            '[authentications.w]\nmethod = "basic"\noptions = { username = "ward", password = "secret" }',
        )


def test_a_third_partys_endpoint_without_a_prefix_stands_at_the_root(build: Build) -> None:
    gateway = build(
        web().replace('service = "dicomweb"\noptions = { path_prefix = "/dicom" }', 'service = "page"'),
    )
    assert ask(gateway.resource("default"), "/anything").document == {"write_timeout": 60}


def test_a_disabled_target_is_not_built_and_says_so(build: Build, diary: list[str]) -> None:
    gateway = build(
        web().replace('service = "telling"', 'service = "telling"\ntarget_ref = "pacs"'),
        '[targets.pacs]\nenabled = false\nconnection = { host = "pacs" }',
    )
    assert diary == []
    assert gateway.describe()["targets"] == {"archive": {"target": "pacs", "ready": False, "enabled": False}}
    answered = ask(gateway.resource("default"), "/dicom/studies")
    assert (answered.status, answered.header["retry-after"]) == (503, str(DISABLED_RETRY_SECS))
    assert answered.document["detail"] == "pacs: the target is disabled"
    refusal = result(gateway.pipeline("web")(REQUEST)).value
    assert isinstance(refusal, Busy)
    gateway.startService()
    assert gateway.ready
    stopped = gateway.stopService()
    gateway._reactor.advance(0)
    assert stopped.called


def test_the_management_api_describes_the_gateway(build: Build) -> None:
    gateway = build(web(), '[management]\nenabled = true\nnetwork = "default"')
    info = ask(gateway.resource("default"), "/admin/info").document
    assert (info["id"], info["ready"]) == ("gateway", False)
    assert ask(gateway.resource("default"), "/admin/targets/archive").document["ready"] is True


def test_an_endpoint_that_answers_alone_needs_no_backend(build: Build) -> None:
    gateway = build(
        '[pipelines.web]\nnetworks = ["default"]\nendpoints = ["shown"]',
        '[endpoints.shown]\nservice = "management"\noptions = { path_prefix = "/shown" }',
    )
    assert ask(gateway.resource("default"), "/shown/info").status == 200
    assert isinstance(result(gateway.pipeline("web")(REQUEST)).value, ConfigurationError)


@pytest.mark.parametrize(
    "middleware",
    ['["bridge"]', '["mine", "bridge"]', '["mine"]', '{ left = ["bridge"], right = ["bridge"] }'],
)
def test_a_bridge_or_what_may_be_one_stands_before_a_backend_of_operations(middleware: str, build: Build) -> None:
    assert build(BRIDGED.format(middleware=middleware))


@pytest.mark.parametrize(
    ("middleware", "where"),
    [
        ("[]", ""),
        ('["passthru"]', ""),
        ('{ left = ["bridge"], right = [] }', " on both sides"),
        ('{ left = [], right = ["bridge"] }', " on both sides"),
    ],
)
def test_without_a_bridge_such_a_backend_is_refused(
    middleware: str, where: str, problems: Callable[..., tuple[str, ...]]
) -> None:
    assert problems(BRIDGED.format(middleware=middleware)) == (
        f'pipelines.web: middleware: "dicomweb_bridge" is missing{where}, '
        "which a dicomweb endpoint needs before such a backend",
    )


def test_what_takes_no_operations_is_not_one_of_several(problems: Callable[..., tuple[str, ...]]) -> None:
    several = web().replace('["archive"]', '["archive", "second"]\noptions.strategy = "federate"')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKENDS, "http", "tests.service.parts:Telling")
        assert problems(several, '[backends.second]\nservice = "http"\noptions.base_url = "http://h"') == (
            'pipelines.web: backends: "second" (http) takes no operations, and cannot be one of several',
        )


PROXY = """
[pipelines.web]
networks = ["default"]
endpoints = [{endpoint}]
middleware = {middleware}
backends = ["server"]

[endpoints.web]
service = "dicomweb"

[endpoints.scp]
service = "dicom_scp"
options = {{ port = 0 }}

[backends.server]
service = "{service}"
options = {{ base_url = "http://192.0.2.7/dicom-web" }}

[middleware.bridge]
type = "dicomweb_bridge"

[middleware.mine]
type = "signing"
"""


@pytest.mark.parametrize("service", ["dicomweb", "http"])
@pytest.mark.parametrize(
    ("endpoint", "middleware"),
    [('"web"', "[]"), ('"web"', '["mine"]'), ('"scp"', '["mine"]'), ('"web"', '["bridge", "mine"]')],
)
def test_a_web_server_takes_http_as_it_is(service: str, endpoint: str, middleware: str, build: Build) -> None:
    assert build(PROXY.format(service=service, endpoint=endpoint, middleware=middleware))


@pytest.mark.parametrize(
    ("endpoint", "middleware", "sentence"),
    [
        ('"scp"', "[]", '"dicom_to_dicomweb" is missing, which a dicom_scp endpoint needs'),
        ('"web", "scp"', "[]", '"dicom_to_dicomweb" is missing, which a dicom_scp endpoint needs'),
        ('"web"', '["bridge"]', '"dicom_to_dicomweb" is missing, which a backend that speaks HTTP needs behind'),
        ('"web"', '{ left = ["bridge"], right = ["bridge"] }', '"dicom_to_dicomweb" is missing on both sides'),
    ],
)
def test_a_web_server_takes_no_operations(
    endpoint: str, middleware: str, sentence: str, problems: Callable[..., tuple[str, ...]]
) -> None:
    [problem] = problems(PROXY.format(service="dicomweb", endpoint=endpoint, middleware=middleware))
    assert problem.startswith("pipelines.web: middleware: " + sentence)


def test_everything_that_cannot_be_built_is_told_at_once(
    problems: Callable[..., tuple[str, ...]], log: list[str]
) -> None:
    found = problems(
        web("misbuilt"),
        web("refused", "second", "/second"),
        web(pipeline="third", prefix="/third").replace("backends =", 'middleware = ["mine"]\nbackends ='),
        '[middleware.mine]\ntype = "absent"\n[middleware_types.absent]\nmodule = "tests.service.parts:Absent"',
    )
    assert found == (
        "backends.archive: cannot be built: LookupError: no such thing",
        "backends.second_archive.options: wrong",
        "middleware.mine: cannot load 'tests.service.parts:Absent' (wanted 'package.module:Name'): "
        "module 'tests.service.parts' has no attribute 'Absent'",
    )
    assert log == ["critical: backends.archive cannot be built (LookupError)"]


def test_what_was_taken_of_the_environment_is_not_told(configure: Configure, memory: MemoryReactorClock) -> None:
    text = web(pipeline="third", prefix="/third").replace("backends =", 'middleware = ["users"]\nbackends =')
    configuration = configure(
        text, '[middleware.users]\ntype = "basic_auth"\noptions = { token_path = "/nowhere/hunter2" }'
    )
    with pytest.raises(ConfigurationError) as caught:
        Gateway(replace(configuration, taken={"FILE": "hunter2"}), memory)
    assert caught.value.problems == ("middleware.users: /nowhere/${FILE}: cannot be read: No such file or directory",)


def test_a_reserved_path_is_not_an_endpoints(problems: Callable[..., tuple[str, ...]]) -> None:
    assert problems(web(prefix="/healthz")) == ('endpoints.web: path prefix "/healthz" is taken',)


def test_a_third_partys_prefix_cannot_be_anothers(problems: Callable[..., tuple[str, ...]]) -> None:
    both = web().replace('endpoints = ["web"]', 'endpoints = ["web", "page"]')
    page = '[endpoints.page]\nservice = "page"\noptions = { path_prefix = "dicom" }'
    assert problems(both, page) == ('endpoints.page: path prefix "/dicom" is taken',)


def test_a_type_that_no_registry_has_is_refused(configure: Configure, memory: MemoryReactorClock) -> None:
    configuration = configure(web())
    foreign = replace(configuration.backends["archive"], service="carrier_pigeon")
    with pytest.raises(ConfigurationError, match='"carrier_pigeon" is not in this build'):
        Gateway(replace(configuration, backends={"archive": foreign}), memory)


def test_a_certificate_is_read_before_anything_begins(problems: Callable[..., tuple[str, ...]], tmp_path: Path) -> None:
    tls = MAIN.replace("bind_port = 0", 'bind_port = 0\ncert_path = "c.pem"\nkey_path = "k.pem"')
    (problem,) = problems(web(), main=tls)
    assert problem.startswith("network.default: c.pem: not a PEM certificate file (")
    identity("server").write(tmp_path, "c")
    (problem,) = problems(web(), main=tls)
    assert problem.startswith("network.default: k.pem: not a PEM private key")


def test_destinations_are_those_of_every_backend(configure: Configure, memory: MemoryReactorClock) -> None:
    configuration = configure(
        '[pipelines.scp]\nnetworks = ["default"]\nendpoints = ["door"]\nbackends = ["archive"]',
        '[endpoints.door]\nservice = "door"\n[backends.archive]\nservice = "telling"',
        '[pipelines.other]\nnetworks = ["default"]\nendpoints = ["back"]\nbackends = ["moving"]',
        '[endpoints.back]\nservice = "door"\n[backends.moving]\nservice = "telling"',
    )
    house = House(configuration, Ground(memory, dict, {}, tuple), Upcoming(Ports(memory)))
    destination = object()
    house.backends["moving"].destination = destination  # type: ignore[attr-defined]
    context = house.doors["door"].context
    assert list(context.destinations()) == [destination]
    assert context.backend is house.backends["archive"]


class Keeping:
    """A middleware that keeps studies."""

    def __init__(self, context: Context) -> None:
        self.purged: list[str] = []

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        return await proceed(request)

    async def purge(self, study_instance_uid: str) -> int:
        self.purged.append(study_instance_uid)
        return 3


def test_a_study_is_purged_from_a_middleware_that_keeps_any(configure: Configure, memory: MemoryReactorClock) -> None:
    configuration = configure(
        '[middleware_types.keeping]\nmodule = "tests.service.test_house:Keeping"',
        BRIDGED.format(middleware='["mine", "store", "bridge"]'),
        '[middleware.store]\ntype = "keeping"',
    )
    house = House(configuration, Ground(memory, dict, {}, tuple), Upcoming(Ports(memory)))
    kept: Any = house.middleware["store"]
    assert result(Deferred.fromCoroutine(house.purge("store", "1.2"))) == 3
    assert kept.purged == ["1.2"]
    for name in ("mine", "another"):
        failure = result(Deferred.fromCoroutine(house.purge(name, "1.2")))
        assert failure.type is NotFound


SEVERAL = web("empty").replace('["archive"]', '["archive", "second"]\noptions.strategy = "federate"')


def test_several_backends_are_one_at_the_end_of_their_pipeline(build: Build) -> None:
    bridge = SEVERAL.replace("backends =", 'middleware = ["dicomweb_bridge"]\nbackends =')
    gateway = build(bridge, '[backends.second]\nservice = "empty"')
    root = gateway.resource("default")
    described = gateway.describe()
    assert described["pipelines"]["web"]["several"] == {
        "target": "archive, second",
        "ready": True,
        "strategy": "federate",
        "sources": {"archive": True, "second": True},
        "studies_remembered": 0,
    }
    assert list(described["targets"]) == ["archive", "second"]
    sources = ask(root, "/dicom", "Accept: application/json").document["sources"]
    assert [one["aeTitle"] for one in sources] == ["archive", "second"]
    assert ask(root, "/dicom/aets/third").status == 404
    assert "sources" not in ask(root, "/dicom/aets/second", "Accept: application/json").document


def test_a_disabled_backend_is_a_missing_one_among_several(build: Build) -> None:
    bridge = SEVERAL.replace("backends =", 'middleware = ["dicomweb_bridge"]\nbackends =')
    gateway = build(
        bridge,
        '[backends.second]\nservice = "dicom_scu"\ntarget_ref = "off"\noptions.aet = "OFF"',
        '[targets.off]\nenabled = false\nconnection.host = "h"\nconnection.port = 104\n',
    )
    found = ask(gateway.resource("default"), "/dicom/studies")
    assert (found.status, found.document) == (200, [])
    assert found.header["warning"] == '299 harmonygw "OFF did not answer; what it holds is missing here."'


def test_a_pipeline_with_one_backend_has_nothing_of_several(build: Build) -> None:
    gateway = build(web())
    assert gateway.describe()["pipelines"]["web"]["several"] is None
    assert ask(gateway.resource("default"), "/dicom/aets/archive/studies").document["path"] == ["studies"]


def test_to_a_web_server_every_path_is_passed_on_as_it_is(build: Build) -> None:
    gateway = build(PROXY.format(service="dicomweb", endpoint='"web"', middleware='["mine"]'))
    [entrance] = gateway._house.entrances
    assert entrance._sources == ()


def test_what_a_policy_forbids_is_forbidden_below_each_archives_name_too(build: Build) -> None:
    guarded = SEVERAL.replace("backends =", 'middleware = ["guard", "dicomweb_bridge"]\nbackends =')
    gateway = build(
        guarded,
        '[backends.second]\nservice = "empty"',
        '[middleware.guard]\ntype = "policies"\noptions.policies = ["closed"]',
        '[policies.closed]\nrules = ["no_series"]',
        '[rules.no_series]\ntype = "path"\noptions = { mode = "deny", paths = ["/series"] }',
    )
    root = gateway.resource("default")
    assert [ask(root, f"/dicom/{path}").status for path in ("series", "aets/second/series")] == [403, 403]
    assert ask(root, "/dicom/aets/second/studies").status == 200


# An http endpoint in front of a PACS

DIMSE = """
[pipelines.dimse]
networks = ["default"]
endpoints = ["api"]
middleware = {middleware}
backends = ["pacs"]

[endpoints.api]
service = "http"
options = {{ path_prefix = "/dimse" }}

[backends.pacs]
{backend}

[middleware.mine]
type = "signing"

[middleware.bridge]
type = "dicomweb_bridge"

[network.default.limits]
{limits}
"""

SCU = 'service = "dicom_scu"\noptions = { host = "192.0.2.9", aet = "PACS" }'


def dimse(middleware: str = "[]", backend: str = SCU, limits: str = "") -> str:
    return DIMSE.format(middleware=middleware, backend=backend, limits=limits)


def parts_of(gateway: Gateway) -> list[str]:
    return [name for name, _ in gateway._house.parts()]


@pytest.mark.parametrize("middleware", ["[]", '["mine"]', '{ left = ["mine"], right = [] }'])
def test_an_http_endpoint_before_a_pacs_needs_no_bridge_of_the_configurations(middleware: str, build: Build) -> None:
    gateway = build(dimse(middleware))
    assert "middleware.(dimse_over_http)" in parts_of(gateway)
    assert gateway.describe()["middleware"]["(dimse_over_http)"]["answers"] == 0
    answered = ask(gateway.resource("default"), "/dimse/nothing", method="POST")
    assert (answered.status, answered.document["detail"][:36]) == (404, "There is nothing at this path; DIMSE")


def test_it_stands_behind_the_middleware_that_is_named(build: Build) -> None:
    answered = ask(build(dimse('["mine"]')).resource("default"), "/dimse/find", method="OPTIONS")
    assert (answered.status, answered.header["x-signed"]) == (204, "mine")


@pytest.mark.parametrize(
    ("middleware", "backend"),
    [
        ('["bridge"]', SCU),
        ("[]", 'service = "storage"'),
        ("[]", 'service = "telling"'),
        ("[]", 'service = "echo"'),
    ],
)
def test_what_is_dicomweb_or_leads_to_no_pacs_makes_no_operations(middleware: str, backend: str, build: Build) -> None:
    assert "middleware.(dimse_over_http)" not in parts_of(build(dimse(middleware, backend)))


def test_one_bridge_serves_every_pipeline(build: Build) -> None:
    second = dimse().replace("pipelines.dimse", "pipelines.other").replace('"/dimse"', '"/other"')
    second = second.replace('["api"]', '["other"]').replace("endpoints.api", "endpoints.other")
    second = second[: second.index("[backends.pacs]")]
    gateway = build(dimse(), second)
    assert parts_of(gateway).count("middleware.(dimse_over_http)") == 1
    assert ask(gateway.resource("default"), "/other/nothing", method="POST").status == 404


@pytest.mark.parametrize(
    ("limits", "main", "size", "status"),
    [
        ("", "max_body_size = 8", 8, 200),
        ("", "max_body_size = 8", 9, 413),
        ("max_request_bytes = 9", "max_body_size = 8", 9, 200),
        ("max_request_bytes = 9", "max_body_size = 100", 10, 413),
        ("max_request_bytes = 0", "max_body_size = 8", 5000, 200),
    ],
)
def test_a_body_is_as_long_as_the_network_says_else_as_what_may_be_held_whole(
    limits: str, main: str, size: int, status: int, build: Build
) -> None:
    gateway = build(
        dimse("[]", 'service = "echo"', limits),
        main=MAIN.replace("[network", f"[proxy.content_limits]\n{main}\n\n[network", 1),
    )
    answered = ask(gateway.resource("default"), "/dimse", f"Content-Length: {size}", method="POST", body=b"x" * size)
    assert answered.status == status


def test_an_echo_endpoint_answers_without_a_backend_and_with_one(build: Build) -> None:
    for backends in ("", 'backends = ["archive"]'):
        gateway = build(
            f'[pipelines.web]\nnetworks = ["default"]\nendpoints = ["basic_echo"]\n{backends}',
            '[endpoints.basic_echo]\nservice = "echo"\noptions = { path_prefix = "/echo" }',
            '[backends.archive]\nservice = "telling"',
        )
        assert ask(gateway.resource("default"), "/echo/a").document["path"] == "/a"


def test_dicomweb_over_an_http_endpoint_needs_its_bridge_on_both_sides_too(
    problems: Callable[..., tuple[str, ...]],
) -> None:
    [problem] = problems(dimse('{ left = ["bridge"], right = [] }'))
    assert '"dicomweb_bridge" is missing on both sides' in problem


def asked_of(house: House, pipeline: str, principal: str | None, operation: Any) -> Any:
    async def ask() -> Reply:
        return await house.pipelines[pipeline](replace(REQUEST, principal=principal, operation=operation))

    return result(Deferred.fromCoroutine(ask()))


def test_authorizations_hold_in_the_pipelines_that_they_apply_to(
    configure: Configure, memory: MemoryReactorClock
) -> None:
    tables = """
[authorizations.anna]
principals = ["anna"]
pipelines = ["web"]

[authorizations.off]
principals = ["*"]
enabled = false
"""
    house = Gateway(configure(web("empty"), web("empty", "other", "/other"), tables), memory)._house
    find = Find(Level.STUDY)
    assert isinstance(asked_of(house, "web", "anna", find), Reply)
    for principal in (None, "ben"):
        assert asked_of(house, "web", principal, find).check(Denied)
        assert isinstance(asked_of(house, "other", principal, find), Reply)
    assert asked_of(house, "web", "ben", None).check(Denied)


@pytest.mark.parametrize(
    "middleware",
    ['{ left = ["bridge", "cache"], right = ["bridge"] }', '{ left = ["mine", "cache"], right = ["mine", "cache"] }'],
)
def test_where_nobody_could_be_confined_is_a_problem_of_the_pipeline(
    middleware: str, problems: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    bridged = BRIDGED.replace('service = "dicomweb"', 'service = "dicom_scp"').format(middleware=middleware)
    cache = f'[middleware.cache]\ntype = "cache"\noptions = {{ path = "{tmp_path}/cache" }}'
    (problem,) = problems(bridged, cache)
    assert problem.startswith("pipelines.web: middleware: a cache or dicom_to_dicomweb ")


def test_what_an_endpoint_says_by_itself_is_for_everybody(configure: Configure, memory: MemoryReactorClock) -> None:
    """A viewer's pages, and a C-ECHO, show nothing of an archive."""
    text = web("empty") + '\n[authorizations.anna]\nprincipals = ["anna"]\n'
    house = Gateway(configure(text), memory)._house

    async def page(request: Request) -> Reply:
        return Reply(299)

    proceed = house._around(house._configuration.pipelines["web"], page)

    async def ask() -> Reply:
        return await proceed(REQUEST)

    assert result(Deferred.fromCoroutine(ask())).status == 299
