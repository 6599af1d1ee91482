"""Pipelines with several backends: what they need, what contradicts itself, and what each backend is called."""

import pytest

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
backends = ["b", "c"]
options.strategy = "federate"
[endpoints.e]
service = "dicomweb"
[middleware.m]
type = "dicomweb_bridge"
[backends.b]
service = "dicom_scu"
options = { host = "h", aet = "NORTH" }
[backends.c]
service = "storage"
"""
"""A right configuration to spoil; lines 5 to 10 are the pipeline's."""

STRATEGY = 'options.strategy = "federate"'


def test_the_base_is_right_and_silent(configure: Configure) -> None:
    configuration = configure(BASE)
    assert configuration.warnings == ()
    pipeline = configuration.pipelines["p"]
    assert (pipeline.options.strategy, pipeline.ae_titles) == ("federate", ("NORTH", "c"))


def test_a_strategy_may_stand_in_the_bridge(configure: Configure) -> None:
    text = BASE.replace(STRATEGY, "").replace('"dicomweb_bridge"', '"dicomweb_bridge"\noptions.strategy = "failover"')
    assert configure(text).pipelines["p"].options.strategy == "failover"
    both = text.replace("[endpoints.e]", 'options.strategy = "failover"\n[endpoints.e]')
    assert configure(both).pipelines["p"].options.strategy == "failover"


def test_one_backend_is_called_by_its_title_too(configure: Configure) -> None:
    pipeline = configure(BASE.replace('["b", "c"]', '["b"]').replace(STRATEGY, "")).pipelines["p"]
    assert (pipeline.options.strategy, pipeline.ae_titles) == (None, ("NORTH",))
    long = BASE.replace('["b", "c"]', '["a_name_that_is_too_long"]').replace(STRATEGY, "")
    pipeline = configure(long.replace("[backends.c]", "[backends.a_name_that_is_too_long]")).pipelines["p"]
    assert pipeline.ae_titles == ("",)


def test_a_strategy_has_no_effect_with_one_backend(configure: Configure) -> None:
    assert configure(BASE.replace('["b", "c"]', '["b"]')).warnings == (
        "config.toml:10: pipelines.p.options.strategy: has no effect with one backend",
    )
    bridge = BASE.replace('["b", "c"]', '["b"]').replace(STRATEGY, "")
    bridge = bridge.replace('"dicomweb_bridge"', '"dicomweb_bridge"\noptions.strategy = "failover"')
    assert configure(bridge).pipelines["p"].options.strategy is None


def test_titles_can_be_given(configure: Configure) -> None:
    text = BASE.replace(STRATEGY, STRATEGY + '\noptions.ae_titles = { c = "SOUTH " }')
    assert configure(text).pipelines["p"].ae_titles == ("NORTH", "SOUTH")


ROUTE = 'options.strategy = "route"\noptions.default = "c"\noptions.routes = [{ backend = "b", when = { %s } }]'


def test_routes_are_read(configure: Configure) -> None:
    options = configure(BASE.replace(STRATEGY, ROUTE % 'Modality = ["MG", "US"]')).pipelines["p"].options
    [route] = options.routes
    assert (route.backend, dict(route.when), route.by_ae_title) == ("b", {"Modality": ("MG", "US")}, False)
    options = configure(BASE.replace(STRATEGY, ROUTE % 'called_ae_title = ["X"]')).pipelines["p"].options
    assert options.routes[0].by_ae_title


CHOICE = '"federate" (all are asked, and merged), "failover" (the first that can be reached) or "route" (by rules)'


