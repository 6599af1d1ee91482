"""From a configuration to parts: what is built, what is shared, and what is refused before anything begins."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from harmonygw.errors import Busy, ConfigurationError, NotFound
from harmonygw.exchange import Reply, Request
from harmonygw.net.ports import Ports, Upcoming
from harmonygw.pipeline import BACKENDS, MIDDLEWARE, Context, Proceed
from harmonygw.service import Gateway, available
from harmonygw.service.disabled import DISABLED_RETRY_SECS
from harmonygw.service.house import Ground, House
from tests.certificates import identity
from tests.net.http.asking import ask
from tests.service.conftest import Build, Configure
from tests.service.parts import BRIDGED, MAIN, REQUEST, result, web


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


def test_an_echo_endpoint_answers_without_a_backend_and_with_one(build: Build) -> None:
    for backends in ("", 'backends = ["archive"]'):
        gateway = build(
            f'[pipelines.web]\nnetworks = ["default"]\nendpoints = ["basic_echo"]\n{backends}',
            '[endpoints.basic_echo]\nservice = "echo"\noptions = { path_prefix = "/echo" }',
            '[backends.archive]\nservice = "telling"',
        )
        assert ask(gateway.resource("default"), "/echo/a").document["path"] == "/a"
