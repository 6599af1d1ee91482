"""CORS: which origins may read answers, what a preflight is told, and that every answer says so."""

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from harmonygw.config.options import CORSOptions
from harmonygw.errors import Denied, NotFound
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Reply, Request
from harmonygw.middleware.cors import CORS, EXPOSED_FIELDS, MAX_ORIGIN_LENGTH
from harmonygw.pipeline import MIDDLEWARE, Context, Proceed, TwoSided, chain, load

VIEWER = "https://viewer.example.org"
EXPOSED = ("Access-Control-Expose-Headers", ", ".join(EXPOSED_FIELDS))
VARY = ("Vary", "Origin")


def cors(*origins: str, **options: Any) -> CORS:
    configuration: Any = SimpleNamespace()
    return CORS(Context(SimpleNamespace(name="c", options=CORSOptions(origins, **options)), configuration, None))


def request(origin: str | None = VIEWER, method: str = "GET", **fields: str) -> Request:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    if origin is not None:
        headers["origin"] = origin
    return Request(HTTPOrigin(method, ("studies",), headers=headers), peer="192.0.2.1", correlation_id="c")


def preflight(origin: str | None = VIEWER, **fields: str) -> Request:
    return request(origin, "OPTIONS", access_control_request_method="GET", **fields)


async def backend(request: Request) -> Reply:
    return Reply(202)


def ask(proceed: Proceed, request: Request) -> Any:
    got: list[Any] = []
    proceed(request).addErrback(lambda failure: failure.value).addCallback(got.append)
    return got[0]


def permitted(step: CORS, origin: str | None) -> list[tuple[str, str]]:
    """Return what every answer to an origin carries."""
    asked = request(origin)
    assert ask(chain([step], backend), asked) == Reply(202)
    return asked.common_headers


def test_the_registry_has_it() -> None:
    assert load(MIDDLEWARE["cors"]) is CORS


def test_an_allowed_origin_may_read_the_answer() -> None:
    assert permitted(cors("https://other.example.org", VIEWER), VIEWER) == [
        VARY,
        ("Access-Control-Allow-Origin", VIEWER),
        EXPOSED,
    ]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.org",
        "http://viewer.example.org",
        "https://viewer.example.org:8443",
        "https://viewer.example.org.evil.net",
        "https://viewerxexample.org",
        "https://viewer.example.org\n",
        "null",
        "",
        None,
    ],
)
def test_another_origin_may_not_and_caches_are_told(origin: str | None) -> None:
    assert permitted(cors(VIEWER), origin) == [VARY]


@pytest.mark.parametrize("origin", [VIEWER, "null", None])
def test_anybody_may_when_the_list_has_a_star(origin: str | None) -> None:
    assert permitted(cors(VIEWER, "*"), origin) == [("Access-Control-Allow-Origin", "*"), EXPOSED]


def test_nobody_may_when_the_list_is_empty() -> None:
    for origin in (VIEWER, "", None):
        assert permitted(cors(), origin) == [VARY]


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        ("https://*.hospital.org", "https://viewer.hospital.org", True),
        ("https://*.hospital.org", "https://a.b-c.hospital.org", True),
        ("https://*.hospital.org", "https://hospital.org", False),
        ("https://*.hospital.org", "https://.hospital.org", False),
        ("https://*.hospital.org", "https://evilhospital.org", False),
        ("https://*.hospital.org", "https://hospital.org.evil.net", False),
        ("https://*.hospital.org", "https://evil.net/.hospital.org", False),
        ("https://*.hospital.org", "https://viewer.hospital.org:8443", False),
        ("https://*.hospital.org:8443", "https://viewer.hospital.org:8443", True),
        ("https://*.hospital.org", "http://viewer.hospital.org", False),
        ("HTTPS://Viewer.Example.ORG", VIEWER, True),
        ("https://viewer.example.org:443", VIEWER, True),
        ("http://viewer:80", "http://viewer", True),
        ("http://viewer:443", "http://viewer", False),
        ("http://[::1]:3000", "http://[::1]:3000", True),
    ],
)
def test_origins_are_compared_as_browsers_write_them(allowed: str, origin: str, expected: bool) -> None:
    assert (("Access-Control-Allow-Origin", origin) in permitted(cors(allowed), origin)) is expected


@pytest.mark.parametrize(("length", "expected"), [(MAX_ORIGIN_LENGTH, True), (MAX_ORIGIN_LENGTH + 1, False)])
def test_an_origin_is_not_looked_at_beyond_its_bound(length: int, expected: bool) -> None:
    origin = "https://" + "a" * (length - len("https://.b.org")) + ".b.org"
    assert len(origin) == length
    assert (("Access-Control-Allow-Origin", origin) in permitted(cors("https://*.b.org"), origin)) is expected