@pytest.mark.parametrize(
    ("was", "becomes", "problems_found"),
    [
        (STRATEGY, "", [f"9: pipelines.p.backends: several backends need options.strategy: {CHOICE}"]),
        (
            STRATEGY,
            'options.strategy = "federated"',
            [
                '10: pipelines.p.options.strategy: must be one of "federate", "failover", "route", not "federated"; '
                'did you mean "federate"?',
            ],
        ),
        (
            STRATEGY,
            f'{STRATEGY}\noptions.on_missing = "fail"',
            ['11: pipelines.p.options.on_missing: unknown key; did you mean "on_missing_source"?'],
        ),
        (
            'type = "dicomweb_bridge"',
            'type = "dicomweb_bridge"\noptions.strategy = "failover"',
            [
                '10: pipelines.p.options.strategy: is "federate", but "failover" in middleware.m.options; give one of '
                "them"
            ],
        ),
        ('["b", "c"]', '["b", "c", "c"]', ['9: pipelines.p.backends: "c" is named more than once']),
        (
            STRATEGY,
            f'{STRATEGY}\noptions.store_to = "d"\noptions.issuers = {{ e = "X" }}',
            [
                '11: pipelines.p.options.store_to: the pipeline has no backend "d"; known: b, c',
                '12: pipelines.p.options.issuers.e: the pipeline has no backend "e"; known: b, c',
            ],
        ),
        (
            STRATEGY,
            f'{STRATEGY}\noptions.ae_titles = {{ c = "NORTH" }}',
            ['9: pipelines.p.backends: "b" and "c" are both called "NORTH"; tell them apart by options.ae_titles'],
        ),
        (
            STRATEGY,
            f'{STRATEGY}\noptions.default = "c"',
            ['11: pipelines.p.options.default: is of strategy "route" only'],
        ),
        (
            STRATEGY,
            'options.strategy = "route"',
            [
                '10: pipelines.p.options: "default" is missing: the backend when no route holds',
                '10: pipelines.p.options: "routes" is missing or empty; strategy "route" needs one at least',
            ],
        ),
        (
            STRATEGY,
            ROUTE % 'Modality = ["MG"]' + '\noptions.store_to = "b"',
            [
                '13: pipelines.p.options.store_to: routes decide where instances are stored, with strategy "route"',
            ],
        ),
        (
            STRATEGY,
            ROUTE.replace('"b"', '"d"') % 'Modality = ["MG"]',
            ['12: pipelines.p.options.routes[0].backend: the pipeline has no backend "d"; known: b, c'],
        ),
        (
            STRATEGY,
            ROUTE % "",
            ["12: pipelines.p.options.routes[0].when: is empty; one condition at least is needed"],
        ),
        (
            STRATEGY,
            ROUTE % 'Modalities = ["MG"]',
            [
                '12: pipelines.p.options.routes[0].when: has the unknown condition "Modalities"; '
                'did you mean "Modality"?'
            ],
        ),
        (
            STRATEGY,
            ROUTE % 'Modality = ["MG", " "]',
            ["12: pipelines.p.options.routes[0].when: has no value for Modality, or an empty one"],
        ),
    ],
)
def test_what_is_wrong_is_told(problems: Problems, was: str, becomes: str, problems_found: list[str]) -> None:
    found = problems(BASE.replace(was, becomes))
    assert sorted(found) == sorted(f"config.toml:{one}" for one in problems_found)


def test_a_name_that_is_no_title_needs_one(problems: Problems) -> None:
    text = BASE.replace('"c"]', '"the_other_archive_of_ours"]').replace(".c]", ".the_other_archive_of_ours]")
    assert problems(text) == [
        'config.toml:9: pipelines.p.backends: backend "the_other_archive_of_ours" has no AE title; give it one in '
        "options.ae_titles"
    ]


def test_a_cache_does_not_stand_before_routes_by_ae_title(problems: Problems) -> None:
    text = BASE.replace(STRATEGY, ROUTE % 'calling_ae_title = ["X"]').replace('["m"]', '["m", "k"]')
    assert problems(text + '[middleware.k]\ntype = "cache"\n') == [
        "config.toml:12: pipelines.p.options.routes: routes by AE title cannot stand behind the cache middleware.k: it "
        "does not tell AE titles apart"
    ]


def test_those_that_share_an_ae_title_are_called_by_their_names(configure: Configure, problems: Problems) -> None:
    third = '[backends.d]\nservice = "dicom_scu"\noptions = { host = "i", aet = "NORTH" }\n'
    text = BASE.replace('["b", "c"]', '["b", "c", "d"]') + third
    configuration = configure(text)
    assert configuration.pipelines["p"].ae_titles == ("b", "c", "d")
    shared = 'config.toml:9: pipelines.p.backends: "NORTH" is the AE title of several; as a source "'
    assert configuration.warnings == (f'{shared}b" is called by its name', f'{shared}d" is called by its name')
    given = text.replace(STRATEGY, STRATEGY + '\noptions.ae_titles = { b = "ONE" }')
    assert configure(given).pipelines["p"].ae_titles == ("ONE", "c", "NORTH")
    taken = text.replace(STRATEGY, STRATEGY + '\noptions.ae_titles = { c = "b" }')
    assert configure(taken).pipelines["p"].ae_titles == ("NORTH", "b", "d")
    long = text.replace('"d"]', '"d_is_called_like_this"]').replace("[backends.d]", "[backends.d_is_called_like_this]")
    assert configure(long).pipelines["p"].ae_titles == ("b", "c", "NORTH")
    both = given.replace('"ONE"', '"d"').replace("{ b", '{ c = "d", b')
    assert problems(both) == [
        'config.toml:9: pipelines.p.backends: "b" and "c" are both called "d"; tell them apart by options.ae_titles'
    ]
