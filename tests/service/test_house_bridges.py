"""What stands between HTTP and operations: which pipelines need a bridge, which get one, and which have none."""

from collections.abc import Callable

import pytest

from harmonygw.service import Gateway
from tests.net.http.asking import ask
from tests.service.conftest import Build
from tests.service.parts import BRIDGED, MAIN


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


def test_to_a_web_server_every_path_is_passed_on_as_it_is(build: Build) -> None:
    gateway = build(PROXY.format(service="dicomweb", endpoint='"web"', middleware='["mine"]'))
    [entrance] = gateway._house.entrances
    assert entrance._sources == ()


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


def test_dicomweb_over_an_http_endpoint_needs_its_bridge_on_both_sides_too(
    problems: Callable[..., tuple[str, ...]],
) -> None:
    [problem] = problems(dimse('{ left = ["bridge"], right = [] }'))
    assert '"dicomweb_bridge" is missing on both sides' in problem