def test_credentials_go_when_they_are_allowed() -> None:
    assert permitted(cors(VIEWER, allow_credentials=True), VIEWER) == [
        VARY,
        ("Access-Control-Allow-Origin", VIEWER),
        ("Access-Control-Allow-Credentials", "true"),
        EXPOSED,
    ]


def test_a_preflight_is_answered_before_anything_else_looks_at_it() -> None:
    async def never(request: Request) -> Reply:
        raise AssertionError

    asked = preflight(access_control_request_headers="authorization,range")
    reply = ask(chain([cors(VIEWER)], never), asked)
    assert reply == Reply(
        204,
        (
            ("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"),
            (
                "Access-Control-Allow-Headers",
                "Accept, Authorization, Content-Type, If-None-Match, If-Range, Range",
            ),
            ("Access-Control-Max-Age", "600"),
        ),
    )
    assert asked.common_headers == [VARY, ("Access-Control-Allow-Origin", VIEWER)]
    assert asked.record.operation == "CORS preflight"


def test_a_preflight_has_the_options_in_it() -> None:
    step = cors(VIEWER, max_age_secs=0, allowed_headers=("X-Requested-With",), allow_private_network=True)
    headers = dict(ask(chain([step], backend), preflight(access_control_request_private_network="true")).headers)
    assert headers["Access-Control-Max-Age"] == "0"
    assert headers["Access-Control-Allow-Headers"].endswith(", Range, X-Requested-With")
    assert headers["Access-Control-Allow-Private-Network"] == "true"


@pytest.mark.parametrize(("allowed", "asked"), [(True, ""), (False, "true")])
def test_a_private_network_is_open_to_who_asks_when_that_is_allowed(allowed: bool, asked: str) -> None:
    step = cors(VIEWER, allow_private_network=allowed)
    reply = ask(chain([step], backend), preflight(access_control_request_private_network=asked))
    assert "Access-Control-Allow-Private-Network" not in dict(reply.headers)


def test_a_preflight_of_another_origin_is_refused_and_the_log_says_which() -> None:
    asked = preflight("https://evil.example.org")
    error = ask(chain([cors(VIEWER)], backend), asked)
    assert isinstance(error, Denied)
    assert error.log_detail == "https://evil.example.org is not among allowed_origins"
    assert asked.common_headers == [VARY]


@pytest.mark.parametrize(
    "asked", [request(VIEWER, "OPTIONS"), preflight(None), request(access_control_request_method="GET")]
)
def test_what_is_no_preflight_goes_on(asked: Request) -> None:
    assert ask(chain([cors(VIEWER)], backend), asked) == Reply(202)


def test_an_association_passes() -> None:
    asked = Request(AssociationOrigin("CT1", "GATEWAY"), peer="192.0.2.1", correlation_id="c")
    assert ask(chain([cors("*")], backend), asked) == Reply(202)
    assert asked.common_headers == []


@pytest.mark.parametrize("sides", [(True, True), (True, False), (False, True)])
def test_what_the_endpoint_has_settled_is_seen_on_either_side(sides: tuple[bool, bool]) -> None:
    step = cors(VIEWER)
    left, right = ([step] if side else [] for side in sides)
    for settled in (NotFound("no"), Reply(204)):
        asked = Request(
            HTTPOrigin("GET", ("x",), headers={"origin": VIEWER}), peer="", correlation_id="c", settled=settled
        )
        assert ask(chain([TwoSided(left, right)], backend), asked) is settled
        assert ("Access-Control-Allow-Origin", VIEWER) in asked.common_headers


def test_a_pipeline_that_crosses_its_sides_says_everything_once() -> None:
    step, other = cors(VIEWER), cors("https://other.example.org")
    asked = request()
    assert ask(chain([TwoSided([other, step], [other, step])], backend), asked) == Reply(202)
    assert asked.common_headers == [VARY, ("Access-Control-Allow-Origin", VIEWER), EXPOSED]


def test_the_fields_are_there_though_the_answer_is_not_yet() -> None:
    async def waiting(request: Request) -> Reply:
        return await Deferred()

    asked = request()
    chain([cors(VIEWER)], waiting)(asked)
    assert ("Access-Control-Allow-Origin", VIEWER) in asked.common_headers


def test_what_a_server_behind_says_of_the_same_is_dropped() -> None:
    async def permissive(request: Request) -> Reply:
        return Reply(200, (("Access-Control-Allow-Origin", "*"), ("access-control-expose-headers", "X"), ("ETag", "x")))

    for origin in (VIEWER, "https://evil.example.org"):
        assert ask(chain([cors(VIEWER)], permissive), request(origin)).headers == (("ETag", "x"),)
